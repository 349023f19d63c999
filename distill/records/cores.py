"""How many cores there are for us: a container may see sixty-four and be stopped whenever it has used two."""


def cores(physical: bool = False) -> int:
    """Cores that this process may use by its affinity, its container's limit (cgroup) and LOKY_MAX_CPU_COUNT.

    `physical`: two threads of one core count as one, as arithmetic wants it, unless one of the three is the limit.
    """
    from loky import cpu_count

    return cpu_count(only_physical_cores=physical)
