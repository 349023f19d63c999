"""The conversations of the report in a real browser: they are found, opened and read, and nothing in them runs."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from report_page import *  # noqa: F403
from report_page import browse, change, found
from report_project import write_project
from report_records import HOSTILE, make_prompt, make_rollout

from distill.records import jsonl
from distill.report.write import write_report


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


def test_a_result_nested_too_deeply_is_shown_as_it_came(project: Path, tmp_path: Path, browser: Any) -> None:
    rollout = jsonl.read_json(next((project / "rollouts").iterdir()), "rollout")
    deep = '{"x": ' + "[" * 50_000 + "]" * 50_000 + "}"
    rollout["messages"] = [
        {"role": "user", "content": "Run it."},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "run", "arguments": deep}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": deep},
        {"role": "assistant", "content": "Answer: 7"},
    ]
    jsonl.write_json(tmp_path / f"rollouts/20260101_000000_{rollout['id']}.json", rollout, "rollout")
    write_report(tmp_path, tmp_path / "index.html")
    tab = browser.new_page()
    tab.goto((tmp_path / "index.html").as_uri() + "#conversations")
    tab.wait_for_selector(".row")
    tab.locator(".row").click()
    assert tab.locator("#reader details.call pre").all_text_contents() == [deep, deep]
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


def test_in_a_narrow_window_escape_leads_back_to_the_list(browser: Any, project: Path) -> None:
    """Which is not there to be focused while a conversation stands in its place."""
    tab = browser.new_page(viewport={"width": 400, "height": 800})
    tab.goto((project / "reports/index.html").as_uri() + "#conversations")
    tab.wait_for_selector(".row")
    tab.keyboard.press("j")
    tab.wait_for_selector("#reader .message.user")
    tab.keyboard.press("Escape")
    tab.wait_for_selector(".row", state="visible", timeout=10_000)
    for _ in range(2):
        tab.keyboard.press("Escape")
    tab.wait_for_selector("#overview", state="visible")
    tab.close()


def test_turns_that_were_learned_from_are_highlighted(page: Any) -> None:
    browse(page)
    page.select_option("select[name=fate]", "trained")
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


def test_base_and_student_stand_beside_the_teacher_on_held_out_prompts(page: Any) -> None:
    browse(page)
    page.select_option("select[name=split]", "eval")
    page.locator(".row").first.click()
    page.wait_for_selector("#reader .columns")
    assert page.locator("#reader .columns > section h3").all_inner_texts() == ["Student", "Teacher", "Base"]
    assert "none (wrong; number: no number)" in page.locator("#reader .columns > section").last.inner_text()
    page.get_by_role("checkbox", name="Base").uncheck()
    assert page.locator("#reader .columns > section:visible").count() == 2


def test_several_answers_to_a_prompt_stand_side_by_side(browser: Any, tmp_path: Path) -> None:
    write_project(tmp_path, train=6, held_out=2)
    talks = list(jsonl.read(tmp_path / "reports/evaluation.jsonl", "evaluated"))
    asked = next(talk for talk in talks if talk["who"] == "student")
    again = asked | {"sample": 1, "answer": "again", "correct": not asked["correct"]}
    jsonl.write(tmp_path / "reports/evaluation.jsonl", [*talks, again], "evaluated")
    write_report(tmp_path, tmp_path / "index.html")
    tab = browser.new_page(viewport={"width": 1400, "height": 1000})
    tab.goto((tmp_path / "index.html").as_uri())
    browse(tab)
    tab.select_option("select[name=split]", "eval")
    assert "student mixed" in tab.locator(".row").first.inner_text()
    tab.locator(".row").first.click()
    tab.wait_for_selector("#reader .columns")
    names = tab.locator("#reader .columns > section h3").all_inner_texts()
    assert names == ["Student, answer 1 of 2", "Student, answer 2 of 2", "Teacher", "Base"]
    tab.get_by_role("checkbox", name="Student").uncheck()
    assert tab.locator("#reader .columns > section:visible h3").all_inner_texts() == ["Teacher", "Base"]
    tab.close()


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
    assert not tab.locator("#reader").is_visible() and tab.locator("#verdict").is_visible()
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
        assert f"Assistant, in the prompt\n{reply['content']}" in prompt.inner_text()
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
