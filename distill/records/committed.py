"""The committed files of a project."""

import subprocess
from pathlib import Path


def of_revision(root: Path, revision: str, file: str) -> str:
    """The text of a file of the project in `root` at a git revision; empty when there is no such one, or it has none."""
    return _git(root, "show", f"{revision}:./{file}")


def commit_of(root: Path, revision: str) -> str:
    """The whole hash of the commit that git calls so."""
    return _git(root, "rev-parse", "--verify", revision).strip()


def folder_in_git(root: Path) -> str:
    """Where the project in `root` lies in its git repository: empty, or a path that ends in a slash."""
    return _git(root, "rev-parse", "--show-prefix").removesuffix("\n")


def _git(root: Path, *command: str) -> str:
    return subprocess.run(["git", *command], cwd=root, capture_output=True, text=True, check=False).stdout
