"""Remembers the tools that MCP servers offered when answers were bought, so that the same are offered again.

The tools are part of a request's key. If servers were asked each time, one that is updated, or lists its tools in random
order, would force all answers to be bought again; and no plan could be made while it is switched off.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from distill.project.committed import of_revision
from distill.records import schema
from distill.records.atomic import replacing
from distill.records.ids import content_id
from distill.records.types import ToolSchema

COMMITTED = "reports/tool_lists.json"


class ToolLists:
    """The lists of one version of the tools (see distill/agent/tools_version.py), in the store.

    `committed`: those that came with the project, by the keys of `used`: a fresh clone has no others. `anew`: forget
    them all, so that the servers are asked again.
    """

    def __init__(self, root: Path, version: str, committed: Mapping[str, Any] | None = None, anew: bool = False):
        self._root, self._version, self._committed, self._anew = root / "tools", version, committed or {}, anew
        self.used: dict[str, list[dict[str, Any]]] = {}
        """Every list that `get` returned or `put` stored."""

    def get(self, origin: str, group: Any) -> list[dict[str, Any]] | None:
        """The tools that a source offers a group of prompts, None when it was never asked."""
        if self._anew:
            return None
        path = self._path(origin, group)
        tools = orjson.loads(path.read_bytes()) if path.is_file() else self._committed.get(path.stem)
        if tools is not None:
            self.used[path.stem] = tools
        return tools

    def put(self, origin: str, group: Any, tools: list[ToolSchema]) -> None:
        """Remembers a list."""
        path = self._path(origin, group)
        self.used[path.stem] = tools
        with replacing(path) as file:
            file.write(orjson.dumps(tools, option=orjson.OPT_INDENT_2))

    def _path(self, origin: str, group: Any) -> Path:
        return self._root / f"{self._version}-{content_id([origin, group])}.json"


class NotListed(Exception):
    """No list of an MCP server's tools is stored."""


class StoredLists(ToolLists):
    """The stored lists of MCP servers; for a server without one, `get` raises NotListed."""

    def get(self, origin: str, group: Any) -> list[dict[str, Any]]:
        tools = super().get(origin, group)
        if tools is None:
            raise NotListed
        return tools


def committed_lists() -> dict[str, Any]:
    """What MCP servers offered when the rollouts of git HEAD were bought; empty when HEAD does not record it."""
    try:
        lists = orjson.loads(of_revision("HEAD", COMMITTED))
    except orjson.JSONDecodeError:
        return {}
    return {} if schema.faults("tool_lists", lists) else dict(lists)
