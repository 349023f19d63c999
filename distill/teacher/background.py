"""Answers that take longer than a connection should be held open: ordered, noted on disk, and polled for.

A run that is killed or stopped leaves them in the making; the next one collects them by their notes.
"""

import asyncio
from contextlib import suppress
from time import perf_counter

from distill.teacher import responses
from distill.teacher.errors import ApiError, Fatal, Transient
from distill.teacher.halt import Halt
from distill.teacher.http import Http, Reply
from distill.teacher.store import Note

FIRST_POLL_S, LONGEST_POLL_S = 0.2, 10.0
POLL_FAILURES = 20
"""Failed looks at an answer in the making after which the rollout gives up; the note lets a later run look again."""
LONGEST_ANSWER_S = 6 * 3600.0
"""An answer in the making that takes longer is left to a later run."""
KEPT_S = 29 * 86400.0
"""OpenAI drops finished answers after 30 days."""
FORGET_S = 10.0


class Background:
    """Answers at `path` of the Responses API."""

    def __init__(self, http: Http, path: str, halt: Halt):
        self._http, self._path, self._halt = http, path, halt
        self._forgetting: set[asyncio.Task[None]] = set()

    async def post(self, data: bytes, note: Note | None) -> Reply:
        """The finished response to a request; one that an earlier run began is not begun again. Raises ApiError.

        The note stays until the answer is stored; then the server may forget it.
        """
        begun = note.read() if note else None
        reply, ours = Reply({"status": "queued"}, {}), begun is None
        if begun is None:
            reply = _response(await self._http.post(self._path, data))
            begun = str(reply.content["id"])
            if note:
                note.write(begun)
        if note:
            note.on_clear = lambda: self._forget(begun)
        pause, failures, over = FIRST_POLL_S, 0, perf_counter() + LONGEST_ANSWER_S
        while reply.content.get("status") in responses.PENDING:
            if perf_counter() > over:
                raise ApiError("timeout", f"no answer in {LONGEST_ANSWER_S / 3600:.0f} hours", maybe_billed=ours)
            await (self._halt.sleep(pause) if note else asyncio.sleep(pause))
            pause = min(pause * 1.5, LONGEST_POLL_S)
            try:
                reply = _response(await self._http.get(f"{self._path}/{begun}?include[]=reasoning.encrypted_content"))
                failures = 0
            except Transient as error:
                failures += 1
                if failures == POLL_FAILURES:
                    raise ApiError(error.kind, error.message, error.http_status, maybe_billed=ours) from None
            except Fatal as error:
                if error.kind != "not_found" or note is None:
                    raise
                if not ours and note.age_s() < KEPT_S:
                    raise Fatal("ordered", _lost(begun, note), 404) from None
                note.clear()
                raise Transient("server", "the server no longer has the answer", 404, maybe_billed=ours) from None
        return reply

    async def close(self) -> None:
        """Lets the server be told what it may forget, for a while."""
        if self._forgetting:
            await asyncio.wait(self._forgetting, timeout=FORGET_S)

    def _forget(self, begun: str) -> None:
        task = asyncio.create_task(self._deleted(begun))
        self._forgetting.add(task)
        task.add_done_callback(self._forgetting.discard)

    async def _deleted(self, begun: str) -> None:
        with suppress(ApiError):  # a copy that OpenAI drops after 30 days
            await self._http.delete(f"{self._path}/{begun}")


def _response(reply: Reply) -> Reply:
    """A reply that is a response with an id. Raises Transient when it is something else."""
    if not isinstance(reply.content, dict) or not reply.content.get("id"):
        raise Transient("broken_answer", f"the answer is not a response: {reply.content}", maybe_billed=True)
    return reply


def making(begun: str, note: Note) -> str:
    """What a person is told who asks in another way for an answer that is in the making here."""
    return (
        f"answer {begun} was ordered in the background, and would be paid as well: collect it with runtime.tier: standard, "
        f"or delete {note.path} to order (and pay) again"
    )


def _lost(begun: str, note: Note) -> str:
    return (
        f"answer {begun} was ordered, and the server does not know it: use the key it was ordered with, or delete "
        f"{note.path} to order (and pay) again"
    )
