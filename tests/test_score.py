"""The numbers of the evaluation, against values worked out by hand."""

import pytest

from distill.student.evaluation import interval, score
from distill.student.evaluation.exam import graded
from distill.student.evaluation.table import table

TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}},
            "required": ["a"],
            "additionalProperties": False,
        },
    },
}


def record(prompt: int, correct: bool | None, *arguments: str, valid: int = 0) -> dict:
    asked = [
        {"id": f"c{n}", "type": "function", "function": {"name": "add", "arguments": text}}
        for n, text in enumerate(arguments)
    ]
    message = {"role": "assistant", "content": "", **({"tool_calls": asked} if asked else {})}
    return {
        "prompt_id": f"{prompt:016x}",
        "correct": correct,
        "tool_calls": len(arguments),
        "valid_calls": valid,
        "turns": 1,
        "usage": {"output_tokens": 10},
        "stop_reason": "final_answer",
        "messages": [message],
    }


def test_rates_are_shares_of_what_they_say() -> None:
    teacher = [record(0, True, '{"a": 1}', valid=1), record(1, True, '{"a": 2}', valid=1)]
    student = [record(0, True, '{"a":1}', valid=1), record(1, False, '{"a": "x"}'), record(2, None)]
    scores = score.score(student, teacher)
    assert (scores["n"], scores["correct"], scores["accuracy"]) == (3, 1, 0.5)
    assert scores["valid_calls"] == 0.5 and scores["tasks_with_call"] == 0.6667
    assert scores["call_agreement"] == 0.5  # of the two prompts that the teacher answered


def test_doing_nothing_is_not_doing_as_the_teacher() -> None:
    """Prompts on which neither called a tool say nothing; nor do the calls that a prompt shows."""
    teacher = [record(n, True, *(['{"a": 1}'] if n < 2 else [])) for n in range(5)]
    idle, busy = [record(n, False) for n in range(5)], [record(n, True, '{"a": 1}') for n in range(5)]
    for records, compared, agreement in ((idle, 2, 0.0), (busy, 5, 0.4), (teacher, 2, 1.0)):
        scores = score.score(records, teacher)
        assert (scores["compared"], scores["call_agreement"], scores["tool_agreement"]) == (
            compared,
            agreement,
            agreement,
        )
    shown = [one | {"messages": [*busy[0]["messages"], *one["messages"]]} for one in idle]
    nothing = score.score(shown, shown)
    assert (nothing["compared"], nothing["call_agreement"], nothing["tool_agreement"]) == (0, None, None)


def test_what_the_teacher_would_have_called_is_not_known_where_it_was_lost() -> None:
    called = [record(n, True, '{"a": 1}') for n in range(4)]
    lost = [record(n, False) | {"stop_reason": reason} for n, reason in ((2, "api_error"), (3, "tool_failure"))]
    scores = score.score(called, [*called[:2], *lost])
    assert (scores["compared"], scores["call_agreement"], scores["tool_agreement"]) == (2, 1.0, 1.0)
    gave_up = [*called[:3], record(3, False) | {"stop_reason": "max_turns"}]
    assert score.score(called, gave_up)["call_agreement"] == 0.75


def test_no_calls_have_no_valid_share() -> None:
    assert score.score([record(0, False)], [])["valid_calls"] is None


def test_what_has_no_known_answer_is_in_no_comparison() -> None:
    prompts = [{"id": str(n), "metadata": {"kind": "ab"[n % 2], "expected_answer": n}} for n in range(4)]
    right = {
        "base": [False, None, False, None],
        "student": [True, None, False, True],
        "teacher": [True, None, True, True],
    }
    exams = {
        who: [{"prompt_id": str(n), "correct": verdict} for n, verdict in enumerate(verdicts)]
        for who, verdicts in right.items()
    }
    assert score.graded(exams) == {"base": [False, False], "student": [True, False], "teacher": [True, True]}
    assert score.by_metadata(prompts, exams)["answer_type"]["number"] == {
        "n": 2,
        "base": 0,
        "student": 0.5,
        "teacher": 1,
    }


def test_the_answers_to_a_prompt_count_together() -> None:
    verdicts = {0: (True, True), 1: (True, False), 2: (False, False), 3: (None, None)}
    student = [record(prompt, correct) for prompt, pair in verdicts.items() for correct in pair]
    teacher = [record(prompt, prompt < 3) for prompt in reversed(verdicts)]
    found = score.score(student, teacher)
    assert (found["n"], found["conversations"], found["known"], found["correct"]) == (4, 8, 6, 3)
    assert (found["accuracy"], found["accuracy_ci"]) == (0.5, interval.accuracy([1.0, 0.5, 0.0], 6))
    assert score.graded({"student": student, "teacher": teacher}) == {
        "student": [1.0, 0.5, 0.0],
        "teacher": [True, True, True],
    }


def test_only_a_completed_conversation_can_be_right() -> None:
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "Answer: 4"}]
    assert graded(messages, 0, {"expected_answer": 4}, "completed", [TOOL])["correct"] is True
    assert graded(messages, 0, {"expected_answer": 4}, "failed", [TOOL])["correct"] is False
    assert graded(messages, 0, {}, "completed", [TOOL])["correct"] is None


def test_shared_values_are_found_by_key() -> None:
    trained = [{"messages": [{"content": "a"}, {"content": "1"}], "metadata": {"family": "sum", "items": ["x", "y"]}}]
    held_out = [
        {"messages": [{"content": "b"}], "metadata": {"family": "sum", "items": ["z"]}},
        {"messages": [{"content": "a"}], "metadata": {"family": "sum", "items": ["y", "z"]}},
    ]
    assert score.shared_with_training(held_out, trained) == {"family": 1.0, "items": 0.5, "prompt": 0.5}
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    row = {"messages": [said[0], said[1] | {"weight": 0}, said[2], {"content": "1"}], "metadata": {}}
    assert score.shared_with_training([{"messages": said, "metadata": {}}], [row]) == {"prompt": 1.0}


def test_prompts_without_a_key_have_no_part_in_its_share() -> None:
    """Only half of the example's prompts have a formula: that all of these are in the training is no 50 %."""
    held_out = [{"messages": [{"content": str(n)}], "metadata": {"formula": "a*b"} if n else {}} for n in range(2)]
    held_out[0]["metadata"]["level"] = None
    trained = [{"messages": [{"content": "x"}], "metadata": {"formula": "a*b"}}]
    assert score.shared_with_training(held_out, trained) == {"formula": 1.0, "level": None, "prompt": 0.0}


def test_the_table_names_every_number() -> None:
    asked = [record(0, True, '{"a": 1}', valid=1)]
    who = score.score(asked, asked) | {"no_verdict": 0}
    rates = {"n": 1, "base": 0.0, "student": 0.5, "teacher": 1.0}
    evaluation: dict = {
        **dict.fromkeys(("base", "student", "teacher"), who),
        "gap_closed": 0.9, "gap_closed_ci": [0.8, 1.0], "gain": 0.5, "gain_ci": [0.25, 0.75],
        "lead": -0.05, "lead_ci": [-0.1, 0.02],
        "heldout_loss": {"rollouts": 2, "tokens": 30, "base": 2.5, "student": 0.125},
        "by": {"answer_type": {"number": rates, "exact": rates}},
        "shared_with_training": {"items": 0.125, "prompt": 0.0},
    }  # fmt: skip
    shown = table(evaluation)
    for part in (
        "95 % interval", "gap closed: 90% (95 % interval 80% to 100%)", "student - base: +50.0%", "+25.0% to +75.0%",
        "student - teacher: -5.0% (95 % interval -10.0% to +2.0%)",
        "loss on 2 held-out rollouts of the teacher: 2.500 -> 0.125", "answers of type exact (1): base 0.0%, student 50.0%",
        "share it with training: items 12.5%, prompt 0.0%",
    ):  # fmt: skip
        assert part in shown
    assert "with a known answer" not in shown and "called a tool (" not in shown
    idle = evaluation | {"base": who | {"compared": 0}}
    assert "in which it or the teacher called a tool (base 0, student 1, teacher 1)" in table(idle)
    twice = evaluation | {name: who | {"conversations": 2, "compared": 2} for name in ("base", "student")}
    assert "\nbase and student answered each prompt 2 times, the teacher once\n" in table(twice)
    assert "answered each prompt" not in shown and "called a tool (" not in table(twice)
    bare = evaluation | {
        "gap_closed": None,
        "gap_closed_ci": None,
        "gain": None,
        "lead": None,
        "heldout_loss": None,
        "by": {},
    }
    assert "none to close" in table(bare)
    some = bare | {"student": who | {"n": 5, "conversations": 5}}
    assert "accuracy is that of the 1 prompts with a known answer" in table(some)
    undecided = bare | {"student": who | {"no_verdict": 1}}
    assert "student: the judge gave no verdict on 1 of 1 answers, which count as wrong" in table(undecided)
    assert "no verdict" not in table(bare)
    assert "ran out" not in table(bare)
    cut = bare | {
        who_: who | {"stop_reasons": {"max_turns": 4, "truncated": 2}, "conversations": 7}
        for who_ in ("student", "teacher")
    }
    assert "\nstudent: 4 of 7 ran out of agent.max_turns, 2 of 7 were cut off at evaluate.max_output_tokens\n" in table(
        cut
    )
    assert "\nteacher: 4 of 7 ran out of agent.max_turns, 2 of 7 were cut off at teacher.max_output_tokens\n" in table(
        cut
    )
    unknown = bare | {"student": who | score.score([record(0, None)], [])}
    assert "gap closed: unknown, no held-out prompt has an expected_answer" in table(unknown)
    assert table(unknown | {"student": score.score([], [])}).startswith("no prompt is held out")


@pytest.mark.parametrize(
    ("ours", "theirs", "equal"),
    [
        ("", "{}", True),
        ('{"a": 44.0, "b": [1]}', '{"b":[1.0],"a":44}', True),
        ('{"a": true}', '{"a": 1}', False),
        ('{"a": [false]}', '{"a": [0]}', False),
        ('{"a": ', '{"a": ', True),
        ('{"a": ', "{}", False),
    ],
)
def test_calls_are_equal_where_their_arguments_are(ours: str, theirs: str, equal: bool) -> None:
    scores = score.score([record(0, True, ours)], [record(0, True, theirs)])
    assert scores["call_agreement"] == equal


def test_equal_tools_are_told_from_equal_calls() -> None:
    scores = score.score([record(0, True, '{"a": 1}'), record(1, True)], [record(0, True, '{"a": 2}'), record(1, True)])
    assert (scores["tool_agreement"], scores["call_agreement"]) == (1.0, 0.0)


def test_how_an_answer_is_compared_is_no_property_of_its_prompt() -> None:
    options = [{"answer_choices": ["a", "b"]}, {"answer_unit": "kg"}, {"answer_tolerance": 0.1}, {"answer_unit": "m"}]
    prompts = [
        {"id": f"{n:016x}", "messages": [], "metadata": {"expected_answer": n, "level": n % 2, **one}}
        for n, one in enumerate(options)
    ]
    exams = {"base": [record(n, True) for n in range(4)]}
    assert set(score.by_metadata(prompts, exams)) == {"answer_type", "level"}
    assert set(score.shared_with_training(prompts, prompts)) == {"level", "prompt"}
    for prompt in prompts:
        prompt["metadata"]["answer_type"] = "number"
    assert set(score.shared_with_training(prompts, prompts)) == {"answer_type", "level", "prompt"}


def test_accuracy_is_told_by_type_of_answer() -> None:
    metadata = [{"expected_answer": 4}, {"expected_answer": "x", "answer_type": "exact"}, {}]
    prompts = [{"id": f"{n:016x}", "metadata": one} for n, one in enumerate(metadata)]
    exams = {who: [record(0, True), record(1, False)] for who in ("base", "student", "teacher")}
    number, exact = ({"n": 1} | dict.fromkeys(exams, rate) for rate in (1.0, 0.0))
    assert score.by_metadata(prompts, exams) == {"answer_type": {"number": number, "exact": exact}}
