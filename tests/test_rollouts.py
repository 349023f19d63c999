"""Rollouts against a real HTTP server: the tool loop, the record, the store, and what is asked again."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sums
from asking import *  # noqa: F403
from asking import rollouts
from conftest import ROOT
from stage_process import Done, Running
from sums import adds, number
from teacher_server import Asked, Books, calls, says, serving

from distill.agent.selection import entries, wanted
from distill.records import jsonl, schema
from distill.records.faults import InputError

Asks = Callable[..., Done]


@pytest.fixture
def asks(project: Path) -> Asks:
    """A project of ten prompts `what is N + 1?`, and a function that runs its teacher stage against a server."""
    sums.make(project, 10, runtime__api_concurrency=4)
    assert Running(project, "prompts").wait().returncode == 0

    def run(books: Books, *arguments: str, environment: dict[str, str] | None = None, **params: Any) -> Done:
        sums.set_params(project, teacher__base_url=books.base_url, **params)
        return Running(project, "teacher_rollouts", *arguments, **(environment or {})).wait()

    return run


def test_the_teacher_calls_tools_and_answers(asks: Asks, project: Path) -> None:
    with serving(adds) as server:
        done = asks(server)
    assert done.returncode == 0, done.stderr
    first = rollouts(project)[0]
    assert [message["role"] for message in first["messages"]] == ["system", "user", "assistant", "tool", "assistant"]
    assert first["messages"][2]["tool_calls"][0]["function"]["arguments"] == '{"a": 0, "b": 1}'
    assert first["messages"][-1]["content"] == "Answer: 1"
    assert (first["status"], first["stop_reason"], len(first["calls"])) == ("completed", "final_answer", 2)
    assert first["usage"] == {"input_tokens": 22, "output_tokens": 14, "cached_tokens": 0, "reasoning_tokens": 0}
    assert first["tools"][0]["function"]["name"] == "add" and not schema.faults("rollout", first)
    assert len(server.posts) == 20


def test_nothing_is_asked_twice_and_the_bytes_stay(asks: Asks, project: Path) -> None:
    with serving(adds) as server:
        assert asks(server).returncode == 0
        before = {path.name: path.read_bytes() for path in (project / "rollouts").iterdir()}
        assert asks(server).returncode == 0
        assert {path.name: path.read_bytes() for path in (project / "rollouts").iterdir()} == before
        assert len(server.posts) == 20
    done = asks(server)  # the server is gone: the store answers
    assert done.returncode == 0 and "0 answers bought" in done.stdout


def test_the_bytes_do_not_depend_on_the_process(asks: Asks, project: Path) -> None:
    """Python's own random seed decides in which order sets are walked."""
    made = []
    with serving(adds) as server:
        assert asks(server).returncode == 0
        for seed in ("1", "2", "3"):
            command = [sys.executable, "-m", "stages.teacher_rollouts"]
            environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
            subprocess.run(command, cwd=project, env=environment, check=True, capture_output=True)
            files = [*(project / "rollouts").iterdir(), project / "reports/rollouts.json"]
            made.append({path.name: path.read_bytes() for path in files})
    assert made[0] == made[1] == made[2]


def test_the_store_grows_with_a_conversation_and_not_with_its_square(asks: Asks, project: Path) -> None:
    (project / "tools.py").write_text(
        sums.TOOLS.replace("-> int", "-> str").replace("return a + b", "return str(b) * 10_000")
    )
    with serving(sums.counts_to(20)) as server:
        assert asks(server, agent__max_turns=20, teacher__n=1).returncode == 0
    conversation = sum(path.stat().st_size for path in (project / "rollouts").iterdir())
    store = sum(path.stat().st_size for path in Path(os.environ["DISTILL_STORE"]).rglob("*") if path.is_file())
    assert conversation > 190_000 and store < 1.5 * conversation


def test_a_changed_question_is_a_new_one_and_the_old_answer_stays(asks: Asks, project: Path) -> None:
    with serving(adds) as server:
        assert asks(server).returncode == 0
        assert asks(server, model="other").returncode == 0 and len(server.posts) == 40
        assert asks(server, model="scripted", runtime__api_concurrency=2).returncode == 0 and len(server.posts) == 40


@pytest.mark.parametrize(
    ("reply", "stop_reason", "turns"),
    [
        (lambda asked: says("half an ans", finish_reason="length"), "truncated", 1),
        (lambda asked: says("", refusal="I will not."), "refused", 1),
        (lambda asked: calls(("c", "add", '{"a": 1, "b": 1}')), "max_turns", 6),
        (
            lambda asked: (400, {"error": {"message": "too long", "code": "context_length_exceeded"}}, {}),
            "context_full",
            0,
        ),
        (lambda asked: (400, {"error": {"message": "bad tool"}}, {}), "api_error", 0),
    ],
)
def test_a_bad_rollout_is_data(asks: Asks, project: Path, reply, stop_reason: str, turns: int) -> None:
    with serving(lambda asked: reply(asked) if number(asked.body) == 3 else adds(asked)) as server:
        done = asks(server)
    assert done.returncode == 0, done.stderr
    bad = rollouts(project)[3]
    assert (bad["status"], bad["stop_reason"], len(bad["calls"])) == ("failed", stop_reason, turns)
    assert (bad["error"] is None) == (turns > 0)
    report = jsonl.read_json(project / "reports/rollouts.json", "rollouts_report")
    assert (report["wanted"], report["completed"], report["failed"]) == (10, 9, 1)


def test_a_teacher_can_repair_its_call_and_the_raw_text_is_kept(asks: Asks, project: Path) -> None:
    def clumsy(asked: Asked) -> Any:
        body = asked.body
        turn = sum(message["role"] == "assistant" for message in body["messages"])
        return (
            [
                calls(("c1", "plus", "{}")),
                calls(("c2", "add", '{"a": 1,')),
                calls(("c3", "add", '{"a": "x"}')),
                adds(asked),
            ][turn]
            if turn < 3
            else (
                adds(asked) if body["messages"][-1]["content"].isdigit() else calls(("c4", "add", '{"a": 1, "b": 1}'))
            )
        )

    with serving(clumsy) as server:
        assert asks(server).returncode == 0
    first = rollouts(project)[0]
    told = [message["content"] for message in first["messages"] if message["role"] == "tool"]
    assert "there is no tool 'plus'" in told[0] and "not valid JSON" in told[1] and "do not fit" in told[2]
    assert told[3] == "2" and first["status"] == "completed"
    assert first["messages"][4]["tool_calls"][0]["function"]["arguments"] == '{"a": 1,'
    sent = [message for message in server.posts[-1].body["messages"] if message.get("tool_calls")]
    assert all(
        json.loads(call["function"]["arguments"]) is not None for message in sent for call in message["tool_calls"]
    )


def test_parallel_calls_are_answered_in_their_order(asks: Asks, project: Path) -> None:
    def twice(asked: Asked) -> Any:
        if asked.body["messages"][-1]["role"] == "tool":
            return says("Answer: 1")
        return calls(("a", "add", '{"a": 1, "b": 1}'), ("b", "add", '{"a": 2, "b": 2}'))

    with serving(twice) as server:
        assert asks(server).returncode == 0
    results = [message for message in rollouts(project)[0]["messages"] if message["role"] == "tool"]
    assert [(result["tool_call_id"], result["content"]) for result in results] == [("a", "2"), ("b", "4")]


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (401, {"message": "Incorrect API key", "code": "invalid_api_key"}, "invalid_api_key"),
        (429, {"message": "You exceeded your quota", "code": "insufficient_quota"}, "insufficient_quota"),
    ],
)
def test_a_billing_error_stops_the_run_and_keeps_what_was_paid(
    asks: Asks, project: Path, status: int, error: dict, kind: str
) -> None:
    with serving(lambda asked: adds(asked) if len(server.posts) <= 8 else (status, {"error": error}, {})) as server:
        done = asks(server)
        asked = len(server.posts)
    assert done.returncode == 1 and kind in done.stderr and "every answer that was paid for is kept" in done.stderr
    assert asked <= 8 + 4 and not (project / "rollouts").exists()
    assert len(list(Path(os.environ["DISTILL_STORE"]).rglob("*.json"))) == 8


def test_a_passing_failure_is_tried_again(asks: Asks, project: Path) -> None:
    failures = iter(
        [
            (429, {"error": {"message": "slow down"}}, {"retry-after": "0"}),
            (500, b"oops", {"retry-after": "0"}),
            (200, b'{"choices": [', {}),
        ]
    )
    with serving(lambda asked: next(failures, None) or adds(asked)) as server:
        assert asks(server).returncode == 0
    assert len(server.posts) == 23
    assert sum(call["attempts"] > 1 for rollout in rollouts(project) for call in rollout["calls"]) in (1, 2, 3)


def test_a_missing_key_is_one_clear_error_and_the_key_is_written_nowhere(asks: Asks, project: Path) -> None:
    secret = "sk-" + "very-secret"  # put together here, since the project copy holds this file, too
    sums.set_params(project, model="gpt-5.2")
    done = Running(project, "teacher_rollouts", OPENAI_API_KEY="").wait()
    assert done.returncode == 1 and "OPENAI_API_KEY is not set" in done.stderr
    with serving(adds) as server:
        done = asks(server, environment={"TEACHER_API_KEY": secret}, model="scripted")
    assert done.returncode == 0 and server.asked[0].headers["authorization"] == f"Bearer {secret}"
    written = [
        path for folder in (project, Path(os.environ["DISTILL_STORE"])) for path in folder.rglob("*") if path.is_file()
    ]
    assert not [path for path in written if secret.encode() in path.read_bytes()]
    assert secret not in done.stdout + done.stderr


def test_an_unknown_model_without_an_endpoint_is_refused(asks: Asks, project: Path) -> None:
    sums.set_params(project, model="qwen-max")
    done = Running(project, "teacher_rollouts").wait()
    assert done.returncode == 1 and "set teacher.base_url" in done.stderr


def test_the_teacher_sees_demonstrations_that_the_record_does_not_have(asks: Asks, project: Path) -> None:
    shown = [{"role": "user", "content": "what is 1 + 1?"}, {"role": "assistant", "content": "Answer: 2"}]
    (project / "data/demos.jsonl").write_text(json.dumps({"messages": shown}) + "\n")
    with serving(lambda asked: says("Answer: 2")) as server:
        assert asks(server, teacher__demonstrations="data/demos.jsonl").returncode == 0
    assert [message["role"] for message in server.posts[0].body["messages"]] == ["system", "user", "assistant", "user"]
    assert [message["role"] for message in rollouts(project)[0]["messages"]] == ["system", "user", "assistant"]


PROMPTS = [{"id": f"{n * 7919 % 100:016x}", "split": "train" if n % 4 else "eval"} for n in range(40)]


def chosen(**teacher: object) -> list[tuple[str, int]]:
    params = {"teacher": {"n": None, "entries": None, "samples": 1, **teacher}, "evaluate": {"n": 3}}
    return [(prompt["id"], sample) for prompt, sample in wanted(PROMPTS, params)]


def test_a_larger_n_keeps_the_smaller_and_nothing_comes_twice() -> None:
    few, many = chosen(n=5), chosen(n=20)
    assert set(few) <= set(many) and len(set(many)) == len(many) == 23
    assert len(chosen(n=5, samples=3)) == 18


def test_entries_are_positions_and_ranges() -> None:
    assert entries("0, 1,5-7,6", 10) == [0, 1, 5, 6, 7]
    with pytest.raises(InputError) as caught:
        entries("3,x,9-12,5-2", 10)
    with pytest.raises(InputError, match=r"/teacher/entries: there are no training prompts, so no '0-9'"):
        entries("0-9", 0)
    said = ["'x' is neither", "'9-12' is outside of 0-9", "'5-2' runs backwards: write 2-5"]
    assert [words in fault for words, fault in zip(said, caught.value.faults, strict=True)] == [True] * 3
