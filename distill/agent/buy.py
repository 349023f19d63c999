"""A run that spends money, from the first look into the store to the last line on the screen."""

import asyncio
import gc
from collections.abc import Callable
from typing import Any

from distill.agent.collect import collect
from distill.agent.plan import plan
from distill.agent.progress import Progress
from distill.agent.setting import Setting, opened
from distill.agent.warm import warm
from distill.records.faults import InputError
from distill.records.terminal import say
from distill.teacher.errors import KINDS, Fatal
from distill.teacher.stopping import stopping
from distill.teacher.teacher import Teacher
from distill.tools.tool_lists import ToolLists

NAME = "teacher_rollouts"
TICK_S = 0.5
GARBAGE = 20_000
"""New objects after which Python looks for garbage, in place of 700: with thousands of rollouts in the air there is
little to be found, and to look took a tenth of the time."""


async def buy(
    chosen: list[tuple[dict[str, Any], int]],
    params: dict[str, Any],
    lists: ToolLists,
    on_done: Callable[[dict[str, Any]], None],
) -> None:
    """Gives the record of every (prompt, sample) to `on_done`, buying what neither the store nor git's history has.

    Raises InputError, worded for a person, when the run had to stop; all that was paid for is in the store by then.
    """
    async with opened(chosen, params, lists) as setting:
        await _buy(chosen, setting, on_done)


async def _buy(
    chosen: list[tuple[dict[str, Any], int]], setting: Setting, on_done: Callable[[dict[str, Any]], None]
) -> None:
    gc.set_threshold(GARBAGE)
    teacher = setting.teacher
    missing = (await plan(chosen, setting)).missing
    told = warm(teacher.store) if missing else None
    if told:
        say(f"{NAME}: {told}")
        missing = (await plan(chosen, setting)).missing
    if missing:
        await setting.toolbox.ready([rollout.prompt for rollout in missing])
    ready = len(chosen) - len(missing)
    progress = Progress(NAME, len(chosen), lambda: _money(teacher), ready, lambda: teacher.bought_tokens)

    def done(rollout: dict[str, Any]) -> None:
        on_done(rollout)
        progress.add(rollout)

    ticking = asyncio.create_task(_tick(progress))
    try:
        async with stopping(teacher.halt):
            await collect(chosen, setting, done)
    except Fatal as error:
        raise InputError(
            f"the teacher {setting.params['model']} cannot go on ({error.kind}): {error.message}\n"
            f"{progress.done} of {len(chosen)} rollouts are done, and every answer that was paid for is kept; "
            f"{KINDS[error.kind].advice}"
        ) from error
    finally:
        ticking.cancel()
        progress.close()
        await teacher.close()
        rest = ", the rest was in the store" if progress.done == len(chosen) else ""
        say(f"{NAME}: {teacher.bought} answers bought{rest}")


async def _tick(progress: Progress) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        progress.tick()


def _money(teacher: Teacher) -> str:
    """What a run at an API has spent and has in flight; nothing for one on this machine."""
    budget, throttle = getattr(teacher.model, "budget", None), getattr(teacher.model, "throttle", None)
    parts = []
    if budget and budget.unpriced:
        parts.append("price unknown, no budget is kept")
    elif budget:
        parts.append(
            f"${budget.spent:.4f} spent" + (f" of ${budget.limit_usd:g}" if budget.limit_usd is not None else "")
        )
    if throttle:
        parts.append(f"{throttle.in_flight} of {int(throttle.limit)} in flight")
        if throttle.pause_s >= 1:
            parts.append(f"the server asks to wait {throttle.pause_s:.0f} s")
    return ", ".join(parts)
