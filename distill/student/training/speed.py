"""Measures the speed of a training against the peak of the machine. It is printed, and never written to an output.

Floating-point operations of LoRA training (gradients go through the frozen weights, but not into them): forward and
backward each pass once through every linear layer, attention has two backward passes, the head counts at learned
positions only.
"""

import resource
import time
from dataclasses import dataclass
from typing import Any

GEMM = (512, 1024, 1024)
"""Rows, inner size and columns of the matrix product that measures the peak of a CPU."""
GEMM_TRIES = 12


@dataclass
class Meter:
    """Counts the operations of a training, without those that recomputing repeats."""

    per_position: float
    """Operations of the linear layers and the adapter for a position."""
    per_pair: float
    """Operations of attention for a position and one that it attends to."""
    per_learned: float
    """Operations of the head for a learned position."""
    done: Any = 0.0

    def count(self, position_ids: Any, learned: int) -> None:
        """A forward and backward pass over `position_ids` (1, T), of which `learned` positions are scored."""
        pairs = position_ids.sum() + position_ids.numel()
        self.done += pairs * self.per_pair + position_ids.numel() * self.per_position + learned * self.per_learned


@dataclass(frozen=True)
class Speed:
    """The speed of a training, and the memory that it took."""

    seconds: float
    tokens_per_s: float
    """Tokens of the rows, padding and shared beginnings not counted twice."""
    utilisation: float | None
    """Share of `peak`; None for a card whose peak is not known."""
    peak: float | None
    """Operations per second: the card's data sheet (bf16, dense), or a measured matrix product on a CPU."""
    memory: int
    """Bytes at the highest point: of the card, or of the process on a CPU."""

    def __str__(self) -> str:
        used = f", {self.utilisation:.0%} of {self.peak / 1e12:.3g} TFLOP/s" if self.utilisation and self.peak else ""
        return f"{self.seconds:.0f} s, {self.tokens_per_s:.0f} tokens/s{used}, {self.memory / 2**30:.1f} GiB at most"


def meter(model: Any) -> Meter:
    """The meter of a peft model. The width of its attention is the input of each layer's o_proj."""
    config, frozen, adapter, attended = model.config.get_text_config(), 0, 0, 0
    for name, module in model.get_base_model().get_decoder().named_modules():
        if name.endswith(".o_proj"):
            attended += module.in_features
        size = getattr(module, "in_features", 0) * getattr(module, "out_features", 0)
        if not size or hasattr(module, "base_layer"):
            continue
        if "lora_" in name:
            adapter += size
        else:
            frozen += size
    return Meter(
        per_position=2 * 2 * frozen + 3 * 2 * adapter,
        per_pair=3 * 2 * 2 * attended,
        per_learned=2 * 2 * config.vocab_size * config.hidden_size,
    )


def measured(done: float, tokens: float, seconds: float, device: str) -> Speed:
    """The speed of a training that did `done` operations in this process, and went through `tokens` in all of them."""
    limit = peak(device)
    rate = done / seconds if seconds else 0.0
    return Speed(seconds, tokens / seconds if seconds else 0.0, rate / limit if limit else None, limit, memory(device))


def peak(device: str) -> float | None:
    """Operations per second that one process can reach; None for a card whose peak is not known."""
    import torch

    if device == "cuda":
        from trl.trainer.utils import get_peak_flops

        return get_peak_flops(torch.cuda.get_device_name(), "bfloat16")
    rows, inner, columns = GEMM
    left, right = torch.ones(rows, inner), torch.ones(inner, columns)
    best = float("inf")
    for _ in range(GEMM_TRIES):
        began = time.perf_counter()
        torch.mm(left, right)
        best = min(best, time.perf_counter() - began)
    return 2 * rows * inner * columns / best


def forget_peak(device: str) -> None:
    """Resets the highest point of a card's memory; that of a process cannot be reset."""
    import torch

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()


def memory(device: str) -> int:
    """Bytes that this process had in use at the highest point."""
    import torch

    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
