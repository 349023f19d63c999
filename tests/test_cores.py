"""No more threads than cores that are ours. The environment variable stands for a container's limit: the same library,
and the same number, serve both."""

import os
import subprocess
import sys
from pathlib import Path

from distill.machine.cores import are_shared, cores, spin_little

TORCH = "import torch; from distill.student.device import find_device; print(find_device(), torch.get_num_threads())"


def test_a_limit_holds_for_workers_and_arithmetic(monkeypatch):
    assert 1 <= cores(physical=True) <= cores() <= (os.cpu_count() or 1)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert cores() == cores(physical=True) == 1


def test_other_programs_are_seen_and_then_nothing_waits_busily(monkeypatch):
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        assert are_shared()
    finally:
        for process in busy:
            process.kill()
            process.wait()
    monkeypatch.setattr("psutil.cpu_percent", lambda interval: 1.0)  # other tests may be at work beside this one
    assert not are_shared()
    monkeypatch.delenv("GOMP_SPINCOUNT")
    spin_little()
    assert os.environ["GOMP_SPINCOUNT"] == "500"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    spin_little()
    assert os.environ["GOMP_SPINCOUNT"] == "7"


def test_torch_keeps_to_it_unless_it_was_told_to_do_with_less():
    def threads(**told: str) -> str:
        start = [sys.executable, "-c", TORCH]
        said = subprocess.run(
            start,
            cwd=Path(__file__).parent.parent,
            env={**os.environ, **told},
            capture_output=True,
            text=True,
            check=True,
        )
        return said.stdout.split()[-1]

    limit = {"LOKY_MAX_CPU_COUNT": "2", "CUDA_VISIBLE_DEVICES": ""}
    assert threads(OMP_NUM_THREADS="3", **limit) == "2"
    assert threads(OMP_NUM_THREADS="1", **limit) == "1"
