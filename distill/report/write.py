"""Reads the project's records, renders the page and writes it."""

from pathlib import Path

from distill.records.atomic import replacing
from distill.report.gather import gather
from distill.report.page import page

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
