"""Near-duplicate prompts and the best rows of a prompt: what goes, what stays, and that the file's order is no rule."""

import random
from collections.abc import Mapping
from typing import Any

import pytest
from conftest import ROOT
from worded_rows import VOCABULARY, row, sentences

from distill.dataset import facts, filter, minhash
from distill.dataset.checks import CHECKS, CONTESTS, max_per_prompt, near_duplicate
from distill.dataset.checks.context import CheckContext
from distill.dataset.prompts import prepare, read_seed

Row = dict[str, Any]
OFF = dict.fromkeys(CHECKS | CONTESTS, "off") | {"max_per_prompt": None}


def losers(contest: Any, rows: list[Row], **filters: Any) -> set[str]:
    standing = {place: facts.of(row, {}, None) for place, row in enumerate(rows)}
    return {rows[place]["rollout_id"] for place in contest.losers(standing, lambda: iter(rows), filters)}


def near(*rows: Row) -> set[str]:
    return losers(near_duplicate, list(rows))


def changed(words: list[str], share: float, draw: random.Random) -> list[str]:
    return [draw.choice(VOCABULARY) if draw.random() < share else word for word in words]


def alike(one: str, other: str) -> float:
    """Jaccard of word 5-grams, written anew."""
    sets = [{tuple(text.lower().split()[at : at + 5]) for at in range(len(text.split()) - 4)} for text in (one, other)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_near_duplicates_are_found_and_nothing_else():
    draw = random.Random(5)
    pairs = []
    for edits in (0.0, 0.01, 0.02, 0.03, 0.05, 0.1) * 50:
        words = sentences(draw, draw.randrange(20, 120))
        copy = " ".join(changed(words, edits, draw)).upper() + draw.choice(["", "?", "!"])
        pairs.append((row(" ".join(words)), row(copy)))
    others = [row(" ".join(sentences(draw, draw.randrange(20, 120)))) for _ in range(300)]
    gone = near(*(one for pair in pairs for one in pair), *others)
    lost = [sum(one["rollout_id"] in gone for one in pair) for pair in pairs]
    likeness = [alike(*(one["messages"][1]["content"].strip("?!") for one in pair)) for pair in pairs]
    planted = [count for count, share in zip(lost, likeness, strict=True) if share >= near_duplicate.ALIKE]
    clean = [count for count, share in zip(lost, likeness, strict=True) if share < near_duplicate.ALIKE]
    assert min(len(planted), len(clean)) > 50
    assert set(planted) <= {0, 1} and sum(planted) >= 0.99 * len(planted)
    assert sum(clean) == 0 and not gone & set(names_of(others))


PHRASE = "Please write a short and friendly letter to a customer whose order of garden tools is late again"
LESS = PHRASE.replace("again", "today")


def test_what_differs_in_more_than_wording_is_no_duplicate():
    assert len(near(row(PHRASE), row(LESS))) == 1
    assert near(row(PHRASE + " by 3 days"), row(PHRASE + " by 4 days")) == set()
    assert near(row(PHRASE), row(LESS, system="You work in a bank.")) == set()
    tools = row(LESS)
    tools["tools"] = tools["tools"][:1]
    assert near(row(PHRASE), tools) == set()
    for answers, count in ((("yes", "no"), 0), (("yes", "Yes"), 1), ((15, 15.0), 1), (("yes", None), 1)):
        pair = [row(PHRASE), row(LESS)]
        for one, answer in zip(pair, answers, strict=True):
            one["metadata"]["expected_answer"] = answer
        assert len(near(*pair)) == count, answers


@pytest.mark.parametrize(("one", "other", "count"), [
    ("Hello!", "hello", 1), ("Hello", "Help", 0), ("What costs H222?", "What costs H223?", 0), ("?", "!", 0),
    ("翻译成英文请把这句话翻译成英文谢谢", "翻译成英文请把这句话翻译成英文谢谢。", 1), ("今天天气怎么样", "明天天气怎么样", 0),
])  # fmt: skip
def test_short_prompts_and_those_without_spaces(one, other, count):
    assert len(near(row(one), row(other))) == count


def test_all_rollouts_of_a_prompt_stay_or_go_together():
    rows = [row(PHRASE, sample, tool_errors=1) for sample in range(4)] + [row(LESS, sample) for sample in range(3)]
    assert near(*rows) == {one["rollout_id"] for one in rows[:4]}
    assert near(*rows[:4]) == set()


def test_which_prompt_stays_does_not_depend_on_the_order_of_the_rows():
    draw = random.Random(1)
    words = sentences(draw, 60)
    rows = [row(" ".join(changed(words, 0.03, draw)), tool_errors=draw.randrange(3)) for _ in range(12)]
    rows += [row(" ".join(sentences(draw, 40))) for _ in range(20)]
    expected = near(*rows)
    assert expected
    for seed in range(5):
        random.Random(seed).shuffle(rows)
        assert near(*rows) == expected
    right, wrong = row(PHRASE), row(LESS, correct=False)
    assert near(right, wrong) == near(wrong, right) == {wrong["rollout_id"]}
    equal = sorted((row(PHRASE), row(LESS)), key=lambda one: one["prompt_id"])
    assert near(*equal) == near(*reversed(equal)) == {equal[1]["rollout_id"]}


def test_the_example_has_no_near_duplicates():
    prompts = prepare(read_seed(ROOT / "data" / "seed"), 0.2)
    rows = [row(prompt["messages"][-1]["content"]) for prompt in prompts]
    assert len(rows) == 336 and near(*rows) == set()


def test_sequences_are_those_of_each_text_alone():
    texts = [list("abcdefg"), list("cdefg"), ["a"], list("abcdefg")]
    hashes, offsets = minhash.shingles(texts, [0, 0, 0, 1])
    assert offsets.tolist() == [0, 3, 4, 5, 8]
    assert hashes[2] == hashes[3] and len(set(hashes.tolist())) == 7


def best(*rows: Row, most: int = 2) -> list[str]:
    gone = losers(max_per_prompt, list(rows), max_per_prompt=most)
    return [one["rollout_id"] for one in rows if one["rollout_id"] not in gone]


BEST_FIRST: list[Mapping[str, Any]] = [
    {"tool_calls": 1, "tokens": 90}, {"tool_calls": 1, "tokens": 91}, {"tool_calls": 2, "tokens": 80},
    {"tool_errors": 1, "tool_calls": 1, "tokens": 50}, {"correct": None, "tool_calls": 0}, {"correct": False, "tool_calls": 0},
]  # fmt: skip


def test_the_best_rows_of_a_prompt_stay_in_any_order():
    rows = [row(PHRASE, sample, **outcome) for sample, outcome in enumerate(BEST_FIRST)]
    others = [row(LESS, sample) for sample in range(2)]
    names = [one["rollout_id"] for one in rows]
    for seed in range(5):
        mixed = [*rows, *others]
        random.Random(seed).shuffle(mixed)
        for most in (1, 3, 6):
            assert set(best(*mixed, most=most)) >= set(names[:most])
            assert not set(best(*mixed, most=most)) & set(names[most:])
    same = [row(PHRASE, sample) for sample in range(4)]
    assert best(*same) == [one["rollout_id"] for one in same if one["rollout_id"] in sorted(names_of(same))[:2]]


def names_of(rows: list[Row]) -> list[str]:
    return [one["rollout_id"] for one in rows]


def settled(rows: list[Row], **modes: Any) -> list[list[str]]:
    """The checks that reject each row, contests included."""
    chosen = OFF | modes
    checked = list(filter.run_checks(rows, chosen, CheckContext()))
    return [
        [reason["check"] for reason in found.reasons] for found in filter.settle(checked, lambda: iter(rows), chosen)
    ]


def test_only_rows_that_stay_contend():
    rows = [row(PHRASE, 0, status="failed"), row(PHRASE, 1, tokens=5), row(PHRASE, 2, tokens=6)]
    assert settled(rows, finished="reject", max_per_prompt=2) == [["finished"], [], []]
    assert settled(rows, finished="reject", max_per_prompt=1) == [["finished"], [], ["max_per_prompt"]]
    better = row(LESS, 0, tool_errors=9)
    rows = [row(PHRASE, 0, status="failed"), better]
    assert settled(rows, finished="reject", near_duplicate="reject") == [["finished"], []]
    rows = [row(PHRASE, 0), row(PHRASE, 1, tokens=9), better]
    assert settled(rows, near_duplicate="reject", max_per_prompt=1) == [["max_per_prompt"], [], ["near_duplicate"]]
