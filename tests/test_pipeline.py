"""The pipeline as DVC sees it: exact deps, and any change reruns only what it affects.

The real stages run in a real DVC repository, down to the filter with a scripted teacher behind a real HTTP server; the
training and the evaluation are far slower than what is asked here, so their commands are replaced by ones that write
their outputs. Of the deps, code that no test changes is left out: DVC writes all of its lock file anew behind each stage,
and with every module in it that takes a second. Params and outs stay those of dvc.yaml.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from chat_server import calls, says, serving
from closure import ROOT, closure, is_code
from stage_process import Running

from distill.project.params import parse
from distill.records import jsonl
from distill.student.tokenizer import bundled_templates

STAGES = ["prompts", "teacher_rollouts", "convert", "filter", "sft_train", "evaluate", "report"]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_exactly_what_the_script_can_load(stage: str) -> None:
    listed = filter(is_code, PIPELINE["stages"][stage]["deps"])
    assert sorted(listed) == sorted(closure(f"stages/{stage}.py"))


@pytest.mark.parametrize("stage", ["filter", "sft_train"])
def test_what_renders_rows_depends_on_every_template_that_is_bundled(stage: str) -> None:
    templates = {file.relative_to(ROOT).as_posix() for file in bundled_templates().values()}
    assert templates <= set(PIPELINE["stages"][stage]["deps"])


def test_every_stage_is_listed_in_order_and_described() -> None:
    assert list(PIPELINE["stages"]) == STAGES
    assert all(stage["desc"] for stage in PIPELINE["stages"].values())
    assert all(stage["cmd"] == f"python -m stages.{name}" for name, stage in PIPELINE["stages"].items())


def test_runtime_is_no_ones_param_and_the_page_shows_every_other_key() -> None:
    listed = {key.split(".")[0] for stage in PIPELINE["stages"].values() for key in stage.get("params", [])}
    groups = set(yaml.safe_load((ROOT / "params.yaml").read_text()))
    assert listed == groups - {"runtime"} == set(PIPELINE["stages"]["report"]["params"])


def test_the_closure_can_fail(tmp_path: Path) -> None:
    assert "distill/dataset/filter.py" in closure("stages/filter.py")
    assert "distill/dataset/filter.py" not in closure("stages/prompts.py")
    assert "schemas/rejected.schema.json" in closure("stages/filter.py")


def teacher(body: dict[str, Any]) -> dict[str, Any]:
    """Always asks for the price: right about some prompts, so that the filter keeps some rows and rejects others."""
    last = body["messages"][-1]
    if last["role"] == "tool":
        return says(f"Answer: {last['content']}")
    sku = re.search(r"[A-Z]\d{3}", last["content"])
    return calls(("c1", "lookup_item", json.dumps({"sku": sku[0], "field": "price"}))) if sku else says("Answer: 1")


FAKES = {
    "sft_train": "mkdir -p models/adapter reports && cat data/train.jsonl > models/adapter/a && echo '{}' > reports/training.json"
    " && echo step,loss > reports/loss.csv",
    "evaluate": "mkdir -p reports && cat models/adapter/a > reports/evaluation.jsonl && echo '{}' > reports/evaluation.json",
    "report": "mkdir -p reports && cat reports/evaluation.jsonl > reports/index.html && echo '{}' > reports/metrics.json",
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], list[str]]]:
    """A git and DVC repository of the project with ten lookups to ask; calling it runs `dvc repro` and tells which ran."""
    folder = tmp_path_factory.mktemp("pipeline")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith(("tests/", "benchmarks/", "dvc.lock", "reports/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    environment = {
        **os.environ,
        "DVC_SITE_CACHE_DIR": str(folder.parent / "site"),
        "DISTILL_STORE": str(folder.parent / "store"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        **{f"GIT_{who}_{what}": "test@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    pipeline = yaml.safe_load((folder / "dvc.yaml").read_text())
    for stage, command in FAKES.items():
        pipeline["stages"][stage]["cmd"] = command
    changed = {name for name, *_ in CHANGES}
    for stage in pipeline["stages"].values():
        stage["deps"] = [dep for dep in stage["deps"] if not is_code(dep) or dep in changed]
    (folder / "dvc.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    params = parse((folder / "params.yaml").read_text())
    params["model"], params["teacher"]["n"], params["evaluate"]["n"] = "scripted", 12, 2
    params["filter"] |= {"length": "off", "tools_shown": "off"}  # the student's tokenizer is not what is tested here
    params["runtime"]["unknown_price"] = "allow"
    params["student"]["num_epochs"] = 3
    with serving(teacher) as server:
        params["teacher"]["base_url"] = server.base_url
        (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        for command in (["git", "init", "-q"], ["git", "add", "-A"], ["git", "commit", "-qm", "start"]):
            subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)

        def repro(*command: str) -> list[str]:
            done = Running(folder, "dvc", *(command or ("repro",)), **environment).wait()
            assert done.returncode == 0, done.stdout + done.stderr
            repro.said, repro.asked = done.stdout, len(server.asked)  # type: ignore[attr-defined]
            return re.findall(r"Running stage '(\w+)'", done.stdout)

        repro.folder = folder  # type: ignore[attr-defined]
        yield repro


def edit(repository: Any, name: str, old: str, new: str) -> None:
    path = repository.folder / name
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new, 1))


def test_a_first_run_runs_all_and_a_second_none(repository: Any) -> None:
    assert repository() == STAGES
    assert repository() == []


AFTER = {stage: STAGES[place:] for place, stage in enumerate(STAGES)}
LAST = ["sft_train", "evaluate", "report"]

CHANGES = [
    # What is changed, from, to: which stages run (one whose output stays the same stops the rest). Each comes on top of
    # those before it.
    ("params.yaml", "eval_fraction: 0.2", "eval_fraction: 0.3", ["prompts", "report"]),
    ("params.yaml", "max_turns: 6", "max_turns: 5", ["teacher_rollouts", "convert", "filter", *LAST]),
    ("params.yaml", "\n  n: 12", "\n  n: 24", ["teacher_rollouts", "convert", "filter", *LAST]),
    ("params.yaml", "\n  n: 2\n", "\n  n: 3\n", ["teacher_rollouts", "convert", "evaluate", "report"]),
    ("params.yaml", "model: scripted", "model: other", ["teacher_rollouts", "convert", "filter", *LAST]),
    ("params.yaml", "include_failed: false", "include_failed: true", ["convert", "report"]),
    ("params.yaml", "duplicate: reject", "duplicate: 'off'", ["filter", "report"]),
    ("params.yaml", "max_length: 1024", "max_length: 512", ["filter", "sft_train", "evaluate", "report"]),
    ("params.yaml", "num_epochs: 3", "num_epochs: 1", ["sft_train", "report"]),
    ("params.yaml", "max_output_tokens: 128", "max_output_tokens: 64", ["evaluate", "report"]),
    ("params.yaml", "concurrency: 4", "concurrency: 2", []),
    ("data/seed/shop.jsonl", '"messages"', '"variables": {}, "messages"', ["prompts"]),
    ("tools.py", "LONGEST = 200", "LONGEST = 201", ["teacher_rollouts", "convert", "evaluate", "report"]),
    ("distill/dataset/prompts.py", '"""Turns', '"""Now turns', ["prompts"]),
    (
        "distill/teacher/api/chat.py",
        '"""Chat Completions',
        '"""The Chat Completions',
        ["teacher_rollouts", "filter", "evaluate"],
    ),
    ("distill/dataset/convert.py", '"""', '"""Converts. ', ["convert"]),
    ("distill/dataset/checks/calls.py", '"""', '"""Checks. ', ["filter"]),
    ("distill/student/evaluation/score.py", '"""Scores', '"""Now scores', ["evaluate", "report"]),
    ("distill/report/page.py", '"""', '"""The page. ', ["report"]),
    ("schemas/rejected.schema.json", '"title": "A row', '"title": "Any row', ["filter", "report"]),
    ("README.md", "# ", "## ", []),
]


@pytest.mark.parametrize(
    ("name", "old", "new", "affected"), CHANGES, ids=[f"{c[0]}: {c[2].strip()}"[:60] for c in CHANGES]
)
def test_a_change_reruns_what_it_affects(repository: Any, name: str, old: str, new: str, affected: list[str]) -> None:
    edit(repository, name, old, new)
    assert repository() == affected


def test_an_imported_conversation_goes_all_the_way_without_the_teacher(repository: Any) -> None:
    talk = [{"role": "user", "content": "What is 1 + 1?"}, {"role": "assistant", "content": "Answer: 2"}]
    (repository.folder / "data/imported/mine.jsonl").write_text(json.dumps({"messages": talk}) + "\n")
    assert repository() == ["convert", "filter", *LAST]
    assert "What is 1 + 1?" in (repository.folder / "data/train.jsonl").read_text()


def test_imported_conversations_are_tracked_by_dvc_and_none_shows_a_held_out_prompt(repository: Any) -> None:
    prompts = jsonl.read(repository.folder / "data/prompts.jsonl", "prepared_prompt")
    asked = next(prompt for prompt in prompts if prompt["split"] == "eval")
    talk = [*asked["messages"], {"role": "assistant", "content": "Answer: 1"}]
    row = json.dumps({"messages": talk, "tools": [], "metadata": {}})
    (repository.folder / "data/imported/exam.jsonl").write_text(row + "\n")
    repository("add", "data/imported/exam.jsonl")
    assert repository() == ["convert", "filter", "report"]
    rejected = jsonl.read(repository.folder / "data/rejected.jsonl", "rejected")
    [reasons] = [one["reasons"] for one in rejected if one["messages"] == talk]
    assert [reason["check"] for reason in reasons] == ["contaminated"]


def test_a_clone_without_data_agrees_with_the_lock_once_it_has_what_dvc_add_took(
    repository: Any, tmp_path: Path
) -> None:
    imported = "data/imported/later.jsonl"
    talk = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}]
    (repository.folder / imported).write_text(json.dumps({"messages": talk}) + "\n")
    repository("add", imported)
    repository()
    clone = tmp_path / "clone"
    shutil.copytree(repository.folder, clone)
    subprocess.run(["git", "clean", "-fdqX"], cwd=clone, check=True)
    assert not (clone / imported).exists() and not (clone / "rollouts").exists() and not (clone / ".dvc/cache").exists()

    def lock_is_current() -> str:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        check = ["bash", ".ci/lock-is-current"]
        return subprocess.run(
            check, cwd=clone, env={**os.environ, "PATH": path}, text=True, stdout=subprocess.PIPE, check=False
        ).stdout

    assert "what went in with 'dvc add' has to be here: dvc pull it" in lock_is_current()
    for file in (repository.folder / "data/imported").glob("*.jsonl"):
        shutil.copy(file, clone / "data/imported")
    assert lock_is_current() == "dvc.lock is current\n"


def test_the_way_back_costs_nothing(repository: Any) -> None:
    """All changes undone: what was bought before is not bought again, and stages come from DVC's run cache."""
    asked = repository.asked
    subprocess.run(["git", "checkout", "-q", "."], cwd=repository.folder, check=True)
    repository()
    assert repository.asked == asked
    assert repository() == []


def test_what_dvc_shows_is_sensible(repository: Any) -> None:
    repository("dag", "--mermaid")
    assert all(f'["{stage}"]' in repository.said for stage in STAGES)
    repository("stage", "list")
    assert all(PIPELINE["stages"][stage]["desc"][:40] in repository.said for stage in STAGES)
    repository("metrics", "show", "reports/rollouts.json", "reports/filter.json")
    assert "wanted" in repository.said and "kept_share" in repository.said
    edit(repository, "params.yaml", "num_epochs: 3", "num_epochs: 1")
    repository("params", "diff")
    assert "student.num_epochs" in repository.said
    edit(repository, "params.yaml", "num_epochs: 1", "num_epochs: 3")


def test_an_experiment_changes_one_param_and_keeps_the_rest(repository: Any) -> None:
    for command in (["git", "add", "-A"], ["git", "commit", "-qm", "run", "--allow-empty"]):
        subprocess.run(
            command,
            cwd=repository.folder,
            check=True,
            capture_output=True,
            env={
                **os.environ,
                **{
                    f"GIT_{who}_{what}": "test@example.com"
                    for who in ("AUTHOR", "COMMITTER")
                    for what in ("NAME", "EMAIL")
                },
            },
        )
    ran = repository("exp", "run", "-S", "student.num_epochs=1")
    assert ran == ["sft_train", "report"]
    assert "num_epochs: 1" in (repository.folder / "params.yaml").read_text()


def test_a_part_of_the_pipeline_is_not_shown_with_the_numbers_of_the_last_whole_run(repository: Any) -> None:
    metrics = repository.folder / "reports/metrics.json"
    assert metrics.exists()
    repository("exp", "run", "-S", "filter.answer=off", "filter")
    assert not metrics.exists()
    repository()
    assert metrics.exists()
