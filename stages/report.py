"""The results of all stages → reports/index.html, and reports/metrics.json, the numbers by which runs are compared.

A stage of its own, so that a change to the page does not repeat the evaluation. `make report` writes a page at any time
(reports/so_far.html), of what there is, and no metrics: which results are of one and the same run is DVC's to say.
"""

from distill.project import stage
from distill.records import jsonl
from distill.records.types import Params
from distill.report.write import metrics, write_page


def main(params: Params) -> None:
    if not write_page():
        jsonl.write_json(stage.METRICS, metrics(), "metrics")


if __name__ == "__main__":
    stage.no_options(__doc__)
    stage.run(main)
