"""The results of all stages → reports/index.html, and reports/metrics.json, the numbers by which runs are compared.

A stage of its own, so that a change to the page does not repeat the evaluation. `make report` writes the page at any time,
of what there is, and no metrics: which results are of one and the same run is DVC's to say.
"""

from pathlib import Path

from distill.records import jsonl, stage
from distill.records.types import Params
from distill.report.metrics import metrics
from distill.report.write import write_report

PAGE = Path("reports/index.html")
RESULTS = {
    "teacher_rollouts": (Path("reports/rollouts.json"), "rollouts_report"),
    "filter": (Path("reports/filter.json"), "filter_report"),
    "sft_train": (Path("reports/training.json"), "training"),
    "evaluate": (Path("reports/evaluation.json"), "evaluation"),
}
"""What a stage writes when it ends, and its schema. DVC takes it away when the stage begins again."""


def main(params: Params) -> None:
    if not write_page():
        numbers = metrics(*(jsonl.read_json(path, schema) for path, schema in RESULTS.values()))
        jsonl.write_json(stage.METRICS, numbers, "metrics")


def write_page() -> list[str]:
    """Writes the page; returns, and says, which stages did not run to the end."""
    write_report(Path("."), PAGE)
    print(f"report: open {PAGE} in a browser")
    missing = [name for name, (path, _) in RESULTS.items() if not path.exists()]
    if missing:
        print(f"report: without {', '.join(missing)}, which did not run to the end; `make` goes on there")
    return missing


if __name__ == "__main__":
    stage.run(main)
