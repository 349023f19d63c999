"""What a student wrote, read back as the message that its chat template would have written so.

There is no list of model families here: the template itself is asked. It renders turns of which every part is known (a
text, a thought, a call), and what it puts around the known parts is how the student marks them.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from distill.records.faults import InputError
from distill.student.tokenizer import Tokenizer

TEXT, THOUGHT, NAME, KEY, VALUE = (f"Qz{word}" for word in ("text", "thought", "name", "key", "value"))
ARGUMENTS = re.compile(rf'\{{\s*"{KEY}"\s*:\s*"{VALUE}"\s*\}}')
CALL = {"id": "call_1", "type": "function", "function": {"name": NAME, "arguments": {KEY: VALUE}}}
SHOWN_CALL = {"content": "", "tool_calls": [CALL]}
"""An assistant message with one call."""
TOOL = {
    "type": "function",
    "function": {"name": NAME, "parameters": {"type": "object", "properties": {KEY: {"type": "string"}}}},
}


@dataclass(frozen=True)
class Form:
    """How a template writes an assistant turn."""

    thought: re.Pattern[str] | None
    """A thought at the beginning of a turn, in group 1; None: the template writes none."""
    call: re.Pattern[str] | None
    """From the mark of a call to where its arguments begin, the tool's name in group 1; None: not with JSON."""
    close: re.Pattern[str] | None
    """What follows the arguments of a call."""
    special: re.Pattern[str]
    """Special tokens, which are no text."""

    def read(self, text: str) -> dict[str, Any]:
        """The assistant message in `text`, a turn without its end: content, thoughts, and calls with ids from call_1.

        The arguments of a call are as the student wrote them, JSON or not.
        """
        message: dict[str, Any] = {"role": "assistant", "content": ""}
        if self.thought and (found := self.thought.match(text)):
            text = text[found.end() :]
            if found[1].strip():
                message["reasoning_content"] = found[1]
        begun = self.call.search(text) if self.call else None
        if self.call and begun:
            message["tool_calls"] = self._calls(text)
            text = text[: begun.start()].rstrip()
        message["content"] = self.special.sub("", text)
        return message

    def _calls(self, text: str) -> list[dict[str, Any]]:
        assert self.call and self.close
        calls: list[dict[str, Any]] = []
        place = 0
        while begun := self.call.search(text, place):
            start = begun.end()
            try:
                _, place = json.JSONDecoder().raw_decode(text, start)
            except ValueError:
                closed = self.close.search(text, start)
                place = closed.start() if closed else len(text)
            function = {"name": begun[1], "arguments": text[start:place]}
            calls.append({"id": f"call_{len(calls) + 1}", "type": "function", "function": function})
        return calls


def form(tokenizer: Tokenizer) -> Form:
    """The form of the turns of a tokenizer's template. Raises InputError where it writes calls in no form that is read."""
    special = re.compile("|".join(sorted(re.escape(tokenizer.decode([id_])) for id_ in tokenizer.special)) or r"(?!)")
    plain = said_turn(tokenizer, {"content": TEXT})
    before, after = plain.split(TEXT)
    thinking = said_turn(tokenizer, {"content": TEXT, "reasoning_content": THOUGHT})
    thought = None
    if THOUGHT in thinking:
        opened, closed = thinking.split(TEXT)[0].split(THOUGHT)
        thought = re.compile(rf"\s*(?:{_loose(opened)}[ \t]*\n?)?(.*?)\n?[ \t]*{_loose(closed)}\s*", re.DOTALL)
    calling = said_turn(tokenizer, SHOWN_CALL)
    name, written = calling.find(NAME), ARGUMENTS.search(calling)
    if name < 0 or not written or written.start() < name:
        raise InputError(
            "the student's chat template does not write calls with JSON arguments, which is all that is read here;"
            " serve it with vLLM and set runtime.student_url, or choose another student.template"
        )
    mark = calling[:name].removeprefix(before)
    if thought and (found := thought.match(calling[:name])):
        mark = calling[found.end() : name]
    between, close = calling[name + len(NAME) : written.start()], calling[written.end() :].removesuffix(after)
    return Form(
        thought=thought,
        call=re.compile(rf"{_loose(mark)}\s*([\w.-]+)\s*{_loose(between)}\s*(?=\{{)"),
        close=re.compile(_loose(close) or r"\Z"),
        special=special,
    )


def said_turn(tokenizer: Tokenizer, message: dict[str, Any]) -> str:
    """An assistant turn after a question, as the template writes it, up to and with the token that ends it."""
    question = [{"role": "user", "content": "?"}]
    prompt = tokenizer.text(question, [TOOL], True)
    return tokenizer.text([*question, {"role": "assistant", **message}], [TOOL], False)[len(prompt) :].rstrip()


def _loose(text: str) -> str:
    """A pattern for text in which any white space, or none, may stand where there is some."""
    return r"\s*".join(re.escape(piece) for piece in text.split())
