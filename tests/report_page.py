"""The report of a made-up project, and a real browser that shows it: what several test files stand on."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from report_project import write_project

from distill.report.write import write_report

__all__ = ["browser", "page", "project"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after a whole run, whose first rollout is hostile, and its report."""
    root = tmp_path_factory.mktemp("project")
    write_project(root, train=230, held_out=20, hostile=True)
    write_report(root, root / "reports/index.html")
    return root


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test installs it")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Any, project: Path) -> Iterator[Any]:
    """The report in a new tab. Fails the test on any console message, error, request, or dialog."""
    tab = browser.new_page(viewport={"width": 1400, "height": 1000})
    tab.set_default_timeout(300_000)
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(f"console: {message.text}"))
    tab.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    tab.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    tab.on(
        "request",
        lambda request: complaints.append(request.url) if not request.url.startswith("file:") else None,
    )
    tab.goto((project / "reports/index.html").as_uri())
    yield tab
    tab.close()
    assert complaints == []


def browse(page: Any) -> None:
    page.click("#to-browser")
    page.wait_for_selector(".row")


def found(page: Any) -> int:
    page.wait_for_selector(".row")
    return int(page.inner_text("#found").split()[0].replace(",", ""))


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Edits every record of a file: of JSON lines, or the one of a JSON file."""
    lines = path.read_text().split("\n") if path.suffix == ".jsonl" else [path.read_text()]
    records = [json.loads(line) for line in lines if line]
    for record in records:
        edit(record)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
