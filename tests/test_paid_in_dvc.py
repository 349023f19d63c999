"""Paid answers in the hands of DVC: experiments in temporary folders, queue workers, a killed dvc, fresh clones."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sums
import yaml
from conftest import ROOT
from stage_process import Running, until
from teacher_server import Asked, Books, refused, serving

from distill.agent.summary import RETRY_COMMAND
from distill.teacher.errors import error
from distill.teacher.store import Store

PARAMS = ["model", "teacher", "agent", "evaluate.n"]
PIPELINE = {
    "stages": {
        "prompts": {
            "cmd": "python -m stages.prompts",
            "deps": ["data/seed"],
            "params": ["prompts"],
            "outs": ["data/prompts.jsonl"],
        },
        "teacher_rollouts": {
            "cmd": "python -m stages.teacher_rollouts",
            "deps": ["data/prompts.jsonl", "tools.py", "loop.txt"],
            "params": PARAMS,
            "outs": ["rollouts"],
            "metrics": [{"reports/rollouts.json": {"cache": False}}],
        },
        "convert": {
            "cmd": "python -m stages.convert",
            "deps": ["rollouts"],
            "params": ["convert"],
            "outs": ["data/converted.jsonl"],
        },
    }
}
NAMES = {f"GIT_{who}_{what}": "test@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


class Repository:
    """A git and DVC repository with a store of its own (or a shared one)."""

    def __init__(self, folder: Path, store: Path, site: Path):
        self.folder = folder
        self.environment = {
            **os.environ,
            **NAMES,
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "DISTILL_STORE": str(store),
            "DVC_SITE_CACHE_DIR": str(site),
            "DVC_NO_ANALYTICS": "1",
            "CI": "1",
            "TEACHER_API_KEY": "",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def git(self, *command: str, fails: bool = False) -> str:
        done = subprocess.run(
            ["git", *command], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=not fails
        )
        assert bool(done.returncode) == fails, done.stdout + done.stderr
        return done.stdout

    def dvc(self, *command: str, fails: bool = False) -> str:
        done = self.start(*command).wait()
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def experiments(self) -> int:
        """How many experiments have ended well."""
        listed = subprocess.run(
            ["git", "for-each-ref", "refs/exps"], cwd=self.folder, capture_output=True, text=True, check=True
        )
        return sum(
            "/exec/" not in line and "stash" not in line and "celery" not in line for line in listed.stdout.splitlines()
        )

    def start(self, *command: str) -> Running:
        return Running(self.folder, "dvc", *command, **self.environment)

    def stage(self, name: str) -> str:
        done = Running(self.folder, name, **self.environment).wait()
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-qm", "change")


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Repository, Books]]:
    """Three rollouts, bought, committed and pushed, and the teacher that sold them."""
    base = tmp_path_factory.mktemp("paid")
    folder = base / "origin"
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and name.startswith(
            ("distill/", "stages/", "schemas/", "params.yaml", ".dvc/", ".git")
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    repository = Repository(folder, base / "store", base / "site")
    with serving(sums.adds, latency_s=0.1) as books:
        sums.make(folder, 3, teacher__base_url=books.base_url)
        (folder / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE, sort_keys=False))
        (folder / "loop.txt").write_text("the agent loop, as it was\n")
        repository.git("init", "-q")
        repository.commit()
        repository.dvc("remote", "add", "-d", "shared", str(base / "remote"))
        repository.dvc("repro", "-q")
        repository.commit()
        repository.dvc("push", "-q")
        assert len(books.posts) == 6
        yield repository, books


@pytest.fixture
def clone(origin: tuple[Repository, Books], tmp_path: Path) -> Repository:
    """A fresh clone on another machine: no store, no cache, nothing pulled."""
    origin[0].git("clone", "-q", ".", str(tmp_path / "clone"))
    return Repository(tmp_path / "clone", tmp_path / "other-store", tmp_path / "other-site")


def test_a_failed_experiment_in_a_temporary_folder_keeps_its_answers(origin: Any) -> None:
    repository, _ = origin
    rich: list[Any] = []

    def runs_dry(asked: Any) -> Any:
        if len(books.posts) > 4 and not rich:
            return refused(429, "insufficient_quota")
        return sums.adds(asked)

    with serving(runs_dry) as books:
        settings = (
            "-S",
            "model=temporary",
            "-S",
            f"teacher.base_url={books.base_url}",
            "-S",
            "runtime.api_concurrency=1",
        )
        said = repository.dvc("exp", "run", "--temp", *settings, "teacher_rollouts", fails=True)
        assert "quota" in said and len(books.answered) == 4
        rich.append("again")
        repository.dvc("exp", "run", "--temp", *settings, "teacher_rollouts")
        assert len(books.answered) == 6 and max(books.times_paid.values()) == 1


@pytest.fixture(scope="module")
def queue(origin: Any) -> Iterator[Any]:
    """Two queue workers with two experiments that need the same answers; they take their time, so others go on."""
    repository = origin[0]
    with serving(sums.adds, latency_s=0.2) as books:
        for turns in (3, 4):
            settings = ("-S", f"teacher.base_url={books.base_url}", "-S", f"agent.max_turns={turns}")
            repository.dvc("exp", "run", "-q", "--queue", *settings, "teacher_rollouts")
        before = repository.experiments()
        repository.dvc("queue", "start", "-q", "-j", "2")
        yield books, lambda: repository.experiments() == before + 2


@pytest.mark.usefixtures("queue")
def test_a_clone_that_changes_the_code_needs_neither_key_nor_money(origin: Any, clone: Repository) -> None:
    """Both ways: with only `convert` changed, and with the agent loop changed, so that the stage itself must run."""
    before = len(origin[1].asked)
    sums.set_params(clone.folder, convert__include_failed=True)
    said = clone.dvc("repro", "--pull", "--allow-missing", "convert")
    assert "Running stage 'convert'" in said and "Running stage 'teacher_rollouts'" not in said
    assert len((clone.folder / "data/converted.jsonl").read_text().splitlines()) == 3
    (clone.folder / "loop.txt").write_text("the agent loop, in other words\n")
    said = clone.dvc("repro", "convert")
    assert "Running stage 'teacher_rollouts'" in said and "6 answers found behind rollouts/ of dvc.lock" in said
    tools = clone.folder / "tools.py"
    tools.write_text(tools.read_text().replace("return a + b", "return 0 + a + b"))
    said = Running(clone.folder, "teacher_rollouts", "--plan", **clone.environment).wait().stdout
    assert "since the last run changed: tools.py; so 3 rollouts will call the tools again" in said
    assert len(origin[1].asked) == before, "not even the list of models was asked for"


def test_a_plan_counts_what_git_has_unless_all_are_to_be_asked_anew(clone: Repository) -> None:
    def plan(**environment: str) -> str:
        told = {**clone.environment, **environment}
        return Running(clone.folder, "teacher_rollouts", "--plan", **told).wait().stdout

    clone.stage("prompts")
    assert "0 of them in the store, 3 missing" in plan(DISTILL_WARM="0")
    said = plan()
    assert "6 answers found behind rollouts/ of dvc.lock" in said and "0 missing: nothing to buy" in said


def test_what_lies_in_the_folder_is_not_taken_for_the_rollouts_of_dvc_lock(origin: Any, clone: Repository) -> None:
    """After `git pull` it is an earlier version, and the shards of all versions have the same names."""
    earlier, *_ = paths = sorted((origin[0].folder / "rollouts").iterdir())
    (clone.folder / "rollouts").mkdir()
    for path in paths:
        shutil.copyfile(earlier, clone.folder / "rollouts" / path.name)
    clone.stage("prompts")
    said = Running(clone.folder, "teacher_rollouts", "--plan", **clone.environment).wait().stdout
    assert "6 answers found behind rollouts/ of dvc.lock" in said and "0 missing: nothing to buy" in said


def test_a_clone_that_adds_a_prompt_buys_one_rollout(origin: Any, clone: Repository) -> None:
    before = len(origin[1].posts)
    sums.add_prompts(clone.folder, range(50, 51))
    clone.stage("prompts")
    clone.stage("teacher_rollouts")
    assert len(origin[1].posts) - before == 2 and len(list((clone.folder / "rollouts").iterdir())) == 4


def test_after_a_merge_nothing_of_either_side_is_bought_again(origin: Any, clone: Repository, tmp_path: Path) -> None:
    """Each added a prompt on a branch and on a machine of their own. Of two versions of dvc.lock, only one can be kept."""
    clone.git("clone", "-q", ".", str(tmp_path / "theirs"))
    theirs = Repository(tmp_path / "theirs", tmp_path / "their-store", tmp_path / "their-site")
    for repository, number in ((theirs, 60), (clone, 70)):
        sums.add_prompts(repository.folder, range(number, number + 1))
        repository.dvc("repro", "teacher_rollouts")
        repository.commit()
    theirs.dvc("push", "-q")
    before = len(origin[1].posts)
    clone.git("pull", "-q", "--no-rebase", "--no-edit", str(theirs.folder), "HEAD", fails=True)
    clone.git("checkout", "--ours", "dvc.lock", "reports")
    prompts = clone.folder / "data/seed/sums.jsonl"
    prompts.write_text("".join(line for line in prompts.read_text().splitlines(True) if line.startswith("{")))
    clone.stage("prompts")
    shutil.copytree(clone.environment["DISTILL_STORE"], tmp_path / "before")
    theirs_is = theirs.git("rev-parse", "--short=7", "HEAD").strip()
    assert f"2 answers found behind rollouts/ of {theirs_is}" in clone.stage("teacher_rollouts")
    shutil.rmtree(clone.folder / "rollouts")
    shutil.rmtree(clone.environment["DISTILL_STORE"])
    shutil.move(tmp_path / "before", clone.environment["DISTILL_STORE"])
    clone.commit()
    assert f"2 answers found behind rollouts/ of {theirs_is}" in clone.stage("teacher_rollouts")
    assert len(origin[1].posts) == before and len(list((clone.folder / "rollouts").iterdir())) == 5


@pytest.mark.parametrize("joined", [["--rebase"], ["--no-rebase", "--no-edit"]], ids=["rebase", "merge"])
def test_where_three_branches_meet_nothing_is_bought_again(
    origin: Any, clone: Repository, tmp_path: Path, joined: list[str]
) -> None:
    """After a rebase, or a second merge before the next run, the other sides' dvc.lock is some commits back."""
    machines = []
    for number in (80, 90):
        clone.git("clone", "-q", ".", str(tmp_path / str(number)))
        machines.append(Repository(tmp_path / str(number), tmp_path / f"store-{number}", tmp_path / f"site-{number}"))
    for number, machine in zip((100, 80, 90), (clone, *machines), strict=True):
        sums.add_prompts(machine.folder, range(number, number + 1), f"of_{number}")
        machine.dvc("repro", "teacher_rollouts")
        machine.commit()
        machine.dvc("push", "-q")
    before = len(origin[1].posts)
    for machine in machines:
        clone.git("pull", "-q", *joined, "-X", "theirs", str(machine.folder), "HEAD")
    shutil.rmtree(clone.environment["DISTILL_STORE"])
    clone.dvc("repro", "teacher_rollouts")
    assert len(origin[1].posts) == before and len(list((clone.folder / "rollouts").iterdir())) == 6


def test_a_dvc_lock_that_was_committed_with_the_marks_of_a_conflict_is_passed_over(
    origin: Any, clone: Repository
) -> None:
    lock, before = clone.folder / "dvc.lock", len(origin[1].posts)
    whole = lock.read_text()
    lock.write_text(f"<<<<<<< HEAD\n{whole}")
    clone.commit()
    lock.write_text(whole)
    clone.stage("prompts")
    assert "6 answers found behind rollouts/ of dvc.lock" in clone.stage("teacher_rollouts")
    assert len(origin[1].posts) == before


def test_in_a_folder_of_a_larger_repository_nothing_is_bought_again(origin: Any, tmp_path: Path) -> None:
    larger = tmp_path / "larger"
    mine = shutil.copytree(origin[0].folder, larger / "ours" / "small models", ignore=shutil.ignore_patterns(".git"))
    repository = Repository(mine, tmp_path / "no-store", tmp_path / "other-site")
    repository.git("init", "-q", str(larger))
    repository.commit()
    (mine / "dvc.lock").unlink()
    commit = repository.git("rev-parse", "--short=7", "HEAD").strip()
    assert f"6 answers found behind rollouts/ of {commit}" in repository.stage("teacher_rollouts")


def test_without_a_remote_the_clone_asks_anew(origin: Any, clone: Repository) -> None:
    clone.git("checkout", "-q", "HEAD~1", "--", ".dvc/config")
    before = len(origin[1].posts)
    clone.stage("prompts")
    said = clone.stage("teacher_rollouts")
    assert (
        "rollouts/ of dvc.lock: not on this machine, nor in a DVC remote; the teacher is asked for what is only in there"
        in said
    )
    assert len(origin[1].posts) - before == 6


def test_without_a_remote_no_commit_is_read_through_dvc(clone: Repository) -> None:
    """Which took most of a second for each of the last ten, in every plan."""
    clone.git("checkout", "-q", "HEAD~1", "--", ".dvc/config")
    code = (
        "import sys; from distill.agent.warm import warm; from distill.teacher.store import Store;"
        "print(warm(Store()), 'dvc.api' in sys.modules)"
    )
    environment = {**clone.environment, "PYTHONPATH": str(ROOT)}
    said = subprocess.check_output([sys.executable, "-c", code], cwd=clone.folder, env=environment, text=True)
    assert said.endswith(
        "not on this machine, nor in a DVC remote; the teacher is asked for what is only in there False\n"
    )


def test_a_remote_that_does_not_answer_is_asked_for_one_version(clone: Repository) -> None:
    """Behind a VPN that is off, each took minutes."""
    clone.stage("prompts")
    calls = []

    def hang_up() -> None:
        while True:
            connection, _ = server.accept()
            calls.append(connection.close())

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=hang_up, daemon=True).start()
        clone.dvc("remote", "modify", "shared", "url", f"http://127.0.0.1:{server.getsockname()[1]}/")
        lock, counts = (clone.folder / "dvc.lock").read_text(), []
        (folder,) = set(re.findall(r"path: rollouts\n +hash: md5\n +md5: (\w+)", lock))
        for number in range(3):
            (clone.folder / "dvc.lock").write_text(lock.replace(folder, f"{number}" * 32))
            clone.commit()
            calls.clear()
            said = Running(clone.folder, "teacher_rollouts", "--plan", **clone.environment).wait().stdout
            counts.append(len(calls))
            assert f"rollouts/ of dvc.lock{', ' if number else ''}" in said and "cannot be read (" in said
    assert max(counts) < 1.5 * min(counts), "they would be twice as many for the third"


def test_a_commit_that_dvc_cannot_read_does_not_keep_it_from_the_others(origin: Any, clone: Repository) -> None:
    """It was taken for a remote that does not answer, and what the commits before it have was bought again."""
    lock, pipeline = clone.folder / "dvc.lock", clone.folder / "dvc.yaml"
    whole, stages, before = lock.read_text(), pipeline.read_text(), len(origin[1].posts)
    (folder,) = set(re.findall(r"path: rollouts\n +hash: md5\n +md5: (\w+)", whole))
    lock.write_text(whole.replace(folder, "0" * 32))
    pipeline.write_text(f"<<<<<<< HEAD\n{stages}")
    clone.commit()
    pipeline.write_text(stages)
    lock.unlink()
    clone.stage("prompts")
    assert "6 answers found behind rollouts/" in clone.stage("teacher_rollouts")
    assert len(origin[1].posts) == before


def test_an_answer_in_git_is_better_than_a_failure_that_is_remembered(origin: Any, clone: Repository) -> None:
    """Of a run here that met an outage; the colleague's did not."""
    before, store = len(origin[1].posts), Store(Path(clone.environment["DISTILL_STORE"]))
    for path in (origin[0].folder / "rollouts").iterdir():
        store.put_failure(json.loads(path.read_text())["calls"][0]["request"], error("server", "oops"))
    clone.stage("prompts")
    clone.stage("teacher_rollouts")
    assert len(origin[1].posts) == before


def test_what_failed_and_may_pass_is_asked_again_as_the_run_says(clone: Repository) -> None:
    """`dvc repro` alone takes the stage as done."""
    ill = [True]

    def teacher(asked: Asked) -> Any:
        return (500, b"", {"retry-after": "0.01"}) if ill[0] and sums.number(asked.body) == 1 else sums.adds(asked)

    with serving(teacher) as books:
        sums.set_params(clone.folder, teacher__base_url=books.base_url)
        assert f"so type: {RETRY_COMMAND}" in clone.dvc("repro", "teacher_rollouts")
        ill[0], asked = False, len(books.posts)
        assert "didn't change, skipping" in clone.dvc("repro", "teacher_rollouts") and len(books.posts) == asked
        assert "3 of 3 rollouts completed" in clone.dvc(*RETRY_COMMAND.split()[1:]) and len(books.posts) == asked + 2


def test_what_is_edited_during_a_run_is_not_taken_for_what_made_it(clone: Repository) -> None:
    """DVC would look at it afterwards, and find the stage up to date."""
    with serving(sums.adds, latency_s=0.4) as books:
        sums.set_params(clone.folder, model="slow", teacher__base_url=books.base_url)
        clone.stage("prompts")
        dvc = clone.start("repro", "-s", "teacher_rollouts")
        until(lambda: len(books.posts) > 0)
        sums.set_params(clone.folder, agent__max_turns=3, runtime__budget_usd=3)
        (clone.folder / "tools.py").write_text(sums.TOOLS.replace("a + b", "a + b + 1"))
        pipeline = (clone.folder / "dvc.yaml").read_text()
        (clone.folder / "dvc.yaml").write_text("<<<<<<< half edited\n" + pipeline)
        done = dvc.wait()
        (clone.folder / "dvc.yaml").write_text(pipeline)
        assert "error: changed while this ran: tools.py, agent in params.yaml; DVC would take" in done.stderr
        assert "type `dvc commit -f teacher_rollouts`" in done.stderr
        assert done.returncode != 0 and len(books.posts) == 6
        assert "3 of 3 rollouts completed" in clone.dvc("repro", "-s", "teacher_rollouts")
        assert len(books.posts) == 6 + 3, "the first answers are the same, those to another sum are not"


def test_a_killed_dvc_leaves_nobody_who_goes_on_buying(origin: Any, clone: Repository) -> None:
    with serving(sums.counts_to(5), latency_s=0.4) as books:
        sums.set_params(clone.folder, model="slow", teacher__base_url=books.base_url, runtime__api_concurrency=1)
        clone.stage("prompts")
        dvc = clone.start("repro", "-s", "teacher_rollouts")
        until(lambda: len(books.posts) == 2)
        dvc.kill(signal.SIGTERM)
        dvc.wait()
        time.sleep(1.2)  # half a second until it is noticed, and the answer that was asked for
        asked = len(books.posts)
        time.sleep(1.0)
        assert len(books.posts) == asked <= 5 and not books.in_flight
        stored = len(list(Path(clone.environment["DISTILL_STORE"]).glob("*/*.json")))
        assert stored - len(origin[1].answered[:6]) == len(books.answered) == asked, (
            "those of the clone's history, and these"
        )


def test_two_queue_workers_buy_each_answer_once(queue: Any) -> None:
    books, are_done = queue
    until(are_done)
    assert len(books.posts) == 6 and max(books.times_paid.values()) == 1
