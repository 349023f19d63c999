"""Stand-ins for rnow's modules, so that a tools.py written for rnow loads unchanged, installed or not.

`from rnow.core import tool, ToolArgs` and `from rnow.core.tool import tool` give ours while the file is loaded. ToolArgs is
ToolContext: its `metadata` is the row's.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from distill.tools.context import ToolContext
from distill.tools.python.python_tool import tool

NAMES = {"tool": tool, "ToolArgs": ToolContext}


@contextmanager
def stand_in() -> Iterator[None]:
    """Replaces `rnow`, `rnow.core` and `rnow.core.tool` by ours during the block."""
    package, core, inner = (ModuleType(name) for name in ("rnow", "rnow.core", "rnow.core.tool"))
    for module in (package, core):
        module.__path__ = []
    for module in (core, inner):
        vars(module).update(NAMES)
    vars(package)["core"] = core
    ours = {module.__name__: module for module in (package, core, inner)}
    before = {name: sys.modules.get(name) for name in ours}
    sys.modules.update(ours)
    try:
        yield
    finally:
        for name, original in before.items():
            if original is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = original
