"""The units of measurement that answers come in, and their conversion.

A table and not a library: answers need the common units by their English names and symbols, and all others refused.
"""

import re
from decimal import Decimal

# dimension: {unit in terms of the first: its names}; symbols are taken as written, words in any case and number.
_TABLE: dict[str, dict[str, str]] = {
    "length": {
        "1": "m metre meter", "1000": "km kilometre kilometer", "0.1": "dm decimetre decimeter",
        "0.01": "cm centimetre centimeter", "0.001": "mm millimetre millimeter", "1e-6": "µm um micrometre micrometer micron",
        "1e-9": "nm nanometre nanometer", "0.0254": "in inch inches", "0.3048": "ft foot feet", "0.9144": "yd yard",
        "1609.344": "mi mile", "1852": "nmi NM",
    },
    "mass": {
        "1": "kg kilogram kilo kilogramme", "0.001": "g gram gramme", "1e-6": "mg milligram", "1e-9": "µg ug mcg microgram",
        "1000": "t tonne Mg megagram", "0.45359237": "lb lbs pound", "0.028349523125": "oz ounce",
    },
    "time": {
        "1": "s sec second", "0.001": "ms millisecond", "1e-6": "µs us microsecond", "1e-9": "ns nanosecond",
        "60": "min minute", "3600": "h hr hrs hour", "86400": "d day", "604800": "wk week",
    },
    "volume": {
        "1": "l L litre liter", "0.001": "ml mL millilitre milliliter", "0.01": "cl cL centilitre centiliter",
        "0.1": "dl dL", "1000": "m³ m3 m^3", "1e-3": "cm³ cm3 cm^3 cc", "3.785411784": "gal gallon",
    },
    "area": {
        "1": "m² m2 m^2 sqm", "1e6": "km² km2 km^2", "1e-4": "cm² cm2 cm^2", "1e4": "ha hectare",
        "0.09290304": "ft² ft2 ft^2 sqft", "4046.8564224": "acre",
    },
    "speed": {"1": "m/s", "0.44704": "mph", "0.27777777777777777778": "km/h kph kmh", "0.51444444444444444444": "kn knot"},
    "acceleration": {"1": "m/s² m/s2 m/s^2"},
    "density": {"1": "kg/m³ kg/m3 kg/m^3", "1000": "g/cm³ g/cm3 g/cm^3 g/mL g/ml kg/L kg/l"},
    "energy": {"1": "J joule", "0.001": "mJ millijoule", "1000": "kJ kilojoule", "1e6": "MJ megajoule",
               "4.184": "cal calorie", "4184": "kcal kilocalorie", "3600": "Wh", "3.6e6": "kWh", "3.6e9": "MWh"},
    "power": {"1": "W watt", "0.001": "mW milliwatt", "1000": "kW kilowatt", "1e6": "MW megawatt", "1e9": "GW gigawatt"},
    "data": {"1": "B byte", "1e3": "kB KB kb kilobyte", "1e6": "MB mb megabyte", "1e9": "GB gb gigabyte",
             "1e12": "TB tb terabyte", "1024": "KiB", "1048576": "MiB", "1073741824": "GiB", "1099511627776": "TiB"},
    "force": {"1": "N newton", "0.001": "mN millinewton", "1000": "kN kilonewton", "1e6": "MN meganewton"},
    "torque": {"1": "Nm"}, "charge": {"1": "Ah", "0.001": "mAh"},
    "voltage": {"1": "V volt", "0.001": "mV millivolt", "1000": "kV kilovolt", "1e6": "MV megavolt"},
    "current": {"1": "A amp ampere", "0.001": "mA milliamp milliampere", "1000": "kA kiloampere", "1e6": "MA megaampere"},
    "resistance": {"1": "Ω \u2126 ohm", "0.001": "mΩ milliohm", "1000": "kΩ kiloohm kilohm", "1e6": "MΩ megaohm megohm"},
    "pressure": {"1": "Pa pascal", "1000": "kPa kilopascal", "1e6": "MPa megapascal", "1e5": "bar",
                 "100": "hPa hectopascal mbar millibar", "101325": "atm"},
    "frequency": {"1": "Hz hz hertz", "1e3": "kHz kilohertz", "1e6": "MHz megahertz", "1e9": "GHz gigahertz"},
    "amount": {"1": "mol mole", "0.001": "mmol millimole"},
    "celsius": {"1": "°C ℃ C celsius"}, "fahrenheit": {"1": "°F ℉ F fahrenheit"}, "kelvin": {"1": "K kelvin"},
    "angle": {"1": "° degree", "57.295779513082320877": "rad radian"},
    "share": {"1": "% percent pct"},
    "dollars": {"1": "$ US$ USD dollar", "0.01": "¢ cent"}, "euros": {"1": "€ EUR euro"}, "pounds": {"1": "£ GBP"},
    "Canadian": {"1": "C$ CA$ CAD"}, "Australian": {"1": "A$ AU$ AUD"}, "New Zealand": {"1": "NZ$ NZD"},
    "Hong Kong": {"1": "HK$ HKD"}, "Singapore": {"1": "S$ SGD"}, "pesos": {"1": "MX$ MXN"}, "reais": {"1": "R$ BRL"},
    "won": {"1": "KRW"}, "Swedish": {"1": "SEK"}, "Norwegian": {"1": "NOK"}, "Danish": {"1": "DKK"}, "zloty": {"1": "PLN"},
    "yen": {"1": "¥ JPY yen 円"}, "rupees": {"1": "₹ INR rupee"}, "francs": {"1": "CHF franc"}, "yuan": {"1": "CNY yuan"},
}  # fmt: skip
_KNOWN = {
    name: (dimension, Decimal(factor))
    for dimension, sizes in _TABLE.items()
    for factor, names in sizes.items()
    for name in [*names.split(), *names.replace("µ", "\u03bc").split()]  # the Greek letter, for the sign
}
_SIZES: dict[str, set[tuple[str, Decimal]]] = {}
for _name, _size in _KNOWN.items():
    _SIZES.setdefault(_name.casefold(), set()).add(_size)
_IN_ANY_CASE = {name: next(iter(sizes)) for name, sizes in _SIZES.items() if len(sizes) == 1}
"""All names but those such as mg and Mg, which only differ in case."""
_SPELLED = {"square": "²", "sq": "²", "cubic": "³", "cu": "³"}
_SQUARE = re.compile(r"^(?P<power>square|sq|cubic|cu)\.? (?P<unit>\w+)", re.IGNORECASE)
_PRODUCT = re.compile(
    r"^(?P<size>kilo|mega|milli|(?-i:[kMm](?=[WNA])))?(?P<first>watt|newton|amp(?:ere)?|(?-i:[WNA]))[ ·⋅*-]"
    r"(?P<second>hour|met(?:er|re)|h|m)s?\b(?!/)",
    re.IGNORECASE,
)
"""Watt hours, newton metres, ampere hours: neither watts nor newtons."""
_PREFIXES = {"kilo": "k", "mega": "M", "milli": "m"}
_DEGREES = re.compile(r"^(?:degrees?|deg\.?) (?P<scale>c|f)(?:elsius|ahrenheit)?\b", re.IGNORECASE)
_IN_TWO_WORDS = re.compile(r"^(?:(?P<percent>per cent)|US dollars?)\b", re.IGNORECASE)
_PER = re.compile(
    r"^(?P<unit>\w+)(?: per | ?/ ?)(?P<time>hour|second|h|s)(?:ec|r)?(?P<squared> squared| per second|²|/s)?\b(?!/)",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"^[^\s.,;:!?()\[\]*_`\"'=]+(?: \w+⁻\w+)*")  # also m s⁻¹, which is no m
_APART = re.compile(r"^[\s,;:()\[\]{}$*_`]+")
_IN = re.compile(r"^in\s+(?=\w)", re.IGNORECASE)
_SHORT = {"metre": "m", "meter": "m", "kilometre": "km", "kilometer": "km", "centimetre": "cm", "centimeter": "cm",
          "foot": "ft", "feet": "ft", "mile": "mi"}  # fmt: skip


def known(text: str) -> str | None:
    """The unit at the beginning of a text, None where there is none that converts."""
    name = _first(text)
    return name if name and _look_up(name) else None


def named(text: str) -> str | None:
    """The known unit that a text names first, perhaps in brackets or after `in`; None for `in total`."""
    bare = _APART.sub("", text)
    return known(_IN.sub("", bare))


def factor(text: str, wanted: str) -> Decimal | None:
    """The factor that converts a number with `text` after it into the unit `wanted`.

    1 where the text names no unit at all; None where it is another kind of unit, or where its first word is not the one
    wanted. Behind a comma, a bracket or `in`, only a known unit counts: 5 (lb), 5 in pounds.
    """
    given = _first(text)
    if given in ("", "in"):
        given = named(text) or given
    if not given:
        return Decimal(1)
    target, source = _look_up(_first(wanted) or wanted), _look_up(given)
    if target:
        return source[1] / target[1] if source and source[0] == target[0] else None
    return Decimal(1) if _singular(given) == _singular(_first(wanted) or wanted) else None


def _first(text: str) -> str:
    """The first word of a text, or the words that make one unit, as the table spells it."""
    text = text.strip().lstrip("*_`").strip().replace("^2", "²").replace("^3", "³")
    if scale := _DEGREES.match(text):
        return f"°{scale['scale'].upper()}"
    if name := _IN_TWO_WORDS.match(text):
        return "%" if name["percent"] else "USD"
    if power := _SQUARE.match(text):
        return _short(power["unit"]) + _SPELLED[power["power"].casefold()]
    if product := _PRODUCT.match(text):
        size, first, second = product.groups("")
        return f"{_PREFIXES.get(size.casefold(), size)}{first[0].upper()}{second[0].casefold()}"
    if per := _PER.match(text):
        speed = f"{_short(per['unit'])}/{per['time'][0].casefold()}{'²' if per['squared'] else ''}"
        return speed.replace("mi/h", "mph")
    token = _TOKEN.match(text)
    return token.group() if token else ""


def _short(name: str) -> str:
    return _SHORT.get(_singular(name), name)


def _look_up(name: str) -> tuple[str, Decimal] | None:
    """(dimension, size in its first unit) of a unit; None for an unknown one."""
    for spelling in (name, name.removesuffix("s")):
        # Case matters in short symbols: mW is not MW, and 5 M are not metres.
        any_case = len(spelling) > 2 or spelling.startswith("K") or (len(spelling) == 2 and spelling.isupper())
        if unit := _KNOWN.get(spelling) or (_IN_ANY_CASE.get(spelling.casefold()) if any_case else None):
            return unit
    return None


def _singular(name: str) -> str:
    folded = name.casefold()
    return folded[:-1] if len(folded) > 3 and folded.endswith("s") else folded
