"""How many cores there are for us: a container may see sixty-four and be stopped whenever it has used two. And how to share
them with other programs."""

import os

SPINS = "500"
"""Turns of the loop in which OpenMP's threads wait for each other. Its default, millions, is faster alone and many times
slower beside other programs, whose cores the waiting threads take (benchmarks/README.md)."""
LOOK_S = 0.3
SOME = 0.3
"""Cores: less than that is anybody's background."""


def cores(physical: bool = False) -> int:
    """Cores that this process may use by its affinity, its container's limit (cgroup) and LOKY_MAX_CPU_COUNT.

    `physical`: two threads of one core count as one, as arithmetic wants it, unless one of the three is the limit.
    """
    from loky import cpu_count

    return cpu_count(only_physical_cores=physical)


def are_shared() -> bool:
    """Whether other programs use some of our cores now; takes LOOK_S to see."""
    import psutil

    every = psutil.cpu_count() or 1
    return every * (1 - psutil.cpu_percent(interval=LOOK_S) / 100) < cores() - SOME


def spin_little() -> None:
    """Keeps OpenMP's threads from waiting busily, unless GOMP_SPINCOUNT says otherwise. It is read once, when OpenMP is
    loaded: to be called before torch and llama.cpp are."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
