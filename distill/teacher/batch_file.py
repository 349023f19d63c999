"""The input files of OpenAI's Batch API: one line per request, within the API's limits for one file."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

MOST_REQUESTS = 50_000
"""OpenAI's limit for one file."""
MOST_BYTES = 200_000_000
"""The same, for its size."""


class BatchFile(NamedTuple):
    """A file that can be uploaded, and the keys of the requests in it."""

    content: bytes
    keys: list[str]


def split(path: str, requests: Iterable[tuple[str, bytes]], max_requests: int = MOST_REQUESTS) -> Iterator[BatchFile]:
    """The input files that send `requests`, each a key and a JSON body, to `path` of the API."""
    lines: list[bytes] = []
    keys: list[str] = []
    size = 0
    for key, body in requests:
        line = b'{"custom_id":"%s","method":"POST","url":"/v1%s","body":%s}\n' % (key.encode(), path.encode(), body)
        if lines and (len(lines) == max_requests or size + len(line) > MOST_BYTES):
            yield BatchFile(b"".join(lines), keys)
            lines, keys, size = [], [], 0
        lines.append(line)
        keys.append(key)
        size += len(line)
    if lines:
        yield BatchFile(b"".join(lines), keys)
