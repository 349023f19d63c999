"""What a chat template shows of what it is given. A template may leave out tools, calls, results or thoughts without a word,
which is found out by rendering the same without them."""

import jinja2

from distill.records.types import Message, ToolSchema
from distill.student.template import Unrenderable
from distill.student.tokenizer import Tokenizer

QUESTION = {"role": "user", "content": "-"}
THOUGHT = "a thought"


def has_place_for_thoughts(tokenizer: Tokenizer) -> bool:
    """Whether the template writes the thoughts of a turn (`reasoning_content`), which are then learned like its text."""
    turn = {"role": "assistant", "content": "-", "reasoning_content": THOUGHT}
    return THOUGHT in (_text(tokenizer, [QUESTION, turn], None, False) or "")


def offered(tools: list[ToolSchema], tokenizer: Tokenizer) -> str | None:
    """The prompt of a bare question with these tools; None where the template cannot render it."""
    return _text(tokenizer, [QUESTION], tools, True)


def check_tools(prompt: str, messages: list[Message], tools: list[ToolSchema] | None, tokenizer: Tokenizer) -> None:
    """Raises Unrenderable where the prompt of these messages is the same without the tools."""
    if tools and prompt == _text(tokenizer, messages, None, True):
        raise Unrenderable("/tools: the chat template drops the tools; name another in student.template")


def check_turn(messages: list[Message], place: int, tools: list[ToolSchema] | None, tokenizer: Tokenizer) -> None:
    """Raises Unrenderable where the template drops the last call of the turn at `place`, or the result before it."""
    calls = messages[place].get("tool_calls")
    fewer = {**messages[place], "tool_calls": calls[:-1]} if calls else None
    if fewer and _is_the_same(messages[: place + 1], fewer, place, tools, False, tokenizer):
        raise Unrenderable(
            f"/messages/{place}/tool_calls: the chat template drops the calls; name another in student.template"
        )
    result = messages[place - 1]
    if result["role"] != "tool" or not result["content"].strip():
        return
    calling = next((before for before in range(place - 1, 0, -1) if messages[before]["role"] != "tool"), 0)
    if _is_the_same(messages[:place], {**result, "content": ""}, calling, tools, True, tokenizer):
        raise Unrenderable(
            f"/messages/{place - 1}/content: the chat template drops the result; name another in student.template"
        )


def _is_the_same(
    messages: list[Message],
    last: Message,
    begin: int,
    tools: list[ToolSchema] | None,
    prompt: bool,
    tokenizer: Tokenizer,
) -> bool:
    """Whether the messages are rendered to the same text with another `last` one. All of a conversation is rendered only
    where what is from `begin` on, behind a bare question and without the tools, shows no difference."""
    for told, with_tools in (([QUESTION, *messages[begin:]], None), (messages, tools)):
        text = _text(tokenizer, told, with_tools, prompt)
        same = text is not None and text == _text(tokenizer, [*told[:-1], last], with_tools, prompt)
        if text is not None and not same:
            return False
    return same


def _text(
    tokenizer: Tokenizer, messages: list[Message], tools: list[ToolSchema] | None, generation_prompt: bool
) -> str | None:
    """The rendered text; None where the template refuses the messages."""
    try:
        return tokenizer.text(messages, tools, generation_prompt)
    except (jinja2.TemplateError, TypeError, RecursionError):
        return None
