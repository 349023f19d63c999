"""Streams a turn: finds the part of its message that is certain while it is still being generated."""

from collections.abc import Sequence

import regex

from distill.student.serving.calls import NEVER
from distill.student.serving.reply import Form

TAIL_CHARS = 100
"""Characters at the end of a prompt that can hold a thought which the template itself opens and closes."""
HALF_A_CHARACTER = "\ufffd"
"""What a decoder returns for the first bytes of a character."""


class Stream:
    """The turn that follows `prompt`, in the form of the student's template; it ends before any text of `stops`."""

    def __init__(self, form: Form, prompt: str, stops: Sequence[str]):
        self._stops = [regex.compile(regex.escape(stop)) for stop in stops]
        # Python's own re has no partial matches.
        call = form.calls.begin if form.calls else NEVER
        self._call, self._special = (regex.compile(kind.pattern) for kind in (call, form.special))
        closed = form.thought and regex.search(rf"(?s:{form.thought.pattern})\Z", prompt[-TAIL_CHARS:])
        self._thought = None if closed else form.thought

    def sure(self, text: str) -> dict[str, str]:
        """The part of the message from `Form.read` that nothing after `text`, the beginning of the turn, can change: the
        `role`, `content`, and `reasoning_content` once the thought is closed.

        Left out is what may become a call or a text of `stops`, white space at the end (which is dropped before a call),
        and what may become a special token (which is dropped).
        """
        message = {"role": "assistant"}
        text = text[: min((_place(text, stop) for stop in self._stops), default=None)].rstrip(HALF_A_CHARACTER)
        if self._thought:
            if not (thought := self._thought.match(text)):
                return message
            text = text[thought.end() :]
            if thought[1].strip():
                message["reasoning_content"] = thought[1]
        text = self._special.sub("", text[: _place(text, self._call)])
        if content := text[: _place(text, self._special)].rstrip():
            message["content"] = content
        return message


def _place(text: str, pattern: "regex.Pattern[str]") -> int:
    """Where a pattern matches in a text, or may match once the text goes on; the end of the text where it does not."""
    found = pattern.search(text, partial=True)
    return found.start() if found else len(text)
