"""The batch tier: half the price, and nothing ordered twice, whatever becomes of the batch or of us."""

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sums
from asking import *  # noqa: F403
from asking import rollouts
from batch_server import Batches
from stage_process import Done, Running, until
from teacher_server import Asked, Cut, refused, response, says, serving, text

from distill.project import params
from distill.records.ids import content_id
from distill.records.types import Request
from distill.teacher.api import chat, retry
from distill.teacher.api.error_response import LARGEST_ANSWER
from distill.teacher.api.http import Http
from distill.teacher.asked import asked_teacher
from distill.teacher.batch import batch_endpoint, batch_model
from distill.teacher.batch.batch_endpoint import BatchEndpoint
from distill.teacher.batch.batch_queue import BatchQueue
from distill.teacher.batch.open_batches import Batch, OpenBatches
from distill.teacher.cost.budget import Budget
from distill.teacher.errors import KINDS, Fatal, Transient
from distill.teacher.halt import Halt
from distill.teacher.open_model import open_model
from distill.teacher.store import Store, request_key
from distill.teacher.teacher import Teacher
from stages import teacher_rollouts

PARAMS = {
    "runtime__tier": "batch",
    "runtime__prices": {"scripted": {"input": 100, "output": 1000}},
    "teacher__max_output_tokens": 50,
}
COST = (11 * 100 + 7 * 1000) / 1e6 / 2


@pytest.fixture
def ready(project: Path) -> Path:
    """Six prompts without tools, at a known price, for the batch tier."""
    sums.make(project, 6, **PARAMS)
    (project / "tools.py").write_text("")
    assert Running(project, "prompts").wait().returncode == 0
    return project


def run(project: Path, base_url: str, **params: Any) -> Running:
    sums.set_params(project, teacher__base_url=base_url, **params)
    return Running(project, "teacher_rollouts", TEACHER_API_KEY="")


def finished(project: Path, base_url: str, **params: Any) -> Done:
    done = run(project, base_url, **params).wait()
    assert done.returncode == 0, done.stderr
    return done


def killed_with_an_open_batch(ready: Path, base_url: str) -> None:
    """A run that is killed once it has ordered."""
    first = run(ready, base_url)
    until(lambda: "requests ordered" in first.stdout)
    first.kill()
    first.wait()


def sums_up(body: dict[str, Any]) -> Any:
    return says(f"Answer: {sums.number(body) + 1}")


def test_all_questions_go_out_in_one_batch_at_half_the_price(ready: Path) -> None:
    batches = Batches(sums_up)
    with serving(batches.post, gets=batches.get) as books:
        finished(ready, books.base_url)
    assert [rollout["messages"][-1]["content"] for rollout in rollouts(ready)] == [f"Answer: {n + 1}" for n in range(6)]
    assert len(batches.batches) == 1 and rollouts(ready)[0]["cost_usd"] == pytest.approx(COST)
    assert batches.forgotten == set(batches.files), "once the answers are on our disk"
    line = batches.files["file-0"][0]
    assert line["method"] == "POST" and line["url"] == "/v1/chat/completions" and line["body"]["max_tokens"] == 50


def test_only_what_expired_is_ordered_again(ready: Path) -> None:
    late = {2, 4}

    def slow(body: dict[str, Any]) -> Any:
        return None if sums.number(body) in late else sums_up(body)

    batches = Batches(lambda body: slow(body) or late.discard(sums.number(body)))
    with serving(batches.post, gets=batches.get) as books:
        finished(ready, books.base_url)
    assert sorted(batches.ordered.values()) == [1, 1, 1, 1, 2, 2] and set(batches.answered.values()) == {1}


def test_what_fails_in_a_batch_is_told_apart(ready: Path) -> None:
    shaky = [500, 429]

    def answer(body: dict[str, Any]) -> Any:
        if sums.number(body) == 1:
            return refused(400, "context_length_exceeded")[:2]
        return (shaky.pop(), {}) if shaky and sums.number(body) == 3 else sums_up(body)

    batches = Batches(answer)
    with serving(batches.post, gets=batches.get) as books:
        finished(ready, books.base_url)
    assert [rollout["stop_reason"] for rollout in rollouts(ready)] == [
        "final_answer",
        "context_full",
        *["final_answer"] * 4,
    ]
    assert sorted(batches.ordered.values()) == [1, 1, 1, 1, 1, 3]


def test_one_line_of_the_results_without_end_costs_one_answer(ready: Path) -> None:
    def answer(body: dict[str, Any]) -> Any:
        return says("x" * LARGEST_ANSWER) if sums.number(body) == 2 else sums_up(body)

    batches = Batches(answer)
    with serving(batches.post, gets=batches.get) as books:
        finished(ready, books.base_url)
    errors = [rollout["error"] for rollout in rollouts(ready)]
    assert errors.pop(2)["kind"] == "answer_too_large" and errors == [None] * 5
    assert set(batches.ordered.values()) == {1}


def test_a_server_that_refuses_everything_may_be_at_fault_itself(ready: Path) -> None:
    """As where it is asked one by one: once it is mended, it is asked again, and many refusals end the run."""
    ill = [True]
    batches = Batches(lambda body: refused(400, "invalid_value", "what?")[:2] if ill[0] else sums_up(body))
    with serving(batches.post, gets=batches.get) as books:
        assert KINDS["all_refused"].advice in finished(ready, books.base_url).stdout
        sums.add_prompts(ready, range(6, 12))
        assert Running(ready, "prompts").wait().returncode == 0
        done = run(ready, books.base_url).wait()
        assert done.returncode == 1 and "(parameter_refused): 10 conversations were refused" in done.stderr
        assert "what?" in done.stderr and len(batches.batches) == 2
        ill[0] = False
        finished(ready, books.base_url)
    assert [rollout["status"] for rollout in rollouts(ready)] == ["completed"] * 12


def test_a_batch_goes_without_what_was_refused(ready: Path) -> None:
    """The second batch of Responses has no summaries; nothing that was answered is ordered again."""

    def answer(body: dict[str, Any]) -> Any:
        if "summary" in body["reasoning"]:
            return refused(400, "unsupported_value", "no reasoning summaries", "reasoning.summary")[:2]
        return response(text(f"Answer: {sums.number(body) + 1}"))

    batches = Batches(answer)
    with serving(batches.post, gets=batches.get) as books:
        finished(ready, books.base_url, model="gpt-5.2", teacher__api="responses", runtime__unknown_price="allow")
    assert {rollout["status"] for rollout in rollouts(ready)} == {"completed"}
    assert set(batches.ordered.values()) == {2} and set(batches.answered.values()) == {1}


def test_a_batch_of_another_key_is_in_nobodys_way(ready: Path) -> None:
    """Whoever wants its answers is told what to do; others go on."""
    mine, theirs = Batches(sums_up), Batches(sums_up)
    mine.held = True
    with serving(mine.post, gets=mine.get) as books:
        killed_with_an_open_batch(ready, books.base_url)
    port = int(books.base_url.split(":")[2].split("/")[0])
    with serving(theirs.post, gets=theirs.get, port=port) as books:
        done = run(ready, books.base_url).wait()
        assert done.returncode == 1 and "use the key it was ordered with, or delete" in done.stderr
        sums.make(ready, 0, **PARAMS)
        sums.add_prompts(ready, range(6, 8))
        (ready / "tools.py").write_text("")
        assert Running(ready, "prompts").wait().returncode == 0
        finished(ready, books.base_url)
    assert len(theirs.ordered) == 2 and list((ready.parent / "store/batches").glob("*.json"))


def test_half_an_emoji_costs_no_batch(ready: Path) -> None:
    cut = Batches(lambda body: says("Answer: 1 \ud83d") if sums.number(body) == 1 else sums_up(body))
    with serving(cut.post, gets=cut.get) as books:
        finished(ready, books.base_url)
    assert rollouts(ready)[1]["messages"][-1]["content"] == "Answer: 1 ?" and set(cut.ordered.values()) == {1}


def test_two_prompts_that_ask_the_same_wait_for_one_answer(ready: Path) -> None:
    row = json.loads((ready / "data/seed/sums.jsonl").read_text().splitlines()[0])
    with (ready / "data/seed/sums.jsonl").open("a") as file:
        file.write(json.dumps(row | {"tools": []}) + "\n")
    assert Running(ready, "prompts").wait().returncode == 0
    batches = Batches(sums_up)
    with serving(batches.post, gets=batches.get) as books:
        finished(ready, books.base_url)
    assert len(rollouts(ready)) == 7 and len(batches.ordered) == 6 and set(batches.ordered.values()) == {1}


@pytest.mark.parametrize("moment", ["while it runs", "before its id is known"])
def test_a_killed_run_finds_its_batch_again(ready: Path, moment: str) -> None:
    batches = Batches(sums_up)
    batches.held = True
    with serving(batches.post, gets=batches.get) as books:
        killed_with_an_open_batch(ready, books.base_url)
        if moment == "before its id is known":
            import orjson

            [note] = (ready.parent / "store/batches").glob("*.json")
            note.write_bytes(orjson.dumps(orjson.loads(note.read_bytes()) | {"id": None}))
        batches.held = False
        finished(ready, books.base_url)
    assert len(batches.batches) == 1 and set(batches.answered.values()) == {1}
    assert not list((ready.parent / "store/batches").glob("*.json"))


def test_what_a_killed_run_did_not_come_to_order_waits_for_the_budget(ready: Path) -> None:
    batches = Batches(sums_up)
    folder = ready.parent / "store/batches"
    folder.mkdir(parents=True)
    with serving(batches.post, gets=batches.get) as books:
        asked = {"provider": books.base_url, "api": "chat", "model": "scripted"}
        batch = {"name": "n", "asked": content_id(asked), "file": "file-9", "keys": ["a" * 64], "id": None}
        (folder / "n.json").write_text(json.dumps(batch))
        os.utime(folder / "n.json", (0, time.time() - batch_endpoint.UNLISTED_S))
        done = run(ready, books.base_url, runtime__budget_usd=0.0001).wait()
        assert done.returncode == 1 and "runtime.budget_usd" in done.stderr and not batches.batches
    assert not list(folder.glob("*.json"))


def test_what_a_batch_will_answer_is_not_bought_at_another_tier(ready: Path) -> None:
    batches = Batches(sums_up)
    batches.held = True
    with serving(
        lambda asked: batches.post(asked) if "completions" not in asked.path else says("Answer: 1"), gets=batches.get
    ) as books:
        killed_with_an_open_batch(ready, books.base_url)
        done = run(ready, books.base_url, runtime__tier="standard").wait()
        assert done.returncode == 1 and "collect it with runtime.tier: batch, or delete" in done.stderr
        assert not [asked for asked in books.posts if "completions" in asked.path]
        batches.held = False
        finished(ready, books.base_url, runtime__tier="batch")
        finished(ready, books.base_url, runtime__tier="standard")
    assert set(batches.answered.values()) == {1} and not [asked for asked in books.posts if "completions" in asked.path]


def test_what_is_ordered_is_not_planned_to_be_bought(ready: Path) -> None:
    batches = Batches(sums_up)
    batches.held = True
    with serving(batches.post, gets=batches.get) as books:
        killed_with_an_open_batch(ready, books.base_url)
    sums.add_prompts(ready, range(6, 8))
    assert Running(ready, "prompts").wait().returncode == 0
    said = Running(ready, "teacher_rollouts", "--plan", TEACHER_API_KEY="").wait().stdout
    assert "6 answers were ordered by an earlier run: the next one only collects them\nabout 2 answers to buy" in said


def test_what_is_too_much_for_the_providers_line_is_ordered_in_parts(
    ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account's limit of tokens in line: the first order is above it, and waiting alone would never help."""
    monkeypatch.setattr(batch_model, "QUEUE_FULL_WAIT_S", 0.01)
    monkeypatch.setenv("TEACHER_API_KEY", "")
    monkeypatch.setattr(sys, "argv", ["teacher_rollouts"])
    monkeypatch.chdir(ready)
    batches = Batches(sums_up, most=2)
    with serving(batches.post, gets=batches.get) as books:
        sums.set_params(ready, teacher__base_url=books.base_url)
        teacher_rollouts.main(params.load())
    sizes = [len(batches.files[batch["input_file_id"]]) for batch in batches.batches.values()]
    assert sizes == [6, 3, 3, 2, 2, 2] and set(batches.answered.values()) == {1}


def test_ctrl_c_does_not_wait_for_a_batch(ready: Path) -> None:
    import signal

    batches = Batches(sums_up)
    batches.held = True
    with serving(batches.post, gets=batches.get) as books:
        first = run(ready, books.base_url)
        until(lambda: "requests ordered" in first.stdout)
        first.kill(signal.SIGINT)
        assert first.wait().returncode == 1
        batches.held = False
        finished(ready, books.base_url)
    assert set(batches.ordered.values()) == {1}


def test_two_runs_order_it_once(ready: Path, tmp_path: Path) -> None:
    import shutil

    batches = Batches(sums_up)
    with serving(batches.post, gets=batches.get) as books:
        sums.set_params(ready, teacher__base_url=books.base_url)
        other = shutil.copytree(ready, tmp_path / "other")
        runs = [Running(folder, "teacher_rollouts", TEACHER_API_KEY="") for folder in (ready, other)]
        assert [each.wait().returncode for each in runs] == [0, 0]
    assert set(batches.ordered.values()) == {1} and len(batches.ordered) == 6


def test_the_budget_holds_for_batches(ready: Path) -> None:
    """Every request may cost 0.037 and costs 0.004: one goes out at a time, until too little is left."""
    batches = Batches(sums_up)
    with serving(batches.post, gets=batches.get) as books:
        done = run(ready, books.base_url, runtime__budget_usd=0.045).wait()
        assert done.returncode == 1 and "(budget)" in done.stderr
        bought = sum(batches.answered.values())
        assert 0 < bought < 6 and bought * COST <= 0.045
        finished(ready, books.base_url, runtime__budget_usd=5)
    assert set(batches.answered.values()) == {1} and len(batches.answered) == 6


@pytest.mark.parametrize(
    ("code", "kind"), [("invalid_json_line", "batch_failed"), ("billing_hard_limit_reached", "quota")]
)
def test_a_batch_that_is_refused_ends_the_run_with_its_words(ready: Path, code: str, kind: str) -> None:
    batches = Batches(sums_up, fail_first=code)
    with serving(batches.post, gets=batches.get) as books:
        done = run(ready, books.base_url).wait()
    assert done.returncode == 1 and f"{code}): so it is" in done.stderr and KINDS[kind].advice in done.stderr


def test_an_endpoint_without_batches_is_told_from_one_without_the_model(ready: Path) -> None:
    with serving(lambda asked: (404, {"detail": "Not Found"}, {})) as books:
        done = run(ready, books.base_url).wait()
    said = f"(parameter_refused): runtime.tier is batch, and {books.base_url} takes no batches: HTTP 404"
    assert done.returncode == 1 and said in done.stderr


def test_a_server_that_is_out_of_order_for_a_while_costs_no_batch(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_endpoint, "FIRST_POLL_S", 0.001)
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.001)
    monkeypatch.setenv("TEACHER_API_KEY", "")
    monkeypatch.setattr(sys, "argv", ["teacher_rollouts"])
    monkeypatch.chdir(ready)
    batches, ill = Batches(sums_up), iter(range(20))

    def get(asked: Asked) -> Any:
        looks = asked.path.startswith("/v1/batches/")
        return (503, b"<html>upstream", {}) if looks and next(ill, None) is not None else batches.get(asked)

    with serving(batches.post, gets=get) as books:
        sums.set_params(ready, teacher__base_url=books.base_url)
        teacher_rollouts.main(params.load())
    assert next(ill, None) is None and len(batches.batches) == 1 and len(rollouts(ready)) == 6


def test_a_batch_whose_files_are_gone_is_in_nobodys_way(ready: Path) -> None:
    """An earlier run's, finished and dropped by the provider: only who wants its answers is told."""
    batches = Batches(sums_up)
    batches.held = True
    with serving(batches.post, gets=batches.get) as books:
        killed_with_an_open_batch(ready, books.base_url)
        batches.held = False
        batches.forgotten |= {f"file-{n}" for n in range(3)}
        done = run(ready, books.base_url).wait()
        assert done.returncode == 1 and "does not know it (any more)" in done.stderr
        batches.forgotten -= {"file-2", "file-3"}
        sums.make(ready, 0, **PARAMS)
        sums.add_prompts(ready, range(6, 8))
        (ready / "tools.py").write_text("")
        assert Running(ready, "prompts").wait().returncode == 0
        finished(ready, books.base_url)
    assert len(rollouts(ready)) == 2 and set(batches.ordered.values()) == {1}


def test_the_askers_hear_of_a_batch_when_its_files_are_gone(ready: Path) -> None:
    """Else the run would be over, and the removal with it."""
    batches = Batches(sums_up)

    def slow(asked: Asked) -> Any:
        if asked.method == "DELETE":
            time.sleep(0.3)
        return batches.get(asked)

    with serving(batches.post, gets=slow) as books:
        finished(ready, books.base_url)
    assert batches.forgotten == set(batches.files)


def model_at(base_url: str, store: Store, tier: str = "batch") -> Any:
    settings = params.load(sums.ROOT / "params.yaml") | {"model": "m"}
    settings["teacher"] |= {"base_url": base_url}
    settings["runtime"] |= {"tier": tier, "unknown_price": "allow"}
    return open_model(asked_teacher(settings), Halt(), store, with_tools=False)


def question_for(model: Any, n: int) -> Request:
    content = f"what is {n} + 1?"
    return model.api.request(model.identity, [{"role": "user", "content": content}], [], {"max_tokens": 9}, [])


@pytest.mark.parametrize(("name", "value"), [("MOST_REQUESTS", 4), ("MOST_BYTES", 700)])
def test_files_are_split(name: str, value: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(batch_endpoint, name, value)
    batches = Batches(sums_up, polls=0)

    async def ask(base_url: str) -> list[Any]:
        store = Store(tmp_path / "here")
        model = model_at(base_url, store)
        answers = await asyncio.gather(*(model.ask(question_for(model, n), store.note(f"{n:064x}")) for n in range(10)))
        await model.close()
        return answers

    with serving(batches.post, gets=batches.get) as books:
        answers = asyncio.run(ask(books.base_url))
    assert [answer["message"]["content"] for answer in answers] == [f"Answer: {n + 1}" for n in range(10)]
    files = [batches.files[batch["input_file_id"]] for batch in batches.batches.values()]
    assert sum(map(len, files)) == 10 and len(files) > 2
    assert all(len(lines) <= 4 for lines in files)


def test_what_another_run_has_bought_meanwhile_is_not_ordered(tmp_path: Path) -> None:
    async def ask(base_url: str) -> Any:
        store = Store(tmp_path / "here")
        model = model_at(base_url, store)
        question = question_for(model, 1)
        store.put("a" * 64, chat.parse(says("Answer: 2"), 1.0))
        answer = await model.ask(question, store.note("a" * 64))
        await model.close()
        return answer

    batches = Batches(sums_up)
    with serving(batches.post, gets=batches.get) as books:
        assert asyncio.run(ask(books.base_url))["message"]["content"] == "Answer: 2"
    assert not books.posts


def test_the_money_for_a_batch_is_gone_only_where_it_may_have_been_billed() -> None:
    async def spent(end: Callable[[BatchQueue], None]) -> float:
        budget, queue = Budget(10), BatchQueue()
        queue.add("key", {}, 3.0)
        queue.except_for(set())["key"].reservation = await budget.reserve(3.0)
        end(queue)
        assert budget.reserved == 0
        return budget.spent

    assert asyncio.run(spent(lambda queue: queue.release_reservations(["key"]))) == 0
    for billed in (True, False):
        error = Transient("server", "no", maybe_billed=billed)
        assert asyncio.run(spent(lambda queue, error=error: queue.fail("key", error, retry=True))) == 3 * billed


def test_a_batch_that_was_cancelled_is_not_ordered_again(ready: Path) -> None:
    batches = Batches(lambda body: None if sums.number(body) == 2 else sums_up(body))

    def get(asked: Asked) -> Any:
        found = batches.get(asked)
        return (
            found | {"status": "cancelled"} if isinstance(found, dict) and found.get("status") == "expired" else found
        )

    with serving(batches.post, gets=get) as books:
        done = run(ready, books.base_url).wait()
        assert done.returncode == 1 and "was cancelled; what it had answered is kept" in done.stderr
        assert len(batches.batches) == 1


@pytest.mark.parametrize("code", [None, "invalid_json_line", "token_limit_exceeded"])
def test_a_failed_batch_of_others_is_in_nobodys_way(ready: Path, code: str | None) -> None:
    batches = Batches(sums_up)
    batches.held = True
    with serving(batches.post, gets=batches.get) as books:
        killed_with_an_open_batch(ready, books.base_url)
        batches.held = False
        failed = {"status": "failed", "errors": {"data": [{"code": code}]}}
        batches.batches["batch-0"] |= failed if code else {"status": "cancelled"}
        finished(ready, books.base_url, teacher__max_output_tokens=49)
    assert len(batches.batches) == 2 and {rollout["status"] for rollout in rollouts(ready)} == {"completed"}


def test_an_order_that_is_refused_for_a_while_is_placed_once(ready: Path) -> None:
    batches, busy = (
        Batches(sums_up),
        iter([refused(503, "server_is_overloaded", retry_after="0"), refused(500, "server")]),
    )

    def post(asked: Asked) -> Any:
        return (asked.path == "/v1/batches" and next(busy, None)) or batches.post(asked)

    with serving(post, gets=batches.get) as books:
        finished(ready, books.base_url)
    assert len(batches.batches) == 1 and set(batches.ordered.values()) == {1}


def test_a_lost_order_is_found_behind_a_hundred_others(ready: Path) -> None:
    """The answer to the order breaks off; meanwhile others have ordered a lot, and the list comes in pages."""
    batches, broken = Batches(sums_up), [True]

    def post(asked: Asked) -> Any:
        found = batches.post(asked)
        return Cut(found, 10) if asked.path == "/v1/batches" and broken and broken.pop() else found

    def get(asked: Asked) -> Any:
        if asked.path == "/v1/batches?limit=100":
            return {"data": [{"id": f"other-{n}", "metadata": None} for n in range(100)], "has_more": True}
        return batches.get(asked)

    with serving(post, gets=get) as books:
        finished(ready, books.base_url)
    assert len(batches.batches) == 1 and set(batches.answered.values()) == {1}


@pytest.mark.parametrize("broken", ["no_json", "no_body", "no_custom_id", "nobodys", "missing", "timed_out"])
def test_a_bad_line_of_the_results_costs_its_own_answer_only(ready: Path, broken: str) -> None:
    """All lines behind it were lost, and the batch could not be collected by any later run either."""
    batches = Batches(sums_up)

    def spoil(line: bytes) -> bytes:
        result = json.loads(line)
        late = {"code": "request_timeout", "message": "The underlying call to the model timed out."}
        made: dict[str, dict[str, Any]] = {
            "no_body": result | {"response": {"status_code": 200, "body": None}},
            "no_custom_id": {"response": result["response"]},
            "nobodys": result | {"custom_id": "../../../nobodys"},
            "timed_out": {"custom_id": result["custom_id"], "response": None, "error": late},
        }
        return {"no_json": line[:-20], "missing": b""}.get(broken) or (
            json.dumps(made[broken]).encode() if broken in made else b""
        )

    def get(asked: Asked) -> Any:
        found = batches.get(asked)
        if not asked.path.endswith("/content") or len(batches.batches) > 1:
            return found
        first, *others = found[1].splitlines()
        return 200, b"\n".join([spoil(first), *others]), {}

    with serving(batches.post, gets=get) as books:
        finished(ready, books.base_url)
    assert [rollout["status"] for rollout in rollouts(ready)] == ["completed"] * 6
    assert sorted(batches.ordered.values()) == [1, 1, 1, 1, 1, 2]
    assert not list(ready.parent.rglob("nobodys*"))


def test_a_missing_line_of_a_batch_that_was_completed_may_have_been_billed(ready: Path) -> None:
    """The budget has room for one more; of what expired it is known that it costs nothing."""
    batches = Batches(sums_up)

    def get(asked: Asked) -> Any:
        found = batches.get(asked)
        return (200, b"", {}) if asked.path.endswith("/content") else found

    with serving(batches.post, gets=get) as books:
        done = run(ready, books.base_url, teacher__n=1, runtime__budget_usd=0.05).wait()
    assert done.returncode == 1 and "(budget)" in done.stderr and len(batches.batches) == 1


def test_an_order_that_was_placed_behind_a_gateways_refusal_is_not_placed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor where the list of batches cannot be had for a while."""
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.001)
    batches, ill = Batches(sums_up), [(503, b"<html>upstream", {})] * retry.ATTEMPTS
    batches.files["file-0"] = []

    def post(asked: Asked) -> Any:
        batches.post(asked)
        return 502, b"<html>Bad Gateway", {}

    async def create(base_url: str) -> str:
        http = Http(base_url, {}, 5)
        try:
            return await BatchEndpoint(http, chat.PATH, Halt()).create(Batch("n", "m", "file-0", []))
        finally:
            await http.close()

    with serving(post, gets=lambda asked: ill.pop() if ill else batches.get(asked)) as books:
        assert asyncio.run(create(books.base_url)) == "batch-0"
    assert len(books.posts) == 1 and not ill


def test_a_lost_order_that_is_not_listed_yet_is_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_endpoint, "UNLISTED_PAUSE_S", 0.001)
    batches, looks = Batches(sums_up), iter(range(3))
    store, key = Store(tmp_path / "here"), "a" * 64

    def get(asked: Asked) -> Any:
        lists = asked.path.startswith("/v1/batches?")
        return {"data": [], "has_more": False} if lists and next(looks, None) is not None else batches.get(asked)

    async def ask(base_url: str) -> Any:
        model = model_at(base_url, store)
        open_batches = OpenBatches(store, model.identity)
        batch = open_batches.add("file-0", [key])
        line = {"custom_id": key, "url": "/v1/chat/completions", "body": model.api.body(question_for(model, 1))}
        batches.files["file-0"] = [line]
        batches.post(Asked("POST", "/v1/batches", {}, {"completion_window": "24h", "input_file_id": "file-0",
                                                       "metadata": {"distill": batch.name}}, b"", 0.0))  # fmt: skip
        answer = await model.ask(question_for(model, 1), store.note(key))
        await model.close()
        return answer

    with serving(batches.post, gets=get) as books:
        assert asyncio.run(ask(books.base_url))["message"]["content"] == "Answer: 2"
    assert next(looks, None) is None and not books.posts


def test_what_another_process_asks_at_this_moment_is_not_ordered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run in another clone, at the standard tier: both paid."""
    monkeypatch.setattr(batch_model, "ELSEWHERE_WAIT_S", 0.01)
    store, batches = Store(tmp_path / "here"), Batches(sums_up)
    keys = ["a" * 64, "b" * 64]
    elsewhere = store.lease(keys[0])
    assert elsewhere.take()

    async def ask(base_url: str) -> list[Any]:
        model = model_at(base_url, store)
        first, second = (
            asyncio.create_task(model.ask(question_for(model, n), store.note(key))) for n, key in enumerate(keys)
        )
        await second
        store.put(keys[0], chat.parse(says("Answer: bought elsewhere"), 1.0))
        elsewhere.release()
        answers = [await first, await second]
        await model.close()
        return answers

    with serving(batches.post, gets=batches.get) as books:
        answers = asyncio.run(ask(books.base_url))
    assert [answer["message"]["content"] for answer in answers] == ["Answer: bought elsewhere", "Answer: 2"]
    assert dict(batches.ordered) == {keys[1]: 1}
    assert all(store.lease(key).take() for key in keys), "and nothing is held any more"


def test_a_run_at_another_tier_sees_what_is_ordered_after_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a batch that ends, its answers stored, while it is looked for: then there is no note of it any more."""
    store, look = Store(tmp_path / "here"), OpenBatches.ordered_message

    async def ask(base_url: str) -> str:
        model = model_at(base_url, store, tier="standard")
        teacher = Teacher(model, store, {"max_tokens": 9}, [], model.halt)

        def answer(n: int) -> Any:
            messages = [{"role": "user", "content": f"what is {n} + 1?"}]
            key = request_key(teacher.request(messages, [], 0, []), 0)
            return key, teacher.ask(messages, [], seed=0, sample=0, earlier=[])

        await answer(1)[1]
        key, asking = answer(2)
        batch = teacher.open_batches.add("file-0", [key])
        with pytest.raises(Fatal, match="would be paid as well"):
            await asking

        def ends(batches: OpenBatches, key: str) -> str | None:
            store.put(key, chat.parse(says("Answer: of the batch"), 1.0))
            batches.remove(batch)
            return look(batches, key)

        monkeypatch.setattr(OpenBatches, "ordered_message", ends)
        _, found = await answer(2)[1]
        await teacher.close()
        return str(found["message"]["content"])

    with serving(lambda asked: says("Answer: 2")) as books:
        assert asyncio.run(ask(books.base_url)) == "Answer: of the batch"
    assert len(books.posts) == 1


def test_a_batch_that_is_said_to_be_over_before_its_file_is_there_is_not_ordered_again(ready: Path) -> None:
    batches, early = Batches(sums_up), iter(range(2))

    def get(asked: Asked) -> Any:
        found = batches.get(asked)
        is_over = isinstance(found, dict) and found.get("status") == "completed"
        if is_over and next(early, None) is not None:
            return found | {"output_file_id": None, "request_counts": {"total": 6, "completed": 6, "failed": 0}}
        return found

    with serving(batches.post, gets=get) as books:
        done = finished(ready, books.base_url)
    assert len(batches.batches) == 1 and "has answers that are in no file yet" in done.stdout


def test_a_batch_whose_file_never_comes_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_endpoint, "LONGEST_SILENCE_S", 0.5)
    batches, store = Batches(sums_up), Store(tmp_path / "here")

    def get(asked: Asked) -> Any:
        found = batches.get(asked)
        is_batch = isinstance(found, dict) and found.get("status") == "completed"
        return found | {"output_file_id": None, "request_counts": {"completed": 1}} if is_batch else found

    async def ask(base_url: str) -> None:
        model = model_at(base_url, store)
        with pytest.raises(Fatal, match=r"batch-0 with 1 requests .* or delete .*\.json to order \(and pay\) again"):
            await asyncio.wait_for(model.ask(question_for(model, 1), store.note("a" * 64)), 10)
        await model.close()

    with serving(batches.post, gets=get) as books:
        asyncio.run(ask(books.base_url))
    assert len(batches.batches) == 1


def test_what_another_process_has_ordered_in_the_background_meanwhile_is_not_ordered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was asking for it, and was stopped; the server goes on."""
    monkeypatch.setattr(batch_model, "ELSEWHERE_WAIT_S", 0.01)
    store, key, batches = Store(tmp_path / "here"), "a" * 64, Batches(sums_up)
    elsewhere = store.lease(key)
    assert elsewhere.take()

    async def ask(base_url: str) -> None:
        model = model_at(base_url, store)
        asked = asyncio.create_task(model.ask(question_for(model, 1), store.note(key)))
        await asyncio.sleep(0.3)
        store.note(key).write("resp_0")
        elsewhere.release()
        with pytest.raises(Fatal, match="answer resp_0 was ordered in the background"):
            await asked
        await model.close()

    with serving(batches.post, gets=batches.get) as books:
        asyncio.run(ask(books.base_url))
    assert not books.posts


def test_a_batch_raises_the_limit_of_open_files_for_its_leases(tmp_path: Path) -> None:
    """256 files, which is all that a Mac allows at first."""
    store, batches = Store(tmp_path / "here"), Batches(sums_up, polls=0)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def ask(base_url: str) -> int:
        model = model_at(base_url, store)
        notes = [store.note(f"{n:02x}" * 32) for n in range(256)]
        answers = await asyncio.gather(*(model.ask(question_for(model, n), note) for n, note in enumerate(notes)))
        await model.close()
        return len(answers)

    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 100, before[1]))
    try:
        with serving(batches.post, gets=batches.get) as books:
            assert asyncio.run(ask(books.base_url)) == 256
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
