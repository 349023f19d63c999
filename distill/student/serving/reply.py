"""Parses the text of a student into the message from which its chat template would have rendered that text.

There is no list of model families here. The template itself renders turns whose parts are known (a text, a thought, a
call), and the text that it puts around them is how the student marks them.
"""

import re
from dataclasses import dataclass

import jinja2

from distill.records.faults import InputError
from distill.records.types import Message, ToolSchema
from distill.student.serving import calls
from distill.student.tokenizer import Tokenizer

TEXT, THOUGHT = "Qztext", "Qzthought"
SHOWN_CALL = {"content": "", "tool_calls": [calls.SHOWN]}
"""An assistant message with one call."""


@dataclass(frozen=True)
class Form:
    """How a template writes an assistant turn."""

    thought: re.Pattern[str] | None
    """A thought at the beginning of a turn, in group 1; None where the template writes no thoughts."""
    calls: calls.Calls
    special: re.Pattern[str]
    """Special tokens, which are removed from the text."""

    def read(self, text: str, tools: list[ToolSchema]) -> Message:
        """The assistant message in `text`, a turn without its end: content, thoughts, and calls with ids from call_1.

        `tools` are those that the student was offered. The arguments of a call are JSON, or as the student wrote them.
        """
        message: Message = {"role": "assistant", "content": ""}
        if self.thought and (thought := self.thought.match(text)):
            text = text[thought.end() :]
            if thought[1].strip():
                message["reasoning_content"] = thought[1]
        if begun := self.calls.begin.search(text):
            message["tool_calls"] = [
                {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
                for number, (name, arguments) in enumerate(self.calls.read(text, tools), 1)
            ]
            text = text[: begun.start()].rstrip()
        message["content"] = self.special.sub("", text)
        return message


def form(tokenizer: Tokenizer) -> Form:
    """The form of the turns of a tokenizer's template. Raises InputError where it writes calls in an unknown form."""
    try:
        known_form = _form(tokenizer)
    except (jinja2.TemplateError, TypeError, ValueError):  # a template without tools may refuse a call
        known_form = None
    if not known_form:
        raise InputError(
            "the student's chat template writes calls in a form that cannot be read here; serve it with vLLM and set"
            " runtime.student_url, or choose another student.template"
        )
    return known_form


def _form(tokenizer: Tokenizer) -> Form | None:
    special = re.compile("|".join(sorted(re.escape(tokenizer.decode([id_])) for id_ in tokenizer.special)) or r"(?!)")
    plain = rendered_turn(tokenizer, {"content": TEXT})
    before, after = plain.split(TEXT)
    thinking = rendered_turn(tokenizer, {"content": TEXT, "reasoning_content": THOUGHT})
    thought = None
    if THOUGHT in thinking:
        opened, closed = thinking.split(TEXT)[0].split(THOUGHT)
        thought = re.compile(
            rf"\s*(?:{calls.loose(opened)}[ \t]*\n?)?(.*?)\n?[ \t]*{calls.loose(closed)}\s*", re.DOTALL
        )
    calling = rendered_turn(tokenizer, SHOWN_CALL)
    name = calling.find(calls.NAME)
    mark = calling[:name].removeprefix(before)
    if thought and (empty_thought := thought.match(calling[:name])):
        mark = calling[empty_thought.end() : name]
    quote = rendered_turn(tokenizer, {"content": "", "tool_calls": [calls.QUOTE]})
    written = calls.form(mark, calling[name:].removesuffix(after), quote) if name >= 0 else None
    return Form(thought=thought, calls=written, special=special) if written else None


def rendered_turn(tokenizer: Tokenizer, message: Message) -> str:
    """An assistant turn after a question as the template renders it, with the token that ends it."""
    question = [{"role": "user", "content": "?"}]
    prompt = tokenizer.text(question, [calls.TOOL], True)
    return tokenizer.text([*question, {"role": "assistant", **message}], [calls.TOOL], False)[len(prompt) :].rstrip()
