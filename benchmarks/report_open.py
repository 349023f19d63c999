"""Seconds to write and to open the report: python -m benchmarks.report_open [ROLLOUTS] (default 10000)."""

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distill.report.write import write_report

ROOT = Path(__file__).resolve().parents[1]
REPEATS = 5
HELD_OUT = 200


def main(rollouts: int) -> None:
    sys.path.insert(0, str(ROOT / "tests"))
    from report_project import write_project

    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder), Path(folder) / "reports/index.html"
        write_project(root, train=rollouts - HELD_OUT, held_out=HELD_OUT)
        written = seconds(lambda: write_report(root, out))
        print(f"{rollouts} rollouts: written in {written:.1f} s, {out.stat().st_size / 1e6:.1f} MB")
        for name, times in timed(out).items():
            print(f"{name:28}{1000 * statistics.median(times):7.0f} ms, slowest {1000 * max(times):.0f} ms")


def timed(out: Path) -> dict[str, list[float]]:
    """Seconds of each step of opening and reading the page, in a fresh browser each time."""
    from playwright.sync_api import sync_playwright

    times: dict[str, list[float]] = {}
    with sync_playwright() as playwright:
        for _ in range(REPEATS):
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for name, taken in steps(browser.new_page(viewport={"width": 1400, "height": 900}), out.as_uri()).items():
                times.setdefault(name, []).append(taken)
            browser.close()
    return times


def steps(page: Any, address: str) -> dict[str, float]:
    def search() -> None:
        page.fill("#search", "argument missing")
        page.wait_for_function("/ of (?!.*searching)/.test(document.getElementById('found').textContent)")

    opened = seconds(lambda: page.goto(address, wait_until="load"))
    paint = page.wait_for_function("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
    painted = paint.json_value() / 1000
    return {
        "overview is seen": painted,
        "page is complete": opened,
        "list is shown": seconds(lambda: (page.click("#to-browser"), page.wait_for_selector(".row"))),
        "conversation is opened": seconds(
            lambda: (page.keyboard.press("j"), page.wait_for_selector("#reader .message"))
        ),
        "filter is applied": seconds(lambda: page.select_option("select[name=fate]", "rejected")),
        "all messages are searched": seconds(search),
    }


def seconds(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
