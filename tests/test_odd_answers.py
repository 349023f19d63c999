"""Answers that no API should give: odd calls, types and ends. What was paid for is kept, and what broke off is no answer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sums
from asking import *  # noqa: F403
from asking import once, rollouts
from stage_process import Done, Running
from teacher_server import Asked, calls, completion, says, serving

ODD = {
    "equal ids": calls(("x", "add", '{"a": 1, "b": 1}'), ("x", "add", '{"a": 2, "b": 2}')),
    "no id": calls(("", "add", '{"a": 1, "b": 1}')),
    "arguments as an object": completion(
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "x", "type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 1}}}],
        },
        "tool_calls",
    ),
    "broken arguments": calls(("x", "add", '{"a": 1,')),
    "a list for arguments": calls(("x", "add", "[1]")),
    "an unknown tool": calls(("x", "functions.add with spaces", "{}")),
    "a tool without a name": calls(("x", "", "{}")),
}


def test_odd_calls_are_answered_and_the_next_request_is_sound(asks: Callable[..., Done], project: Path) -> None:
    sums.add_prompts(project, range(4, len(ODD)))
    assert Running(project, "prompts").wait().returncode == 0
    odd = list(ODD.values())

    def teacher(asked: Asked) -> Any:
        return says("Answer: 2") if asked.body["messages"][-1]["role"] == "tool" else odd[sums.number(asked.body)]

    with serving(teacher) as books:
        done = asks(books)
    assert done.returncode == 0, done.stderr
    for rollout in rollouts(project):
        talk = rollout["messages"]
        ids = [call["id"] for call in talk[2]["tool_calls"]]
        assert len(set(ids)) == len(ids)
        assert [message["tool_call_id"] for message in talk if message["role"] == "tool"] == ids
    for asked in (asked for asked in books.posts if asked.body["messages"][-1]["role"] == "tool"):
        for call in asked.body["messages"][2]["tool_calls"]:
            assert isinstance(json.loads(call["function"]["arguments"]), dict)
            assert call["function"]["name"].replace("_", "").isalnum() or call["function"]["name"] == "_"


def test_an_empty_answer_is_kept_as_it_is(asks: Callable[..., Done], project: Path) -> None:
    with serving(lambda asked: completion({"role": "assistant", "content": None}, "stop")) as books:
        assert asks(books).returncode == 0
    assert rollouts(project)[0]["messages"][-1] == {"role": "assistant", "content": ""}


def changed(**more: Any) -> Callable[[Any], None]:
    return lambda answer: answer.update(more)


def in_choice(**more: Any) -> Callable[[Any], None]:
    return lambda answer: answer["choices"][0].update(more)


def in_message(**more: Any) -> Callable[[Any], None]:
    return lambda answer: answer["choices"][0]["message"].update(more)


UNTYPED: dict[str, tuple[Callable[[Any], None], str]] = {
    "a number for an id": (changed(id=5), "final_answer"),
    "a number for a model": (changed(model=7), "final_answer"),
    "no reason": (lambda answer: answer["choices"][0].pop("finish_reason"), "final_answer"),
    "whole in other words": (in_choice(finish_reason="END_TURN"), "final_answer"),
    "an object for a refusal": (in_message(refusal={"why": "no"}), "refused"),
    "a number for a call's id": (
        in_message(tool_calls=[{"id": 3, "function": {"name": "add", "arguments": "{}"}}]),
        "max_turns",
    ),
    "fewer than no tokens": (changed(usage={"prompt_tokens": -5, "completion_tokens": -7}), "final_answer"),
    "no usage": (changed(usage=None), "final_answer"),
    "length in other words": (in_choice(finish_reason="model_length"), "truncated"),
    "a filter in other words": (in_choice(finish_reason="SAFETY"), "refused"),
    "a filter of Z.ai's": (in_choice(finish_reason="sensitive", message={"role": "assistant"}), "refused"),
    "a filter that leaves no message": (in_choice(finish_reason="content_filter", message=None), "refused"),
    "a filter and what it found": (in_choice(finish_reason="content_filter: PROHIBITED_CONTENT"), "refused"),
    "half an emoji": (in_message(content="Answer: 1 \ud83d"), "final_answer"),
}


def test_what_was_paid_for_can_be_recorded_whatever_its_types(asks: Callable[..., Done], project: Path) -> None:
    sums.add_prompts(project, range(4, len(UNTYPED)))
    assert Running(project, "prompts").wait().returncode == 0
    kinds = list(UNTYPED.items())

    def careless(asked: Asked) -> Any:
        _, (change, _) = kinds[sums.number(asked.body)]
        answer = says("Answer: 1")
        change(answer)
        return 200, json.dumps(answer).encode(), {}

    with serving(careless) as books:
        done = asks(books, agent__max_turns=1)
    assert done.returncode == 0, done.stderr
    found = {
        kinds[rollout["metadata"]["expected_answer"] - 1][0]: rollout["stop_reason"] for rollout in rollouts(project)
    }
    assert found == {name: stop_reason for name, (_, stop_reason) in kinds} and len(books.posts) == len(kinds)


def test_an_answer_that_broke_off_is_no_answer(asks: Callable[..., Done], project: Path) -> None:
    reasons = ["error", "abort", "insufficient_system_resource", "function_call_filter: MALFORMED_FUNCTION_CALL", 3]
    broken = [completion({"role": "assistant", "content": "Answ"}, reason) for reason in reasons]
    with serving(once(*broken)) as books:
        assert asks(books).returncode == 0
    assert {rollout["messages"][-1]["content"] for rollout in rollouts(project)} == {
        f"Answer: {n + 1}" for n in range(4)
    }
    assert len(books.posts) == 4 * 2 + len(reasons)
