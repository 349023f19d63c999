"""A turn that is streamed: what of it is sure while it is still being said."""

from collections.abc import Sequence

import regex

from distill.student.reply import Form

TAIL_CHARS = 100
"""As much of a prompt as can hold a thought that the template itself opens and closes."""
HALF_A_CHARACTER = "\ufffd"
"""What a decoder makes of the first bytes of a character."""


class Stream:
    """The turn that follows `prompt`, of a student who writes as `form` says; it ends before any text of `stops`."""

    def __init__(self, form: Form, prompt: str, stops: Sequence[str]):
        self._form, self._stops = form, stops
        self._call = regex.compile(form.calls.begin.pattern)  # Python's own re knows no half a match
        closed = form.thought and regex.search(rf"(?s:{form.thought.pattern})\Z", prompt[-TAIL_CHARS:])
        self._thought = None if closed else form.thought

    def sure(self, said: str) -> dict[str, str]:
        """What `Form.read` will make of a turn that begins with `said`, as far as nothing that follows can change it: the
        `role`, `content`, and `reasoning_content` once the thought is closed.

        What may turn out to be the beginning of a call or of a text of `stops` is not sure, nor white space at the end,
        which is dropped before a call.
        """
        message = {"role": "assistant"}
        said = said[: min((_place(said, stop) for stop in self._stops), default=None)].rstrip(HALF_A_CHARACTER)
        if self._thought:
            if not (found := self._thought.match(said)):
                return message
            said = said[found.end() :]
            if found[1].strip():
                message["reasoning_content"] = found[1]
        if call := self._call.search(said, partial=True):
            said = said[: call.start()]
        if content := self._form.special.sub("", said.rstrip()):
            message["content"] = content
        return message


def _place(text: str, stop: str) -> int:
    """Where `stop` begins in a text, be it the beginning of it only at the very end; the end for nowhere."""
    found = regex.search(regex.escape(stop), text, partial=True)
    return found.start() if found else len(text)
