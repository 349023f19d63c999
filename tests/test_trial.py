"""What `make try` asks, and what it says that the filter would make of a rollout."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sums
from rollout_records import call, messages, rollout
from stage_process import Running
from teacher_server import Books, refused, serving

from distill.commands.trial import outlook, to_try
from distill.dataset.checks.context import CheckContext
from distill.project import params

WRONG = {"expected_answer": 1, "answer_type": "number"}
JUDGED = {"expected_answer": "a dozen", "answer_type": "judge"}
UNREAD = {"kind": "calls_as_text", "where": "teacher", "message": "", "http_status": None, "retryable": False}
FORGOT = [*messages(9)[:2], {"role": "assistant", "content": "", "tool_calls": [call("1", "calculator", '{"a": 1}')]}]
REPAIRED = [*FORGOT, {"role": "tool", "tool_call_id": "1", "content": "error: b is missing"}, *messages(9)[2:]]


@pytest.mark.parametrize(
    ("changes", "modes", "said"),
    [
        ({}, {}, "kept; its answer is right"),
        ({"metadata": {}}, {}, "kept; its answer is not compared with anything here"),
        ({"metadata": JUDGED}, {}, "kept; the judge is not asked about its answer here"),
        ({"metadata": WRONG}, {}, "rejected: answer: "),
        ({"metadata": WRONG}, {"answer": "off"}, "kept; its answer is wrong"),
        ({"status": "failed", "stop_reason": "max_turns"}, {}, "left out, since it failed (max_turns)"),
        (
            {"status": "failed", "stop_reason": "api_error", "error": UNREAD},
            {},
            "left out, since it failed (api_error): start the server with the parser",
        ),
        ({"split": "eval"}, {}, "left out, since its prompt is held out; its answer is right"),
        (
            {"messages": REPAIRED},
            {"calls": "mask"},
            "kept, but 1 of its turns are not learned from (calls); its answer is right",
        ),
    ],
)
def test_the_outlook_of_a_rollout(changes: dict[str, Any], modes: dict[str, Any], said: str) -> None:
    chosen = params.load()
    chosen["filter"] |= {"length": "off", "tools_shown": "off", **modes}
    assert outlook(rollout(**changes), chosen, CheckContext()).startswith(said)


def test_different_prompts_are_tried_and_held_out_ones_only_where_there_are_no_others() -> None:
    train, held_out = ({"id": split, "split": split} for split in ("train", "eval"))
    assert to_try([(train, 0), (train, 1), (held_out, 0)]) == [(train, 0)]
    assert to_try([(train, 0), (train | {"id": "b"}, 0), (train | {"id": "c"}, 0)]) == [
        (train, 0),
        (train | {"id": "b"}, 0),
    ]
    assert to_try([(held_out, 0)]) == [(held_out, 0)]
    assert to_try([]) == []


@pytest.mark.parametrize(
    "kind", [{"tools": []}, {"metadata": {"answer_type": "exact"}}, {"metadata": {"formula": "a"}}]
)
def test_prompts_of_different_kinds_are_tried(kind: dict[str, Any]) -> None:
    prompt = {"split": "train", "tools": None, "metadata": {"answer_type": "number"}}
    metadata = prompt["metadata"] | kind.get("metadata", {})  # type: ignore[operator]
    other = prompt | kind | {"id": "c", "metadata": metadata}
    alike = [(prompt | {"id": name}, 0) for name in "ab"]
    assert to_try([*alike, (other, 0)]) == [alike[0], (other, 0)]


@pytest.fixture
def two_prompts(tmp_path: Path) -> Iterator[tuple[Path, Books]]:
    """A project with two prompts, and the server that it asks."""
    project = sums.bare(tmp_path)
    sums.make(project, 2)
    assert Running(project, "prompts").wait().returncode == 0
    with serving(sums.adds) as books:
        sums.set_params(project, teacher__base_url=books.base_url)
        yield project, books


def test_without_prompts_there_is_nothing_to_try(tmp_path: Path) -> None:
    """As where all that there is are conversations in data/imported/."""
    project = sums.bare(tmp_path)
    sums.make(project, 0)
    (project / "data/prompts.jsonl").touch()
    done = Running(project, "distill.commands.trial").wait()
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "error: data/seed: no prompt to try\n")


def test_conversations_are_shown_without_lines_of_progress_between_them(two_prompts: tuple[Path, Books]) -> None:
    said = Running(two_prompts[0], "distill.commands.trial").wait().stdout
    assert said.count("── ") == 2 and "2/2 done" in said and "done" not in said[said.index("── ") :], said


def test_what_others_wrote_does_not_command_the_terminal(tmp_path: Path) -> None:
    """Escape sequences in a prompt, a tool's result and a server's refusal would set its title, or hide lines."""
    evil, shown = "\x1b]0;title\x07\x9b2J", "\\x1b]0;title\\x07\\x9b2J"
    project = sums.bare(tmp_path)
    sums.make(project, 2)
    (project / "data/seed/sums.jsonl").write_text(
        "".join(
            json.dumps({"messages": [{"role": "user", "content": f"what is {n} + 1? {evil}"}], "split": "train"}) + "\n"
            for n in range(2)
        )
    )
    tools = (project / "tools.py").read_text()
    (project / "tools.py").write_text(tools.replace("return a + b", f"return {evil!r}").replace("-> int", "-> str"))
    assert Running(project, "prompts").wait().returncode == 0
    for reply in (sums.adds, lambda asked: refused(401, "invalid_api_key", f"no {evil}")):
        with serving(reply) as books:
            sums.set_params(project, teacher__base_url=books.base_url, teacher__temperature=None)
            done = Running(project, "distill.commands.trial", DISTILL_STORE=str(tmp_path / "store")).wait()
        said = done.stdout + done.stderr
        assert shown in said and "\x1b" not in said and "\x9b" not in said, said


def test_nobody_who_reads_is_no_traceback(two_prompts: tuple[Path, Books]) -> None:
    """`make try | head`: what was asked is kept all the same."""
    project, books = two_prompts
    command = [sys.executable, "-m", "distill.commands.trial"]
    environment = {**os.environ, "PYTHONPATH": str(sums.ROOT)}
    for _ in range(2):
        run = subprocess.Popen(
            command, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert run.stdout and run.stderr
        run.stdout.close()
        said = run.stderr.read()
        assert (run.wait(), said) == (141, "")
    assert max(books.times_paid.values()) == 1
