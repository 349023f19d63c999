"""The overview of the report in a real browser: its numbers, where they lead, and that no other script runs."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from contrast import contrast
from report_page import *  # noqa: F403
from report_page import browse, change, found
from report_project import write_project

from distill.report.write import write_report


def test_the_overview_says_how_good_the_student_is(page: Any, project: Path) -> None:
    evaluation = json.loads((project / "reports/evaluation.json").read_text())
    assert f"{100 * evaluation['student']['accuracy']:g}%" in page.inner_text("h1")
    assert page.locator("#overview svg[role=img]:not([aria-label])").count() == 0
    for heading in (
        "Evaluation",
        "From prompts to training rows",
        "The teacher's work",
        "Training",
        "What ran",
    ):
        assert page.get_by_role("heading", name=heading, exact=True).is_visible()
    assert "too narrow where prompts share a template" in page.locator("tr", has_text="95% interval").first.inner_text()
    assert "after its demonstrations, which the others do not see" in page.inner_text("#overview")
    lead = page.locator("tr", has_text="Against the teacher").inner_text()
    assert f"{100 * evaluation['lead']:g}% (" in lead


def test_without_known_answers_the_overview_speaks_of_calls(browser: Any, project: Path, tmp_path: Path) -> None:
    evaluation = json.loads((project / "reports/evaluation.json").read_text())
    for who in ("base", "student", "teacher"):
        evaluation[who] |= {"known": 0, "correct": 0, "accuracy": None, "accuracy_ci": None}
    evaluation |= dict.fromkeys(("gap_closed", "gap_closed_ci", "gain", "gain_ci", "lead", "lead_ci")) | {"by": {}}
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/evaluation.json").write_text(json.dumps(evaluation))
    write_report(tmp_path, tmp_path / "index.html")
    tab = browser.new_page()
    tab.goto((tmp_path / "index.html").as_uri())
    verdict, said = tab.inner_text("h1"), tab.inner_text("#overview")
    tab.close()
    assert f"tool calls on {100 * evaluation['student']['call_agreement']:g}%" in verdict
    assert "the teacher answers as it does for training." in said
    assert "Accuracy" not in said and "on what the teacher said in 16 held-out" in said


def test_a_number_in_the_overview_leads_to_its_conversations(page: Any, project: Path) -> None:
    rejected = json.loads((project / "reports/filter.json").read_text())["checks"]["answer"]["rejected"]
    page.get_by_role("region", name="Filter checks", exact=True).get_by_role("link", name="Wrong answer").click()
    assert found(page) == rejected


def test_what_the_first_screen_says_leads_to_its_conversations(page: Any, project: Path) -> None:
    evaluation = json.loads((project / "reports/evaluation.json").read_text())["student"]
    filtered = json.loads((project / "reports/filter.json").read_text())
    failed = json.loads((project / "reports/rollouts.json").read_text())["failed"]
    address = page.url
    for term, count in (
        ("The student's wrong answers", evaluation["known"] - evaluation["correct"]),
        ("Rejected", filtered["rejected"]),
    ):
        page.locator(f'.glance div:has(dt:text-is("{term}")) dd > a').click()
        assert count and found(page) == count
        page.goto(address)
    said = page.inner_text(".glance")
    assert f"{filtered['kept']}\n" in said and "$" in said and f"{failed}\nof 250," in said
    page.get_by_role("table", name="Failures by kind").get_by_role("link", name="Took too long").click()
    assert found(page) == failed


def test_every_loss_and_group_leads_to_its_conversations(page: Any) -> None:
    address = page.url
    lost = page.locator(".funnel li", has_text="Turned into rows").locator(".lost a")
    count = int(lost.inner_text().removeprefix("−"))
    lost.click()
    assert found(page) == count
    page.goto(address)
    group = page.locator(".family", has_text="calc")
    count = int(group.locator(".name span").inner_text().split()[0])
    group.get_by_role("link").click()
    assert found(page) == count


def test_checks_that_found_nothing_are_folded(page: Any, project: Path) -> None:
    checks = json.loads((project / "reports/filter.json").read_text())["checks"]
    spoke = [check for check, found in checks.items() if found["rejected"] or found["masked"]]
    table = page.get_by_role("region", name="Filter checks", exact=True)
    assert table.locator("tbody tr").count() == len(spoke) < len(checks)
    silent = page.get_by_role("region", name="Filter checks that found nothing")
    assert not silent.is_visible()
    page.get_by_text("Nothing was found").click()
    assert silent.locator("tbody tr").count() == len(checks) - len(spoke)


def test_base_student_and_teacher_are_all_seen_where_they_are_at_one_place(page: Any) -> None:
    dots = page.locator(".family svg").first.locator("circle")
    drawn = [(dot.get_attribute("class"), float(dot.get_attribute("r"))) for dot in dots.all()]
    sizes = [size for _, size in drawn]
    assert len(drawn) == 3 and sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 3


def test_the_head_says_which_run_it_is(page: Any, project: Path) -> None:
    trained_on = json.loads((project / "reports/training.json").read_text())["data_sha256"]
    assert page.inner_text(".bar .run") == f"Recorded until 2026-01-01, training rows {trained_on[:8]}"


def test_the_rows_are_counted_by_what_they_are(page: Any, project: Path) -> None:
    counted = json.loads((project / "reports/filter.json").read_text())["by_length"]
    page.get_by_text("What the rows are").click()
    table = page.get_by_role("region", name="Tokens as the student reads them, from")
    shown = [row.inner_text().split("\t") for row in table.locator("tbody tr").all()]
    assert [[int(cell) for cell in row[:3]] for row in shown] == [
        [int(start), found["rows"], found["kept"]] for start, found in counted.items()
    ]


def test_failures_are_counted_by_kind(page: Any, project: Path) -> None:
    failed = json.loads((project / "reports/rollouts.json").read_text())["failed"]
    table = page.locator("h3", has_text="Failures by kind").locator("xpath=following-sibling::table")
    assert table.inner_text().split("\t")[1:] == [str(failed)] and "Took too long" in table.inner_text()


def test_each_tool_has_its_calls_failures_and_times(page: Any, project: Path) -> None:
    rows = page.locator("section[aria-labelledby=s-teacher] table:has(th:text-is('Tool')) tbody tr").all_inner_texts()
    assert [row.split("\t") for row in rows] == [
        ["calculate", "61", "0", "0.3 ms", "1.2 s"],
        ["lookup", "76", "9", "142 ms", "390 ms"],
        ["never", "0", "0", "n/a", "n/a"],
    ]


def test_hundreds_of_tools_are_folded(browser: Any, tmp_path: Path) -> None:
    """Below them stands all else."""
    write_project(tmp_path, train=4, held_out=2)
    file = tmp_path / "reports/rollouts.json"
    rollouts = json.loads(file.read_text())
    rollouts["tools"] = {f"tool_{number}": rollouts["tools"]["lookup"] for number in range(300)}
    file.write_text(json.dumps(rollouts))
    write_report(tmp_path, tmp_path / "index.html")
    tab = browser.new_page()
    tab.goto((tmp_path / "index.html").as_uri())
    table = tab.locator("table:has(th:text-is('Tool'))")
    assert not table.is_visible()
    tab.locator("summary", has_text="Tools 300").click()
    assert table.is_visible() and table.locator("tbody tr").count() == 300
    tab.close()


def test_scripts_other_than_ours_are_refused(browser: Any, project: Path) -> None:
    tab = browser.new_page()
    refused: list[str] = []
    tab.on("console", lambda message: refused.append(message.text))
    tab.goto((project / "reports/index.html").as_uri())
    tab.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.hacked = 3'}))")
    tab.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hacked = 4\">')")
    tab.wait_for_timeout(100)
    assert tab.evaluate("window.hacked") is None
    assert any("Content Security Policy" in text for text in refused)
    tab.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser: Any, project: Path, scheme: str) -> None:
    """WCAG 2.2 AA asks for a contrast of 4.5; every text colour keeps it on every ground."""
    tab = browser.new_page(color_scheme=scheme)
    tab.goto((project / "reports/index.html").as_uri())
    names = ["paper", "card", "sunken", "wash", "ink", "soft", "accent"]
    style = "getComputedStyle(document.documentElement)"
    colours = {name: tab.evaluate(f"{style}.getPropertyValue('--{name}').trim()") for name in names}
    for text in ("ink", "soft", "accent"):
        for ground in ("paper", "card", "sunken", "wash"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (scheme, text, ground)
    tab.close()


def test_a_teacher_that_was_asked_nothing_has_no_figures(browser: Any, tmp_path: Path) -> None:
    """Nor has an imported conversation, of which nobody knows how many tokens it took."""
    write_project(tmp_path, train=8, held_out=2)
    shutil.rmtree(tmp_path / "rollouts")
    change(tmp_path / "reports/rollouts.json", lambda report: report.update(wanted=0, completed=0, failed=0))
    change(tmp_path / "data/train.jsonl", lambda row: row["outcome"].update(tokens=0, cost_usd=None))
    change(tmp_path / "data/train.jsonl", lambda row: row.update(origin="chats.jsonl:7"))
    write_report(tmp_path, tmp_path / "index.html")
    tab = browser.new_page(viewport={"width": 1400, "height": 1000})
    tab.goto((tmp_path / "index.html").as_uri())
    section = tab.inner_text("section[aria-labelledby=s-teacher]")
    assert "It was asked nothing." in section and "Cost" not in section
    browse(tab)
    tab.select_option("select[name=fate]", "trained")
    tab.locator(".row").first.click()
    tab.wait_for_selector("#reader .fate.trained")
    facts = tab.inner_text("#reader .facts")
    assert "Tokens" not in facts and "Ended because" in facts and "chats.jsonl:7" in facts
    tab.close()
