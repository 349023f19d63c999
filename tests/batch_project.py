"""A project that asks in batches: what several test files stand on."""

from pathlib import Path
from typing import Any

import pytest
import sums
from asking import project
from stage_process import Done, Running, until
from teacher_server import says

from distill.project import params
from distill.records.types import Request
from distill.teacher.asked import asked_teacher
from distill.teacher.halt import Halt
from distill.teacher.open_model import open_model
from distill.teacher.store import Store

__all__ = ["project", "ready"]

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


def model_at(base_url: str, store: Store, tier: str = "batch") -> Any:
    settings = params.load(sums.ROOT / "params.yaml") | {"model": "m"}
    settings["teacher"] |= {"base_url": base_url}
    settings["runtime"] |= {"tier": tier, "unknown_price": "allow"}
    return open_model(asked_teacher(settings), Halt(), store, with_tools=False)


def question_for(model: Any, n: int) -> Request:
    content = f"what is {n} + 1?"
    return model.api.request(model.identity, [{"role": "user", "content": content}], [], {"max_tokens": 9}, [])
