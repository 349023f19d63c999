"""What a student wrote, read back as the message that its chat template would have written so.

There is no list of model families here: the template itself is asked. It renders turns of which every part is known (a
text, a thought, a call), and what it puts around the known parts is how the student marks them.
"""

import re
from dataclasses import dataclass
from typing import Any

import jinja2

from distill.records.faults import InputError
from distill.student.serving import calls
from distill.student.tokenizer import Tokenizer

TEXT, THOUGHT = "Qztext", "Qzthought"
SHOWN_CALL = {"content": "", "tool_calls": [calls.SHOWN]}
"""An assistant message with one call."""


@dataclass(frozen=True)
class Form:
    """How a template writes an assistant turn."""

    thought: re.Pattern[str] | None
    """A thought at the beginning of a turn, in group 1; None: the template writes none."""
    calls: calls.JsonCalls | calls.TaggedCalls | calls.PythonCalls | calls.BareCalls
    special: re.Pattern[str]
    """Special tokens, which are no text."""

    def read(self, text: str, tools: list[dict[str, Any]]) -> dict[str, Any]:
        """The assistant message in `text`, a turn without its end: content, thoughts, and calls with ids from call_1.

        `tools` are what the student was offered. The arguments of a call are JSON, or as the student wrote them.
        """
        message: dict[str, Any] = {"role": "assistant", "content": ""}
        if self.thought and (found := self.thought.match(text)):
            text = text[found.end() :]
            if found[1].strip():
                message["reasoning_content"] = found[1]
        if begun := self.calls.begin.search(text):
            message["tool_calls"] = [
                {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
                for number, (name, arguments) in enumerate(self.calls.read(text, tools), 1)
            ]
            text = text[: begun.start()].rstrip()
        message["content"] = self.special.sub("", text)
        return message


def form(tokenizer: Tokenizer) -> Form:
    """The form of the turns of a tokenizer's template. Raises InputError where it writes calls in no form that is read."""
    try:
        found = _form(tokenizer)
    except (jinja2.TemplateError, TypeError, ValueError):  # a template without tools may not even take a call
        found = None
    if not found:
        raise InputError(
            "the student's chat template writes calls in a form that cannot be read here; serve it with vLLM and set"
            " runtime.student_url, or choose another student.template"
        )
    return found


def _form(tokenizer: Tokenizer) -> Form | None:
    special = re.compile("|".join(sorted(re.escape(tokenizer.decode([id_])) for id_ in tokenizer.special)) or r"(?!)")
    plain = said_turn(tokenizer, {"content": TEXT})
    before, after = plain.split(TEXT)
    thinking = said_turn(tokenizer, {"content": TEXT, "reasoning_content": THOUGHT})
    thought = None
    if THOUGHT in thinking:
        opened, closed = thinking.split(TEXT)[0].split(THOUGHT)
        thought = re.compile(
            rf"\s*(?:{calls.loose(opened)}[ \t]*\n?)?(.*?)\n?[ \t]*{calls.loose(closed)}\s*", re.DOTALL
        )
    calling = said_turn(tokenizer, SHOWN_CALL)
    name = calling.find(calls.NAME)
    mark = calling[:name].removeprefix(before)
    if thought and (found := thought.match(calling[:name])):
        mark = calling[found.end() : name]
    quote = said_turn(tokenizer, {"content": "", "tool_calls": [calls.QUOTE]})
    written = calls.form(mark, calling[name:].removesuffix(after), quote) if name >= 0 else None
    return Form(thought=thought, calls=written, special=special) if written else None


def said_turn(tokenizer: Tokenizer, message: dict[str, Any]) -> str:
    """An assistant turn after a question, as the template writes it, up to and with the token that ends it."""
    question = [{"role": "user", "content": "?"}]
    prompt = tokenizer.text(question, [calls.TOOL], True)
    return tokenizer.text([*question, {"role": "assistant", **message}], [calls.TOOL], False)[len(prompt) :].rstrip()
