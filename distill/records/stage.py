"""Starts and ends every stage and command: what stops it is one clear message and a non-zero exit code."""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from distill.records.faults import InputError


def run(main: Callable[[dict[str, Any]], None]) -> None:
    """Runs `main(params)` with the content of params.yaml; ends as `ending` does."""
    from distill.records import params

    with ending():
        main(params.load())


@contextmanager
def ending() -> Iterator[None]:
    """Ends the program on bad input, Ctrl-C or a full disk with a message on stderr and exit code 1, not a traceback."""
    try:
        yield
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES):
            raise
        sys.exit(f"error: {error.filename or 'output'}: {os.strerror(error.errno)}; nothing half-written was left")
