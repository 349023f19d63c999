"""The speed of a training: on a card, against the peak of the card. It is printed, and never written to an output."""

import resource
import sys
from dataclasses import dataclass
from typing import Any

from distill.student.training.examples import Examples


@dataclass(frozen=True)
class Speed:
    """The speed of a training, and the memory that it took."""

    seconds: float
    tokens_per_s: float
    """Tokens of the rows, padding and shared beginnings not counted twice."""
    memory: int
    """Bytes at the highest point: of the card, or of the process on a CPU."""
    utilisation: float | None = None
    """Share of `peak`, without what recomputing repeats; None on a CPU, or a card whose peak is not known."""
    peak: float | None = None
    """Operations per second on the card's data sheet (bf16, dense)."""

    def __str__(self) -> str:
        used = f", {self.utilisation:.0%} of {self.peak / 1e12:.3g} TFLOP/s" if self.utilisation and self.peak else ""
        return f"{self.seconds:.0f} s, {self.tokens_per_s:.0f} tokens/s{used}, {self.memory / 2**30:.1f} GiB at most"


def measured(model: Any, examples: Examples, epochs: float, seconds: float, device: str) -> Speed:
    """The speed of a training of the peft `model` that took `seconds` for `epochs` passes over the examples."""
    rate = epochs / seconds
    tokens_per_s = examples.tokens * rate
    if device == "cpu":
        unit = 1 if sys.platform == "darwin" else 1024
        return Speed(seconds, tokens_per_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
    import torch
    from accelerate import PartialState
    from trl.trainer.utils import get_peak_flops

    lengths = [len(sequence.input_ids) for sequence in examples.train]
    pairs = sum(length * (length + 1) / 2 for length in lengths)
    done = operations(model, examples.tokens, pairs, examples.labelled_tokens) / PartialState().num_processes
    peak = get_peak_flops(torch.cuda.get_device_name(), "bfloat16")
    return Speed(seconds, tokens_per_s, torch.cuda.max_memory_allocated(), peak and done * rate / peak, peak)


def operations(model: Any, tokens: float, pairs: float, learned: float) -> float:
    """Floating-point operations of LoRA training of a peft model: `tokens`, the `pairs` of a token and one that it attends
    to, and the `learned` tokens, at which alone the head computes.

    Gradients go through the frozen weights, but not into them: forward and backward each pass once through every linear
    layer, and attention has two backward passes. Its width is the input of each layer's o_proj.
    """
    config, frozen, adapter, attended = model.config.get_text_config(), 0, 0, 0
    for name, module in model.get_base_model().get_decoder().named_modules():
        if name.endswith(".o_proj"):
            attended += module.in_features
        size = getattr(module, "in_features", 0) * getattr(module, "out_features", 0)
        if "lora_" in name:
            adapter += size
        elif not hasattr(module, "base_layer"):
            frozen += size
    head = config.vocab_size * config.hidden_size
    return 2 * (tokens * (2 * frozen + 3 * adapter) + pairs * 6 * attended + learned * 2 * head)
