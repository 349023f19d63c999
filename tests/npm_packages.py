"""Programs from npm that tests run: installed as their lock file says, once, outside of the project."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from distill.records.paths import cache_dir


def installed(source: Path) -> Path:
    """A folder with what package-lock.json in `source` names, in its node_modules. Skips without node and npm."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip(f"{source.name} needs node and npm, which are not here")
    lock = (source / "package-lock.json").read_bytes()
    folder = cache_dir() / f"{source.name}-{hashlib.sha256(lock).hexdigest()[:12]}"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy2(source / name, folder / name)
        done = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=folder,
            env={**os.environ, "PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"{source.name} cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
        (folder / "done").touch()
    return folder
