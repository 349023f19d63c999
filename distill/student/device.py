"""Where a student computes: on a card, or on the cores that are ours."""

from typing import Literal

from distill.records.cores import cores


def find_device() -> Literal["cpu", "cuda"]:
    """What this machine has. On a CPU, torch is kept to our share of the cores; by itself it goes by what it sees, and
    beyond the limit of a container its threads would wait for each other.
    """
    import torch

    if torch.cuda.is_available():
        return "cuda"
    torch.set_num_threads(min(torch.get_num_threads(), cores()))
    return "cpu"
