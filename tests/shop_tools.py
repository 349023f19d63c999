"""tools.py of the small student of tiny_qwen3.py."""

from distill.tools import tool


@tool
def lookup_item(sku: str) -> str:
    """Gives price and stock of an item."""
    number = int(sku[1:]) - 100
    return f'{{"price": {number % 7 + 2}, "stock": {number}}}'
