"""A teacher that has its price: what several test files stand on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sums
from asking import project
from stage_process import Done, Running
from teacher_server import Books

from distill.project.params import load as load_params
from distill.records.types import Request
from distill.teacher.asked import asked_teacher
from distill.teacher.halt import Halt
from distill.teacher.open_model import open_model
from distill.teacher.store import Store

__all__ = ["asks", "project"]

PRICE = {"scripted": {"input": 100, "output": 1000}}
"""USD per million tokens; an answer of the scripted teacher (11 in, 7 out) costs 0.0081."""
COST = 0.0081


@pytest.fixture
def asks(project: Path) -> Callable[..., Done]:
    """A project of ten prompts at that price; asks the teacher behind a server."""
    sums.make(project, 10, runtime__unknown_price="refuse", runtime__prices=PRICE, teacher__max_output_tokens=50)
    assert Running(project, "prompts").wait().returncode == 0

    def run(books: Books, *arguments: str, what: str = "teacher_rollouts", **params: Any) -> Done:
        sums.set_params(project, teacher__base_url=books.base_url, **params)
        return Running(project, what, *arguments, TEACHER_API_KEY="").wait()

    return run


def usage(**tokens: int) -> Any:
    return {"input_tokens": 0, "output_tokens": 0, "cached_tokens": 0, "reasoning_tokens": 0, **tokens}


def endpoint(base_url: str | None, halt: Halt, budget_usd: float | None) -> Any:
    """A model of which every answer may cost a dollar and more, asked in this process."""
    params = load_params(sums.ROOT / "params.yaml") | {"model": "gpt-4o"}
    params["teacher"] |= {"base_url": base_url, "api": "chat"}
    params["runtime"] |= {"prices": {"gpt-4o": {"input": 0, "output": 1_000_000}}, "budget_usd": budget_usd}
    return open_model(asked_teacher(params), halt, Store(), with_tools=False)


def question_for(model: Any) -> Request:
    return model.api.request(model.identity, [{"role": "user", "content": "what is 1 + 1?"}], [], {"max_tokens": 8}, [])
