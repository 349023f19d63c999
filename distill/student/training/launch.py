"""Training on several cards: the stage starts itself once per card, through accelerate.

A base that is not quantised is spread over the cards (FSDP, fsdp.yaml beside this file); each card holds a 4-bit one
whole. For several machines, run the same command on each (docs/gpu.md).
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from distill.student.training import micro_batch

FSDP = Path(__file__).parent / "fsdp.yaml"
STAGE = "stages.sft_train"


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


def run(start: list[str]) -> int:
    """Runs the command, again whenever it runs out of memory, and returns its exit code.

    A process that runs out of memory ends all others, and leaves a note of what to try next.
    """
    with tempfile.TemporaryDirectory() as folder:
        notice = Path(folder) / "out-of-memory"
        while True:
            code = subprocess.run(start, env={**os.environ, micro_batch.NOTICE: str(notice)}, check=False).returncode
            if code == 0 or not notice.exists():
                return code
            notice.unlink()
