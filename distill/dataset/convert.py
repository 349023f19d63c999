"""Rollouts to training rows. Nothing is judged here: what a filter may want to know becomes an outcome column."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from distill import answers
from distill.records.faults import InputError
from distill.records.spoken import begin, unlearned
from distill.records.tool_error import TOOL_ERROR


def fate(rollout: dict[str, Any], include_failed: bool) -> str:
    """What becomes of a rollout: `converted`, `failed`, or `eval`: the teacher's own exam, which no row is made of."""
    if rollout["split"] == "eval":
        return "eval"
    if rollout["status"] == "failed" and not include_failed:
        return "failed"
    return "converted"


def row(rollout: dict[str, Any], own_tools: Callable[[], list[dict[str, Any]]] = list) -> dict[str, Any]:
    """The training row of a rollout. `tokens` is what the teacher read and wrote; `answer` is the final answer alone. What
    the prompt lets the assistant say is no turn of the teacher's, and has `weight: 0`. `own_tools` are the schemas of the
    project's tools, for conversations from elsewhere that do not say which tools their calls are to.

    Raises InputError where the expected answer in the metadata makes no sense.
    """
    messages, metadata, usage = rollout["messages"], rollout["metadata"], rollout["usage"]
    talk = messages[begin(rollout) :]
    said = [message for message in talk if message["role"] == "assistant"]
    results = [message["content"] for message in talk if message["role"] == "tool"]
    try:
        answer = answers.extract(messages, metadata)
        verdict = answers.verdict(answer, metadata)
    except InputError as error:
        raise InputError(f"rollout {rollout['id']} of prompt {rollout['prompt_id']}: {error}") from error
    return {
        "messages": unlearned(rollout),
        "tools": own_tools() if _says_no_tools(rollout) else rollout["tools"],
        "metadata": metadata,
        "prompt_id": rollout["prompt_id"],
        "rollout_id": rollout["id"],
        "sample": rollout["sample"],
        "split": rollout["split"],
        "teacher": rollout["model"],
        "outcome": {
            "status": rollout["status"],
            "stop_reason": rollout["stop_reason"],
            "answer": answer,
            "correct": verdict.correct,
            "accepted_by": verdict.accepted_by,
            "turns": len(said),
            "tool_calls": sum(len(message.get("tool_calls", [])) for message in said),
            "tool_errors": sum(result.startswith(TOOL_ERROR) for result in results),
            "tokens": usage["input_tokens"] + usage["output_tokens"],
            "cost_usd": rollout["cost_usd"],
        },
    }


def _says_no_tools(rollout: dict[str, Any]) -> bool:
    """Whether tools are called that the record does not have: rnow's rollouts are like that."""
    elsewhere = not rollout["tools"] and not rollout["versions"]
    return elsewhere and any(message.get("tool_calls") for message in rollout["messages"])


def rows(
    rollouts: Iterable[dict[str, Any]],
    include_failed: bool,
    fates: dict[str, int],
    own_tools: Callable[[], list[dict[str, Any]]] = list,
) -> Iterator[dict[str, Any]]:
    """The rows of the rollouts that are converted, as `row` makes them; `fates` is counted up for every rollout.

    Raises InputError after the last rollout when none was converted, so that no empty file takes a full one's place.
    """
    stops: dict[str, int] = {}
    for rollout in rollouts:
        what = fate(rollout, include_failed)
        fates[what] = fates.get(what, 0) + 1
        if what == "failed":
            stops[rollout["stop_reason"]] = stops.get(rollout["stop_reason"], 0) + 1
        if what == "converted":
            yield row(rollout, own_tools)
    if not fates.get("converted"):
        raise InputError(_nothing(fates, stops))


def _nothing(fates: dict[str, int], stops: dict[str, int]) -> str:
    if not sum(fates.values()):
        return "nothing to convert: there is no rollout; `dvc repro teacher_rollouts` makes them"
    lines = [f"nothing converted of {sum(fates.values())} rollouts"]
    if fates.get("eval"):
        lines.append(f'  {fates["eval"]} are held out and never trained on; give rows to learn from "split": "train"')
    if stops:
        reasons = ", ".join(f"{count} {stop}" for stop, count in sorted(stops.items()))
        lines.append(f"  {fates['failed']} failed ({reasons}); each one's `error` says why")
        lines.append("  try --include-failed (convert.include_failed) to keep them for the filter to judge")
    return "\n".join(lines)
