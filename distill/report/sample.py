"""Which conversations the page holds where all of them would be more than a browser can take."""

import hashlib
import heapq
from collections.abc import Iterator
from typing import Any

import orjson

ROOM = 64 * 2**20
"""Bytes of JSON, about: a page of that size is read within seconds, and can be sent to somebody."""


class Sample:
    """Records by name, drawn by a hash of the name: the same ones in whatever order they are offered.

    Those offered as `first` go before all others.
    """

    def __init__(self, room: int = ROOM):
        self._room = room
        self._held: dict[str, Any] = {}
        self._worst: list[tuple[bool, int, str, int]] = []  # a heap: what goes next is on top
        self._limit = (False, -(2**64))

    def offer(self, name: str, record: Any, first: bool = False, beside: int = 0) -> None:
        """Takes the record, and drops the last ones by rank while there is no room. `beside`: bytes that come with it."""
        rank = first, -int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
        if rank < self._limit:  # a better one has gone already
            return
        size = len(orjson.dumps(record)) + beside
        self._held[name] = record
        self._room -= size
        heapq.heappush(self._worst, (*rank, name, size))
        while self._room < 0 and len(self._worst) > 1:
            was_first, place, gone, size = heapq.heappop(self._worst)
            self._limit = (was_first, place)
            self._room += size
            del self._held[gone]

    def __contains__(self, name: str) -> bool:
        return name in self._held

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """(name, record) of all that are held."""
        return iter(self._held.items())
