"""A turn that is streamed: what of it is sure while it is still being said."""

from collections.abc import Sequence

import regex

from distill.student.serving.reply import Form

TAIL_CHARS = 100
"""As much of a prompt as can hold a thought that the template itself opens and closes."""
HALF_A_CHARACTER = "\ufffd"
"""What a decoder makes of the first bytes of a character."""


class Stream:
    """The turn that follows `prompt`, of a student who writes as `form` says; it ends before any text of `stops`."""

    def __init__(self, form: Form, prompt: str, stops: Sequence[str]):
        self._stops = [regex.compile(regex.escape(stop)) for stop in stops]
        # Python's own re knows no half a match.
        self._call, self._special = (regex.compile(kind.pattern) for kind in (form.calls.begin, form.special))
        closed = form.thought and regex.search(rf"(?s:{form.thought.pattern})\Z", prompt[-TAIL_CHARS:])
        self._thought = None if closed else form.thought

    def sure(self, said: str) -> dict[str, str]:
        """What `Form.read` will make of a turn that begins with `said`, as far as nothing that follows can change it: the
        `role`, `content`, and `reasoning_content` once the thought is closed.

        What may turn out to be the beginning of a call or of a text of `stops` is not sure, nor white space at the end,
        which is dropped before a call, nor what may become a special token, which is no text.
        """
        message = {"role": "assistant"}
        said = said[: min((_place(said, stop) for stop in self._stops), default=None)].rstrip(HALF_A_CHARACTER)
        if self._thought:
            if not (found := self._thought.match(said)):
                return message
            said = said[found.end() :]
            if found[1].strip():
                message["reasoning_content"] = found[1]
        said = self._special.sub("", said[: _place(said, self._call)])
        if content := said[: _place(said, self._special)].rstrip():
            message["content"] = content
        return message


def _place(text: str, pattern: "regex.Pattern[str]") -> int:
    """Where the pattern is met in a text, be it by the beginning of a match at the very end; the end for nowhere."""
    found = pattern.search(text, partial=True)
    return found.start() if found else len(text)
