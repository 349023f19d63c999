"""Every command that the manual names is run, in a copy of the project and against a teacher behind real HTTP.

What takes minutes is run by a test of its own: ELSEWHERE names it, and a command that is in neither table fails.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from closure import is_code
from conftest import ROOT
from report_project import write_project
from stage_process import Running
from teacher_server import Asked, function_call, response, serving, text

from distill.project import params
from distill.records import schema
from distill.teacher.api import rules
from distill.teacher.asked import asked_teacher

MANUAL = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"^(?:make(?: \S.*)?|\.ci/run|(?:dvc|git|python|accelerate|docker|source) \S.*)$")

STEPS: list[tuple[str, str]] = [
    # A command, and what it prints. They run in this order, in one project.
    ("make help", r"(?m)^  rollouts +Ask the teacher"),
    ("source .venv/bin/activate", ""),
    ("make validate", r"valid: 336 prompts, 2 tools"),
    ("make tools", r"lookup_item\(sku, field\)  from tools.py\n    Gives the price"),
    ("make plan MODEL=gpt-5.2", r"gpt-5.2: \d+ rollouts wanted, 0 of them in the store"),
    ("make try MODEL=gpt-5.2", r"lookup_item"),
    ("make rollouts ENTRIES=0-2 MODEL=gpt-5.2", r"(?m)^teacher_rollouts: .*5"),
    ("make rollouts N=100 MODEL=gpt-5.2", r"(?m)^teacher_rollouts: .*102"),
    ("git add -A", ""),
    ('git commit -m "My prompts, tools and settings"', "files? changed"),
    ("make data", r"filter: kept \d+"),
    ("dvc repro filter", r"Data and pipelines are up to date"),
    ("python -m stages.convert -o F --include-failed", r"-> F"),
    ("make render ROW=3", r"Answer: "),
    ("make export FORMAT=openai", r"exports/"),
    ("make export FORMAT=tokens", r"sequences -> exports/"),
    ("make report", r"open reports/so_far.html"),
    ("dvc repro", r"Running stage 'sft_train'"),
    ("dvc repro -f -s evaluate", r"Running stage 'evaluate'"),
    ("dvc remote add --default storage /srv/distill", ""),
    ("dvc remote modify storage verify true", ""),
    ("git add -A", ""),
    ('git commit -m "Sixty-four rollouts of the small teacher"', "files? changed"),
    ("dvc push", r"files? pushed"),
    ("git push origin main", ""),
    ("dvc exp run -S model=gpt-5-pro", r"Running stage 'teacher_rollouts'"),
    ("dvc params diff", r"gpt-5-pro"),
    ("git checkout params.yaml", r"Updated 1 path"),
    ("dvc metrics show", r"accuracy.student"),
    ("dvc metrics diff", r"cost_usd"),
    ("git checkout HEAD dvc.lock reports", r"Updated \d+ paths"),
    ("dvc checkout", r"rollouts"),
    ("dvc exp run -S student.num_epochs=1", r"Running stage 'sft_train'"),
    ("make compare", r"student.num_epochs"),
    ("dvc exp show", r"gpt-5-pro"),
    ("dvc plots show", r"dvc_plots/index.html"),
    ("dvc dag", r"teacher_rollouts"),
    ("dvc exp push origin NAME", r"Pushed experiment"),
]
IN_A_CLONE = [
    # In a clone, with neither key nor answers.
    ("dvc pull", r"files? fetched"),
    ("dvc repro", r"Data and pipelines are up to date"),
    ("dvc exp pull origin NAME", r"Pulled experiment"),
]

ELSEWHERE = {
    "make deps": "tests/test_pipeline.py::test_deps_are_exactly_what_the_script_can_load",
    # A command, or how it begins, and the test that runs what it runs.
    "git checkout --theirs dvc.lock reports": "tests/test_paid_in_dvc.py"
    "::test_after_a_merge_nothing_of_either_side_is_bought_again",
    "dvc exp show --all-commits": "tests/test_experiments.py::test_what_an_experiment_left_is_taken_back_also_when_it_failed",
    "make": "tests/test_pipeline.py::test_a_first_run_runs_all_and_a_second_none",
    "python -m stages.convert": "tests/test_convert.py::test_the_stage_converts_finished_training_rollouts",
    "make import": "tests/test_import_dataset.py::test_rows_of_every_kind_of_file_become_the_same_lines",
    "make evaluate": "tests/test_evaluate.py::test_base_student_and_teacher_are_compared",
    "make train": "tests/test_train.py::test_it_learns_and_says_so",
    "make sweep": "tests/test_experiments.py::test_a_sweep_runs_each_value_and_shows_them",
    "make ablate": "tests/test_experiments.py::test_ablate_shows_the_student_with_and_without_a_check",
    "dvc exp apply": "tests/test_experiments.py::test_ablate_shows_the_student_with_and_without_a_check",
    "make example-large": "tests/test_example.py::test_the_larger_example_is_a_valid_project_of_its_own",
    "make browser-example": "tests/test_browser.py::test_a_teacher_reads_a_page_clicks_and_answers",
    "dvc repro -f -s teacher_rollouts": "tests/test_paid_in_dvc.py::"
    "test_what_failed_and_may_pass_is_asked_again_as_the_run_says",
    "make chat": "tests/test_serving.py::test_make_chat_uses_the_tools",
    "make serve": "tests/test_serving.py::test_make_serve_speaks_openai",
    "make merge": "tests/test_export_model.py::test_merged_and_gguf_students_answer_as_trained",
    "make gguf": "tests/test_export_model.py::test_merged_and_gguf_students_answer_as_trained",
    "vllm serve": "tests/test_vllm_server.py::test_the_manuals_command_is_the_one_that_is_run",
    "dvc add": "tests/test_pipeline.py::"
    "test_imported_conversations_are_tracked_by_dvc_and_none_shows_a_held_out_prompt",
    "make new": "tests/test_new.py::test_nothing_of_the_example_is_left",
    "make plan": "tests/test_new.py::test_it_is_valid_and_runs_down_to_the_filter",
    "make try": "tests/test_new.py::test_it_is_valid_and_runs_down_to_the_filter",
}
NOT_HERE = {
    "make lint": "runs on every push, in .ci/run",
    "dvc commit -f sft_train": "belongs to a training on several machines",
    "make test": "runs this",
    "make install": "downloads 2 GB; the environment of these tests is what it made",
    "make install-data": "as make install",
    "make lock": "asks the package index for versions",
    "hf download Agent-Ark/Toucan-1.5M --repo-type dataset --include 'SFT/train-*' --local-dir theirs": "asks a hub",
    ".ci/run": "runs make test",
    "docker image rm $(docker image ls --format '{{.Repository}}:{{.Tag}}' 'distill/*')": "removes images of other projects",
}


def commands(path: Path) -> list[str]:
    """The commands of a page, in code blocks, in tables and in prose; not those of rnow."""
    page = path.read_text(encoding="utf-8")
    fenced = re.findall(r"(?m)^```(?:bash|sh)\n(.*?)^```", page, re.DOTALL)
    found = [line.strip() for block in fenced for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"(?ms)^```.*?^```", "", page)
    prose = re.sub(r"(?m)^\| `(?:rnow|python convert_rollouts)[^|]*\|", "|", prose)
    found += [span for span in re.findall(r"`([^`\n]+)`", prose) if COMMAND.match(span)]
    return list(dict.fromkeys(line for line in found if line and not line.startswith("#")))


NAMED = list(dict.fromkeys(command for path in MANUAL if path.exists() for command in commands(path)))


def elsewhere(command: str) -> str | None:
    """The test that runs it: of the longest beginning that is in the table."""
    words = command.split()
    for length in range(len(words), 0, -1):
        if " ".join(words[:length]) in ELSEWHERE and (length > 1 or len(words) == 1):
            return ELSEWHERE[" ".join(words[:length])]
    return None


@pytest.mark.parametrize("command", NAMED)
def test_every_command_is_run_by_a_test(command: str) -> None:
    assert command in NOT_HERE or elsewhere(command) or command in {step for step, _ in STEPS + IN_A_CLONE}, (
        f"`{command}` is in the manual and in no test: add it to STEPS or ELSEWHERE of tests/test_readme.py"
    )
    if command.startswith("make"):
        known = subprocess.run(
            ["make", "-n", *command.split()[1:]], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert known.returncode == 0, known.stderr


def test_the_tables_are_true() -> None:
    for command, test in ELSEWHERE.items():
        path, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text(), f"{command}: there is no {test}"
    unused = [
        command
        for command in [*ELSEWHERE, *NOT_HERE, *dict(STEPS), *dict(IN_A_CLONE)]
        if not any(named == command or named.startswith(command + " ") for named in NAMED)
    ]
    assert not unused, f"not in the manual any more: {unused}"


def test_every_folder_has_a_line_that_says_what_lives_there() -> None:
    known = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    layout = (ROOT / "README.md").read_text().partition("## Layout")[2]
    folders = {name.split("/")[0] for name in known if "/" in name} - {".dvc", "data"}
    assert [folder for folder in sorted(folders) if f"`{folder}/`" not in layout] == []


def test_the_settings_for_a_large_student_are_valid() -> None:
    (block,) = re.findall(r"(?s)```yaml\n(model: gpt.*?)```", (ROOT / "README.md").read_text())
    changes, chosen = yaml.safe_load(block), params.load(ROOT / "params.yaml")
    for group, values in changes.items():
        assert group in chosen and (not isinstance(values, dict) or set(values) <= set(chosen[group]))
        chosen[group] = {**chosen[group], **values} if isinstance(values, dict) else values
    assert not schema.faults("params", chosen)
    assert not rules.faults(asked_teacher(chosen), "responses", with_tools=True)


def test_help_lists_every_target() -> None:
    printed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    rules = "".join((ROOT / name).read_text() for name in ("Makefile", "develop.mk"))
    targets = set(re.findall(r"(?m)^([a-z][a-z-]*):(?!=)", rules))
    assert targets == {line.split()[0] for line in printed.splitlines() if line.startswith("  ")}


def test_errors_name_pages_that_are_there() -> None:
    code = "".join(path.read_text() for path in (ROOT / "distill").rglob("*.py"))
    named = set(re.findall(r"\((docs/[^)\[]*\.md)\)", code))
    assert named and all((ROOT / page).is_file() for page in named)


def test_links_lead_somewhere() -> None:
    for page in MANUAL:
        links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text())
        assert [link for link in links if not (page.parent / link).exists()] == [], page


# The project that the commands run in


def teacher(asked: Asked) -> dict[str, Any]:
    """Looks up the price of whatever is asked, and says it."""
    last = asked.body["input"][-1]
    if last.get("type") == "function_call_output":
        return response(text(f"Answer: {last['output']}"))
    sku = re.search(r"[A-Z]\d{3}", json.dumps(last))
    return response(
        function_call("c1", "lookup_item", json.dumps({"sku": sku[0], "field": "price"})) if sku else text("Answer: 1")
    )


# Training and exam take minutes: here they put made-up numbers in place.
FAKES = {
    "sft_train": "mkdir -p models/adapter reports && cp data/train.jsonl models/adapter/"
    " && cp kept/training.json kept/loss.csv reports/",
    "evaluate": "cp kept/evaluation.json reports/ && touch reports/evaluation.jsonl && cat models/adapter/* > /dev/null",
}


def environment(project: Path) -> dict[str, str]:
    person = {f"GIT_{who}_{what}": "me@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    path = f"{project}/.venv/bin:{os.environ['PATH']}"
    return {**os.environ, **person, "PATH": path, "GIT_CONFIG_GLOBAL": "/dev/null", "TEACHER_API_KEY": "key"}


@pytest.fixture
def mine(project: Path) -> Iterator[Path]:
    """The project, with a git origin, a place to share data, and an environment that needs no installing."""
    with serving(teacher) as books:
        params = (project / "params.yaml").read_text()
        for old, new in [
            ("base_url:\n", f"base_url: {books.base_url}\n"),
            ("api: auto", "api: responses"),
            ("\n  n: 64", "\n  n: 6"),
            ("\n  n: 40", "\n  n: 2"),
            ("prices: {}", "prices: {gpt-5.2: {input: 1, output: 2}, gpt-5-pro: {input: 10, output: 20}}"),
        ]:
            assert old in params
            params = params.replace(old, new, 1)
        (project / "params.yaml").write_text(params)
        pipeline = yaml.safe_load((project / "dvc.yaml").read_text())
        for stage, command in FAKES.items():
            pipeline["stages"][stage]["cmd"] = command
        for stage in pipeline["stages"].values():  # with every module in it, DVC's lock file takes a second a stage
            stage["deps"] = [dep for dep in stage["deps"] if not is_code(dep)]
        (project / "dvc.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
        (project / "dvc.lock").unlink(missing_ok=True)
        shutil.rmtree(project / "reports")
        write_project(project.parent / "made", train=8, held_out=2)
        shutil.copytree(project.parent / "made/reports", project / "kept")
        _venv(project / ".venv")
        origin = project.parent / "origin.git"
        for command in (
            ["git", "init", "-q", "--bare", "-b", "main", str(origin)],
            ["git", "init", "-q", "-b", "main"],
            ["git", "remote", "add", "origin", str(origin)],
            ["git", "add", "-A"],
            ["git", "commit", "-qm", "start"],
            ["git", "push", "-q", "origin", "main"],
        ):
            subprocess.run(command, cwd=project, env=environment(project), check=True, capture_output=True)
        yield project


def _venv(folder: Path) -> None:
    """That of the tests, newer than the lock files: `make` finds it complete."""
    folder.mkdir()
    for path in (ROOT / ".venv").iterdir():
        if not path.name.startswith("."):
            (folder / path.name).symlink_to(path.resolve())
    for lock in (folder.parent / "locks").iterdir():
        os.utime(lock, (0, 0))
    for stamp in (".base", ".train", ".test"):
        (folder / stamp).touch()


def test_the_commands_do_what_the_manual_says(mine: Path) -> None:
    told = environment(mine)
    for command, said in STEPS:
        line = command.replace("/srv/distill", str(mine.parent / "storage"))
        _runs(mine, line.replace("NAME", _experiment(mine)) if "NAME" in line else line, said, told)
    clone = mine.parent / "clone"
    subprocess.run(["git", "clone", "-q", str(mine.parent / "origin.git"), str(clone)], check=True)
    told = told | {"DISTILL_STORE": str(mine.parent / "empty"), "TEACHER_API_KEY": ""}
    for command, said in IN_A_CLONE:
        _runs(clone, command.replace("NAME", _experiment(mine)), said, told)


def _runs(folder: Path, line: str, said: str, told: dict[str, str]) -> None:
    if line.startswith("dvc "):
        done: Any = Running(folder, *line.split(), **told).wait()  # type: ignore[arg-type]
    else:
        done = subprocess.run(["bash", "-c", line], cwd=folder, env=told, capture_output=True, text=True, check=False)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, f"{line}\n{printed[-3000:]}"
    assert re.search(said, printed), f"{line}\n{printed[-3000:]}"


def _experiment(project: Path) -> str:
    refs = subprocess.run(["git", "for-each-ref", "refs/exps"], cwd=project, capture_output=True, text=True, check=True)
    return re.findall(r"refs/exps/\w\w/\w+/(\S+)", refs.stdout)[-1]
