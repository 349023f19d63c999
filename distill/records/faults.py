"""What a user wrote wrong, all of it at once."""

from collections.abc import Iterable


class InputError(Exception):
    """Bad input, refused before any work: one line per fault, `file:line: /pointer: what is wrong`."""

    def __init__(self, faults: Iterable[str] | str):
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__("\n".join(self.faults))

    def __reduce__(self) -> tuple[type["InputError"], tuple[list[str]]]:
        return type(self), (self.faults,)  # so that it comes whole from another process
