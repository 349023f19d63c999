"""Makes a workspace of an example: `python examples/workspace.py two_step` writes build/two_step.

It is this project with the example's prompts, demonstrations, tools and settings (and `KEY=VALUE` of the command line):
a repository of its own, so that `dvc repro` in it leaves the project's files and results alone. What else the example
has is put into a folder of its name, on which what the tools say depends. Made again, it keeps what was computed in it.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
OWN = ("make.py", "seed.jsonl", "demonstrations.jsonl", "tools.py", "settings.yaml")
"""Files of an example that have a place in every project."""
NO_TOOLS = '"""The tools of this example are those of its MCP servers: see `tools.mcp` in params.yaml."""\n'
CALL_TOOLS = ("teacher_rollouts", "evaluate")
KEPT_OUT = ("examples/", "tests/", "benchmarks/", "docs/", "data/seed/", "dvc.lock", "reports/", ".github/", ".ci/")


def make(name: str, folder: Path, *settings: str) -> None:
    """Writes the workspace of examples/<name> into `folder` and commits it there; `settings` as `key=value`."""
    example = ROOT / "examples" / name
    for file in _listed(ROOT):
        if not file.startswith(KEPT_OUT):
            _copy(ROOT / file, folder / file)
    _copy(example / "seed.jsonl", folder / "data/seed" / f"{name}.jsonl")
    _copy(example / "demonstrations.jsonl", folder / "data/demonstrations.jsonl")
    own = example / "tools.py"
    (folder / "tools.py").write_text(
        (ROOT / "tools.py").read_text() + "\n\n" + own.read_text() if own.is_file() else NO_TOOLS
    )
    others = [file for file in _listed(example) if file not in OWN]
    for file in others:
        _copy(example / file, folder / name / file)
    _edit(folder / "dvc.yaml", lambda pipeline: _depend(pipeline, sorted({f"{name}/{_top(file)}" for file in others})))
    given = dict(setting.split("=", 1) for setting in settings)
    _edit(folder / "params.yaml", lambda params: _merge(params, {**YAML().load(example / "settings.yaml"), **given}))
    _commit(folder)


def _listed(folder: Path) -> list[str]:
    """The files below a folder that git knows or would."""
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=True)
    return [file for file in done.stdout.decode().splitlines() if (folder / file).is_file()]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def _top(file: str) -> str:
    return file.partition("/")[0]


def _edit(path: Path, change: Callable[[Any], None]) -> None:
    yaml = YAML()
    yaml.width = 1000
    content = yaml.load(path)
    change(content)
    yaml.dump(content, path)


def _depend(pipeline: Any, files: list[str]) -> None:
    for stage in CALL_TOOLS:
        pipeline["stages"][stage]["deps"].extend(files)


def _merge(params: Any, settings: Any) -> None:
    for key, value in settings.items():
        if key not in params:
            raise SystemExit(f"error: settings.yaml: there is no parameter {key}")
        if isinstance(value, dict) and params[key]:
            _merge(params[key], value)
        else:
            params[key] = value


def _commit(folder: Path) -> None:
    who = ["-c", "user.name=distill", "-c", "user.email=distill@localhost", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    commit = ["commit", "--quiet", "--no-verify", "--allow-empty", "--message", "The example"]
    subprocess.run(["git", *who, *commit], cwd=folder, check=True)


if __name__ == "__main__":
    make(sys.argv[1], ROOT / "build" / sys.argv[1], *sys.argv[2:])
