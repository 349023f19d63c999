"""Several rollouts of a prompt: always so many, or one behind the other until one is right (`teacher.samples: 1-4`)."""

import json
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sums
from asking import rollouts
from priced import *  # noqa: F403
from stage_process import Done, Running, until
from sums import number
from teacher_server import Asked, refused, says, serving

RIGHT_FROM = {0: 0, 1: 1, 2: 3, 3: 9}
"""The first of a prompt's samples that is right."""


def teacher() -> Callable[[Asked], Any]:
    """Says something wrong, or nothing to the end, until it is right."""
    asked_before: Counter[int] = Counter()

    def answer(asked: Asked) -> Any:
        n = number(asked.body)
        asked_before[n] += 1
        if asked_before[n] > RIGHT_FROM[n % 4]:
            return says(f"Answer: {n + 1}")
        return says("Answer: 99") if n < 2 else says("Let me thi", finish_reason="length")

    return answer


def made(project: Path) -> dict[int, list[int]]:
    """The samples of each prompt that have a rollout."""
    found: dict[int, list[int]] = {}
    for rollout in rollouts(project):
        found.setdefault(int(rollout["messages"][1]["content"].split()[2]), []).append(rollout["sample"])
    return {n: sorted(samples) for n, samples in sorted(found.items())}


@pytest.fixture
def four(asks: Callable[..., Done], project: Path) -> Callable[..., Done]:
    """Asks for the four prompts of RIGHT_FROM, and for a held-out one that is answered wrong."""
    (project / "data/seed/sums.jsonl").unlink()
    sums.add_prompts(project, range(4))
    seed = project / "data/seed/sums.jsonl"
    held_out = {"messages": [{"role": "system", "content": "Add."}, {"role": "user", "content": "what is 7 + 1?"}]}
    row = held_out | {"metadata": {"expected_answer": 8}, "split": "eval"}
    seed.write_text(f"{seed.read_text()}{json.dumps(row)}\n")
    assert Running(project, "prompts").wait().returncode == 0
    return asks


def test_a_prompt_is_asked_again_only_while_none_of_its_rollouts_is_right(
    four: Callable[..., Done], project: Path
) -> None:
    with serving(teacher()) as books:
        said = four(books, "--plan", teacher__samples="1-4").stdout
        assert "5 rollouts wanted, 0 of them in the store, 5 missing" in said and "up to 12 further ones" in said
        worst_of_all = float(re.search(r"(?m)^standard +[\d.]+ +([\d.]+)$", said)[1])  # type: ignore[index]
        said = four(books, "--plan", teacher__samples=1).stdout
        assert "further" not in said
        assert worst_of_all > 3 * float(re.search(r"(?m)^standard +[\d.]+ +([\d.]+)$", said)[1])  # type: ignore[index]

        done = four(books, teacher__samples="1-4")
        assert done.returncode == 0, done.stderr
        assert made(project) == {0: [0], 1: [0, 1], 2: [0, 1, 2, 3], 3: [0, 1, 2, 3], 7: [0]}
        assert "12/12 done" in done.stdout and len(books.posts) == 12
        assert "12 answers bought, the rest was in the store" in done.stdout

        said = four(books, "--plan").stdout
        assert "12 rollouts wanted, 12 of them in the store, 0 missing: nothing to buy" in said
        before = {path.name: path.read_bytes() for path in (project / "rollouts").iterdir()}
        again = four(books)
        assert len(books.posts) == 12 and "12/12 done" in again.stdout
        assert {path.name: path.read_bytes() for path in (project / "rollouts").iterdir()} == before

        assert four(books, teacher__samples=4).returncode == 0
        assert len(books.posts) == 17, "four of each cost only those that were not asked for"
        assert four(books, teacher__samples="1-4").returncode == 0 and len(books.posts) == 17
        assert {path.name: path.read_bytes() for path in (project / "rollouts").iterdir()} == before


def test_a_larger_number_goes_on_where_the_smaller_ended(four: Callable[..., Done], project: Path) -> None:
    with serving(teacher()) as books:
        assert four(books, teacher__samples="1-2").returncode == 0
        assert made(project) == {0: [0], 1: [0, 1], 2: [0, 1], 3: [0, 1], 7: [0]}
        said = four(books, "--plan", teacher__samples="1-4").stdout
        assert "10 rollouts wanted, 8 of them in the store, 2 missing" in said and "up to 2 further ones" in said
        assert four(books).returncode == 0 and len(books.posts) == 12


def test_a_killed_run_goes_on_with_the_tries_that_it_has_paid_for(four: Callable[..., Done], project: Path) -> None:
    with serving(teacher(), latency_s=0.1) as books:
        sums.set_params(project, teacher__base_url=books.base_url, teacher__samples="1-4", runtime__api_concurrency=2)
        run = Running(project, "teacher_rollouts", TEACHER_API_KEY="")
        until(lambda: len(books.answered) >= 4)
        run.kill()
        run.wait()
        kept = len(list(Path(os.environ["DISTILL_STORE"]).glob("??/*.json")))
        lost = len(books.posts) - kept
        assert kept >= 2 and lost <= 2 and not (project / "rollouts").exists()
        assert four(books).returncode == 0
    found = made(project)
    assert sum(map(len, found.values())) == len(books.posts) - lost, "each answer that was kept is a rollout"
    assert all(samples == [*range(len(samples))] for samples in found.values()) and found[3] == [0, 1, 2, 3]


def test_what_is_refused_or_fails_is_not_tried_four_times(four: Callable[..., Done], project: Path) -> None:
    """The next one would be refused, too; and what passes is made by the next run."""
    down = [True]

    def answer(asked: Asked) -> Any:
        n = number(asked.body)
        if n == 0:
            return says("", refusal="I will not add.")
        if n == 1:
            return refused(400, "invalid_prompt", "your prompt was flagged")
        if n == 2 and down[0]:
            return refused(503, None, "no room")
        return says(f"Answer: {n + 1}")

    with serving(answer) as books:
        assert four(books, teacher__samples="1-4").returncode == 0
        assert made(project) == {0: [0], 1: [0], 2: [0], 3: [0], 7: [0]}
        asked = Counter(number(post.body) for post in books.posts)
        assert (asked[0], asked[1], asked[3]) == (1, 1, 1) and asked[2] > 1
        said = four(books, "--plan").stdout
        assert "5 rollouts wanted, 4 of them in the store, 1 missing" in said and "up to 3 further ones" in said
        down[0] = False
        assert four(books).returncode == 0
    assert [rollout["status"] for rollout in rollouts(project)].count("completed") == 3
    assert Counter(number(post.body) for post in books.posts) == asked + Counter({2: 1})


def test_without_an_expected_answer_one_that_comes_to_an_end_is_enough(
    four: Callable[..., Done], project: Path
) -> None:
    seed = project / "data/seed/sums.jsonl"
    seed.write_text(
        "\n".join(json.dumps(json.loads(line) | {"metadata": {}}) for line in seed.read_text().splitlines())
    )
    assert Running(project, "prompts").wait().returncode == 0
    with serving(teacher()) as books:
        assert four(books, teacher__samples="1-4").returncode == 0
    assert made(project) == {0: [0], 1: [0], 2: [0, 1, 2, 3], 3: [0, 1, 2, 3], 7: [0]}


@pytest.mark.parametrize("samples", ["4-1", "1-1", "2-4", "0-3", "1-", "many", 0])
def test_other_ranges_are_refused(four: Callable[..., Done], samples: str | int) -> None:
    with serving(teacher()) as books:
        done = four(books, teacher__samples=samples)
        assert done.returncode == 1 and "params.yaml: /teacher/samples" in done.stderr and not books.posts
