"""data/prompts.jsonl → rollouts/, reports/rollouts.json, reports/tool_lists.json: the teacher answers every wanted prompt,
with the tools.

Only answers that the store does not have are asked for. A rollout that fails is written like any other; a key, quota or
budget problem stops the run, and the next run goes on where it stopped. Refuses prompts that name unknown tools.
`--plan` says what is missing and what it would cost; `--try` asks two prompts and shows the conversations.
"""

import argparse
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvloop

from distill.agent import rollout_files
from distill.agent.buy import buy
from distill.agent.estimate import estimate
from distill.agent.overrides import overridden
from distill.agent.plan import plan
from distill.agent.selection import wanted
from distill.agent.setting import Setting
from distill.agent.summary import Summary, table
from distill.agent.tools_version import tools_version
from distill.agent.transcript import transcript
from distill.records import jsonl, stage
from distill.records.terminal import say
from distill.teacher.demonstrations import read_demonstrations
from distill.teacher.halt import Halt
from distill.teacher.open_model import longest_answer, open_model, price_of, sampling
from distill.teacher.store import Store
from distill.teacher.teacher import Teacher
from distill.tools import toolbox
from distill.tools.tool_lists import KEPT, ToolLists, kept_lists

TRIED = 2


def main(params: dict[str, Any]) -> None:
    options = _options()
    params = overridden(params, options.set)
    chosen = wanted(list(jsonl.read("data/prompts.jsonl", "prepared_prompt")), params)
    if options.plan:
        print(uvloop.run(_plan(chosen, params)))
    elif options.trial:
        uvloop.run(_buy(chosen[:TRIED], params, _lists(params), lambda rollout: say(transcript(rollout))))
    else:
        _write(chosen, params)


async def _plan(chosen: list[tuple[dict[str, Any], int]], params: dict[str, Any]) -> str:
    async with _setting(chosen, params, _lists(params)) as setting:
        return estimate(await plan(chosen, setting), params, price_of(params), longest_answer(params))


async def _buy(
    chosen: list[tuple[dict[str, Any], int]],
    params: dict[str, Any],
    lists: ToolLists,
    on_done: Callable[[dict[str, Any]], None],
) -> None:
    async with _setting(chosen, params, lists) as setting:
        await buy(chosen, setting, on_done)


def _write(chosen: list[tuple[dict[str, Any], int]], params: dict[str, Any]) -> None:
    summary, lists = Summary(params["model"]), _lists(params)
    with rollout_files.replacing("rollouts", len(chosen)) as folder:
        uvloop.run(_buy(chosen, params, lists, _both(folder.add, summary.add)))
    report = summary.report()
    jsonl.write_json("reports/rollouts.json", report, "rollouts_report")
    jsonl.write_json(KEPT, lists.used, "tool_lists")
    print(f"teacher_rollouts: {table(report)}")


@asynccontextmanager
async def _setting(
    chosen: list[tuple[dict[str, Any], int]], params: dict[str, Any], lists: ToolLists
) -> AsyncIterator[Setting]:
    prompts = [prompt for prompt, _ in chosen]
    halt, store, version = Halt(), Store(), tools_version(params)
    async with toolbox.opened(params, prompts, lists) as tools:
        with_tools = any(tools.offered(prompt).schemas for prompt in prompts)
        model = open_model(params, halt, store, with_tools=with_tools)
        teacher = Teacher(
            model, store, sampling(params), read_demonstrations(params["teacher"]["demonstrations"]), halt
        )
        yield Setting(teacher, tools, params, version)


def _lists(params: dict[str, Any]) -> ToolLists:
    return ToolLists(Store().root, tools_version(params), kept_lists())


def _both(*takers: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    def take(rollout: dict[str, Any]) -> None:
        for taker in takers:
            taker(rollout)

    return take


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.teacher_rollouts", description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--plan", action="store_true", help="say what is missing and what it would cost; ask nothing")
    what.add_argument(
        "--try", action="store_true", dest="trial", help=f"ask {TRIED} prompts and show the conversations"
    )
    parser.add_argument(
        "-S",
        action="append",
        default=[],
        dest="set",
        metavar="KEY=VALUE",
        help="with --plan and --try: a parameter to change, as in `dvc exp run`",
    )
    options = parser.parse_args()
    if options.set and not (options.plan or options.trial):
        parser.error("-S goes with --plan or --try; a run that DVC tracks takes it as `dvc exp run -S`")
    return options


if __name__ == "__main__":
    stage.run(main)
