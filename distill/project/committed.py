"""What git has of the project that we are in."""

import subprocess


def of_revision(revision: str, file: str) -> str:
    """The text of a file of the project at a git revision; empty when there is no such one, or it has none."""
    return _git("show", f"{revision}:./{file}")


def commits_of(revision: str, file: str, most: int) -> list[str]:
    """The last commits behind a git revision that changed a file of the project, on all the branches that were merged into
    it; none when there is no such revision."""
    return _git("rev-list", "--full-history", f"--max-count={most}", revision, "--", file).split()


def version() -> str:
    """The commit of the project, with `-dirty` behind it where files have changed since; empty where there is none."""
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*").strip()


def folder_in_git() -> str:
    """Where the project lies in its git repository: empty, or a path that ends in a slash."""
    return _git("rev-parse", "--show-prefix").removesuffix("\n")


def _git(*command: str) -> str:
    return subprocess.run(["git", *command], capture_output=True, text=True, check=False).stdout
