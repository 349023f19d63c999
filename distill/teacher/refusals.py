"""Refusals in a row: what a server refuses while it answers nobody may be its own fault, or the account's."""

from time import perf_counter

from distill.teacher import errors
from distill.teacher.errors import ApiError

IN_A_ROW = 10


class Refusals:
    """Those of one run. `known`: earlier runs have answers to some of its questions; `answered`: the server has given one
    in this run; `doubtful`: the keys of what was refused, and when, since it was last asked what it did answer."""

    def __init__(self) -> None:
        self.known = self.answered = False
        self.doubtful: dict[str, float] = {}
        self._in_a_row = 0

    def answer(self, asked_at: float) -> None:
        """The server has answered what it was asked at that time: what it refused before was refused for good."""
        self.answered, self._in_a_row = True, 0
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
