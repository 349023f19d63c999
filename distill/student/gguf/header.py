"""Reads the header of a GGUF file: its metadata, and where its tensors lie.

Written here because gguf-py takes four seconds for a vocabulary that is read here in a quarter of a second. Layout: the
GGUF specification, version 3.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from distill.records.faults import InputError

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


@dataclass(frozen=True)
class Tensor:
    """One tensor of the file."""

    name: str
    shape: tuple[int, ...]
    """Slowest dimension first, as in numpy; the file has the reverse order."""
    kind: int
    """Type number of ggml: 0 is F32, 1 F16, the rest is quantised."""
    offset: int
    """Offset of its first byte in the file."""


@dataclass(frozen=True)
class Header:
    """A GGUF file without the data of its tensors."""

    fields: dict[str, Any]
    tensors: list[Tensor]


def read(file: Path) -> Header:
    """The header of a GGUF file of version 2 or 3. Raises InputError for any other file, and where it is cut off."""
    try:
        return _read(file)
    except (struct.error, UnicodeDecodeError):
        raise cut_off(file) from None


def cut_off(file: Path) -> InputError:
    """The error for a GGUF file that ends too early."""
    return InputError(f"{file}: the file is cut off, as by a download that broke off: fetch it again")


def _read(file: Path) -> Header:
    with file.open("rb") as stream:
        if stream.read(4) != b"GGUF" or _number(stream, "I") not in (2, 3):
            raise InputError(f"{file}: not a GGUF file of version 2 or 3")
        tensors, pairs = _number(stream, "Q"), _number(stream, "Q")
        fields = {_string(stream): _value(stream, _number(stream, "I")) for _ in range(pairs)}
        infos = [_info(stream) for _ in range(tensors)]
        alignment = fields.get("general.alignment", 32)
        start = -(-stream.tell() // alignment) * alignment
    return Header(fields, [Tensor(name, shape, kind, start + offset) for name, shape, kind, offset in infos])


def _info(stream: BinaryIO) -> tuple[str, tuple[int, ...], int, int]:
    name = _string(stream)
    dimensions = _number(stream, "I")
    shape = struct.unpack(f"<{dimensions}Q", stream.read(8 * dimensions))[::-1]
    return name, shape, _number(stream, "I"), _number(stream, "Q")


def _value(stream: BinaryIO, kind: int) -> Any:
    if kind == STRING:
        return _string(stream)
    if kind != ARRAY:
        return _number(stream, SCALARS[kind])
    item_kind, count = _number(stream, "I"), _number(stream, "Q")
    if item_kind in SCALARS:
        letter = SCALARS[item_kind]
        return list(struct.unpack(f"<{count}{letter}", stream.read(count * struct.calcsize(f"<{letter}"))))
    return [_value(stream, item_kind) for _ in range(count)]


def _string(stream: BinaryIO) -> str:
    return stream.read(_number(stream, "Q")).decode("utf-8")


def _number(stream: BinaryIO, letter: str) -> Any:
    return struct.unpack(f"<{letter}", stream.read(struct.calcsize(f"<{letter}")))[0]
