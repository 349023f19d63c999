"""What the files of the last run tell of one that is planned: what an answer took, and why none of them can be used."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from distill.agent.plan import GUESS, Plan, Typical
from distill.agent.setting import Setting
from distill.records import jsonl
from distill.records.faults import InputError
from distill.records.types import Prompt, Rollout

MOST_READ = 200
NAMES = {"sampling": "the sampling", "demonstrations": "the demonstrations", "template": "the template"}
"""The parts of what a teacher is asked, for people; any other part belongs to the model."""


def as_last_run(plan: Plan, model: str, report: Path) -> Plan:
    """The plan with what an answer took in the last run, where it is a guess and that run was of the same model."""
    with suppress(InputError):
        last = jsonl.read_json(report, "rollouts_report") if report.is_file() and plan.basis == GUESS else {}
        answers = last["turns_mean"] * last["wanted"] if last.get("model") == model else 0
        if answers:
            usage = last["usage"]
            tokens = (usage[f"{kind}_tokens"] / answers for kind in ("input", "cached", "output"))
            return plan._replace(typical=Typical(last["turns_mean"], *tokens), basis="as in the last run")
    return plan


def changed(chosen: list[tuple[Prompt, int]], setting: Setting, folder: Path) -> list[str]:
    """What a question to the teacher has in it that differs from the last run's rollouts of the same model in `folder`,
    in words. Empty where nothing does or it is not known; at most 200 of them are looked at."""
    prompts = {prompt["id"]: prompt for prompt, _ in chosen}
    looked_at = list(islice(_rollouts(folder), MOST_READ))
    if any(rollout.get("model") != setting.params["model"] for rollout in looked_at):
        return []
    for rollout in looked_at:
        if prompt := prompts.get(rollout["prompt_id"]):
            return _differences(prompt, rollout, setting)
    return ["the prompts"] if 0 < len(looked_at) < MOST_READ else []


def _differences(prompt: Prompt, rollout: Rollout, setting: Setting) -> list[str]:
    tools = ["the tools"] if rollout["tools"] != setting.toolbox.offered(prompt).schemas else []
    asked, before = setting.asked, rollout["teacher"]
    parts = [part for part in asked if part != "agent" and asked[part] != before.get(part)]
    return tools + list(dict.fromkeys(NAMES.get(part, "the model's server or weights") for part in parts))


def _rollouts(folder: Path) -> Iterator[dict[str, Any]]:
    """The records in the folder, in either layout; none of a file that is no such."""
    for path in sorted(folder.glob("*.json*")):
        with suppress(OSError, ValueError, KeyError):
            if path.suffix == ".json":
                yield orjson.loads(path.read_bytes())
            else:
                with open(path, "rb") as lines:
                    yield from map(orjson.loads, lines)
