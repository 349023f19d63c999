"""Starts and ends every stage and command: what stops it is one clear message and a non-zero exit code."""

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from distill.project import terminal
from distill.records.faults import InputError
from distill.records.types import Params

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
METRICS = Path("reports/metrics.json")
"""The numbers of a whole run, by which DVC compares experiments."""


def run(main: Callable[[Params], None]) -> None:
    """Runs `main(params)` with the content of params.yaml; ends as `ending` does. Fails where what DVC knows of the stage
    was edited meanwhile."""
    from distill.project import edited, params

    with ending():
        before = edited.inputs()
        main(params.load())
        edited.check(before)


def no_options(what: str | None) -> None:
    """Refuses arguments, which the program would else not see, and run; on --help says `what` it does."""
    terminal.lenient()
    argparse.ArgumentParser(description=what).parse_args()


def forget_metrics() -> None:
    """Takes away the numbers of the last whole run, which are no longer those of what this stage writes: DVC would show them
    beside the new parameters. The report stage, which is the last, makes them anew."""
    METRICS.unlink(missing_ok=True)


@contextmanager
def ending() -> Iterator[None]:
    """Ends the program on bad input, Ctrl-C or a full disk with a message on stderr and exit code 1, not a traceback; without
    a word, and as a shell would, where nobody reads what it prints any more (`| head`)."""
    terminal.lenient()
    try:
        yield
        sys.stdout.flush()
    except InputError as error:
        sys.exit(f"error: {terminal.plain(str(error))}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except BrokenPipeError:
        if not _unread():
            raise
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        if error.errno not in (*FULL, errno.EROFS, errno.EACCES):
            raise
        sys.exit(f"error: {error.filename or 'output'}: {error.strerror}; nothing half-written was left")
    except Exception as error:
        # Libraries that are not written in Python have classes of their own for a full disk (safetensors).
        if not any(os.strerror(code) in str(error) for code in FULL):
            raise
        sys.exit(f"error: {terminal.plain(str(error))}")


def _unread() -> bool:
    """Whether nobody reads standard output, which is muted then."""
    try:
        print(flush=True)
    except BrokenPipeError:
        terminal.mute()
        return True
    return False
