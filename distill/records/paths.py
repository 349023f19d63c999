"""The project's folder, and the cache outside it.

DVC may delete what is in the workspace, so what was paid for or is slow to fetch lies elsewhere.
"""

import os
from pathlib import Path

from distill.records.faults import InputError

PROJECT = Path(__file__).resolve().parents[2]


def cache_dir() -> Path:
    """The folder of models, converted students and checkpoints: `$DISTILL_CACHE`, else `distill` in the user's cache folder."""
    return chosen_dir("DISTILL_CACHE") or (chosen_dir("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "distill"


def chosen_dir(variable: str) -> Path | None:
    """The folder that an environment variable names, None where it names none. Raises InputError for a relative path: it
    would be another folder in each of DVC's temporary experiments, where all answers would be bought again."""
    chosen = os.environ.get(variable)
    folder = Path(chosen).expanduser() if chosen else None
    if folder and not folder.is_absolute():
        raise InputError(f"{variable}={chosen} is a relative path: name the whole one, such as {folder.absolute()}")
    return folder
