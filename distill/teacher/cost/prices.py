"""What tokens cost: the table of genai-prices, and the user's own prices where that is wrong or has none."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from distill.teacher.answer import Usage

MILLION = 1e6
HALF_HOUR = timedelta(minutes=30)
"""Prices that change with the time of day change on the half hour."""
TIER_FACTOR = {"flex": 0.5, "batch": 0.5}
"""OpenAI's flex and batch tiers cost half of the standard one, cached tokens included."""
OPENAI_URL = "https://api.openai.com/v1"
OPENAI_HOST = re.compile(r"(^|\.)api\.openai\.com$")


class Prices(NamedTuple):
    """USD per million tokens. `above`: pairs of (input tokens, prices), most tokens first; a request with more input tokens
    than the first number that it exceeds has that pair's prices."""

    input: float
    cached: float
    cache_write: float
    output: float
    above: tuple[tuple[int, "Prices"], ...] = ()
    by_hour: tuple["Prices", ...] = ()
    """Where prices change with the time of day (DeepSeek): all of a day. The fields above are the present ones."""

    def cost(self, usage: Usage, tier: str) -> float:
        """USD of one answer. Reasoning tokens are part of the output tokens; cached ones are part of the input."""
        prices = self._for(usage["input_tokens"])
        written = usage.get("cache_write_tokens", 0)
        fresh = max(0, usage["input_tokens"] - usage["cached_tokens"] - written)
        dollars = (
            fresh * prices.input
            + usage["cached_tokens"] * prices.cached
            + written * prices.cache_write
            + usage["output_tokens"] * prices.output
        ) / MILLION
        return round(dollars * TIER_FACTOR.get(tier, 1.0), 9)

    def known_cost(self, usage: Usage, tier: str) -> float | None:
        """As `cost`; None when the server has not counted the tokens, so that the cost is unknown."""
        if self.input + self.output and not usage["input_tokens"] + usage["output_tokens"]:
            return None
        return self.cost(usage, tier)

    def max_cost(self, input_tokens: int, output_tokens: int, tier: str) -> float:
        """The most USD that a request with at most so many tokens can cost, whatever the time of day."""
        if self.by_hour:
            return max(prices.max_cost(input_tokens, output_tokens, tier) for prices in self.by_hour)
        prices = self._for(input_tokens)
        dearest = max(prices.input, prices.cache_write, prices.cached)
        dollars = (input_tokens * dearest + output_tokens * prices.output) / MILLION
        return dollars * TIER_FACTOR.get(tier, 1.0)

    def _for(self, input_tokens: int) -> "Prices":
        return next((prices for start, prices in self.above if input_tokens > start), self)


FREE = Prices(0.0, 0.0, 0.0, 0.0)


def is_openai(provider: str) -> bool:
    """Whether `openai` or a base URL means OpenAI itself, whose tiers are known."""
    return provider == "openai" or bool(OPENAI_HOST.search(urlsplit(provider).hostname or ""))


def full_price_flex(provider: str) -> bool:
    """Whether a provider's flex tier costs as much as its standard one (Groq), and differs in that it may be refused."""
    return (urlsplit(provider).hostname or "").endswith("groq.com")


def find(model: str, base_url: str | None, own: dict[str, dict[str, float]]) -> Prices | None:
    """The prices of a model at an endpoint (None: OpenAI); None when they are unknown.

    `own` is `runtime.prices`: {model: {input, output, cached, cache_write}} in USD per million tokens, `cached` and
    `cache_write` being the price of `input` unless given. Nothing is fetched: the table comes with the package.
    """
    if model in own:
        given = own[model]
        return Prices(
            given["input"],
            given.get("cached", given["input"]),
            given.get("cache_write", given["input"]),
            given["output"],
        )
    return _from_table(model, base_url or OPENAI_URL)


def _from_table(model: str, base_url: str) -> Prices | None:
    from genai_prices.data_snapshot import get_snapshot

    try:
        _, listed_model = get_snapshot().find_provider_model(model, None, None, base_url)
    except LookupError:
        return None
    now = datetime.now(UTC)
    times = (now, *(now + n * HALF_HOUR for n in range(48)))
    present, *day = (_with_steps(listed_model.get_prices(time)) for time in times)
    others = {prices for prices in day if prices and prices != present}
    return present._replace(by_hour=(present, *others)) if present and others else present


def _with_steps(listed: Any) -> Prices | None:
    """Prices of the table as ours, with those for long requests in `above`."""
    starts = sorted(
        {tier.start for price in vars(listed).values() for tier in getattr(price, "tiers", [])}, reverse=True
    )
    prices = _for_request(listed, 0)
    above = tuple((start, step) for start in starts if (step := _for_request(listed, start + 1)))
    return prices._replace(above=above) if prices else None


def _for_request(listed: Any, input_tokens: int) -> Prices | None:
    """The prices for a request of `input_tokens`; a tier applies to all tokens of the request."""

    def price(name: str) -> float | None:
        value = getattr(listed, name)
        for tier in reversed(getattr(value, "tiers", [])):
            if input_tokens > tier.start:
                return float(tier.price)
        value = getattr(value, "base", value)
        return None if value is None else float(value)

    input_, output = price("input_mtok"), price("output_mtok")
    if input_ is None or output is None:
        return None
    cached, written = price("cache_read_mtok"), price("cache_write_mtok")
    return Prices(input_, input_ if cached is None else cached, input_ if written is None else written, output)
