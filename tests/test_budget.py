"""Money: the budget that cannot be passed, what counts against it, and what is said of it while a run goes on."""

import asyncio
import os
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sums
from asking import *  # noqa: F403
from priced import *  # noqa: F403
from priced import COST, endpoint, question_for
from stage_process import Done, until
from teacher_server import Asked, calls, completion, refused, says, serving

from distill.records import jsonl
from distill.teacher import store
from distill.teacher.api.http import Http
from distill.teacher.errors import Fatal, Transient
from distill.teacher.halt import Halt
from distill.teacher.store import Store
from distill.teacher.teacher import Teacher


@pytest.mark.parametrize("concurrency", [1, 16])
def test_the_budget_is_never_passed_and_the_next_run_goes_on(
    asks: Callable[..., Done], project: Path, concurrency: int
) -> None:
    """Each answer costs 0.0081 and may cost 0.13 (its bytes as tokens): ten prompts, two turns, and 0.5 dollars a run."""
    dear = {"scripted": {"input": 100, "output": 1000}}
    with serving(sums.adds, latency_s=0.02) as books:
        runs, spent = 0, []
        while True:
            before = len(books.answered)
            done = asks(books, runtime__budget_usd=0.2, runtime__prices=dear, runtime__api_concurrency=concurrency)
            spent.append((len(books.answered) - before) * COST)
            runs += 1
            if done.returncode == 0:
                break
            assert "(budget)" in done.stderr and "raise runtime.budget_usd" in done.stderr, done.stderr
            assert not (project / "rollouts").exists() and runs < 10
        assert all(dollars <= 0.2 for dollars in spent) and runs > 1
        assert max(books.times_paid.values()) == 1 and len(books.answered) == 20
    report = jsonl.read_json(project / "reports/rollouts.json", "rollouts_report")
    assert report["cost_usd"] == pytest.approx(20 * COST)


def test_an_answer_dearer_than_the_whole_budget_is_not_promised_to_another_run(asks: Callable[..., Done]) -> None:
    with serving(sums.adds) as books:
        done = asks(books, runtime__budget_usd=0.01)
    assert done.returncode == 1 and not books.posts
    assert "more than all of runtime.budget_usd $0.01: no run buys it until that is raised" in done.stderr
    assert "another run" not in done.stderr


def test_an_answer_that_may_have_been_billed_counts_as_its_worst_case(asks: Callable[..., Done]) -> None:
    with serving(lambda asked: (200, b'{"choices"', {})) as books:
        done = asks(books, runtime__budget_usd=0.1, runtime__api_concurrency=1)
    assert done.returncode == 1 and "(budget)" in done.stderr and len(books.posts) <= 2


@pytest.mark.parametrize("status", [408, 504, 524])
def test_behind_a_proxy_that_gives_up_an_answer_may_have_been_billed(asks: Callable[..., Done], status: int) -> None:
    with serving(lambda asked: (status, b"<html>Gateway time-out", {"retry-after": "0.01"})) as books:
        done = asks(books, runtime__budget_usd=0.12, runtime__api_concurrency=1)
    assert done.returncode == 1 and "(budget)" in done.stderr and len(books.posts) == 1


def test_to_look_for_an_answer_costs_nothing() -> None:
    async def failed(base_url: str, ask: str, *data: bytes) -> bool:
        http = Http(base_url, {}, 5)
        try:
            with pytest.raises(Transient) as caught:
                await getattr(http, ask)("/chat/completions", *data)
            return caught.value.maybe_billed
        finally:
            await http.close()

    given_up = (504, b"", {})
    body = b'{"model": "m", "messages": [{"role": "user", "content": "what is 1 + 1?"}]}'
    with serving(lambda asked: given_up, gets=lambda asked: given_up) as books:
        assert asyncio.run(failed(books.base_url, "post", body))
        assert not asyncio.run(failed(books.base_url, "get"))


def test_a_question_that_a_proxy_gives_up_is_asked_twice(asks: Callable[..., Done], project: Path) -> None:
    def slow(asked: Asked) -> Any:
        given_up = (504, b"<html>Gateway time-out", {"retry-after": "0.01"})
        return given_up if sums.number(asked.body) == 2 else sums.adds(asked)

    with serving(slow) as books:
        assert asks(books, runtime__budget_usd=None).returncode == 0
    assert [sums.number(asked.body) for asked in books.posts].count(2) == 2
    errors = [jsonl.read_json(path, "rollout")["error"] for path in (project / "rollouts").iterdir()]
    assert [error["kind"] for error in errors if error] == ["timeout"]


@pytest.mark.parametrize(
    "error",
    [
        {"message": "Provider returned error", "code": 429, "metadata": {"raw": "rate-limited upstream"}},
        {"message": "try again", "code": "internal"},
        "try again",
    ],
)
def test_a_refusal_that_comes_as_a_success_is_not_billed(asks: Callable[..., Done], project: Path, error: Any) -> None:
    """OpenRouter's, where its provider has too much to do; the budget has room for one request at a time."""
    busy = iter(range(8))

    def passing(asked: Asked) -> Any:
        return {"error": error, "user_id": "u"} if next(busy, None) is not None else sums.adds(asked)

    with serving(passing) as books:
        assert asks(books, runtime__budget_usd=0.5).returncode == 0
    assert sum(
        call["attempts"] > 1
        for path in (project / "rollouts").iterdir()
        for call in jsonl.read_json(path, "rollout")["calls"]
    )


def test_a_server_that_counts_no_tokens_is_as_dear_as_can_be(asks: Callable[..., Done]) -> None:
    with serving(lambda asked: sums.adds(asked) | {"usage": None}) as books:
        done = asks(books, runtime__budget_usd=0.2)
    assert done.returncode == 1 and "(budget)" in done.stderr and len(books.posts) <= 2


def test_a_server_without_a_flex_tier_cannot_pass_the_budget(asks: Callable[..., Done]) -> None:
    """Every answer costs 0.09 at the standard price, and may be charged at that."""

    def dear(asked: Asked) -> Any:
        return sums.adds(asked) | {"usage": {"prompt_tokens": 400, "completion_tokens": 50}}

    with serving(dear) as books:
        done = asks(books, runtime__tier="flex", runtime__budget_usd=0.3)
    assert done.returncode == 1 and "(budget)" in done.stderr and 0 < len(books.posts) * 0.09 <= 0.3


def test_a_server_that_charges_for_more_than_was_asked_for_ends_the_run(asks: Callable[..., Done]) -> None:
    """As xAI's chat does: each answer costs 1.2 in place of the 0.06 that it may. Those that were under way are kept."""

    def endless(asked: Asked) -> Any:
        return says("Answer: 1") | {"usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 1211}}

    with serving(endless, latency_s=0.3) as books:
        done = asks(books, runtime__budget_usd=1, teacher__n=2)
        assert done.returncode == 1 and "(budget)" in done.stderr and "more than runtime.budget_usd" in done.stderr
        done = asks(books, runtime__budget_usd=2, runtime__api_concurrency=1, teacher__n=4)
        assert done.returncode == 1 and len(books.answered) == 3, "the second may be as long as the first"
    assert max(books.times_paid.values()) == 1


def test_who_waits_for_money_when_the_run_is_stopped_does_not_spend_it(tmp_path: Path) -> None:
    async def two(base_url: str) -> list[Any]:
        halt = Halt()
        model = endpoint(base_url, halt, 10)
        asking = [asyncio.create_task(model.ask(question_for(model), Store(tmp_path).note("a"))) for _ in range(2)]
        await asyncio.to_thread(until, lambda: books.posts)
        await asyncio.sleep(0.05)
        halt.stop(Fatal("interrupted", "stopped"))
        ends = await asyncio.gather(*asking, return_exceptions=True)
        await model.close()
        return ends

    cheap = says("Answer: 2") | {"usage": {"prompt_tokens": 11, "completion_tokens": 1}}
    with serving(lambda asked: cheap, latency_s=0.3) as books:
        ends = asyncio.run(two(books.base_url))
    assert len(books.posts) == 1 and isinstance(ends[1], Fatal) and ends[0]["message"]["content"] == "Answer: 2"


def test_what_the_headers_of_an_answer_say_is_heeded(tmp_path: Path) -> None:
    async def two(base_url: str) -> None:
        model = endpoint(base_url, Halt(), None)
        for _ in range(2):
            await model.ask(question_for(model), Store(tmp_path).note("a"))
        await model.close()

    told = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "400ms"}
    with serving(lambda asked: (200, says("Answer: 2"), told)) as books:
        asyncio.run(two(books.base_url))
    first, second = (at for at, _ in books.answered)
    assert second - first > 0.35


def test_a_warning_tells_of_a_model_that_will_be_switched_off(asks: Callable[..., Done]) -> None:
    from datetime import timedelta

    last = (datetime.now(UTC) + timedelta(days=19)).date().isoformat()
    listed = {"data": [{"id": "scripted", "shutdown_date": last}, {"id": "other"}]}
    with serving(sums.adds, latency_s=0.1, gets=lambda asked: listed) as books:
        assert f"scripted shuts down on {last}, in 19 days" in asks(books, teacher__n=1).stdout


def test_progress_and_the_last_lines_tell_money_and_advice(asks: Callable[..., Done]) -> None:
    def teacher(asked: Asked) -> Any:
        if sums.number(asked.body) == 1:
            return completion({"role": "assistant", "content": "half"}, "length")
        return calls(("x", "add", "{}")) if sums.number(asked.body) == 2 else sums.adds(asked)

    with serving(teacher) as books:
        said = asks(books).stdout
    assert re.search(r"10/10 done, 2 failed, \d+ tokens/s, 23 answers, \$0.\d+ spent of \$10, 0 of 64 in flight", said)
    assert re.search(r"8 of 10 rollouts completed, .* tool calls \(6 failed\)", said)
    assert re.search(r"1  truncated +raise teacher.max_output_tokens", said)
    assert re.search(r"1  max_turns +see in rollouts/ what keeps", said)


@pytest.mark.parametrize("module", ["stages.teacher_rollouts", "distill.commands.trial"])
def test_on_a_terminal_one_line_is_kept_and_nothing_runs_into_it(
    asks: Callable[..., Done], project: Path, module: str
) -> None:
    """On one of 60 columns, with a warning and conversations in between, and an end that comes early."""
    import subprocess
    import sys

    def broke(asked: Asked) -> Any:
        return sums.adds(asked) if len(books.posts) < 6 else refused(429, "insufficient_quota")

    listed = {"data": [{"id": "scripted", "shutdown_date": datetime.now(UTC).date().isoformat()}]}
    ours, theirs = os.openpty()
    with serving(broke, latency_s=0.3, gets=lambda asked: listed) as books:
        sums.set_params(project, teacher__base_url=books.base_url, runtime__api_concurrency=1)
        environment = {**os.environ, "PYTHONPATH": str(sums.ROOT), "TEACHER_API_KEY": "", "COLUMNS": "60"}
        command = [sys.executable, "-m", module]
        with subprocess.Popen(command, cwd=project, env=environment, stdout=theirs, stderr=subprocess.PIPE):
            os.close(theirs)
            said = b""
            try:
                while part := os.read(ours, 65536):
                    said += part
            except OSError:  # Linux's end of a terminal
                pass
    os.close(ours)
    # What stands on each line in the end: what was written after it was last wiped.
    lines = [line.split("\r\x1b[K") for line in said.decode().replace("\r\n", "\n").split("\n")]
    states = [state for line in lines for state in line if " done, " in state]
    assert len(states) > 2 and all(re.fullmatch(r"\d+/\d+ done, [^─]*", state) for state in states), said
    assert max(map(len, states)) < 60
    shown = [line[-1] for line in lines]
    assert any(line.startswith("warning: scripted shuts down") for line in shown)
    assert any(line.startswith("── ") for line in shown) == (module == "distill.commands.trial")
    end = next(place for place, line in enumerate(shown) if re.match(r"teacher_rollouts: \d answers bought", line))
    assert re.match(r"\d+/\d+ done", shown[end - 1])


def test_nothing_is_bought_that_a_full_disk_could_not_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(base_url: str) -> None:
        halt = Halt()
        model = endpoint(base_url, halt, None)
        teacher = Teacher(model, Store(tmp_path / "here"), {"max_tokens": 9}, [], halt)
        question = [{"role": "user", "content": "what is 1 + 1?"}]
        try:
            await teacher.ask(question, [], seed=0, sample=0, earlier=[])
        finally:
            await model.close()

    with serving(sums.adds) as books:
        asyncio.run(ask(books.base_url))
        assert len(books.posts) == 1
        monkeypatch.setattr(store, "MIN_FREE_BYTES", 1 << 60)
        asyncio.run(ask(books.base_url))
        shutil.rmtree(tmp_path / "here")
        with pytest.raises(OSError, match=r"No space left on device: fewer than \d+ MB are free"):
            asyncio.run(ask(books.base_url))
        assert len(books.posts) == 1
