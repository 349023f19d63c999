"""A JSON Lines file in shards that workers process separately: byte ranges, so that no shard is written to disk."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from distill.records import lines
from distill.records.faults import InputError

SIZE = 8 * 2**20
"""Approximate bytes of a shard: about a second of work, and small enough for each worker to hold in memory."""
BUFFER = 2**18
"""Bytes read at a time; more is not faster."""


class Shard(NamedTuple):
    """Whole lines of a file."""

    path: str
    start: int
    """The offset of its first byte."""
    end: int


def split(path: Path | str, size: int = SIZE) -> Iterator[Shard]:
    """The shards of a file, in order; only the ends of lines around their borders are read. Raises InputError when the file
    does not exist."""
    try:
        with open(path, "rb") as file:
            start, length = 0, os.fstat(file.fileno()).st_size
            while start < length:
                file.seek(min(start + size, length) - 1)
                file.readline(lines.LONGEST + 1)  # of a longer line `texts` complains
                yield Shard(str(path), start, file.tell())
                start = file.tell()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None


def texts(shard: Shard) -> Iterator[tuple[int, bytes]]:
    """The place (from 1) and the text of each line that is not blank, without its line end. Raises InputError for a line
    that is too long."""
    left, place = shard.end - shard.start, 0
    with open(shard.path, "rb", buffering=BUFFER) as file:
        file.seek(shard.start)
        while left > 0 and (text := file.readline(lines.LONGEST + 1)):  # none where somebody cuts the file meanwhile
            place += 1
            if len(text) > lines.LONGEST:
                raise InputError(f"{shard.path}:{lines_before(shard) + place}: {lines.too_long()}")
            left -= len(text)
            if stripped := (text if shard.start or place > 1 else text.removeprefix(lines.MARK)).strip():
                yield place, stripped


def located(shard: Shard, faults: list[tuple[int, str]]) -> list[str]:
    """The faults of lines, whose places are those of `texts`, as `file:line: fault`."""
    before = lines_before(shard) if faults else 0
    return [f"{shard.path}:{before + place}: {fault}" for place, fault in faults]


def lines_before(shard: Shard) -> int:
    """How many lines of the file are before the shard. Counted only for messages: it takes as long as reading them."""
    count, left = 0, shard.start
    with open(shard.path, "rb") as file:
        while block := file.read(min(left, BUFFER)):
            count += block.count(b"\n")
            left -= len(block)
    return count
