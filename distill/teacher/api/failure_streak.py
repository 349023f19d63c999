"""Failures in a row. When everything fails and nothing is answered, the cause is the server or the account, not the
conversations: then the run ends, and no conversation is marked as refused."""

from time import perf_counter

from distill.teacher import errors
from distill.teacher.errors import ApiError

REFUSALS_IN_A_ROW = 10
"""Refusals of different conversations, with no answer between them, after which the run ends."""
EXHAUSTED_IN_A_ROW = 20
"""The same for requests that have used up their retries, which takes each half a minute and more."""


class FailureStreak:
    """The failures of one run since its last answer.

    `has_stored_answers`: earlier runs have answers to some of its requests. `has_answered`: the server has answered in
    this run. `forbidden`: the keys of conversations that it would not hear, with its words. `unconfirmed`: the keys of
    refused requests, with the time of the refusal, that may be the server's fault: nothing that was sent after them has
    been answered yet.
    """

    def __init__(self) -> None:
        self.has_stored_answers = self.has_answered = False
        self.forbidden: dict[str, ApiError] = {}
        self.unconfirmed: dict[str, float] = {}
        self._refusals = self._exhausted = 0

    def end(self, sent_at: float) -> None:
        """The server has answered a request that was sent at `sent_at`: the refusals before that were final."""
        self.has_answered = True
        self._refusals = self._exhausted = 0
        self.unconfirmed = {key: at for key, at in self.unconfirmed.items() if at > sent_at}

    def of_conversation(self, key: str, error: ApiError) -> ApiError:
        """The error to go on with: where a server that answers others forbids a conversation, it is not the key that lacks a
        right, but a filter or a firewall that dislikes what is said."""
        if error.kind == "forbidden" and (self.has_answered or self.has_stored_answers):
            self.forbidden[key] = error
            return errors.error("blocked", error.message, http_status=error.http_status)
        return error

    def count_refusal(self, key: str, error: ApiError) -> ApiError:
        """The error to raise for a refusal: Fatal for the tenth in a row, and one that may be retried while the server has
        answered nothing.

        That it is too long is the conversation's own fault, unless every conversation is said to be: then the server's
        context or the account's limit is too small.
        """
        too_long = error.kind in ("context_full", "request_too_large")
        everywhere = not self.has_stored_answers and not self.has_answered
        if error.kind not in ("bad_request", "blocked") and not (too_long and everywhere):
            return error
        self.unconfirmed[key] = perf_counter()
        self._refusals += 1
        if self._refusals >= REFUSALS_IN_A_ROW:
            message = f"{self._refusals} conversations were refused one after the other, the last with: {error.message}"
            kind = "forbidden" if error.kind == "blocked" else "parameter_refused"
            return errors.error(kind, message, http_status=error.http_status)
        if too_long or error.kind == "blocked" or self.has_answered:
            return error
        return errors.error("all_refused", error.message, http_status=error.http_status)

    def count_exhausted(self, error: ApiError, failed_before: bool) -> ApiError:
        """The error to raise for a request whose retries are used up: Fatal for the twentieth in a row. One that had
        `failed_before`, in an earlier run, does not count, since it says more about the request than about the server."""
        self._exhausted += not failed_before
        if failed_before or self._exhausted < EXHAUSTED_IN_A_ROW:
            return error
        message = f"no answer to {self._exhausted} questions one after the other, to the last: {error.message}"
        return errors.error("outage", message, http_status=error.http_status)
