"""The teacher against a third party's idea of OpenAI's API: both APIs, encrypted reasoning, batches, and faults."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aimock_server
import pytest
import sums
from aimock_server import Aimock
from asking import *  # noqa: F403
from stage_process import Done, Running

from distill.records import jsonl

FIXTURES = [
    {
        "match": {"userMessage": "what is", "hasToolResult": False},
        "response": {
            "reasoning": "I should add.",
            "toolCalls": [{"id": "call_add", "name": "add", "arguments": {"a": 1, "b": 1}}],
        },
    },
    {"match": {"userMessage": "what is", "toolCallId": "call_add"}, "response": {"content": "Answer: 2"}},
]


@pytest.fixture(scope="module")
def aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aimock]:
    with aimock_server.serving(tmp_path_factory.mktemp("aimock"), FIXTURES) as server:
        yield server


@pytest.fixture
def asks(project: Path, aimock: Aimock) -> Any:
    sums.make(project, 6, teacher__base_url=aimock.base_url)
    assert Running(project, "prompts").wait().returncode == 0

    def run(**params: Any) -> Done:
        sums.set_params(project, **params)
        return Running(project, "teacher_rollouts", TEACHER_API_KEY="test").wait()

    return run


def rollouts(project: Path) -> list[dict[str, Any]]:
    return [jsonl.read_json(path, "rollout") for path in (project / "rollouts").iterdir()]


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_the_tool_loop(asks: Any, project: Path, aimock: Aimock, api: str) -> None:
    before = len(aimock.journal())
    done = asks(model="gpt-5.2" if api == "responses" else "gpt-4o", teacher__api=api)
    assert done.returncode == 0, done.stderr
    for rollout in rollouts(project):
        assert [message["role"] for message in rollout["messages"]] == [
            "system",
            "user",
            "assistant",
            "tool",
            "assistant",
        ]
        assert rollout["messages"][-1]["content"] == "Answer: 2" and rollout["messages"][3]["content"] == "2"
        kinds = [item["type"] for call in rollout["calls"] for item in call.get("items", [])]
        assert kinds == (["reasoning", "function_call", "reasoning", "message"] if api == "responses" else [])
        if api == "responses":
            assert rollout["messages"][2]["reasoning_content"] == "I should add."
            assert rollout["calls"][0]["items"][0]["encrypted_content"]
    asked = [entry["path"] for entry in aimock.journal()[before:] if entry["method"] == "POST"]
    assert asked == ["/v1/responses" if api == "responses" else "/v1/chat/completions"] * 12


def test_a_server_that_often_fails(asks: Any, project: Path, aimock: Aimock) -> None:
    aimock.faults(dropRate=0.03, malformedRate=0.03, disconnectRate=0.03, rateLimitRate=0.05)
    try:
        done = asks(model="shaky", teacher__api="chat")
    finally:
        aimock.faults(dropRate=0, malformedRate=0, disconnectRate=0, rateLimitRate=0)
    assert done.returncode == 0, done.stderr
    assert [rollout["status"] for rollout in rollouts(project)] == ["completed"] * 6


def test_a_batch(asks: Any, project: Path) -> None:
    (project / "tools.py").write_text("")
    done = asks(model="gpt-5.2", teacher__api="responses", runtime__tier="batch")
    assert done.returncode == 0, done.stderr
    assert "6 requests ordered" in done.stdout
    assert {rollout["messages"][-1]["content"] for rollout in rollouts(project)} == {"Mock batch completion"}
    assert {rollout["calls"][0]["tier"] for rollout in rollouts(project)} == {"batch"}
