"""A made-up project on disk, valid to the last record: what the report is tested and timed with."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

from report_records import HOSTILE, NO_USAGE, make_exam, make_prompt, make_rollout

from distill.dataset import facts, funnel
from distill.dataset.convert import row
from distill.dataset.row_groups import RowGroups
from distill.dataset.verdict import Verdict
from distill.project import params
from distill.records import jsonl
from distill.records.paths import PROJECT


def write_project(root: Path, train: int = 64, held_out: int = 40, hostile: bool = False) -> None:
    """Every file that the stages leave behind, for `train` and `held_out` prompts with one rollout each."""
    draw = random.Random(0)
    prompts = [make_prompt(number, "train" if number < train else "eval", draw) for number in range(train + held_out)]
    if hostile:
        prompts[0]["messages"][1]["content"] = HOSTILE
    rollouts = [
        make_rollout(prompt, draw, HOSTILE if hostile and number == 0 else None)
        for number, prompt in enumerate(prompts)
    ]
    jsonl.write(root / "data/prompts.jsonl", prompts, "prepared_prompt")
    for rollout in rollouts:
        jsonl.write_json(root / f"rollouts/20260101_000000_{rollout['id']}.json", rollout, "rollout")
    (root / "params.yaml").write_bytes((PROJECT / "params.yaml").read_bytes())
    jsonl.write_json(root / "reports/rollouts.json", _rollouts_report(rollouts), "rollouts_report")
    _filter(root, [rollout for rollout in rollouts if rollout["split"] == "train"])
    _train(root)
    _evaluate(root, [prompt for prompt in prompts if prompt["split"] == "eval"], rollouts, draw)


def _rollouts_report(rollouts: list[dict[str, Any]]) -> dict[str, Any]:
    failed = [rollout for rollout in rollouts if rollout["status"] == "failed"]
    return {
        "model": rollouts[0]["model"],
        "wanted": len(rollouts),
        "completed": len(rollouts) - len(failed),
        "failed": len(failed),
        "stop_reasons": dict(Counter(rollout["stop_reason"] for rollout in rollouts)),
        "errors": dict(Counter(rollout["error"]["kind"] for rollout in failed)),
        "turns_mean": 2.31,
        "tool_calls": 137,
        "tool_errors": 9,
        "tools": {
            "calculate": {"calls": 61, "errors": 0, "late": 0, "p50_ms": 0.3, "p95_ms": 1234.5},
            "lookup": {"calls": 76, "errors": 9, "late": 0, "p50_ms": 142.0, "p95_ms": 390.2},
            "never": {"calls": 0, "errors": 0, "late": 0, "p50_ms": None, "p95_ms": None},
        },
        "usage": {key: sum(rollout["usage"][key] for rollout in rollouts) for key in NO_USAGE},
        "cost_usd": round(sum(rollout["cost_usd"] for rollout in rollouts), 6),
    }


def _filter(root: Path, rollouts: list[dict[str, Any]]) -> None:
    kept, rejected = [], []
    for number, made in enumerate(row(rollout) for rollout in rollouts if rollout["status"] == "completed"):
        reasons = []
        if made["outcome"]["tool_errors"]:
            reasons.append(
                {
                    "check": "calls",
                    "detail": "message 2: lookup: argument 'sku' is missing",
                    "pointers": ["/messages/2/tool_calls/0"],
                }
            )
        if made["outcome"]["correct"] is False and number:
            expected = made["metadata"]["expected_answer"]
            reasons.append(
                {
                    "check": "answer",
                    "detail": f"answered '{made['outcome']['answer']}', expected '{expected}'",
                    "pointers": ["/outcome/answer"],
                }
            )
        (rejected if reasons else kept).append(made | {"reasons": reasons} if reasons else made)
    masked = next(made for made in kept if made["outcome"]["turns"] > 1)
    next(message for message in masked["messages"] if message["role"] == "assistant")["weight"] = 0
    jsonl.write(root / "data/train.jsonl", kept, "row")
    jsonl.write(root / "data/rejected.jsonl", rejected, "rejected")
    verdicts = [Verdict((), ["calls"] if made is masked else ()) for made in kept]
    verdicts += [Verdict(made["reasons"]) for made in rejected]
    known = [facts.of(made, {}, 100 + len(str(made["messages"]))) for made in (*kept, *rejected)]
    groups, lost = RowGroups(), RowGroups()
    for made in (*kept, *rejected):
        groups.add(made)
        if "reasons" in made:
            lost.add(made)
    modes = params.load(root / "params.yaml")["filter"]
    report = funnel.report(known, verdicts, modes) | groups.report(lost) | {"judge_cost_usd": 0.0}
    jsonl.write_json(root / "reports/filter.json", report, "filter_report")


def _train(root: Path) -> None:
    measured = {13: 0.98, 26: 0.512, 39: 0.3341}
    losses = {step: 2.4 * 0.93**step + 0.04 * (step % 5) for step in range(1, 40)}
    lines = [f"{step},{loss:.4f},1.2,0.001,{measured.get(step, '')}" for step, loss in losses.items()]
    training = {
        "base": "local/smollm2-135m-instruct",
        "base_commit": None,
        "teachers": ["local/qwen2.5-coder-0.5b-instruct"],
        "rows": 47,
        "validation_rows": 5,
        "tokens": 21840,
        "labels": 3312,
        "epochs": 3,
        "steps": 39,
        "loss_first": 2.232,
        "loss_last": 0.2987,
        "validation_loss": 0.3341,
        "trainable": 4884480,
        "parameters": 139399488,
        "data_sha256": "0" * 64,
        "thoughts_learned": False,
        "validation": [{"epoch": step / 13, "loss": loss} for step, loss in measured.items()],
        "versions": {"torch": "2.13.0", "trl": "1.16.0"},
    }
    jsonl.write_json(root / "reports/training.json", training, "training")
    (root / "reports/loss.csv").write_text(
        "\n".join(["step,loss,grad_norm,learning_rate,validation_loss", *lines]) + "\n"
    )


def _evaluate(root: Path, prompts: list[dict[str, Any]], rollouts: list[dict[str, Any]], draw: random.Random) -> None:
    talks = [make_exam("base", prompt, False) for prompt in prompts]
    talks += [make_exam("student", prompt, draw.random() < 0.92) for prompt in prompts]
    right = {
        who: {talk["prompt_id"]: talk["correct"] for talk in talks if talk["who"] == who} for who in ("base", "student")
    }
    right["teacher"] = {
        rollout["prompt_id"]: "* 1.5" not in str(rollout)
        and rollout["status"] == "completed"
        and str(rollout["metadata"]["expected_answer"]) in rollout["messages"][-1]["content"]
        for rollout in rollouts
        if rollout["split"] == "eval"
    }
    share = {who: sum(found.values()) / max(len(found), 1) for who, found in right.items()}
    families = {
        family: [prompt["id"] for prompt in prompts if prompt["metadata"]["family"] == family]
        for family in ("calc", "lookup", "order")
    }
    jsonl.write(root / "reports/evaluation.jsonl", talks, "evaluated")
    jsonl.write_json(
        root / "reports/evaluation.json",
        {
            "teacher_model": "local/qwen2.5-coder-0.5b-instruct",
            "student_model": "local/smollm2-135m-instruct",
            **{who: _score(right[who], share[who]) for who in right},
            "gap_closed": round(share["student"] / share["teacher"], 4) if share["teacher"] else None,
            "gap_closed_ci": [1.1, 1.9143] if share["teacher"] else None,
            "gain": round(share["student"] - share["base"], 4),
            "gain_ci": [0.7, 1.0],
            "lead": round(share["student"] - share["teacher"], 4),
            "lead_ci": [-0.025, 0.425],
            "heldout_loss": {"rollouts": 16, "tokens": 812, "base": 2.41, "student": 0.2104},
            "shared_with_training": {"family": 1.0, "template": 0.0, "items": 0.0, "prompt": 0.0},
            "by": {
                "family": {
                    family: {
                        "n": len(ids),
                        **{who: round(sum(right[who][one] for one in ids) / max(len(ids), 1), 4) for who in right},
                    }
                    for family, ids in families.items()
                }
            },
            "judge_cost_usd": 0.0,
        },
        "evaluation",
    )


def _score(right: dict[str, bool], share: float) -> dict[str, Any]:
    spread = 0.13 if 0.1 < share < 0.9 else 0.07
    return {
        "n": len(right),
        "conversations": len(right),
        "known": len(right),
        "correct": sum(right.values()),
        "no_verdict": 0,
        "accuracy": round(share, 4),
        "accuracy_ci": [round(max(0.0, share - spread), 4), round(min(1.0, share + spread), 4)],
        "tool_calls": 53 if share else 0,
        "valid_calls": round(0.86 + share / 8, 4) if share else None,
        "tasks_with_call": 0.975 if share else 0.0,
        "compared": len(right),
        "tool_agreement": round(share * 0.95, 4),
        "call_agreement": round(share * 0.95, 4),
        "turns_mean": 2.33 if share else 1.0,
        "output_tokens_mean": 61.4,
        "stop_reasons": {"final_answer": len(right) - 2, "truncated": 2},
    }
