"""Content ids: the same content has the same id on every machine."""

import hashlib
from pathlib import Path
from typing import Any

import orjson

from distill.records import json_text

FEWEST_ROUNDED = 19
"""Digits of the shortest whole number that 64 bits do not hold."""


def canonical(value: Any) -> bytes:
    """JSON bytes with sorted keys: equal values give equal bytes, whatever the order of their keys."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def canonical_text(text: str) -> str:
    """The same text for all texts that are equal as JSON, whatever their spacing and order; other text is unchanged, and so
    is one with a number that orjson would round."""
    raw = text.encode("utf-8", "surrogatepass")
    digits = len(raw) - len(raw.translate(None, b"0123456789"))  # the strict parser takes ten times as long
    if digits >= FEWEST_ROUNDED and json_text.parse(raw)[1]:
        return text
    try:
        return canonical(orjson.loads(raw)).decode()
    except (orjson.JSONDecodeError, TypeError):  # TypeError: nested too deeply to be written
        return text


def content_id(value: Any, length: int = 16) -> str:
    """The first `length` hex digits of the SHA-256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical(value)).hexdigest()[:length]


def file_hash(path: Path) -> str:
    """The SHA-256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
