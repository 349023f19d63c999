"""The line that a person waits by: what it says of a run whose clock the test turns."""

import asyncio
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sums
from stage_process import Running
from teacher_server import serving

from distill.agent.buy import buy
from distill.agent.selection import wanted
from distill.project import terminal
from distill.project.params import load as load_params
from distill.records import jsonl
from distill.teacher import progress
from distill.teacher.api.throttle import Throttle
from distill.teacher.cost.budget import Budget
from distill.teacher.errors import ApiError, Transient
from distill.teacher.halt import Halt
from distill.teacher.progress import Progress


class Run:
    """A run of rollouts whose answers come when the test says so."""

    def __init__(self, total: int, **more: Any):
        self.now = 0
        self.teacher: Any = SimpleNamespace(bought=0, bought_tokens=0, model=None)
        self.progress = Progress("run", total, self.teacher, clock=lambda: self.now, **more)

    def answer(self, after_s: int, count: int = 1) -> None:
        """Waits, then the model has given `count` more answers."""
        for _ in range(after_s):
            self.now += 1
            self.progress.tick()
        self.teacher.bought += count
        self.teacher.bought_tokens += 20 * count
        self.progress.tick()

    def end(self, turns: int, was_stored: bool = False) -> None:
        """A rollout ends."""
        self.progress.add({"status": "completed", "usage": {"output_tokens": 7}, "calls": [{}] * turns}, was_stored)

    @property
    def line(self) -> str:
        return self.progress.line(self.now)


@pytest.mark.parametrize("spent", [[], ["$1.0000 spent of $3"]])
def test_a_line_has_no_empty_field(spent: list[str]) -> None:
    run, budget = Run(4), Budget(3)
    budget.spent = 1
    run.teacher.model = SimpleNamespace(budget=budget) if spent else None
    assert run.line.split(", ")[2:] == ["0 tokens/s", "no answer yet", *spent, "0 s", "time left unknown"]


def test_a_pause_is_not_said_to_be_the_servers_wish() -> None:
    """It may be that of runtime.requests_per_minute."""

    async def line() -> str:
        run, throttle = Run(4), Throttle(8, Halt(), per_minute=6)
        run.teacher.model = SimpleNamespace(throttle=throttle)
        async with throttle.slot(1), throttle.slot(1):
            return run.line

    assert ", 2 of 8 in flight, next request in 10 s, " in asyncio.run(line())


def test_a_line_says_why_there_is_no_answer_until_there_is_one() -> None:
    async def lines() -> list[str]:
        run, throttle = Run(4), Throttle(8, Halt())
        run.teacher.model = SimpleNamespace(throttle=throttle)
        found = []
        for error in (Transient("rate_limit", "HTTP 429: slow down\nplease"), ApiError("bad_request", "no"), None):
            with suppress(ApiError):
                async with throttle.slot(1):
                    if error:
                        raise error
            found.append(run.line)
        return found

    refused, refused_else, answered = asyncio.run(lines())
    assert ", 0 of 6 in flight, rate_limit (HTTP 429: slow down), 0 s, " in refused and refused == refused_else
    assert ", 0 of 6 in flight, 0 s, " in answered


def test_a_line_says_how_long_a_server_has_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal of a minute ago is not what keeps the run waiting then."""

    async def lines() -> list[str]:
        run, throttle = Run(4), Throttle(8, Halt())
        run.teacher.model = SimpleNamespace(throttle=throttle)
        async with throttle.slot(1):
            found = [run.line]
            monkeypatch.setattr(progress, "LONG_S", 0.01)
            await asyncio.sleep(0.02)
            async with throttle.slot(1):
                found.append(run.line)
        return [*found, run.line]

    soon, late, answered = asyncio.run(lines())
    assert ", 1 of 8 in flight, 0 s, " in soon
    assert ", 2 of 8 in flight (the oldest for 0 s), " in late and "oldest" not in answered


def test_a_narrow_terminal_has_the_time_that_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is what a person waits by, and stands behind all that an API has to say."""
    monkeypatch.setattr(progress, "LONG_S", 0.0)
    monkeypatch.setattr(terminal, "is_live", lambda: True)

    async def lines(columns: int) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        run, throttle = Run(57), Throttle(64, Halt())
        run.teacher.model = SimpleNamespace(throttle=throttle, budget=Budget(10))
        async with throttle.slot(1), throttle.slot(1):
            run.answer(after_s=12, count=4)
            run.end(turns=2)
            run.answer(after_s=1)
        return capsys.readouterr().out.split(terminal.CLEAR)[-1]

    narrow, wide = asyncio.run(lines(80)), asyncio.run(lines(200))
    assert len(narrow) < 80 and narrow.startswith("1/57 done, 0 failed, ") and narrow.endswith(" left"), narrow
    assert "2 of 64 in flight (the oldest for 0 s), 13 s, " in wide


def test_a_servers_words_do_not_reach_the_terminal_as_its_commands() -> None:
    async def line() -> str:
        run, throttle = Run(4), Throttle(8, Halt())
        run.teacher.model = SimpleNamespace(throttle=throttle)
        with suppress(ApiError):
            async with throttle.slot(1):
                raise Transient("overloaded", "HTTP 503: \x1b]0;title\x07busy")
        return run.line

    assert "overloaded (HTTP 503: \\x1b]0;title\\x07busy)" in asyncio.run(line())


def test_the_first_answers_are_counted_before_a_rollout_has_ended() -> None:
    run = Run(64)
    assert ", no answer yet, 0 s" in run.line
    run.answer(after_s=150)
    assert ", 1 answer, 2 min" in run.line
    run.answer(after_s=10, count=3)
    assert ", 4 answers, 2 min, time left unknown" in run.line


def test_slow_first_answers_are_soon_forgotten() -> None:
    """Four at a time, three answers each: the first four take three minutes, every further one two seconds."""
    run = Run(64)
    run.answer(after_s=180, count=4)
    for done in range(1, 33):
        for _ in range(3):
            run.answer(after_s=2)
        run.end(turns=3)
        if done == 16:
            assert run.line.endswith(", 4 min left")  # 48 rollouts, 3 answers each but for 4 under way, 2 s each: 280 s
    assert ", 10 tokens/s, 100 answers, " in run.line


def test_what_was_stored_takes_no_time_and_tells_nothing_of_the_rest() -> None:
    run = Run(1000, stored=1)
    run.now = 1
    for _ in range(900):
        run.end(turns=3, was_stored=True)
    assert run.line.endswith("0 tokens/s, no answer yet, 1 s, time left unknown")
    for _ in range(10):
        run.answer(after_s=1, count=2)
        run.end(turns=2)
    # 90 are left with two answers each, of which one is stored; 20 came in 11 s.
    assert run.line.endswith(", 20 answers, 11 s, 98 s left")


def test_where_the_store_answers_the_tools_tell_the_time() -> None:
    """After a change of the tools: every rollout calls them anew, and two answers have to be bought."""
    run = Run(30, stored=29)
    run.end(turns=1, was_stored=True)
    for done in range(28):
        run.answer(after_s=2, count=int(done in (3, 20)))
        run.end(turns=2)
        if done == 18:
            assert run.line.endswith(", 38 s, 20 s left")
    assert run.line.endswith("29/30 done, 0 failed, 1 tokens/s, 2 answers, 56 s, 2 s left")


def test_where_all_wait_for_tools_these_tell_the_time() -> None:
    """A fast model has given all first answers at once; containers end one by one."""
    calling = 0
    run = Run(20, calling=lambda: calling)
    run.answer(after_s=1, count=20)
    assert "calling" not in run.line
    for calling in range(19, 14, -1):  # noqa: B007
        run.answer(after_s=3)
        run.end(turns=2)
    assert run.line.endswith(", 25 answers, 15 calling tools, 16 s, 48 s left")


def test_a_run_says_how_many_rollouts_call_tools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = sums.bare(tmp_path)
    with serving(sums.adds) as books:
        sums.make(project, 3, teacher__base_url=books.base_url)
        tools = (project / "tools.py").read_text().replace("return", "time.sleep(1)\n    return")
        (project / "tools.py").write_text(f"import time\n{tools}")
        assert Running(project, "prompts").wait().returncode == 0
        monkeypatch.chdir(project)
        for pause in ("EVERY_S", "QUIET_S"):
            monkeypatch.setattr(progress, pause, 0.0)
        params = load_params()
        chosen = wanted(list(jsonl.read("data/prompts.jsonl", "prepared_prompt")), params)
        asyncio.run(buy(chosen, params, lambda rollout: None))
    lines = capsys.readouterr().out.splitlines()
    assert any("0/3 done" in line and ", 3 calling tools, " in line for line in lines), lines
    assert "calling" not in next(line for line in lines if "3/3 done" in line)


def test_a_batch_whose_answers_come_all_at_once_is_not_taken_for_a_fast_model() -> None:
    run = Run(100)
    for _ in range(2):
        run.answer(after_s=3600, count=100)
    run.end(turns=3)
    assert run.line.endswith("2 h 00 min, 60 min left")


def test_an_exam_knows_the_answers_of_conversations_that_have_ended() -> None:
    now = 0
    shown = Progress("evaluate base", 10, clock=lambda: now)
    for now in range(10, 60, 10):  # noqa: B007
        shown.add({"status": "completed", "usage": {"output_tokens": 30}, "turns": 2})
    assert shown.line(now) == "evaluate base: 5/10 done, 0 failed, 3 tokens/s, 50 s, 50 s left"
