"""Reads and writes all records: JSON Lines and JSON, validated both ways, streamed, written atomically."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from distill.records import json_text, lines
from distill.records import schema as schemas
from distill.records.atomic import replacing
from distill.records.faults import InputError
from distill.records.types import Row

MOST_FAULTS = 100


def read(path: Path | str, schema: str) -> Iterator[dict[str, Any]]:
    """The rows of a JSON Lines file, each valid against `schema`; blank lines are skipped.

    Raises InputError after the last row with every fault of the file, as `file:line: /pointer: message`.
    """
    for _, row in read_numbered(path, schema):
        yield row


def read_numbered(path: Path | str, schema: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """As `read`, with the line number (from 1) of each row."""
    file_faults: list[str] = []
    try:
        for line in lines.read(path):
            row, faults = parse(line.text, schema)
            if not faults:
                yield line.number, row
            file_faults += [f"{path}:{line.number}: {fault}" for fault in faults]
            if len(file_faults) >= MOST_FAULTS:
                file_faults[MOST_FAULTS:] = [more_faults(path)]
                break
    except InputError as error:
        file_faults += error.faults
    if file_faults:
        raise InputError(file_faults)


def parse(text: bytes, schema: str) -> tuple[dict[str, Any], list[str]]:
    """The record in a JSON text, and every fault of text and record as `/pointer: message`."""
    record, fault = json_text.parse(text)
    return record, [fault] if fault else schemas.faults(schema, record)


def more_faults(where: Path | str) -> str:
    """The line that ends a list of MOST_FAULTS faults."""
    return f"{where}: more than {MOST_FAULTS} faults; the rest is not shown"


def line(record: dict[str, Any], schema: str, where: str, indented: bool = False) -> bytes:
    """A valid record as the line of a file; `indented`, as a file of its own for people. Raises InputError with every fault."""
    faults = schemas.faults(schema, record)
    if faults:
        raise InputError(f"{where}: {fault} (refused by schemas/{schema}.schema.json)" for fault in faults)
    return orjson.dumps(record, option=orjson.OPT_INDENT_2 if indented else None) + b"\n"


def write(path: Path | str, rows: Iterable[Row], schema: str) -> int:
    """Writes valid rows, one JSON object a line, and returns how many. Raises InputError on the first bad one."""
    count = 0
    with replacing(path) as file:
        for count, row in enumerate(rows, start=1):
            file.write(line(row, schema, f"{path}:{count}"))
    return count


def read_json(path: Path | str, schema: str) -> dict[str, Any]:
    """One JSON record. Raises InputError with every fault."""
    try:
        text = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    record, faults = parse(text.removeprefix(lines.MARK), schema)
    if faults:
        raise InputError(f"{path}: {fault}" for fault in faults)
    return record


def write_json(path: Path | str, record: dict[str, Any], schema: str) -> None:
    """Writes one valid JSON record, indented for people. Raises InputError with every fault."""
    text = line(record, schema, str(path), indented=True)
    with replacing(path) as file:
        file.write(text)
