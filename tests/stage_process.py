"""Stages as real processes that start at once: a server process has imported everything and forks one per run."""

import gc
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

HERE = Path(__file__).parent
FORKED = multiprocessing.get_context("forkserver")
PRELOAD = [
    "stage_process",
    "stages.teacher_rollouts",
    "stages.prompts",
    "stages.convert",
    "stages.filter",
    "distill.commands.validate",
    "aiohttp",
    "genai_prices.data",
    "distill.teacher.api.endpoint_model",
    "dvc.cli",
    "dvc.repo.reproduce",
    "dvc.repo.experiments.run",
    "dvc.api",
    "dvc.commands.repro",
    "dvc.commands.experiments.run",
    "dvc_data.index",
]
FORKED.set_forkserver_preload(PRELOAD)


@contextmanager
def preloaded(modules: list[str]) -> Iterator[ForkServerContext]:
    """Processes that start with other imports done. A Python process has one server that forks, and a server that runs
    keeps what it has imported, so that it has to be another one."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    FORKED.set_forkserver_preload(modules)
    try:
        _serve_forks()
        yield FORKED
    finally:
        forkserver._forkserver._stop()  # type: ignore[attr-defined]
        FORKED.set_forkserver_preload(PRELOAD)


def _serve_forks() -> None:
    """Starts the server that forks, if none runs, with a path on which it finds what it is to import: before Python 3.14 it
    has only the folder in which a test happens to stand, and goes on without a word, so that each process imports all."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HERE.parent), str(HERE), before)))
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


@dataclass
class Done:
    """How a stage ended."""

    returncode: int
    stdout: str
    stderr: str


class Running:
    """A stage, a module of the library by its whole name, or `dvc`, that runs. `pid` is there to be killed."""

    def __init__(self, project: Path, stage: str, *arguments: str, **environment: str):
        self._said = [Path(tempfile.mkstemp(prefix="stage-", suffix=".txt")[1]) for _ in range(2)]
        told = {**os.environ, **environment}
        self._process = FORKED.Process(
            target=_stage, args=(str(project), stage, arguments, told, [*map(str, self._said)])
        )
        _serve_forks()
        self._process.start()
        self.pid = self._process.pid or 0

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Sends a signal."""
        os.kill(self.pid, number)

    def wait(self, timeout: float = 600) -> Done:
        """How it ended. Fails when it has not after `timeout` seconds."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self.kill()
            raise AssertionError(f"still running after {timeout} s: {self.stdout}")
        out, err = (path.read_text(errors="replace") for path in self._said)
        for path in self._said:
            path.unlink()
        return Done(self._process.exitcode, out, err)

    @property
    def stdout(self) -> str:
        return self._said[0].read_text(errors="replace")


def until(condition, timeout: float = 300) -> None:  # type: ignore[no-untyped-def]
    """Waits until `condition()` holds."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def _stage(project: str, name: str, arguments: tuple[str, ...], environment: dict[str, str], said: list[str]) -> None:
    gc.freeze()  # what is imported stays: nobody need look through it for garbage
    for number, path in enumerate(said, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_TRUNC), number)
    os.chdir(project)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [name, *arguments]
    if name == "dvc":
        from dvc.cli import main

        sys.exit(main(list(arguments)))

    module = name if "." in name else f"stages.{name}"
    sys.modules.pop(module, None)  # it runs as `python -m` runs it, with what it imports there already
    runpy.run_module(module, run_name="__main__", alter_sys=True)
