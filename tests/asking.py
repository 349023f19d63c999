"""The teacher stage in a folder of its own, asked through a server: what several test files stand on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sums
from stage_process import Done, Running
from teacher_server import Asked, Books

from distill.records import jsonl

__all__ = ["asks", "project"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return sums.bare(tmp_path)


@pytest.fixture
def asks(project: Path) -> Callable[..., Done]:
    """A project of four prompts; asks the teacher behind a server."""
    sums.make(project, 4)
    assert Running(project, "prompts").wait().returncode == 0

    def run(books: Books, key: str = "", **params: Any) -> Done:
        sums.set_params(project, teacher__base_url=books.base_url, **params)
        return Running(project, "teacher_rollouts", TEACHER_API_KEY=key).wait()

    return run


def rollouts(project: Path) -> list[dict[str, Any]]:
    return sorted(
        (jsonl.read_json(path, "rollout") for path in (project / "rollouts").iterdir()),
        key=lambda rollout: rollout["messages"][1]["content"],
    )


def once(*faults: Any) -> Callable[[Asked], Any]:
    """A teacher that first goes wrong in these ways, one after the other, and is well from then on."""
    coming = iter(faults)

    def teacher(asked: Asked) -> Any:
        found = next(coming, None)
        return sums.adds(asked) if found is None else found

    return teacher
