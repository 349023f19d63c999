"""How many rows go through the model at once: as many as fit, found out rather than asked for.

A batch is the same whatever its parts are, so less memory means more parts, not another result. What a run has found
out is kept beside its checkpoints: after a kill it goes on with the same parts and ends in the same bytes.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from distill.records.atomic import replacing
from distill.student.training.examples import Examples
from distill.student.training.packing import common_context

TOKENS_AT_ONCE = {"cpu": 1024, "cuda": 8192}  # of one forward pass, to begin with
ENOUGH_TOKENS = 2048  # keep a card busy: fewer rows cost nothing down to here, computing activations again a third
OUT_OF_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
FILE = "memory.json"
NOTICE = "DISTILL_OUT_OF_MEMORY"  # a file that a launched process makes, so that whoever launched it tries again


@dataclass(frozen=True)
class Fit:
    """The parts of a batch."""

    rows: int
    """Rows of one forward pass in one process."""
    recompute: bool
    """Whether activations are computed again in the backward pass (gradient checkpointing): a third slower."""


def first(examples: Examples, share: int, device: str) -> Fit:
    """Where to begin: `share` is what one process has of a batch; device is cpu or cuda."""
    return Fit(rows_at_once(examples, share, TOKENS_AT_ONCE[device], device == "cpu"), False)


def less(fit: Fit, share: int, longest: int) -> Fit | None:
    """The next smaller parts of a batch of `share` rows, whose longest has `longest` tokens; None where there are none."""
    smaller = max((rows for rows in range(1, fit.rows // 2 + 1) if share % rows == 0), default=None)
    if not fit.recompute and (smaller is None or smaller * longest < ENOUGH_TOKENS):
        return Fit(fit.rows, True)
    return Fit(smaller, fit.recompute) if smaller else None


def rows_at_once(examples: Examples, share: int, tokens: int, shared_context: bool) -> int:
    """Rows of one forward pass: the largest divisor of `share` whose packed rows stay within `tokens`."""
    rows = [vars(sequence) for sequence in [*examples.train, *examples.validation]]
    shared = common_context(rows) if shared_context else 0
    longest = longest_row(examples)
    fitting = [n for n in range(1, share + 1) if share % n == 0 and shared + n * (longest - shared) <= tokens]
    return max(fitting, default=1)


def longest_row(examples: Examples) -> int:
    """Tokens of the longest sequence."""
    return max(len(sequence.input_ids) for sequence in [*examples.train, *examples.validation])


def is_out_of_memory(error: BaseException) -> bool:
    """torch has a type of its own for what it allocates on cards, and only words for the rest."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)
    )


def found(folder: Path) -> Fit | None:
    """What a run that was killed had found out."""
    file = folder / FILE
    return Fit(**json.loads(file.read_text())) if file.exists() else None


def keep(fit: Fit, folder: Path) -> None:
    """Keeps the parts for the rest of the run, and tells the launcher, when there is one."""
    with replacing(folder / FILE) as file:
        file.write(json.dumps(asdict(fit)).encode())
    if notice := os.environ.get(NOTICE):
        Path(notice).touch()
