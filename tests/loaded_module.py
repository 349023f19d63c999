"""A tools.py of the project or of an example as a module."""

import importlib.util
from pathlib import Path
from types import ModuleType


def module(path: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    loaded = importlib.util.module_from_spec(specification)  # type: ignore[arg-type]
    specification.loader.exec_module(loaded)  # type: ignore[union-attr]
    return loaded
