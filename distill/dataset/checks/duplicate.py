"""No other row that stays has the same conversation.

Ids of calls, spacing and case make no difference; the tools offered do. Of several copies the best one stays (see
`facts.rank`), whatever the order of the rows.
"""

import hashlib
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import orjson

from distill.dataset import facts
from distill.dataset.checks.fault import Fault
from distill.dataset.facts import Facts
from distill.records.ids import canonical, canonical_text
from distill.records.types import Row

ADVICE = "all rows repeat each other: ask for more prompts (teacher.n), or raise teacher.temperature"
_SPACES = b"\t\n\v\f\r\x1c\x1d\x1e\x1f"
_FOLDED = bytes.maketrans(bytes(range(65, 91)) + _SPACES, bytes(range(97, 123)) + b" " * len(_SPACES))


def losers(
    standing: Mapping[int, Facts], rows: Callable[[], Iterable[Row]], filters: Mapping[str, Any]
) -> dict[int, Fault]:
    """The rows (by place) that repeat a better one."""
    best: dict[bytes | None, int] = {}
    for place, row_facts in standing.items():
        first = best.setdefault(row_facts.digest, place)
        if first != place and facts.rank(row_facts) < facts.rank(standing[first]):
            best[row_facts.digest] = place
    return {
        place: Fault(f"the same conversation as rollout {standing[kept].rollout_id}")
        for place, row_facts in standing.items()
        if (kept := best[row_facts.digest]) != place
    }


def digest(row: Row, contents: str) -> bytes:
    """A hash, equal for rows with the same conversation. `contents` is the first of `texts.contents_and_arguments`."""
    parts: list[Any] = []
    position: dict[str, int] = {}
    for message in row["messages"]:
        parts.append(message["role"])
        if "reasoning_content" in message:
            parts.append(True)
        if message.get("refusal"):
            parts.append(False)
        if "tool_calls" in message:
            for number, call in enumerate(message["tool_calls"]):
                function = call["function"]
                position[call["id"]] = number
                parts += (function["name"], canonical_text(function["arguments"]))
        elif "tool_call_id" in message:
            parts.append(position.get(message["tool_call_id"], 0))
    text = b"".join((_fold(contents), orjson.dumps(parts), _tools(orjson.dumps(row["tools"]))))
    return hashlib.sha256(text).digest()[:16]


def _fold(text: str) -> bytes:
    """The text without case, each run of white space as one space."""
    if not text.isascii():
        return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).encode("utf-8", "surrogatepass")
    folded = text.encode().translate(_FOLDED)  # the same for ASCII, and ten times as fast
    while b"  " in folded:
        folded = folded.replace(b"  ", b" ")
    return folded.strip()


@lru_cache(maxsize=4096)
def _tools(text: bytes) -> bytes:
    return hashlib.blake2b(canonical(orjson.loads(text)), digest_size=16).digest()
