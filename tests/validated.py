"""`make validate` on a copy of the project."""

import os
import subprocess
import sys
from pathlib import Path

from conftest import ROOT


def validate(project: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(project), "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "distill.commands.validate"]
    return subprocess.run(command, cwd=project, text=True, capture_output=True, check=False, env=environment)


def in_git(project: Path) -> Path:
    """DVC looks at dvc.yaml only inside a repository."""
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    (project / "dvc.lock").unlink()  # long to read, and nobody asks for it
    return project
