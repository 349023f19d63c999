"""Draws the conversations of the page, where all of them would be more than a browser can take."""

import hashlib
import heapq
from collections.abc import Iterator
from typing import Any

import orjson

ROOM = 64 * 2**20
"""Bytes of JSON, about: a page of this size opens within seconds, and can be sent to somebody."""


class Sample:
    """A sample of records that fit into `room` bytes, drawn by a hash of their names, so that their order has no influence.

    Records offered as `first` are taken before all others.
    """

    def __init__(self, room: int = ROOM):
        self._room = room
        self._held: dict[str, Any] = {}
        self._worst: list[tuple[bool, int, str, int]] = []  # a heap of (*rank, name, size): the lowest rank is on top
        self._limit = (False, -(2**64))  # the rank of the last record that was dropped

    def offer(self, name: str, record: Any, first: bool = False, beside: int = 0) -> None:
        """Takes the record, and drops those of the lowest rank while there is no room. `beside`: bytes that come with it."""
        rank = first, -int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
        if rank < self._limit:  # a record of a higher rank has been dropped already
            return
        size = len(orjson.dumps(record)) + beside
        self._held[name] = record
        self._room -= size
        heapq.heappush(self._worst, (*rank, name, size))
        while self._room < 0 and len(self._worst) > 1:
            was_first, hashed, dropped, size = heapq.heappop(self._worst)
            self._limit = (was_first, hashed)
            self._room += size
            del self._held[dropped]

    def __contains__(self, name: str) -> bool:
        return name in self._held

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """(name, record) of all records in the sample."""
        return iter(self._held.items())
