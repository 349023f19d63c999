"""The batch tier: half the price, and nothing ordered twice, whatever becomes of the batch or of us."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sums
from asking import rollouts
from batch_project import *  # noqa: F403
from batch_project import COST, finished, killed_with_an_open_batch, model_at, question_for, run, sums_up
from batch_server import Batches
from stage_process import Running, until
from teacher_server import Asked, serving

from distill.project import params
from distill.teacher.api import retry
from distill.teacher.batch import batch_endpoint, batch_model
from distill.teacher.batch.batch_queue import BatchQueue
from distill.teacher.cost.budget import Budget
from distill.teacher.errors import KINDS, Transient
from distill.teacher.store import Store
from stages import teacher_rollouts


def test_all_questions_go_out_in_one_batch_at_half_the_price(ready: Path) -> None:
    batches = Batches(sums_up)
    with serving(batches.post, gets=batches.get) as books:
        finished(ready, books.base_url)
    assert [rollout["messages"][-1]["content"] for rollout in rollouts(ready)] == [f"Answer: {n + 1}" for n in range(6)]
    assert len(batches.batches) == 1 and rollouts(ready)[0]["cost_usd"] == pytest.approx(COST)
    assert batches.forgotten == set(batches.files), "once the answers are on our disk"
    line = batches.files["file-0"][0]
    assert line["method"] == "POST" and line["url"] == "/v1/chat/completions" and line["body"]["max_tokens"] == 50


def test_two_prompts_that_ask_the_same_wait_for_one_answer(ready: Path) -> None:
    row = json.loads((ready / "data/seed/sums.jsonl").read_text().splitlines()[0])
    with (ready / "data/seed/sums.jsonl").open("a") as file:
        file.write(json.dumps(row | {"tools": []}) + "\n")
    assert Running(ready, "prompts").wait().returncode == 0
    batches = Batches(sums_up)
    with serving(batches.post, gets=batches.get) as books:
        finished(ready, books.base_url)
    assert len(rollouts(ready)) == 7 and len(batches.ordered) == 6 and set(batches.ordered.values()) == {1}


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
