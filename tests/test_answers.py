"""Which final answer a conversation gives, and whether it is the expected one."""

import pytest
from right_answers import DRINKS, RIGHT
from wrong_answers import WRONG

from distill.answers import Grade, faults, grade, listing, mathematics
from distill.answers.exact import fold
from distill.answers.number import number
from distill.records.faults import InputError


def said(text: str, metadata: dict) -> Grade:
    return grade([{"role": "assistant", "content": text}], metadata)


def graded(text: str, expected, answer_type: str | None = None, **options) -> bool | None:
    metadata = {"expected_answer": expected, **options} | ({"answer_type": answer_type} if answer_type else {})
    return said(text, metadata).correct


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        (42, "Answer: 42"),
        (42, "**Answer:** 42"),
        (42, "### Final answer: **42**."),
        (42, "I looked it up.\nanswer:\n\n42\n"),
        (42, "Answer: 41\nNo, I must add one.\nAnswer: 42"),
        (44, "Answer: $44"),
        (44, "Answer: 44.0"),
        (44, "Answer: 44 USD."),
        (44, "Answer: \\boxed{44}"),
        (44, "Answer: 2 * 22 = 44"),
        (44, "Two kettles at $22 each: 44"),
        (44, "2 x 22 = 44"),
        (41, "After 42 tries I got 41."),
        (15.3, "Item H222 costs $15.30."),
        (407, "There are 407 S532 in stock"),
        (1234.5, "Answer: 1,234.50"),
        ("1,234.50", "Answer: 1234.5"),
        (1234, "Answer: 1\u202f234"),
        (-5, "Answer: -5"),
        (-5, "Answer: \u22125"),
        (-44, "Answer: -$44"),
        (1 / 3, "Answer: 0.33333333"),
        (0, "The balance is 0"),
        (3e-7, "Answer: 3e-7"),
        ("44 kg", "The total is 44 kg."),
        ("44 kg", "Answer: 44,000 g"),
        ("pembrolizumab", "Answer: Pembrolizumab."),
        ("tin kettle", 'Answer: the "Tin  Kettle"'),
        ("Café", "Cafe\u0301"),
        ("C#", "Answer: c#"),
        ("42nd Street", "Answer: 42nd street"),
    ],
)
def test_right_answers_are_accepted(expected, text):
    assert graded(text, expected) is True


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        (42, "Answer: 142"),
        (42, "142"),
        (42, "Answer: item D42"),
        (42, "Answer: 42\nAnswer: 43"),
        (5, "Answer: -5"),
        (-5, "Answer: 5"),
        (6, "Answer: 5 or 6"),
        (6, "It is 5 or 6."),
        (6, "It is between 5 and 6"),
        (6, "Answer: 5-6"),
        (5, "Answer: 5,6"),
        (2, "It is 1/2"),
        (25, "2026-01-25"),
        (3, "Version 1.2.3"),
        (5, "Answer: 5 million"),
        (5, "It costs $5 million"),
        (1, "Answer: 1e9999"),
        (44, "Answer: not 44"),
        (44, "It cannot be 44"),
        (44, "It isn’t 44."),
        (44, "no answer"),
        (44, "Answer: no answer"),
        (44, "Answer:"),
        (44, "Answer: <number>"),
        (52, "Answer: 5²"),
        (1e-7, "Answer: 3e-7"),
        (12345678, "Answer: 12345679"),
        (0.333, "Answer: 0.3333"),
        ("pembrolizumab", "Answer: not pembrolizumab"),
        ("no", "Answer: unknown"),
        ("Paris", "Answer: Paris, Texas"),
        ("C#", "Answer: C"),
        ("a kettle", "Answer: kettles"),
        ("44 kg", "Answer: 44 g"),
        ("5 Main", "Answer: 5"),
    ],
)
def test_wrong_answers_are_rejected(expected, text):
    assert graded(text, expected) is False


def test_answer_type_decides_over_the_form_of_the_expected_answer():
    assert graded("Answer: 007", "7", "exact") is False
    assert graded("Answer: 7.0", "7", "number") is True
    assert graded("Answer: 44 kg", "44 kg", "number") is True


def test_types_are_tried_in_order_and_the_one_that_accepts_is_named():
    metadata = {"expected_answer": "1/2", "answer_type": ["exact", "math"]}
    assert said("1/2", metadata) == ("1/2", True, "exact", None)
    assert said("0.5", metadata) == ("0.5", True, "math", None)
    assert said("0.4", metadata) == ("0.4", False, None, "exact: another text; math: not equal by math-verify")
    assert said("", metadata) == (None, False, None, None)


@pytest.mark.parametrize("first", ["exact", "set"])
def test_each_type_reads_the_answer_in_its_own_way(first):
    kinds = [first, {"exact": "set", "set": "exact"}[first]]
    text = "Answer:\ntea\nmilk"
    assert said(text, {"expected_answer": "tea, milk", "answer_type": kinds}) == ("tea\nmilk", True, "set", None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("It has four legs.", "It has four legs."),
        ("It has four legs (see page 12).", "It has four legs (see page 12)."),
        ("Answer: four,\nas the drawing shows", "four,\nas the drawing shows"),
    ],
)
@pytest.mark.parametrize("kinds", [["number", "judge"], ["exact", "judge"], ["judge", "number"]])
def test_a_judge_is_asked_about_all_of_the_answer_where_no_cheaper_type_accepts_it(kinds, text, told):
    metadata = {"expected_answer": 4, "answer_type": kinds}
    assert said(text, metadata) == (told, None, None, None)
    assert said("Answer: 4", metadata).correct is True


def test_a_judge_is_left_to_decide_what_is_not_plainly_right():
    metadata = {"expected_answer": "Keytruda", "answer_type": "judge"}
    assert said("keytruda", metadata) == ("keytruda", True, "exact", None)
    assert said("Pembrolizumab, sold as Keytruda", metadata).correct is None
    assert said("", metadata) == (None, False, None, None)


def test_an_answer_that_keeps_sympy_busy_is_wrong_and_the_next_one_is_graded():
    child = mathematics.Child(cpu_s=1)
    try:
        hanging = {
            "expected": "\\int_0^1 e^{e^{e^{x}}} dx",
            "answer": "\\sum_{n=1}^{\\infty} \\frac{\\sin(n^{n!})}{n^{\\pi}}",
        }
        assert child.ask(hanging) is None
        assert child.ask({"expected": "1/2", "answer": "0.5"}) is True
    finally:
        child.end()


def test_without_an_expected_answer_nothing_is_graded():
    assert graded("Answer: 42", None) is None
    assert grade([], {}).correct is None
    assert grade([], {"expected_answer": 42}).correct is False


def test_a_conversation_that_does_not_end_in_text_has_no_answer():
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    metadata = {"expected_answer": 42}
    assert grade([{"role": "assistant", "content": "Answer: 42", "tool_calls": calls}], metadata).answer is None
    assert grade([{"role": "tool", "tool_call_id": "c", "content": "42"}], metadata).answer is None
    assert grade([{"role": "assistant", "content": None, "refusal": "no"}], metadata).answer is None
    assert grade([{"role": "assistant", "content": " \n"}], metadata).answer is None


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"expected_answer": 42, "answer_type": "fuzzy"}, "'fuzzy' is not one of exact, number, choice"),
        ({"expected_answer": "5 or 6", "answer_type": "number"}, "holds no single number"),
        (
            {"expected_answer": ["a", "b"]},
            "several expected answers, say list .* or set; where any one of them is right",
        ),
        ({"expected_answer": True}, "must be a string or a number, not bool; write its JSON as a text"),
    ],
)
def test_metadata_that_makes_no_sense_is_the_users_error(metadata, says):
    with pytest.raises(InputError, match=r"/metadata/.*" + says):
        said("42", metadata)


FAULTS = [
    ({"answer_type": "number"}, "answer_type: says how to compare, but there is no expected_answer"),
    (
        {"expected_answer": 5, "answer_tolerence": 1},
        "answer_tolerence: no such option; did you mean 'answer_tolerance'?",
    ),
    (
        {"expected_answer": "a", "answer_type": "exact", "answer_unit": "kg"},
        "answer_unit: goes with answer_type number",
    ),
    ({"expected_answer": 5, "answer_tolerance": "wide"}, "answer_tolerance: must be a number"),
    ({"expected_answer": 5, "answer_tolerance": -1}, "answer_tolerance: must be a number"),
    ({"expected_answer": "5 kg", "answer_type": "number", "answer_unit": "m"}, "another unit than 'm'"),
    ({"expected_answer": "E", "answer_type": "choice", "answer_choices": ["a", "b"]}, "'E' is none of answer_choices"),
    ({"expected_answer": "tea", "answer_type": "choice"}, "must be one letter, or give answer_choices"),
    ({"expected_answer": "A", "answer_type": "choice", "answer_choices": "tea, milk"}, "answer_choices: must be texts"),
    ({"expected_answer": [], "answer_type": "list"}, "must be an array of strings and numbers"),
    ({"expected_answer": 5, "answer_type": "set"}, "must be an array of strings and numbers"),
    ({"expected_answer": "25 January", "answer_type": "date"}, "is not a date such as 2026-01-25"),
    ({"expected_answer": "2026-02-30", "answer_type": "date"}, "is not a date such as 2026-01-25"),
    ({"expected_answer": "2026-02-03", "answer_type": "date", "answer_date_order": "ymd"}, "must be dmy or mdy"),
    ({"expected_answer": "(a", "answer_type": "regex"}, "is not a valid RE2 pattern: missing )"),
    ({"expected_answer": "a*", "answer_type": "regex"}, "accepts an empty answer"),
    ({"expected_answer": "\\", "answer_type": "math"}, "math-verify cannot read"),
    ({"expected_answer": "10 000", "answer_type": "math"}, "math-verify cannot read"),  # 10 times 000 to it
    ({"expected_answer": "x", "answer_type": "judge", "answer_rubric": 5}, "answer_rubric: must be a text"),
    ({"expected_answer": " ", "answer_type": "judge"}, "expected_answer: must be a string or a number, not empty"),
    ({"expected_answer": "x", "answer_type": []}, "answer_type: '' is not one of"),
]


@pytest.mark.parametrize(("metadata", "says"), FAULTS, ids=[says[:40] for _, says in FAULTS])
def test_an_expected_answer_that_no_answer_can_meet_is_named(metadata, says):
    assert len(found := faults(metadata)) == 1 and says in found[0], found


def test_metadata_of_the_users_own_is_no_fault():
    assert faults({"answer_source": "web", "family": "x", "expected_answer": "5"}) == []
    assert faults({"note": None, "expected_answer": None}) == []


def test_folding_keeps_what_matters():
    assert fold("The Tin\tKettle!") == "tin kettle"
    assert fold("-5") == "-5"
    assert fold("?!") == "?!"
    assert fold(".5") == ".5" and fold("(5)") == "5"


def test_a_long_answer_is_read_in_linear_time():
    for text in (
        "5 a",
        "1,111",
        "-",
        "5 or ",
        "1",
        "\\a",
        "a(",
        "one ",
        "`",
        "*",
        "_",
        "}{",
        "5, in ",
        " ",
        "$",
        "$a",
        " and a",
    ):
        long = f"5{text * 10_000}x"
        number(long)
        graded(long, 42, answer_unit="kg")
        graded(f"Answer: {long}", ["a"], "set")


@pytest.mark.parametrize("options", [{}, {"answer_unit": "kg"}, {"answer_tolerance": 0.5}, {"answer_tolerance": "1%"}])
def test_a_number_of_a_million_digits_is_only_another_one(options):
    metadata = {"expected_answer": "5", "answer_type": "number", **options}
    for text in ("9" * 1_100_000, "0." + "0" * 1_100_000 + "1"):
        assert said(f"Answer: {text}", metadata).correct is False


def test_a_list_is_read_once_where_all_readings_of_it_are_the_same():
    """There may be thirty, and a long answer took a quarter of a minute."""
    assert listing.items("tea, milk") == [("tea, milk",), ("tea", "milk")]
    assert listing.items("tea and milk") == [("tea and milk",), ("tea", "milk")]


@pytest.mark.parametrize("kind", RIGHT)
def test_recall_and_false_positives_on_planted_answers(kind):
    """Every right answer is accepted, no wrong one."""

    def accepted(pair) -> bool:
        expected, options, text = pair
        return graded(text, expected, kind, **options) is True

    missed = [pair for pair in RIGHT[kind] if not accepted(pair)]
    false = [pair for pair in WRONG[kind] if accepted(pair)]
    assert (missed, false) == ([], [])


@pytest.mark.parametrize(
    ("kind", "expected", "options", "answer", "why"),
    [
        ("number", 0.45, {}, "450 grams (0.45 kg)", "2 numbers: 450, 0.45"),
        ("number", 0.45, {}, "0,45 kg", "a decimal comma: write 0.45"),
        ("number", 0.45, {"answer_unit": "kg"}, "0.45 l", "in another unit than kg"),
        ("number", 0.45, {"answer_unit": "kg"}, "45 g", "another number, in kg"),
        ("number", 9.8, {"answer_tolerance": "1%"}, "10", "further away than 1%"),
        ("number", 5, {}, "at least 5", "a bound, not a number: 'at least 5'"),
        ("number", 5, {}, "not 5", "a negation: 'not'"),
        ("number", 5, {}, "five", "no number"),
        ("exact", "tea", {}, "tea with milk", "there is more than the expected text"),
        ("choice", "B", DRINKS, "A", "another choice"),
        ("choice", "B", DRINKS, "apple juice", "another choice"),
        ("choice", "B", DRINKS, "a glass of water", "not one of the choices"),
        ("choice", "B", DRINKS, "B) tea", "B with another text than 'milk'"),
        ("choice", "B", {}, "milk", "not one letter"),
        ("list", ["tea", "milk"], {}, "milk, tea", "the items are in another order"),
        ("set", ["tea", "milk"], {}, "tea, beer", "missing 'milk'; not expected 'beer'"),
        ("set", [1, 2, 3, 4, 5], {}, "1", "missing '2', '3', '4' and 1 more"),
        ("date", "2026-01-25", {}, "on a Sunday", "no date"),
        ("date", "2026-01-25", {}, "26 January 2026", "another date: 2026-01-26"),
        ("date", "2026-01-25", {}, "January 2026", "less precise than the expected date"),
        ("date", "2026-01-05", {}, "05/01/2026", "has two readings: say answer_date_order"),
        ("regex", "NCT[0-9]+", {}, "it is NCT01", "the pattern matches only a part of it"),
        ("math", "x^2", {}, "y = x^2 +", "it breaks off"),
    ],
)  # fmt: skip
def test_a_wrong_answer_is_told_why(kind, expected, options, answer, why):
    found = said(f"Answer: {answer}", {"expected_answer": expected, "answer_type": kind, **options})
    assert found.correct is False and found.why.startswith(f"{kind}: ") and found.why.endswith(why), found


@pytest.mark.parametrize("metadata", [{}, {"expected_answer": "5"}, {"expected_answer": "a b", "answer_type": "judge"}])
def test_an_empty_last_answer_is_none(metadata):
    for text in ("I think that it is 5.\n**Answer:**", "Answer: 5\nNo.\nAnswer:\n\n"):
        assert said(text, metadata).answer is None


@pytest.mark.parametrize("thought", ["Answer: 5", "It may be \\boxed{5}.", "5"])
def test_a_thought_in_the_text_is_no_answer(thought):
    assert graded(f"<think>\n{thought}\n</think>\n\nThe price is 6.", 6) is True
    assert graded(f"<think>\n{thought}\n</think>\n\nThe price is 6.", 5) is False
    assert graded(f"<think>\n{thought}\n</think>\n\nsix", "six") is True
    assert said(f"<think>\n{thought}", {"expected_answer": 5}).answer is None


def test_a_judge_reads_all_of_an_answer():
    metadata = {"expected_answer": "restart it", "answer_type": "judge"}
    for text in (
        "- Reset the router\n- Call support",
        "```python\ndef add(a, b):\n    return a + b\n```",
        "One.\n\nTwo.",
    ):
        assert said(f"I looked.\n\nAnswer:\n{text}", metadata).answer == text
    assert said("**Answer:** One.\nTwo.", metadata).answer == "One.\nTwo."
    assert said("One.\nTwo.", metadata).answer == "One.\nTwo."


@pytest.mark.parametrize(
    ("expected", "answer", "right"),
    [("02134", "2134", False), ("02134", "02134", True), ("007", "7", False), ("12E4", "120000", False), ("12B", "12", False),
     ("0.5", ".5", True), ("0", "0.0", True), ("3.10", "3.1", True), (2134, "2,134", True)],
)  # fmt: skip
def test_a_code_of_digits_is_no_number(expected, answer, right):
    assert graded(f"Answer: {answer}", expected) is right


@pytest.mark.parametrize(
    ("option", "answer"), [({"answer_unit": "W"}, "100 watts"), ({"answer_tolerance": "5%"}, "98 W")]
)
def test_with_a_unit_or_a_tolerance_it_is_one(option, answer):
    assert graded(f"Answer: {answer}", "100W", **option) and not faults({"expected_answer": "100W", **option})
