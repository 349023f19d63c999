"""How every stage and command starts and ends: one clear message and a non-zero exit when it cannot go on."""

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
    """Bad input, Ctrl-C and a full disk end the program in a message on stderr and exit code 1, not in a traceback."""
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
