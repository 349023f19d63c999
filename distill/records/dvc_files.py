"""Reads dvc.yaml and dvc.lock, mainly for the stage that asks the teacher."""

import hashlib
from pathlib import Path
from typing import Any

import yaml

STAGE = "teacher_rollouts"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, where PyYAML was built with it


def read(file: Path) -> str:
    """The text of a dvc.yaml or dvc.lock; empty where there is none."""
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def dependencies(text: str, stage: str = STAGE) -> list[str]:
    """The dependencies that a dvc.yaml lists for the stage."""
    return _paths(_stage(text, stage).get("deps"))


def param_keys(text: str, stage: str) -> list[str]:
    """The keys of params.yaml that a dvc.yaml lists for the stage."""
    return [key for key in _stage(text, stage).get("params") or [] if isinstance(key, str)]


def missing(text: str, root: Path) -> list[tuple[str, str]]:
    """(stage, dependency) for each dependency in a dvc.yaml that no stage makes and that is not in `root`."""
    made = outputs(text)
    return [
        (name, dep)
        for name, stage in _stages(text).items()
        for dep in _paths(stage.get("deps"))
        if not (root / dep).exists() and not any(Path(dep).is_relative_to(out) for out in made)
    ]


def outputs(text: str) -> list[str]:
    """What the stages of a dvc.yaml make, metrics and plots included."""
    return [
        path
        for stage in _stages(text).values()
        for kind in ("outs", "metrics", "plots")
        for path in _paths(stage.get(kind))
    ]


def output_hash(text: str, folder: str) -> str | None:
    """The hash that a dvc.lock has for an output of the stage; None when the stage has not run."""
    outs = {out["path"]: out.get("md5") for out in _stage(text).get("outs") or []}
    return outs.get(folder)


def changed(text: str, root: Path) -> list[str]:
    """The dependencies of the stage, of those that are files, that differ from what a dvc.lock has of them."""
    listed = {dep["path"]: dep.get("md5") for dep in _stage(text).get("deps") or []}
    found = {path: md5 for path, md5 in listed.items() if md5 and not (root / path).is_dir()}
    return [path for path, md5 in found.items() if not (root / path).is_file() or _md5(root / path) != md5]


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _paths(listed: list[str | dict[str, Any]] | None) -> list[str]:
    """The paths in a list of dependencies or outputs; one with options is a dict of its path."""
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in listed or []]


def _stage(text: str, stage: str = STAGE) -> dict[str, Any]:
    return _stages(text).get(stage) or {}


def _stages(text: str) -> dict[str, Any]:
    content = yaml.load(text, Loader=LOADER) or {}
    return content.get("stages") or {}
