"""Detects a server that returns tool calls as text, since it lacks the right parser: to the agent loop, such a model calls
no tools, and its first answer is its last."""

from collections.abc import Callable
from typing import Any

from distill.records.types import Message, ToolSchema
from distill.teacher import calls_in_text
from distill.teacher.errors import Fatal

SHOWN = 60
"""Characters of a call that are shown."""


class UnreadCalls:
    """Watches a server's answers. `most`: calls in the text of one that has parsed none, after which the run ends: a few
    may be the model's fault, a broken call that can be read here and not there.

    `called` gives the names of the tools that a text calls; `parser` is vLLM's name for the form of the calls, if any.
    """

    def __init__(
        self,
        most: int,
        called: Callable[[str, list[dict[str, Any]]], set[str]] = calls_in_text.called,
        parser: str | None = None,
    ):
        self._most, self._called = most, called
        self._how = f" (vLLM: --enable-auto-tool-choice --tool-call-parser {parser})" if parser else ""
        self._reads = False
        self._unread = 0

    def look(self, message: Message, tools: list[ToolSchema]) -> str | None:
        """What there is to say of an answer that calls one of the `tools` in its text, while none of the server's came as
        a call; None of any other. Raises Fatal at the last one that is let pass."""
        if message.get("tool_calls"):
            self._reads = True
        if self._reads or not tools:
            return None
        names = {tool["function"]["name"] for tool in tools}
        if not names & self._called(message["content"], tools):
            return None
        self._unread += 1
        words = f"its server gives tool calls as text, such as {message['content'][:SHOWN]!r}"
        if self._unread == self._most:
            raise Fatal("parameter_refused", f"{words}; start it with a parser for them{self._how}")
        return words
