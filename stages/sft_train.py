"""data/train.jsonl → models/adapter/, reports/training.json, reports/loss.csv.

Renders the rows with the student's chat template and trains a LoRA adapter on the assistant's turns. Refuses rows that
are too long, cannot be rendered or hold nothing to learn, and names all of them at once, and calls that nobody could
read; stops, and writes nothing, when loss or gradient is zero or not a number. After a kill it resumes from the last
checkpoint and ends, on a CPU, in the same bytes. Where the machine has several cards it starts itself once per card.
"""

import csv
import io
import sys
from pathlib import Path

from distill.machine import cores
from distill.project import stage
from distill.records import jsonl
from distill.records.atomic import replacing
from distill.records.ids import file_hash
from distill.records.types import Params
from distill.student import adapter, base, device
from distill.student.serving.reply import unreadable_calls
from distill.student.shown import has_place_for_thoughts
from distill.student.tokenizer import Tokenizer, load_tokenizer
from distill.student.training import checkpoints, examples, launch, lineage, train
from distill.student.training.examples import Examples

ROWS = Path("data/train.jsonl")
ADAPTER = Path("models/adapter")


def main(params: Params) -> None:
    stage.forget_metrics()
    student = params["student"]
    if cores.are_shared():
        cores.spin_little()
    tokenizer = load_tokenizer(student["path"], student["template"])
    prepared = launch.prepared() or _prepare(params, tokenizer)
    if not launch.launched() and launch.processes() > 1:
        # Refused here: each process would refuse it, below the launcher's traceback.
        train.share(student["batch_size"], launch.processes())
        command = launch.command(launch.processes(), student["qlora_rank"] is not None)
        sys.exit(launch.run(command, prepared))
    model = base.find(student["path"])
    machine = [device.find_device(), launch.processes()]
    run = checkpoints.run_id(prepared, student, model.fingerprint, tokenizer.template, machine)
    with checkpoints.working_folder(run, launch.is_first()) as folder:
        trained = train.train(prepared, model, student, folder)
        if not launch.is_first():
            return
        thoughts = has_place_for_thoughts(tokenizer)
        report = lineage.report(prepared, trained, model, file_hash(ROWS), thoughts)
        adapter.save(trained.model, model, tokenizer.template, lineage.card(report, student), ADAPTER, trained.state)
        _write_loss(trained.log)
        jsonl.write_json("reports/training.json", report, "training")
    validation = "" if report["validation_loss"] is None else f", validation loss {report['validation_loss']:.4f}"
    print(
        f"sft_train: {report['steps']} steps, loss {report['loss_first']:.4f} -> {report['loss_last']:.4f}{validation}"
        f" -> {ADAPTER}\nsft_train: {trained.speed}"
    )


def _prepare(params: Params, tokenizer: Tokenizer) -> Examples:
    workers = launch.share_of(params["runtime"]["workers"] or cores.cores())
    unreadable = unreadable_calls(tokenizer, params["runtime"]["student_url"])
    prepared = examples.prepare(ROWS, params["student"], unreadable, workers)
    if launch.is_first():
        print(
            f"sft_train: {prepared.rows} rows, {prepared.tokens} tokens, {prepared.labelled_tokens} of them learned;"
            f" {prepared.validation_rows} rows held out for validation",
            flush=True,
        )
    return prepared


def _write_loss(log: list[dict[str, float | None]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(log[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(log)
    with replacing("reports/loss.csv") as file:
        file.write(text.getvalue().encode())


if __name__ == "__main__":
    stage.no_options(__doc__)
    stage.run(main)
