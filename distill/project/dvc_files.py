"""Reads the project's dvc.yaml and dvc.lock, mainly for the stage that asks the teacher."""

import hashlib
from pathlib import Path
from typing import Any

import yaml

from distill.records.faults import InputError

PIPELINE, LOCK = Path("dvc.yaml"), Path("dvc.lock")
STAGE = "teacher_rollouts"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, where PyYAML was built with it


def read(file: Path) -> str:
    """The text of PIPELINE or LOCK; empty where there is none."""
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def dependencies(stage: str = STAGE) -> list[str]:
    """The dependencies that dvc.yaml lists for the stage."""
    return _paths((_pipeline().get(stage) or {}).get("deps"))


def param_keys(stage: str) -> list[str]:
    """The keys of params.yaml that dvc.yaml lists for the stage."""
    return [key for key in (_pipeline().get(stage) or {}).get("params") or [] if isinstance(key, str)]


def missing() -> list[tuple[str, str]]:
    """(stage, dependency) for each dependency in dvc.yaml that no stage makes and that is not there."""
    made = outputs()
    return [
        (name, dep)
        for name, stage in _pipeline().items()
        for dep in _paths(stage.get("deps"))
        if not Path(dep).exists() and not any(Path(dep).is_relative_to(out) for out in made)
    ]


def outputs() -> list[str]:
    """What the stages of dvc.yaml make, metrics and plots included."""
    return [
        path
        for stage in _pipeline().values()
        for kind in ("outs", "metrics", "plots")
        for path in _paths(stage.get(kind))
    ]


def output_hash(lock: str, folder: str) -> str | None:
    """The hash that the text of a dvc.lock has for an output of the stage; None when the stage has not run."""
    outs = {out["path"]: out.get("md5") for out in _locked(lock).get("outs") or []}
    return outs.get(folder)


def changed() -> list[str]:
    """The dependencies of the stage, of those that are files, that differ from what dvc.lock has of them."""
    listed = {Path(dep["path"]): dep.get("md5") for dep in _locked(read(LOCK)).get("deps") or []}
    found = {path: md5 for path, md5 in listed.items() if md5 and not path.is_dir()}
    return [str(path) for path, md5 in found.items() if not path.is_file() or _md5(path) != md5]


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _paths(listed: list[str | dict[str, Any]] | None) -> list[str]:
    """The paths in a list of dependencies or outputs; one with options is a dict of its path."""
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in listed or []]


def _pipeline() -> dict[str, Any]:
    """The stages of dvc.yaml, by name. Raises InputError with the line that is no YAML."""
    try:
        return _stages(read(PIPELINE))
    except yaml.YAMLError as error:
        raise InputError(f"{PIPELINE}: not valid YAML: {error}") from None


def _locked(text: str) -> dict[str, Any]:
    """What the text of a dvc.lock has of STAGE."""
    return _stages(text).get(STAGE) or {}


def _stages(text: str) -> dict[str, Any]:
    content = yaml.load(text, Loader=LOADER) or {}
    return content.get("stages") or {}
