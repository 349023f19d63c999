"""Finds how many rows fit through the model at once, by trying, so that nobody has to set it.

A batch is the same however it is split, so less memory means more parts, not another result. The split of a run is
stored beside its checkpoints: after a kill it resumes with the same parts and ends in the same bytes.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from distill.records.atomic import replacing
from distill.student.training.examples import Examples
from distill.student.training.packing import common_context

TOKENS_AT_ONCE = {"cpu": 1024, "cuda": 8192}  # tokens of one forward pass that are tried first
ENOUGH_TOKENS = 2048  # of one forward pass that keep a card busy: down to here fewer rows cost less than recomputing
FILE = "micro_batch.json"
NOTICE = "DISTILL_OUT_OF_MEMORY"  # names a file by which a launched process tells its launcher to try again


@dataclass(frozen=True)
class Fit:
    """How a batch is split to fit into memory."""

    rows: int
    """Rows of one forward pass in one process."""
    recompute: bool
    """Whether activations are computed again in the backward pass (gradient checkpointing): a third slower."""


def first(examples: Examples, share: int, device: str) -> Fit:
    """The split that is tried first: the largest divisor of `share`, the rows of a batch that one process has, whose packed
    rows stay within TOKENS_AT_ONCE. `device`: cpu or cuda."""
    rows = [vars(sequence) for sequence in [*examples.train, *examples.validation]]
    shared = common_context(rows) if device == "cpu" else 0
    own = longest_row(examples) - shared
    fitting = [n for n in range(1, share + 1) if share % n == 0 and shared + n * own <= TOKENS_AT_ONCE[device]]
    return Fit(max(fitting, default=1), False)


def less(fit: Fit, share: int, longest: int) -> Fit | None:
    """The next split of `share` rows that needs less memory; None where there is none. `longest`: tokens of the longest row."""
    smaller = max((rows for rows in range(1, fit.rows // 2 + 1) if share % rows == 0), default=None)
    if not fit.recompute and (smaller is None or smaller * longest < ENOUGH_TOKENS):
        return Fit(fit.rows, True)
    return Fit(smaller, fit.recompute) if smaller else None


def longest_row(examples: Examples) -> int:
    """Tokens of the longest sequence."""
    return max(len(sequence.input_ids) for sequence in [*examples.train, *examples.validation])


def stored(folder: Path) -> Fit | None:
    """The split that is stored in the folder of a run; None for a new run."""
    file = folder / FILE
    return Fit(**json.loads(file.read_text())) if file.exists() else None


def keep(fit: Fit, folder: Path) -> None:
    """Stores the split for the rest of the run, and tells the launcher, where there is one."""
    with replacing(folder / FILE) as file:
        file.write(json.dumps(asdict(fit)).encode())
    if notice := os.environ.get(NOTICE):
        Path(notice).touch()
