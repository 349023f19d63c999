"""The committed files of a project."""

import subprocess
from pathlib import Path


def of_revision(root: Path, revision: str, file: str) -> str:
    """The text of a file of the project in `root` at a git revision; empty when there is no such one, or it has none."""
    return _git(root, "show", f"{revision}:./{file}")


def commits_of(root: Path, revision: str, file: str, most: int) -> list[str]:
    """The last commits behind a git revision that changed a file of the project in `root`, on all the branches that were
    merged into it; none when there is no such revision."""
    return _git(root, "rev-list", "--full-history", f"--max-count={most}", revision, "--", file).split()


def version(root: Path) -> str:
    """The commit of the project in `root`, with `-dirty` behind it where files have changed since; empty where there is none."""
    return _git(root, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*").strip()


def folder_in_git(root: Path) -> str:
    """Where the project in `root` lies in its git repository: empty, or a path that ends in a slash."""
    return _git(root, "rev-parse", "--show-prefix").removesuffix("\n")


def _git(root: Path, *command: str) -> str:
    return subprocess.run(["git", *command], cwd=root, capture_output=True, text=True, check=False).stdout
