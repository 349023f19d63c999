"""Notices what people edit while a stage runs. DVC looks at a stage's dependencies once the stage has ended, and would take
what was made from the old ones for the product of the new ones."""

import os
from pathlib import Path
from typing import Any

import yaml

from distill.project import dvc_files, params
from distill.records.faults import InputError

PARAMS = Path("params.yaml")

Inputs = tuple[dict[str, bytes | None], dict[str, Any]]
"""Code by its path, and params by their key."""


def inputs() -> Inputs:
    """The code and the params that the stage depends on which DVC runs here; nothing where DVC runs none. Data is not among
    them, since tools may write to theirs."""
    name = os.environ.get("DVC_STAGE", "").rpartition(":")[2]
    if not name:
        return {}, {}
    values = _params()
    code = {path: _content(path) for path in dvc_files.dependencies(name) if path.endswith(".py")}
    return code, {key: _value(values, key) for key in dvc_files.param_keys(name)}


def check(before: Inputs) -> None:
    """Raises InputError with what differs from `before`, in words."""
    code, settings = before
    values = _params() if settings else {}
    changed = [path for path, content in code.items() if _content(path) != content]
    changed += [f"{key} in {PARAMS}" for key, value in settings.items() if _value(values, key) != value]
    if changed:
        raise InputError(
            f"changed while this ran: {', '.join(changed)}; DVC would take what was made for the product of the new version: "
            f"run again, or undo the change and type `dvc commit -f {os.environ['DVC_STAGE']}`"
        )


def _content(path: str) -> bytes | None:
    return Path(path).read_bytes() if os.path.isfile(path) else None


def _params() -> Any:
    """What params.yaml has; nothing while it cannot be read."""
    try:
        return params.parse(PARAMS.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}


def _value(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values
