"""Stores tool results and their times by the answer that called the tools: one line per turn, appended to one file.

They are small and cost nothing, so there is no file per turn and no fsync: after a power cut a tool may run again.
"""

import os
from pathlib import Path

import orjson

from distill.records.ids import content_id
from distill.tools.session import ToolResult


class ToolResults:
    """The results of one version of the tools (see distill/agent/tools_version.py), found by the key of the answer and,
    where a tool also reads the row, by the row's content id `row`: the same answer may later belong to a row with other
    metadata.

    Only the places of the lines are in memory. Other processes append to the same file, and their lines are found, too. No
    file stays open, since each sandbox has one, and there may be thousands.
    """

    def __init__(self, root: Path, version: str):
        self._path = root / "tool_results" / f"{version}.jsonl"
        self._places: dict[bytes, tuple[int, int]] = {}
        self._read_to = 0

    def get(self, key: str, row: str | None) -> list[ToolResult] | None:
        """The results of an answer's calls, in their order; None when they are not stored."""
        line_key = _key(key, row)
        if line_key not in self._places:
            self._read_appended()
        place = self._places.get(line_key)
        try:
            return [ToolResult(*fields) for fields in orjson.loads(self._read(*place))] if place else None
        except orjson.JSONDecodeError:  # a torn line that ends in a bracket
            del self._places[line_key]
            return None

    def put(self, key: str, row: str | None, results: list[ToolResult]) -> None:
        """Stores results. The line begins with a newline, so that a torn line before it does no harm."""
        line = b"\n" + _key(key, row) + b" " + orjson.dumps([list(result) for result in results]) + b"\n"
        try:
            self._append(line)
        except FileNotFoundError:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._append(line)

    def _append(self, line: bytes) -> None:
        with open(self._path, "ab", buffering=0) as file:
            file.write(line)

    def _read(self, start: int, size: int) -> bytes:
        with open(self._path, "rb", buffering=0) as file:
            return os.pread(file.fileno(), size, start)

    def _read_appended(self) -> None:
        """Reads what was appended since the last time, a line at a time: the file may be larger than the memory."""
        if not self._path.exists() or self._path.stat().st_size <= self._read_to:
            return
        with open(self._path, "rb") as file:
            file.seek(self._read_to)
            for line in file:
                if not line.endswith(b"\n"):  # it is still being written, and left for the next time
                    return
                key, _, results = line.partition(b" ")
                if results.endswith(b"]\n"):
                    self._places[key] = (self._read_to + len(key) + 1, len(results) - 1)
                self._read_to += len(line)


def _key(key: str, row: str | None) -> bytes:
    return (content_id([key, row], length=64) if row else key).encode()
