"""Plans a run from the store alone: which rollouts are missing, and what they would cost. No teacher, no tool is called."""

from typing import Any, NamedTuple

import orjson

from distill.agent.finished import Finished
from distill.agent.rollout import run
from distill.agent.samples import Pair, in_turn, is_enough
from distill.agent.setting import Setting
from distill.agent.turns import Turns, seed
from distill.records.counted import counted
from distill.records.types import Message, Prompt, ToolCall
from distill.teacher.answer import Answer
from distill.teacher.api.endpoint_model import BYTES_PER_TOKEN
from distill.teacher.api.provider import in_background
from distill.teacher.asked import asked_teacher
from distill.teacher.cost.prices import Prices
from distill.teacher.cost.tariff import output_limit
from distill.teacher.store import request_key

MOST_MEASURED = 200
"""Finished rollouts whose tokens count as typical."""
GUESSED_TURNS, GUESSED_OUTPUT = 3, 600
"""Answers per rollout with tools, and tokens per answer, of a teacher without stored rollouts (where it may write so many)."""
GUESS = "a guess, as no rollout is stored yet"


class Missing(NamedTuple):
    """A rollout that is not finished: how many of its answers are stored, the length of its first request in bytes, whether
    it is offered tools, whether it has to call them before an answer is missing, and whether that answer was ordered by an
    earlier run, in a batch or in the background, and only has to be collected."""

    prompt: Prompt
    sample: int
    bought: int
    request_bytes: int
    with_tools: bool
    to_call: bool = False
    ordered: bool = False


class Plan(NamedTuple):
    """Which of the wanted rollouts are finished, and which are missing. `further` are those that are wanted only if
    missing ones of the same prompt turn out wrong (teacher.samples as a range).

    `basis` says for people what `typical` is known from. `held_out`: how many of the wanted rollouts belong to the
    teacher's own exam. `with_tools`: whether any prompt has tools.
    """

    finished: list[Pair]
    missing: list[Missing]
    further: list[Missing]
    typical: "Typical"
    basis: str
    held_out: int
    with_tools: bool

    @property
    def answers(self) -> int:
        """Answers that are likely to be bought, if all tools that have to be called return something new; without those that
        are ordered already."""
        return self._answers(self.missing)

    @property
    def surely(self) -> int:
        """Those of them that are missing whatever the tools return."""
        return self._answers([rollout for rollout in self.missing if not rollout.to_call])

    def _answers(self, missing: list[Missing]) -> int:
        # Rounded in the end only: 1.45 answers a rollout, taken as 1, would make the estimate a third too low.
        return round(sum(max(1, self.typical.turns - rollout.bought) - rollout.ordered for rollout in missing))


class Typical(NamedTuple):
    """Answers (`turns`) per rollout, and the tokens of one answer."""

    turns: float
    input: float
    cached: float
    output: float


class _NotStored(Exception):
    """The replay needs an answer or a tool result that is not stored."""


class _Replay(Turns):
    """The stored turns of a rollout; asking or calling beyond them raises _NotStored, which ends the agent loop."""

    to_call = False
    messages: list[Message]
    """Those of the request that is not stored."""

    async def ask(self, messages: list[Message]) -> Answer:
        self.messages = messages
        return await super().ask(messages)

    def before_sending(self) -> None:
        raise _NotStored

    async def call(self, calls: list[ToolCall]) -> list[str]:
        if not self.tool_results[-1]:
            self.to_call = True
            raise _NotStored
        return await super().call(calls)


async def plan(wanted: list[Pair], setting: Setting) -> Plan:
    """The plan for the wanted (prompt, sample) pairs, from what is in the store."""
    index, store = Finished(setting), setting.teacher.store
    in_batches = setting.teacher.open_batches.keys()
    finished: list[Pair] = []
    measured: list[list[str]] = []
    missing: list[Missing] = []
    further: list[Missing] = []
    for pairs in in_turn(wanted, setting.params["teacher"]["samples"]):
        for prompt, sample in pairs:
            found = await _stored(prompt, sample, setting, index, in_batches)
            if isinstance(found, Missing):
                missing.append(found)
                further += [
                    found._replace(sample=later, bought=0, ordered=False) for _, later in pairs if later > sample
                ]
                break
            finished.append((prompt, sample))
            if len(measured) < MOST_MEASURED:
                measured.append(found)
            if len(pairs) > 1 and is_enough(prompt, store.get(found[-1])):
                break
    typical, basis = _typical(measured, missing, setting)
    held_out = sum(prompt["split"] == "eval" for prompt, _ in wanted)
    with_tools = any(setting.toolbox.offered(prompt).schemas for prompt, _ in wanted)
    return Plan(finished, missing, further, typical, basis, held_out, with_tools)


async def _stored(
    prompt: Prompt, sample: int, setting: Setting, index: Finished, in_batches: set[str]
) -> list[str] | Missing:
    """The keys of a finished rollout's answers, or what is missing of it. `in_batches`: the keys of what was ordered so."""
    key, store = setting.index_key(prompt, sample), setting.teacher.store
    answers = index.answers(key)
    if answers and all(store.has(answer) for answer in answers):
        return answers
    try:
        async with setting.toolbox.open(prompt, sample) as session:
            replay = _Replay(setting, prompt, sample, session)
            await run(prompt["messages"], replay.ask, replay.call, setting.params["agent"]["max_turns"])
    except _NotStored:
        first = setting.teacher.request(prompt["messages"], replay.offered, seed(prompt["id"], sample), [])
        size, with_tools = len(orjson.dumps(first)), bool(replay.offered)
        ordered = _is_ordered(replay, setting, in_batches)
        return Missing(prompt, sample, len(replay.keys), size, with_tools, replay.to_call, ordered)
    index.add(key, replay.all_keys)
    return replay.all_keys


def _is_ordered(replay: _Replay, setting: Setting, in_batches: set[str]) -> bool:
    """Whether an earlier run has ordered the answer that is not stored, in a batch or in the background."""
    if replay.to_call or not (in_batches or in_background(asked_teacher(setting.params))):
        return False
    teacher = setting.teacher
    key = request_key(teacher.request(replay.messages, replay.offered, replay.seed, replay.answers), replay.sample)
    return key in in_batches or teacher.store.note(key).read() is not None


def expected_usd(plan: Plan, prices: Prices, tier: str) -> float:
    """What the missing answers are likely to cost."""
    usage = {
        "input_tokens": round(plan.typical.input),
        "cached_tokens": round(plan.typical.cached),
        "output_tokens": round(plan.typical.output),
        "reasoning_tokens": 0,
    }
    return plan.answers * prices.cost(usage, tier)  # type: ignore[arg-type]


def worst_usd(plan: Plan, prices: Prices, tier: str, agent: dict[str, Any], max_output_tokens: int) -> float:
    """What they would cost if every missing rollout, and every further one, took all its turns (one without tools), every
    answer all its tokens, and every turn one tool result of full length. No run spends more than runtime.budget_usd,
    whatever the result.
    """
    growth, total = max_output_tokens + agent["tool_output_chars"] // BYTES_PER_TOKEN, 0.0
    for rollout in plan.missing + plan.further:
        for turn in range(
            rollout.bought + rollout.ordered, agent["max_turns"] if rollout.with_tools else rollout.bought + 1
        ):
            total += prices.max_cost(rollout.request_bytes // BYTES_PER_TOKEN + turn * growth, max_output_tokens, tier)
    return total


def _typical(measured: list[list[str]], missing: list[Missing], setting: Setting) -> tuple[Typical, str]:
    entries = [setting.teacher.store.get(key) for keys in measured for key in keys]
    usages = [answer["usage"] for answer in entries if answer]
    if not usages:
        return _guessed(missing, setting), GUESS
    mean = {
        name: sum(usage[name] for usage in usages) / len(usages)  # type: ignore[literal-required]
        for name in ("input_tokens", "cached_tokens", "output_tokens")
    }
    turns = len(usages) / len(measured)
    typical = Typical(turns, mean["input_tokens"], mean["cached_tokens"], mean["output_tokens"])
    return typical, f"as in {counted(len(measured), 'stored rollout')}"


def _guessed(missing: list[Missing], setting: Setting) -> Typical:
    with_tools = any(rollout.with_tools for rollout in missing)
    turns = min(GUESSED_TURNS if with_tools else 1, setting.params["agent"]["max_turns"])
    output = min(GUESSED_OUTPUT, output_limit(setting.teacher.sampling))
    first = sum(rollout.request_bytes for rollout in missing) / max(1, len(missing)) / BYTES_PER_TOKEN
    return Typical(turns, first + (turns - 1) / 2 * output, 0.0, output)
