"""A plan in words: how much is missing, and what it would cost on each tier."""

from typing import Any

from distill.agent.plan import Plan, expected_usd, worst_usd
from distill.teacher.prices import FREE, Prices, full_price_flex, is_openai

TIERS = ("standard", "flex", "batch")


def estimate(found: Plan, params: dict[str, Any], prices: Prices | None, max_output_tokens: int) -> str:
    """The lines of `make plan`."""
    wanted = found.finished + len(found.missing)
    lines = [
        f"{params['model']}: {wanted} rollouts wanted, {found.finished} of them in the store, {len(found.missing)} missing"
    ]
    if not found.missing:
        return f"{lines[0]}: nothing to buy"
    if found.held_out:
        lines.append(
            f"{found.held_out} of the wanted rollouts are of held-out prompts, the teacher's own exam (evaluate.n)"
        )
    one = found.typical
    basis = (
        f"as in {found.measured_on} stored rollouts" if found.measured_on else "a guess, as nothing of it is stored yet"
    )
    lines.append(
        f"about {found.answers} answers to buy, each with {one.input:.0f} tokens in ({one.cached:.0f} cached) and "
        f"{one.output:.0f} out ({basis})"
    )
    if prices == FREE:
        return "\n".join([*lines, "they cost nothing but time: this machine answers"])
    if prices is None:
        return "\n".join([*lines, "what they cost is not known: see runtime.prices and runtime.unknown_price"])
    lines.append(f"{'tier':<10}{'expected':>12}{'at worst':>12}")
    for tier in _tiers(params):
        price = "standard" if full_price_flex(params["teacher"]["base_url"] or "openai") else tier
        worst = worst_usd(found, prices, price, params["agent"], max_output_tokens)
        refused = "   (not for prompts with tools)" if tier == "batch" and found.with_tools else ""
        lines.append(f"{tier:<10}{expected_usd(found, prices, price):>12,.4f}{worst:>12,.2f}{refused}")
    limit = params["runtime"]["budget_usd"]
    lines.append(
        "US dollars; runtime.budget_usd sets no limit"
        if limit is None
        else f"US dollars; a run stops before it spends more than runtime.budget_usd {limit:g}"
    )
    return "\n".join(lines)


def _tiers(params: dict[str, Any]) -> tuple[str, ...]:
    """Those that a person can choose: of another server than OpenAI's nobody knows whether it has more than the one set."""
    tier = params["runtime"]["tier"]
    return TIERS if is_openai(params["teacher"]["base_url"] or "openai") else (tier.removesuffix("_or_standard"),)
