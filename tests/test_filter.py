"""Planted faults: each check finds its own, rejects nothing else, and every row goes either here or there."""

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from families import own, write_tokenizer
from planted_faults import (
    LONG,
    PLANTED,
    Row,
    calling,
    edited,
    good,
    outcome,
    without,
    words,
)
from rollout_records import call, rollout, tool

from distill.dataset import facts, filter, funnel
from distill.dataset.checks import CHECKS, CONTESTS
from distill.dataset.checks.context import CheckContext
from distill.dataset.convert import row
from distill.dataset.row_groups import RowGroups
from distill.dataset.verdict import KEEP, Verdict, masked
from distill.records import jsonl, schema
from distill.records.faults import InputError
from distill.student.served_messages import as_templates_want
from distill.student.tokenizer import Tokenizer

ON = dict.fromkeys(CHECKS, "reject") | {"duplicate": "reject", "near_duplicate": "off", "max_per_prompt": None}


STUDENT = Tokenizer("", lambda _, tools, __: json.dumps(tools), lambda _: [], lambda _: "", frozenset(), frozenset())
CONTEXT = CheckContext(counts=words, max_length=300, tokenizer=STUDENT)


def verdicts(rows: list[Row], modes: dict[str, str] = ON) -> list[list[str]]:
    """The names of the checks that reject each row."""
    alone = list(filter.run_checks(rows, modes, CONTEXT))
    return [[reason["check"] for reason in found.reasons] for found in filter.settle(alone, lambda: rows, modes)]


@pytest.mark.parametrize(("checks", "plant"), PLANTED)
def test_a_planted_fault_is_found_by_its_checks_and_by_no_other(checks, plant):
    rows = good(5)
    plant(rows[2])
    assert verdicts(rows) == [[], [], [name for name in CHECKS if name in checks], [], []]


def test_good_rows_of_every_shape_are_kept():
    parallel, plain, unknown, noarguments = good(4)
    calling(call("a", "lookup_item", '{"sku": "D1"}'), call("b", "lookup_item", '{"sku": "D2"}'))(parallel)
    parallel["messages"][3:4] = [{"role": "tool", "tool_call_id": name, "content": "1"} for name in "ba"]
    plain["messages"] = [plain["messages"][1], plain["messages"][-1]]
    outcome(correct=None, answer=None)(unknown)
    unknown["metadata"] = {}
    noarguments["tools"].append(tool("today"))
    calling(call("call_1", "today", "{}"))(noarguments)
    again = row(rollout(3))
    again["rollout_id"] = "0" * 16
    edited(6, content="It is 132 in all.\nAnswer: 132")(again)
    assert verdicts([parallel, plain, unknown, noarguments, again]) == [[]] * 5


def test_of_the_copies_of_a_row_the_same_one_stays_in_any_order():
    original, spaced, other_ids, wrong = (row(rollout(9, sample)) for sample in range(4))
    edited(6, content="answer:  396")(spaced)
    edited(2, tool_calls=[call("x", "lookup_item", '{"sku":"D625"}')])(other_ids)
    edited(3, tool_call_id="x")(other_ids)
    outcome(correct=False)(wrong)
    rows = [original, spaced, other_ids, wrong, row(rollout(8)), row(rollout(9, 4, tools=[]))]
    stays = min(rows[:3], key=lambda row: row["rollout_id"])
    for seed in range(6):
        random.Random(seed).shuffle(rows)
        alone = list(filter.run_checks(rows, ON | {"answer": "off", "calls": "off"}, CONTEXT))
        found = filter.settle(alone, lambda: rows, ON)
        gone = {row["rollout_id"]: found.reasons for row, found in zip(rows, found, strict=True) if found.reasons}
        assert set(gone) == {row["rollout_id"] for row in (original, spaced, other_ids, wrong) if row is not stays}
        detail = f"the same conversation as rollout {stays['rollout_id']}"
        assert all(reasons == [{"check": "duplicate", "detail": detail, "pointers": []}] for reasons in gone.values())


def test_a_rollout_that_occurs_twice_is_refused():
    with pytest.raises(InputError, match="occurs twice"):
        verdicts([*good(2), *good(1)])


def test_the_verdict_on_a_row_does_not_depend_on_the_order_of_the_rows():
    rows = [*good(30), *(row(rollout(units, 1)) for units in range(2, 12))]
    for number, (_, plant) in enumerate(PLANTED):
        plant(rows[number])
    expected = {row["rollout_id"]: found for row, found in zip(rows, verdicts(rows), strict=True)}
    random.Random(1).shuffle(rows)
    assert {row["rollout_id"]: found for row, found in zip(rows, verdicts(rows), strict=True)} == expected


def test_a_check_that_is_off_rejects_nothing():
    for checks, plant in PLANTED:
        rows = good(1)
        plant(rows[0])
        assert verdicts(rows, ON | dict.fromkeys(checks, "off")) == [[]]


MASK = ON | {"calls": "mask"}


def mask(row: Row) -> Verdict:
    return next(filter.run_checks([row], MASK, CONTEXT))[1]


def test_a_masked_turn_stays_and_is_not_learned_from():
    bad = good(1)[0]
    calling(call("call_1", "lookup_item", '{"sku": 625}'))(bad)
    found = mask(bad)
    assert (found.reasons, found.masks, found.turns) == ((), ["calls"], [2])
    learned = masked(bad, found.turns)
    assert not schema.faults("row", learned)
    assert [message.get("weight") for message in learned["messages"]] == [None, None, 0, None, None, None, None]
    assert learned["messages"][2] == bad["messages"][2] | {"weight": 0} and "weight" not in bad["messages"][2]


def test_a_call_that_is_no_json_can_be_masked():
    """The student could not be taught such a turn, so it is only counted as what the others are learned after."""
    bad = good(1)[0]
    calling(call("call_1", "lookup_item", '{"sku": '))(bad)
    counting = replace(CONTEXT, counts=lambda row: len(list(as_templates_want(row["messages"]))))
    [(facts, found)] = filter.run_checks([bad], MASK, counting)
    assert (found.reasons, found.turns, facts.length) == ((), [2], 7)


def test_masking_rejects_what_it_cannot_mend():
    nothing_left, bad_as_a_whole = good(2)
    for place in (4, 6):
        edited(place, weight=0)(nothing_left)
    for bad in (nothing_left, bad_as_a_whole):
        calling(call("call_1", "lookup_item", '{"sku": 625}'))(bad)
    outcome(correct=False)(bad_as_a_whole)
    assert [[reason["check"] for reason in mask(bad).reasons] for bad in (nothing_left, bad_as_a_whole)] == [
        ["calls"],
        ["answer"],
    ]


def test_a_reason_points_at_what_is_wrong():
    for pointer, plant in (
        ("/messages/2/tool_calls/0", calling(call("call_1", "lookup_item", '{"sku": 625}'))),
        ("/messages/2", without(3)),
        ("/messages/6", edited(6, content=" ")),
        ("/outcome/answer", outcome(correct=False)),
    ):
        bad = good(1)[0]
        plant(bad)
        (reason,) = next(filter.run_checks([bad], ON, CONTEXT))[1].reasons
        assert reason["pointers"] == [pointer], reason


def test_the_report_adds_up():
    def because(*names: str) -> Verdict:
        return Verdict([{"check": name, "detail": "x", "pointers": []} for name in names])

    verdicts = [KEEP, because("calls"), because("finished", "calls"), because("answer"), Verdict((), ["calls"], [2])]
    found = funnel.report([facts.of(row, {}, None) for row in good(5)], verdicts, ON)
    assert not schema.faults("filter_report", found | RowGroups().report(RowGroups()) | {"judge_cost_usd": 0.0})
    assert (found["rows"], found["kept"], found["rejected"], found["kept_share"]) == (5, 2, 3, 0.4)
    assert found["checks"]["calls"] == {"rejected": 2, "alone": 1, "masked": 1}
    left = {step["check"]: step["left"] for step in found["funnel"]}
    assert [left[name] for name in ("finished", "paired", "calls", "answer", "length")] == [4, 4, 3, 2, 2]


def test_the_names_of_the_checks_are_those_of_the_schemas():
    listed = schema.load("conversation")["$defs"]["check"]["enum"]
    described = schema.load("params")["properties"]["filter"]["properties"]
    known = CHECKS | CONTESTS
    assert list(known) == listed == [name for name in described if name in known]
    assert all(described[name]["enum"] in (["reject", "mask", "off"], ["reject", "off"]) for name in CHECKS)


def test_a_long_detail_is_cut():
    rows = good(1)
    calling(*[call(f"call_{number}", "lookup_item", json.dumps({"sku": [LONG]})) for number in range(9)])(rows[0])
    detail = CHECKS["calls"].check(rows[0], CheckContext()).detail
    assert detail.endswith("more") and len(detail) < 2_000


@pytest.fixture
def student(project: Path, set_param: Callable[[str, object], None]) -> Path:
    """A folder with a tokenizer and a chat template, as `student.path`."""
    folder = write_tokenizer(project / "student", "")
    (folder / "config.json").write_text("{}")
    (folder / "chat_template.jinja").write_text(
        "{{ tools | tojson }}{% for m in messages %}{{ m.role }}: {{ m.content }}"
        "{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    set_param("student.path", str(folder))
    set_param("student.max_length", 900)
    return folder


def write(project: Path, rows: Iterable[Row]) -> None:
    jsonl.write(project / "data" / "converted.jsonl", rows, "row")


@pytest.fixture(autouse=True)
def no_prompts(request: pytest.FixtureRequest) -> None:
    """The stage finds nothing held out."""
    if "project" in request.fixturenames:
        (request.getfixturevalue("project") / "data" / "prompts.jsonl").write_text("")


def test_the_stage_keeps_the_good_rows_and_says_what_is_wrong_with_the_others(project, run_stage, student):
    rows = good(12)
    outcome(correct=False, answer="41")(rows[3])
    edited(3, content=LONG)(rows[7])
    outcome(status="failed", stop_reason="max_turns", correct=False)(rows[8])
    write(project, rows)
    done = run_stage("filter")
    assert done.returncode == 0, done.stderr
    assert "kept 9 of 12 rows" in done.stdout
    outputs = [project / name for name in ("data/train.jsonl", "data/rejected.jsonl", "reports/filter.json")]
    kept, rejected = (list(jsonl.read(path, name)) for path, name in zip(outputs, ("row", "rejected"), strict=False))
    assert kept == [row for number, row in enumerate(rows) if number not in (3, 7, 8)]
    assert [[reason["check"] for reason in row.pop("reasons")] for row in rejected] == [
        ["answer"], ["length"], ["finished", "answer"]
    ]  # fmt: skip
    assert rejected == [rows[3], rows[7], rows[8]]
    before = [path.read_bytes() for path in outputs]
    assert run_stage("filter").returncode == 0
    assert [path.read_bytes() for path in outputs] == before


def test_nothing_kept_is_an_error_that_says_why(project, run_stage, student):
    rows = good(4)
    for bad in rows:
        outcome(correct=False, answer="41")(bad)
    outcome(status="failed", stop_reason="max_turns")(rows[0])
    write(project, rows)
    done = run_stage("filter")
    assert done.returncode == 1
    assert "nothing kept of 4 rows" in done.stderr
    assert done.stderr.index("answer rejected 4: ") < done.stderr.index("finished rejected 1: ")
    assert not (project / "data" / "train.jsonl").exists()
    assert len(list(jsonl.read(project / "data" / "rejected.jsonl", "rejected"))) == 4


def test_what_costs_half_of_the_rows_is_told_with_what_may_help(project, run_stage, student):
    rows = good(4)
    for bad in rows[:2]:
        outcome(correct=False, answer="41")(bad)
    outcome(status="failed", stop_reason="max_turns")(rows[0])
    write(project, rows)
    done = run_stage("filter")
    assert done.returncode == 0 and "  answer rejected 2: the teacher answers wrongly" in done.stdout
    assert "finished rejected 1: " not in done.stdout


def test_bad_input_is_refused_before_anything_is_written(project, run_stage, set_param):
    set_param("filter.length", "off")
    set_param("filter.tools_shown", "off")
    converted = project / "data" / "converted.jsonl"
    lines = [json.dumps(row) for row in good(3)]
    cases = {
        "no such file": None,
        "holds no row": "",
        "converted.jsonl:2: not valid JSON": "\n".join([lines[0], lines[1][:-9], lines[2]]),
        "converted.jsonl:1: /split: 'eval' rows are held out": lines[0].replace('"split": "train"', '"split": "eval"'),
        "occurs twice": lines[0] + "\n" + lines[0],
    }
    for message, text in cases.items():
        if text is not None:
            converted.write_text(text)
        done = run_stage("filter")
        assert done.returncode == 1 and message in done.stderr, (message, done.stderr)
        assert not (project / "data" / "train.jsonl").exists()
        assert not (project / "data" / "rejected.jsonl").exists()


def test_calls_that_nobody_could_read_end_it(tmp_path: Path) -> None:
    base = write_tokenizer(tmp_path / "base", "")
    (base / "config.json").write_text('{"vocab_size": 1024}')
    (base / "chat_template.jinja").write_text(own("lfm2"))
    modes = dict.fromkeys(ON, "off") | {"tools_shown": "reject", "max_tool_errors": 3}
    params = {
        "filter": modes,
        "student": {"path": str(base), "template": None, "max_length": 300},
        "runtime": {"student_url": None},
    }
    [calls] = good(1)
    texts = calls | {"messages": [message for message in calls["messages"] if message["role"] in ("system", "user")]}
    list(filter.run_checks([texts], modes, filter.context(params)))
    with pytest.raises(InputError, match="^params.yaml: /student/template: there are tools to call, but the student's"):
        list(filter.run_checks([texts, calls], modes, filter.context(params)))
    served = params | {"runtime": {"student_url": "http://localhost:8000/v1"}}
    with pytest.raises(
        InputError, match=r"/student/template: no row could be learned: .* at which no server stops; name"
    ):
        filter.context(served | {"student": params["student"] | {"template": "gemma3"}})
    list(filter.run_checks([calls], modes, filter.context(served)))
