"""Describes a plan: how many rollouts are missing, and what they would cost on each tier."""

from distill.agent.last_run import Changed
from distill.agent.plan import Plan, expected_usd, worst_usd
from distill.records.counted import counted
from distill.records.types import Params
from distill.teacher.api.provider import price_unknown
from distill.teacher.asked import asked_teacher
from distill.teacher.cost.prices import FREE, Prices, full_price_flex, is_openai

TIERS = ("standard", "flex", "batch")


def estimate(plan: Plan, params: Params, prices: Prices | None, max_output_tokens: int, changed: Changed) -> str:
    """The lines of `make plan`; `changed`: what is known to differ from the last run."""
    finished, missing = len(plan.finished), len(plan.missing)
    lines = [
        f"{params['model']}: {finished + missing} rollouts wanted, {finished} of them in the store, {missing} missing"
    ]
    if not plan.missing:
        return f"{lines[0]}: nothing to buy"
    to_call = sum(rollout.to_call for rollout in plan.missing) if changed.tools else 0
    if changed.asked and not plan.finished:
        words = ", ".join(changed.asked)
        lines.append(f"since the last run changed: {words}; so its answers are not to the same questions")
    elif to_call:
        lines.append(
            f"since the last run changed: {', '.join(changed.tools)}; so {counted(to_call, 'rollout')} will call the tools "
            "again, and only answers behind results that differ are bought"
        )
    if plan.held_out:
        lines.append(
            f"{plan.held_out} of the wanted rollouts are of held-out prompts, the teacher's own exam (evaluate.n)"
        )
    if plan.further:
        lines.append(
            f"and up to {len(plan.further)} further ones while none of a prompt's rollouts is right (teacher.samples "
            f"{params['teacher']['samples']}), which only 'at worst' counts"
        )
    if ordered := sum(rollout.ordered for rollout in plan.missing):
        were, them = ("was", "it") if ordered == 1 else ("were", "them")
        lines.append(
            f"{counted(ordered, 'answer')} {were} ordered by an earlier run: the next one only collects {them}"
        )
    typical = plan.typical
    lines.append(
        f"{f'{plan.surely} to' if to_call else 'about'} {counted(plan.answers, 'answer')} to buy, each with "
        f"{typical.input:.0f} tokens in ({typical.cached:.0f} cached) and {typical.output:.0f} out ({plan.basis})"
        f"{f'; expected: all {plan.answers}' if to_call else ''}"
    )
    return "\n".join(lines + _costs(plan, params, prices, max_output_tokens))


def _costs(plan: Plan, params: Params, prices: Prices | None, max_output_tokens: int) -> list[str]:
    """What the missing answers would cost on each tier, as lines."""
    if prices == FREE:
        return ["they cost only time"]
    if prices is None:
        refused = params["runtime"]["unknown_price"] == "refuse"
        allowed = "runtime.unknown_price allows that, and no budget is kept"
        advice = "set runtime.prices or runtime.unknown_price" if refused else allowed
        return [f"{price_unknown(asked_teacher(params))}; {advice}"]
    lines = [f"{'tier':<10}{'expected':>12}{'at worst':>12}"]
    for tier in _tiers(params):
        price = "standard" if full_price_flex(params["teacher"]["base_url"] or "openai") else tier
        worst = worst_usd(plan, prices, price, params["agent"], max_output_tokens)
        unfit = "   (not for prompts with tools)" if tier == "batch" and plan.with_tools else ""
        lines.append(f"{tier:<10}{expected_usd(plan, prices, price):>12,.4f}{worst:>12,.2f}{unfit}")
    limit = params["runtime"]["budget_usd"]
    if limit is None:
        return [*lines, "US dollars; runtime.budget_usd sets no limit"]
    return [*lines, f"US dollars; a run stops before it spends more than runtime.budget_usd {limit:g}"]


def _tiers(params: Params) -> tuple[str, ...]:
    """The tiers that a person can choose: other servers than OpenAI's may have none but the one that is set."""
    tier = params["runtime"]["tier"]
    return TIERS if is_openai(params["teacher"]["base_url"] or "openai") else (tier.removesuffix("_or_standard"),)
