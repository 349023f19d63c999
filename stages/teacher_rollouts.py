"""data/prompts.jsonl → rollouts/, reports/rollouts.json, reports/tool_lists.json: the teacher answers every wanted prompt,
with the tools.

Only answers that the store does not have are asked for. A rollout that fails is written like any other; a key, quota or
budget problem stops the run, and the next run goes on where it stopped. Refuses prompts that name unknown tools.
`--plan` says what is missing and what it would cost.
"""

import argparse
from pathlib import Path

import uvloop

from distill.agent import dvc_deps, rollout_files, setting
from distill.agent.buy import buy, plan_with_history
from distill.agent.estimate import estimate
from distill.agent.last_run import as_last_run, changed
from distill.agent.overrides import add_option, overridden
from distill.agent.selection import wanted
from distill.agent.summary import Summary, table
from distill.project import stage
from distill.records import jsonl
from distill.records.types import Params, Prompt, Rollout
from distill.teacher.api.provider import most_answer_tokens, price_of
from distill.teacher.asked import asked_teacher
from distill.tools.mcp.tool_lists import COMMITTED

FOLDER, REPORT = "rollouts", "reports/rollouts.json"
Chosen = list[tuple[Prompt, int]]


def main(params: Params) -> None:
    options = _options()
    params = overridden(params, options.set)
    chosen = wanted(list(jsonl.read("data/prompts.jsonl", "prepared_prompt")), params)
    if options.plan:
        print(uvloop.run(_plan(chosen, params)))
    else:
        _write(chosen, params)


async def _plan(chosen: Chosen, params: Params) -> str:
    async with setting.opened(chosen, params) as opened:
        changes = changed(chosen, opened)
        planned = as_last_run(await plan_with_history(chosen, opened), opened, Path(REPORT), changes)
        asked = asked_teacher(params)
        return estimate(planned, params, price_of(asked), most_answer_tokens(asked), changes)


def _write(chosen: Chosen, params: Params) -> None:
    stage.forget_metrics()
    summary = Summary(params["model"])
    with rollout_files.replacing(FOLDER, len(chosen)) as write:

        def done(rollout: Rollout) -> None:
            write(rollout)
            summary.add(rollout)

        lists = uvloop.run(buy(chosen, params, done))
    report = summary.report()
    jsonl.write_json(REPORT, report, "rollouts_report")
    jsonl.write_json(COMMITTED, lists, "tool_lists")
    print(f"teacher_rollouts: {table(report)}")
    if warning := dvc_deps.unknown_to_dvc():
        print(warning)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.teacher_rollouts", description=__doc__)
    parser.add_argument("--plan", action="store_true", help="say what is missing and what it would cost; ask nothing")
    add_option(parser)
    options = parser.parse_args()
    if options.set and not options.plan:
        parser.error("-S goes with --plan; a run that DVC tracks takes it as `dvc exp run -S`")
    return options


if __name__ == "__main__":
    stage.run(main)
