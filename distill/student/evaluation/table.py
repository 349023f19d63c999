"""The evaluation as a table for a terminal."""

from typing import Any

from distill.student.evaluation.score import LOST

WHO = ("base", "student", "teacher")
ENDS = {
    "max_turns": "ran out of agent.max_turns",
    "truncated": "were cut off at {limits}.max_output_tokens",
    "context_full": "filled the context",
    "refused": "were refused",
}
"""What is said of conversations that ended before an answer, by stop reason."""


def table(evaluation: dict[str, Any]) -> str:
    """Base, student and teacher side by side, what the exam has in common with training, what the student gained and how
    it compares with the teacher, and the share of the gap that was closed."""
    if not evaluation["student"]["n"]:
        return 'no prompt is held out, so nothing is compared: give some seed rows "split": "eval"'
    head = f"{'':9}{'n':>4}  {'accuracy':>8}  {'95 % interval':>15}  {'valid calls':>11}  {'with a call':>11}  {'as teacher':>10}"
    head += f"  {'same tools':>10}  {'turns':>5}  {'tokens':>6}"
    lines = [head, *(_line(who, evaluation[who]) for who in WHO)]
    n, conversations, known = (evaluation["student"][key] for key in ("n", "conversations", "known"))
    if conversations != n:
        lines.append(f"base and student answered each prompt {conversations // n} times, the teacher once")
    if 0 < known < conversations:
        lines.append(f"accuracy is that of the {known * n // conversations} prompts with a known answer")
    compared = {who: evaluation[who]["compared"] for who in WHO}
    if any(compared[who] != evaluation[who]["conversations"] for who in WHO):
        shown = ", ".join(f"{who} {count}" for who, count in compared.items())
        lines.append(f"as teacher, same tools: of the conversations in which it or the teacher called a tool ({shown})")
    lines += [_ended(who, evaluation[who]) for who in WHO if ENDS.keys() & evaluation[who]["stop_reasons"]]
    lines += [_lost(who, evaluation[who]) for who in WHO if _errors(evaluation[who])]
    lines += [
        f"{who}: the judge gave no verdict on {undecided} of {evaluation[who]['conversations']} answers, which count as wrong"
        for who in WHO
        if (undecided := evaluation[who]["no_verdict"])
    ]
    types = evaluation["by"].get("answer_type", {})
    for kind, rates in types.items() if len(types) > 1 else ():
        shown = ", ".join(f"{who} {_percent(rates[who])}" for who in WHO)
        lines.append(f"answers of type {kind} ({rates['n']}): {shown}")
    shared = ", ".join(f"{key} {_percent(share)}" for key, share in evaluation["shared_with_training"].items())
    lines.append(f"held-out prompts that share it with training: {shared}")
    for other, name in (("base", "gain"), ("teacher", "lead")):
        if evaluation[name] is not None:
            lines.append(gain_line("student", other, evaluation[name], evaluation[f"{name}_ci"]))
    if loss := evaluation["heldout_loss"]:
        lines.append(
            f"loss on {loss['rollouts']} held-out rollouts of the teacher: {loss['base']:.3f} -> {loss['student']:.3f}"
        )
    return "\n".join([*lines, f"gap closed: {_gap(evaluation)}"])


def gain_line(who: str, other: str, gain: float, interval: list[float]) -> str:
    """What somebody has right more often than another, with its interval, as a line."""
    low, high = interval
    return f"{who} - {other}: {gain:+.1%} (95 % interval {low:+.1%} to {high:+.1%})"


def _gap(evaluation: dict[str, Any]) -> str:
    closed, interval = evaluation["gap_closed"], evaluation["gap_closed_ci"]
    if not evaluation["student"]["known"]:
        return "unknown, no held-out prompt has an expected_answer"
    if closed is None:
        return "none to close, the teacher is no better than the base"
    if interval is None:
        return f"{closed:.0%} (no interval: that the teacher is better than the base may be chance)"
    return f"{closed:.0%} (95 % interval {interval[0]:.0%} to {interval[1]:.0%})"


def _ended(who: str, scores: dict[str, Any]) -> str:
    limits, n = "teacher" if who == "teacher" else "evaluate", scores["conversations"]
    found = [(scores["stop_reasons"].get(reason), words.format(limits=limits)) for reason, words in ENDS.items()]
    return f"{who}: {', '.join(f'{count} of {n} {words}' for count, words in found if count)}"


def _errors(scores: dict[str, Any]) -> int:
    return sum(scores["stop_reasons"].get(reason, 0) for reason in LOST)


def _lost(who: str, scores: dict[str, Any]) -> str:
    fate, again = "count as wrong", ""
    if who == "teacher":
        fate = "are left out: of its accuracy and of all comparisons with it"
        again = "; dvc repro -f -s teacher_rollouts asks again what may pass"
    return (
        f"{who}: {_errors(scores)} of {scores['conversations']} conversations ended in an error of the server or of a tool "
        f"and {fate}; reports/evaluation.jsonl has its words{again}"
    )


def _line(who: str, scores: dict[str, Any]) -> str:
    interval = scores["accuracy_ci"]
    spread = f"{interval[0]:.1%} – {interval[1]:.1%}" if interval else "–"
    return (
        f"{who:9}{scores['n']:>4}  {_percent(scores['accuracy']):>8}  {spread:>15}  {_percent(scores['valid_calls']):>11}"
        f"  {_percent(scores['tasks_with_call']):>11}  {_percent(scores['call_agreement']):>10}"
        f"  {_percent(scores['tool_agreement']):>10}  {scores['turns_mean']:>5.1f}  {scores['output_tokens_mean']:>6.0f}"
    )


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.1%}"
