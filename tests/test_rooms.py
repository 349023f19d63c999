"""The rooms of the library: imports point one way, so that each can be read without those above it."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[1] / "distill"
ROOMS = {path.name for path in LIBRARY.iterdir() if (path / "__init__.py").exists()}


def imports(room: str) -> set[str]:
    """The other rooms that a room's modules import, also inside functions."""
    found = set()
    for path in (LIBRARY / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{name}" for name in names]
            found |= {name.split(".")[1] for name in names if name.startswith("distill.")}
    return (found & ROOMS) - {room}


def test_imports_point_one_way() -> None:
    order = list(TopologicalSorter({room: imports(room) for room in ROOMS}).static_order())  # fails on a circle
    assert order[0] == "records" and set(order) == ROOMS


@pytest.mark.parametrize("room", sorted(ROOMS - {"commands"}))
def test_no_room_imports_a_stage_or_a_command(room: str) -> None:
    assert "commands" not in imports(room)
    assert not [path for path in (LIBRARY / room).rglob("*.py") if "from stages" in path.read_text()]
