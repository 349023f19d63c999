"""The intervals of the exam: what so many prompts say of a model, and of the difference between two."""

import random

import pytest

from distill.student.evaluation import interval


def test_wilson_is_the_published_interval() -> None:
    """Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662, 0 of 20 gives 0 to 0.1611."""
    for right, n, published in ((81, 263, [0.2553, 0.3662]), (0, 20, [0.0, 0.1611])):
        answers = [1.0] * right + [0.0] * (n - right)
        assert interval.accuracy(answers, n) == interval.wilson(right / n, n) == pytest.approx(published, abs=1e-4)
    assert interval.accuracy([], 0) is None


def test_several_answers_to_a_prompt_say_as_much_as_they_differ() -> None:
    once = interval.accuracy([1.0] * 20 + [0.0] * 20, 40)
    assert interval.accuracy([1.0] * 20 + [0.0] * 20, 160) == once, "all answers to a prompt alike"
    assert interval.accuracy([0.5] * 40, 160) == interval.wilson(0.5, 160), "as if all were to prompts of their own"
    some = interval.accuracy([0.25, 0.75] * 20, 160)
    assert once and some and once[0] < some[0] < interval.wilson(0.5, 160)[0]


@pytest.mark.parametrize(("rate", "alike"), [(0.02, 0.2), (0.5, 1.0), (0.9, 10.0), (0.98, 0.2)])
def test_the_interval_of_several_answers_holds_the_truth(rate: float, alike: float) -> None:
    draw, held = random.Random(7), 0
    for _ in range(200):
        prompts = [draw.betavariate(rate * alike, (1 - rate) * alike) for _ in range(40)]
        shares = [sum(draw.random() < easy for _ in range(4)) / 4 for easy in prompts]
        around = interval.accuracy(shares, 160)
        assert around is not None
        held += around[0] <= rate <= around[1]
    assert held >= 0.9 * 200


def test_gap_closed_is_the_share_of_the_way() -> None:
    base, teacher = [False] * 10, [True] * 8 + [False] * 2
    student = [True] * 6 + [False] * 4
    closed, around = interval.gap_closed(base, student, teacher)
    assert closed == 0.75 and around is not None and around[0] < 0.75 <= around[1]
    assert interval.gap_closed(base, student, teacher) == (closed, around)
    assert interval.gap_closed(base, [True] * 10, teacher)[0] == 1.25  # a student can pass its teacher
    assert interval.gap_closed(teacher, student, base) == (None, None)
    assert interval.gap_closed([], [], []) == (None, None)  # no answer is known


def test_the_gain_is_paired() -> None:
    base, student = [False] * 6 + [True] * 4, [True] * 8 + [False] * 2
    gained, around = interval.gain(base, student)
    assert gained == 0.4 and around is not None and -0.2 <= around[0] < 0.4 < around[1] <= 1.0
    assert interval.gain([], []) == (None, None)


def test_prompts_that_all_ended_alike_leave_doubt() -> None:
    """One less certain than the other: 0 of 5 and 5 of 5 say less than 0 of 40 and 40 of 40."""
    (few, wide), (many, narrow) = (interval.gain([False] * n, [True] * n) for n in (5, 40))
    assert few == many == 1.0 and wide and narrow and wide[0] < narrow[0] < 1.0 == wide[1] == narrow[1]
    assert interval.gap_closed([False], [False], [True]) == (0.0, None), "of one prompt nobody knows who is better"


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.99), (0.02, 0.93), (0.3, 0.6)])
@pytest.mark.parametrize("n", [10, 40])
def test_the_interval_holds_the_truth(before: float, after: float, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In 95 of 100 exams, that is; the plain bootstrap's did so in 7 of them for (0.0, 0.99) and 10 prompts."""
    monkeypatch.setattr(interval, "RESAMPLES", 400)
    draw, held = random.Random(n), 0
    for _ in range(200):
        base, student = ([draw.random() < rate for _ in range(n)] for rate in (before, after))
        around = interval.gain(base, student)[1]
        assert around is not None
        held += around[0] <= round(after - before, 4) <= around[1]
    assert held >= 0.9 * 200


def test_thirds_that_make_a_whole_close_no_gap() -> None:
    thirds = [1 / 3, 1 / 3, 1 / 3, 2 / 3]
    assert sum(thirds) != sum(reversed(thirds)) or sum([0.1] * 3) != 0.3
    assert interval.gap_closed([1 / 3] * 3, [2 / 3] * 3, [1.0, 0.0, 0.0]) == (None, None)
    assert interval.gain([1 / 3] * 3, [2 / 3] * 3)[0] == 0.3333
