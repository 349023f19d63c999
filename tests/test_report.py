"""The report in a real browser: it shows what there is, it can be found and read, and nothing in it runs."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from contrast import contrast
from report_project import write_project
from report_records import HOSTILE, make_exam, make_prompt, make_rollout

from distill.records import jsonl
from distill.records.faults import InputError
from distill.records.paths import PROJECT
from distill.report.conversations import join
from distill.report.embed import embedded
from distill.report.gather import gather
from distill.report.summary import summary
from distill.report.write import write_report
from stages import report

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


def test_the_same_records_give_the_same_bytes(project: Path, tmp_path: Path) -> None:
    write_report(project, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == (project / "reports/index.html").read_bytes()


def test_each_stage_adds_its_part_to_the_report(project: Path, tmp_path: Path) -> None:
    outputs = [
        "data/prompts.jsonl",
        "rollouts",
        "data/train.jsonl",
        "data/rejected.jsonl",
        "reports/rollouts.json",
        "reports/filter.json",
        "reports/loss.csv",
        "reports/training.json",
        "reports/evaluation.jsonl",
        "reports/evaluation.json",
        "params.yaml",
    ]
    sizes = []
    for name in [None, *outputs]:
        if name:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (shutil.copytree if (project / name).is_dir() else shutil.copy)(project / name, tmp_path / name)
        write_report(tmp_path, tmp_path / "index.html")
        sizes.append((tmp_path / "index.html").stat().st_size)
    assert sizes[0] < 100_000
    assert (tmp_path / "index.html").read_bytes() == (project / "reports/index.html").read_bytes()


def test_a_run_that_was_interrupted_has_a_report_of_the_rest(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """DVC takes away what a stage wrote when the stage begins again; what the later ones wrote lies there still."""
    whole = shutil.copytree(project, tmp_path / "whole")
    monkeypatch.chdir(whole)
    report.main({})
    assert capsys.readouterr().out == "report: open reports/index.html in a browser\n"
    assert json.loads(Path("reports/metrics.json").read_text())["asked"] == 250
    for files, stage in (
        (["data/prompts.jsonl"], None),
        (["rollouts", "reports/rollouts.json"], "teacher_rollouts"),
        (["data/train.jsonl", "data/rejected.jsonl", "reports/filter.json"], "filter"),
        (["reports/loss.csv", "reports/training.json"], "sft_train"),
        (["reports/evaluation.jsonl", "reports/evaluation.json"], "evaluate"),
    ):
        monkeypatch.chdir(shutil.copytree(whole, tmp_path / str(stage)))
        Path("reports/index.html").unlink()
        for name in map(Path, files):
            shutil.rmtree(name) if name.is_dir() else name.unlink()
        report.main({})
        assert Path("reports/index.html").stat().st_size > 100_000
        said = capsys.readouterr().out
        assert (f"report: without {stage}, which did not run to the end" in said) == (stage is not None), said


def test_the_report_so_far_leaves_the_output_of_dvc_alone(project: Path, tmp_path: Path) -> None:
    """DVC does not check out over a page that it did not make."""
    shutil.copytree(project / "rollouts", tmp_path / "rollouts")
    command = [sys.executable, "-m", "distill.commands.report"]
    done = subprocess.run(
        command,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
    )
    assert "report: open reports/so_far.html in a browser\n" in done.stdout, done.stderr
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["so_far.html"]
    subprocess.run(["git", "check-ignore", "-q", "reports/so_far.html"], cwd=PROJECT, check=True)


@pytest.mark.parametrize(("cell", "told"), [(b"high", "'high'"), (b"\xff", "'\ufffd'")])
def test_a_record_that_is_not_valid_is_named(project: Path, tmp_path: Path, cell: bytes, told: str) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/loss.csv").write_bytes(b"step,loss\n1," + cell + b"\n")
    with pytest.raises(InputError, match=rf"loss\.csv:2: /loss: {told} is not a number"):
        write_report(tmp_path, tmp_path / "index.html")
    assert not (tmp_path / "index.html").exists()


def test_embedded_json_is_whole_and_cannot_end_its_element() -> None:
    text = embedded([HOSTILE])
    assert not re.search(r"[<>&\u2028\u2029]", text)
    assert json.loads(text) == [HOSTILE]


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
    assert "Accuracy" not in said and "on what the teacher said in 16 held-out" in said


def test_a_number_in_the_overview_leads_to_its_conversations(page: Any, project: Path) -> None:
    rejected = json.loads((project / "reports/filter.json").read_text())["checks"]["answer"]["rejected"]
    page.get_by_role("link", name="Wrong answer").click()
    assert found(page) == rejected


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


def test_filters_narrow_the_list_and_can_be_cleared(page: Any) -> None:
    browse(page)
    assert found(page) == 250
    page.select_option("select[name=split]", "eval")
    assert found(page) == 20
    page.select_option("select[name=student]", "correct, teacher wrong")
    assert 0 < found(page) < 20
    assert "student correct" in page.locator(".row").first.inner_text()
    address = page.url
    page.click("#clear")
    assert found(page) == 250
    page.goto(address)
    assert page.input_value("select[name=split]") == "eval"


def test_search_reads_every_message_of_every_conversation(page: Any, project: Path) -> None:
    browse(page)
    rows = (project / "data/rejected.jsonl").read_text().splitlines()
    identity = json.loads(rows[-1])["rollout_id"]
    page.keyboard.press("/")
    page.keyboard.type("argument 'sku' is missing")
    page.wait_for_function("!document.getElementById('found').textContent.includes('searching')")
    faulty = [path for path in (project / "rollouts").iterdir() if "argument 'sku' is missing" in path.read_text()]
    assert found(page) == len(faulty)
    page.fill("#search", identity)
    page.wait_for_function("document.getElementById('found').textContent.startsWith('1 of')")
    page.fill("#search", "final_answer")  # a stop reason: nobody said it
    page.wait_for_function("document.getElementById('found').textContent.startsWith('0 of')")


def test_code_in_an_argument_is_shown_and_found_as_it_was_written(project: Path, tmp_path: Path, browser: Any) -> None:
    rollout = jsonl.read_json(next((project / "rollouts").iterdir()), "rollout")
    code = 'def f():\n    return "seven"\n'
    call = {"id": "c", "type": "function", "function": {"name": "run", "arguments": json.dumps({"code": code, "n": 1})}}
    rollout["messages"] = [
        {"role": "user", "content": "Run it."},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "done"},
        {"role": "assistant", "content": "Answer: 7"},
    ]
    jsonl.write_json(tmp_path / f"rollouts/20260101_000000_{rollout['id']}.json", rollout, "rollout")
    write_report(tmp_path, tmp_path / "index.html")
    tab = browser.new_page()
    tab.goto((tmp_path / "index.html").as_uri() + "#conversations?q=return+%22seven%22")
    tab.wait_for_selector(".row")
    tab.locator(".row").click()
    tab.locator("#reader details.call summary").click()
    assert tab.locator("#reader details.call pre").first.inner_text() == f"code: \n{code}\nn: 1"
    tab.close()


def test_a_conversation_is_opened_and_left_by_keyboard_alone(page: Any) -> None:
    page.keyboard.press("/")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "list"
    page.keyboard.press("j")
    first = page.wait_for_selector("#reader .message.user").inner_text()
    for key in ("ArrowDown", "j", "k"):
        page.keyboard.press(key)
    page.wait_for_function("text => document.querySelector('#reader .message.user').innerText !== text", arg=first)
    assert page.get_attribute("#list", "aria-activedescendant") == "row-1"
    page.keyboard.press("End")
    assert page.get_attribute("#list", "aria-activedescendant") == "row-249"
    page.wait_for_selector("#reader .columns details.call")
    page.keyboard.press("t")
    assert page.locator("#reader details.call:not([open])").count() == 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "reader"
    for _ in range(3):
        page.keyboard.press("Escape")
    page.wait_for_selector("#overview", state="visible")  # the address changes before its event comes


def test_turns_that_were_learned_from_are_highlighted(page: Any) -> None:
    browse(page)
    page.select_option("select[name=fate]", "trained")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.wait_for_selector("#reader .message.learned")
    assert page.locator("#reader .message.assistant:not(.learned, .masked)").count() == 0
    assert "learned from" in page.locator("#reader .message.learned").first.inner_text()
    assert "The student learns from the" in page.inner_text("#reader .fate"), "which it may not have done yet"


def test_a_rejected_row_says_why(page: Any) -> None:
    browse(page)
    page.select_option("select[name=why]", "answer")
    page.locator(".row").last.click()
    page.wait_for_selector("#reader .fate.rejected")
    assert "Wrong answer: answered" in page.inner_text("#reader .fate")
    assert page.locator("#reader .message.learned").count() == 0


def test_a_row_opens_that_was_drawn_anew_while_the_button_was_down(page: Any) -> None:
    """The list is drawn anew while it scrolls and while a search goes on."""
    browse(page)
    page.hover("#row-3")
    page.mouse.down()
    page.evaluate("drawRows()")
    page.mouse.up()
    page.wait_for_selector("#row-3[aria-selected=true]")
    page.wait_for_selector("#reader .fate")


def test_a_masked_turn_is_told_from_a_learned_one(page: Any, project: Path) -> None:
    rows = [json.loads(line) for line in (project / "data/train.jsonl").read_text().split("\n") if line]
    row = next(row for row in rows if any(message.get("weight") == 0 for message in row["messages"]))
    page.goto(page.url.split("#")[0] + f"#conversations?open={row['rollout_id']}")
    page.wait_for_selector("#reader .message.masked")
    assert "masked: seen, not learned from" in page.inner_text("#reader .message.masked")
    assert "1 turn of the teacher’s was masked" in page.inner_text("#reader .fate")
    turns = sum(message["role"] == "assistant" for message in row["messages"])
    assert page.locator("#reader .message.learned").count() == turns - 1


def test_the_turn_that_a_check_found_fault_with_is_marked(page: Any) -> None:
    browse(page)
    page.select_option("select[name=why]", "calls")
    page.locator(".row").first.click()
    page.wait_for_selector("#reader .message.faulty")
    assert page.locator("#reader .message.faulty").count() == 1
    assert "Invalid tool call" in page.inner_text("#reader .message.faulty .tag")


def test_a_result_is_shown_with_its_own_call_where_ids_repeat_in_later_turns(browser: Any, tmp_path: Path) -> None:
    write_project(tmp_path, train=2, held_out=2)
    for name in ("train", "rejected"):
        (tmp_path / f"data/{name}.jsonl").unlink()
    prompt = make_prompt(2, "train", random.Random(1))
    rollout = make_rollout(prompt, random.Random(1))
    row = {key: rollout[key] for key in ("messages", "tools", "metadata", "prompt_id", "sample", "split")}
    reason = {"check": "loop", "detail": "x", "pointers": ["/messages/5"]}
    for message in row["messages"]:
        for call in message.get("tool_calls", ()):
            call["id"] = "call_0"
    row["messages"][3] |= {"content": "first"}
    row["messages"][5] |= {"content": "second", "tool_call_id": "call_0"}
    outcome = {"status": "completed", "stop_reason": "final_answer", "answer": "1", "correct": True, "accepted_by": "number",
               "why": None, "turns": 3, "tool_calls": 2, "tool_errors": 0, "tokens": 9, "cost_usd": None}  # fmt: skip
    rejected = row | {"rollout_id": "f" * 16, "teacher": "x", "outcome": outcome, "reasons": [reason]}
    jsonl.write(tmp_path / "data/rejected.jsonl", [rejected], "rejected")
    write_report(tmp_path, tmp_path / "index.html")
    tab = browser.new_page()
    tab.goto((tmp_path / "index.html").as_uri() + f"#conversations?open={'f' * 16}")
    tab.wait_for_selector("#reader .call")
    assert tab.locator("#reader .call .came").all_inner_texts() == ["first", "second"]
    turns = tab.locator("#reader .columns .message.assistant")
    assert ["faulty" in turn.get_attribute("class") for turn in turns.all()] == [False, True, False]
    tab.close()


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


def test_base_and_student_stand_beside_the_teacher_on_held_out_prompts(page: Any) -> None:
    browse(page)
    page.select_option("select[name=split]", "eval")
    page.locator(".row").first.click()
    page.wait_for_selector("#reader .columns")
    assert page.locator("#reader .columns > section h3").all_inner_texts() == ["Student", "Teacher", "Base"]
    assert "none (wrong; number: no number)" in page.locator("#reader .columns > section").last.inner_text()
    page.get_by_role("checkbox", name="Base").uncheck()
    assert page.locator("#reader .columns > section:visible").count() == 2


def test_the_teachers_answer_is_as_the_judge_found_it() -> None:
    """Rules cannot settle such an answer; only the evaluation knows."""
    draw = random.Random(0)
    prompt = make_prompt(1, "eval", draw)
    prompt["metadata"]["answer_type"] = "judge"
    rollout = make_rollout(prompt, draw, answer="about as much as that")
    exams = [make_exam("base", prompt, False), make_exam("student", prompt, True)]
    teachers = make_exam("student", prompt, True) | {"who": "teacher"}
    for evaluated, verdict in (
        (exams, None),
        ([*exams, teachers], True),
        ([*exams, teachers | {"correct": False}], False),
    ):
        [made] = join([prompt], [rollout], [], evaluated)
        assert made["talks"][0]["why"] is None and made["talks"][-1]["why"] == "number: no number"
        assert [(talk["who"], talk["correct"]) for talk in made["talks"]] == [
            ("teacher", verdict), ("student", True), ("base", False),
        ]  # fmt: skip


def test_the_headline_claims_no_more_than_the_exam_shows(tmp_path: Path) -> None:
    write_project(tmp_path, train=8, held_out=40)

    def said(**changes: Any) -> str:
        change(tmp_path / "reports/evaluation.json", lambda evaluation: evaluation.update(changes))
        write_report(tmp_path, tmp_path / "index.html")
        head = (tmp_path / "index.html").read_text().split('aria-labelledby="verdict"')[1].split("</section>")[0]
        return " ".join(re.sub("<svg.*?</svg>|<[^>]*>", " ", head, flags=re.DOTALL).split())

    assert "108% 97.2 to 123.3% ·" not in said(gap_closed=1.08, gap_closed_ci=[0.9722, 1.2333]), "it may be chance"
    assert "108% 97.2 to 123.3%" in said() and "held‑out prompts correctly" in said()
    assert "108% 102 to 123.3% · past the teacher" in said(gap_closed_ci=[1.02, 1.2333])
    assert "108% no interval: that there is a gap may be chance" in said(gap_closed_ci=None)
    assert "No gap to close: the teacher is no better than the base." in said(gap_closed=None)
    evaluation = json.loads((tmp_path / "reports/evaluation.json").read_text())
    few = said(**{who: evaluation[who] | {"known": 5, "correct": 4} for who in ("base", "student", "teacher")})
    assert "of the 5 held‑out prompts with a known answer correctly." in few
    assert "Share of held-out prompts with a known answer answered" in few


def test_a_conversation_without_an_answer_is_said_to_count_as_wrong(tmp_path: Path) -> None:
    write_project(tmp_path, train=8, held_out=2)
    write_report(tmp_path, tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text()
    assert "Cut off at the token limit<span>conversations that ended so, which counts as wrong</span>" in page
    assert "Gave a final answer<span>conversations that ended so</span>" in page


def test_answers_without_a_verdict_are_counted_in_the_report(project: Path, tmp_path: Path) -> None:
    whole = shutil.copytree(project, tmp_path / "whole")
    write_report(whole, tmp_path / "index.html")
    assert "No verdict" not in (tmp_path / "index.html").read_text()
    evaluation = json.loads((whole / "reports/evaluation.json").read_text())
    for who, undecided in (("base", 0), ("student", 7), ("teacher", 0)):
        evaluation[who]["no_verdict"] = undecided
    (whole / "reports/evaluation.json").write_text(json.dumps(evaluation))
    write_report(whole, tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text()
    assert "No verdict" in page and re.search(r'No verdict.*?class="student">7<', page, re.DOTALL)


def test_a_hostile_rollout_is_only_text(page: Any) -> None:
    browse(page)
    page.locator(".row").first.click()
    page.wait_for_selector("#reader .message.user")
    page.keyboard.press("t")
    assert HOSTILE in page.locator("#reader .message.user").text_content()
    assert HOSTILE in page.locator("#reader .message.assistant .text").last.text_content()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img, iframe, object, embed, body style").count() == 0
    assert page.locator("script").count() == page.locator("script[type='application/json']").count() + 1


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


def test_imported_conversations_are_not_counted_as_asked_of_the_teacher(tmp_path):
    write_project(tmp_path, train=64, held_out=2)
    before = summary(gather(tmp_path))["funnel"][:4]
    lost = before[2]["count"] - before[3]["count"]
    assert lost > 0
    rows = (tmp_path / "data/train.jsonl").read_text().splitlines()
    imported = json.loads(rows[0]) | {"prompt_id": "f" * 16, "rollout_id": "e" * 16, "teacher": "unknown"}
    (tmp_path / "data/train.jsonl").write_text("\n".join([*rows, json.dumps(imported)]) + "\n")
    change(tmp_path / "reports/filter.json", lambda report: report.update(rows=report["rows"] + 1))
    after = summary(gather(tmp_path))["funnel"][:4]
    assert after[:3] == before[:3] and before[1]["label"] == "Asked of the teacher"
    assert [steps[3]["label"] for steps in (before, after)] == ["Turned into rows", "Turned into rows, with 1 imported"]
    assert [steps[3]["lost"] for steps in (before, after)] == [lost, lost], "what failed, whatever was imported"
    cost = json.loads((tmp_path / "reports/rollouts.json").read_text())["cost_usd"]
    assert summary(gather(tmp_path))["cost_per_row"] == cost / len(rows), "the imported row cost nothing"
    (tmp_path / "data/prompts.jsonl").write_text("")
    shutil.rmtree(tmp_path / "rollouts")
    count = len(rows) + 1 + len((tmp_path / "data/rejected.jsonl").read_text().splitlines())
    assert summary(gather(tmp_path))["funnel"][0]["label"] == f"Turned into rows, with {count} imported"


def test_what_the_judge_cost_is_said_beside_the_teachers_cost(tmp_path):
    write_project(tmp_path, train=8, held_out=2)

    def cost() -> str:
        write_report(tmp_path, tmp_path / "index.html")
        section = (tmp_path / "index.html").read_text().split('aria-labelledby="s-teacher"')[1].split("</section>")[0]
        return " ".join(re.sub("<[^>]*>", "", section).split())

    assert "judge" not in cost()
    params = tmp_path / "params.yaml"
    params.write_text(re.sub(r"(?m)(^judge:\n  #.*\n  model:)$", r"\1 gpt-5-mini", params.read_text()))
    for name, usd in (("filter", 0.0123), ("evaluation", None)):
        path = tmp_path / f"reports/{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"judge_cost_usd": usd}))
    told = "The rulings of the judge, gpt-5-mini, cost $0.012 in the filter, unknown in the exam, which is not in the teacher's"
    assert told in cost()
    (tmp_path / "reports/evaluation.json").unlink()
    (tmp_path / "reports/rollouts.json").unlink()
    assert "cost $0.012 in the filter, which is not in" in cost()


def test_the_headline_says_whose_conversations_taught_the_student(tmp_path):
    def said() -> str:
        write_report(tmp_path, tmp_path / "reports/index.html")
        head = (tmp_path / "reports/index.html").read_text().split('<p class="lede">')[1].split("</p>")[0]
        return " ".join(re.sub("<[^>]*>", "", head).split())

    write_project(tmp_path, train=8, held_out=2)
    taught = "learns from tool-using conversations of the teacher, local/qwen2.5-coder-0.5b-instruct"
    assert f"{taught}. Here both" in said()
    rows = (tmp_path / "data/train.jsonl").read_text().splitlines()
    imported = json.loads(rows[0]) | {"prompt_id": "f" * 16, "rollout_id": "e" * 16, "teacher": "unknown"}
    (tmp_path / "data/train.jsonl").write_text("\n".join([*rows, json.dumps(imported)]) + "\n")
    assert f"{taught}, and from imported ones." in said()
    (tmp_path / "data/prompts.jsonl").write_text("")
    shutil.rmtree(tmp_path / "rollouts")
    assert "learns from imported conversations, not from those of the teacher, local/qwen" in said()


def test_a_conversation_is_printed_whole(browser: Any, tmp_path: Path) -> None:
    write_project(tmp_path, train=8, held_out=2)
    change(tmp_path / "data/train.jsonl", lambda row: row["messages"][-1].update(content="line\n" * 500 + "the end"))
    write_report(tmp_path, tmp_path / "index.html")
    tab = browser.new_page(viewport={"width": 800, "height": 1000})
    tab.goto((tmp_path / "index.html").as_uri())
    browse(tab)
    tab.locator(".row", has_text="Used for training").first.click()
    tab.wait_for_selector("#reader .fate.trained")
    tab.emulate_media(media="print")
    assert tab.evaluate("document.documentElement.scrollHeight") > 500 * 10
    assert tab.evaluate("$('reader').scrollHeight <= $('reader').clientHeight")
    assert not tab.locator("#list").is_visible() and not tab.locator(".controls").is_visible()
    tab.goto((tmp_path / "index.html").as_uri() + "#overview")
    assert not tab.locator("#reader").is_visible() and tab.locator("h1").is_visible()
    tab.close()


def test_a_project_without_held_out_prompts_had_no_exam(tmp_path: Path) -> None:
    write_project(tmp_path, train=8, held_out=2)
    nobody = {"n": 0, "known": 0, "correct": 0, "accuracy": None, "accuracy_ci": None}
    change(
        tmp_path / "reports/evaluation.json",
        lambda report: [report[who].update(nobody) for who in ("base", "student", "teacher")],
    )
    write_report(tmp_path, tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text()
    assert "No prompt is held out, so there was no exam." in page
    assert 'id="s-evaluation"' not in page and "Here both" not in page and "None of these has" not in page


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


def test_conversations_are_found_by_the_type_of_their_answer(browser: Any, tmp_path: Path) -> None:
    """Given by the row or, where it names none, by how the answer is compared."""
    write_project(tmp_path, train=6, held_out=2)
    expected: list[dict[str, Any]] = [{"expected_answer": "HB-12"}, {"expected_answer": "B", "answer_type": "choice"}]
    for file, metadata in zip(
        sorted((tmp_path / "rollouts").iterdir()), [*expected, {"expected_answer": "A7"}], strict=False
    ):
        change(file, lambda rollout, metadata=metadata: rollout.update(metadata=metadata))
    write_report(tmp_path, tmp_path / "index.html")
    tab = browser.new_page(viewport={"width": 1400, "height": 1000})
    tab.goto((tmp_path / "index.html").as_uri())
    browse(tab)
    offered = tab.locator("select[name='meta.answer_type'] option").all_inner_texts()
    assert offered == ["Answer type", "Answer type: choice (1)", "Answer type: exact (2)", "Answer type: number (5)"]
    tab.select_option("select[name='meta.answer_type']", "exact")
    assert found(tab) == 2
    tab.close()


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Edits every record of a file: of JSON lines, or the one of a JSON file."""
    lines = path.read_text().split("\n") if path.suffix == ".jsonl" else [path.read_text()]
    records = [json.loads(line) for line in lines if line]
    for record in records:
        edit(record)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_the_turns_of_a_prompt_are_told_from_the_teachers(browser: Any, tmp_path: Path) -> None:
    write_project(tmp_path, train=8, held_out=2)
    greeting = {"role": "user", "content": "Hi, are you open on Sundays?"}
    reply = {"role": "assistant", "content": "Yes, from ten."}

    def begin_with_talk(record: dict[str, Any]) -> None:
        weightless = {} if "calls" in record or "who" in record else {"weight": 0}
        record["messages"][1:1] = [greeting, reply | weightless]

    files = [*(tmp_path / "rollouts").iterdir(), *map(tmp_path.joinpath, ("data/train.jsonl", "data/rejected.jsonl"))]
    for file in (*files, tmp_path / "reports/evaluation.jsonl"):
        change(file, begin_with_talk)
    write_report(tmp_path, tmp_path / "index.html")
    tab = browser.new_page(viewport={"width": 1400, "height": 1000})
    tab.goto((tmp_path / "index.html").as_uri())
    browse(tab)
    assert greeting["content"] not in tab.inner_text("#list")
    rows = [json.loads(line) for line in (tmp_path / "data/train.jsonl").read_text().split("\n") if line]
    for row in rows:
        masked = sum(message.get("weight") == 0 for message in row["messages"]) - 1
        tab.goto(tab.url.split("#")[0] + f"#conversations?open={row['rollout_id']}")
        tab.wait_for_selector(f"#reader dd:text-is('{row['rollout_id']}')")
        turns = row["outcome"]["turns"]
        assert f"{turns} turn" in tab.inner_text(".row[aria-selected=true]")
        assert ("masked" in tab.inner_text("#reader .fate")) == bool(masked)
        prompt, talk = tab.locator("#reader section[aria-label=Prompt]"), tab.locator("#reader .columns")
        assert f"Assistant, in the prompt\n\n{reply['content']}" in prompt.inner_text()
        assert "learned" not in prompt.inner_text() and reply["content"] not in talk.inner_text()
        assert talk.locator(".message.assistant").count() == turns
        assert talk.locator(".role").first.inner_text().startswith("Teacher, turn 1")
    tab.select_option("select[name=split]", "eval")
    tab.locator(".row").first.click()
    tab.wait_for_selector("#reader .columns:not(.single)")
    assert reply["content"] not in tab.inner_text("#reader .columns")
    tab.close()


@pytest.mark.parametrize(
    ("learned", "said"), [(True, "learned from, too"), (False, "not learned from: the student’s chat"), (None, "")]
)
def test_reasoning_is_said_to_be_learned_where_the_template_has_a_place_for_it(
    browser: Any, tmp_path: Path, learned: bool | None, said: str
) -> None:
    write_project(tmp_path, train=8, held_out=2)
    for name in ("train", "rejected"):
        change(
            tmp_path / f"data/{name}.jsonl",
            lambda row: row["messages"][-1].update(reasoning_content="So I multiply."),
        )
    if learned is None:
        (tmp_path / "reports/training.json").unlink()
    else:
        change(tmp_path / "reports/training.json", lambda training: training.update(thoughts_learned=learned))
    write_report(tmp_path, tmp_path / "index.html")
    tab = browser.new_page(viewport={"width": 1400, "height": 1000})
    tab.goto((tmp_path / "index.html").as_uri())
    browse(tab)
    for fate, words in (("trained", said), ("rejected", "")):
        tab.select_option("select[name=fate]", fate)
        tab.locator(".row").first.click()
        tab.wait_for_selector(f"#reader .fate.{fate}")
        shown = tab.locator("#reader .fold summary", has_text="Reasoning").inner_text()
        assert shown.removeprefix("Reasoning").strip().startswith(words) and bool(words) == (len(shown) > 9)
    tab.close()
