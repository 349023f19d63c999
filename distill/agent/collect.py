"""Many rollouts side by side, each handed over as soon as it has ended."""

from collections.abc import Callable
from typing import Any

from distill.agent.finished import Finished
from distill.agent.record import record
from distill.agent.rollout import Conversation, run, with_tools
from distill.agent.setting import Setting
from distill.agent.turns import Turns
from distill.teacher.errors import is_final
from distill.teacher.side_by_side import side_by_side


async def collect(
    wanted: list[tuple[dict[str, Any], int]], setting: Setting, on_done: Callable[[dict[str, Any]], None]
) -> None:
    """Hands the record of every (prompt, sample) to `on_done`, in the order in which they end.

    Raises Fatal as `side_by_side` does; tools that still ran are left behind.
    """
    finished = Finished(setting)

    async def one(item: tuple[dict[str, Any], int]) -> None:
        prompt, sample = item
        talk, turns = await with_tools(lambda: _rollout(prompt, sample, setting))
        if talk.error is None or is_final(talk.error["kind"]):
            finished.add(setting.index_key(prompt, sample), turns.all_keys)
        on_done(record(prompt, sample, setting, talk, turns))

    await side_by_side(wanted, setting.teacher, one)


async def _rollout(prompt: dict[str, Any], sample: int, setting: Setting) -> tuple[Conversation, Turns]:
    """A rollout with tools of its own; what the teacher said in an earlier one is in the store."""
    async with setting.toolbox.open(prompt, sample) as session:
        turns = Turns(setting, prompt, sample, session)
        return await run(prompt["messages"], turns.ask, turns.call, setting.params["agent"]["max_turns"]), turns
