"""Rows of datasets as conversations, `{messages, tools, metadata}`: their columns have many names, and some hold JSON as text.

What a row says beside its conversation and its tools goes into the metadata. What a system message says of tools and of how
to call them is left out: the student's template says it in its own way.
"""

import difflib
from functools import lru_cache
from typing import Any

import re2

from distill.dataset.imports import conversations, turns
from distill.dataset.imports.turns import read_value
from distill.records.faults import InputError
from distill.records.types import Message

TALK = ("messages", "conversations")
TOOLS = ("tools", "functions", "available_tools", "xml_tools")
"""OpenAI's name and its older one, Toucan's, and smoltalk2's, which is within `chat_template_kwargs`."""
SYSTEM = ("system", "system_prompt", "custom_instructions")
"""A system message that is a column; the last is smoltalk2's, in the same place."""
UNREAD = ("images", "image", "videos", "audios", "chosen", "rejected", "chosen_response", "kto_tag")
# RE2, as in turns.py.
LISTED = re2.compile(r"(?s)<tools>\s*([\[{]\W.*?)\s*</tools>")
DECLARED = re2.compile(r"(?s)<\|im_system\|>tool_declare<\|im_middle\|>(.*?)<\|im_end\|>")
"""How Kimi's template lists tools, which is in Toucan's system messages."""


def conversation(value: Any) -> Any:
    """The conversation in a row of a dataset; anything else, such as a rollout or a training row of ours, as it is.

    Raises InputError with what is wrong first, as `/pointer: message`.
    """
    key = next((name for name in TALK if isinstance(value, dict) and name in value), None)
    if key is None or (key == "messages" and conversations.is_ours(value)):
        return value
    if unread := [name for name in UNREAD if value.get(name) not in (None, [], "")]:
        raise InputError(f"/{unread[0]}: is not read: a row is one conversation, of texts only; leave such rows out")
    columns, metadata = _columns(value)
    for name, cell in columns.items():
        if cell not in (None, [], "") and (meant := _meant(name)) and meant not in columns:
            raise InputError(f"/{name}: is it `{meant}`? then name it so, else leave it out")
    if columns.get("split") == "eval":
        raise InputError("/split: conversations are trained on: a prompt that is held out belongs into data/seed/")
    talk = read_value(columns.pop(key), f"/{key}")
    if not isinstance(talk, list):
        raise InputError(f"/{key}: must be a list of turns, or of messages")
    tools = _tools(_first(columns, TOOLS), "/tools")
    system = _first(columns, SYSTEM)
    for text in [system, *map(turns.system_text, talk)]:
        tools = tools or _tools_in(text)
    messages = turns.messages(talk, f"/{key}", bool(tools))
    if system and system not in map(turns.system_text, messages):
        messages = [{"role": "system", "content": system}, *messages]
    messages = [message for message in map(_without_tools, messages) if turns.system_text(message) != ""]
    columns.pop("parallel_tool_calls", None)
    others = {name: cell for name, cell in columns.items() if cell is not None}
    return {
        "messages": messages,
        "tools": tools,
        "metadata": others | metadata if isinstance(metadata, dict) else metadata,
    }


def _columns(value: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """The columns of a row with those within another, and its metadata. Nemotron has the tools in its metadata, a text."""
    inner = value.get("chat_template_kwargs")
    columns = {**inner, **value, "chat_template_kwargs": None} if isinstance(inner, dict) else dict(value)
    given = columns.pop("metadata", None) or {}
    metadata = read_value(given, "/metadata")
    if isinstance(given, str) and isinstance(metadata, dict) and "tools" in metadata:
        columns["tools"] = columns.get("tools") or metadata.pop("tools")
    return columns, metadata


@lru_cache(1_000)
def _meant(name: str) -> str | None:
    """The column whose name was mistyped; a list of tools in the metadata would be lost without a word."""
    known = (*TOOLS, *SYSTEM, "metadata")
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
    return near[0] if near and name not in known else None


def _first(columns: dict[str, Any], names: tuple[str, ...]) -> Any:
    """The first of these columns that is not empty; of them, only others that are not empty are left."""
    full = [name for name in names if columns.get(name)]
    cells = [columns.pop(name, None) for name in names if name not in full[1:]]
    return next(filter(None, cells), None)


def _tools(given: Any, where: str) -> Any:
    """The tools of a list, of its text, of a text with one a line, or of a list of such texts."""
    if isinstance(given, list) and all(isinstance(tool, str) and "{" in tool for tool in given):
        given = "\n".join(given)
    if not isinstance(given, str):
        return given or []
    text = listed[1] if (listed := LISTED.search(given)) else given
    if text.lstrip()[:1] == "[":
        return _tools(read_value(text, where), where)
    return [read_value(line, where) for line in text.split("\n") if line.strip()]


def _tools_in(text: Any) -> Any:
    found = isinstance(text, str) and (LISTED.search(text) or DECLARED.search(text))
    return _tools(found[1], "/tools (of the system message)") if found else []


def _without_tools(message: Message) -> Message:
    """A system message without the lines from the first that names <tools> to the end of the last tag about calls."""
    text = turns.system_text(message)
    if text is None:
        return message
    kept = DECLARED.sub("", text)
    if LISTED.search(kept):
        begin = kept.rfind("\n", 0, kept.index("<tools>")) + 1
        end = max(kept.rfind(tag) + len(tag) for tag in ("</tools>", "</tool_call>"))
        kept = kept[:begin] + kept[end:]
    return message if kept == text else {**message, "content": kept.strip()}
