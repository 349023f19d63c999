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

    Only the places of the lines are in memory. Other processes append to the same file, and their lines are found, too.
    """

    def __init__(self, root: Path, version: str):
        self._path = root / "tool_results" / f"{version}.jsonl"
        self._file: int | None = None
        self._places: dict[bytes, tuple[int, int]] = {}
        self._read_to = 0

    def get(self, key: str, row: str | None) -> list[ToolResult] | None:
        """The results of an answer's calls, in their order; None when they are not stored."""
        line_key = _key(key, row)
        place = self._places.get(line_key)
        if place is None and self._read_appended():
            place = self._places.get(line_key)
        if place is None:
            return None
        return [ToolResult(*fields) for fields in orjson.loads(os.pread(self._open(), place[1], place[0]))]

    def put(self, key: str, row: str | None, results: list[ToolResult]) -> None:
        """Stores results. The line begins with a newline, so that a torn line before it does no harm."""
        text = orjson.dumps([list(result) for result in results])
        os.write(self._open(), b"\n" + _key(key, row) + b" " + text + b"\n")

    def _open(self) -> int:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        return self._file

    def _read_appended(self) -> bool:
        """Reads what was appended since the last time; whether there was anything."""
        if self._file is None and not self._path.exists():
            return False
        size = os.fstat(self._open()).st_size
        if size <= self._read_to:
            return False
        content = os.pread(self._open(), size - self._read_to, self._read_to)
        whole = content.rfind(b"\n") + 1  # a line that is still being written is left for the next time
        offset = 0
        for line in content[:whole].splitlines(keepends=True):
            key, _, results = line.partition(b" ")
            if results.endswith(b"]\n"):
                self._places[key] = (self._read_to + offset + len(key) + 1, len(results) - 1)
            offset += len(line)
        self._read_to += whole
        return True


def _key(key: str, row: str | None) -> bytes:
    return (content_id([key, row], length=64) if row else key).encode()
