"""Makes many rollouts concurrently, and passes on each record as soon as its rollout has ended."""

from collections.abc import Callable

from distill.agent.finished import Finished
from distill.agent.record import record
from distill.agent.rollout import Conversation, retry_if_tools_lost, run
from distill.agent.setting import Setting
from distill.agent.turns import Turns
from distill.records.types import Prompt, Rollout
from distill.teacher.errors import is_final
from distill.teacher.side_by_side import side_by_side


async def collect(wanted: list[tuple[Prompt, int]], setting: Setting, on_done: Callable[[Rollout], None]) -> None:
    """Passes the record of every (prompt, sample) to `on_done`, in the order in which they end.

    Raises Fatal as `side_by_side` does, and InputError when the container engine or a tool server is gone; tools that still
    run then are abandoned.
    """
    finished = Finished(setting)

    async def make(item: tuple[Prompt, int]) -> None:
        prompt, sample = item
        conversation, turns = await retry_if_tools_lost(lambda: _rollout(prompt, sample, setting), setting.toolbox)
        if conversation.error is None or is_final(conversation.error["kind"]):
            finished.add(setting.index_key(prompt, sample), turns.all_keys)
        on_done(record(prompt, sample, setting, conversation, turns))

    await side_by_side(wanted, setting.teacher, make)


async def _rollout(prompt: Prompt, sample: int, setting: Setting) -> tuple[Conversation, Turns]:
    """A rollout with tools of its own; answers that an earlier attempt got come from the store."""
    async with setting.toolbox.open(prompt, sample) as session:
        turns = Turns(setting, prompt, sample, session)
        return await run(prompt["messages"], turns.ask, turns.call, setting.params["agent"]["max_turns"]), turns
