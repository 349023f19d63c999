"""LoRA training of a student, from sequences to an adapter, on whatever device the machine has.

One code path for a CPU (fp32), a card (bf16, or a 4-bit base) and several (launch.py). Each step is the same however
much fits into memory at once: see micro_batch.py. The trainer's own loss is in trainer.py.
"""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.records.faults import InputError
from distill.records.one_line import one_line
from distill.records.types import Params
from distill.student import base_weights
from distill.student.base import Base
from distill.student.device import find_device, free_memory, is_out_of_memory
from distill.student.quiet import quiet
from distill.student.training import micro_batch
from distill.student.training.checkpoints import newest
from distill.student.training.examples import Examples
from distill.student.training.micro_batch import Fit
from distill.student.training.packing import layout
from distill.student.training.speed import Speed, measured
from distill.student.training.validation import HELD_OUT
from distill.student.untrained import refuse_untrained

ALPHA = 32  # constant, so that the best learning rate does not depend on the rank ("LoRA Without Regret", 2025)
CHECKPOINTS = 10  # a kill costs a tenth of the run at most; the validation loss is taken at the same steps


@dataclass(frozen=True)
class Trained:
    """The result of a training."""

    model: Any
    """The base model with its adapter (peft)."""
    state: dict[str, Any] | None
    """The weights, where they are spread over several processes; None: they are in `model`."""
    log: list[dict[str, float | None]]
    """One entry per optimizer step: step, loss, grad_norm, learning_rate, validation_loss (None between measurements)."""
    validation: list[dict[str, float]]
    """One entry per measurement: epoch, loss. Empty when no prompt was held out."""
    validation_loss: float | None
    """The validation loss of the resulting adapter: the lowest with early stopping, else the last."""
    epochs: float
    """Passes over the rows, which early stopping may have cut short."""
    trainable: int
    """Parameters of the adapter."""
    parameters: int
    """Parameters of base and adapter."""
    speed: Speed


def train(examples: Examples, base: Base, params: Params, folder: Path) -> Trained:
    """Trains an adapter with the parameters `student:`; resumes from a checkpoint in `folder`, where there is one.

    In a launched process it does that process's share, and every process returns. Prints lines of progress.
    Raises InputError when loss or gradient is zero or not a number, when a token to be learned is one that the base was
    never trained to output, when this machine cannot load a 4-bit base that is asked for, when the batch cannot be shared
    evenly among the processes, and when a single row does not fit into memory or into the base's context.
    """
    from accelerate import PartialState

    device = find_device()
    state = PartialState(cpu=device == "cpu")
    mine = share(params["batch_size"], state.num_processes)
    if params["early_stopping"] is not None and not examples.validation:
        raise InputError(
            f"params.yaml: /student/early_stopping: needs at least {HELD_OUT} training prompts, one of which is held out; null"
            " trains to the end"
        )
    config = base_weights.config(base.directory)
    longest, context = micro_batch.longest_row(examples), base_weights.context(config)
    if longest > context:
        raise InputError(
            f"params.yaml: /student/max_length: the longest row has {longest} tokens, and the student was made for {context}:"
            f" nobody could serve it in what it learned; set it to {context}, so that the filter rejects such rows"
        )
    alone = layout(config) == "alone"
    fit = micro_batch.stored(folder) or micro_batch.first(examples, 1 if alone else mine, device)
    while True:
        try:
            return _train(examples, base, params, folder, device, fit, mine)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            smaller = micro_batch.less(fit, mine, longest)
            if smaller is None:
                raise InputError(
                    "params.yaml: /student/max_length: one row at a time does not fit into memory beside the base"
                    f"{base_weights.less_memory(params['qlora_rank'] is not None, device)} ({one_line(error)})"
                ) from None
            micro_batch.keep(smaller, folder)
            fit = smaller
            split = f"{fit.rows} rows at once{', activations recomputed' if fit.recompute else ''}"
            print(f"out of memory; going on with {split}", flush=True)
            if state.num_processes > 1:
                raise InputError(
                    f"one of {state.num_processes} processes ran out of memory; the next run takes {split}"
                ) from None
        free_memory()


def _train(examples: Examples, base: Base, params: Params, folder: Path, device: str, fit: Fit, rows: int) -> Trained:
    quiet()
    from accelerate import PartialState
    from peft import LoraConfig
    from peft.helpers import disable_input_dtype_casting
    from transformers import set_seed

    from distill.student.training import trainer

    set_seed(params["seed"])
    arguments = _arguments(examples, params, folder, device, fit, rows)
    model = base_weights.load(base, params["qlora_rank"] is not None, device)
    refuse_untrained(model, base, examples.train)
    student = trainer.build(
        model=model,
        peft_config=LoraConfig(
            r=params["qlora_rank"] or params["lora_rank"],
            lora_alpha=ALPHA,
            target_modules="all-linear",
            exclude_modules=base_weights.towers(model),
            task_type="CAUSAL_LM",
        ),
        args=arguments,
        examples=examples,
        early_stopping=params["early_stopping"],
    )
    with PartialState().main_process_first():  # it removes incomplete checkpoints
        checkpoint = newest(folder)
    if checkpoint and PartialState().is_main_process:
        print(f"resuming after step {_step(checkpoint)}", flush=True)
    began = time.monotonic()
    # Autocast rounds the adapter's inputs to bf16 anyway, so peft need not copy them to fp32 and back: the bits are the same.
    with disable_input_dtype_casting(student.model, active=arguments.bf16):
        student.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.monotonic() - began
    history, spread = student.state.log_history, student.is_fsdp_enabled
    held_out = [entry for entry in history if "eval_loss" in entry]
    losses = [entry["eval_loss"] for entry in held_out]
    first = next((entry["epoch"] for entry in history if checkpoint and entry["step"] == _step(checkpoint)), 0.0)
    trainable, parameters = student.model.get_nb_trainable_parameters()
    return Trained(
        model=student.model,
        state=student.accelerator.get_state_dict(student.model_wrapped) if spread else None,
        log=_by_step(history),
        validation=[{"epoch": entry["epoch"], "loss": entry["eval_loss"]} for entry in held_out],
        validation_loss=(min(losses) if params["early_stopping"] is not None else losses[-1]) if losses else None,
        epochs=student.state.epoch if student.state.global_step < student.state.max_steps else params["num_epochs"],
        trainable=trainable,
        parameters=parameters,
        speed=measured(student.model, examples, student.state.epoch - first, seconds, device),
    )


def _by_step(history: list[dict[str, Any]]) -> list[dict[str, float | None]]:
    """The log of `Trained` from the trainer's history."""
    held_out = {entry["step"]: entry["eval_loss"] for entry in history if "eval_loss" in entry}
    columns = ("step", "loss", "grad_norm", "learning_rate")
    return [
        {**{name: entry[name] for name in columns}, "validation_loss": held_out.get(entry["step"])}
        for entry in history
        if "loss" in entry
    ]


def _arguments(examples: Examples, params: Params, folder: Path, device: str, fit: Fit, rows: int) -> Any:
    """The trainer's settings. `rows`: of a batch that one process has."""
    from trl import SFTConfig

    steps = math.ceil(math.ceil(len(examples.train) / params["batch_size"]) * params["num_epochs"])
    interval = math.ceil(steps / CHECKPOINTS)
    return SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=fit.rows,
        per_device_eval_batch_size=fit.rows,
        gradient_accumulation_steps=rows // fit.rows,
        num_train_epochs=params["num_epochs"],
        learning_rate=params["learning_rate"],
        lr_scheduler_type="linear",
        optim="adamw_torch",
        seed=params["seed"],
        data_seed=params["seed"],
        bf16=device == "cuda",
        use_cpu=device == "cpu",
        router_aux_loss_coef=0.0,  # our own loss has no part for the router
        activation_checkpointing=fit.recompute,
        ddp_find_unused_parameters=False,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        dataloader_pin_memory=device == "cuda",
        eval_strategy="steps" if examples.validation else "no",
        eval_steps=interval,
        save_steps=interval,
        save_total_limit=2,
        load_best_model_at_end=params["early_stopping"] is not None,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        log_level="error",
    )


def share(batch_size: int, processes: int) -> int:
    """Rows of a batch for each process. Raises InputError where the batch cannot be shared evenly."""
    if batch_size % processes:
        raise InputError(
            f"params.yaml: /student/batch_size: {batch_size} rows cannot be shared evenly among {processes} processes"
        )
    return batch_size // processes


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
