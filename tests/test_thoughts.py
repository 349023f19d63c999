"""The thoughts of a teacher: recorded as its server gives them, and sent back as it wants them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sums
from asking import *  # noqa: F403
from asking import rollouts
from stage_process import Done
from teacher_server import Asked, refused, says, serving

from distill.teacher.api import chat


def thinks(name: str) -> Callable[[Asked], Any]:
    """A teacher that has its thoughts under this name."""

    def thinker(asked: Asked) -> Any:
        answer = sums.adds(asked)
        answer["choices"][0]["message"][name] = "hm"
        return answer

    return thinker


def test_open_reasoning_is_recorded_and_sent_back(asks: Callable[..., Done], project: Path) -> None:
    with serving(thinks("reasoning_content")) as books:
        assert asks(books).returncode == 0
    assert all(
        message["reasoning_content"] == "hm"
        for message in rollouts(project)[0]["messages"]
        if message["role"] == "assistant"
    )
    assert (
        next(asked for asked in books.posts if len(asked.body["messages"]) == 4).body["messages"][2][
            "reasoning_content"
        ]
        == "hm"
    )


def test_a_server_that_takes_no_reasoning_back_is_asked_without(asks: Callable[..., Done], project: Path) -> None:
    def thinker(asked: Asked) -> Any:
        if any("reasoning_content" in message for message in asked.body["messages"]):
            return refused(400, None, "'messages.2' : property 'reasoning_content' is unsupported")
        return thinks("reasoning_content")(asked)

    with serving(thinker) as books:
        assert asks(books, runtime__api_concurrency=1).returncode == 0
    assert {rollout["status"] for rollout in rollouts(project)} == {"completed"}
    assert len(books.posts) == 4 * 2 + 1, "the first request learns it for all"
    assert rollouts(project)[0]["messages"][2]["reasoning_content"] == "hm"


def test_a_server_that_wants_a_thought_in_every_turn_gets_empty_ones(asks: Callable[..., Done], project: Path) -> None:
    """DeepSeek's V4; and a turn of calls alone has null for its content, which proxies to Anthropic insist on."""

    def thinker(asked: Asked) -> Any:
        said = [message for message in asked.body["messages"] if message["role"] == "assistant"]
        assert all(message["content"] is None for message in said)
        if any("reasoning_content" not in message for message in said):
            return refused(400, None, "The `reasoning_content` in the thinking mode must be passed back to the API.")
        assert not any("reasoning_content" in one for one in asked.body["messages"] if one["role"] != "assistant")
        return sums.adds(asked)

    with serving(thinker) as books:
        assert asks(books, runtime__api_concurrency=1).returncode == 0
    assert {rollout["status"] for rollout in rollouts(project)} == {"completed"} and len(books.posts) == 4 * 2 + 1
    assert rollouts(project)[0]["messages"][2]["content"] == "", "as it was recorded ever since"


def test_signatures_of_thoughts_go_back_as_they_came(asks: Callable[..., Done], project: Path) -> None:
    """Gemini's in the calls, OpenRouter's in the message; also after the store is lost and the record is all there is."""
    signed, details = {"google": {"thought_signature": "c2ln"}}, [{"type": "reasoning.encrypted", "data": "e30="}]

    def signing(asked: Asked) -> Any:
        answer = sums.adds(asked)
        message = answer["choices"][0]["message"]
        message["reasoning_details"] = details
        for call in message.get("tool_calls") or []:
            call["extra_content"] = signed
        return answer

    with serving(signing) as books:
        assert asks(books).returncode == 0
    second = [asked.body["messages"][2] for asked in books.posts if len(asked.body["messages"]) == 4]
    assert len(second) == 4
    assert all(
        one["reasoning_details"] == details and one["tool_calls"][0]["extra_content"] == signed for one in second
    )
    [call, last] = rollouts(project)[0]["calls"]
    assert call["echo"] == {"reasoning_details": details, "extra_content": {"c0": signed}}
    assert last["echo"] == {"reasoning_details": details}
    assert "extra_content" not in json.dumps(rollouts(project)[0]["messages"])


def test_thoughts_go_back_under_the_name_that_the_server_has_for_them(asks: Callable[..., Done], project: Path) -> None:
    with serving(thinks("reasoning")) as books:
        assert asks(books).returncode == 0
    second = [asked.body["messages"][2] for asked in books.posts if len(asked.body["messages"]) == 4]
    assert [(one["reasoning"], "reasoning_content" in one) for one in second] == [("hm", False)] * 4
    said = rollouts(project)[0]["messages"][2]
    assert said["reasoning_content"] == "hm" and "reasoning" not in said


def test_thoughts_that_are_parts_of_the_content_go_back_as_they_came(asks: Callable[..., Done], project: Path) -> None:
    """Mistral's form: it refuses `reasoning_content`, and its models do worse without their thoughts."""
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "closed": True}

    def thinker(asked: Asked) -> Any:
        answer = sums.adds(asked)
        message = answer["choices"][0]["message"]
        message["content"] = [thought, {"type": "text", "text": message["content"] or "I add."}]
        return answer

    with serving(thinker) as books:
        assert asks(books).returncode == 0
    second = next(asked.body["messages"][2] for asked in books.posts if len(asked.body["messages"]) == 4)
    assert second["content"] == [thought, {"type": "text", "text": "I add."}] and "reasoning_content" not in second
    said = rollouts(project)[0]["messages"]
    assert [said[place]["reasoning_content"] for place in (2, 4)] == ["hm", "hm"]
    assert said[2]["content"] == "I add." and said[4]["content"].startswith("Answer: ")


THOUGHT_IN_TEXT = {
    "<think>\nhm\n</think>\n\n": "hm",
    "\n<think>hm</think>": "hm",
    "hm\n</think>\n\n": "hm",
    "<think>\n\n</think>\n\n": None,
}


@pytest.mark.parametrize(("beginning", "thought"), THOUGHT_IN_TEXT.items())
def test_thoughts_that_a_server_leaves_in_the_text_are_recorded_as_thoughts_and_go_back_as_they_came(
    asks: Callable[..., Done], project: Path, beginning: str, thought: str | None
) -> None:
    """vLLM without --reasoning-parser, LM Studio, Groq's Qwen; the template of the model may open the thought itself."""

    def thinker(asked: Asked) -> Any:
        answer = sums.adds(asked)
        message = answer["choices"][0]["message"]
        message["content"] = beginning + (message["content"] or "I add.")
        return answer

    with serving(thinker) as books:
        assert asks(books).returncode == 0
    second = next(asked.body["messages"][2] for asked in books.posts if len(asked.body["messages"]) == 4)
    assert second["content"] == f"{beginning}I add." and "reasoning_content" not in second
    said = rollouts(project)[0]["messages"]
    assert [said[place].get("reasoning_content") for place in (2, 4)] == [thought, thought]
    assert [said[place]["content"] for place in (2, 4)] == ["I add.", "Answer: 1"]


@pytest.mark.parametrize(
    "text",
    [
        "The tags are <think> and </think>.",
        "<think>\nhm, but",
        "Answer: 1",
        "In Qwen3 the tag `</think>` ends the thought.",
        "Split on '</think>':\n```python\ntext.split('</think>')\n```",
    ],
)
def test_a_text_that_does_not_begin_with_a_whole_thought_stays_as_it_is(text: str) -> None:
    answer = chat.parse(says(text), 0.0)
    assert answer["message"] == {"role": "assistant", "content": text} and "echo" not in answer
