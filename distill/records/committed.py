"""The committed files of a project."""

import subprocess
from pathlib import Path


def of_head(root: Path, file: str) -> str:
    """The text of a file of the project in `root` at git HEAD; empty when HEAD has none."""
    return subprocess.run(
        ["git", "show", f"HEAD:./{file}"], cwd=root, capture_output=True, text=True, check=False
    ).stdout
