"""The budget of one run: the most a request can cost is reserved before it is sent, so that the limit is never exceeded."""

import asyncio

from distill.teacher.errors import Fatal

ROUNDING_USD = 1e-9
"""Sums of dollars are compared with this tolerance, since they are floats."""


class Reservation:
    """Money that is reserved for one request; exactly one of `settle` and `release` ends it."""

    def __init__(self, budget: "Budget", max_cost: float):
        self._budget, self._max_cost = budget, max_cost

    def settle(self, cost: float | None) -> None:
        """The request was answered for `cost` USD (None: unknown, so the whole reservation counts as spent)."""
        self._budget._end(self._max_cost, self._max_cost if cost is None else cost)

    def release(self, maybe_billed: bool) -> None:
        """The request failed. If the server may have charged for it all the same, the whole reservation counts as spent."""
        self._budget._end(self._max_cost, self._max_cost if maybe_billed else 0.0)


class Budget:
    """USD that one run may spend (None: no limit). `spent` is what was charged, `reserved` what requests in flight may
    cost."""

    def __init__(self, limit_usd: float | None):
        self.limit_usd = limit_usd
        self.unpriced = False
        """The price of the model is unknown, and the user allowed that."""
        self.spent = 0.0
        self.reserved = 0.0
        self._changed = asyncio.Event()

    def fits(self, max_cost: float) -> bool:
        """Whether `max_cost` USD can be reserved now."""
        return self.limit_usd is None or self.spent + self.reserved + max_cost <= self.limit_usd + ROUNDING_USD

    async def reserve(self, max_cost: float) -> Reservation:
        """Reserves `max_cost` USD. While requests in flight may leave enough, waits for them; else raises Fatal."""
        while not self.fits(max_cost):
            if self.reserved <= ROUNDING_USD:
                raise Fatal("budget", self._nothing_left_for(max_cost))
            self._changed.clear()
            await self._changed.wait()
        self.reserved += max_cost
        return Reservation(self, max_cost)

    def _nothing_left_for(self, max_cost: float) -> str:
        """Why the next answer is not bought; one that is dearer than the whole budget, no other run would buy either."""
        worst = f"the next answer may cost up to ${max_cost:.4f}"
        if self.limit_usd is not None and max_cost > self.limit_usd + ROUNDING_USD:
            return (
                f"{worst}, more than all of runtime.budget_usd ${self.limit_usd:g}: no run buys it until that is raised"
            )
        return (
            f"${self.spent:.4f} of runtime.budget_usd ${self.limit_usd:g} are spent, and {worst}; another run goes on here, "
            "with the whole budget again (docs/teacher.md)"
        )

    def overspent(self) -> Fatal | None:
        """The error that ends the run if answers have cost more than the limit all the same; else None."""
        if self.limit_usd is None or self.spent <= self.limit_usd + ROUNDING_USD:
            return None
        return Fatal(
            "budget",
            f"${self.spent:.4f} are spent, more than runtime.budget_usd ${self.limit_usd:g}: the server charges for more "
            "tokens than teacher.max_output_tokens allows (docs/teacher.md)",
        )

    def _end(self, reserved: float, cost: float) -> None:
        self.reserved = max(0.0, self.reserved - reserved)
        self.spent += cost
        self._changed.set()
