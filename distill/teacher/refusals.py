"""Refusals and failures in a row: what befalls everybody while nobody is answered is the server's own fault, or the
account's, and no conversation's."""

from time import perf_counter

from distill.teacher import errors
from distill.teacher.errors import ApiError

IN_A_ROW = 10
LOST_IN_A_ROW = 20
"""Questions tried as often as is allowed, each for half a minute and more."""


class Refusals:
    """Those of one run. `known`: earlier runs have answers to some of its questions; `answered`: the server has given one
    in this run; `doubtful`: the keys of what was refused, and when, since it was last asked what it did answer."""

    def __init__(self) -> None:
        self.known = self.answered = False
        self.doubtful: dict[str, float] = {}
        self._in_a_row = self._lost_in_a_row = 0

    def answer(self, asked_at: float) -> None:
        """The server has answered what it was asked at that time: what it refused before was refused for good."""
        self.answered = True
        self._in_a_row = self._lost_in_a_row = 0
        self.doubtful = {key: at for key, at in self.doubtful.items() if at > asked_at}

    def weighed(self, key: str, error: ApiError) -> ApiError:
        """What a refusal comes to: Fatal after ten in a row, and nothing final while nothing was answered.

        A full context is one conversation's own, unless all are said to be too long: then the server's is too short.
        """
        full = error.kind == "context_full"
        if error.kind != "bad_request" and not (full and not self.known and not self.answered):
            return error
        self.doubtful[key] = perf_counter()
        self._in_a_row += 1
        if self._in_a_row >= IN_A_ROW:
            words = f"{self._in_a_row} conversations were refused one after the other, the last with: {error.message}"
            return errors.error("parameter_refused", words, http_status=error.http_status)
        if full or self.answered:
            return error
        return errors.error("all_refused", error.message, http_status=error.http_status)

    def lost(self, error: ApiError, again: bool) -> ApiError:
        """What a question comes to that was tried in vain: Fatal after twenty in a row. `again`: an earlier run tried it
        in vain, too, which says more of the question than of the server."""
        self._lost_in_a_row += not again
        if again or self._lost_in_a_row < LOST_IN_A_ROW:
            return error
        words = f"no answer to {self._lost_in_a_row} questions one after the other, to the last: {error.message}"
        return errors.error("outage", words, http_status=error.http_status)
