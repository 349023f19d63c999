"""Experiments as the README has them: one, a sweep, and what a check does for the student. The workspace stays as it is.

DVC, git and the commands are real; the stages are replaced by one that scores a learning rate and a check.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from stage_process import Done, Running

from distill.project import params

ROOT = Path(__file__).resolve().parents[1]
STAGE = """import json, pathlib
from distill.project.params import load
params = load()
rate, check = float(params["student"]["learning_rate"]), params["filter"]["answer"]
if params["student"]["num_epochs"] == 77:
    raise SystemExit("cut off")
student = 0.5 + (0.25 if check != "off" else 0) + (0.125 if rate == 0.0005 else 0)
evaluation = json.load(open("evaluation.json"))
evaluation["student"]["accuracy"] = student
training = json.load(open("training.json")) | {"rows": 48 if check != "off" else 60}
training["data_sha256"] = ("0" if check != "off" else "1") * 64
metrics = {"student": student}
pathlib.Path("reports").mkdir(exist_ok=True)
for name, value in (("evaluation", evaluation), ("training", training), ("metrics", metrics)):
    json.dump(value, open(f"reports/{name}.json", "w"))
talks = [{"who": who, "prompt_id": n, "correct": who == "teacher"} for who in ("base", "teacher") for n in range(40)]
right = [None, *(n <= 39 * student for n in range(1, 40))]
talks += [{"who": "student", "prompt_id": n, "correct": right[n]} for n in range(40)]
talks[-1]["says"] = "two\\u2028lines"  # which ends no line of JSON
lines = (json.dumps(talk, ensure_ascii=False) + "\\n" for talk in talks)
pathlib.Path("reports/evaluation.jsonl").write_text("".join(lines))
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one finished run."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "schemas").symlink_to(ROOT / "schemas")
    for name in ("Makefile", "params.yaml", ".gitignore"):
        shutil.copy2(ROOT / name, folder)
    for name in ("evaluation.json", "training.json"):
        shutil.copy2(ROOT / "reports" / name, folder)
    (folder / "stage.py").write_text(STAGE)
    outs: list[Any] = [{f"reports/{name}.json": {"cache": False}} for name in ("evaluation", "training")]
    outs.append("reports/evaluation.jsonl")
    stage = {
        "cmd": f"{sys.executable} stage.py",
        "deps": ["stage.py"],
        "params": ["filter", "student"],
        "outs": outs,
        "metrics": [{"reports/metrics.json": {"cache": False}}],
    }
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"all": stage}}))
    for command in ("git init -q", "dvc init -q", "dvc config core.analytics false", "dvc repro -q", "git add -A"):
        in_repository(folder, *command.split())
    in_repository(folder, "git", "commit", "-qm", "start")
    return folder


def in_repository(folder: Path, *command: str) -> Done:
    """How a command ended there."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "GIT_CONFIG_GLOBAL": "/dev/null",
        **{f"GIT_{who}_{what}": "test@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }

    if command[0] == "dvc":
        return Running(folder, *command, **environment).wait()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def experiment(finished: Path, tmp_path: Path) -> Callable[..., str]:
    """Runs a command in a repository with one finished run, and gives what it said."""
    folder = shutil.copytree(finished, tmp_path / "project", symlinks=True)

    def run(*command: str, fails: bool = False) -> str:
        done = in_repository(folder, *command)
        assert bool(done.returncode) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    run.folder = folder  # type: ignore[attr-defined]
    return run


def test_a_sweep_runs_each_value_and_shows_them(experiment):
    before = (experiment.folder / "params.yaml").read_text()
    said = experiment("make", "-o", ".venv/.train", "sweep", "SET=student.learning_rate=0.0005,0.002")
    assert (experiment.folder / "params.yaml").read_text() == before
    assert "0.0005" in said and "0.002" in said
    shown = json.loads(experiment("dvc", "exp", "show", "--json"))
    found = [one["revs"][0]["data"] for one in shown[1]["experiments"]]
    rates = {
        one["params"]["params.yaml"]["data"]["student"]["learning_rate"]: one["metrics"]["reports/metrics.json"]["data"]
        for one in found
    }
    assert rates == {0.0005: {"student": 0.875}, 0.002: {"student": 0.75}}


def test_ablate_shows_the_student_with_and_without_a_check(experiment):
    said = experiment("make", "-o", ".venv/.train", "ablate", "CHECK=answer")
    with_check, without = said.split("filter.answer: ")[-2:]
    assert with_check.startswith("reject (48 rows trained on, experiment answer-reject)") and " 75.0%" in with_check
    assert without.startswith("off (60 rows trained on, experiment answer-off)") and " 50.0%" in without
    # Of 39 prompts whose answer is known the one has 29 right, the other 19 of these.
    assert "\nstudent of answer-reject - student of answer-off: +25.6% (95 % interval +" in without
    assert without.endswith("%), on the same prompts\n")
    assert not experiment("git", "status", "--porcelain")
    assert {"answer-reject", "answer-off"} <= set(experiment("dvc", "exp", "list", "--name-only").split())
    experiment("dvc", "exp", "apply", "answer-off")
    assert "answer: off" in (experiment.folder / "params.yaml").read_text().replace("'", "").replace('"', "")
    said = experiment("make", "-o", ".venv/.train", "ablate", "CHECK=loop")
    assert "filter.loop: loop-reject and loop-off trained on the same rows, so there is nothing to compare" in said
    assert "there is no check 'answr'" in experiment("make", "-o", ".venv/.train", "ablate", "CHECK=answr", fails=True)


def test_ablate_works_in_a_folder_of_a_larger_repository(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "mine", symlinks=True, ignore=shutil.ignore_patterns(".git"))
    in_repository(tmp_path, "git", "init", "-q")
    for command in ("git add -A", "git commit -qm start"):
        assert in_repository(tmp_path / "mine", *command.split()).returncode == 0
    done = in_repository(tmp_path / "mine", "make", "-o", ".venv/.train", "ablate", "CHECK=answer")
    assert "filter.answer: off (60 rows trained on" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("command", ["sweep SET=student.num_epochs=2", "ablate CHECK=answer"])
def test_where_dvc_cannot_run_experiments_in_copies_it_is_said(finished, tmp_path, command):
    """It would wait for ever for what never starts."""
    folder = shutil.copytree(finished, tmp_path / "größe", symlinks=True)
    done = in_repository(folder, "make", "-o", ".venv/.train", *command.split())
    assert done.returncode != 0 and "other letters than ASCII's" in done.stdout and "größe" in done.stdout


def test_what_an_experiment_left_is_taken_back_also_when_it_failed(experiment):
    def take_back() -> None:
        for command in ("git checkout params.yaml", "git checkout HEAD dvc.lock reports", "dvc checkout"):
            experiment(*command.split())
        assert not experiment("git", "status", "--porcelain")

    experiment("dvc", "exp", "run", "--name", "slow", "-S", "student.learning_rate=0.002")
    take_back()
    experiment("dvc", "exp", "run", "-S", "student.num_epochs=77", fails=True)
    assert "reports/" in experiment("git", "status", "--porcelain"), (
        "it took the reports away, and so much is not back yet"
    )
    take_back()
    experiment("git", "commit", "--allow-empty", "-qm", "the next one")
    assert "slow" not in experiment("dvc", "exp", "show", "--csv")
    assert "slow" in experiment("dvc", "exp", "show", "--all-commits", "--csv")


def test_nothing_runs_anew_for_reports_that_git_does_not_know_yet(experiment):
    experiment("git", "rm", "-rq", "--cached", "reports")
    experiment("git", "commit", "-qm", "as after a first run in a new project")
    rate = params.load(ROOT / "params.yaml")["student"]["learning_rate"]
    swept = experiment("make", "-o", ".venv/.train", "sweep", f"SET=student.learning_rate={rate}")
    assert "Stage 'all' didn't change, skipping" in swept, swept
    said = experiment("make", "-o", ".venv/.train", "ablate", "CHECK=answer")
    assert said.count("Stage 'all' didn't change, skipping") == 1, said
    with_check, without = said.split("filter.answer: ")[-2:]
    assert with_check.startswith("reject (48 rows trained on") and " 75.0%" in with_check
    assert without.startswith("off (60 rows trained on") and " 50.0%" in without
    # Of 39 prompts whose answer is known the one has 29 right, the other 19 of these.
    assert "\nstudent of answer-reject - student of answer-off: +25.6% (95 % interval +" in without
    assert without.endswith("%), on the same prompts\n")


@pytest.mark.parametrize("command", ["sweep SET=student.num_epochs=2", "ablate CHECK=answer"])
def test_no_experiment_runs_without_files_that_git_does_not_track(experiment, command):
    (experiment.folder / "checks.py").write_text("")
    stage = experiment.folder / "stage.py"
    stage.write_text("import checks\n" + stage.read_text())
    make = ("make", "-o", ".venv/.train", *command.split())
    said = experiment(*make, fails=True)
    assert "without the files that git does not track: checks.py\n" in said and "type `git add`" in said
    experiment("git", "add", "checks.py")
    experiment(*make)


def test_a_parameter_of_the_command_line_changes_its_own_line_only(experiment):
    experiment("dvc", "exp", "run", "-S", "model=gpt-5.2", "-S", "teacher.n=7", "-S", "teacher.entries=null")
    changed = experiment("git", "diff", "--unified=0", "params.yaml").splitlines()
    lines = [line for line in changed if line.startswith(("-", "+")) and not line.startswith(("---", "+++"))]
    assert lines == ["-model: local/qwen2.5-coder-0.5b-instruct", "+model: gpt-5.2", "-  n: 64", "+  n: 7"]
