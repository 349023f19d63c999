"""Reads the project's records, renders the page and writes it; and the numbers of a whole run."""

from pathlib import Path
from typing import Any

from distill.records import jsonl
from distill.records.atomic import replacing
from distill.report.gather import gather
from distill.report.page import page
from distill.report.words import WHO

PAGE = Path("reports/index.html")
SO_FAR = Path("reports/so_far.html")
"""A page of what there is so far. It is no output of DVC's, which would not replace one that it did not make."""
RESULTS = {
    "teacher_rollouts": (Path("reports/rollouts.json"), "rollouts_report"),
    "filter": (Path("reports/filter.json"), "filter_report"),
    "sft_train": (Path("reports/training.json"), "training"),
    "evaluate": (Path("reports/evaluation.json"), "evaluation"),
}
"""What a stage writes when it ends, and its schema. DVC takes it away when the stage begins again."""


def write_report(root: Path, out: Path) -> None:
    """Writes the report of the project in `root` to the HTML file `out`: same records, same bytes.

    Stages that have not run yet leave their part out. Raises InputError where a record is not valid.
    """
    content = page(gather(Path(root)))
    with replacing(out) as file:
        file.write(content)


def write_page(out: Path = PAGE) -> list[str]:
    """Writes the report of the project that we are in; returns, and says, which stages did not run to the end."""
    write_report(Path("."), out)
    print(f"report: open {out} in a browser")
    missing = [name for name, (path, _) in RESULTS.items() if not path.exists()]
    if missing:
        print(f"report: without {', '.join(missing)}, which did not run to the end; `make` goes on there")
    return missing


def metrics() -> dict[str, Any]:
    """The numbers by which runs are compared (schemas/metrics.schema.json), from what the stages write."""
    rollouts, filtered, training, evaluation = (jsonl.read_json(path, schema) for path, schema in RESULTS.values())
    return {
        "asked": rollouts["wanted"],
        "failed": rollouts["failed"],
        "cost_usd": rollouts["cost_usd"],
        "kept": filtered["kept"],
        "rejected": filtered["rejected"],
        "validation_loss": training["validation_loss"],
        "accuracy": {who: evaluation[who]["accuracy"] for who in WHO},
        "valid_calls": {who: evaluation[who]["valid_calls"] for who in WHO},
        "gap_closed": evaluation["gap_closed"],
    }
