# ruff: noqa: F821
# Two more tools: examples/workspace.py appends this to the project's tools.py, whose names it uses.
RATES = {"euro": 0.92, "pound": 0.79, "franc": 0.88}


@tool
def find_item(name: str) -> str:
    """Finds the code of an item by its name.

    Args:
        name: What the item is called, such as hand saw.
    """
    wanted = name.strip().lower()
    for sku, item in _catalogue().items():
        if item["name"] == wanted:
            return sku
    raise ValueError(f"there is no item called {name!r}")


@tool
def convert_price(dollars: float, currency: Literal["euro", "pound", "franc"]) -> float:
    """Converts a price in dollars into another currency.

    Args:
        dollars: The price in dollars.
    """
    return round(dollars * RATES[currency], 2)
