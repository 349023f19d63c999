"""Training on several cards: the stage starts itself once per card, through accelerate.

A base that is not quantised is spread over the cards (FSDP, fsdp.yaml beside this file); each card holds a 4-bit one
whole. For several machines, run the same command on each (docs/gpu.md).
"""

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

from distill.student.training import micro_batch
from distill.student.training.examples import Examples

FSDP = Path(__file__).parent / "fsdp.yaml"
STAGE = "stages.sft_train"
EXAMPLES = "DISTILL_EXAMPLES"
"""Names the file in which a launched process finds the rows, rendered."""


def launched() -> bool:
    """Whether a launcher started this process."""
    return "WORLD_SIZE" in os.environ


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return os.environ.get("RANK", "0") == "0"


def processes() -> int:
    """How many processes train together: those that were launched, else one per card of this machine."""
    if launched():
        return int(os.environ["WORLD_SIZE"])
    import torch

    return max(1, torch.cuda.device_count())


def share_of(cores: int) -> int:
    """How many of a machine's cores this process has to itself, at least one: all until others were launched beside it."""
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def command(processes: int, four_bit: bool) -> list[str]:
    """The command that starts `processes` processes on this machine."""
    strategy = ["--multi_gpu", "--mixed_precision", "bf16"] if four_bit else ["--config_file", str(FSDP)]
    count = ["--num_processes", str(processes), "--num_machines", "1"]
    return [sys.executable, "-m", "accelerate.commands.launch", *strategy, *count, "-m", STAGE]


def run(start: list[str], prepared: Examples) -> int:
    """Runs the command, again whenever it runs out of memory, and returns its exit code. Each process gets what is prepared,
    unless the disk has no room for it: rendering as many times as there are cards takes longer than all else before the
    first step.

    A process that runs out of memory ends all others, and leaves a note of what to try next.
    """
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as nameless:
        # A file without a name is gone with this process, however that ends.
        rows, notice = Path(f"/proc/{os.getpid()}/fd/{nameless.fileno()}"), Path(folder) / "out-of-memory"
        environment = {**os.environ, micro_batch.NOTICE: str(notice)}
        try:
            rows.write_bytes(pickle.dumps(prepared, pickle.HIGHEST_PROTOCOL))
            environment[EXAMPLES] = str(rows)
        except OSError:
            nameless.truncate(0)  # what was written of it, which has filled the disk
        while True:
            code = subprocess.run(start, env=environment, check=False).returncode
            if code == 0 or not notice.exists():
                return code
            notice.unlink()


def prepared() -> Examples | None:
    """What the launching process has prepared; None where there is none, as on several machines."""
    path = os.environ.get(EXAMPLES)
    return pickle.loads(Path(path).read_bytes()) if path else None
