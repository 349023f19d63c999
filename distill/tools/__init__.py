"""What a user's tools.py imports: `from distill.tools import Context, State, tool`."""

from distill.tools.context import ToolContext as Context
from distill.tools.context import ToolState as State
from distill.tools.python.python_tool import tool

__all__ = ["Context", "State", "tool"]
