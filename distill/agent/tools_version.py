"""A hash of the tools: a recorded result is reused only while they are unchanged."""

import ast
import hashlib
import sys
from contextlib import suppress
from pathlib import Path

from distill.project import dvc_files
from distill.records.ids import content_id
from distill.records.types import Params
from distill.tools.mcp import mcp_server

NOT_OF_TOOLS = ("distill/", "stages/", "schemas/", "data/prompts.jsonl")
"""Dependencies of the stage that are no part of what tools return."""
NOT_READ_BY_TOOLS = (*NOT_OF_TOOLS, "Dockerfile.")
"""Those that tools do not read. A Dockerfile is only part of the version of its own rows' tools."""


def tools_version(params: Params) -> str:
    """The hash of everything that tool results depend on: tools.py without its comments, the files that dvc.yaml lists
    for the tools to read, the MCP servers, and the time and output limits of `agent`. 12 hex digits.
    """
    demonstrations = params["teacher"]["demonstrations"]
    files = {name: _digest(Path(name)) for name in _listed() if name != demonstrations}
    limits = {key: params["agent"][key] for key in ("tool_timeout_s", "tool_output_chars")}
    return content_id({"files": files, "limits": limits, "mcp": mcp_server.identity(params)}, length=12)


def _listed() -> list[str]:
    """tools.py, and the user's own dependencies of the stage."""
    own = (name for name in dvc_files.dependencies() if not name.startswith(NOT_READ_BY_TOOLS))
    return sorted({"tools.py", *own})


def _digest(path: Path) -> str | None:
    """The hash of a file (of Python code without comments and layout), or of a folder; None when it does not exist."""
    if path.is_dir():
        inside = sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
        return content_id({str(file.relative_to(path)): _digest(file) for file in inside})
    if not path.is_file():
        return None
    content = path.read_bytes()
    if path.suffix == ".py":
        with suppress(SyntaxError, ValueError):  # the fault is reported where the file is loaded, with its line
            content = _code(content).encode()
    return hashlib.sha256(content).hexdigest()


def _code(content: bytes) -> str:
    """Python code without comments and layout, as the text that Python 3.11 makes of it, under later ones, too. Raises
    SyntaxError and ValueError."""
    all_fields = {"show_empty": True} if sys.version_info >= (3, 13) else {}
    return ast.dump(ast.parse(content), **all_fields).replace(", type_params=[]", "")
