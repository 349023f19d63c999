"""Prints lines around a live one, which a terminal overwrites with its latest state."""

import os
import shutil
import sys

CLEAR = "\r\x1b[K"


def is_live() -> bool:
    """Whether a line can be overwritten: stdout is a terminal."""
    return sys.stdout.isatty()


def say(text: str) -> None:
    """Prints whole lines over the live line, which comes again with its next state."""
    print(f"{CLEAR if is_live() else ''}{text}", flush=True)


def mute() -> None:
    """Sends nowhere what is printed from now on, and what could not be printed, which Python would complain of at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def width() -> int:
    """Characters that fit into one line: a longer one wraps, and cannot be overwritten."""
    return shutil.get_terminal_size().columns - 1
