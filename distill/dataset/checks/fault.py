"""A fault that a check found in a row."""

from typing import NamedTuple


class Fault(NamedTuple):
    """A fault; in mode `mask` it costs the turns it points at, else the row."""

    detail: str
    """What is wrong, for people; one line."""
    pointers: tuple[str, ...] = ()
    """JSON pointers into the row. A check that can mask points at the assistant's messages at fault, or into them."""


MOST_SHOWN = 5
"""Messages of a joined fault that are shown."""
LONGEST = 300
"""Characters of each message that are shown."""


def listed(faults: list[tuple[str, str]]) -> Fault:
    """One fault of many (pointer, message) pairs: all pointers, and the first messages, shortened."""
    shown = "; ".join(f"{pointer}: {message}"[:LONGEST] for pointer, message in faults[:MOST_SHOWN])
    more = len(faults) - MOST_SHOWN
    return Fault(shown + (f"; and {more} more" if more > 0 else ""), tuple(pointer for pointer, _ in faults))
