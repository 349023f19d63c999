"""The tools of the example: a small shop's catalogue and a calculator.

Replace these by your own. A tool is a function under `@tool`; its type hints and docstring are what the model sees.
"""

import ast
import json
import operator
from functools import cache
from pathlib import Path
from typing import Any, Literal

from distill.tools import tool

CATALOGUE = Path(__file__).parent / "data" / "shop" / "catalogue.json"
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
LONGEST = 200


@tool
def lookup_item(sku: str, field: Literal["price", "stock"]) -> float:
    """Gives the price or the stock of an item.

    Args:
        sku: Code of the item, such as G417.
    """
    item = _catalogue().get(sku.strip().upper())
    if item is None:
        raise ValueError(f"there is no item {sku!r}")
    return item[field]


@tool
def calculator(expression: str) -> str:
    """Works out a sum of numbers.

    Args:
        expression: Numbers with + - * / and brackets.
    """
    if len(expression) > LONGEST:
        raise ValueError(f"the expression is longer than {LONGEST} characters")
    return f"{_value(ast.parse(expression.strip(), mode='eval').body):.10g}"


@cache
def _catalogue() -> dict[str, dict[str, Any]]:
    return json.loads(CATALOGUE.read_text(encoding="utf-8"))


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_value(node.operand))
    raise ValueError("only numbers, + - * / and brackets are allowed")
