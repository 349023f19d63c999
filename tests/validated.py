"""`make validate` on a copy of the project."""

import os
import subprocess
import sys
from pathlib import Path

from conftest import ROOT
from stage_process import Done, Running

PATH = f"{ROOT}/.venv/bin:{os.environ['PATH']}"


def validate(project: Path) -> Done:
    """In a process that starts with the imports done, of this code and with its schemas."""
    return Running(project, "distill.commands.validate", PATH=PATH).wait()


def validate_its_own(project: Path) -> "subprocess.CompletedProcess[str]":
    """As a user does, with the project's own code and schemas."""
    environment = {**os.environ, "PYTHONPATH": str(project), "PATH": PATH}
    command = [sys.executable, "-m", "distill.commands.validate"]
    return subprocess.run(command, cwd=project, text=True, capture_output=True, check=False, env=environment)


def in_git(project: Path) -> Path:
    """DVC looks at dvc.yaml only inside a repository."""
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    (project / "dvc.lock").unlink()  # long to read, and nobody asks for it
    return project
