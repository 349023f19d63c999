"""A JSON Lines file in pieces that can be worked on apart: by byte range, so that no piece has to be written first."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from distill.records import lines
from distill.records.faults import InputError

SIZE = 8 * 2**20
"""Bytes of a shard, about: a second of work, and little enough to be held in memory by each worker."""


class Shard(NamedTuple):
    """Whole lines of a file."""

    path: str
    start: int
    """The offset of its first byte."""
    end: int
    line: int
    """The number of its first line, from 1."""


def split(path: Path | str, size: int = SIZE) -> Iterator[Shard]:
    """The shards of a file, in order. Raises InputError where there is none, or a line is too long."""
    start, line = 0, 1
    try:
        with open(path, "rb") as file:
            while block := file.read(size):
                rest = b"" if block.endswith(b"\n") else file.readline(lines.LONGEST + 1)
                ends = block.count(b"\n")
                if len(block) - 1 - block.rfind(b"\n") + len(rest) > lines.LONGEST:
                    raise InputError(f"{path}:{line + ends}: {lines.too_long()}")
                end = start + len(block) + len(rest)
                yield Shard(str(path), start, end, line)
                start, line = end, line + ends + bool(rest)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None


def texts(shard: Shard) -> Iterator[tuple[int, bytes]]:
    """Number and text of each line that is not blank, without its end."""
    with open(shard.path, "rb") as file:
        file.seek(shard.start)
        block = file.read(shard.end - shard.start)
    if shard.start == 0:
        block = block.removeprefix(lines.MARK)
    for number, text in enumerate(block.split(b"\n"), start=shard.line):
        if stripped := text.strip():
            yield number, stripped
