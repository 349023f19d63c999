"""The device that a student computes on: a card, or the cores that this process may use."""

from typing import Literal

from distill.records.cores import cores


def find_device() -> Literal["cpu", "cuda"]:
    """The device of this machine. On a CPU, also limits torch to the cores that this process may use: it would start a
    thread for every core of the machine, and beyond the limit of a container these wait for each other.
    """
    import torch

    if torch.cuda.is_available():
        return "cuda"
    torch.set_num_threads(min(torch.get_num_threads(), cores()))
    return "cpu"
