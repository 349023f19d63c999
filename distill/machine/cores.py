"""How many cores this process may really use, and how to share them with other programs.

A container may report 64 and be throttled to 2.
"""

import os

SPINS = "500"
"""Iterations of the loop in which OpenMP's threads wait for each other. The default, millions, is faster alone and many
times slower beside other programs, whose cores the waiting threads take (benchmarks/README.md)."""
MEASURE_S = 0.3
BACKGROUND_LOAD = 0.3
"""Cores in use by other programs that do not count as sharing: an idle system uses about as many."""


def cores(physical: bool = False) -> int:
    """Cores that this process may use by its affinity, its container's limit (cgroup) and LOKY_MAX_CPU_COUNT.

    `physical`: two threads of one core count as one, which suits arithmetic, unless one of the three is the limit.
    """
    from loky import cpu_count

    return cpu_count(only_physical_cores=physical)


def are_shared() -> bool:
    """Whether other programs are using some of our cores now; takes MEASURE_S to measure."""
    import psutil

    all_cores = psutil.cpu_count() or 1
    return all_cores * (1 - psutil.cpu_percent(interval=MEASURE_S) / 100) < cores() - BACKGROUND_LOAD


def spin_little() -> None:
    """Keeps OpenMP's threads from waiting busily, unless GOMP_SPINCOUNT is set already. OpenMP reads it once, when it is
    loaded: call this before torch or llama.cpp is imported."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
