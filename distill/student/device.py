"""The device that a student computes on, a card or the cores that this process may use; and whether its memory ran out."""

import gc
from typing import Literal

from distill.machine.cores import cores

OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def find_device() -> Literal["cpu", "cuda"]:
    """The device of this machine. On a CPU, also limits torch to the cores that this process may use: it would start a
    thread for every core of the machine, and beyond the limit of a container these wait for each other.
    """
    import torch

    if torch.cuda.is_available():
        return "cuda"
    torch.set_num_threads(min(torch.get_num_threads(), cores()))
    return "cpu"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out: torch has a type for that of cards, and only messages for the rest."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)
    )


def times_out_of_memory() -> int:
    """How often the memory of the card has run out in this process, also where nobody heard of it."""
    import torch

    return torch.cuda.memory_stats().get("num_ooms", 0)


def free_memory() -> None:
    """Frees the card's memory that is no longer used, also by objects that only refer to each other; its highest point is
    taken anew."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
