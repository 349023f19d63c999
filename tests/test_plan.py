"""What a plan says before anything is asked: what is missing, what it will cost, and at worst; and what a trial shows."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sums
from asking import *  # noqa: F403
from priced import *  # noqa: F403
from priced import COST
from stage_process import Done, Running
from teacher_server import Asked, says, serving


def test_a_plan_tells_what_is_missing_and_asks_nothing(asks: Callable[..., Done], project: Path) -> None:
    with serving(sums.adds) as books:
        done = asks(books, "--plan")
        assert done.returncode == 0, done.stderr
        assert "10 rollouts wanted, 0 of them in the store, 10 missing" in done.stdout and "a guess" in done.stdout
        assert asks(books, teacher__n=4).returncode == 0
        change = ("--plan", "-S", "teacher.n=10", "-S", "runtime.budget_usd=3")
        said = asks(books, *change).stdout + asks(books, *change, "-S", "runtime.tier=flex").stdout
        assert "4 of them in the store, 6 missing" in said and "about 12 answers" in said
        assert "as in 4 stored rollouts" in said and "runtime.budget_usd 3" in said
        numbers = {
            tier: (float(expected), float(worst))
            for tier, expected, worst in re.findall(
                r"^(standard|flex) +([\d.]+) +([\d.,]+)", said.replace(",", ""), re.MULTILINE
            )
        }
        assert numbers["standard"][0] == pytest.approx(12 * COST, abs=1e-4) and numbers["standard"][1] > 1
        assert numbers["flex"][0] == pytest.approx(6 * COST, abs=1e-4)
        at_openai = ("teacher.base_url=null", "model=gpt-5.2", "teacher.temperature=null")
        said = asks(books, "--plan", *(word for setting in at_openai for word in ("-S", setting))).stdout
        assert re.search(r"(?m)^flex .*\nbatch .*\(not for prompts with tools\)$", said)
        assert "nothing to buy" in asks(books, "--plan", "-S", "teacher.n=4").stdout
        assert len(books.asked) - len(books.posts) == 1 and len(books.posts) == 8, "the plans asked nothing"
    assert (project / "rollouts").exists() and not re.search("(?m)^  n: 10", (project / "params.yaml").read_text())


@pytest.mark.parametrize("row", ["no tools.py", "tools: []"])
def test_at_worst_a_prompt_without_tools_takes_one_full_answer(
    asks: Callable[..., Done], project: Path, row: str
) -> None:
    if row == "tools: []":
        seed = project / "data/seed/sums.jsonl"
        seed.write_text(seed.read_text().replace('{"messages"', '{"tools": [], "messages"'))
        assert Running(project, "prompts").wait().returncode == 0
    else:
        (project / "tools.py").unlink()
    with serving(sums.adds) as books:
        said = asks(books, "--plan").stdout
    expected, worst = map(float, re.search(r"(?m)^standard +([\d.]+) +([\d.]+)$", said).groups())  # type: ignore[union-attr]
    assert expected > 0 and worst == pytest.approx(10 * 50 * 1000 / 1e6, rel=0.4), "50 tokens out, and few in"


def test_a_plan_without_stored_rollouts_goes_by_the_last_run_and_says_what_changed(
    asks: Callable[..., Done], project: Path
) -> None:
    with serving(sums.adds) as books:
        assert asks(books, teacher__n=4).returncode == 0
        stored = asks(books, "--plan", "-S", "teacher.n=10").stdout
        assert "since the last run" not in stored
        tools = (project / "tools.py").read_text()
        (project / "tools.py").write_text(tools.replace("Adds two numbers", "Adds numbers"))
        said = asks(books, "--plan").stdout
        assert "4 rollouts wanted, 0 of them in the store, 4 missing\n" in said
        assert "since the last run changed: the tools; so its answers are not to the same questions\n" in said
        assert "about 8 answers to buy, each with 11 tokens in (0 cached) and 7 out (as in the last run)" in said
        (project / "tools.py").write_text(tools)
        said = asks(books, "--plan", "-S", "teacher.max_output_tokens=49").stdout
        assert "changed: the sampling;" in said
        assert "(a guess, " in asks(books, "--plan", "-S", "model=other").stdout
        seed = project / "data/seed/sums.jsonl"
        seed.write_text(seed.read_text().replace("Add.", "Add numbers."))
        assert Running(project, "prompts").wait().returncode == 0
        assert "changed: the prompts;" in asks(books, "--plan").stdout


def test_a_plan_after_a_change_of_the_tools_goes_by_the_last_run(asks: Callable[..., Done], project: Path) -> None:
    """What is finished then are the rollouts without calls, which are short; and few answers have to be bought."""

    def teacher(asked: Asked) -> Any:
        return says("Answer: 1") if sums.number(asked.body) == 0 else sums.adds(asked)

    with serving(teacher) as books:
        assert asks(books).returncode == 0
        tools = project / "tools.py"
        tools.write_text(tools.read_text().replace("return a + b", "return a + b if a != 7 else 0"))
        said = asks(books, "--plan").stdout
        assert (
            "10 rollouts wanted, 1 of them in the store, 9 missing\nsince the last run changed: what the tools " in said
        )
        assert (
            "; so 9 rollouts will call the tools again, and only answers behind results that differ are bought\n"
            in said
        )
        assert "0 to 9 answers to buy, each with 11 tokens in (0 cached) and 7 out (as in the last run)" in said
        bought = len(books.posts)
        assert "teacher_rollouts: 1 answer bought" in asks(books).stdout and len(books.posts) == bought + 1


@pytest.mark.parametrize("known", [False, True])
def test_no_more_is_expected_than_at_worst(asks: Callable[..., Done], known: bool) -> None:
    """Also where the answers of the last run had more tokens than one may have now."""
    with serving(sums.adds) as books:
        if known:
            assert asks(books, teacher__n=4).returncode == 0
        limits = ("teacher.max_output_tokens=3", "agent.max_turns=2", "agent.tool_output_chars=4")
        said = asks(books, "--plan", *(word for limit in limits for word in ("-S", limit))).stdout
    assert ("as in the last run" if known else "a guess") in said and " and 3 out (" in said
    expected, worst = map(float, re.search(r"(?m)^standard +([\d.]+) +([\d.]+)$", said).groups())  # type: ignore[union-attr]
    assert expected <= worst + 0.005, "which is rounded"


def test_a_plan_for_this_machine_speaks_of_no_money() -> None:
    from distill.agent.estimate import estimate
    from distill.agent.last_run import NOTHING
    from distill.agent.plan import Missing, Plan, Typical
    from distill.teacher.cost.prices import FREE

    found = Plan(
        [({}, 0)], [Missing({}, 0, 0, 400, True)], [], Typical(2, 100, 0, 30), "as in 1 stored rollout", 0, True
    )
    said = estimate(found, {"model": "local/small"}, FREE, 128, NOTHING)
    assert "about 2 answers to buy" in said and said.endswith("they cost only time")


def test_the_answers_of_a_plan_are_rounded_once_not_for_each_rollout() -> None:
    from distill.agent.plan import Missing, Plan, Typical

    asked, begun = Missing({}, 0, 0, 400, True), Missing({}, 0, 1, 400, True, to_call=True)
    found = Plan([], [asked] * 1000 + [begun] * 100, [], Typical(1.45, 100, 0, 30), "as in the last run", 0, True)
    assert (found.answers, found.surely) == (1550, 1450)


def test_a_plan_refuses_a_parameter_that_is_not_there(asks: Callable[..., Done]) -> None:
    with serving(sums.adds) as books:
        done = asks(books, "--plan", "-S", "teacher.m=4", "-S", "teacher.n=x")
    assert done.returncode == 1 and "no key 'teacher.m'" in done.stderr and "/teacher/n" in done.stderr
    assert asks(books, "-S", "teacher.n=4").returncode == 2


def test_a_trial_shows_conversations_and_its_answers_are_kept(asks: Callable[..., Done], project: Path) -> None:
    with serving(sums.adds) as books:
        done = asks(books, what="distill.commands.trial", filter__length="off", filter__tools_shown="off")
        assert done.returncode == 0, done.stderr
        assert len(books.posts) == 4 and not (project / "rollouts").exists()
        assert re.search(r"calls\n +add\(\{\"a\": \d, \"b\": 1\}\)", done.stdout) and re.search(
            r"add →\n +\d", done.stdout
        )
        assert "assistant\n      Answer: " in done.stdout and "expected" in done.stdout
        assert len(re.findall(r"(?m)^  \w{16}: kept; its answer is right$", done.stdout)) == 2
        assert asks(books).returncode == 0 and len(books.posts) == 20
