"""Reads the project's records, renders the page and writes it."""

from pathlib import Path

from distill.records.atomic import replacing
from distill.report.gather import gather
from distill.report.page import page


def write_report(root: Path, out: Path) -> None:
    """Writes the report of the project in `root` to the HTML file `out`: same records, same bytes.

    Stages that have not run yet leave their part out. Raises InputError where a record is not valid.
    """
    content = page(gather(Path(root)))
    with replacing(out) as file:
        file.write(content)
