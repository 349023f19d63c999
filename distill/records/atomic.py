"""Atomic writes: a file is either whole or absent, also after a kill or on a full disk."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_BUFFER = 2**20
"""Bytes. With the default of 8 KiB every long row costs system calls: a file of 440 MB takes twice as long."""


@contextmanager
def replacing(path: Path | str) -> Iterator[BinaryIO]:
    """A binary file that replaces `path` when the block succeeds, and is removed when it raises.

    The data is on disk (fsync) before the name appears. Raises OSError.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb", _BUFFER) as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise
