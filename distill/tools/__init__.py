"""What a user's tools.py needs: `from distill.tools import tool`."""

from distill.tools.python_tool import tool

__all__ = ["tool"]
