"""The one reader and writer of records: JSON Lines and JSON, validated both ways, streamed, written atomically."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from distill.records import schema as schemas
from distill.records.atomic import replacing
from distill.records.faults import InputError

MOST_FAULTS = 100


def dumps(record: Any) -> bytes:
    """JSON bytes in the order of the keys. Raises TypeError on NaN's kin: what JSON cannot say is not written."""
    return orjson.dumps(record)


def read(path: Path | str, schema: str) -> Iterator[dict[str, Any]]:
    """The rows of a JSON Lines file, each valid against `schema`; blank lines are passed over.

    Raises InputError after the last row with every fault of the file, as `file:line: /pointer: message`.
    """
    for _, row in read_numbered(path, schema):
        yield row


def read_numbered(path: Path | str, schema: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """As `read`, with the line number (from 1) of each row."""
    found: list[str] = []
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        row, faults = _parse(line, schema)
        if not faults:
            yield number, row
        found += [f"{path}:{number}: {fault}" for fault in faults]
        if len(found) >= MOST_FAULTS:
            raise InputError([*found[:MOST_FAULTS], f"{path}: more than {MOST_FAULTS} faults; the rest is not shown"])
    if found:
        raise InputError(found)


def write(path: Path | str, rows: Iterable[dict[str, Any]], schema: str) -> int:
    """Writes valid rows, one JSON object a line, and returns how many. Raises InputError on the first bad one."""
    count = 0
    with replacing(path) as file:
        for count, row in enumerate(rows, start=1):
            _check(f"{path}:{count}", row, schema)
            file.write(dumps(row) + b"\n")
    return count


def read_json(path: Path | str, schema: str) -> dict[str, Any]:
    """One JSON record. Raises InputError with every fault."""
    record, faults = _parse(_bytes(path), schema)
    if faults:
        raise InputError(f"{path}: {fault}" for fault in faults)
    return record


def write_json(path: Path | str, record: dict[str, Any], schema: str) -> None:
    """Writes one valid JSON record, indented for people. Raises InputError with every fault."""
    _check(str(path), record, schema)
    with replacing(path) as file:
        file.write(orjson.dumps(record, option=orjson.OPT_INDENT_2) + b"\n")


def _check(where: str, record: dict[str, Any], schema: str) -> None:
    faults = schemas.faults(schema, record)
    if faults:
        raise InputError(f"{where}: {fault} (refused by schemas/{schema}.schema.json)" for fault in faults)


def _parse(text: bytes, schema: str) -> tuple[dict[str, Any], list[str]]:
    try:
        record = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return {}, [f"not valid JSON: {error}"]
    return record, schemas.faults(schema, record)


def _lines(path: Path | str) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            yield from file
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None


def _bytes(path: Path | str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
