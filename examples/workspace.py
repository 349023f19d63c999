"""Makes a workspace of an example: `python examples/workspace.py two_step` writes build/two_step.

It is this project with the example's prompts, demonstrations, tools and settings: a repository of its own, so that
`dvc repro` in it leaves the project's files and results alone. Made again, it keeps what was computed in it.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
KEPT_OUT = ("examples/", "tests/", "benchmarks/", "docs/", "data/seed/", "dvc.lock", "reports/", ".github/", ".ci/")


def make(name: str, folder: Path) -> None:
    """Writes the workspace of examples/<name> into `folder` and commits it there."""
    example = ROOT / "examples" / name
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    for file in listed.stdout.decode().splitlines():
        if (ROOT / file).is_file() and not file.startswith(KEPT_OUT):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, folder / file)
    (folder / "data/seed").mkdir(parents=True, exist_ok=True)
    shutil.copy2(example / "seed.jsonl", folder / "data/seed" / f"{name}.jsonl")
    shutil.copy2(example / "demonstrations.jsonl", folder / "data/demonstrations.jsonl")
    (folder / "tools.py").write_text((ROOT / "tools.py").read_text() + "\n\n" + (example / "tools.py").read_text())
    _settle(folder / "params.yaml", example / "settings.yaml")
    _commit(folder)


def _settle(params: Path, settings: Path) -> None:
    yaml = YAML()
    yaml.width = 1000
    chosen = yaml.load(params)
    _merge(chosen, yaml.load(settings))
    yaml.dump(chosen, params)


def _merge(params: Any, settings: Any) -> None:
    for key, value in settings.items():
        if isinstance(value, dict):
            _merge(params[key], value)
        elif key not in params:
            raise SystemExit(f"error: settings.yaml: there is no parameter {key}")
        else:
            params[key] = value


def _commit(folder: Path) -> None:
    who = ["-c", "user.name=distill", "-c", "user.email=distill@localhost"]
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    subprocess.run(
        ["git", *who, "commit", "--quiet", "--allow-empty", "--message", "The example"], cwd=folder, check=True
    )


if __name__ == "__main__":
    make(sys.argv[1], ROOT / "build" / sys.argv[1])
