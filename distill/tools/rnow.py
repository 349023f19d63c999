"""rnow's names for what a tools.py needs, so that a file written for it loads as it is, installed or not.

`from rnow.core import tool, ToolArgs` and `from rnow.core.tool import tool` give ours while the file is loaded. ToolArgs is
our Context: its `metadata` is the row's.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from distill.tools.context import Context
from distill.tools.python_tool import tool

NAMES = {"tool": tool, "ToolArgs": Context}


@contextmanager
def stand_in() -> Iterator[None]:
    """While the block runs, `rnow`, `rnow.core` and `rnow.core.tool` are ours; afterwards what they were."""
    package, core, inner = (ModuleType(name) for name in ("rnow", "rnow.core", "rnow.core.tool"))
    for module in (package, core):
        module.__path__ = []
    for module in (core, inner):
        vars(module).update(NAMES)
    vars(package)["core"] = core
    made = {module.__name__: module for module in (package, core, inner)}
    before = {name: sys.modules.get(name) for name in made}
    sys.modules.update(made)
    try:
        yield
    finally:
        for name, was in before.items():
            if was is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = was
