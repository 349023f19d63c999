"""What a batch brought: its output, read line by line, is in the store before anybody is told of it."""

import asyncio
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

from distill.teacher.answer import Answer
from distill.teacher.batch_endpoint import BatchEndpoint
from distill.teacher.errors import ApiError
from distill.teacher.refusal import refused_in_batch
from distill.teacher.store import Store
from distill.teacher.tariff import Tariff

STORED_AT_ONCE = 1000


class BatchResults:
    """Reads results with `adapter` (the module chat or responses), and charges them by `tariff`."""

    def __init__(self, adapter: ModuleType, store: Store, tariff: Tariff):
        self._adapter, self._store, self._tariff = adapter, store, tariff

    async def stored(self, server: BatchEndpoint, ended: dict[str, Any]) -> AsyncIterator[dict[str, Answer | ApiError]]:
        """What the server has of a batch that is over, by the keys of its requests, in parts; the answers of each are in
        the store. Raises ApiError."""
        async for lines in server.results(ended):
            for start in range(0, len(lines), STORED_AT_ONCE):
                part = lines[start : start + STORED_AT_ONCE]
                kept = await asyncio.gather(*(self._stored(line) for line in part))
                yield {line["custom_id"]: one for line, one in zip(part, kept, strict=True)}

    async def _stored(self, line: dict[str, Any]) -> Answer | ApiError:
        response = line.get("response") or {}
        try:
            if response.get("status_code") != 200:
                raise refused_in_batch(line)
            answer = self._adapter.parse(response["body"], latency_ms=0.0)
        except ApiError as error:
            return error
        answer["tier"] = "batch"
        self._tariff.charge(None, answer, "batch")
        await self._store.keep(line["custom_id"], None, answer)
        return answer
