"""Detects a server that returns the student's tool calls as text, since it lacks the right parser: to the exam, such a
student would call no tools."""

from typing import Any

from distill.student.serving.reply import Form
from distill.teacher.errors import Fatal

UNREAD = 3
"""Calls in the text of a server that has parsed none, after which the run ends. One may be the student's fault: a broken
call that can be read here and not there."""
SHOWN = 60
"""Characters of a call that are shown."""


class UnreadCalls:
    """Watches a server's answers. `form` is how the student writes calls; `parser` is vLLM's name for that, if any."""

    def __init__(self, form: Form, parser: str | None):
        self._form, self._parser = form, parser
        self._reads = False
        self._unread = 0

    def look(self, message: dict[str, Any], tools: list[dict[str, Any]]) -> None:
        """Raises Fatal at the third call that came as text, where none came as a call."""
        if message.get("tool_calls"):
            self._reads = True
        if self._reads or not tools:
            return
        names = {tool["function"]["name"] for tool in tools}
        parsed = self._form.read(message["content"], tools)
        if not names & {call["function"]["name"] for call in parsed.get("tool_calls", [])}:
            return
        self._unread += 1
        if self._unread == UNREAD:
            how = f" (vLLM: --enable-auto-tool-choice --tool-call-parser {self._parser})" if self._parser else ""
            raise Fatal(
                "parameter_refused",
                f"its server gives tool calls as text, such as {message['content'][:SHOWN]!r}; start it with a"
                f" parser for them{how}",
            )
