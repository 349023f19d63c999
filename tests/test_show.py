"""`make render`: what a user sees of a row."""

import json
import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from families import own, write_tokenizer
from tiny_rows import row


@pytest.fixture
def render(project: Path, set_param: Callable[[str, object], None], tmp_path: Path) -> Callable[..., Any]:
    """`make render` in a project whose student has Qwen3's template."""
    place = write_tokenizer(tmp_path / "base", "qwen3")
    (place / "config.json").write_text('{"vocab_size": 1024}')
    (place / "chat_template.jinja").write_text(own("qwen3"))
    set_param("student.path", str(place))
    (project / "data/train.jsonl").write_text("".join(json.dumps(row(n)) + "\n" for n in range(3)))
    (project / ".venv").symlink_to(ROOT / ".venv")

    def run(*arguments: str, out: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
        command = ["make", "-o", ".venv/.base", "render", *arguments]
        return subprocess.run(command, cwd=project, stdout=out, stderr=subprocess.PIPE, text=True, check=False)

    return run


def test_what_is_learned_stands_between_marks(render):
    said = render("ROW=2").stdout
    first, second = said.split("data/train.jsonl:2, sequence ")[1:]
    assert first.startswith("1 of 2: ") and " of them learned" in first
    assert '⟦<think>\n\n</think>\n\n<tool_call>\n{"name": "lookup_item", "arguments": {"sku": "G101"}}' in first
    assert first.rstrip().endswith("</tool_call><|im_end|>⟧") and second.rstrip().endswith("Answer: 3<|im_end|>⟧")
    assert "⟦" not in second[: second.index("</tool_response>")]


def test_a_terminal_gets_colour(render):
    master, slave = pty.openpty()
    with os.fdopen(master, "rb") as screen:
        render(out=slave)
        os.close(slave)
        said = b""
        try:
            while part := screen.read1(65536):
                said += part
        except OSError:  # Linux: the other end is closed
            pass
    assert "\x1b[30;42m<think>" in said.decode() and "⟦" not in said.decode()


@pytest.mark.parametrize(
    ("arguments", "said"), [(["ROW=9"], "there is no line 9, the last one is "), (["ROW=x"], "invalid int value")]
)
def test_a_row_that_is_not_there_is_named(render, arguments, said):
    ended = render(*arguments)
    assert ended.returncode and said in ended.stderr


def test_a_row_that_cannot_be_rendered_is_named(render, set_param):
    set_param("student.template", "gemma3")
    assert "error: data/train.jsonl:1: /messages/2: the chat template ends the turn" in render().stderr
