"""How much the real commands cost a `dvc repro` that has nothing to do: `make bench-dvc`.

Side by side in one run: this project's dvc.yaml after a run, and a copy in which every command is `true`. DVC compares
hashes and starts nothing in either, so the ratio should be 1; more would mean that deps are expensive to check.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 7


def seconds(folder: Path, environment: dict[str, str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(["dvc", "repro"], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    if "Running stage" in done.stdout:
        sys.exit(f"not a no-op, run `make` first:\n{done.stdout}")
    return time.perf_counter() - began


def copy_with_true(target: Path, environment: dict[str, str]) -> None:
    """The same files, deps and outs; `true` as every command, committed as if they had run."""
    shutil.copytree(
        ROOT, target, ignore=shutil.ignore_patterns(".venv", ".git", "cache", "tmp", "__pycache__", ".*_cache")
    )
    pipeline = yaml.safe_load((target / "dvc.yaml").read_text())
    for stage in pipeline["stages"].values():
        stage["cmd"] = "true"
    (target / "dvc.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    subprocess.run(["git", "init", "-q"], cwd=target, check=True)
    subprocess.run(["dvc", "commit", "-f", "-q"], cwd=target, env=environment, check=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "DVC_SITE_CACHE_DIR": f"{folder}/site"}
        twin = Path(folder) / "twin"
        copy_with_true(twin, environment)
        seconds(ROOT, environment), seconds(twin, environment)  # both know their hashes now
        pairs = [(seconds(ROOT, environment), seconds(twin, environment)) for _ in range(ROUNDS)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"no-op dvc repro: {ours:.2f} s; with `true` as every command: {theirs:.2f} s; ratio {ours / theirs:.3f}")


if __name__ == "__main__":
    main()
