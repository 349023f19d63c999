"""The MCP servers that params.yaml names: what is written there, checked, with `${NAME}` taken from the environment."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import re2

from distill.records import credentials
from distill.records.faults import InputError
from distill.records.loopback import LOOPBACK

QUIETLY = re2.Options()
QUIETLY.log_errors = False


@dataclass(frozen=True)
class McpServer:
    """One server, as `tools.mcp.<name>` has it; `url` or `command` is set. The values still hold their `${NAME}`."""

    name: str
    url: str | None = None
    command: str | None = None
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()
    isolation: str = "rollout"
    then: str | None = None
    drop: tuple[str, ...] = ()
    key: str = ""
    """Where params.yaml has it."""

    def allows(self, tool: str) -> bool:
        """Whether the model may see a tool of the server, by the server's own name for it."""
        return any(fnmatchcase(tool, pattern) for pattern in self.allow) and not any(
            fnmatchcase(tool, pattern) for pattern in self.deny
        )

    @property
    def target(self) -> str:
        """Its URL as it is asked, with what the environment says; it may hold a secret."""
        return with_scheme(credentials.expand(self.url or ""))

    @property
    def on_loopback(self) -> bool:
        """Whether its URL is on this machine (or, for a row with a sandbox, inside of that)."""
        return self.url is not None and urlsplit(self.target).hostname in LOOPBACK

    @property
    def port(self) -> int:
        """Where its URL listens."""
        parts = urlsplit(self.target)
        return parts.port or (443 if parts.scheme == "https" else 80)


def servers(params: dict[str, Any]) -> list[McpServer]:
    """The servers of `tools.mcp`, then those of `mcp_url` (the seed's short form), which are called mcp, mcp_2, ….

    Raises InputError with every fault: names that the environment lacks, patterns that are none.
    """
    found = [_server(name, entry) for name, entry in params.get("tools", {}).get("mcp", {}).items()]
    short = params.get("mcp_url") or []
    for number, url in enumerate([short] if isinstance(short, str) else short, start=1):
        key = "/mcp_url" if isinstance(short, str) else f"/mcp_url/{number - 1}"
        found.append(McpServer("mcp" if number == 1 else f"mcp_{number}", url=with_scheme(url), key=key))
    faults = [f"params.yaml: {server.key}{fault}" for server in found for fault in _faults(server)]
    names = [server.name for server in found]
    faults += [
        f"params.yaml: {server.key}: it is called '{server.name}', and so is {first.key}; name both under tools.mcp"
        for place, server in enumerate(found)
        for first in [found[names.index(server.name)]]
        if names.index(server.name) != place
    ]
    if faults:
        raise InputError(faults)
    return found


def identity(params: dict[str, Any]) -> list[dict[str, Any]]:
    """What of the servers the results of their tools depend on: not the port on this machine, nor how they are let in."""
    kept = []
    for server in servers(params):
        url = server.url
        if url and not url.startswith("${") and server.on_loopback:
            parts = urlsplit(url)
            url = urlunsplit(parts._replace(netloc="localhost"))
        kept.append(
            {
                "name": server.name,
                "url": url,
                "command": [server.command, *server.args],
                "env": dict(server.env),
                "isolation": server.isolation,
                "then": server.then,
                "drop": server.drop,
            }
        )
    return kept


def with_scheme(url: str) -> str:
    """`localhost:8931` as `http://localhost:8931/mcp`; a whole URL, or the name of one, as it is."""
    if "://" in url or url.startswith("${"):
        return url
    return f"http://{url}" if "/" in url else f"http://{url}/mcp"


def _server(name: str, entry: dict[str, Any] | str) -> McpServer:
    if isinstance(entry, str):
        entry = {"url": entry}
    pairs: dict[str, Any] = {key: tuple(sorted((entry.get(key) or {}).items())) for key in ("env", "headers")}
    lists: dict[str, Any] = {key: tuple(entry[key]) for key in ("args", "allow", "deny", "drop") if key in entry}
    plain = {key: entry[key] for key in ("command", "isolation", "then") if key in entry}
    url = with_scheme(entry["url"]) if "url" in entry else None
    return McpServer(name, url=url, **plain, **lists, **pairs, key=f"/tools/mcp/{name}")


def _faults(server: McpServer) -> list[str]:
    texts = [server.url or "", *server.args, *(value for _, value in (*server.env, *server.headers))]
    faults = [f": ${{{name}}} is not set, neither in the environment nor in .env" for name in _missing(texts)]
    for pattern in server.drop:
        try:
            re2.compile(pattern, QUIETLY)
        except re2.error as error:
            reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error
            faults.append(f"/drop: {pattern!r} is no pattern: {reason}")
    return faults


def _missing(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(name for text in texts for name in credentials.missing(text)))
