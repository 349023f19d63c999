"""A student at an endpoint of the user's own: an exam tells what is the student's fault from what is the server's."""

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from chat_server import calls, says, serving
from tiny_qwen3 import PROMPT, sit

from distill.records.faults import InputError
from distill.student.serving.open_student import open_student
from distill.student.serving.remote import Served

LOST = """
from distill.tools import tool
from distill.tools.source import SessionLost

calls = []

@tool
def lookup_item(sku: str) -> dict:
    \"\"\"Looks an item up, where its server is not just gone.\"\"\"
    calls.append(sku)
    if len(calls) == 1:
        raise SessionLost("gone")
    return {"stock": 1}
"""
BUSY = (503, {"error": {"message": "busy"}}, {"retry-after": "0.05"})


def right(body: dict[str, Any]) -> Any:
    """What a student says that does well: a call, then the answer."""
    last = body["messages"][-1]
    if last["role"] == "tool":
        return says(f"Answer: {json.loads(last['content'])['stock'] + 2}")
    return calls(("a", "lookup_item", '{"sku": "G101"}'))


def at(url: str) -> Served:
    return Served.at(url, "tiny")


def test_a_busy_server_is_asked_again() -> None:
    with serving(lambda body: BUSY if len(server.asked) == 1 else right(body)) as server:
        [record] = sit(at(server.base_url), 1.0, PROMPT)
    assert record["correct"] is True and record["error"] is None
    assert len(server.asked) == 3


def test_a_students_text_is_its_own() -> None:
    """Also where it holds what a teacher's server would have left in it: the next prompt has it where it was trained."""
    marked = "<think>hm</think>"

    def thinking(body: dict[str, Any]) -> Any:
        answer = right(body)
        message = answer["choices"][0]["message"]
        message["content"] = marked + (message["content"] or "")
        return answer

    with serving(thinking) as server:
        [record] = sit(at(server.base_url), 1.0, PROMPT)
    said = [message for message in record["messages"] if message["role"] == "assistant"]
    assert [message["content"].startswith(marked) for message in said] == [True, True]
    assert all("reasoning_content" not in message for message in said)
    assert server.asked[1]["messages"][-2]["content"] == marked


def test_an_exam_without_a_server_is_no_exam() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        with pytest.raises(InputError, match=f"the student cannot be asked: no connection to {url}"):
            sit(at(url), 1.0, PROMPT)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((400, {"error": {"message": "the model `student` is not served"}}, {}), "the model `student` is not served"),
        ((401, {"error": {"message": "who are you?"}}, {}), "neither the environment nor .env has STUDENT_API_KEY"),
        ((200, b"<html>", {"content-type": "text/html"}), "/chat/completions is no API"),
        ((404, {"error": {"message": "no such model"}}, {}), "no such model"),
    ],
)
def test_a_server_that_refuses_every_question_is_quoted(reply: Any, words: str) -> None:
    with serving(lambda body: reply) as server, pytest.raises(InputError, match=words):
        sit(at(server.base_url), 1.0, PROMPT, PROMPT | {"id": "0" * 16})


def test_an_answer_that_takes_too_long_is_not_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill.student.serving.remote.TIMEOUT_S", 0.2)
    with serving(lambda body: time.sleep(1) or right(body)) as server:
        with pytest.raises(InputError, match="no answer within"):
            sit(at(server.base_url), 1.0, PROMPT)
    assert len(server.asked) == 1


def test_tools_that_are_lost_once_are_opened_again(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(LOST)
    with serving(right) as server:
        [record] = sit(at(server.base_url), 1.0, PROMPT, shop=tmp_path / "tools.py")
    assert record["correct"] is True, record["error"]


def listing(*names: str) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": name, "object": "model"} for name in names]}


def only(*names: str) -> Any:
    """A server that answers to these names alone, as vLLM does."""
    refused = (404, {"error": {"message": "The model does not exist."}}, {})
    return lambda body: right(body) if body["model"] in names else refused


def test_a_server_that_answers_to_every_name_is_not_examined_twice() -> None:
    """Base and student would be the same; what it lists is all that it has."""
    with serving(right, listing("student")) as server:
        with pytest.raises(
            InputError, match="the server lists student, not tiny, and answers to every name"
        ) as refused:
            sit(at(server.base_url), 0.0, PROMPT, PROMPT | {"id": "0" * 16})
        assert all(body["max_tokens"] == 1 for body in server.asked)
        [record] = sit(at(server.base_url), 1.0, PROMPT)  # to talk to the student it does
    assert "the student cannot be asked" in str(refused.value) and record["correct"] is True


@pytest.mark.parametrize("missing", ["student", "tiny"])
def test_a_name_that_the_server_does_not_have_is_told_before_the_exam(missing: str) -> None:
    [there] = {"student", "tiny"} - {missing}
    with serving(only(there), listing(there)) as server:
        with pytest.raises(
            InputError, match=f"the server lists {there}, not {missing}: HTTP 404: The model does not exist"
        ):
            sit(at(server.base_url), 0.0, PROMPT)
    assert [body["model"] for body in server.asked] == [missing]


@pytest.mark.parametrize(
    "models",
    [
        listing("student", "tiny"),
        listing("student:latest", "tiny:latest"),
        listing("other"),
        listing(),
        [],
        {"data": [1]},
    ],
    ids=["whole", "of Ollama", "incomplete", "empty", "no object", "no names"],
)
def test_a_server_that_has_both_models_is_asked_whatever_it_lists(models: Any) -> None:
    with serving(only("student", "tiny"), models) as server:
        for scale in (0.0, 1.0):
            [record] = sit(at(server.base_url), scale, PROMPT)
            assert record["correct"] is True


def test_a_url_with_a_password_is_refused(trained: tuple[Path, Path]) -> None:
    settings = {
        "student": {"path": str(trained[0])},
        "runtime": {"student_url": "http://me:secret@localhost:8000/v1"},
        "evaluate": {"temperature": 0},
    }
    with pytest.raises(InputError, match="/runtime/student_url: holds a credential") as refused:
        open_student(settings, trained[1])
    assert "secret" not in str(refused.value)
