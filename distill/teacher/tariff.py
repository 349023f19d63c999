"""What answers of one model cost: at most, before they are asked for, and as it was charged, once they are there."""

from collections.abc import Callable
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from distill.records.types import Request, Sampling
from distill.teacher.answer import Answer
from distill.teacher.prices import Prices

LONGEST_GROK = 131_072
"""Tokens that an answer of xAI's may be charged for: its chat limits only those that are seen, reasoning comes on top."""

FOUND_FOR_S = 60.0
"""How long prices that change with the hour are taken for those of now."""


class Tariff:
    """The prices at a model of `provider` (`find` them; None: nobody knows them), and the longest answer that it may
    charge for."""

    def __init__(self, provider: str, find: Callable[[], Prices | None]):
        self._find, self._found_at = find, perf_counter()
        self.prices = find()
        self._says_dollars = (urlsplit(provider).hostname or "") == "openrouter.ai"
        self._longest_seen = 0

    def worst(self, request: Request, body_bytes: int, tier: str) -> float:
        """USD that the answer to a request cannot exceed. No text has more tokens than bytes, and the body holds all of
        the conversation; a server that has passed the limit of an answer once may do so again."""
        if self.prices is None:
            return 0.0
        longest = max(longest_charged(request, limit_of(request["sampling"])), self._longest_seen)
        return self.prices.worst(body_bytes, longest, tier)

    def charge(self, request: Request | None, answer: Answer, tier: str) -> None:
        """Notes in the answer what it cost: what OpenRouter says, else what our prices say, None where nobody knows it.
        `request`: what it answers, if that is known here."""
        if self.prices and self.prices.by_hour and perf_counter() - self._found_at > FOUND_FOR_S:
            self.prices, self._found_at = self._find(), perf_counter()
        said = answer["usage"]["output_tokens"]
        if request and said > limit_of(request["sampling"]):
            self._longest_seen = max(self._longest_seen, said)
        if answer["cost_usd"] is None or not self._says_dollars:
            answer["cost_usd"] = self.prices.charged(answer["usage"], tier) if self.prices else None


def limit_of(sampling: Sampling) -> int:
    """Tokens that an answer may have, as it is asked for."""
    return next(int(value) for name, value in sampling.items() if name.startswith("max_"))


def longest_charged(identity: dict[str, Any], limit: int) -> int:
    """Tokens that an answer may be charged for where `limit` were asked for."""
    host = urlsplit(identity["provider"]).hostname or ""
    beyond = identity["api"] == "chat" and (host == "x.ai" or host.endswith(".x.ai"))
    return max(limit, LONGEST_GROK) if beyond else limit
