"""Writes the larger example: `python examples/two_step/make.py`. The output is committed; it changes only with this file.

Every question takes two tools, the second with what the first one said. Three kinds: what several pieces cost, what a
piece costs in another currency, and what an item costs that is known by its name. The held-out part shares no wording
and no item with the training part.
"""

import json
import random
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CATALOGUE = HERE.parents[1] / "data/shop/catalogue.json"
SYSTEM = (
    "You work in a small shop. Prices come from lookup_item, codes from find_item, sums from calculator, other "
    "currencies from convert_price: always call them, one after the other, and never guess."
)
RATES = {"euro": 0.92, "pound": 0.79, "franc": 0.88}
TRAIN_ROWS, EVAL_ROWS = 240, 48
EVAL_ITEMS, DEMONSTRATION_ITEMS = 36, 3

WORDINGS = {
    "total": {
        "train": [
            "What do {a} pieces of item {sku} cost in total?",
            "A customer takes {a} of item {sku}. What is the total price?",
            "What do {a} units of item {sku} cost?",
            "I order {a} of item {sku}. What do I pay in total?",
            "What is the total price of {a} pieces of item {sku}?",
            "{a} times item {sku}, please. What does that come to?",
            "The school needs {a} pieces of item {sku}. What is the bill?",
            "How much are {a} of item {sku} together?",
        ],
        "eval": [
            "A builder buys {a} pieces of item {sku}. How much does he pay?",
            "Please work out the price of {a} times item {sku}.",
            "What is the sum for {a} units of item {sku}?",
            "If I take {a} of item {sku}, what do I owe?",
        ],
    },
    "currency": {
        "train": [
            "What does item {sku} cost in {currency}?",
            "A visitor pays in {currency}. What is the price of item {sku} for her?",
            "Tell me the price of item {sku} in {currency}.",
            "How much is item {sku} in {currency}?",
            "Which price in {currency} belongs on the label of item {sku}?",
            "I need the {currency} price of item {sku}.",
            "Price of item {sku} in {currency}, please.",
            "Someone abroad asks what item {sku} costs in {currency}.",
        ],
        "eval": [
            "What would item {sku} be in {currency}?",
            "A tourist wants item {sku} and has only {currency}. What does he pay?",
            "For our export list: the price of item {sku} in {currency}?",
            "Give the cost of item {sku} in {currency}.",
        ],
    },
    "named": {
        "train": [
            "What does the {name} cost?",
            "How much is the {name}?",
            "A customer asks for the price of the {name}. What is it?",
            "Price check at the till: {name}.",
            "Tell me the price of the {name}.",
            "The label of the {name} has come off. What is its price?",
            "What do we charge for the {name}?",
            "I would like the {name}. What does it cost?",
        ],
        "eval": [
            "Could you tell me what the {name} sells for?",
            "What is the price of our {name}?",
            "Someone holds the {name} and asks for the price.",
            "Which price do I ring up for the {name}?",
        ],
    },
}
Items = dict[str, dict[str, Any]]


def question(draw: random.Random, number: int, split: str, skus: list[str], items: Items) -> dict[str, Any]:
    kind = list(WORDINGS)[number % 3]
    wordings = WORDINGS[kind][split]
    wording, sku = wordings[number // 3 % len(wordings)], skus[number // 3 % len(skus)]
    count, currency = draw.randint(6, 48), draw.choice(sorted(RATES))
    price = items[sku]["price"]
    expected = {"total": price * count, "currency": price * RATES[currency], "named": price}[kind]
    return {
        "messages": [
            {"role": "system", "content": SYSTEM},
            {
                "role": "user",
                "content": wording.format(a=count, sku=sku, currency=currency, name=items[sku]["name"]),
            },
        ],
        "metadata": {
            "expected_answer": round(expected, 2),
            "answer_type": "number",
            "family": kind,
            "template": wording,
            "items": [sku],
        },
        "split": split,
    }


def demonstration(number: int, asked: str, steps: list[tuple[str, dict[str, Any], str]]) -> dict[str, Any]:
    """A conversation that only the teacher sees: the answer is what the last step gave."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": asked}]
    for place, (name, arguments, result) in enumerate(steps):
        identity = f"demo_{number}_{place}"
        call = {"id": identity, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": identity, "content": result})
    return {"messages": [*messages, {"role": "assistant", "content": f"Answer: {steps[-1][2]}"}]}


def demonstrations(skus: list[str], items: Items) -> list[dict[str, Any]]:
    first, second, third = skus
    price = [items[sku]["price"] for sku in skus]

    def lookup(sku: str) -> tuple[str, dict[str, Any], str]:
        return "lookup_item", {"sku": sku, "field": "price"}, str(items[sku]["price"])

    total = ("calculator", {"expression": f"17 * {price[0]}"}, f"{17 * price[0]:.10g}")
    euro = ("convert_price", {"dollars": price[1], "currency": "euro"}, str(round(price[1] * RATES["euro"], 2)))
    found = ("find_item", {"name": items[third]["name"]}, third)
    return [
        demonstration(1, f"How much money do 17 pieces of item {first} make?", [lookup(first), total]),
        demonstration(2, f"In euro, what is item {second}?", [lookup(second), euro]),
        demonstration(3, f"The {items[third]['name']}: which price?", [found, lookup(third)]),
    ]


def main() -> None:
    draw = random.Random(6)
    items = json.loads(CATALOGUE.read_text(encoding="utf-8"))
    shuffled = draw.sample(sorted(items), len(items))
    shown, rest = shuffled[:DEMONSTRATION_ITEMS], shuffled[DEMONSTRATION_ITEMS:]
    skus = {"eval": rest[:EVAL_ITEMS], "train": rest[EVAL_ITEMS:]}
    counts = {"train": TRAIN_ROWS, "eval": EVAL_ROWS}
    rows = [question(draw, number, split, skus[split], items) for split in skus for number in range(counts[split])]
    for name, lines in (("seed.jsonl", rows), ("demonstrations.jsonl", demonstrations(shown, items))):
        (HERE / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
