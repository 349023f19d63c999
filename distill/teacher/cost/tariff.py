"""What the answers of one model cost: at most, before a request is sent, and exactly, once it is answered."""

from collections.abc import Callable
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from distill.records.types import Request, Sampling
from distill.teacher.answer import Answer
from distill.teacher.cost.prices import Prices

GROK_MAX_TOKENS = 131_072
"""Tokens that one answer of xAI's may be charged for: the limit in chat is on visible tokens, reasoning comes on top."""
PRICES_VALID_S = 60.0
"""Prices that change with the hour are looked up again after this time."""


class Tariff:
    """The prices of a model at `provider`, and the longest answer that it may charge for. `find_prices` gives None where
    nobody knows the prices."""

    def __init__(self, provider: str, find_prices: Callable[[], Prices | None]):
        self._find_prices, self._found_at = find_prices, perf_counter()
        self.prices = find_prices()
        self._reports_usd = (urlsplit(provider).hostname or "") == "openrouter.ai"
        self._longest_answer = 0

    def max_cost(self, request: Request, body_bytes: int, tier: str) -> float:
        """The most USD that the answer to a request can cost. A text has no more tokens than bytes, and the body holds the
        whole conversation; a server that has once exceeded the limit of an answer may do so again."""
        if self.prices is None:
            return 0.0
        output_tokens = max(max_charged_tokens(request, output_limit(request["sampling"])), self._longest_answer)
        return self.prices.max_cost(body_bytes, output_tokens, tier)

    def set_cost(self, request: Request | None, answer: Answer, tier: str) -> None:
        """Sets the answer's `cost_usd`: what OpenRouter reports, else what our prices give, None where they are unknown.
        `request`: the one that was answered, if it is known here."""
        if self.prices and self.prices.by_hour and perf_counter() - self._found_at > PRICES_VALID_S:
            self.prices, self._found_at = self._find_prices(), perf_counter()
        output_tokens = answer["usage"]["output_tokens"]
        if request and output_tokens > output_limit(request["sampling"]):
            self._longest_answer = max(self._longest_answer, output_tokens)
        if answer["cost_usd"] is None or not self._reports_usd:
            answer["cost_usd"] = self.prices.known_cost(answer["usage"], tier) if self.prices else None


def output_limit(sampling: Sampling) -> int:
    """The limit of output tokens that a request sets, whatever the API calls it (`max_tokens`, …)."""
    return next(int(value) for name, value in sampling.items() if name.startswith("max_"))


def max_charged_tokens(identity: dict[str, Any], limit: int) -> int:
    """Tokens that an answer may be charged for where the request sets `limit`."""
    host = urlsplit(identity["provider"]).hostname or ""
    exceeds_limit = identity["api"] == "chat" and (host == "x.ai" or host.endswith(".x.ai"))
    return max(limit, GROK_MAX_TOKENS) if exceeds_limit else limit
