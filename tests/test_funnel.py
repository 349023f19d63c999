"""reports/filter.json: its counts by what the rows are add up, and do not depend on the order of the rows."""

import random
from itertools import pairwise
from typing import Any

from distill.dataset import funnel
from distill.dataset.checks import CHECKS, CONTESTS
from distill.dataset.facts import Facts
from distill.dataset.row_groups import RowGroups
from distill.dataset.verdict import KEEP, Verdict
from distill.records import schema
from distill.report import words

ON = dict.fromkeys(CHECKS | CONTESTS, "reject") | {"max_per_prompt": 3}
WRONG = Verdict([{"check": "answer", "detail": "x", "pointers": []}])
KNOWN = Facts("p", "r", "shop", "gpt", True, 2, 1, 0, 90, 0.1, 140)


def report(rows: list[tuple[Facts, Verdict]]) -> dict[str, Any]:
    found = funnel.report([known for known, _ in rows], [verdict for _, verdict in rows], ON)
    found |= RowGroups().report(RowGroups()) | {"judge_cost_usd": 0.0}
    assert not schema.faults("filter_report", found)
    return found


def prompt(name: str, *correct: bool | None) -> list[tuple[Facts, Verdict]]:
    return [
        (KNOWN._replace(prompt_id=name, rollout_id=f"{name}{number}", correct=right), WRONG if right is False else KEEP)
        for number, right in enumerate(correct)
    ]


def test_rows_are_counted_by_the_share_of_their_prompt_that_is_right():
    samples = {"a": (False, False), "b": (True, False, False), "c": (True, False), "d": (True, True, True, False),
               "e": (True, True), "f": (None,), "g": (None, True)}  # fmt: skip
    rows = [one for name, correct in samples.items() for one in prompt(name, *correct)]
    counts = report(rows)["by_pass_rate"]
    assert counts == {
        "none": {"prompts": 1, "rows": 2, "kept": 0},
        "up to a third": {"prompts": 1, "rows": 3, "kept": 1},
        "up to two thirds": {"prompts": 1, "rows": 2, "kept": 1},
        "below all": {"prompts": 1, "rows": 4, "kept": 3},
        "all": {"prompts": 2, "rows": 4, "kept": 4},
        "not graded": {"prompts": 1, "rows": 1, "kept": 1},
    }
    assert list(counts) == list(funnel.PASS_RATES)


def test_sources_and_teachers_are_counted_the_most_frequent_first():
    rows = [(KNOWN._replace(source=f"s{number % 60:02}", teacher="ab"[number % 3 == 0]), KEEP) for number in range(150)]
    found = report(rows)
    assert list(found["by_source"])[:2] == ["s00", "s01"] and list(found["by_source"])[-1] == funnel.OTHERS
    assert len(found["by_source"]) == funnel.MOST_NAMED + 1
    assert found["by_source"][funnel.OTHERS] == {"rows": 20, "kept": 20}
    assert found["by_teacher"] == {"a": {"rows": 100, "kept": 100}, "b": {"rows": 50, "kept": 50}}


def test_histograms_cover_all_rows_in_few_bins():
    for lengths in ([5], [3, 9], [100, 131, 4_000], list(range(0, 24)), [10**6, 0]):
        rows = [(KNOWN._replace(length=length), WRONG if length % 2 else KEEP) for length in lengths]
        bins = report([*rows, (KNOWN._replace(length=None), KEEP)])["by_length"]
        starts = [int(start) for start in bins]
        assert len(bins) <= funnel.BINS + 1 and len({after - before for before, after in pairwise(starts)}) <= 1
        assert starts[0] <= min(lengths) and sum(found["rows"] for found in bins.values()) == len(lengths)
        assert sum(found["kept"] for found in bins.values()) == sum(length % 2 == 0 for length in lengths)
    assert report([(KNOWN._replace(length=None), KEEP)])["by_length"] == {}
    assert funnel.csv({"3": {"rows": 5, "kept": 4}}, "turns") == "turns,rows,kept\n3,5,4\n"


def test_the_cost_of_a_kept_row_includes_the_rejected_ones():
    rows = prompt("a", True, False, False, True)
    assert report(rows)["cost_usd"] == 0.4 and report(rows)["cost_per_kept_row_usd"] == 0.2
    unknown = [*rows, (KNOWN._replace(cost_usd=None), KEEP)]
    assert report(unknown)["cost_usd"] is None and report(unknown)["cost_per_kept_row_usd"] is None
    assert report(prompt("a", False))["cost_per_kept_row_usd"] is None


def test_the_order_of_the_rows_makes_no_difference():
    draw = random.Random(0)
    chosen = [
        {"correct": draw.random() < 0.5, "cost_usd": draw.random(), "turns": draw.randrange(9)} for _ in range(90)
    ]
    rows = [(KNOWN._replace(prompt_id=str(number % 9), **one), KEEP) for number, one in enumerate(chosen)]
    expected = report(rows)
    for _ in range(3):
        draw.shuffle(rows)
        assert report(rows) == expected


def test_every_check_has_words():
    assert list(words.CHECKS) == list(words.PASSED) == list(CHECKS | CONTESTS)
