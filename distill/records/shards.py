"""A JSON Lines file in shards that workers process separately: byte ranges, so that no shard is written to disk."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from distill.records import lines
from distill.records.faults import InputError

SIZE = 8 * 2**20
"""Approximate bytes of a shard: about a second of work, and small enough for each worker to hold in memory."""
NEWLINE = ord("\n")
BUFFER = 2**18
"""Bytes read at a time; more is not faster."""


class Shard(NamedTuple):
    """Whole lines of a file."""

    path: str
    start: int
    """The offset of its first byte."""
    end: int
    line: int
    """The number of its first line, from 1."""


def split(path: Path | str, size: int = SIZE) -> Iterator[Shard]:
    """The shards of a file, in order. Raises InputError when the file does not exist or a line is too long."""
    start, line = 0, 1
    try:
        with open(path, "rb") as file:
            buffer = bytearray(size)  # reused for all blocks: fresh memory costs more than the reading
            while length := file.readinto(buffer):
                rest = b"" if buffer[length - 1] == NEWLINE else file.readline(lines.LONGEST + 1)
                ends = buffer.count(NEWLINE, 0, length)
                if length - 1 - buffer.rfind(NEWLINE, 0, length) + len(rest) > lines.LONGEST:
                    raise InputError(f"{path}:{line + ends}: {lines.too_long()}")
                end = start + length + len(rest)
                yield Shard(str(path), start, end, line)
                start, line = end, line + ends + bool(rest)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None


def texts(shard: Shard) -> Iterator[tuple[int, bytes]]:
    """The number and the text of each line that is not blank, without its line end."""
    left = shard.end - shard.start
    with open(shard.path, "rb", buffering=BUFFER) as file:
        file.seek(shard.start)
        for number, text in enumerate(file, start=shard.line):
            left -= len(text)
            if stripped := (text if number > 1 else text.removeprefix(lines.MARK)).strip():
                yield number, stripped
            if not left:
                return
