"""OpenAI's Batch API at one endpoint: uploads files, creates, finds and polls batches, and downloads their results.

Calls are retried as questions are. A batch is created again only if the server has none of its name.
"""

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from time import perf_counter
from typing import Any, BinaryIO

import orjson

from distill.project.terminal import say
from distill.teacher.api.error_response import LARGEST_ANSWER, TOO_LARGE
from distill.teacher.api.http import Http, parse_json
from distill.teacher.api.retry import until_answered
from distill.teacher.batch.open_batches import Batch
from distill.teacher.errors import ApiError, Fatal, Transient
from distill.teacher.halt import Halt

UNLISTED_S, UNLISTED_PAUSE_S = 60.0, 3.0
"""How long after an order the server may still be at it, and not list the batch; and the pause between two looks."""
FIRST_POLL_S, LONGEST_POLL_S = 0.25, 60.0
"""Pauses between two polls: they grow from the first to the longest."""
LONGEST_SILENCE_S = 3600.0
"""How long a server that does not answer, or does not say where the answers of a batch are, is polled all the same."""
DELETE_FILES_S = 30.0
"""How long the deletion of a batch's files may take; it is a courtesy, so nobody waits longer."""
MOST_REQUESTS = 50_000
"""OpenAI's limit for one file."""
MOST_BYTES = 200_000_000
"""The same, for its size."""
RESULTS_AT_ONCE = 1000
"""Lines of a result file that are in memory side by side."""
CUSTOM_ID = re.compile(rb'"custom_id": ?"([^"]*)"')
CUSTOM_ID_WITHIN = 1000
"""Bytes at the beginning of a line of which only that is read."""
ENDED = {"completed", "failed", "expired", "cancelled"}
"""The statuses of a batch that the server no longer works on."""


class BatchEndpoint:
    """Requests in its batches go to `path` of the API. Every method raises ApiError, and Fatal once `halt` is set."""

    def __init__(self, http: Http, path: str, halt: Halt):
        self._http, self._path, self._halt = http, path, halt

    async def upload(self, content: bytes) -> str:
        """Uploads an input file; its id."""
        upload = partial(self._http.upload, "/files", "batch.jsonl", content, purpose="batch")
        try:
            reply = await until_answered(upload, self._halt)
        except Fatal as error:
            if error.kind != "not_found":
                raise
            no_batches = f"runtime.tier is batch, and {self._http.base_url} takes no batches: {error.message}"
            raise Fatal("parameter_refused", no_batches, error.http_status) from None
        return str(reply.content["id"])

    async def create(self, batch: Batch) -> str:
        """Creates a batch at the server; its id."""
        body = orjson.dumps(
            {
                "input_file_id": batch.file,
                "endpoint": f"/v1{self._path}",
                "completion_window": "24h",
                "metadata": {"distill": batch.name},
            }
        )
        failed: Transient | None = None

        async def attempt() -> str:
            nonlocal failed
            if failed:  # it may have been created all the same, behind a gateway's refusal or a reply that was lost
                batch_id = await self.find_unconfirmed(batch, 0.0 if failed.maybe_billed else UNLISTED_S)
                if batch_id:
                    return batch_id
            try:
                return str((await self._http.post("/batches", body)).content["id"])
            except Transient as error:
                failed = error
                raise

        return await until_answered(attempt, self._halt)

    async def find(self, batch: Batch) -> str | None:
        """The id of a batch that was created before, found by the name in its metadata; None if the server has none."""
        after = ""
        while True:
            page = await self._get(f"/batches?limit=100{after}")
            for listed in page["data"]:
                if (listed.get("metadata") or {}).get("distill") == batch.name:
                    return str(listed["id"])
            if not page.get("has_more") or not page["data"]:
                return None
            after = f"&after={page['data'][-1]['id']}"

    async def find_unconfirmed(self, batch: Batch, age_s: float) -> str | None:
        """As `find`, for a batch that was ordered `age_s` ago without a reply: looks again while the order may be under way,
        since another one would be paid as well."""
        batch_id, looked_until = await self.find(batch), perf_counter() + UNLISTED_S - age_s
        if batch_id is None and age_s < UNLISTED_S:
            say(
                f"a run was stopped as it ordered a batch, which is not listed: looking for it for {UNLISTED_S - age_s:.0f} s"
            )
        while batch_id is None and perf_counter() < looked_until:
            await self._halt.sleep(UNLISTED_PAUSE_S)
            batch_id = await self.find(batch)
        return batch_id

    async def ended(self, batch: Batch, wait: bool) -> dict[str, Any] | None:
        """The server's status object of a batch that has ended. If it has not, waits for that (`wait`) or returns None. Raises
        Fatal "not_found" where the server knows neither the batch nor its answers.

        A batch takes up to a day, in which the server or the network may well be down for a while.
        """
        pause_s, last_reply_at = FIRST_POLL_S, perf_counter()
        while True:
            try:
                batch_status = await self._get(f"/batches/{batch.id}")
            except Transient as error:
                if not wait or perf_counter() - last_reply_at > LONGEST_SILENCE_S:
                    raise
                say(f"batch {batch.id}: {error.message}; it goes on there, and is looked for again")
            else:
                if batch_status["status"] not in ENDED:
                    last_reply_at = perf_counter()
                elif not _is_unwritten(batch_status):
                    return dict(batch_status)
                elif perf_counter() - last_reply_at > LONGEST_SILENCE_S:
                    raise Fatal("not_found", f"the answers of batch {batch.id} are in no file")
                else:
                    say(f"batch {batch.id} has answers that are in no file yet; it is looked at again")
                if not wait:
                    return None
            await self._halt.sleep(pause_s)
            pause_s = min(pause_s * 1.5, LONGEST_POLL_S)

    async def results(self, batch_status: dict[str, Any]) -> AsyncIterator[list[dict[str, Any]]]:
        """The parsed lines of the result files of a batch that has ended, some at a time and in no order: first answers,
        then errors. A line that is too long for an answer says only that, and a damaged one is left out: one such line may
        not keep all others from being read."""
        for name in ("output_file_id", "error_file_id"):
            if batch_status.get(name):
                with tempfile.TemporaryFile() as file:
                    download = partial(self._http.download, f"/files/{batch_status[name]}/content", file)
                    await until_answered(download, self._halt)
                    file.seek(0)
                    lines = _results(file)
                    while some := list(islice(lines, RESULTS_AT_ONCE)):
                        yield some

    async def delete_files(self, batch: Batch, batch_status: dict[str, Any]) -> None:
        """Deletes the files of a batch that has ended from the server, which keeps them otherwise. Ignores errors, and
        gives up after a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DELETE_FILES_S):
                for file in (batch.file, batch_status.get("output_file_id"), batch_status.get("error_file_id")):
                    with suppress(ApiError):
                        if file:
                            await self._http.delete(f"/files/{file}")

    async def _get(self, path: str) -> Any:
        return (await until_answered(partial(self._http.get, path), self._halt)).content


def _is_unwritten(batch_status: dict[str, Any]) -> bool:
    """Whether a batch has answers that the server names no file for: as if it had none, they would be ordered, and paid,
    again."""
    counts = batch_status.get("request_counts") or {}
    return bool(counts.get("completed")) and not batch_status.get("output_file_id")


def _results(file: BinaryIO) -> Iterator[dict[str, Any]]:
    while line := file.readline(LARGEST_ANSWER + 1):
        if len(line) <= LARGEST_ANSWER:
            with suppress(ValueError):
                result = parse_json(line)
                if isinstance(result, dict) and "custom_id" in result:
                    yield result
            continue
        if custom_id := CUSTOM_ID.search(line, 0, CUSTOM_ID_WITHIN):
            yield {"custom_id": custom_id[1].decode(), "error": {"code": TOO_LARGE}}
        while line and not line.endswith(b"\n"):
            line = file.readline(LARGEST_ANSWER)


def input_files(
    path: str, requests: Iterable[tuple[str, bytes]], max_requests: int
) -> Iterator[tuple[bytes, list[str]]]:
    """The files that send `requests`, each a key and a JSON body, to `path` of the API, and the keys in each file."""
    lines: list[bytes] = []
    keys: list[str] = []
    size = 0
    for key, body in requests:
        line = b'{"custom_id":"%s","method":"POST","url":"/v1%s","body":%s}\n' % (key.encode(), path.encode(), body)
        if lines and (len(lines) == max_requests or size + len(line) > MOST_BYTES):
            yield b"".join(lines), keys
            lines, keys, size = [], [], 0
        lines.append(line)
        keys.append(key)
        size += len(line)
    if lines:
        yield b"".join(lines), keys
