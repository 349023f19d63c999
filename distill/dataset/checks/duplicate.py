"""No other row that stays has the same conversation.

Ids of calls, spacing and case do not make a difference; the tools offered do. Which of several copies stays is a rule
about the rows, never their order: not wrong before wrong, finished first, then the smallest rollout_id.
"""

import hashlib
import unicodedata
from collections.abc import Iterable
from typing import Any

import orjson

from distill.dataset.checks.context import Context
from distill.dataset.checks.fault import Fault
from distill.records.faults import InputError
from distill.records.ids import canonical

ADVICE = "all rows repeat each other: ask for more prompts (teacher.n), or raise teacher.temperature"

Rank = tuple[bool, bool, str]


def check(row: dict[str, Any], context: Context) -> Fault | None:
    original = context.copies.get(row["rollout_id"])
    return Fault(f"the same conversation as rollout {original}") if original else None


def copies(rows: Iterable[dict[str, Any]]) -> dict[str, str]:
    """The rollout_id of each row that repeats another, with the rollout_id of the one that stays.

    Raises InputError where a rollout_id itself occurs twice.
    """
    best: dict[bytes, Rank] = {}
    losers: dict[str, bytes] = {}
    seen: set[str] = set()
    for row in rows:
        if row["rollout_id"] in seen:
            raise InputError(f"/rollout_id: {row['rollout_id']} occurs twice; run convert again")
        seen.add(row["rollout_id"])
        digest, rank = _digest(row), _rank(row)
        kept = best.setdefault(digest, rank)
        if kept is not rank:
            best[digest] = min(kept, rank)
            losers[max(kept, rank)[-1]] = digest
    return {loser: best[digest][-1] for loser, digest in losers.items()}


def _rank(row: dict[str, Any]) -> Rank:
    return row["outcome"]["correct"] is False, row["outcome"]["status"] != "completed", row["rollout_id"]


def _digest(row: dict[str, Any]) -> bytes:
    parts: list[Any] = [row["tools"]]
    position: dict[str, int] = {}
    for message in row["messages"]:
        calls = message.get("tool_calls", [])
        position.update({call["id"]: number for number, call in enumerate(calls)})
        parts.append(
            [
                message["role"],
                _fold(message.get("content")),
                _fold(message.get("reasoning_content")),
                [[call["function"]["name"], _arguments(call["function"]["arguments"])] for call in calls],
                position.get(message.get("tool_call_id", ""), 0),
            ]
        )
    return hashlib.blake2b(canonical(parts), digest_size=16).digest()


def _fold(text: str | None) -> str:
    return " ".join(unicodedata.normalize("NFKC", text or "").casefold().split())


def _arguments(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
