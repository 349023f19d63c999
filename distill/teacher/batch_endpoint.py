"""OpenAI's Batch API at one endpoint: files go up, batches are ordered, found, watched, and what they brought comes back.

What costs nothing is asked as often as it takes. An order is placed anew only where the server knows none of its name.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from time import perf_counter
from typing import Any

import orjson

from distill.records.terminal import say
from distill.teacher.errors import ApiError, Transient
from distill.teacher.halt import Halt
from distill.teacher.http import Http, parsed
from distill.teacher.open_batches import Batch

FIRST_POLL_S, LONGEST_POLL_S = 0.25, 60.0
ATTEMPTS = 6
LONGEST_SILENCE_S = 3600.0
FORGET_S = 30.0
OVER = {"completed", "failed", "expired", "cancelled"}


class BatchEndpoint:
    """Requests in its batches go to `path` of the API. Everything raises ApiError, and Fatal once `halt` is set."""

    def __init__(self, http: Http, path: str, halt: Halt):
        self._http, self._path, self._halt = http, path, halt

    async def upload(self, content: bytes) -> str:
        """The id of a file that is uploaded now."""
        reply = await self._steadily(lambda: self._http.upload("/files", "batch.jsonl", content, purpose="batch"))
        return str(reply.content["id"])

    async def order(self, batch: Batch) -> str:
        """The id of a batch that is ordered now."""
        order = orjson.dumps(
            {
                "input_file_id": batch.file,
                "endpoint": f"/v1{self._path}",
                "completion_window": "24h",
                "metadata": {"distill": batch.name},
            }
        )
        return str(await self._steadily(lambda: self._ordered(batch, order)))

    async def find(self, batch: Batch) -> str | None:
        """The id of a batch that was ordered before, by the name that went along; None when the server knows none."""
        after = ""
        while True:
            ask = f"/batches?limit=100{after}"
            listed = (await self._steadily(lambda ask=ask: self._http.get(ask))).content  # type: ignore[misc]
            for known in listed["data"]:
                if (known.get("metadata") or {}).get("distill") == batch.name:
                    return str(known["id"])
            if not listed.get("has_more") or not listed["data"]:
                return None
            after = f"&after={listed['data'][-1]['id']}"

    async def ended(self, batch: Batch, wait: bool) -> dict[str, Any] | None:
        """What the server says of a batch that is over; None of one that goes on, unless it is to be waited for.

        A batch takes up to a day, in which the server or the network may well be out of order for a while.
        """
        pause, heard_at = FIRST_POLL_S, perf_counter()
        while True:
            try:
                now = (await self._steadily(lambda: self._http.get(f"/batches/{batch.id}"))).content
            except Transient as error:
                if not wait or perf_counter() - heard_at > LONGEST_SILENCE_S:
                    raise
                say(f"batch {batch.id}: {error.message}; it goes on there, and is looked for again")
            else:
                heard_at = perf_counter()
                if now["status"] in OVER:
                    return dict(now)
                if not wait:
                    return None
            await self._halt.sleep(pause)
            pause = min(pause * 1.5, LONGEST_POLL_S)

    async def results(self, ended: dict[str, Any]) -> AsyncIterator[list[dict[str, Any]]]:
        """The lines of each file that a batch brought, in no order: answers, then errors."""
        for name in ("output_file_id", "error_file_id"):
            if ended.get(name):
                path = f"/files/{ended[name]}/content"
                content = await self._steadily(lambda path=path: self._http.get_bytes(path))  # type: ignore[misc]
                yield [parsed(line) for line in content.splitlines()]

    async def forget(self, ended: Batch, now: dict[str, Any]) -> None:
        """Removes the files of a batch that is over from the server, where they would lie until somebody does; gives up
        after a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FORGET_S):
                for file in (ended.file, now.get("output_file_id"), now.get("error_file_id")):
                    with suppress(ApiError):
                        if file:
                            await self._http.delete(f"/files/{file}")

    async def _ordered(self, batch: Batch, order: bytes) -> str:
        """What the server refused for a while may be ordered again; when its answer was lost, that is for the next run,
        which will find the batch if there is one by then."""
        try:
            return str((await self._http.post("/batches", order)).content["id"])
        except Transient as error:
            if error.maybe_billed:
                raise ApiError(error.kind, error.message, error.http_status) from None
            if found := await self.find(batch):
                return found
            raise

    async def _steadily(self, ask: Callable[[], Any]) -> Any:
        pause = FIRST_POLL_S
        for _ in range(ATTEMPTS - 1):
            try:
                return await ask()
            except Transient as error:
                await self._halt.sleep(error.retry_after_s or pause)
                pause = min(pause * 2, LONGEST_POLL_S)
        return await ask()
