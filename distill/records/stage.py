"""How every stage starts and ends: params in, one clear message and a non-zero exit when it cannot go on."""

import errno
import os
import sys
from collections.abc import Callable
from typing import Any

from distill.records import params
from distill.records.faults import InputError


def run(main: Callable[[dict[str, Any]], None]) -> None:
    """Runs `main(params)`. Bad input and a full disk end in a message on stderr and exit code 1, not a traceback."""
    try:
        main(params.load())
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES):
            raise
        sys.exit(f"error: {error.filename or 'output'}: {os.strerror(error.errno)}; nothing half-written was left")
