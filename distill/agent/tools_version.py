"""A hash of the tools: a recorded result is reused only while they are unchanged."""

import ast
import hashlib
import re
from contextlib import suppress
from pathlib import Path

from distill.agent import dvc_files
from distill.records.faults import InputError
from distill.records.ids import content_id
from distill.records.types import Params
from distill.tools import mcp_server
from distill.tools.sandbox import dockerfile

DOCKERFILE = "Dockerfile."
NOT_READ_BY_TOOLS = ("distill/", "stages/", "schemas/", "data/prompts.jsonl", DOCKERFILE)
"""Dependencies of the stage that tools do not read. A Dockerfile and the files that only it copies are part of the version
of its own rows' tools (see distill/tools/sandbox/sandboxes.py)."""


def tools_version(params: Params, root: Path | str = ".") -> str:
    """The hash of everything that tool results depend on: tools.py without its comments, the files that dvc.yaml lists
    for the tools to read, the MCP servers, and the time and output limits of `agent`. 12 hex digits.
    """
    root, demonstrations = Path(root), params["teacher"]["demonstrations"]
    names = _dependencies(root / "dvc.yaml")
    own = sorted({"tools.py", *(name for name in names if not name.startswith(NOT_READ_BY_TOOLS))} - {demonstrations})
    servers = mcp_server.identity(params)  # nothing is known of what these read
    left_out = set() if servers else _only_in_images(names, own, root)
    files = {name: _digest(root / name, left_out) for name in own if root / name not in left_out}
    limits = {key: params["agent"][key] for key in ("tool_timeout_s", "tool_output_chars")}
    return content_id({"files": files, "limits": limits, "mcp": servers}, length=12)


def _dependencies(pipeline: Path) -> list[str]:
    """The dependencies of the stage."""
    return dvc_files.dependencies(pipeline.read_text(encoding="utf-8")) if pipeline.is_file() else []


def _only_in_images(names: list[str], own: list[str], root: Path) -> set[Path]:
    """The files that the Dockerfiles among the dependencies copy and that no Python code among `own`, the user's own
    dependencies, seems to read."""
    copied: set[Path] = set()
    for name in names:
        if name.startswith(DOCKERFILE):
            with suppress(InputError):  # reported by whatever needs the image
                copied |= set(dockerfile.read(name, root).files.values())
    code = [file for name in own if copied for file in _files(root / name) if file.suffix == ".py"]
    text = "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in code)
    return {path for path in copied if path.name != "tools.py" and not _named(path.relative_to(root), text)}


def _named(path: Path, code: str) -> bool:
    """Whether code has the name of a file, or of a folder that it is in, in quotes or imports it."""
    words = "|".join(map(re.escape, [*path.parts, path.stem]))
    return bool(re.search(rf"""["'/](?:{words})["'/]|\b(?:from|import)\b.*\b(?:{words})\b""", code))


def _files(path: Path) -> list[Path]:
    """The file, or those in the folder."""
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [file for file in found if file.is_file() and "__pycache__" not in file.parts]


def _digest(path: Path, left_out: set[Path]) -> str | None:
    """The hash of a file (of Python code without comments and layout), or of a folder; None when it does not exist."""
    if path.is_dir():
        inside = [file for file in _files(path) if file not in left_out]
        return content_id({str(file.relative_to(path)): _digest(file, left_out) for file in inside})
    if not path.is_file():
        return None
    content = path.read_bytes()
    if path.suffix == ".py":
        with suppress(SyntaxError, ValueError):  # the fault is reported where the file is loaded, with its line
            content = ast.dump(ast.parse(content)).encode()
    return hashlib.sha256(content).hexdigest()
