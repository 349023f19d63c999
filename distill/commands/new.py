"""`make new DIR=...`: makes a project of your own, with the code and without the example.

Copies what git tracks here, except for the example and what is needed to develop the code itself, and adds the files of
template/. The new folder is a git and DVC repository with nothing committed yet.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from distill.project import stage
from distill.records.faults import InputError
from distill.records.paths import PROJECT

LEFT_OUT = re.compile(
    r"(data|reports|docs|tests|benchmarks|examples|template|\.ci)/|(README|CONTRIBUTING)\.md$|develop\.mk$|dvc\.lock$|"
    r"tools\.py$|checks\.py$"
)
KEPT_ANYWAY = re.compile(r"\.ci/lock-is-current$|docs/.*\.md$")
MANUAL = "docs/manual.md"
MANUAL_NOTE = (
    "\n\nThe manual of the project that this one was made from. Its example, tests and benchmarks, of which it speaks, are"
    " in that one: `make help` shows what can be made here.\n"
)
SETTINGS = {"model": "local/qwen2.5-coder-1.5b-instruct", "teacher.n": "", "teacher.demonstrations": ""}
"""Params of the example's data, with their values in a new project. Its teacher is a larger one: the smallest calls tools
only with demonstrations."""


def main(target: Path) -> None:
    """Makes the project. Raises InputError if `target` is not an empty or a new folder."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target}: is not an empty folder; nothing was written")
    tracked = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True)
    names = [name for name in tracked.stdout.splitlines() if (PROJECT / name).is_file()]
    for name in names:
        if KEPT_ANYWAY.match(name) or not LEFT_OUT.match(name):
            _copy(PROJECT / name, target / name)
        elif name.startswith("template/"):
            _copy(PROJECT / name, target / name.removeprefix("template/"))
    _copy(PROJECT / "README.md", target / MANUAL)
    not_copied = {name for name in names if not (target / name).exists()}
    _edit(
        target / "dvc.yaml",
        lambda text: re.sub(r"(?m)^ +- (\S+)\n", lambda dep: "" if dep[1] in not_copied else dep[0], text),
    )
    _edit(target / "params.yaml", _edit_params)
    for page in (target / "docs").glob("*.md"):
        _edit(page, _edit_page)
    _edit(target / MANUAL, lambda text: text.replace("\n", MANUAL_NOTE, 1))
    for command in (["git", "init", "--quiet", "--initial-branch=main"], ["git", "add", "--all"]):
        subprocess.run(command, cwd=target, check=True)
    print(f"{target} is ready. README.md there says what to write; `make` there runs it.")


def _edit_params(text: str) -> str:
    """params.yaml with SETTINGS."""
    for name, value in SETTINGS.items():
        group, _, key = name.rpartition(".")
        line = rf"(?m)(^{group}:\n(?:^[ #].*\n)*?^  {key}:).*$" if group else rf"(?m)(^{key}:).*$"
        text, replaced = re.subn(line, rf"\g<1> {value}".rstrip(), text, count=1)
        if not replaced:
            raise AssertionError(f"params.yaml has no {name}")
    return text


def _edit_page(text: str) -> str:
    """A page of the manual without pictures, with links relative to docs/, and without links to what is left out."""
    text = re.sub(r"(?m)^!\[.*\n\n", "", text).replace("](docs/", "](")
    return re.sub(r"\[([^\]]*)\]\((?:\.\./)?(?:benchmarks/README|CONTRIBUTING)\.md\)", r"\1", text)


def _edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def _copy(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, to)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1] or sys.argv[1].startswith("-"):
        sys.exit("error: name a folder that is not there yet: make new DIR=../mine")
    with stage.ending():
        main(Path(sys.argv[1]))
