"""What git has of this project."""

import subprocess
from pathlib import Path


def of_head(root: Path, file: str) -> str:
    """A file of the project in `root` as git HEAD has it; empty where there is none."""
    return subprocess.run(
        ["git", "show", f"HEAD:./{file}"], cwd=root, capture_output=True, text=True, check=False
    ).stdout
