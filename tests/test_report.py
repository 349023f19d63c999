"""The report as a file: the same records give the same bytes, what is there is in it, and its words claim no more."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from report_page import *  # noqa: F403
from report_page import change
from report_project import write_project
from report_records import HOSTILE, make_exam, make_prompt, make_rollout

from distill.records.faults import InputError
from distill.records.paths import PROJECT
from distill.report.conversations import join
from distill.report.embed import embedded
from distill.report.gather import gather
from distill.report.summary import summary
from distill.report.write import write_report
from stages import report


def test_the_same_records_give_the_same_bytes(project: Path, tmp_path: Path) -> None:
    write_report(project, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == (project / "reports/index.html").read_bytes()


def test_each_stage_adds_its_part_to_the_report(project: Path, tmp_path: Path) -> None:
    outputs = [
        "data/prompts.jsonl",
        "rollouts",
        "data/train.jsonl",
        "data/rejected.jsonl",
        "reports/rollouts.json",
        "reports/filter.json",
        "reports/loss.csv",
        "reports/training.json",
        "reports/evaluation.jsonl",
        "reports/evaluation.json",
        "params.yaml",
    ]
    sizes = []
    for name in [None, *outputs]:
        if name:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (shutil.copytree if (project / name).is_dir() else shutil.copy)(project / name, tmp_path / name)
        write_report(tmp_path, tmp_path / "index.html")
        sizes.append((tmp_path / "index.html").stat().st_size)
    assert sizes[0] < 100_000
    assert (tmp_path / "index.html").read_bytes() == (project / "reports/index.html").read_bytes()


def test_a_run_that_was_interrupted_has_a_report_of_the_rest(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """DVC takes away what a stage wrote when the stage begins again; what the later ones wrote lies there still."""
    whole = shutil.copytree(project, tmp_path / "whole")
    monkeypatch.chdir(whole)
    report.main({})
    assert capsys.readouterr().out == "report: open reports/index.html in a browser\n"
    assert json.loads(Path("reports/metrics.json").read_text())["asked"] == 250
    for files, stage in (
        (["data/prompts.jsonl"], None),
        (["rollouts", "reports/rollouts.json"], "teacher_rollouts"),
        (["data/train.jsonl", "data/rejected.jsonl", "reports/filter.json"], "filter"),
        (["reports/loss.csv", "reports/training.json"], "sft_train"),
        (["reports/evaluation.jsonl", "reports/evaluation.json"], "evaluate"),
    ):
        monkeypatch.chdir(shutil.copytree(whole, tmp_path / str(stage)))
        Path("reports/index.html").unlink()
        for name in map(Path, files):
            shutil.rmtree(name) if name.is_dir() else name.unlink()
        report.main({})
        assert Path("reports/index.html").stat().st_size > 100_000
        said = capsys.readouterr().out
        assert (f"report: without {stage}, which did not run to the end" in said) == (stage is not None), said


def test_the_report_so_far_leaves_the_output_of_dvc_alone(project: Path, tmp_path: Path) -> None:
    """DVC does not check out over a page that it did not make."""
    shutil.copytree(project / "rollouts", tmp_path / "rollouts")
    command = [sys.executable, "-m", "distill.commands.report"]
    done = subprocess.run(
        command,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
    )
    assert "report: open reports/so_far.html in a browser\n" in done.stdout, done.stderr
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["so_far.html"]
    subprocess.run(["git", "check-ignore", "-q", "reports/so_far.html"], cwd=PROJECT, check=True)


@pytest.mark.parametrize(("cell", "told"), [(b"high", "'high'"), (b"\xff", "'\ufffd'")])
def test_a_record_that_is_not_valid_is_named(project: Path, tmp_path: Path, cell: bytes, told: str) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/loss.csv").write_bytes(b"step,loss\n1," + cell + b"\n")
    with pytest.raises(InputError, match=rf"loss\.csv:2: /loss: {told} is not a number"):
        write_report(tmp_path, tmp_path / "index.html")
    assert not (tmp_path / "index.html").exists()


def test_validation_losses_are_drawn_at_their_steps(project: Path, tmp_path: Path) -> None:
    """Steps are whole: 1.25 epochs of ten are 13 steps, and not 12.5."""
    (tmp_path / "reports").mkdir()
    report = json.loads((project / "reports/training.json").read_text()) | {"epochs": 1.25, "steps": 13}
    report["validation"] = [{"epoch": step / 10, "loss": 8 / step} for step in (4, 8, 12, 13)]
    (tmp_path / "reports/training.json").write_text(json.dumps(report))
    lines = [f"{step},{9 / step},{'' if step % 4 and step < 13 else 8 / step}\n" for step in range(1, 14)]
    (tmp_path / "reports/loss.csv").write_text("step,loss,validation_loss\n" + "".join(lines))
    curves = summary(gather(tmp_path))["curves"]
    assert curves["last_step"] == 13
    assert curves["lines"][1]["points"] == [(step, 8 / step) for step in (4, 8, 12, 13)]


def test_embedded_json_is_whole_and_cannot_end_its_element() -> None:
    text = embedded([HOSTILE])
    assert not re.search(r"[<>&\u2028\u2029]", text)
    assert json.loads(text) == [HOSTILE]


def test_the_teachers_answer_is_as_the_judge_found_it() -> None:
    """Rules cannot settle such an answer; only the evaluation knows."""
    draw = random.Random(0)
    prompt = make_prompt(1, "eval", draw)
    prompt["metadata"]["answer_type"] = "judge"
    rollout = make_rollout(prompt, draw, answer="about as much as that")
    exams = [make_exam("base", prompt, False), make_exam("student", prompt, True)]
    teachers = make_exam("student", prompt, True) | {"who": "teacher"}
    for evaluated, verdict in (
        (exams, None),
        ([*exams, teachers], True),
        ([*exams, teachers | {"correct": False}], False),
    ):
        [made] = join([prompt], [rollout], [], evaluated)
        assert made["talks"][0]["why"] is None and made["talks"][-1]["why"] == "number: no number"
        assert [(talk["who"], talk["correct"]) for talk in made["talks"]] == [
            ("teacher", verdict), ("student", True), ("base", False),
        ]  # fmt: skip


def test_the_headline_claims_no_more_than_the_exam_shows(tmp_path: Path) -> None:
    write_project(tmp_path, train=8, held_out=40)

    def said(**changes: Any) -> str:
        change(tmp_path / "reports/evaluation.json", lambda evaluation: evaluation.update(changes))
        write_report(tmp_path, tmp_path / "index.html")
        head = (tmp_path / "index.html").read_text().split('aria-labelledby="verdict"')[1].split("</section>")[0]
        return " ".join(re.sub("<svg.*?</svg>|<[^>]*>", " ", head, flags=re.DOTALL).split())

    assert "108% 97.2 to 123.3% ·" not in said(gap_closed=1.08, gap_closed_ci=[0.9722, 1.2333]), "it may be chance"
    assert "108% 97.2 to 123.3%" in said() and "held‑out prompts correctly" in said()
    assert "108% 102 to 123.3% · past the teacher" in said(gap_closed_ci=[1.02, 1.2333])
    assert "108% no interval: that there is a gap may be chance" in said(gap_closed_ci=None)
    assert "No gap to close: the teacher is no better than the base." in said(gap_closed=None)
    evaluation = json.loads((tmp_path / "reports/evaluation.json").read_text())
    few = said(**{who: evaluation[who] | {"known": 5, "correct": 4} for who in ("base", "student", "teacher")})
    assert "of the 5 held‑out prompts with a known answer correctly." in few
    assert "Share of held-out prompts with a known answer answered" in few


def test_a_conversation_without_an_answer_is_said_to_count_as_wrong(tmp_path: Path) -> None:
    write_project(tmp_path, train=8, held_out=2)
    write_report(tmp_path, tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text()
    assert "Cut off at the token limit<span>conversations that ended so, which counts as wrong</span>" in page
    assert "Gave a final answer<span>conversations that ended so</span>" in page


def test_answers_without_a_verdict_are_counted_in_the_report(project: Path, tmp_path: Path) -> None:
    whole = shutil.copytree(project, tmp_path / "whole")
    write_report(whole, tmp_path / "index.html")
    assert "No verdict" not in (tmp_path / "index.html").read_text()
    evaluation = json.loads((whole / "reports/evaluation.json").read_text())
    for who, undecided in (("base", 0), ("student", 7), ("teacher", 0)):
        evaluation[who]["no_verdict"] = undecided
    (whole / "reports/evaluation.json").write_text(json.dumps(evaluation))
    write_report(whole, tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text()
    assert "No verdict" in page and re.search(r'No verdict.*?class="student">7<', page, re.DOTALL)


def test_imported_conversations_are_not_counted_as_asked_of_the_teacher(tmp_path):
    write_project(tmp_path, train=64, held_out=2)
    before = summary(gather(tmp_path))["funnel"][:4]
    lost = before[2]["count"] - before[3]["count"]
    assert lost > 0
    rows = (tmp_path / "data/train.jsonl").read_text().splitlines()
    imported = json.loads(rows[0]) | {"prompt_id": "f" * 16, "rollout_id": "e" * 16, "teacher": "unknown"}
    (tmp_path / "data/train.jsonl").write_text("\n".join([*rows, json.dumps(imported)]) + "\n")
    change(tmp_path / "reports/filter.json", lambda report: report.update(rows=report["rows"] + 1))
    after = summary(gather(tmp_path))["funnel"][:4]
    assert after[:3] == before[:3] and before[1]["label"] == "Asked of the teacher"
    assert [steps[3]["label"] for steps in (before, after)] == ["Turned into rows", "Turned into rows, with 1 imported"]
    assert [steps[3]["lost"] for steps in (before, after)] == [lost, lost], "what failed, whatever was imported"
    cost = json.loads((tmp_path / "reports/rollouts.json").read_text())["cost_usd"]
    assert summary(gather(tmp_path))["cost_per_row"] == cost / len(rows), "the imported row cost nothing"
    (tmp_path / "data/prompts.jsonl").write_text("")
    shutil.rmtree(tmp_path / "rollouts")
    count = len(rows) + 1 + len((tmp_path / "data/rejected.jsonl").read_text().splitlines())
    assert summary(gather(tmp_path))["funnel"][0]["label"] == f"Turned into rows, with {count} imported"


def test_what_the_judge_cost_is_said_beside_the_teachers_cost(tmp_path):
    write_project(tmp_path, train=8, held_out=2)

    def cost() -> str:
        write_report(tmp_path, tmp_path / "index.html")
        section = (tmp_path / "index.html").read_text().split('aria-labelledby="s-teacher"')[1].split("</section>")[0]
        return " ".join(re.sub("<[^>]*>", "", section).split())

    assert "judge" not in cost()
    params = tmp_path / "params.yaml"
    params.write_text(re.sub(r"(?m)(^judge:\n  #.*\n  model:)$", r"\1 gpt-5-mini", params.read_text()))
    for name, usd in (("filter", 0.0123), ("evaluation", None)):
        path = tmp_path / f"reports/{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"judge_cost_usd": usd}))
    told = "The rulings of the judge, gpt-5-mini, cost $0.012 in the filter, unknown in the exam, which is not in the teacher's"
    assert told in cost()
    (tmp_path / "reports/evaluation.json").unlink()
    (tmp_path / "reports/rollouts.json").unlink()
    assert "cost $0.012 in the filter, which is not in" in cost()


def test_the_headline_says_whose_conversations_taught_the_student(tmp_path):
    def said() -> str:
        write_report(tmp_path, tmp_path / "reports/index.html")
        head = (tmp_path / "reports/index.html").read_text().split('<p class="lede">')[1].split("</p>")[0]
        return " ".join(re.sub("<[^>]*>", "", head).split())

    write_project(tmp_path, train=8, held_out=2)
    taught = "learns from tool-using conversations of the teacher, local/qwen2.5-coder-0.5b-instruct"
    assert f"{taught}. Here both" in said()
    rows = (tmp_path / "data/train.jsonl").read_text().splitlines()
    imported = json.loads(rows[0]) | {"prompt_id": "f" * 16, "rollout_id": "e" * 16, "teacher": "unknown"}
    (tmp_path / "data/train.jsonl").write_text("\n".join([*rows, json.dumps(imported)]) + "\n")
    assert f"{taught}, and from imported ones." in said()
    (tmp_path / "data/prompts.jsonl").write_text("")
    shutil.rmtree(tmp_path / "rollouts")
    assert "learns from imported conversations, not from those of the teacher, local/qwen" in said()


def test_a_project_without_held_out_prompts_had_no_exam(tmp_path: Path) -> None:
    write_project(tmp_path, train=8, held_out=2)
    nobody = {"n": 0, "known": 0, "correct": 0, "accuracy": None, "accuracy_ci": None}
    change(
        tmp_path / "reports/evaluation.json",
        lambda report: [report[who].update(nobody) for who in ("base", "student", "teacher")],
    )
    write_report(tmp_path, tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text()
    assert "No prompt is held out, so there was no exam." in page
    assert 'id="s-evaluation"' not in page and "Here both" not in page and "None of these has" not in page
