"""Law 1, by killing real processes against a server that keeps the books: what was paid for is never lost and never
bought twice."""

import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import orjson
import pytest
import sums
from asking import *  # noqa: F403
from stage_process import Running, until
from teacher_server import Books, serving

from distill.agent.tool_results import ToolResults
from distill.records import jsonl
from distill.records.faults import InputError
from distill.teacher.store import Store
from distill.tools.session import ToolResult

KILLS = 20
WINDOW_S = 0.25
"""The time between the last byte of an answer and its durable file is a few milliseconds; on a busy machine more."""


@pytest.fixture
def ready(project: Path):  # type: ignore[no-untyped-def]
    """Makes a project of prompts that is ready for its teacher stage."""

    def make(count: int, **params: Any) -> Path:
        sums.make(project, count, **params)
        assert Running(project, "prompts").wait().returncode == 0
        return project

    return make


def stored() -> int:
    return len(list(Path(os.environ["DISTILL_STORE"]).glob("*/*.json")))


def rollouts(project: Path) -> list[dict[str, Any]]:
    return [jsonl.read_json(path, "rollout") for path in sorted((project / "rollouts").iterdir())]


def bought_again(books: Books, lives: list[tuple[float, float]]) -> list[float]:
    """Seconds between the last byte and the kill, for each answer that had arrived and was bought a second time.

    `lives`: when each process began and was killed. Answers that the server finished when who had asked was no longer
    there are not among them: nobody can keep those.
    """
    lost = []
    for place, (moment, asked) in enumerate(books.answered):
        if any(later.raw == asked.raw for _, later in books.answered[place + 1 :]):
            # No process connects in its first 20 ms; what seems to was sent by the one before.
            killed = next(kill for began, kill in reversed(lives) if began + 0.02 < asked.connected_at)
            lost += [killed - moment] if moment <= killed else []
    return lost


@pytest.mark.parametrize(
    "entry",
    [b"", b"[1]", b'{"answer": 5}', b'{"failure": {"kind": "of_newer_code", "message": "", "http_status": null}}'],
)
def test_what_cannot_be_read_of_the_store_counts_as_nothing(ready, entry: bytes) -> None:  # type: ignore[no-untyped-def]
    """All clones of a machine share it, those with newer code, too."""
    project = ready(2)
    with serving(sums.adds) as books:
        sums.set_params(project, teacher__base_url=books.base_url)
        assert Running(project, "teacher_rollouts", TEACHER_API_KEY="").wait().returncode == 0
        for path in Path(os.environ["DISTILL_STORE"]).glob("??/*.json"):
            path.write_bytes(entry)
        done = Running(project, "teacher_rollouts", TEACHER_API_KEY="").wait()
    assert done.returncode == 0, done.stderr
    assert len(books.posts) == 2 * 2 * 2 and {rollout["status"] for rollout in rollouts(project)} == {"completed"}


def test_twenty_kills_lose_nothing_and_buy_nothing_twice(ready) -> None:  # type: ignore[no-untyped-def]
    """60 rollouts of 3 turns; SIGKILL at 20 random moments, and then the run ends as if nothing had happened."""
    project = ready(60, runtime__api_concurrency=8)
    chance = random.Random(3)
    lives: list[tuple[float, float]] = []
    with serving(sums.counts_to(3), latency_s=0.06) as books:
        sums.set_params(project, teacher__base_url=books.base_url)
        for _ in range(KILLS):
            began, before = time.monotonic(), len(books.posts)
            run = Running(project, "teacher_rollouts")
            until(lambda before=before: len(books.posts) > before)
            time.sleep(chance.uniform(0, 0.14))
            run.kill()
            lives.append((began, time.monotonic()))
            run.wait()
            assert not (project / "rollouts").exists()
        paid_before_the_end = len(books.answered)
        assert Running(project, "teacher_rollouts").wait().returncode == 0
    lost = bought_again(books, lives)
    assert len(books.times_paid) == 180, "each answer was needed once"
    assert all(seconds < WINDOW_S for seconds in lost), f"lost though answered long before the kill: {lost}"
    assert paid_before_the_end > 60
    assert [rollout["status"] for rollout in rollouts(project)] == ["completed"] * 60
    print(
        f"\n{KILLS} kills, {paid_before_the_end} answers paid for by then, {len(lost)} lost between last byte and disk "
        f"{[f'{seconds * 1000:.0f} ms' for seconds in lost]}"
    )


def test_the_window_between_answer_and_disk_is_small(ready) -> None:  # type: ignore[no-untyped-def]
    """How long an answer is paid for and not yet kept: from the server's last byte to the file's time."""
    project = ready(30, runtime__api_concurrency=4)
    with serving(sums.adds, latency_s=0.05) as books:
        sums.set_params(project, teacher__base_url=books.base_url)
        assert Running(project, "teacher_rollouts").wait().returncode == 0
        offset = time.time() - time.monotonic()
        answered = sorted(moment + offset for moment, _ in books.answered)
    kept = sorted(path.stat().st_mtime for path in Path(os.environ["DISTILL_STORE"]).glob("*/*.json"))
    window = statistics.median(late - early for early, late in zip(answered, kept, strict=True))
    print(f"\nmedian window: {window * 1000:.1f} ms")
    assert window < 0.5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_what_is_asked_for_arrive(ready, number: signal.Signals) -> None:  # type: ignore[no-untyped-def]
    project = ready(10, runtime__api_concurrency=5)
    with serving(sums.adds, latency_s=0.3) as books:
        sums.set_params(project, teacher__base_url=books.base_url)
        run = Running(project, "teacher_rollouts")
        until(lambda: len(books.answered) >= 5 and books.in_flight >= 4)
        run.kill(number)
        done = run.wait()
        assert done.returncode == 1 and done.stderr.startswith(f"error: stopped by {number.name}\n"), done.stderr
        assert re.search(r"(?m)^\d of 10 rollouts are done, and every answer .* kept; run again to go on$", done.stderr)
        assert stored() == len(books.answered) == len(books.posts), "all that was asked for was kept"
        assert not (project / "rollouts").exists()
        assert Running(project, "teacher_rollouts").wait().returncode == 0
        assert max(books.times_paid.values()) == 1 and len(books.posts) == 20


def test_a_signal_that_has_also_ended_the_reader_of_the_output_stops_it(ready) -> None:  # type: ignore[no-untyped-def]
    """`make | tee log`: Ctrl-C reaches tee as well."""
    project = ready(10, runtime__api_concurrency=2)
    with serving(sums.adds, latency_s=0.3) as books:
        sums.set_params(project, teacher__base_url=books.base_url)
        command = [sys.executable, "-m", "stages.teacher_rollouts"]
        with subprocess.Popen(
            command, cwd=project, env={**os.environ, "PYTHONPATH": str(sums.ROOT)}, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        ) as run:  # fmt: skip
            assert run.stdout and run.stderr
            until(lambda: len(books.posts) >= 4)
            run.stdout.close()
            run.send_signal(signal.SIGINT)
            said = run.stderr.read()
    assert run.returncode == 1 and said.startswith("error: stopped by SIGINT\n") and said.count("\n") == 2, said
    assert stored() == len(books.answered) == len(books.posts) < 20


def test_a_second_signal_ends_it_at_once(ready) -> None:  # type: ignore[no-untyped-def]
    project = ready(4)
    with serving(sums.adds, latency_s=30) as books:
        sums.set_params(project, teacher__base_url=books.base_url)
        run = Running(project, "teacher_rollouts")
        until(lambda: len(books.posts) == 4)
        run.kill(signal.SIGINT)
        until(lambda: "again to give it up" in run.stdout)
        started = time.monotonic()
        run.kill(signal.SIGINT)
        assert run.wait().returncode != 0 and time.monotonic() - started < 20


def test_going_back_to_a_model_costs_nothing(ready) -> None:  # type: ignore[no-untyped-def]
    project = ready(5)
    with serving(sums.adds) as books:
        for model in ("a", "b", "a"):
            sums.set_params(project, model=model, teacher__base_url=books.base_url)
            assert Running(project, "teacher_rollouts").wait().returncode == 0
        assert len(books.posts) == 20


RESTLESS = '''
import time
from distill.tools import tool

@tool
def add(a: int, b: int) -> str:
    """Adds two numbers, and says when."""
    return f"{a + b} at {time.time_ns()}"
'''


@pytest.mark.parametrize("kill_after", [1, 3, 4])
def test_a_crash_in_a_long_rollout_keeps_its_turns(ready, kill_after: int) -> None:  # type: ignore[no-untyped-def]
    """Five turns with a tool that never says the same twice: the answered turns are free all the same."""
    project = ready(1)
    (project / "tools.py").write_text(RESTLESS)
    with serving(sums.counts_to(5), latency_s=0.2) as books:
        sums.set_params(project, teacher__base_url=books.base_url)
        run = Running(project, "teacher_rollouts")
        until(lambda: len(books.posts) == kill_after + 1)
        run.kill()
        run.wait()
        assert stored() == kill_after
        until(lambda: not books.in_flight)
        assert Running(project, "teacher_rollouts").wait().returncode == 0
        assert len(books.posts) == 5 + 1, "the turn that was cut off is asked again, and no other"
        first = rollouts(project)
        assert Running(project, "teacher_rollouts").wait().returncode == 0
        assert rollouts(project) == first and len(books.posts) == 6


def test_what_a_tool_said_counts_only_for_that_tool(ready) -> None:  # type: ignore[no-untyped-def]
    """A comment in tools.py changes nothing; another behaviour does, and so do other files that it reads."""
    project = ready(3)
    (project / "tools.py").write_text(RESTLESS)
    with serving(sums.adds) as books:
        sums.set_params(project, teacher__base_url=books.base_url)

        def asked_now() -> int:
            before = len(books.posts)
            assert Running(project, "teacher_rollouts").wait().returncode == 0
            return len(books.posts) - before

        assert asked_now() == 6
        (project / "tools.py").write_text("# a comment\n" + RESTLESS)
        assert asked_now() == 0
        (project / "tools.py").write_text(RESTLESS.replace("at {", "o'clock {"))
        assert asked_now() == 3, "the first answers are the same, what follows the tool is not"
        pipeline = project / "dvc.yaml"
        pipeline.write_text(
            pipeline.read_text().replace("    - data/prompts.jsonl\n", "    - data/prompts.jsonl\n    - list.txt\n")
        )
        (project / "list.txt").write_text("1")
        assert asked_now() == 3
        assert asked_now() == 0


def test_the_order_in_which_answers_come_does_not_show(ready) -> None:  # type: ignore[no-untyped-def]
    project = ready(12)
    chance = random.Random(0)

    def in_any_order(asked: Any) -> Any:
        time.sleep(chance.uniform(0, 0.01))
        return sums.adds(asked)

    with serving(in_any_order) as books:
        sums.set_params(project, teacher__base_url=books.base_url)
        assert Running(project, "teacher_rollouts").wait().returncode == 0
    first = {path.name: path.read_bytes() for path in (project / "rollouts").iterdir()}
    report = (project / "reports/rollouts.json").read_bytes()
    for concurrency in (1, 7):
        sums.set_params(project, runtime__api_concurrency=concurrency)
        assert Running(project, "teacher_rollouts").wait().returncode == 0
        assert {path.name: path.read_bytes() for path in (project / "rollouts").iterdir()} == first
        assert (project / "reports/rollouts.json").read_bytes() == report


@pytest.mark.parametrize("folder", ["project", "other"])
def test_two_runs_at_once_buy_each_answer_once(ready, tmp_path: Path, folder: str) -> None:  # type: ignore[no-untyped-def]
    project = ready(15, runtime__api_concurrency=4)
    (project / ".rollouts.killed.tmp").mkdir()
    with serving(sums.adds, latency_s=0.1) as books:
        sums.set_params(project, teacher__base_url=books.base_url)
        other = project if folder == "project" else shutil.copytree(project, tmp_path / "other")
        first = Running(project, "teacher_rollouts")
        patience = time.monotonic() + 60
        while not books.posts and time.monotonic() < patience:
            time.sleep(0.01)
        ends = [Running(other, "teacher_rollouts").wait(), first.wait()]
    assert [end.returncode for end in ends] == [0, 0], ends
    assert len(books.posts) == 30 and max(books.times_paid.values()) == 1
    assert len(rollouts(project)) == len(rollouts(other)) == 15
    assert not [*project.glob(".rollouts.*"), *other.glob(".rollouts.*")]


def test_a_record_gives_back_what_the_store_had(ready) -> None:  # type: ignore[no-untyped-def]
    """Byte for byte, from the file in rollouts/ to the answers in the store."""
    from distill.agent.record import outcomes

    project = ready(3)
    with serving(sums.counts_to(3)) as books:
        sums.set_params(project, teacher__base_url=books.base_url)
        assert Running(project, "teacher_rollouts").wait().returncode == 0
    store = Store()
    for rollout in rollouts(project):
        requests = list(outcomes(rollout))
        assert len(requests) == 3 and [len(request.tool_results) for request in requests] == [1, 1, 0]
        for request in requests:
            assert orjson.dumps(request.answer) == orjson.dumps(store.get(request.key))
            assert request.tool_results == (
                ToolResults(store.root, rollout["versions"]["tools"]).get(request.key, None) or []
            )


def test_a_failure_is_not_forgotten_while_somebody_asks_again(tmp_path: Path) -> None:
    """What it is replaced with may be an answer: nobody deletes at a place that another holds."""
    import asyncio
    import subprocess
    import sys

    from distill.teacher.errors import error

    key, store = "ab" * 32, Store(tmp_path)
    store.put_failure(key, error("bad_request", "no"))
    holds = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom distill.teacher.store import Store\nasync def hold():\n"
    )
    holds += "    async with Store(Path(sys.argv[1])).lease(sys.argv[2]):\n        print(flush=True)\n        sys.stdin.read()\n"
    command = [sys.executable, "-c", holds + "asyncio.run(hold())", str(tmp_path), key]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=sums.ROOT) as other:
        assert other.stdout and other.stdin and other.stdout.readline()
        store.forget(key)
        assert store.entry(key)["failure"]["kind"] == "bad_request"
        other.stdin.close()

    async def hold() -> None:
        async with store.lease(key):
            store.forget(key)
            assert store.has(key)

    asyncio.run(hold())
    store.forget(key)
    assert not store.has(key)
    store.forget(key)


@pytest.mark.parametrize("inside", ["", "answers"])
def test_a_file_in_place_of_the_store_is_said(tmp_path: Path, inside: str) -> None:
    (tmp_path / "store").touch()
    with pytest.raises(InputError, match="store is a file: DISTILL_STORE"):
        Store(tmp_path / "store" / inside)


@pytest.mark.parametrize("variable", ["DISTILL_STORE", "DISTILL_CACHE", "XDG_CACHE_HOME"])
def test_a_relative_place_of_the_store_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """It would be another one in each temporary experiment."""
    monkeypatch.delenv("DISTILL_STORE")
    monkeypatch.setenv(variable, "store")
    with pytest.raises(
        InputError, match=f"^{variable}=store is a relative path: name the whole one, such as /.*/store$"
    ):
        Store()


def test_people_of_one_group_can_share_a_store(ready) -> None:  # type: ignore[no-untyped-def]
    project = ready(2)
    with serving(sums.adds) as books:
        sums.set_params(project, teacher__base_url=books.base_url)
        command = [sys.executable, "-m", "stages.teacher_rollouts"]
        environment = {**os.environ, "PYTHONPATH": str(sums.ROOT)}
        subprocess.run(command, cwd=project, env=environment, umask=0o002, check=True)
    kept = [*Path(os.environ["DISTILL_STORE"]).rglob("*")]
    assert {path.name for path in kept if path.is_file()} >= {"leases"} and len(kept) > 8
    assert not [path for path in kept if path.stat().st_mode & 0o020 == 0]


def test_an_empty_cache_folder_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the project's, of which each temporary experiment is a copy."""
    monkeypatch.delenv("DISTILL_STORE")
    monkeypatch.delenv("DISTILL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert Store().root == Path.home() / ".cache/distill/answers"


@pytest.mark.parametrize("content", [b"", b'{"answer": {"te', b"[]", b"null"])
def test_a_broken_entry_counts_as_none(tmp_path: Path, content: bytes) -> None:
    store, key = Store(tmp_path), "a" * 64
    store.put(key, {"text": "x"})  # type: ignore[typeddict-item]
    (tmp_path / "aa" / f"{key}.json").write_bytes(content)
    assert store.get(key) is None and store.entry(key) == {}


@pytest.mark.parametrize("cut", [b"],[", b"]]"])
def test_a_torn_line_of_tool_results_counts_as_none(tmp_path: Path, cut: bytes) -> None:
    """Torn by a full disk behind a bracket, it looks like a whole one."""
    ToolResults(tmp_path, "v").put("a" * 64, None, [ToolResult("[[1]]", 1.0), ToolResult("y", 2.0)])
    (file,) = (tmp_path / "tool_results").iterdir()
    file.write_bytes(file.read_bytes()[: file.read_bytes().index(cut) + 1])
    results = ToolResults(tmp_path, "v")
    results.put("b" * 64, None, [ToolResult("z", 1.0)])
    assert results.get("a" * 64, None) is None and results.get("b" * 64, None) == [ToolResult("z", 1.0)]
    results.put("a" * 64, None, [ToolResult("x", 1.0)])
    assert results.get("a" * 64, None) == ToolResults(tmp_path, "v").get("a" * 64, None) == [ToolResult("x", 1.0)]


def test_a_large_file_of_tool_results_is_not_read_into_memory(tmp_path: Path) -> None:
    for n in range(40):
        ToolResults(tmp_path, "v").put(f"{n:064}", None, [ToolResult("x" * 10**6, 1.0)])
    tracemalloc.start()
    try:
        results = ToolResults(tmp_path, "v")
        assert results.get("a" * 64, None) is None
        assert len((results.get(f"{39:064}", None) or [])[0].content) == 10**6
        assert tracemalloc.get_traced_memory()[1] < 20 * 10**6
    finally:
        tracemalloc.stop()


def test_the_results_of_many_sandboxes_keep_no_file_open(tmp_path: Path) -> None:
    """Each image has a file of its own, and a task set may have thousands of images."""
    opened = len(os.listdir("/dev/fd"))
    kept = [ToolResults(tmp_path, f"{number}") for number in range(20)]
    for results in kept:
        results.put("a" * 64, None, [ToolResult("x", 1.0)])
        assert results.get("a" * 64, None)
    assert len(os.listdir("/dev/fd")) == opened
