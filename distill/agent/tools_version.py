"""Which tools said it: results that were recorded with an answer are good for the same tools only."""

import ast
import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from distill.agent import dvc_files
from distill.records.ids import content_id
from distill.tools import mcp_server

OURS = ("distill/", "stages/", "schemas/", "data/prompts.jsonl", "Dockerfile.")
"""Dependencies of the stage that tools do not read. A Dockerfile is part of the version of its own rows' tools only."""


def tools_version(params: dict[str, Any], root: Path | str = ".") -> str:
    """A hash of what the tools' results depend on: tools.py but for its comments, the files that dvc.yaml lists for
    the tools to read, the MCP servers, and the time and output limits of `agent`. 12 hex digits.
    """
    root, demonstrations = Path(root), params["teacher"]["demonstrations"]
    files = {name: _digest(root / name) for name in _listed(root / "dvc.yaml") if name != demonstrations}
    limits = {key: params["agent"][key] for key in ("tool_timeout_s", "tool_output_chars")}
    return content_id({"files": files, "limits": limits, "mcp": mcp_server.identity(params)}, length=12)


def _listed(pipeline: Path) -> list[str]:
    """tools.py, and the user's own dependencies of the stage."""
    names = dvc_files.dependencies(pipeline.read_text(encoding="utf-8")) if pipeline.is_file() else []
    return sorted({"tools.py", *(name for name in names if not name.startswith(OURS))})


def _digest(path: Path) -> str | None:
    """The hash of a file (of Python code: of what it does), or of all files of a folder; None when there is none."""
    if path.is_dir():
        inside = sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
        return content_id({str(file.relative_to(path)): _digest(file) for file in inside})
    if not path.is_file():
        return None
    content = path.read_bytes()
    if path.suffix == ".py":
        with suppress(SyntaxError, ValueError):  # whoever loads it says so, with the line
            content = ast.dump(ast.parse(content)).encode()
    return hashlib.sha256(content).hexdigest()
