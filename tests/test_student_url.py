"""A student at an endpoint of the user's own: an exam tells what is the student's fault from what is the server's."""

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import tiny_qwen3
from chat_server import calls, says, serving
from rollout_records import rollout
from tiny_qwen3 import PROMPT, ROW, SHOP, sit

from distill.records import jsonl, params
from distill.records.faults import InputError
from distill.student.served import Served
from stages import evaluate

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
        ((401, {"error": {"message": "who are you?"}}, {}), "who are you"),
        ((404, {"error": {"message": "no such model"}}, {}), "no such model"),
    ],
)
def test_a_server_that_refuses_every_question_is_quoted(reply: Any, words: str) -> None:
    with serving(lambda body: reply) as server, pytest.raises(InputError, match=words):
        sit(at(server.base_url), 1.0, PROMPT, PROMPT | {"id": "0" * 16})


def test_a_conversation_that_a_server_refuses_is_counted_and_shown(
    project: Path,
    tmp_path_factory: pytest.TempPathFactory,
    set_param: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = [PROMPT["messages"][0], {"role": "user", "content": "And the other one?"}]
    records = [
        rollout(sample=0, id=f"{n:016x}", key=f"{n:016x}", prompt_id=f"{n:016x}", split="eval", tools=ROW["tools"])
        | {"messages": asked, "metadata": {"expected_answer": 3}}
        for n, asked in enumerate((ROW["messages"], [*other, *ROW["messages"][2:]]))
    ]
    prompts = [
        {
            "id": one["id"],
            "messages": one["messages"][:2],
            "metadata": one["metadata"],
            "split": "eval",
            "source": "a:1",
        }
        for one in records
    ]
    jsonl.write(project / "data/prompts.jsonl", prompts, "prepared_prompt")
    jsonl.write(project / "data/train.jsonl", [ROW], "row")
    for one in records:
        jsonl.write_json(project / f"rollouts/20261122_120000_{one['id']}.json", one, "rollout")
    made = tiny_qwen3.made(tmp_path_factory.getbasetemp() / "qwen3")
    shutil.copytree(made[1], project / "models/adapter")
    shutil.copy(SHOP, project / "tools.py")
    set_param("student.path", str(made[0]))
    monkeypatch.chdir(project)

    def reply(body: dict[str, Any]) -> Any:
        refused = body["model"] == "student" and body["messages"][1]["content"] == other[1]["content"]
        return (400, {"error": {"message": "too odd"}}, {}) if refused else right(body)

    with serving(reply) as server:
        set_param("runtime.student_url", server.base_url)
        evaluate.main(params.load())
    said = capsys.readouterr().out
    assert "student: 1 of 2 conversations ended in an error of the server or of a tool, which counts as wrong" in said
    assert "base: 1 of" not in said and "teacher: 1 of" not in said
    [lost] = [one for one in jsonl.read("reports/evaluation.jsonl", "evaluated") if one["error"]]
    assert lost["who"] == "student" and lost["correct"] is False
    assert lost["error"] == {"kind": "bad_request", "where": "student", "message": "HTTP 400: too odd"}
