"""Writes the example from nothing: `python data/shop/make.py`. The output is committed; it changes only with this file.

A question's answer can only be known from a tool: prices and stock are invented, and the sums are too long to do in
the head. The held-out part shares no wording and no item with the training part; it shares the tools, the two
families of questions and the kinds of sum.
"""

import json
import random
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SEED = HERE.parent / "seed" / "shop.jsonl"
SYSTEM = (
    "You work in a small shop. Prices and stock come from lookup_item, sums from calculator: "
    "always call one of them first."
)
TRAIN_ROWS, EVAL_ROWS = 240, 96
EVAL_ITEMS = 40

GARDEN = """bamboo rake 14.50, steel trowel 6.95, watering can 18.90, tomato seeds 2.75, lavender pot 7.20,
potting soil 8.60, hedge shears 24.90, garden hose 29.95, bird feeder 16.40, clay saucer 1.85,
pruning saw 21.30, leather gloves 12.75, compost bin 64.00, sunflower seeds 2.30, plant labels 3.95,
rain gauge 9.80, wheelbarrow 89.00, lawn spreader 46.50, bark mulch 9.15, slug tape 5.60,
rose fertiliser 11.25, folding spade 27.80, kneeling pad 8.35, seed tray 2.15, terracotta pot 4.45,
jute twine 3.35, trellis 19.70, frost fleece 7.85, spray bottle 4.95, weeding fork 10.60,
basil seeds 1.95, sprinkler 15.85, edging 13.40, leaf bag 6.25, soil thermometer 12.20, pond net 17.65,
hanging basket 11.90, grass shears 16.95, bee hotel 22.60, strawberry plant 3.70"""

HARDWARE = """claw hammer 17.80, wood screws 8.45, tape measure 7.60, spirit level 19.20, hand saw 15.30,
masking tape 3.15, paint roller 6.80, paint brush 4.25, door hinge 2.95, padlock 13.60,
wall plugs 4.70, cable ties 3.85, extension lead 11.45, hex key set 9.90, wood glue 5.35,
sandpaper 6.10, drill bit set 22.40, socket wrench 26.75, utility knife 7.05, work light 34.50,
toolbox 29.20, coat hook 2.65, duct tape 5.95, putty knife 4.55, safety glasses 8.15, chisel 12.85,
wire brush 5.15, shelf bracket 3.45, nail box 6.55, pipe wrench 23.70, torch 14.20, dust masks 7.45,
silicone tube 6.90, bolt cutter 38.60, step stool 41.00, ear defenders 18.35, washers 3.05,
wallpaper paste 5.80, curtain rail 16.15, mouse trap 2.45"""

STATIONERY = """graph paper pad 4.15, fountain pen 26.90, ink cartridge set 5.45, sketchbook 11.70, pencil case 8.90,
ballpoint pen 1.65, desk lamp 32.50, ring binder 3.75, index cards 2.85, wax crayons 6.35,
hole punch 9.25, stapler 10.40, staples 1.90, glue stick 2.25, calligraphy set 28.60,
wall calendar 12.95, letter opener 7.55, envelopes 3.60, sealing wax 6.75, whiteboard pen 2.55,
eraser 0.95, ruler 1.75, scissors 5.70, notebook 4.85, sticky notes 3.25, paper clips 1.45,
magnifying glass 13.80, globe 48.00, chalk box 2.95, watercolour set 19.40, fine liner set 14.65,
desk tray 16.70, bookmark set 3.90, document wallet 2.05, compass 8.25, pencil sharpener 3.55,
greeting card 2.40, wrapping paper 4.60, address book 9.65, laminating film 12.10"""

PRICE = {
    "train": [
        "What is the price of item {sku}?",
        "How much does item {sku} cost?",
        "A customer asks for the price of item {sku}. What is it?",
        "Which price belongs on the label of item {sku}?",
        "Please tell me the price of item {sku}.",
        "What does the {name}, item {sku}, cost?",
        "What is the selling price of item {sku}?",
        "Someone on the phone wants to know the price of item {sku}.",
        "The label has come off item {sku}. What is its price?",
        "Price check at the till: item {sku}.",
        "What does one piece of item {sku} cost?",
        "Item {sku}: what is the price?",
        "I would like to buy item {sku}. What does it cost?",
        "Give me the price of the {name} (item {sku}).",
    ],
    "eval": [
        "Could you look up the price of item {sku}?",
        "Which price do I ring up for item {sku}?",
        "A visitor holds item {sku} and asks what it costs.",
        "I need the current price of item {sku} for a quote.",
        "Our flyer shows the {name}, item {sku}. Which price do we print?",
        "Till two needs the price of item {sku}.",
        "Is item {sku} expensive? Tell me its price.",
    ],
}
STOCK = {
    "train": [
        "How many of item {sku} are in stock?",
        "What is the stock of item {sku}?",
        "How many pieces of item {sku} do we have in stock?",
        "Tell me the stock of item {sku}.",
        "We are counting shelves: what is the stock of item {sku}?",
        "How much stock is there of item {sku}?",
        "A school asks for the {name}, item {sku}. How many are in stock?",
        "Before I order more: what is the stock of item {sku}?",
        "What stock level does item {sku} have?",
        "How many units of item {sku} are in stock?",
        "Stock check: item {sku}.",
        "I need the number in stock of item {sku}.",
        "Item {sku}: how many are in stock?",
        "How many of the {name} (item {sku}) are left in stock?",
    ],
    "eval": [
        "Could you look up how many of item {sku} are in stock?",
        "What quantity of item {sku} is in stock?",
        "The warehouse asks for the stock figure of item {sku}.",
        "Is item {sku} still in stock? Tell me how many.",
        "For the inventory: what stock do we have of item {sku}?",
        "What is the remaining stock of item {sku}?",
        "A caller wants the {name}, item {sku}. What is our stock?",
    ],
}
SUMS = {
    "train": [
        ("A pallet holds {a} bags of soil. How many bags are on {b} pallets?", "a*b"),
        ("{b} boxes arrive, with {a} candles in each. How many candles is that?", "a*b"),
        ("We sell {a} newspapers a day. How many do we sell in {b} days?", "a*b"),
        ("A roll has {a} metres of ribbon. How many metres are on {b} rolls?", "a*b"),
        ("One carton weighs {a} grams. What do {b} cartons weigh, in grams?", "a*b"),
        ("There are {a} seats in each of {b} rows. How many seats are there?", "a*b"),
        ("A printer makes {a} pages an hour. How many pages does it make in {b} hours?", "a*b"),
        ("Each of {b} shelves carries {a} books. How many books are there?", "a*b"),
        (
            "We have {a} nails in the first box, {b} in the second and {c} in the third. How many nails are there?",
            "a+b+c",
        ),
        ("On Monday {a} people came, on Tuesday {b} and on Wednesday {c}. How many came in all?", "a+b+c"),
        ("Three bills are {a}, {b} and {c} dollars. What is the sum?", "a+b+c"),
        ("The van drove {a} km, then {b} km, then {c} km. How far did it drive in total?", "a+b+c"),
        ("A shelf holds {a} cups, {b} plates and {c} bowls. How many pieces is that?", "a+b+c"),
        ("We packed {a}, {b} and {c} parcels on three days. How many parcels did we pack?", "a+b+c"),
        ("We had {a} bulbs and sold {b}. How many are left?", "a-b"),
        ("The barrel holds {a} litres and {b} litres are used. How many litres remain?", "a-b"),
        ("Of {a} tickets, {b} are gone. How many tickets are left?", "a-b"),
        ("The store earned {a} dollars and spent {b}. How much is left over?", "a-b"),
        ("{a} eggs came in and {b} were broken. How many are whole?", "a-b"),
        ("A customer owes {a} dollars and pays {b}. How many dollars are still owed?", "a-b"),
    ],
    "eval": [
        ("A tray holds {a} seedlings. How many seedlings fit on {b} trays?", "a*b"),
        ("{b} trucks bring {a} planks each. How many planks is that?", "a*b"),
        ("A baker makes {a} rolls every day. How many rolls does he make in {b} days?", "a*b"),
        ("Each of {b} classes orders {a} notebooks. How many notebooks are ordered?", "a*b"),
        ("We sold {a} pens in May, {b} in June and {c} in July. How many pens did we sell?", "a+b+c"),
        ("Three jars hold {a}, {b} and {c} buttons. How many buttons are there in total?", "a+b+c"),
        ("A farm has {a} hens, {b} ducks and {c} geese. How many birds is that?", "a+b+c"),
        ("There were {a} envelopes and {b} were used. How many envelopes remain?", "a-b"),
        ("The shop had {a} lamps and sold {b} of them. How many lamps are left?", "a-b"),
        ("Of {a} metres of cable, {b} metres are cut off. How many metres are left?", "a-b"),
    ],
}
Items = dict[str, dict[str, Any]]


def catalogue(draw: random.Random) -> Items:
    """120 items by SKU: a letter for the department and three digits."""
    items: Items = {}
    for letter, goods in (("G", GARDEN), ("H", HARDWARE), ("S", STATIONERY)):
        entries = [entry.rsplit(maxsplit=1) for entry in goods.replace("\n", " ").split(", ")]
        for number, (name, price) in zip(sorted(draw.sample(range(103, 998), len(entries))), entries, strict=True):
            items[f"{letter}{number}"] = {"name": name, "price": float(price), "stock": draw.randint(23, 489)}
    return items


def lookup(split: str, number: int, skus: list[str], items: Items) -> dict[str, Any]:
    field, wordings = (("price", PRICE), ("stock", STOCK))[number % 2]
    wording, sku = wordings[split][number // 2 % len(wordings[split])], skus[number % len(skus)]
    question = wording.format(sku=sku, name=items[sku]["name"])
    return row(question, items[sku][field], "lookup", wording, split, items=[sku])


def calculation(draw: random.Random, split: str, number: int) -> dict[str, Any]:
    wording, formula = SUMS[split][number % len(SUMS[split])]
    numbers = {
        "a*b": (draw.randint(113, 489), draw.randint(12, 48), 0),
        "a+b+c": tuple(draw.randint(1031, 8979) for _ in range(3)),
        "a-b": (draw.randint(5021, 9897), draw.randint(1013, 4989), 0),
    }[formula]
    values = dict(zip("abc", numbers, strict=True))
    expected = eval(formula, {}, values)
    return row(wording.format(**values), expected, "calc", wording, split, formula=formula)


def row(question: str, expected: float, family: str, wording: str, split: str, **more: Any) -> dict[str, Any]:
    return {
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}],
        "metadata": {
            "expected_answer": expected,
            "answer_type": "number",
            "family": family,
            "template": wording,
            **more,
        },
        "split": split,
    }


def main() -> None:
    draw = random.Random(20)
    items = catalogue(draw)
    shuffled = draw.sample(sorted(items), len(items))
    skus = {"eval": shuffled[:EVAL_ITEMS], "train": shuffled[EVAL_ITEMS:]}
    rows = []
    for split, count in (("train", TRAIN_ROWS), ("eval", EVAL_ROWS)):
        for number in range(count // 2):
            rows.append(lookup(split, number, skus[split], items))
            rows.append(calculation(draw, split, number))
    shelf = ",\n".join(f"  {json.dumps(sku)}: {json.dumps(item)}" for sku, item in items.items())
    (HERE / "catalogue.json").write_text(f"{{\n{shelf}\n}}\n", encoding="utf-8")
    SEED.write_text("".join(json.dumps(line) + "\n" for line in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
