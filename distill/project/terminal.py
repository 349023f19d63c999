"""Prints lines around a live one, which a terminal overwrites with its latest state."""

import os
import re
import shutil
import sys
from io import TextIOWrapper

CLEAR = "\r\x1b[K"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")


def is_live() -> bool:
    """Whether a line can be overwritten: stdout is a terminal that knows how."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def lenient() -> None:
    """Makes a `?` of what stdout's encoding does not have: where the locale's is not UTF-8, a dash would end an exam."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def plain(text: str) -> str:
    """A text with its control characters written out (`\\x1b`): what a prompt, a tool or a server says would else move a
    terminal's cursor, or set its title."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def say(text: str) -> None:
    """Prints whole lines over the live line, which comes again with its next state; control characters in them in words."""
    print(f"{CLEAR if is_live() else ''}{plain(text)}", flush=True)


def mute() -> None:
    """Sends nowhere what is printed from now on, and what could not be printed, which Python would complain of at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def width() -> int:
    """Characters that fit into one line: a longer one wraps, and cannot be overwritten."""
    return shutil.get_terminal_size().columns - 1
