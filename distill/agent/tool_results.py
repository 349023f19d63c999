"""What tools said and how long it took, kept with the answers that called them: one line per turn in a file that only grows.

Small and not paid for, so no file and no fsync of their own: a line that a power cut takes is a tool that runs again.
"""

import os
from pathlib import Path
from typing import NamedTuple

import orjson

from distill.records.ids import content_id
from distill.tools.session import Told


class ToolResults:
    """The results of one version of the tools (see distill/agent/tools_version.py), found by the key of the answer.

    Only the places of the lines are in memory. Other processes append to the same file; what they add is seen, too.
    """

    def __init__(self, root: Path, version: str):
        self._path = root / "tool_results" / f"{version}.jsonl"
        self._file: int | None = None
        self._places: dict[bytes, tuple[int, int]] = {}
        self._read_to = 0

    def get(self, key: str) -> list[Told] | None:
        """The results of an answer's calls, in their order; None when they are not known."""
        place = self._places.get(key.encode())
        if place is None and self._look():
            place = self._places.get(key.encode())
        if place is None:
            return None
        return [Told(*one) for one in orjson.loads(os.pread(self._open(), place[1], place[0]))]

    def put(self, key: str, results: list[Told]) -> None:
        """Remembers results. The line begins with its newline, so that one cut off by a kill spoils no other."""
        os.write(self._open(), b"\n" + key.encode() + b" " + orjson.dumps([list(one) for one in results]) + b"\n")

    def of(self, row: str | None) -> "RowResults":
        """Those of rollouts whose tools read a row with this content id; None: they read the conversation only."""
        return RowResults(self, row)

    def _open(self) -> int:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        return self._file

    def _look(self) -> bool:
        """Reads what was appended since the last look; whether there was anything."""
        if self._file is None and not self._path.exists():
            return False
        size = os.fstat(self._open()).st_size
        if size <= self._read_to:
            return False
        content = os.pread(self._open(), size - self._read_to, self._read_to)
        whole = content.rfind(b"\n") + 1  # a line that is being written is left for the next look
        at = 0
        for line in content[:whole].splitlines(keepends=True):
            key, _, results = line.partition(b" ")
            if results.endswith(b"]\n"):
                self._places[key] = (self._read_to + at + len(key) + 1, len(results) - 1)
            at += len(line)
        self._read_to += whole
        return True


class RowResults(NamedTuple):
    """The results of tools that read the row, too: the same answer may stand before another row tomorrow."""

    results: ToolResults
    row: str | None

    def get(self, key: str) -> list[Told] | None:
        """As ToolResults.get."""
        return self.results.get(self._key(key))

    def put(self, key: str, results: list[Told]) -> None:
        """As ToolResults.put."""
        self.results.put(self._key(key), results)

    def _key(self, key: str) -> str:
        return content_id([key, self.row], length=64) if self.row else key
