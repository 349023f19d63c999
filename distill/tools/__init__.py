"""What a user's tools.py needs: `from distill.tools import Context, tool`."""

from distill.tools.context import Context
from distill.tools.python_tool import tool

__all__ = ["Context", "tool"]
