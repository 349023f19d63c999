"""Measures what a check of the filter does for the student: runs the pipeline with the check and without it.

`make ablate CHECK=answer`. Both runs are DVC experiments in temporary copies (`dvc exp run --temp`), so the workspace does
not change; what they share (the teacher's answers, stages that the check does not affect) is not computed twice. Reports
that git does not track yet are copied, too: a stage without its report would run again.
The experiments keep their names: `dvc exp show`, `dvc exp apply answer-off`, `dvc exp remove answer-on answer-off`.
"""

import json
import subprocess
import sys
from typing import Any

from distill.project import params as configuration
from distill.project import stage
from distill.project.committed import folder_in_git
from distill.project.terminal import say
from distill.records.faults import InputError
from distill.student.evaluation import interval, score
from distill.student.evaluation.table import gain_line, table

OFF = "off"


def experiments(check: str, filters: dict[str, Any]) -> dict[str, str]:
    """The two experiments, name -> mode of the check: that of params.yaml (reject if it is off), and off. Raises
    InputError for a check that does not exist."""
    modes = {name: mode for name, mode in filters.items() if mode in ("reject", "mask", OFF)}
    if check not in modes:
        raise InputError(f"CHECK: there is no check '{check}' in params.yaml /filter, only {', '.join(modes)}")
    on = modes[check] if modes[check] != OFF else "reject"
    return {f"{check}-{on}": on, f"{check}-{OFF}": OFF}


def run(name: str, setting: str) -> None:
    """Runs one experiment in a temporary copy. Raises InputError when it fails; dvc has printed why."""
    subprocess.run(["dvc", "exp", "remove", "--quiet", name], capture_output=True, check=False)
    command = ["dvc", "exp", "run", "--temp", "--name", name, "--set-param", setting]
    untracked = ["git", "ls-files", "--others", "--directory", "--exclude-standard", "reports"]
    for path in subprocess.run(untracked, capture_output=True, text=True, check=False).stdout.splitlines():
        command += ["--copy-paths", path]
    if subprocess.run(command, check=False).returncode:
        raise InputError(f"dvc exp run --temp -S {setting} failed; see above")


def report(name: str, file: str) -> dict[str, Any]:
    """A JSON report of an experiment."""
    return json.loads(_read(name, file))


def difference(*names: str) -> str | None:
    """What the students of two experiments differ by, the first less the second, on the prompts of their exam; None where no
    answer is known."""
    exams = {}
    for name in names:
        # Not splitlines, to which some of what models say ends a line.
        records = map(json.loads, _read(name, "reports/evaluation.jsonl").rstrip("\n").split("\n"))
        exams[name] = [record for record in records if record["who"] == "student"]
    first, second = score.graded(exams).values()
    gain, gain_ci = interval.gain(second, first)
    if gain is None or gain_ci is None:
        return None
    return gain_line(f"student of {names[0]}", f"student of {names[1]}", gain, gain_ci)


def _read(name: str, file: str) -> str:
    """A file of an experiment. DVC looks for it from the root of the git repository."""
    import dvc.api

    return dvc.api.read(f"{folder_in_git()}{file}", rev=name)


def main(check: str) -> None:
    """Runs both and prints their evaluations and what their students differ by, unless both trained on the same rows."""
    modes = experiments(check, configuration.load()["filter"])
    for name, mode in modes.items():
        run(name, f"filter.{check}={mode}")
    trainings = {name: report(name, "reports/training.json") for name in modes}
    if len({training["data_sha256"] for training in trainings.values()}) == 1:
        print(f"\nfilter.{check}: {' and '.join(modes)} trained on the same rows, so there is nothing to compare")
        return
    for name, mode in modes.items():
        training, evaluation = trainings[name], report(name, "reports/evaluation.json")
        say(f"\nfilter.{check}: {mode} ({training['rows']} rows trained on, experiment {name})\n{table(evaluation)}")
    if found := difference(*modes):
        say(f"\n{found}, on the same prompts")


if __name__ == "__main__":
    with stage.ending():
        main(sys.argv[1] if len(sys.argv) > 1 else "")
