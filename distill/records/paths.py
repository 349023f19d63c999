"""The project's folder, and the cache outside it.

DVC may delete what is in the workspace, so what was paid for or is slow to fetch lies elsewhere.
"""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def cache_dir() -> Path:
    """The folder of models, converted students and checkpoints: `$DISTILL_CACHE`, else `distill` in the user's cache folder."""
    chosen = os.environ.get("DISTILL_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "distill"
