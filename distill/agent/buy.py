"""Buys the rollouts of a run: looks into the store, asks the teacher for the rest, and shows the progress."""

import asyncio
import gc
from collections.abc import Callable
from typing import Any

from distill.agent.finished import Finished
from distill.agent.plan import Plan, plan
from distill.agent.record import record
from distill.agent.rollout import Conversation, retry_if_tools_lost, run
from distill.agent.samples import Pair, in_turn, is_enough
from distill.agent.setting import Setting, opened
from distill.agent.turns import Turns
from distill.agent.warm import warm
from distill.project.terminal import say
from distill.records.counted import counted
from distill.records.faults import InputError
from distill.records.types import Params, Prompt, Rollout
from distill.teacher.answer import Answer
from distill.teacher.errors import KINDS, Fatal, is_final
from distill.teacher.progress import Progress, ticking
from distill.teacher.side_by_side import side_by_side
from distill.teacher.stopping import stopping

NAME = "teacher_rollouts"
GC_THRESHOLD = 20_000
"""Allocations between two garbage collections: Python's default (700) cost 10 % of the time with thousands of rollouts in
flight, and there is little garbage to find."""


async def buy(
    chosen: list[Pair], params: Params, on_done: Callable[[Rollout], None]
) -> dict[str, list[dict[str, Any]]]:
    """Gives the record of every (prompt, sample) to `on_done`, buying what neither the store nor git's history has, and
    returns the lists of MCP servers' tools that were used (schemas/tool_lists.schema.json).

    Raises InputError when the run had to stop; everything that was paid for is in the store by then.
    """
    async with opened(chosen, params) as setting:
        await _buy(chosen, setting, on_done)
        return setting.lists.used


async def plan_with_history(chosen: list[Pair], setting: Setting) -> Plan:
    """The plan, once the store has the missing answers that git's history has."""
    first = await plan(chosen, setting)
    found_in_history = warm(setting.teacher.store) if first.missing else None
    if not found_in_history:
        return first
    say(f"{NAME}: {found_in_history}")
    return await plan(chosen, setting)


async def _buy(chosen: list[Pair], setting: Setting, on_done: Callable[[Rollout], None]) -> None:
    gc.set_threshold(GC_THRESHOLD)
    teacher = setting.teacher
    planned = await plan_with_history(chosen, setting)
    missing = planned.missing
    if missing:
        await setting.toolbox.ready([rollout.prompt for rollout in missing])
    stored = {(prompt["id"], sample) for prompt, sample in planned.finished}
    progress = Progress(
        NAME,
        len(stored) + len(missing),
        teacher,
        stored=sum(rollout.bought for rollout in missing),
        calling=lambda: setting.calling,
    )

    def finish(rollout: Rollout, following: Pair | None) -> None:
        on_done(rollout)
        if following and (following[0]["id"], following[1]) not in stored:
            progress.total += 1
        progress.add(rollout, was_stored=(rollout["prompt_id"], rollout["sample"]) in stored)

    try:
        async with ticking(progress), stopping(teacher.halt):
            await _make_all(chosen, setting, finish)
    except Fatal as error:
        raise InputError(
            error.of(f"the teacher {setting.params['model']}") + "\n"
            f"{progress.done} of {progress.total} rollouts are done, and every answer that was paid for is kept; "
            f"{KINDS[error.kind].advice}"
        ) from error
    finally:
        await teacher.close()
        rest = ", the rest was in the store" if progress.done == progress.total else ""
        say(f"{NAME}: {counted(teacher.bought, 'answer')} bought{rest}")


async def _make_all(wanted: list[Pair], setting: Setting, on_done: Callable[[Rollout, Pair | None], None]) -> None:
    """Passes the record of every (prompt, sample) to `on_done`, in the order in which they end, each with the pair
    that is made next because it is not good enough, if any.

    Raises Fatal as `side_by_side` does, and InputError when the container engine or a tool server is gone; tools that still
    run then are abandoned.
    """
    finished = Finished(setting)

    async def make(pairs: list[Pair]) -> None:
        for place, (prompt, sample) in enumerate(pairs, 1):
            rollout, last = await make_one(prompt, sample)
            # In a thread, since a comparison may take seconds.
            ended = place == len(pairs) or await asyncio.to_thread(is_enough, prompt, last)
            on_done(rollout, None if ended else pairs[place])
            if ended:
                return

    async def make_one(prompt: Prompt, sample: int) -> tuple[Rollout, Answer | None]:
        conversation, turns = await retry_if_tools_lost(lambda: _rollout(prompt, sample, setting), setting.toolbox)
        if conversation.error is None or is_final(conversation.error["kind"]):
            finished.add(setting.index_key(prompt, sample), turns.all_keys)
        last = conversation.answers[-1] if conversation.error is None else None
        return record(prompt, sample, setting, conversation, turns), last

    await side_by_side(in_turn(wanted, setting.params["teacher"]["samples"]), setting.teacher, make)


async def _rollout(prompt: Prompt, sample: int, setting: Setting) -> tuple[Conversation, Turns]:
    """A rollout with tools of its own; answers that an earlier attempt got come from the store."""
    async with setting.toolbox.open(prompt, sample) as session:
        turns = Turns(setting, prompt, sample, session)
        return await run(prompt["messages"], turns.ask, turns.call, setting.params["agent"]["max_turns"]), turns
