"""What comes back of a batch: results that are late, damaged, lost, refused or expired cost no other answer, and no second
payment."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
import sums
from asking import rollouts
from batch_project import *  # noqa: F403
from batch_project import PARAMS, finished, killed_with_an_open_batch, model_at, question_for, run, sums_up
from batch_server import Batches
from stage_process import Running
from teacher_server import Asked, refused, response, says, serving, text

from distill.teacher.api.error_response import LARGEST_ANSWER
from distill.teacher.batch import batch_endpoint
from distill.teacher.errors import KINDS, Fatal
from distill.teacher.store import Store


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


def test_half_an_emoji_costs_no_batch(ready: Path) -> None:
    cut = Batches(lambda body: says("Answer: 1 \ud83d") if sums.number(body) == 1 else sums_up(body))
    with serving(cut.post, gets=cut.get) as books:
        finished(ready, books.base_url)
    assert rollouts(ready)[1]["messages"][-1]["content"] == "Answer: 1 ?" and set(cut.ordered.values()) == {1}


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
