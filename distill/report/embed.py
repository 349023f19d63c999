"""The data inside the page: an index, parsed when the page opens, and chunks of conversations, parsed when needed."""

from typing import Any

import orjson

from distill.answers import groups
from distill.report import words

CHUNK = 200
"""Conversations of a chunk."""
QUESTION_CHARS = 160
ANSWER_CHARS = 80
MOST_VALUES = 24
"""Values of a metadata key by which the list can still be filtered."""
MIXED = "mixed"
"""The verdict on several answers, some of which are right."""
_ESCAPED = "<>&\u2028\u2029"
"""Inside <script>, only these could end or change the element, or break an older JavaScript parser."""


def blocks(conversations: list[dict[str, Any]], keys: list[str], thoughts_learned: bool | None) -> dict[str, str]:
    """Text of data block by element id: `index`, and `chunk-0`, `chunk-1`, ... of CHUNK records.

    `keys` are those of `group_keys`; `thoughts_learned` says whether the student learns the thoughts of the turns that it
    learns, None where that is not known.
    """
    toolsets = _toolsets(conversations)
    records = [{**record, "tools": toolsets[orjson.dumps(record["tools"])]} for record in conversations]
    index = {
        "chunk": CHUNK,
        "items": [_item(record, keys) for record in conversations],
        "groups": keys,
        "thoughts": thoughts_learned,
        "toolsets": [orjson.loads(tools) for tools in toolsets],
        "words": {
            "fate": words.FATES,
            "split": words.SPLITS,
            "stop": words.STOPS,
            "why": words.CHECKS,
            "who": words.WHO,
            "rules": words.check_rules(),
        },
    }
    chunks = [records[start : start + CHUNK] for start in range(0, len(records), CHUNK)]
    return {"index": embedded(index)} | {f"chunk-{number}": embedded(chunk) for number, chunk in enumerate(chunks)}


def embedded(value: Any) -> str:
    """JSON that is safe between <script> and </script>, whatever strings it holds."""
    text = orjson.dumps(value).decode()
    for character in _ESCAPED:
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _item(conversation: dict[str, Any], keys: list[str]) -> dict[str, Any]:
    """The fields of a conversation that the list shows, sorts and filters by."""
    group = groups.of(conversation["metadata"])
    first = conversation["talks"][0]
    calls = [call for message in first["messages"] for call in message.get("tool_calls") or []]
    question = next(
        (message["content"] for message in reversed(conversation["prompt"]) if message["role"] == "user"), ""
    )
    return {
        "id": conversation["id"],
        "split": conversation["split"],
        "fate": conversation["fate"],
        "stop": first["stop_reason"],
        "failure": conversation["failure"],
        "sample": conversation["sample"],
        "question": _short(question, QUESTION_CHARS),
        "answer": _short(first["answer"] or "", ANSWER_CHARS),
        "correct": _verdicts(conversation["talks"]),
        "turns": sum(message["role"] == "assistant" for message in first["messages"]),
        "tokens": first["tokens"],
        "cost": first["cost_usd"],
        "tools": list(dict.fromkeys(call["function"]["name"] for call in calls)),
        "why": [reason["check"] for reason in conversation["reasons"]],
        "meta": [group.get(key, "") for key in keys],
    }


def _verdicts(talks: list[dict[str, Any]]) -> dict[str, bool | str | None]:
    """Who -> whether all that it answered is right, None where that is not known, MIXED where some of it is."""
    found: dict[str, list[bool | None]] = {}
    for talk in talks:
        found.setdefault(talk["who"], []).append(talk["correct"])
    return {who: verdicts[0] if len(set(verdicts)) == 1 else MIXED for who, verdicts in found.items()}


def _short(text: str, most: int) -> str:
    """The beginning of a text in one line, at most `most` characters."""
    text = " ".join(text[: 4 * most].split())
    return text if len(text) <= most else text[: most - 1] + "…"


def _toolsets(conversations: list[dict[str, Any]]) -> dict[bytes, int]:
    """Each distinct list of offered tools -> its number: in most projects all conversations share one."""
    toolsets: dict[bytes, int] = {}
    for conversation in conversations:
        toolsets.setdefault(orjson.dumps(conversation["tools"]), len(toolsets))
    return toolsets


def group_keys(conversations: list[dict[str, Any]]) -> list[str]:
    """Metadata keys that sort the conversations into a few groups, such as a task family."""
    found = groups.Groups(MOST_VALUES)
    for conversation in conversations:
        found.add((key, value) for key, value in groups.pairs(conversation["metadata"]) if isinstance(value, str))
    return [key for key, counts in found.counts.items() if counts and len(counts) > 1 and max(counts.values()) > 1]
