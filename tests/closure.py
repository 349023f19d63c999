"""The files that a stage script can load: its imports (also those inside functions) and the schemas it names.

`make deps` writes them into dvc.yaml; tests/test_pipeline.py compares.
"""

import ast
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
CODE = ("distill/", "stages/", "schemas/")
ASSETS = (".jinja", ".html", ".css", ".js")
RECORD_CALLS = {"faults", "load", "parse", "line", "read", "read_numbered", "write", "read_json", "write_json"}


def closure(script: str) -> set[str]:
    """Project files behind a script, relative to the root, the script included; empty `__init__.py` do not count."""
    found: set[str] = set()
    todo = [ROOT / script]
    while todo:
        path = todo.pop()
        name = path.relative_to(ROOT).as_posix()
        if name in found or not path.stat().st_size:
            continue
        found.add(name)
        if path.suffix == ".py":
            tree = ast.parse(path.read_text())
            todo += _imports(tree)
            found |= _schemas(tree)
    return found | _shared(found)


def is_code(dep: str) -> bool:
    """Whether a dep of dvc.yaml is one that the closure accounts for, not data and not a template read by path."""
    return dep.startswith(CODE) and not dep.endswith(ASSETS)


def write_deps(path: Path) -> None:
    """Puts each stage's closure into dvc.yaml and leaves its other deps, its comments and its order alone."""
    yaml = YAML()
    yaml.width = 1000
    pipeline = yaml.load(path)
    for name, stage in pipeline["stages"].items():
        stage["deps"] = sorted({dep for dep in stage["deps"] if not is_code(dep)} | closure(f"stages/{name}.py"))
    yaml.dump(pipeline, path)


def _imports(tree: ast.AST) -> list[Path]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    paths: set[Path] = set()
    for name in names:
        if name.split(".")[0] not in ("distill", "stages"):
            continue
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            place = ROOT.joinpath(*parts[:end])
            paths |= {path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()}
    return sorted(paths)


def _schemas(tree: ast.AST) -> set[str]:
    """Schemas that a call reads, writes, checks or loads by a literal name, also through a function of the file's own.

    Checking params.yaml does not count: that schema refuses a configuration or not, and changes no result.
    """
    named = {
        argument.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _name(node.func) in RECORD_CALLS
        for argument in node.args
        if isinstance(argument, ast.Constant)
        and isinstance(argument.value, str)
        and (_name(node.func), argument.value) != ("faults", "params")
    }
    return {f"schemas/{name}.schema.json" for name in named if (ROOT / f"schemas/{name}.schema.json").is_file()}


def _name(function: ast.expr) -> str:
    """`read` for `jsonl.read` and for `_read`."""
    called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return called.removeprefix("_")


def _shared(found: set[str]) -> set[str]:
    used = any("conversation.schema.json" in (ROOT / name).read_text() for name in found if name.startswith("schemas/"))
    return {"schemas/conversation.schema.json"} if used else set()


if __name__ == "__main__":
    write_deps(ROOT / "dvc.yaml")
