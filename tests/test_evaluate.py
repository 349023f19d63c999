"""The stage evaluate, whole, with a small student of transformers' kind: what it writes and what it prints."""

import json
import shutil
from typing import Any

import pytest
from chat_server import says, serving
from rollout_records import rollout
from tiny_qwen3 import ROW, SHOP

from distill.project import params
from distill.records import jsonl
from distill.records.faults import InputError
from distill.student.evaluation import held_out_loss
from stages import evaluate

ASKED = ROW["messages"][:2]


def taught(number: int, split: str, **changes: Any) -> dict[str, Any]:
    """The teacher's rollout on the question of ROW, or one that is worded otherwise."""
    identity = f"{number:016x}"
    record = rollout(sample=0, id=identity, key=identity, prompt_id=identity, split=split, tools=ROW["tools"])
    return record | {"messages": ROW["messages"], "metadata": {"expected_answer": 3}} | changes


def prompt(record: dict[str, Any]) -> dict[str, Any]:
    asked = record["messages"][:2]
    return {
        "id": record["prompt_id"],
        "messages": asked,
        "metadata": record["metadata"],
        "split": record["split"],
        "source": "data/seed/mine.jsonl:1",
    }


def evaluated(
    teacher: list[dict[str, Any]], project, trained, set_param, monkeypatch, unasked: tuple[dict[str, Any], ...] = ()
) -> dict[str, Any]:
    """reports/evaluation.json of an exam in which these are the teacher's rollouts; `unasked` are those it lacks."""
    (project / "data/prompts.jsonl").write_text("".join(json.dumps(prompt(one)) + "\n" for one in [*teacher, *unasked]))
    (project / "rollouts").mkdir()
    for number, one in enumerate(teacher):
        (project / f"rollouts/20261122_12000{number}_{one['id']}.json").write_text(json.dumps(one))
    (project / "data/train.jsonl").write_text(json.dumps(ROW) + "\n")
    shutil.copytree(trained[1], project / "models/adapter")
    shutil.copy(SHOP, project / "tools.py")
    set_param("student.path", str(trained[0]))
    monkeypatch.chdir(project)
    evaluate.main(params.load())
    return jsonl.read_json("reports/evaluation.json", "evaluation")


def test_base_student_and_teacher_are_compared(project, trained, set_param, monkeypatch, capsys):
    failed = [*ASKED, {"role": "assistant", "content": ""}]
    teacher = [
        taught(1, "eval"),
        taught(2, "eval", messages=failed, status="failed", stop_reason="truncated"),
        taught(3, "train"),
    ]
    found = evaluated(teacher, project, trained, set_param, monkeypatch)
    assert [found[who]["accuracy"] for who in ("base", "student", "teacher")] == [0.0, 1.0, 0.5]
    assert (found["gain"], found["lead"], found["gap_closed"]) == (1.0, 0.5, 2.0)
    assert (found["student"]["call_agreement"], found["base"]["tool_agreement"]) == (0.5, 0.5)
    assert found["by"] == {"answer_type": {"number": {"n": 2, "base": 0.0, "student": 1.0, "teacher": 0.5}}}
    assert found["shared_with_training"] == {"prompt": 1.0}
    loss = found["heldout_loss"]
    assert loss["rollouts"] == 1 and loss["student"] < 0.1 < loss["base"]
    talks = list(jsonl.read("reports/evaluation.jsonl", "evaluated"))
    assert [(talk["who"], talk["correct"]) for talk in talks] == [
        *[("base", False)] * 2, *[("student", True)] * 2, ("teacher", True), ("teacher", False),
    ]  # fmt: skip
    said = capsys.readouterr().out
    assert "evaluate: measures the loss of base and student on 1 rollouts of the teacher" in said
    assert "teacher: 1 of 2 were cut off at teacher.max_output_tokens" in said
    assert "student - base: +100.0%" in said and "loss on 1 held-out rollouts of the teacher" in said


def test_a_conversation_that_a_server_refuses_is_counted_and_shown(project, trained, set_param, monkeypatch, capsys):
    other = {"role": "user", "content": "And the other one?"}
    teacher = [taught(1, "eval"), taught(2, "eval", messages=[ASKED[0], other, *ROW["messages"][2:]])]

    def reply(body: dict[str, Any]) -> Any:
        refused = body["model"] == "student" and other in body["messages"]
        return (400, {"error": {"message": "too odd"}}, {}) if refused else says("Answer: 3")

    with serving(reply) as server:
        set_param("runtime.student_url", server.base_url)
        found = evaluated(teacher, project, trained, set_param, monkeypatch)
    assert [found[who]["accuracy"] for who in ("base", "student", "teacher")] == [1.0, 0.5, 1.0]
    said = capsys.readouterr().out
    assert "student: 1 of 2 conversations ended in an error of the server or of a tool and count as wrong;" in said
    assert "base: 1 of" not in said and "teacher: 1 of" not in said
    [lost] = [talk for talk in jsonl.read("reports/evaluation.jsonl", "evaluated") if talk["error"]]
    assert (lost["who"], lost["correct"]) == ("student", False)
    assert lost["error"] == {"kind": "bad_request", "where": "student", "message": "HTTP 400: too odd"}


def test_a_prompt_on_which_the_teacher_was_lost_is_in_no_comparison(project, trained, set_param, monkeypatch, capsys):
    error = {
        "kind": "server",
        "where": "teacher",
        "message": "HTTP 500",
        "http_status": 500,
        "retryable": True,
        "request": None,
    }
    lost = {"messages": ASKED, "status": "failed", "stop_reason": "api_error", "error": error}
    found = evaluated([taught(1, "eval"), taught(2, "eval", **lost)], project, trained, set_param, monkeypatch)
    assert [(found[who]["known"], found[who]["accuracy"]) for who in ("student", "teacher")] == [(2, 1.0), (1, 1.0)]
    assert (found["lead"], found["gap_closed"]) == (0.0, 1.0), "else the student would have passed its teacher"
    assert "teacher: 1 of 2 conversations ended in an error of the server or of a tool and are left out" in (
        capsys.readouterr().out
    )


def test_base_and_student_answer_each_prompt_as_often_as_wanted(project, trained, set_param, monkeypatch, capsys):
    set_param("evaluate.samples", 3)
    set_param("evaluate.temperature", 1.5)
    found = evaluated([taught(1, "eval"), taught(2, "eval")], project, trained, set_param, monkeypatch)
    for who, conversations in (("base", 6), ("student", 6), ("teacher", 2)):
        assert (found[who]["n"], found[who]["conversations"], found[who]["known"]) == (2, conversations, conversations)
    talks = [talk for talk in jsonl.read("reports/evaluation.jsonl", "evaluated") if talk["who"] == "base"]
    assert [(talk["prompt_id"], talk["sample"]) for talk in talks] == [
        (f"{prompt:016x}", sample) for prompt in (1, 2) for sample in range(3)
    ]
    assert len({json.dumps(talk["messages"]) for talk in talks}) > 2, "each sample has a seed of its own"
    assert "base and student answered each prompt 3 times, the teacher once" in capsys.readouterr().out


def test_several_samples_of_one_answer_are_refused(project, set_param, monkeypatch):
    set_param("evaluate.samples", 3)
    monkeypatch.chdir(project)
    with pytest.raises(InputError, match=r"/evaluate/temperature: 0 is not allowed \(at 0 all samples of a prompt are"):
        params.load()


def test_what_would_spoil_the_exam_is_said_before_it(project, trained, set_param, monkeypatch):
    def exam(*_: Any) -> None:
        raise AssertionError("the student was asked")

    monkeypatch.setattr(evaluate, "_evaluate", exam)
    set_param("judge.model", "gpt-5-mini")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    judged = taught(1, "eval", metadata={"expected_answer": "three", "answer_type": "judge"})
    with pytest.raises(InputError, match=r"data/seed/mine\.jsonl:1: the teacher was not asked this prompt of the exam"):
        evaluated([judged], project, trained, set_param, monkeypatch, unasked=(taught(2, "eval"),))
    (project / "data/prompts.jsonl").write_text(json.dumps(prompt(judged)) + "\n")
    with pytest.raises(InputError, match="OPENAI_API_KEY is not set"):
        evaluate.main(params.load())


def test_without_known_answers_what_is_known_is_compared(project, trained, set_param, monkeypatch, capsys):
    found = evaluated([taught(1, "eval", metadata={})], project, trained, set_param, monkeypatch)
    assert (found["student"]["known"], found["student"]["accuracy"], found["gap_closed"]) == (0, None, None)
    assert (found["base"]["call_agreement"], found["student"]["call_agreement"]) == (0.0, 1.0)
    assert "gap closed: unknown, no held-out prompt has an expected_answer" in capsys.readouterr().out


def test_without_a_completed_rollout_there_is_no_loss(trained):
    assert held_out_loss.loss([taught(2, "eval", status="failed")], str(trained[0]), trained[1]) is None
    broken = json.loads(json.dumps(ROW["messages"]).replace('{\\"sku\\": \\"G101\\"}', "{"))
    assert broken != ROW["messages"]
    assert held_out_loss.loss([taught(1, "eval", messages=broken)], str(trained[0]), trained[1]) is None


def test_the_loss_is_that_of_the_rows_that_fit_on_the_card(trained, monkeypatch):
    from distill.student.serving.loaded import Loaded

    loss, asked = Loaded.loss, []

    def small(self, sequences, adapted):
        asked.append(len(sequences))
        if len(asked) == 1:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return loss(self, sequences, adapted)

    monkeypatch.setattr(Loaded, "loss", small)
    found = held_out_loss.loss([taught(1, "eval"), taught(2, "eval")], str(trained[0]), trained[1])
    assert found["rollouts"] == 1 and asked == [2 * asked[1], asked[1], asked[1]]
    asked.clear()
    assert held_out_loss.loss([taught(1, "eval")], str(trained[0]), trained[1]) is None
