"""The faults in what a user wrote, reported all at once."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

MOST_ALIKE = 3
"""Lines of a file that are named with the same fault."""
_PLACE = re.compile(r"(?P<file>.+?):(?P<line>\d+): (?P<fault>.*)", re.DOTALL)


class InputError(Exception):
    """Bad input, refused before any work: one line per fault, `file:line: /pointer: what is wrong`."""

    def __init__(self, faults: Iterable[str] | str):
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__("\n".join(_folded(self.faults)))

    def __reduce__(self) -> tuple[type["InputError"], tuple[list[str]]]:
        return type(self), (self.faults,)  # so that it comes whole from another process


def _folded(faults: list[str]) -> Iterator[str]:
    """The faults; where many lines of a file have the same one, the first lines and how many more there are."""
    if len(faults) <= MOST_ALIKE:
        yield from faults
        return
    alike = [(match["file"], match["fault"]) if (match := _PLACE.match(fault)) else fault for fault in faults]
    count, seen = Counter(alike), Counter[object]()
    for fault, kind in zip(faults, alike, strict=True):
        seen[kind] += 1
        if seen[kind] <= MOST_ALIKE or isinstance(kind, str):
            yield fault
        elif seen[kind] == MOST_ALIKE + 1:
            yield f"{kind[0]}: and {count[kind] - MOST_ALIKE} more lines: {kind[1]}"


class Faults:
    """Collects faults, each once and in order, so that one InputError can report them all."""

    def __init__(self) -> None:
        self._faults: dict[str, None] = {}

    def __bool__(self) -> bool:
        return bool(self._faults)

    def add(self, *faults: str) -> None:
        """Adds faults to the report."""
        self._faults.update(dict.fromkeys(faults))

    @contextmanager
    def collect(self, prefix: str = "") -> Iterator[None]:
        """Adds the faults of an InputError that ends the block, each behind `prefix`, instead of passing it on."""
        try:
            yield
        except InputError as error:
            self.add(*(f"{prefix}{fault}" for fault in error.faults))

    def check(self) -> None:
        """Raises InputError if there are faults."""
        if self._faults:
            raise InputError(self._faults)
