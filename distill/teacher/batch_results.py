"""The results of a batch: its output files, read line by line, with every answer stored before anybody gets it."""

import asyncio
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

from distill.teacher.answer import Answer
from distill.teacher.batch_endpoint import BatchEndpoint
from distill.teacher.error_response import error_in_batch_line
from distill.teacher.errors import ApiError
from distill.teacher.store import Store
from distill.teacher.tariff import Tariff

LINES_AT_ONCE = 1000
"""Answers that are written to the store concurrently."""


class BatchResults:
    """Parses results with `adapter` (the module chat or responses), and prices them with `tariff`."""

    def __init__(self, adapter: ModuleType, store: Store, tariff: Tariff):
        self._adapter, self._store, self._tariff = adapter, store, tariff

    async def store_all(
        self, server: BatchEndpoint, batch_status: dict[str, Any]
    ) -> AsyncIterator[dict[str, Answer | ApiError]]:
        """Downloads and stores the results of a batch that has ended; yields them in parts, by the keys of its requests,
        once the answers of a part are in the store. Raises ApiError."""
        async for lines in server.results(batch_status):
            for start in range(0, len(lines), LINES_AT_ONCE):
                part = lines[start : start + LINES_AT_ONCE]
                results = await asyncio.gather(*(self._parse_and_store(line) for line in part))
                yield {line["custom_id"]: result for line, result in zip(part, results, strict=True)}

    async def _parse_and_store(self, line: dict[str, Any]) -> Answer | ApiError:
        response = line.get("response") or {}
        try:
            if response.get("status_code") != 200:
                raise error_in_batch_line(line)
            answer = self._adapter.parse(response["body"], latency_ms=0.0)
        except ApiError as error:
            return error
        answer["tier"] = "batch"
        self._tariff.set_cost(None, answer, "batch")
        await self._store.keep(line["custom_id"], None, answer)
        return answer
