"""Held-out prompts in training rows: what is found of planted ones, and that templates are let through."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from planted import measure
from worded_rows import VOCABULARY, row, sentences

from distill.dataset import held_out
from distill.dataset.checks import contaminated
from distill.dataset.checks.context import CheckContext
from distill.dataset.held_out import HeldOutPrompt
from distill.dataset.held_out_index import HeldOutIndex
from distill.dataset.prompt_words import PromptWords, expected, words
from distill.dataset.prompts import prepare, read_seed, split_of
from distill.records import jsonl
from distill.records.faults import InputError

Row = dict[str, Any]
PREFIX = "Answer the question below with the help of the tools and end with your final answer on a line of its own. "


def exam(text: str, expected: Any = None, where: str = "exam.jsonl:1") -> HeldOutPrompt:
    return HeldOutPrompt(where, PromptWords(words(text), expected), "You work in a shop.")


def found(row: Row, *exams: HeldOutPrompt) -> Any:
    return contaminated.check(row, CheckContext(held_out=HeldOutIndex(exams)))


def swapped(text: str, draw: random.Random) -> str:
    return " ".join(draw.choice(VOCABULARY) if draw.random() < 0.1 else word for word in text.split())


PLANTED = {
    "verbatim": (1.0, lambda text, draw: text),
    "in a longer prompt": (1.0, lambda text, draw: f"{' '.join(sentences(draw, 60))} {text} {' '.join(sentences(draw, 60))}"),
    "case and punctuation": (1.0, lambda text, draw: text.upper().replace(" ", ", ") + "?!"),
    "a tenth of the words changed": (0.6, swapped),
}  # fmt: skip


@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize("prefix", ["", PREFIX], ids=["bare", "same wording before each"])
def test_planted_prompts_of_the_exam_are_found_and_no_others(kind, prefix):
    draw = random.Random(7)
    texts = [prefix + " ".join(sentences(draw, draw.randrange(6, 60))) for _ in range(200)]
    held = HeldOutIndex(exam(text) for text in texts)
    recall, plant = PLANTED[kind]
    planted = [row(plant(text, draw)) for text in texts]
    clean = [row(prefix + " ".join(sentences(draw, draw.randrange(6, 60)))) for _ in range(1_000)]
    measured = measure(lambda one: contaminated.check(one, CheckContext(held_out=held)), planted, clean)
    assert measured.recall >= recall and measured.false <= 0.002, measured


TEMPLATE = "A pallet holds {} bags of garden soil. How many bags are there on {} pallets in all?"


def test_a_template_is_not_the_question():
    text = TEMPLATE.format(162, 20)
    assert found(row(text), exam(text))
    assert found(row(TEMPLATE.format(17, 20)), exam(text)) is None
    names = "Which of our two warehouses, the old or the new, holds most of the stock of {} that we sell?"
    assert found(row(names.format("kettles")), exam(names.format("teapots"))), "nothing tells them apart"
    known = row(names.format("kettles"))
    known["metadata"]["expected_answer"] = "old"
    assert found(known, exam(names.format("teapots"), "new")) is None
    assert found(known, exam(names.format("teapots"), "old"))
    several = [exam(names.format(thing), where=f"exam.jsonl:{thing}") for thing in ("teapots", "lamps", "rakes")]
    assert found(row(names.format("kettles")), *several) is None
    assert "exam.jsonl:rakes" in found(row(names.format("rakes")), *several).detail


@pytest.mark.parametrize("count", [5, 400])
def test_an_instruction_of_all_training_prompts_is_not_the_one_held_out_question(count):
    draw = random.Random(3)
    instruction = f"{' '.join(sentences(draw, 80))} The question is: "
    questions = [instruction + " ".join(sentences(draw, 12)) for _ in range(count)]
    held, *trained = [instruction + " ".join(sentences(draw, 12)), *questions]
    index = HeldOutIndex([exam(held)], trained)
    assert all(found(row(text), exam(held)) for text in trained), (
        "nobody can tell them apart by the held-out prompt alone"
    )
    rows = [row(text) for text in (*trained, held, held + " Please.", held.removeprefix(instruction))]
    marked = [contaminated.check(one, CheckContext(held_out=index)) is not None for one in rows]
    assert marked == [False] * count + [True] * 3
    again = HeldOutIndex([exam(held)], trained * 20)
    assert [again.overlap(row(text)["messages"], {}) for text in trained] == [None] * count, (
        "a prompt that is there for many system messages is one"
    )
    verbatim = HeldOutIndex([exam(held)], [held, *(f"{held} {text}" for text in trained)])
    assert verbatim.overlap(row(held)["messages"], {}), "a prompt that is in many others as a whole is still found"


@pytest.mark.parametrize("instruction", ["", PREFIX], ids=["bare", "behind an instruction"])
def test_many_near_copies_of_one_prompt_are_not_its_wording(instruction):
    """A third of the training prompts, each with another word changed."""
    draw = random.Random(3)
    question = " ".join(sentences(draw, 25)).split()
    copies = [
        instruction + " ".join([*question[: 2 * place], "anew", *question[2 * place + 1 :]]) for place in range(12)
    ]
    others = [instruction + " ".join(sentences(draw, 25)) for _ in range(24)]
    index = HeldOutIndex([exam(instruction + " ".join(question))], copies + others)
    found = [index.overlap(row(text)["messages"], {}) is not None for text in copies + others]
    assert found == [True] * len(copies) + [False] * len(others)


@pytest.mark.parametrize("instruction", ["", PREFIX], ids=["bare", "behind an instruction"])
def test_other_words_in_the_places_of_one_template_are_not_all_near_copies(instruction):
    """Where each word that is filled in is in many training prompts, the one that is held out has none of its own."""
    template = (
        "Please work out for a {} customer what we charge for the usual delivery to our {} region when the parcel"
    )
    template = f"{instruction}{template} goes by the {{}} service and say so in one short sentence."
    places = (("retail", "wholesale"), ("north", "south", "east", "west"), ("standard", "express", "overnight"))
    texts = [template.format(*filled) for filled in itertools.product(*places)]
    index = HeldOutIndex([exam(texts[0])], texts[1:])
    found = [index.overlap(row(text)["messages"], {}) is not None for text in texts]
    assert found[0] and sum(found) <= len(texts) / 2


def test_the_same_words_are_the_same_question_whatever_is_said_of_the_answer():
    text = "What does item H222 cost?"
    for answer in ("15.30", 15.3, "$15.30", "unknown"):
        again = row(text)
        again["metadata"]["expected_answer"] = answer
        assert found(again, exam(text, "15.3"))
    assert len({expected({"expected_answer": answer}) for answer in (1000, "1,000", "1000.0")}) == 1
    assert expected({"expected_answer": "Paris."}) == expected({"expected_answer": "paris"})


def test_a_prompt_that_is_held_out_many_times_is_found():
    text = TEMPLATE.format(162, 20)
    repeated = [exam(text, answer)._replace(system=f"You are clerk {answer}.") for answer in (1, 2, 3, 4)]
    assert found(row(text), *repeated)


def test_a_prompt_that_lies_wholly_in_others_is_found():
    """The exam has the turns of one conversation, each as a prompt of its own."""
    turns = [TEMPLATE.format(162, 20), "And how many bags are on forty of the small pallets then?", "Which is more?"]
    exams = [exam("\n".join(turns[:count]), where=f"exam.jsonl:{count}") for count in (1, 2, 3)]
    assert "exam.jsonl:1 asks, which is held out (100%" in found(row(turns[0]), *exams).detail
    assert "exam.jsonl:1" in found(row(f"Good morning. {turns[0]} I am in a hurry."), *exams).detail
    assert "exam.jsonl:3" in found(row("\n".join(turns)), *exams).detail
    assert found(row(TEMPLATE.format(17, 20)), *exams) is None
    shop = "Please look up for me in the shop of {} today, before it closes, what the price of {} is at the moment."
    grid = [(town, thing) for town in ("Berlin", "Paris", "Rome") for thing in ("kettles", "lamps", "rakes")]
    exams = [exam(shop.format(*one), where=f"exam.jsonl:{' '.join(one)}") for one in grid]
    assert "exam.jsonl:Paris lamps" in found(row(shop.format("Paris", "lamps")), *exams).detail
    assert found(row(shop.format("Paris", "teapots")), *exams) is None
    assert found(row(shop.format("Oslo", "lamps")), *exams) is None


def test_short_prompts():
    assert found(row("Tell me, please: what does item H222 cost today?"), exam("What does item H222 cost?"))
    assert found(row("What does item H223 cost?"), exam("What does item H222 cost?")) is None
    assert found(row("Hello, what is the price of H222?"), exam("Hello")) is None
    assert found(row("hello!"), exam("Hello"))
    assert found(row("hello!", system="Translate into French."), exam("Hello")) is None


def test_tool_results_and_answers_do_not_count():
    text = TEMPLATE.format(162, 20)
    seen = row("What does the page say?")
    seen["messages"][3]["content"] = seen["messages"][6]["content"] = text
    assert found(seen, exam(text)) is None


@pytest.mark.parametrize("answers", [True, False], ids=["with answers", "without"])
def test_nothing_of_the_example_is_contaminated(answers):
    """Neither by its own split nor by one at random, which separates no template from itself."""
    prompts = prepare(read_seed(ROOT / "data" / "seed"), 0.2)
    for at_random in (False, True):
        for prompt in prompts:
            prompt["split"] = split_of(prompt["id"], 0.2) if at_random else prompt["split"]
            prompt["metadata"] = prompt["metadata"] if answers else {}
        held = HeldOutIndex(held_out.of_prompt(prompt) for prompt in prompts if prompt["split"] == "eval")
        rows = [
            row(prompt["messages"][-1]["content"]) | {"metadata": prompt["metadata"]}
            for prompt in prompts
            if prompt["split"] == "train"
        ]
        assert len(held.prompts) > 50 and len(rows) > 200
        assert [found for one in rows if (found := contaminated.check(one, CheckContext(held_out=held)))] == []


def test_files_of_benchmarks_are_read_in_the_forms_they_have(tmp_path: Path):
    text = TEMPLATE.format(162, 20)
    said = [{"role": "system", "content": "x"}, {"role": "user", "content": text}]
    forms = [{key: text} for key in ("prompt", "question", "problem", "instruction", "text")]
    for number, form in enumerate([*forms, {"messages": said}, {"prompt": said, "answer": "3240"}]):
        path = tmp_path / f"{number}.jsonl"
        path.write_text(json.dumps(form) + "\n")
        assert found(row(text), *held_out.of_files([str(path)])), form


def test_files_of_benchmarks_that_cannot_be_read_are_named_all_at_once(tmp_path: Path):
    bad, empty = tmp_path / "bad.jsonl", tmp_path / "empty.jsonl"
    bad.write_text('{"question": "What?"}\n{"query": "What?"}\n{"question": 5}\n{"messages": [{"content": "x"}]}\n')
    empty.write_text("\n")
    with pytest.raises(InputError) as error:
        held_out.of_files([str(bad), str(tmp_path / "none.jsonl"), str(empty)])
    said = str(error.value)
    for fault in ("bad.jsonl:2: holds no prompt", "bad.jsonl:3: /question", "bad.jsonl:4: /messages/0", "none.jsonl: no such",
                  "empty.jsonl: holds no row"):  # fmt: skip
        assert fault in said, said


def test_the_stage_compares_with_the_eval_split_and_with_files(project, run_stage, set_param):
    for check in ("length", "tools_shown"):
        set_param(f"filter.{check}", "off")
    texts = [TEMPLATE.format(number, 7) for number in range(10, 14)]
    jsonl.write(project / "data" / "converted.jsonl", [row(text) for text in texts], "row")
    done = run_stage("filter")
    assert done.returncode == 1 and "data/prompts.jsonl: no such file" in done.stderr
    messages = [{"role": "user", "content": texts[1]}]
    prompt = {"id": "0" * 16, "split": "eval", "source": "data/seed/mine.jsonl:3", "messages": messages, "metadata": {}}
    jsonl.write(project / "data" / "prompts.jsonl", [prompt], "prepared_prompt")
    (project / "data" / "benchmark.jsonl").write_text(json.dumps({"question": texts[3]}) + "\n")
    set_param("filter.decontaminate_against", ["data/benchmark.jsonl"])
    done = run_stage("filter")
    assert done.returncode == 0, done.stderr
    rejected = list(jsonl.read(project / "data" / "rejected.jsonl", "rejected"))
    assert [one["messages"][1]["content"] for one in rejected] == [texts[1], texts[3]]
    details = [reason["detail"] for one in rejected for reason in one["reasons"]]
    assert [
        where in detail
        for where, detail in zip(("data/seed/mine.jsonl:3", "data/benchmark.jsonl:1"), details, strict=True)
    ]


def test_the_stage_keeps_rows_that_share_an_instruction_with_the_one_held_out_prompt(project, run_stage, set_param):
    for check in ("length", "tools_shown"):
        set_param(f"filter.{check}", "off")
    draw = random.Random(5)
    texts = [f"{PREFIX} {PREFIX.upper()} {' '.join(sentences(draw, 8))}" for _ in range(12)]
    prompts = [
        {"id": f"{number:016x}", "split": "train" if number else "eval", "source": f"data/seed/mine.jsonl:{number + 1}",
         "messages": [{"role": "user", "content": text}], "metadata": {}}
        for number, text in enumerate(texts)
    ]  # fmt: skip
    jsonl.write(project / "data" / "prompts.jsonl", prompts, "prepared_prompt")
    jsonl.write(project / "data" / "converted.jsonl", [row(text) for text in (*texts[1:], f"So: {texts[0]}")], "row")
    assert run_stage("filter").returncode == 0
    assert len(list(jsonl.read(project / "data" / "train.jsonl", "row"))) == 11
    (lost,) = jsonl.read(project / "data" / "rejected.jsonl", "rejected")
    assert [reason["check"] for reason in lost["reasons"]] == ["contaminated"]


def test_words_are_the_same_in_every_script_and_grouping():
    text = "It's 1,234,567 of H_222, not 1,23 - or 3.5!"
    expected = ["it", "s", "1234567", "of", "h", "222", "not", "1", "23", "or", "3", "5"]
    assert words(text) == expected and words(text + " \u00e9") == [*expected, "\u00e9"]
