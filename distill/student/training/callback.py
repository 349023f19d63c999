"""Acts after each step: prints progress, stops at a loss that is not usable, and ends a training that has converged."""

import math
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from distill.records.faults import InputError
from distill.student.training.checkpoints import mark_complete

LINES = 200  # lines of progress, at most


class Watch(TrainerCallback):
    """Watches a training. `tokens`: those of one epoch; `early_stopping`: the parameter of that name."""

    def __init__(self, tokens: int, early_stopping: int | None):
        self.tokens, self.early_stopping = tokens, early_stopping
        self.began = self.epoch = self.first = 0.0
        self.stopped = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.began, self.first, self.epoch = time.monotonic(), state.global_step, state.epoch or 0.0

    def on_log(self, args: Any, state: Any, control: Any, **event: Any) -> None:
        logs = event["logs"]
        if "eval_loss" in logs and state.is_world_process_zero:
            print(f"step {state.global_step}: validation loss {logs['eval_loss']:.4f}", flush=True)
        if "loss" not in logs:
            return
        refuse_unusable(logs["loss"], logs["grad_norm"], state.global_step)
        step, last = state.global_step, state.max_steps
        if state.is_world_process_zero and (step % max(1, last // LINES) == 0 or step in (1, last)):
            took = time.monotonic() - self.began
            print(
                f"step {step}/{last}: loss {logs['loss']:.4f}, grad_norm {logs['grad_norm']:.3f},"
                f" learning_rate {logs['learning_rate']:.2e},"
                f" {self.tokens * (state.epoch - self.epoch) / took:.0f} tokens/s,"
                f" {_clock(took / (step - self.first) * (last - step))} left",
                flush=True,
            )

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stops early, by the whole history, so that a resumed run decides in the same way."""
        losses = [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry]
        if self.early_stopping is not None and not_better_for(losses) >= self.early_stopping:
            control.should_training_stop = self.stopped = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        from accelerate import PartialState

        PartialState().wait_for_everyone()  # each process writes a part of the checkpoint
        # A run resumed at its last step would not know that it was stopped there, so that checkpoint stays unmarked.
        if state.is_world_process_zero and not self.stopped:
            mark_complete(Path(args.output_dir), state.global_step)


def not_better_for(losses: list[float]) -> int:
    """How many losses came after the lowest."""
    return len(losses) - 1 - losses.index(min(losses))


def refuse_unusable(loss: float, grad_norm: float, step: int) -> None:
    """Raises InputError for a loss or gradient from which nothing can be learned."""
    for name, value in (("loss", loss), ("grad_norm", grad_norm)):
        if not math.isfinite(value) or value == 0:
            raise InputError(
                f"training stopped at step {step}: {name} is {value}; no adapter was written. Lower"
                " student.learning_rate if it grew, and look at the rows if it vanished"
            )


def _clock(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if hours < 2 else f"{hours:.1f} h"
