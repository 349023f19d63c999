"""Tool calls in the text of an answer: those that a small model writes in a code fence, or as a Python dict, in place of the
form that its template asks for, and those that a server should have parsed.

No server parses the former; without demonstrations, Qwen2.5-Coder wrote one in every third rollout of a trial.
"""

import ast
import json
import re
from contextlib import suppress
from itertools import islice

from distill.records.types import Message, ToolSchema

FIRST_CALL = re.compile(r"""(?:```\w*\s*)?(?:\[\s*)?(?=\{\s*["']name["']\s*:)""")
"""The start of the calls: a dict with a `name`, and the fence or the list that it may be in."""
MOST_BRACES = 50
"""Closing braces that are tried as the end of a call: a model that repeats itself writes thousands."""
BETWEEN_CALLS = re.compile(r"(?:\s|```\w*|[\],])*")
MARKS = re.compile(r"<\|?/?\|?tool_calls?\|?>|\[/?TOOL_CALLS\]|<\|python_tag\|>")
"""Marks that models write around calls in JSON: Hermes and Qwen, Granite and Phi; Mistral; Llama."""
MARKED_NAME = re.compile(
    r"(?:<tool_call>\s*|<function=|<invoke name=\"|\[TOOL_CALLS\]|<\|python_tag\|>"
    r"|<\|tool_call_begin\|>(?:functions\.)?|<｜tool▁sep｜>)([\w.-]+)"
)
"""A mark and, behind it, the name of the tool: Qwen's coders, GLM, Llama, MiniMax, Mistral, Kimi, DeepSeek."""
MARKED_END = re.compile(r"[>}\]]\s*\Z")
TYPE = re.compile(r'"type"\s*:\s*"function"\s*,\s*')
WHOLE_TEXT = re.compile(r"\s*(?:\[([\w.-]+)\((?:\w+\s*=.*)?\)\]|([\w.-]+)(?:\[ARGS\])?\s*\{.*\})\s*", re.DOTALL)
"""A text that is nothing but a call as Llama 4 writes it, or as Mistral does, whose mark many servers drop."""


def read(message: Message, tools: list[ToolSchema]) -> Message:
    """The assistant message with the calls that its text ends with moved to `tool_calls`, their ids empty.

    Unchanged if there are none, if it has `tool_calls` already, if a call is of a tool that is not among `tools`, or if text
    follows the calls.
    """
    text = message.get("content") or ""
    start = FIRST_CALL.search(text)
    if message.get("tool_calls") or not start:
        return message
    names = [tool["function"]["name"] for tool in tools]
    calls, position = [], start.end()
    while position < len(text):
        function, position = _function(text, position)
        if not function or function["name"] not in names:
            return message
        calls.append({"id": "", "type": "function", "function": function})
        position = BETWEEN_CALLS.match(text, position).end()  # type: ignore[union-attr]
    return message | {"content": text[: start.start()].rstrip(), "tool_calls": calls}


def called(text: str, tools: list[ToolSchema]) -> set[str]:
    """The names of those `tools` whose calls a text ends with, in any of the forms above. Empty if the text is an answer,
    even one that shows calls and goes on after them."""
    plain = TYPE.sub("", MARKS.sub("", text)).replace('"parameters"', '"arguments"')
    calls = read({"content": plain}, tools).get("tool_calls", [])
    whole = WHOLE_TEXT.fullmatch(text)
    marked = MARKED_NAME.findall(text) if MARKED_END.search(text) else ()
    offered = {tool["function"]["name"] for tool in tools}
    return offered & {*marked, *(whole.groups() if whole else ()), *(call["function"]["name"] for call in calls)}


def _function(text: str, start: int) -> tuple[dict[str, str] | None, int]:
    """Name and arguments (as JSON) of the call that starts at `start`, and its end; None in place of them if it is no call."""
    for brace in islice(re.finditer(r"\}", text[start:]), MOST_BRACES):
        end = start + brace.end()
        for parse in (json.loads, ast.literal_eval):
            with suppress(ValueError, SyntaxError, TypeError, AttributeError, RecursionError, MemoryError):
                value = parse(text[start:end])
                if value.keys() != {"name", "arguments"} or not isinstance(value["arguments"], dict):
                    return None, end
                return {"name": value["name"], "arguments": json.dumps(value["arguments"], ensure_ascii=False)}, end
    return None, start
