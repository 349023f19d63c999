"""Parses the text of a student into the message from which its chat template would have rendered that text.

There is no list of model families here. The template itself renders turns whose parts are known (a text, a thought, a
call), and the text that it puts around them is how the student marks them.
"""

import re
from dataclasses import dataclass
from itertools import product

import jinja2

from distill.records.faults import InputError
from distill.records.types import Message, ToolSchema
from distill.student.render import render
from distill.student.serving import calls
from distill.student.template import Unrenderable
from distill.student.tokenizer import Tokenizer

TEXT, THOUGHT = "Qztext", "Qzthought"
REFUSALS = (jinja2.TemplateError, TypeError, ValueError)
"""What a template raises that does not take a message."""
SHOWN_CALL = {"content": "", "tool_calls": [calls.SHOWN]}
"""An assistant message with one call."""
UNREADABLE = (
    "the student's chat template writes no tool calls, or in a form that cannot be read here: name another in"
    " student.template (docs/student.md), or serve the student with vLLM, if that has a parser for them, and set"
    " runtime.student_url"
)


@dataclass(frozen=True)
class Form:
    """How a template writes an assistant turn."""

    thought: re.Pattern[str] | None
    """A thought at the beginning of a turn, in group 1; None where the template writes no thoughts."""
    calls: calls.Calls | None
    """None where the template writes none, or in a form that is not known: then every text is an answer."""
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
        if self.calls and (begun := self.calls.begin.search(text)):
            message["tool_calls"] = [
                {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
                for number, (name, arguments) in enumerate(self.calls.read(text, tools), 1)
            ]
            text = text[: begun.start()].rstrip()
        message["content"] = self.special.sub("", text)
        return message


def form(tokenizer: Tokenizer) -> Form:
    """The form of the turns of a tokenizer's template. Raises InputError where it cannot render a turn at all."""
    special = re.compile("|".join(sorted(re.escape(tokenizer.decode([id_])) for id_ in tokenizer.special)) or r"(?!)")
    try:
        before, after = rendered_turn(tokenizer, {"content": TEXT}).split(TEXT)
        thinking = rendered_turn(tokenizer, {"content": TEXT, "reasoning_content": THOUGHT})
        thought = _thought(thinking.partition(TEXT)[0]) or _thought_of_calls(tokenizer)
    except REFUSALS as refused:
        raise InputError(f"the student's chat template cannot render a question and its answer: {refused}") from None
    return Form(thought=thought, calls=_calls(tokenizer, before, after, thought), special=special)


def _thought(thinking: str) -> re.Pattern[str] | None:
    """`Form.thought`, from what a turn with a thought has before its text or call."""
    if THOUGHT not in thinking:
        return None
    opened, closed = thinking.split(THOUGHT)
    return re.compile(rf"\s*(?:{calls.loose(opened)}[ \t]*\n?)?(.*?)\n?[ \t]*{calls.loose(closed)}\s*", re.DOTALL)


def _thought_of_calls(tokenizer: Tokenizer) -> re.Pattern[str] | None:
    """`Form.thought` of a template that writes thoughts in turns with calls only, as the first ones of Gemma 4."""
    calling = calling_turn(tokenizer, SHOWN_CALL)
    thinking = calling_turn(tokenizer, SHOWN_CALL | {"reasoning_content": THOUGHT})
    mark = calling.partition(calls.NAME)[0]
    return _thought(thinking.partition(calls.NAME)[0].removesuffix(mark)) if calling else None


def _calls(tokenizer: Tokenizer, before: str, after: str, thought: re.Pattern[str] | None) -> calls.Calls | None:
    """`Form.calls`; `before` and `after` stand around the text of a turn."""
    calling = calling_turn(tokenizer, SHOWN_CALL)
    quote = calling_turn(tokenizer, SHOWN_CALL | {"tool_calls": [calls.QUOTE]})
    name = calling.find(calls.NAME)
    if name < 0 or not quote:
        return None
    mark = calling[:name].removeprefix(before)
    if thought and (empty_thought := thought.match(calling[:name])):
        mark = calling[empty_thought.end() : name]
    several = calling_turn(tokenizer, SHOWN_CALL | {"tool_calls": calls.SEVERAL})  # Llama 3.1 takes one at a time
    known_form = calls.form(mark, calling[name:].removesuffix(after), quote, several)
    if known_form and len(known_form.read(several, [calls.TOOL])) < several.count(calls.NAME):
        return None  # better no call than some of several
    return known_form


def unreadable_calls(tokenizer: Tokenizer, student_url: str | None) -> str | None:
    """Why a student with a tokenizer's template is not to learn calls, as a fault of params.yaml; None where they can be read,
    here or by the server at `student_url`. Raises InputError as `form`."""
    if student_url or form(tokenizer).calls:
        return None
    return f"params.yaml: /student/template: there are tools to call, but {UNREADABLE}"


def refuse_unlearnable(tokenizer: Tokenizer) -> None:
    """Raises InputError where a tokenizer's template renders no turn that could be learned, with tools and thoughts or
    without: it may have been made for another model, whose tokens this one lacks."""
    refusals = []
    for thought, tools in product(({}, {"reasoning_content": THOUGHT}), ([], [calls.TOOL])):
        answer = {"role": "assistant", "content": TEXT, **thought}
        try:
            render({"messages": [{"role": "user", "content": "?"}, answer], "tools": tools}, tokenizer)
        except Unrenderable as refused:
            refusals.append(str(refused).partition(": ")[2])
        else:
            return
    raise InputError(f"params.yaml: /student/template: no row could be learned: {refusals[0]}; name another")


def rendered_turn(tokenizer: Tokenizer, message: Message) -> str:
    """An assistant turn after a question as the template renders it, with the token that ends it, and as a student's tokens
    spell it: the tokenizers of Mistral and Phi 3 put a space behind each special token."""
    question = [{"role": "user", "content": "?"}]
    prompt = tokenizer.text(question, [calls.TOOL], True)
    turn = tokenizer.text([*question, {"role": "assistant", **message}], [calls.TOOL], False)[len(prompt) :].rstrip()
    return tokenizer.decode(tokenizer.encode(turn))


def calling_turn(tokenizer: Tokenizer, message: Message) -> str:
    """As `rendered_turn`, of a message with calls; empty where the template refuses it: one without tools may."""
    try:
        return rendered_turn(tokenizer, message)
    except REFUSALS:
        return ""
