"""`make try`: runs two prompts, and prints the conversations with what the filter would do with them.

The answers are stored for the real run. Checks that depend on other rows (duplicates, the best of a prompt) or on a judge
are left to the filter.
"""

import argparse
import textwrap
from typing import Any

import uvloop

from distill.agent import dvc_deps
from distill.agent.buy import buy
from distill.agent.overrides import add_option, overridden
from distill.agent.selection import wanted
from distill.answers import judge
from distill.dataset import convert, filter
from distill.dataset.checks.context import CheckContext
from distill.project import stage
from distill.project.terminal import say
from distill.records import jsonl
from distill.records.faults import InputError
from distill.records.types import Params, Prompt, Rollout
from distill.teacher.errors import KINDS

ANSWERS = {
    True: "its answer is right",
    False: "its answer is wrong",
    None: "its answer is not compared with anything here",
}
MOST_CHARS = 1500
"""Of a text in the transcript."""
WIDTH = 110


def main(params: Params) -> None:
    """Runs the prompts, and prints the conversations and their outlook. Raises InputError if the run had to stop."""
    parser = argparse.ArgumentParser(prog="python -m distill.commands.trial", description=__doc__)
    add_option(parser)
    params = overridden(params, parser.parse_args().set)
    chosen = to_try(wanted(list(jsonl.read("data/prompts.jsonl", "prepared_prompt")), params))
    if not chosen:
        raise InputError("data/seed: no prompt to try")
    tried: list[Rollout] = []
    try:
        uvloop.run(buy(chosen, params, tried.append))
    finally:
        for rollout in tried:
            say(transcript(rollout))
    context = filter.context(params)
    print("in the filter")
    for rollout in tried:
        say(f"  {rollout['id']}: {outlook(rollout, params, context)}")
    if warning := dvc_deps.unknown_to_dvc():
        print(warning)


def to_try(chosen: list[tuple[Prompt, int]]) -> list[tuple[Prompt, int]]:
    """The two (prompt, sample) pairs to try: of different prompts, of different kinds where there are any, and of held-out
    ones only where there are no others."""
    first_samples = [pair for pair in chosen if pair[1] == 0]
    able = [pair for pair in first_samples if pair[0]["split"] == "train"] or first_samples
    return able[:1] + sorted(able[1:], key=lambda pair: _kind(pair[0]) == _kind(able[0][0]))[:1]


def _kind(prompt: Prompt) -> tuple[Any, ...]:
    """What tells kinds of prompts apart: their tools, sandbox and answers, and the fields of their metadata."""
    metadata = prompt.get("metadata", {})
    return prompt.get("tools"), prompt.get("docker"), metadata.get("answer_type"), set(metadata)


def outlook(rollout: Rollout, params: Params, context: CheckContext) -> str:
    """What the filter would do with a rollout, by the checks that depend on nothing else, in words."""
    fate = convert.fate(rollout, params["convert"]["include_failed"])
    if fate == "failed":
        error = rollout["error"]
        return f"left out, since it failed ({rollout['stop_reason']})" + (
            f": {KINDS[error['kind']].advice}" if error and error["kind"] in KINDS else ""
        )
    row = convert.row(rollout)
    open_question = judge.open_question_of(row)
    answer = "the judge is not asked about its answer here" if open_question else ANSWERS[row["outcome"]["correct"]]
    if fate == "eval":
        return f"left out, since its prompt is held out; {answer}"
    modes = params["filter"] | ({"answer": "off"} if open_question else {})
    (_, verdict), *_ = filter.run_checks([row], modes, context)
    if verdict.reasons:
        return "rejected: " + "; ".join(f"{reason['check']}: {reason['detail']}" for reason in verdict.reasons)
    masked = f", but {len(verdict.turns)} of its turns are not learned from ({', '.join(verdict.masks)})"
    return f"kept{masked if verdict.turns else ''}; {answer}"


def transcript(rollout: Rollout) -> str:
    """The conversation as indented text, with a headline; texts of more than 1500 characters are cut."""
    tokens = rollout["usage"]
    cost = "" if rollout["cost_usd"] is None else f", ${rollout['cost_usd']:.4f}"
    lines = [
        f"── {rollout['id']} · prompt {rollout['prompt_id']} · {rollout['stop_reason']} · {len(rollout['calls'])} turns, "
        f"{tokens['input_tokens']} + {tokens['output_tokens']} tokens{cost}"
    ]
    names: dict[str, str] = {}
    for message in rollout["messages"]:
        if message.get("reasoning_content"):
            lines += _block("thinks", message["reasoning_content"])
        if message.get("content"):
            lines += _block(names.get(message.get("tool_call_id", ""), message["role"]), message["content"])
        if message.get("refusal"):
            lines += _block("refuses", message["refusal"])
        for call in message.get("tool_calls", []):
            names[call["id"]] = call["function"]["name"] + " →"
            lines += _block("calls", f"{call['function']['name']}({call['function']['arguments']})")
    if rollout["error"]:
        lines += _block("error", f"{rollout['error']['kind']}: {rollout['error']['message']}")
    expected = rollout["metadata"].get("expected_answer")
    return "\n".join(lines + (_block("expected", str(expected)) if expected is not None else []))


def _block(label: str, text: str) -> list[str]:
    shown = text if len(text) <= MOST_CHARS else f"{text[:MOST_CHARS]} [… {len(text) - MOST_CHARS} more characters]"
    wrapped = [part for line in shown.splitlines() or [""] for part in textwrap.wrap(line, WIDTH) or [""]]
    return [f"  {label}", *(f"      {part}" for part in wrapped)]


if __name__ == "__main__":
    stage.run(main)
