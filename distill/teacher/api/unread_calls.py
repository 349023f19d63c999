"""Detects a server that returns tool calls as text, since it has not the right parser for its model. To the agent loop, such
a model calls no tools, and its first answer would be its last."""

from collections.abc import Callable
from typing import Any

from distill.records.types import Message, ToolSchema
from distill.teacher.api import calls_in_text
from distill.teacher.errors import Fatal

SHOWN_CHARS = 60
"""Of an unread call, in the error message."""


class UnreadCalls:
    """Checks the answers of one server. `most`: answers with calls in their text, from a server that has parsed no call
    yet, after which the run ends. A few may be the model's fault: broken calls that can be read here and not there.

    `called` gives the names of the tools that a text calls; `parser` is the name of vLLM's parser for them, if any.
    """

    def __init__(
        self,
        most: int,
        called: Callable[[str, list[dict[str, Any]]], set[str]] = calls_in_text.called,
        parser: str | None = None,
    ):
        self._most, self._called = most, called
        self._hint = f" (vLLM: --enable-auto-tool-choice --tool-call-parser {parser})" if parser else ""
        self._has_parsed_calls = False
        self._unread_answers = 0

    def check(self, message: Message, tools: list[ToolSchema]) -> str | None:
        """The error message for an answer that calls one of the `tools` in its text, if the server has parsed no call yet;
        else None. Raises Fatal for the last of `most` such answers."""
        if message.get("tool_calls"):
            self._has_parsed_calls = True
        if self._has_parsed_calls or not tools:
            return None
        names = {tool["function"]["name"] for tool in tools}
        if not names & self._called(message["content"], tools):
            return None
        self._unread_answers += 1
        problem = f"its server gives tool calls as text, such as {message['content'][:SHOWN_CHARS]!r}"
        if self._unread_answers == self._most:
            raise Fatal("parameter_refused", f"{problem}; start it with a parser for them{self._hint}")
        return problem
