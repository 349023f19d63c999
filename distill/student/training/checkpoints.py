"""Checkpoints from which a killed training resumes, outside the workspace, named by a hash of all that determines the run.

DVC empties an output before it runs a stage, so checkpoints cannot lie there. A checkpoint counts when its marker
exists, which is written last and has the hashes of the other files; so a kill while one is being written, or a power cut,
costs a few steps, never the run. Those of a run that nobody went on with for 14 days are removed when another begins.
"""

import fcntl
import hashlib
import json
import shutil
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from distill.machine.locked import locked
from distill.records.atomic import replacing
from distill.records.faults import InputError
from distill.records.ids import content_id, file_hash
from distill.records.one_line import one_line
from distill.records.paths import cache_dir
from distill.records.types import Params
from distill.student.training.examples import Examples

MARKER = "complete"
UNWRITTEN = ("inline_container.cc", "PytorchStreamWriter", "iostream error", "(os error ")
"""Parts of the messages of torch (the first three), and of safetensors and tokenizers, when a file cannot be written."""
ABANDONED_S = 14 * 24 * 3600
"""Seconds after its last checkpoint from which a run that does not go on counts as given up."""
LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")


def run_id(examples: Examples, params: Params, fingerprint: str, template: str, machine: list[Any]) -> str:
    """A hash, equal for two runs that would give the same bytes: same tokens, parameters, base, libraries, code and
    `machine` (the device, and the number of processes)."""
    digest = hashlib.sha256()
    for sequences in (examples.train, examples.validation):
        digest.update(len(sequences).to_bytes(8))
        for sequence in sequences:
            for tokens in (sequence.input_ids, sequence.labels):
                digest.update(array("i", [len(tokens)]) + array("i", tokens))
    student = Path(__file__).parents[1]
    for folder in (student, student / "gguf", student / "training"):
        for module in sorted(folder.glob("*.py")):
            digest.update(module.read_bytes())
    libraries = {name: _version(name) for name in LIBRARIES}
    return content_id([digest.hexdigest(), params, fingerprint, template, libraries, machine], 32)


@contextmanager
def working_folder(run: str, first: bool = True) -> Iterator[Path]:
    """The folder of a run, for one training at a time; removed when the block succeeds, kept when it fails.

    Of several processes of one training only the `first` locks and removes it.
    """
    folder = cache_dir() / "checkpoints" / run
    folder.mkdir(parents=True, exist_ok=True)
    if not first:
        yield folder
        return
    with locked(folder.with_suffix(".lock"), "the same training runs on this machine already; waiting for its end"):
        folder.mkdir(exist_ok=True)
        _remove_abandoned(folder.parent)
        yield folder
        shutil.rmtree(folder)


def _remove_abandoned(folder: Path) -> None:
    """Removes the runs in a folder that are old and that no process has locked; their locks stay, or two processes might
    hold one each."""
    for run in folder.glob("*/"):
        with suppress(FileNotFoundError, BlockingIOError):  # it has ended meanwhile, or goes on
            if time.time() - run.stat().st_mtime > ABANDONED_S:
                with run.with_suffix(".lock").open("wb") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(run)


@contextmanager
def saving(what: str, advice: str) -> Iterator[None]:
    """Turns the errors of a file that cannot be written into an InputError with `advice`; `what` names the file.

    A full disk is an OSError in Python, but torch, safetensors and tokenizers each raise something else.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and not any(words in str(error) for words in UNWRITTEN):
            raise
        raise InputError(f"{what} could not be written ({one_line(error)}). {advice}") from None


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def mark_complete(folder: Path, step: int) -> None:
    """Marks checkpoint `step` as completely written."""
    checkpoint = folder / f"checkpoint-{step}"
    hashes = _hashes(checkpoint)
    with replacing(checkpoint / MARKER) as file:
        file.write(json.dumps(hashes).encode())


def newest(folder: Path) -> Path | None:
    """The newest complete checkpoint; incomplete ones are removed."""
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for path in checkpoints:
        if not _is_complete(path):
            shutil.rmtree(path)
    return next((path for path in reversed(checkpoints) if path.exists()), None)


def _is_complete(checkpoint: Path) -> bool:
    """Whether the marker is there, and the files are still those that it lists: where a machine lost its power, some may be
    empty."""
    try:
        # A file that somebody else puts there (`.DS_Store`, `.nfs0001`) costs no checkpoint.
        return json.loads((checkpoint / MARKER).read_bytes()).items() <= _hashes(checkpoint).items()
    except (OSError, ValueError):
        return False


def _hashes(checkpoint: Path) -> dict[str, str]:
    """The SHA-256 of every file of a checkpoint but its marker."""
    files = [path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name != MARKER]
    return {str(path.relative_to(checkpoint)): file_hash(path) for path in files}
