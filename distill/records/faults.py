"""The faults in what a user wrote, reported all at once."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class InputError(Exception):
    """Bad input, refused before any work: one line per fault, `file:line: /pointer: what is wrong`."""

    def __init__(self, faults: Iterable[str] | str):
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__("\n".join(self.faults))

    def __reduce__(self) -> tuple[type["InputError"], tuple[list[str]]]:
        return type(self), (self.faults,)  # so that it comes whole from another process


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
