"""The results of all stages that have run → reports/index.html; after a whole run also reports/metrics.json.

A stage of its own, so that a change to the page does not repeat the evaluation. `make report` runs it at any time.
"""

from pathlib import Path
from typing import Any

from distill.records import jsonl, stage
from distill.report.metrics import metrics
from distill.report.write import write_report

PAGE = Path("reports/index.html")
REPORTS = Path("reports")


def main(params: dict[str, Any]) -> None:
    write_report(Path("."), PAGE)
    print(f"report: open {PAGE} in a browser")
    if (REPORTS / "evaluation.json").exists():
        numbers = metrics(
            jsonl.read_json(REPORTS / "rollouts.json", "rollouts_report"),
            jsonl.read_json(REPORTS / "filter.json", "filter_report"),
            jsonl.read_json(REPORTS / "training.json", "training"),
            jsonl.read_json(REPORTS / "evaluation.json", "evaluation"),
        )
        jsonl.write_json(REPORTS / "metrics.json", numbers, "metrics")


if __name__ == "__main__":
    stage.run(main)
