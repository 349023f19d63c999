"""The input files of OpenAI's Batch API: one line per request, and no more in a file than the API takes."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

MOST_REQUESTS = 50_000
MOST_BYTES = 200_000_000


class BatchFile(NamedTuple):
    """A file that can be uploaded, and the keys of the requests in it."""

    content: bytes
    keys: list[str]


def files(path: str, requests: Iterable[tuple[str, bytes]], most: int = MOST_REQUESTS) -> Iterator[BatchFile]:
    """The files that ask `requests`, each a key and a JSON body, at `path` of the API; `most`: requests in a file."""
    lines: list[bytes] = []
    keys: list[str] = []
    size = 0
    for key, body in requests:
        line = b'{"custom_id":"%s","method":"POST","url":"/v1%s","body":%s}\n' % (key.encode(), path.encode(), body)
        if lines and (len(lines) == most or size + len(line) > MOST_BYTES):
            yield BatchFile(b"".join(lines), keys)
            lines, keys, size = [], [], 0
        lines.append(line)
        keys.append(key)
        size += len(line)
    if lines:
        yield BatchFile(b"".join(lines), keys)
