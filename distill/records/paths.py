"""Folders outside the workspace: what DVC may delete must not hold what was paid for or is slow to fetch."""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def cache_dir() -> Path:
    """Models, converted students and checkpoints: `$DISTILL_CACHE`, else `distill` in the user's cache folder."""
    chosen = os.environ.get("DISTILL_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "distill"
