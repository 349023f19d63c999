"""The lines of a JSON Lines file, also with a byte order mark, Windows' line ends, or zstd compression.

Memory is bounded by LONGEST, whatever the file holds.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from distill.records.faults import InputError

LONGEST = 64 * 2**20
"""The most bytes of a row: no student has a context that long, and parsed it takes a multiple of that in memory."""
MARK = b"\xef\xbb\xbf"
PACKED = ".zst"
OTHER_FILES = {
    b"\xff\xfe": "is in UTF-16, as Windows' PowerShell writes it: save it as UTF-8",
    b"\xfe\xff": "is in UTF-16: save it as UTF-8",
    b"\x1f\x8b": "is packed with gzip: unpack it (gunzip)",
}
"""First bytes with which no line begins, and what is wrong with the file."""
_PIECE = 4096  # compressed bytes read at a time: even a zip bomb unpacks these to less than 128 MiB


class Line(NamedTuple):
    """A line of text that is not blank."""

    number: int
    """Counted from 1, blank lines included."""
    offset: int
    """The offset of its first byte in the (unpacked) file."""
    text: bytes


def read(path: Path | str) -> Iterator[Line]:
    """The lines of a file that are not blank; `.zst` is unpacked on the way.

    Raises InputError when the file does not exist, is none of text, cannot be unpacked to its end, or has a line longer
    than LONGEST.
    """
    offset = 0
    for number, text in enumerate(_unpacked_lines(path) if is_packed(path) else _plain_lines(path), start=1):
        if number == 1 and text[:2] in OTHER_FILES:
            raise InputError(f"{path}: {OTHER_FILES[text[:2]]}")
        if len(text) > LONGEST:
            raise InputError(f"{path}:{number}: {too_long()}")
        if not text.isspace():
            yield Line(number, offset, text if number > 1 else text.removeprefix(MARK))
        offset += len(text)


def is_packed(path: Path | str) -> bool:
    """Whether the name is that of a zstd file."""
    return str(path).endswith(PACKED)


def too_long() -> str:
    """The fault of a line longer than LONGEST."""
    return f"longer than {LONGEST >> 20} MiB, which no student can read; take it out"


def unpacked(path: Path | str) -> Iterator[bytes]:
    """The content of a zstd file in pieces. Raises InputError when the file is not zstd, is damaged, or ends early."""
    import zstandard

    frame, started = zstandard.ZstdDecompressor().decompressobj(), False
    try:
        with open(path, "rb") as file:
            while piece := file.read(_PIECE):
                while piece:
                    yield frame.decompress(piece)
                    started, piece = True, frame.unused_data
                    if frame.eof:
                        frame, started = zstandard.ZstdDecompressor().decompressobj(), False
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except zstandard.ZstdError as error:
        raise InputError(f"{path}: cannot be unpacked: {error}") from None
    if started or not os.path.getsize(path):
        raise InputError(f"{path}: ends in the middle: it was copied or written only in part")


def _plain_lines(path: Path | str) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            while line := file.readline(LONGEST + 1):
                yield line
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None


def _unpacked_lines(path: Path | str) -> Iterator[bytes]:
    rest = bytearray()
    for piece in unpacked(path):
        start = len(rest)
        rest += piece
        if (end := rest.find(b"\n", start)) < 0:
            if len(rest) > LONGEST:
                break
            continue
        begin = 0
        while end >= 0:
            yield bytes(rest[begin : end + 1])
            begin, end = end + 1, rest.find(b"\n", end + 1)
        del rest[:begin]
    if rest:
        yield bytes(rest)
