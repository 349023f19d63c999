"""Lines for a person, around one that a terminal keeps up to date."""

import shutil
import sys

CLEAR = "\r\x1b[K"


def is_live() -> bool:
    """Whether a line can be written over: stdout is a terminal."""
    return sys.stdout.isatty()


def say(text: str) -> None:
    """Prints whole lines; a live line that stands there is wiped, and comes again with its next state."""
    print(f"{CLEAR if is_live() else ''}{text}", flush=True)


def width() -> int:
    """Characters that fit into one line: a longer one wraps, and cannot be wiped."""
    return shutil.get_terminal_size().columns - 1
