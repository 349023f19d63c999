"""Renders a row as the tokens that the student learns from: for every turn the very tokens that it is served with.

Law: what stands before an assistant turn in training is, byte for byte and token for token, the prompt that a server
renders from the messages before that turn. Where a template rewrites earlier turns (Qwen3 drops old reasoning), the law
cannot hold for all turns of one sequence, so the row becomes several sequences, in each of which it holds.
"""

from collections.abc import MutableSequence
from dataclasses import dataclass

import jinja2

from distill.records.types import Message, Row, ToolSchema
from distill.student.served_messages import as_templates_want, tools_as_served
from distill.student.shown import check_tools, check_turn
from distill.student.template import Unrenderable
from distill.student.tokenizer import Tokenizer

IGNORED = -100  # the label that torch's cross entropy ignores


@dataclass(frozen=True)
class TokenSequence:
    """Tokens with their labels: the token itself where it is learned, IGNORED where it is only context."""

    input_ids: MutableSequence[int]
    labels: MutableSequence[int]


def render(row: Row, tokenizer: Tokenizer) -> list[TokenSequence]:
    """The sequences of one row: mostly one, more where the template rewrites history.

    The student learns the text and calls of assistant turns (not those with `weight: 0`) and the token that ends each
    turn. A row in which nothing is to be learned gives no sequence. Raises Unrenderable.
    """
    messages, tools = list(as_templates_want(row["messages"])), tools_as_served(row.get("tools"))
    sequences: list[TokenSequence] = []
    before = ""  # the text of the last sequence, up to the end of its last assistant turn
    learned = _learned(row)
    for place in learned:
        prompt, turn = _turn(messages, place, tools, tokenizer, is_first_or_last=place in (learned[0], learned[-1]))
        context = tokenizer.encode(prompt)
        answer = tokenizer.encode(turn)
        sequence = sequences[-1] if sequences else None
        if sequence and prompt.startswith(before) and context[: len(sequence.input_ids)] == sequence.input_ids:
            context = context[len(sequence.input_ids) :]
        else:
            sequence = TokenSequence([], [])
            sequences.append(sequence)
        sequence.input_ids.extend(context + answer)
        sequence.labels.extend([IGNORED] * len(context) + answer)
        before = prompt + turn
    return sequences


def _learned(row: Row) -> list[int]:
    """The places of the turns that are learned."""
    return [
        place
        for place, message in enumerate(row["messages"])
        if message["role"] == "assistant" and message.get("weight", 1)
    ]


def learns_calls(row: Row) -> bool:
    """Whether a turn that is learned calls tools."""
    return any(row["messages"][place].get("tool_calls") for place in _learned(row))


def count_tokens(row: Row, tokenizer: Tokenizer) -> int:
    """Tokens of the row's longest sequence: what must fit `student.max_length`; 0 where nothing is to be learned. Raises
    Unrenderable."""
    return max((len(sequence.input_ids) for sequence in render(row, tokenizer)), default=0)


def count_last_turn(row: Row, tokenizer: Tokenizer) -> int:
    """Tokens of the last learned turn with all that is before it: no more than `count_tokens`, and for a row of n turns
    n times as fast. Raises Unrenderable."""
    messages, tools = list(as_templates_want(row["messages"])), tools_as_served(row.get("tools"))
    last = _learned(row)[-1:]
    return sum(len(tokenizer.encode(text)) for place in last for text in _turn(messages, place, tools, tokenizer))


def _turn(
    messages: list[Message],
    place: int,
    tools: list[ToolSchema] | None,
    tokenizer: Tokenizer,
    is_first_or_last: bool = True,
) -> tuple[str, str]:
    """The prompt that a server renders for the turn at `place`, and the turn itself with the token that ends it.

    Raises Unrenderable, also where the template drops the tools (which is looked at in the first and the last turn only,
    since it costs a whole rendering), the calls or the last result.
    """
    where = f"/messages/{place}"
    if not place:
        raise Unrenderable(f"{where}: the assistant begins, and nobody can ask for a first turn: give it weight 0")
    try:
        prompt = tokenizer.text(messages[:place], tools, True)
        whole = tokenizer.text(messages[: place + 1], tools, False)
    except (jinja2.TemplateError, TypeError, RecursionError) as error:
        raise Unrenderable(f"{where}: the chat template refuses: {error}") from None
    if not whole.startswith(prompt):
        raise Unrenderable(f"{where}: the chat template does not begin this turn as its generation prompt does")
    if is_first_or_last:
        check_tools(prompt, messages[:place], tools, tokenizer)
    check_turn(messages, place, tools, tokenizer)
    turn = whole[len(prompt) :]
    return prompt, turn[: _end(turn, where, tokenizer)]


def _end(turn: str, where: str, tokenizer: Tokenizer) -> int:
    """Where the end-of-turn token ends in the text of a turn; behind it may be white space only, and others of these tokens:
    Phi's templates end the turn and then the text."""
    text = turn.rstrip()
    tokens = tokenizer.encode(text)
    if not tokens or tokens[-1] not in tokenizer.special:
        raise Unrenderable(f"{where}: the chat template ends the turn without an end-of-turn token")
    if tokens[-1] not in tokenizer.stops:
        raise Unrenderable(f"{where}: the chat template ends the turn with a token at which no server stops")
    first = next(token for token in tokens if token in tokenizer.stops)
    text, stop, behind = text.partition(tokenizer.decode([first]))
    if not tokenizer.stops.issuperset(tokenizer.encode("".join(behind.split()))):
        raise Unrenderable(f"{where}: holds {stop}, at which a server stops: the rest of the turn would never be heard")
    return len(text + stop)
