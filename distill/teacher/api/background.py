"""OpenAI's background mode, for answers that take longer than a connection should be held open: the request is ordered, the
id of its response noted on disk, and the response polled for.

The server goes on with it when the run is killed or stopped; the next run collects it by the note.
"""

import asyncio
from contextlib import suppress
from time import perf_counter

from distill.teacher.api import responses
from distill.teacher.api.http import Http, Reply
from distill.teacher.errors import ApiError, Fatal, Transient
from distill.teacher.halt import Halt
from distill.teacher.store import Note

FIRST_POLL_S, LONGEST_POLL_S = 0.2, 10.0
"""Pauses between two polls: they grow from the first to the longest."""
POLL_FAILURES = 20
"""Polls that may fail in a row before the rollout fails; the note lets a later run collect the response."""
LONGEST_ANSWER_S = 6 * 3600.0
"""A response that takes longer is left to a later run."""
UNKNOWN_S = 60.0
"""How long after an order the server may say that it does not know it: its servers hear of it one after the other, and to
order again would be to pay twice."""
KEPT_S = 29 * 86400.0
"""OpenAI deletes finished responses after 30 days. A younger one that is missing was ordered with another key."""
DELETE_S = 10.0
"""How long `close` waits for deletions at the server."""


class Background:
    """Background responses at `path` of the Responses API."""

    def __init__(self, http: Http, path: str, halt: Halt):
        self._http, self._path, self._halt = http, path, halt
        self._deletions: set[asyncio.Task[None]] = set()

    async def post(self, data: bytes, note: Note) -> Reply:
        """The finished response to a request; one that an earlier run has ordered is polled for, not ordered again.

        The note stays until the answer is stored; clearing it deletes the response at the server. Raises ApiError.
        """
        noted_id = note.read()
        ordered_now = noted_id is None
        if noted_id is None:
            reply = _checked(await self._http.post(self._path, data))
            response_id = str(reply.content["id"])
            note.write(response_id)
        else:
            reply, response_id = Reply({"status": "queued"}, {}), noted_id
        ordered_at = perf_counter() - note.age_s()
        note.on_clear = lambda: self._start_deletion(response_id)
        pause_s, failures, give_up_at = FIRST_POLL_S, 0, perf_counter() + LONGEST_ANSWER_S
        while reply.content.get("status") in responses.PENDING:
            if perf_counter() > give_up_at:
                raise ApiError("timeout", f"no answer in {LONGEST_ANSWER_S / 3600:.0f} hours", maybe_billed=ordered_now)
            await self._halt.sleep(pause_s)
            pause_s = min(pause_s * 1.5, LONGEST_POLL_S)
            try:
                reply = await self._poll(response_id)
                failures = 0
            except Transient as error:
                failures += 1
                if failures == POLL_FAILURES:
                    raise ApiError(error.kind, error.message, error.http_status, maybe_billed=ordered_now) from None
            except Fatal as error:
                if error.kind != "not_found":
                    raise
                if perf_counter() - ordered_at > UNKNOWN_S:
                    raise _missing(response_id, note, ordered_now) from None
        return reply

    async def close(self) -> None:
        """Waits a moment for the deletions that are under way."""
        if self._deletions:
            await asyncio.wait(self._deletions, timeout=DELETE_S)

    async def _poll(self, response_id: str) -> Reply:
        return _checked(await self._http.get(f"{self._path}/{response_id}?include[]=reasoning.encrypted_content"))

    def _start_deletion(self, response_id: str) -> None:
        task = asyncio.create_task(self._delete(response_id))
        self._deletions.add(task)
        task.add_done_callback(self._deletions.discard)

    async def _delete(self, response_id: str) -> None:
        with suppress(ApiError):  # OpenAI deletes it itself after 30 days
            await self._http.delete(f"{self._path}/{response_id}")


def _checked(reply: Reply) -> Reply:
    """The reply, if it is a response with an id. Raises Transient if it is anything else."""
    if not isinstance(reply.content, dict) or not reply.content.get("id"):
        raise Transient("broken_answer", f"the answer is not a response: {reply.content}", maybe_billed=True)
    return reply


def _missing(response_id: str, note: Note, ordered_now: bool) -> ApiError:
    """The error for a response that the server does not have: Fatal if it should have it; else the note is cleared and
    the request may be sent again."""
    if not ordered_now and note.age_s() < KEPT_S:
        return Fatal(
            "ordered",
            f"answer {response_id} was ordered, and the server does not know it: use the key it was ordered with, or delete "
            f"{note.path} to order (and pay) again",
            404,
        )
    note.clear()
    return Transient("server", "the server no longer has the answer", 404, maybe_billed=ordered_now)


def ordered_message(response_id: str, note: Note) -> str:
    """The error message for a run that would send a request another way while its background response is noted here."""
    return (
        f"answer {response_id} was ordered in the background, and would be paid as well: collect it with runtime.tier: "
        f"standard, or delete {note.path} to order (and pay) again"
    )
