"""The results of all stages that have run → reports/index.html; after a whole run also reports/metrics.json.

A stage of its own, so that a change to the page does not repeat the evaluation. `make report` runs it at any time.
"""

from pathlib import Path

from distill.records import jsonl, stage
from distill.records.types import Params
from distill.report.metrics import metrics
from distill.report.write import write_report

PAGE = Path("reports/index.html")
METRICS = Path("reports/metrics.json")
RESULTS = {
    "teacher_rollouts": (Path("reports/rollouts.json"), "rollouts_report"),
    "filter": (Path("reports/filter.json"), "filter_report"),
    "sft_train": (Path("reports/training.json"), "training"),
    "evaluate": (Path("reports/evaluation.json"), "evaluation"),
}
"""What a stage writes when it ends, and its schema. DVC takes it away when the stage begins again."""


def main(params: Params) -> None:
    write_report(Path("."), PAGE)
    print(f"report: open {PAGE} in a browser")
    missing = [name for name, (path, _) in RESULTS.items() if not path.exists()]
    if missing:
        print(f"report: without {', '.join(missing)}, which did not run to the end; `make` goes on there")
        return
    numbers = metrics(*(jsonl.read_json(path, schema) for path, schema in RESULTS.values()))
    jsonl.write_json(METRICS, numbers, "metrics")


if __name__ == "__main__":
    stage.run(main)
