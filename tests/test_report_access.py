"""The report for everybody: axe's rules on every view of it, the keyboard, small windows, and links that can be shared."""

import json
from pathlib import Path
from typing import Any

import pytest
from npm_packages import installed
from report_page import *  # noqa: F403
from report_page import browse
from report_project import write_project

from distill.report.write import write_report


@pytest.fixture(scope="module")
def rules() -> str:
    """The script of axe-core, which checks a page by the rules of WCAG and more."""
    return (installed(Path(__file__).parent / "axe") / "node_modules/axe-core/axe.min.js").read_text()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_no_view_breaks_a_rule_of_axe(browser: Any, project: Path, rules: str, width: int, scheme: str) -> None:
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab.goto((project / "reports/index.html").as_uri())
    tab.evaluate(rules + ";0")

    def faults() -> list[str]:
        for folded in tab.locator("details").all():
            folded.evaluate("folded => { folded.open = true; }")
        tab.wait_for_timeout(50)  # until the event of what was unfolded has come
        found = tab.evaluate("axe.run()")["violations"]
        return [f"{fault['id']}: {node['html']}" for fault in found for node in fault["nodes"]]

    assert faults() == []
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the window"
    tab.evaluate("go({})")
    tab.wait_for_selector(".row")
    assert faults() == []
    for fate in ("held_out", "trained", "rejected", "failed"):
        tab.evaluate("fate => { go({ fate, open: '' }); jump(0); }", fate)
        tab.wait_for_selector(f"#reader .fate.{fate}")
        assert faults() == []
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab.close()


def test_a_button_that_was_pressed_keeps_the_focus(page: Any) -> None:
    browse(page)
    page.keyboard.press("j")
    page.wait_for_selector("#reader .fate")
    page.focus("#next")
    for place in (2, 3):
        page.keyboard.press("Enter")
        page.wait_for_selector(f"#position:text-is('{place} of 250')")
        assert page.evaluate("document.activeElement.id") == "next"


def test_a_shared_link_shows_the_conversation_and_its_place_in_the_list(page: Any) -> None:
    browse(page)
    page.keyboard.press("End")
    page.wait_for_selector("#reader .fate")
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector("#reader .fate")
    assert page.locator(".row[aria-selected=true]").is_visible()
    page.evaluate("location.hash = '#conversations?open=0123456789abcdef'")
    page.wait_for_selector("text=The conversation 0123456789abcdef is not in this report.")


def test_a_link_to_a_section_leads_there_from_a_conversation(page: Any) -> None:
    page.get_by_role("link", name="Training", exact=True).click()
    assert page.url.endswith("#s-training")
    browse(page)
    page.go_back()
    page.wait_for_selector("#s-training", state="visible")
    page.evaluate("scrollTo(0, 0)")
    browse(page)
    page.evaluate("location.hash = '#s-setup'")
    page.wait_for_function("scrollY > 0 && $('s-setup').getBoundingClientRect().top < innerHeight")


def test_in_a_narrow_window_the_browsers_way_back_leads_to_the_list(browser: Any, project: Path) -> None:
    tab = browser.new_page(viewport={"width": 390, "height": 800})
    tab.goto((project / "reports/index.html").as_uri())
    browse(tab)
    tab.locator(".row").nth(1).click()
    tab.wait_for_selector("#reader .fate")
    assert tab.evaluate("document.activeElement.id") == "reader", "the list that had the focus is gone"
    tab.go_back()
    tab.wait_for_selector(".row", state="visible")
    tab.go_back()
    tab.wait_for_selector("#verdict", state="visible")
    tab.close()


def test_the_list_has_room_in_the_smallest_window(browser: Any, project: Path) -> None:
    """1280 by 1024 pixels at a zoom of 400 %."""
    tab = browser.new_page(viewport={"width": 320, "height": 256})
    tab.goto((project / "reports/index.html").as_uri())
    browse(tab)
    tab.evaluate("$('filters').open = true")
    assert tab.evaluate("$('list').clientHeight") > 2 * 76
    tab.close()


def test_without_scripts_the_overview_can_be_read(browser: Any, project: Path) -> None:
    tab = browser.new_page(java_script_enabled=False)
    tab.goto((project / "reports/index.html").as_uri() + "#conversations?fate=failed")
    assert tab.locator("noscript p").is_visible()
    assert tab.locator("#s-setup").is_visible()
    tab.close()


def test_samples_of_one_prompt_are_told_apart(browser: Any, tmp_path: Path) -> None:
    write_project(tmp_path, train=2, held_out=2)
    rollouts = [json.loads(path.read_text()) for path in (tmp_path / "rollouts").iterdir()]
    again = next(rollout for rollout in rollouts if rollout["split"] == "train") | {"id": "f" * 16, "sample": 1}
    (tmp_path / f"rollouts/20260101_000000_{again['id']}.json").write_text(json.dumps(again))
    write_report(tmp_path, tmp_path / "index.html")
    tab = browser.new_page(viewport={"width": 1400, "height": 1000})
    tab.goto((tmp_path / "index.html").as_uri() + f"#conversations?q={again['prompt_id']}")
    tab.wait_for_function("document.getElementById('found').textContent.startsWith('2 of')")
    assert ["sample 1" in row for row in tab.locator(".row").all_inner_texts()] == [False, True]
    tab.close()
