"""The tools that MCP servers offered when answers were bought, so that the same are offered again.

A request's key holds its tools. Were they asked for anew each time, a server that is updated, or that orders its list
by chance, would make every answer be bought again; and no plan could be made while it is switched off.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from distill.records import schema
from distill.records.atomic import replacing
from distill.records.committed import of_head
from distill.records.ids import content_id

KEPT = "reports/tool_lists.json"


class ToolLists:
    """The lists of one version of the tools (see distill/agent/tools_version.py), in the store. `kept` are those that came
    with the project, by the names that `used` gives them: a fresh clone has no others. `anew`: none is known, so that the
    servers are asked again."""

    def __init__(self, root: Path, version: str, kept: Mapping[str, Any] | None = None, anew: bool = False):
        self._root, self._version, self._kept, self._anew = root / "tools", version, kept or {}, anew
        self.used: dict[str, list[dict[str, Any]]] = {}
        """Every list that was given or taken."""

    def get(self, origin: str, group: Any) -> list[dict[str, Any]] | None:
        """All that a source offers a group of prompts, None when it was never asked."""
        if self._anew:
            return None
        path = self._path(origin, group)
        found = orjson.loads(path.read_bytes()) if path.is_file() else self._kept.get(path.stem)
        if found is not None:
            self.used[path.stem] = found
        return found

    def put(self, origin: str, group: Any, tools: list[dict[str, Any]]) -> None:
        """Remembers a list."""
        path = self._path(origin, group)
        self.used[path.stem] = tools
        with replacing(path) as file:
            file.write(orjson.dumps(tools, option=orjson.OPT_INDENT_2))

    def _path(self, origin: str, group: Any) -> Path:
        return self._root / f"{self._version}-{content_id([origin, group])}.json"


def kept_lists(root: Path | str = ".") -> dict[str, Any]:
    """What MCP servers offered when the rollouts of git HEAD were bought; nothing where it does not say."""
    try:
        found = orjson.loads(of_head(Path(root), KEPT))
    except orjson.JSONDecodeError:
        return {}
    return {} if schema.faults("tool_lists", found) else dict(found)
