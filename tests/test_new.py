"""`make new DIR=...` gives a project that is valid and runs, and holds nothing of the example."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from chat_server import calls, says, serving
from conftest import ROOT


def make_new(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", "new", f"DIR={folder}"], cwd=ROOT, capture_output=True, text=True, check=False)


def teacher(body: dict[str, Any]) -> dict[str, Any]:
    """Counts the days with the tool, and says what the tool said."""
    last = body["messages"][-1]
    if last["role"] == "tool":
        return says(f"Answer: {last['content']}")
    start, end = re.findall(r"\d{4}-\d\d-\d\d", last["content"])
    return calls(("c1", "days_between", json.dumps({"start": start, "end": end})))


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new") / "a project of mine"
    made = make_new(folder)
    assert made.returncode == 0, made.stderr
    return folder


def run(mine: Path, *command: str) -> subprocess.CompletedProcess[str]:
    told = {**os.environ, "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}", "TEACHER_API_KEY": "key"}
    return subprocess.run(command, cwd=mine, env=told, capture_output=True, text=True, check=False)


def test_nothing_of_the_example_is_left(mine: Path) -> None:
    names = {str(path.relative_to(mine)) for path in mine.rglob("*") if path.is_file() and ".git" not in path.parts}
    assert {"tools.py", "data/seed/prompts.jsonl", ".dvc/config", "docs/manual.md", ".ci/run"} <= names
    assert {name for name in names if name.startswith("data/")} == {"data/imported/.gitkeep", "data/seed/prompts.jsonl"}
    assert not [
        name for name in names if name.startswith(("tests/", "benchmarks/", "reports/", "template/", "dvc.lock"))
    ]
    assert (
        "data/shop" not in (mine / "dvc.yaml").read_text()
        and "  demonstrations:\n" in (mine / "params.yaml").read_text()
    )
    tracked = subprocess.run(["git", "ls-files"], cwd=mine, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    assert names == set(filter(None, tracked))
    ignored = run(mine, "git", "check-ignore", ".env", ".env.local", ".env.bak", ".env.example").stdout
    assert ignored.split() == [".env", ".env.local", ".env.bak"], "keys, which `git add -A` is not to take"
    assert run(mine, "git", "symbolic-ref", "HEAD").stdout == "refs/heads/main\n", "which the manual pushes"
    offered = run(mine, "make", "help").stdout
    assert "\n  train " in offered and "\n  lock " in offered
    assert not {"test", "bench-dvc", "example-large", "new"} & set(offered.split())
    for page in (mine / "docs").glob("*.md"):
        links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text())
        assert not [link for link in links if not (page.parent / link).exists()], page
        assert "bench-training" not in page.read_text(), page
    assert "made from" in (mine / "docs/manual.md").read_text().splitlines()[2]


def test_it_is_valid_and_runs_down_to_the_filter(mine: Path) -> None:
    valid = run(mine, "python", "-m", "distill.commands.validate")
    assert valid.returncode == 0 and "4 prompts, 1 tools" in valid.stdout, valid.stderr
    params = mine / "params.yaml"
    with serving(teacher) as server:
        text = params.read_text().replace("unknown_price: refuse", "unknown_price: allow")
        text = text.replace("base_url:\n", f"base_url: {server.base_url}\n")
        params.write_text(re.sub("(?m)^model: .*", "model: scripted", text))
        planned, tried = (run(mine, "make", "-o", ".venv/.base", what) for what in ("plan", "try"))
        done = run(mine, "dvc", "repro", "filter")
    assert "scripted: 4 rollouts wanted" in planned.stdout, planned.stderr
    assert "days_between" in tried.stdout and "Answer: " in tried.stdout, tried.stderr
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in (mine / "data/train.jsonl").read_text().splitlines()]
    assert len(rows) == 3 and all(row["outcome"]["correct"] for row in rows)


def test_rollouts_are_refused_before_anything_is_changed(mine: Path) -> None:
    make = ("make", "-o", ".venv/.base", "rollouts")
    before = (mine / "params.yaml").read_bytes()
    with serving(teacher) as server:
        text = before.decode().replace("unknown_price: refuse", "unknown_price: allow")
        (mine / "params.yaml").write_text(re.sub("(?m)^  base_url:.*", f"  base_url: {server.base_url}", text))
        before = (mine / "params.yaml").read_bytes()
        for choice, said in (
            ("N=0", "/teacher/n: 0 is less than the minimum of 1"),
            ("N=1", "there is none yet: git add -A && git commit"),
        ):
            done = run(mine, *make, choice, "MODEL=another")
            assert done.returncode == 2 and said in done.stderr + done.stdout, done.stderr + done.stdout
            assert (mine / "params.yaml").read_bytes() == before
        assert not server.asked
        run(mine, "git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--all", "--quiet", "--message=start")
        done = run(mine, *make, "N=1", "MODEL=another")
        assert done.returncode == 0, done.stderr + done.stdout
        assert len(server.asked) == 2 * 2, "one prompt to train on, one held out"


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    refused = make_new(tmp_path)
    assert refused.returncode != 0 and "is not an empty folder" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    for nowhere in ([], ["DIR=--help"]):
        nameless = subprocess.run(["make", "new", *nowhere], cwd=ROOT, capture_output=True, text=True, check=False)
        assert nameless.returncode != 0 and "make new DIR=../mine" in nameless.stderr


def test_no_experiment_gets_the_name_of_the_machine() -> None:
    """Which Windows' Linux has in NAME: the second one of that name would be refused."""
    environment = {**os.environ, "NAME": "laptop"}
    for chosen, named in ([], False), (["NAME=mine"], True):
        make = ["make", "-n", "rollouts", *chosen]
        done = subprocess.run(make, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        assert "laptop" not in done.stdout and ("exp run -n mine" in done.stdout) == named
