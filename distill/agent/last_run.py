"""What the files of the last run tell of one that is planned: what an answer took, and why none of them can be used."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from distill.agent.plan import GUESS, Plan, Typical
from distill.agent.setting import Setting
from distill.agent.tools_version import NOT_OF_TOOLS
from distill.project import dvc_files
from distill.records import jsonl
from distill.records.faults import InputError
from distill.records.types import Prompt, Rollout
from distill.teacher.cost.tariff import output_limit

MOST_READ = 200
NAMES = {"sampling": "the sampling", "demonstrations": "the demonstrations", "template": "the template"}
"""The parts of what a teacher is asked, for people; any other part belongs to the model."""


class Changed(NamedTuple):
    """What differs from the last run, in words: of the questions to the teacher (`asked`), or only of what the tools do,
    whose schemas are the same. Both are empty where nothing does or it is not known."""

    asked: list[str]
    tools: list[str]


NOTHING = Changed([], [])


def as_last_run(plan: Plan, setting: Setting, report: Path, changes: Changed) -> Plan:
    """The plan with what an answer took in the last run, where that was of the same model and the plan is a guess, or the
    tools changed: the rollouts that are finished then are the short ones, without calls."""
    if plan.basis != GUESS and not changes.tools:
        return plan
    try:
        last = jsonl.read_json(report, "rollouts_report")
    except InputError:  # there is none, or it is not valid
        return plan
    answers = last["turns_mean"] * last["wanted"]
    if last["model"] != setting.params["model"] or not answers:
        return plan
    input_, cached, output = (last["usage"][f"{kind}_tokens"] / answers for kind in ("input", "cached", "output"))
    typical = Typical(last["turns_mean"], input_, cached, min(output, output_limit(setting.teacher.sampling)))
    return plan._replace(typical=typical, basis="as in the last run")


def changed(chosen: list[tuple[Prompt, int]], setting: Setting) -> Changed:
    """What differs from the last run's rollouts of the same model; at most 200 of them are looked at."""
    prompts = {prompt["id"]: prompt for prompt, _ in chosen}
    looked_at = list(islice(_rollouts(), MOST_READ))
    if any(rollout.get("model") != setting.params["model"] for rollout in looked_at):
        return NOTHING
    known = [(prompts[rollout["prompt_id"]], rollout) for rollout in looked_at if rollout["prompt_id"] in prompts]
    if not known:
        return Changed(["the prompts"], []) if 0 < len(looked_at) < MOST_READ else NOTHING
    if asked := _differences(*known[0], setting):
        return Changed(asked, [])
    if all(rollout["versions"].get("tools") == setting.version(prompt) for prompt, rollout in known):
        return NOTHING
    files = [file for file in dvc_files.changed() if not file.startswith(NOT_OF_TOOLS)]  # as far as dvc.lock knows them
    return Changed([], files or ["what the tools read, run in or are limited by"])


def _differences(prompt: Prompt, rollout: Rollout, setting: Setting) -> list[str]:
    tools = ["the tools"] if rollout["tools"] != setting.toolbox.offered(prompt).schemas else []
    asked, before = setting.asked, rollout["teacher"]
    parts = [part for part in asked if part != "agent" and asked[part] != before.get(part)]
    return tools + list(dict.fromkeys(NAMES.get(part, "the model's server or weights") for part in parts))


def _rollouts() -> Iterator[dict[str, Any]]:
    """The records of the last run, in either layout; none of a file that is no such."""
    for path in sorted(Path("rollouts").glob("*.json*")):
        with suppress(OSError, ValueError, KeyError):
            if path.suffix == ".json":
                yield orjson.loads(path.read_bytes())
            else:
                with open(path, "rb") as lines:
                    yield from map(orjson.loads, lines)
