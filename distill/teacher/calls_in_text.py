"""Calls that come as text: those that a small model writes in a fence, or as Python has dicts, in place of the form that
its template asks for, and those that a server should have read. No server reads the former; without demonstrations
Qwen2.5-Coder wrote one in every third rollout of a trial.
"""

import ast
import json
import re
from contextlib import suppress
from itertools import islice

from distill.records.types import Message, ToolSchema

BEGIN = re.compile(r"""(?:```\w*\s*)?(?:\[\s*)?(?=\{\s*["']name["']\s*:)""")
MOST_BRACES = 50
"""Ends of a call that are tried: a model that has lost itself writes thousands."""
BETWEEN = re.compile(r"(?:\s|```\w*|[\],])*")
MARKS = re.compile(r"<\|?/?\|?tool_calls?\|?>|\[/?TOOL_CALLS\]|<\|python_tag\|>")
"""What models write around calls in JSON: Hermes and Qwen, Granite and Phi; Mistral; Llama."""
NAMED = re.compile(
    r"(?:<tool_call>\s*|<function=|<invoke name=\"|\[TOOL_CALLS\]|<\|python_tag\|>"
    r"|<\|tool_call_begin\|>(?:functions\.)?|<｜tool▁sep｜>)([\w.-]+)"
)
"""A call that begins with a mark and the tool's name: Qwen's coders, GLM, Llama, MiniMax, Mistral, Kimi, DeepSeek."""
MARKED_END = re.compile(r"[>}\]]\s*\Z")
TYPE = re.compile(r'"type"\s*:\s*"function"\s*,\s*')
ALONE = re.compile(r"\s*(?:\[([\w.-]+)\((?:\w+\s*=.*)?\)\]|([\w.-]+)(?:\[ARGS\])?\s*\{.*\})\s*", re.DOTALL)
"""A text that is a call as Llama 4 writes it, or as Mistral does, whose mark many servers drop."""


def read(message: Message, tools: list[ToolSchema]) -> Message:
    """The assistant message with the calls with which its text ends, their ids empty; as it is where there are none,
    where it has calls already, and where one is of a tool that is not among `tools` or text follows it."""
    text = message.get("content") or ""
    begun = BEGIN.search(text)
    if message.get("tool_calls") or not begun:
        return message
    names = [tool["function"]["name"] for tool in tools]
    calls, place = [], begun.end()
    while place < len(text):
        function, place = _function(text, place)
        if not function or function["name"] not in names:
            return message
        calls.append({"id": "", "type": "function", "function": function})
        place = BETWEEN.match(text, place).end()  # type: ignore[union-attr]
    return message | {"content": text[: begun.start()].rstrip(), "tool_calls": calls}


def called(text: str, tools: list[ToolSchema]) -> set[str]:
    """The names of the `tools` that a text ends in calls of, in any form that is known here; empty where it is an answer,
    also one that speaks of calls and goes on after them."""
    plain = TYPE.sub("", MARKS.sub("", text)).replace('"parameters"', '"arguments"')
    calls = read({"content": plain}, tools).get("tool_calls", [])
    alone = ALONE.fullmatch(text)
    named = [*(NAMED.findall(text) if MARKED_END.search(text) else ()), *(alone.groups() if alone else ())]
    offered = {tool["function"]["name"] for tool in tools}
    return offered & {*named, *(call["function"]["name"] for call in calls)}


def _function(text: str, start: int) -> tuple[dict[str, str] | None, int]:
    """Name and arguments (as JSON) of the call that begins at `start`, and where it ends; None for anything else."""
    for brace in islice(re.finditer(r"\}", text[start:]), MOST_BRACES):
        end = start + brace.end()
        for parse in (json.loads, ast.literal_eval):
            with suppress(ValueError, SyntaxError, TypeError, AttributeError, RecursionError, MemoryError):
                value = parse(text[start:end])
                if value.keys() != {"name", "arguments"} or not isinstance(value["arguments"], dict):
                    return None, end
                return {"name": value["name"], "arguments": json.dumps(value["arguments"], ensure_ascii=False)}, end
    return None, start
