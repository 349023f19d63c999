"""Token counts of rows, cached outside of the workspace, so that a changed check does not tokenise them again.

A count is a function of the row's messages and tools, the tokenizer, the template and our code that renders; its key is
a hash of all of them, so a cached count is never stale, and the file can be deleted at any time.
"""

import hashlib
import sqlite3
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import orjson

from distill.records.paths import cache_dir
from distill.records.types import Row
from distill.student import base, encoding, render, served_messages, shown, template
from distill.student import tokenizer as tokenizers
from distill.student.template import Unrenderable
from distill.student.tokenizer import Tokenizer

FLUSH_EVERY = 2_000
"""New counts in memory at which they are written."""
HUGE = 2**20
"""Bytes from which a row's tokens are first estimated from its size."""
LONGEST_TOKEN = 128
"""Characters of a token of ordinary text, at most (runs of spaces)."""
MANY = 200
"""Messages from which a row's last turn is counted first: an exact count renders every turn with all before it."""
TIMEOUT_S = 60
"""Seconds to wait for another process that writes."""
CODE = (render, served_messages, shown, template, tokenizers, encoding)
"""The modules that render a row."""


class TokenCounts:
    """Counts the tokens of rows; counts that any process has made before are looked up."""

    def __init__(self, tokenizer: Tokenizer, fingerprint: bytes, limit: int, path: Path | None = None) -> None:
        self._tokenizer, self._fingerprint, self._limit = tokenizer, fingerprint, limit
        self._new: dict[bytes, int | str] = {}  # counts, and the messages of rows that cannot be rendered
        self._database = _opened(path or cache_dir() / "token_counts.sqlite")
        self._last: tuple[Row | None, int | str] = None, 0

    def __call__(self, row: Row) -> int | str:
        """Tokens of the row's longest sequence; why it has none where it cannot be rendered. The last row is remembered: the
        check and the report both ask for it."""
        if self._last[0] is not row:
            self._last = row, self._count(row)
        return self._last[1]

    def _count(self, row: Row) -> int | str:
        text = orjson.dumps([row["messages"], row["tools"]])
        if len(text) > HUGE and len(text) // LONGEST_TOKEN > self._limit:
            return len(text) // LONGEST_TOKEN
        if len(row["messages"]) > MANY:
            minimum = self._remembered(b"last turn", text, render.count_last_turn, row)
            if isinstance(minimum, int) and minimum > self._limit:
                return minimum
        return self._remembered(b"", text, render.count_tokens, row)

    def _remembered(self, kind: bytes, text: bytes, count: Callable[[Row, Tokenizer], int], row: Row) -> int | str:
        """`count` of the row with this text, from the cache if it is there; each `kind` of count has keys of its own."""
        key = hashlib.blake2b(text, key=self._fingerprint, person=kind, digest_size=16).digest()
        counted = self._cached(key)
        if counted is None:
            try:
                counted = count(row, self._tokenizer)
            except Unrenderable as error:
                counted = str(error)
            self._new[key] = counted
            if len(self._new) >= FLUSH_EVERY:
                self.flush()
        return counted

    def flush(self) -> None:
        """Writes the new counts."""
        if self._database and self._new:
            try:
                with self._database:
                    self._database.executemany("INSERT OR IGNORE INTO counts VALUES (?, ?)", self._new.items())
            except sqlite3.Error:  # such as a full disk: then the rows are counted again next time
                self._database = None
        self._new.clear()

    def _cached(self, key: bytes) -> int | str | None:
        if key in self._new:
            return self._new[key]
        if self._database:
            try:
                row = self._database.execute("SELECT count FROM counts WHERE key = ?", (key,)).fetchone()
            except sqlite3.Error:
                self._database = None
                return None
            return row[0] if row else None
        return None


def opened(student: str, tokenizer: Tokenizer, limit: int) -> TokenCounts:
    """The counts of `student.path`; beyond `limit` tokens they need not be exact."""
    return TokenCounts(tokenizer, fingerprint(base.find(student, weights=False).directory, tokenizer), limit)


def fingerprint(folder: Path, tokenizer: Tokenizer) -> bytes:
    """A hash of what a count depends on beside the row: the tokenizer's files, the template, and the code that renders."""
    digest = hashlib.blake2b(digest_size=16)
    code = [Path(module.__file__ or "") for module in CODE]
    files = [folder / name for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json")]
    for file in [*code, *files]:
        digest.update(hashlib.sha256(file.read_bytes() if file.is_file() else b"").digest())
    for text in (tokenizer.template, version("tokenizers"), version("jinja2")):
        digest.update(hashlib.sha256(text.encode()).digest())
    return digest.digest()


def _opened(path: Path) -> sqlite3.Connection | None:
    """The database of counts; None where it can be neither read nor made: then nothing is cached."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _connected(path)
    except OSError:
        return None
    except sqlite3.DatabaseError:
        path.unlink(missing_ok=True)  # damaged: it holds nothing that cannot be counted again
        try:
            return _connected(path)
        except sqlite3.Error:
            return None


def _connected(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=TIMEOUT_S)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = OFF")
    database.execute("CREATE TABLE IF NOT EXISTS counts (key BLOB PRIMARY KEY, count) WITHOUT ROWID")
    return database
