"""`make import`: the rows of a dataset's file, and what is said of those that are left out."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from distill.dataset import rollouts

TOOL = {
    "name": "add",
    "description": "Adds.",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


def row(number: int) -> dict[str, Any]:
    said = [
        {"role": "user", "content": f"{number} and 1?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "tool_call_id": None},
        {"role": "tool", "content": str(number + 1), "tool_calls": None, "tool_call_id": "c1"},
        {"role": "assistant", "content": f"Answer: {number + 1}", "tool_calls": None, "tool_call_id": None},
    ]
    return {"messages": said, "tools": json.dumps([TOOL]), "share": 0.1 + 0.2}


ROWS = [row(number) for number in range(5)]


def imported(*arguments: Path | str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "distill.commands.import_dataset", *map(str, arguments)]
    told = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=told)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def read() -> list[Any]:
    found = [(record["messages"], record["tools"], record["metadata"]) for record in rollouts.read("data/imported")]
    return sorted(found, key=str)


def test_rows_of_every_kind_of_file_become_the_same_lines():
    parquet, zstandard = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("zstandard")
    import pyarrow

    text = "".join(f"{json.dumps(one)}\n" for one in ROWS)
    files = [Path(f"theirs.{kind}") for kind in ("jsonl", "jsonl.zst", "json", "parquet")]
    files[0].write_text("\ufeff" + text)
    files[1].write_bytes(zstandard.compress(text.encode()))
    files[2].write_text(json.dumps(ROWS, indent=1))
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), files[3])
    made = []
    for file in files:
        done = imported(file)
        assert (done.returncode, done.stderr) == (
            0,
            "",
        ) and done.stdout == "import: 5 rows -> data/imported/theirs.jsonl\n"
        made.append(read())
        Path("data/imported/theirs.jsonl").unlink()
    assert all(one == made[0] for one in made) and len(made[0]) == 5
    assert made[0][0][2] == {"share": 0.1 + 0.2} and made[0][0][1][0]["function"] == TOOL


def test_what_cannot_be_read_is_left_out_and_told_by_reason():
    unknown = [{**row(number), "messages": [{"role": "moderator", "content": "x"}]} for number in range(3)]
    lines = [*map(json.dumps, [ROWS[0], *unknown, ROWS[1]]), '{"messages": [', json.dumps(ROWS[2])]
    Path("theirs.jsonl").write_text("\n".join(lines))
    done = imported("theirs.jsonl")
    assert done.returncode == 0 and len(read()) == 3
    assert done.stdout.splitlines() == [
        "import: left out: 3 rows, such as theirs.jsonl:2: /messages/0/role: 'moderator' is none of system, developer, human, "
        "user, gpt, chatgpt, bing, bard, assistant, function_call, tool_call, observation, tool, function, "
        "function_response, tool_response",
        "import: left out: 1 row, such as theirs.jsonl:6: not valid JSON: unexpected end of data, column 15: the text ends in "
        "the middle (of JSON Lines, each line is a whole object)",
        "import: 3 rows -> data/imported/theirs.jsonl",
    ]


def test_the_first_n_that_can_be_read():
    Path("a.jsonl").write_text("{}\n" + "".join(f"{json.dumps(one)}\n" for one in ROWS))
    Path("b.json").write_text(json.dumps(ROWS))
    done = imported("a.jsonl", "b.json", "-n", "2")
    assert "import: left out: 1 row, such as a.jsonl:1: /: no messages" in done.stdout
    assert done.stdout.endswith("import: 2 rows -> data/imported/b.jsonl\n") and len(read()) == 4


@pytest.mark.parametrize(
    ("name", "content", "arguments", "said"),
    [
        ("a.csv", b"a,b", [], "a.csv: only .jsonl, .jsonl.zst, .json and .parquet files can be imported"),
        ("a.json", b"[{]", [], "a.json: not valid JSON"),
        ("a.parquet", b"PAR1", [], "a.parquet: cannot be read"),
        (
            "a.jsonl",
            b"{}\n{}\n",
            [],
            "a.jsonl: no row can be read\nleft out: 2 rows, such as a.jsonl:1: /: no messages",
        ),
        ("a.jsonl", b"", [], "a.jsonl: no row can be read"),
        ("other", b"", ["a.jsonl"], "a.jsonl: no such file"),
        ("other", b"", ["a.json"], "a.json: no such file"),
        ("other", b"", ["a.parquet"], "a.parquet: no such file"),
        ("a.jsonl", b"{}", ["-n", "0"], "N=0: must be at least 1"),
    ],
)
def test_what_is_no_dataset_leaves_nothing_behind(name, content, arguments, said):
    Path(name).write_bytes(content)
    done = imported(*([] if "a." in str(arguments) else [name]), *arguments)
    assert done.returncode and said in done.stderr.replace("error: ", "") and "Traceback" not in done.stderr
    assert not list(Path("data").rglob("*.*"))


def test_a_file_that_is_there_is_not_written_over():
    Path("a.jsonl").write_text(json.dumps(ROWS[0]))
    assert imported("a.jsonl").returncode == 0
    Path("a.jsonl").write_text(json.dumps(ROWS[1]))
    done = imported("a.jsonl")
    assert done.returncode and "data/imported/a.jsonl: exists; remove it, or give a.jsonl another name" in done.stderr
    assert "0 and 1?" in read()[0][0][0]["content"]
