"""The checks of `checks.py`: the user's own functions under `@check`."""

from distill.dataset.checks.context import CheckContext
from distill.dataset.checks.fault import Fault, listed
from distill.records.types import Row

ADVICE = "your own checks in checks.py say why"


def check(row: Row, context: CheckContext) -> Fault | None:
    faults = [(name, fault) for name, check in context.own.items() if (fault := check(row)) is not None]
    if not faults:
        return None
    if len(faults) == 1:
        ((name, fault),) = faults
        return fault._replace(detail=f"{name}: {fault.detail}")
    joined = listed([("checks.py", f"{name}: {fault.detail}") for name, fault in faults])
    all_point = all(fault.pointers for _, fault in faults)  # a fault of the whole row cannot be masked
    pointers = tuple(pointer for _, fault in faults for pointer in fault.pointers) if all_point else ()
    return joined._replace(pointers=pointers)
