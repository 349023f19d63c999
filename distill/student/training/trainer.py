"""TRL's SFTTrainer with a loss and an evaluation of our own.

TRL renders, truncates and packs in ways that silently lose labels, and on a CPU it computes logits at every position of
every row. So it gets rendered sequences, batches that are packed here (packing.py), and a loss that computes logits at
learned positions only. The optimizer, schedule, checkpoints and devices are TRL's, and the output matrix on a card.
"""

from dataclasses import replace
from typing import Any

import numpy
import pyarrow
import torch
from datasets import Dataset
from transformers import AutoTokenizer, PrinterCallback
from trl import SFTTrainer

from distill.student.render import TokenSequence
from distill.student.training.callback import Watch
from distill.student.training.checkpoints import saving
from distill.student.training.examples import Examples
from distill.student.training.packing import attend_row_by_row, can_tile, collator, summed_loss


class Student(SFTTrainer):
    """Trains on sequences."""

    model: Any
    eval_dataset: Any
    tiled: bool | None = None
    """Whether logits are computed in tiles; None until the first step, before which FSDP's weights are not on the cards."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if self.tiled is None:
            self.tiled = not self.args.use_cpu and can_tile(model)
        loss, learned = summed_loss(model, inputs, self.tiled)
        if num_items_in_batch is None:
            return loss / learned
        # num_items_in_batch counts the labels of all processes, and their gradients are averaged.
        return loss * self.accelerator.num_processes / num_items_in_batch

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The mean loss of the held-out tokens. Every process computes all of it, which is little and needs no exchange."""
        self.model.eval()
        rows, at_once = list(self.eval_dataset), self.args.per_device_eval_batch_size
        loss, labels = 0.0, 0
        with torch.no_grad():
            for start in range(0, len(rows), at_once):
                inputs = self._prepare_inputs(self.data_collator(rows[start : start + at_once]))
                with self.compute_loss_context_manager():
                    part, learned = summed_loss(self.model, inputs, bool(self.tiled))
                loss, labels = loss + part.item(), labels + learned
        metrics = {"eval_loss": loss / labels}
        self.log(metrics)
        self.model.train()
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        place = f"a checkpoint of step {self.state.global_step} in {self.args.output_dir}"
        with saving(place, "Free some space, or set DISTILL_CACHE to another disk, and run again"):
            super()._save_checkpoint(model, trial)


def build(model: Any, peft_config: Any, args: Any, examples: Examples, early_stopping: int | None) -> Student:
    """The trainer of one run, with `args` an SFTConfig."""
    if not args.use_cpu:
        attend_row_by_row(model)
    student = Student(
        model=model,
        args=args,
        # Else TRL would load an image processor as well.
        processing_class=AutoTokenizer.from_pretrained(model.name_or_path, trust_remote_code=False),
        peft_config=peft_config,
        train_dataset=_dataset(examples.train),
        eval_dataset=_dataset(examples.validation) if examples.validation else None,
        data_collator=collator(model.config, "cpu" if args.use_cpu else "cuda"),
        callbacks=[Watch(examples.tokens, early_stopping)],
    )
    for parameter in student.model.parameters():
        if parameter.requires_grad:  # TRL makes the adapter of a 4-bit base bf16, which rounds small steps away
            parameter.data = parameter.data.float()
    if student.accelerator.is_fsdp2 and args.bf16:
        keep_losses_exact(student.accelerator.state.fsdp_plugin)
    student.model_accepts_loss_kwargs = True  # else each part of a batch would weigh the same, however few its labels
    student.remove_callback(PrinterCallback)
    return student


def keep_losses_exact(plugin: Any) -> None:
    """Lets a model that accelerate's FSDP plugin spreads return what it has computed, which would be rounded to bf16."""
    plugin.mixed_precision_policy = replace(plugin.mixed_precision_policy, output_dtype=None)


def _dataset(sequences: list[TokenSequence]) -> Dataset:
    """The sequences as a table. Its fingerprint, which nobody reads, would be the hash of four more copies of all tokens."""
    columns = {}
    for name in ("input_ids", "labels"):
        rows = [numpy.asarray(getattr(sequence, name), "int32") for sequence in sequences]
        ends = numpy.cumsum([0, *map(len, rows)])
        columns[name] = pyarrow.LargeListArray.from_arrays(ends, numpy.concatenate(rows))
    return Dataset(pyarrow.table(columns), fingerprint="sequences")
