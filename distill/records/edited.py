"""Notices what people edit while a stage runs. DVC looks at a stage's dependencies once the stage has ended, and would take
what was made from the old ones for the product of the new ones."""

import os
from pathlib import Path
from typing import Any

import yaml

from distill.records import params
from distill.records.faults import InputError

PIPELINE, PARAMS = Path("dvc.yaml"), Path("params.yaml")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, where PyYAML was built with it

Inputs = dict[str, Any]


def inputs() -> Inputs:
    """The code and the params that the stage depends on which DVC runs here, by what people call them; nothing where DVC
    runs none. Data is not among them, since tools may write to theirs."""
    name = os.environ.get("DVC_STAGE", "").rpartition(":")[2]
    if not name or not PIPELINE.is_file():
        return {}
    stage = yaml.load(PIPELINE.read_text(encoding="utf-8"), Loader=LOADER)["stages"].get(name) or {}
    code = [dep for dep in stage.get("deps") or [] if isinstance(dep, str) and dep.endswith(".py")]
    keys = [key for key in stage.get("params") or [] if isinstance(key, str)]
    values = _params() if keys else {}
    return {path: _content(path) for path in code} | {f"{key} in {PARAMS}": _value(values, key) for key in keys}


def check(before: Inputs) -> None:
    """Raises InputError with what differs from `before`, in words."""
    now = inputs() if before else {}
    changed = [name for name, content in before.items() if now.get(name) != content]
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
