"""Loads a Python file that the user wrote (tools.py, checks.py) as a module, and reports its faults by line."""

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from distill.records.faults import InputError


def load(path: Path, name: str) -> ModuleType:
    """Runs the file as the module `name`. Raises InputError, as `tools.py:line: what is wrong`, when it fails."""
    specification = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(specification)  # type: ignore[arg-type]
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)  # type: ignore[union-attr]
    except (Exception, SystemExit) as error:  # else `sys.exit()` ends a stage as if it had done its work
        raise InputError(f"{path}:{line(error, path)}: cannot be loaded: {type(error).__name__}: {error}") from error
    return module


def line(error: BaseException, path: Path) -> int:
    """The line of `path` that led to an error or cannot be parsed; 1 when none did."""
    here = path.resolve()
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).resolve() == here:
        return error.lineno or 1
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno or 1 for frame in reversed(frames) if Path(frame.filename).resolve() == here), 1)
