"""The money of one run: the worst case of a request is set aside before it is sent, so the limit cannot be passed."""

import asyncio

from distill.teacher.errors import Fatal

TINY = 1e-9
"""Rounding of sums of dollars."""


class Bill:
    """What is set aside for one request; exactly one of `settle` and `release` ends it."""

    def __init__(self, budget: "Budget", worst: float):
        self._budget, self._worst = budget, worst

    def settle(self, cost: float | None) -> None:
        """The request was answered, for `cost` USD (None: nobody knows, so its worst case counts as spent)."""
        self._budget._end(self._worst, self._worst if cost is None else cost)

    def release(self, maybe_billed: bool) -> None:
        """The request failed. When the server may have charged it all the same, its worst case counts as spent."""
        self._budget._end(self._worst, self._worst if maybe_billed else 0.0)


class Budget:
    """USD that one run may spend (None: no limit). `spent` is what is known to be gone, `reserved` what may go."""

    def __init__(self, limit_usd: float | None):
        self.limit_usd = limit_usd
        self.unpriced = False
        """Nobody knows what the model costs, and the user has said yes to that."""
        self.spent = 0.0
        self.reserved = 0.0
        self._changed = asyncio.Event()

    def fits(self, worst: float) -> bool:
        """Whether `worst` USD can be set aside now."""
        return self.limit_usd is None or self.spent + self.reserved + worst <= self.limit_usd + TINY

    async def reserve(self, worst: float) -> Bill:
        """Sets `worst` USD aside; waits while requests in flight may leave enough. Raises Fatal when they do not."""
        while not self.fits(worst):
            if self.reserved <= TINY:
                raise Fatal(
                    "budget",
                    f"${self.spent:.4f} of runtime.budget_usd ${self.limit_usd:g} are spent, and the next answer may cost up "
                    f"to ${worst:.4f}; another run goes on here, with the whole budget again (docs/teacher.md)",
                )
            self._changed.clear()
            await self._changed.wait()
        self.reserved += worst
        return Bill(self, worst)

    def passed(self) -> Fatal | None:
        """Why the run must end, when answers have cost more than the limit all the same; else None."""
        if self.limit_usd is None or self.spent <= self.limit_usd + TINY:
            return None
        return Fatal(
            "budget",
            f"${self.spent:.4f} are spent, more than runtime.budget_usd ${self.limit_usd:g}: the server charges for more "
            "tokens than teacher.max_output_tokens allows (docs/teacher.md)",
        )

    def _end(self, worst: float, cost: float) -> None:
        self.reserved = max(0.0, self.reserved - worst)
        self.spent += cost
        self._changed.set()
