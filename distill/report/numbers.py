"""Formats numbers for people: every number in the page goes through one of these functions."""


def percent(share: float | None) -> str:
    """0.925 as `92.5%`; None as `n/a`."""
    if share is None:
        return "n/a"
    return f"{100 * share:.1f}".removesuffix(".0") + "%"


def interval(ends: list[float] | None) -> str:
    """[0.8, 0.975] as `80 to 97.5%`; None as `n/a`."""
    if ends is None:
        return "n/a"
    low, high = map(percent, ends)
    return f"{low.removesuffix('%')} to {high}"


def count(number: float | None) -> str:
    """12345 as `12,345`, 2.5 as `2.5`, 0.00152 as `0.0015`; None as `n/a`."""
    if number is None:
        return "n/a"
    if isinstance(number, int):
        return f"{number:,}"
    return f"{number:,.2f}".rstrip("0").rstrip(".") if number == 0 or abs(number) >= 0.1 else f"{number:.2g}"


def milliseconds(time: float | None) -> str:
    """0.4 as `0.4 ms`, 1234 as `1.2 s`; None as `n/a`."""
    if time is None:
        return "n/a"
    return f"{time:.1f} ms" if time < 100 else f"{time:.0f} ms" if time < 1000 else f"{time / 1000:,.1f} s"


def usd(cost: float | None) -> str:
    """Dollars, with as many places as a small sum needs; None as `unknown`."""
    if cost is None:
        return "unknown"
    if cost == 0:
        return "$0"
    return f"${cost:,.2f}" if cost >= 1 else f"${cost:.2g}" if cost >= 1e-4 else f"${cost:.1e}"


def place(share: float) -> str:
    """A share as an SVG coordinate on an axis from 0 to 100 %."""
    return f"{100 * share:.2f}%"
