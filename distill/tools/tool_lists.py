"""The tools that MCP servers offered when answers were bought, so that the same are offered again.

A request's key holds its tools. Were they asked for anew each time, a server that is updated, or that orders its list
by chance, would make every answer be bought again; and no plan could be made while it is switched off.
"""

from pathlib import Path
from typing import Any

import orjson

from distill.records.atomic import replacing
from distill.records.ids import content_id


class ToolLists:
    """The lists of one version of the tools (see distill/agent/tools_version.py), in the store."""

    def __init__(self, root: Path, version: str):
        self._root, self._version = root / "tools", version

    def get(self, origin: str, group: Any) -> list[dict[str, Any]] | None:
        """The tools of a source for a group of prompts, None when they were never asked for."""
        path = self._path(origin, group)
        return orjson.loads(path.read_bytes()) if path.is_file() else None

    def put(self, origin: str, group: Any, tools: list[dict[str, Any]]) -> None:
        """Remembers a list."""
        path = self._path(origin, group)
        with replacing(path) as file:
            file.write(orjson.dumps(tools, option=orjson.OPT_INDENT_2))

    def forget(self) -> None:
        """Forgets all lists of this version of the tools: the servers are asked again."""
        for path in self._root.glob(f"{self._version}-*.json"):
            path.unlink(missing_ok=True)

    def _path(self, origin: str, group: Any) -> Path:
        return self._root / f"{self._version}-{content_id([origin, group])}.json"
