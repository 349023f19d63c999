"""The MCP servers of params.yaml, checked; `${NAME}` stands for a value of the environment."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import re2

from distill.machine.loopback import LOOPBACK
from distill.project import credentials
from distill.records.faults import Faults
from distill.records.types import Params, ToolSchema

QUIET = re2.Options()
QUIET.log_errors = False


@dataclass(frozen=True)
class McpServer:
    """One server as in `tools.mcp.<name>`; either `url` or `command` is set. `${NAME}` is not expanded yet."""

    name: str
    url: str | None = None
    command: str | None = None
    args: Sequence[str] = ()
    env: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    allow: Sequence[str] = ("*",)
    deny: Sequence[str] = ()
    isolation: str = "rollout"
    then: str | None = None
    drop: Sequence[str] = ()
    key: str = ""
    """Its JSON pointer in params.yaml."""

    def allows(self, tool: str) -> bool:
        """Whether the model may see a tool of the server, by the server's own name for it."""
        return any(fnmatchcase(tool, pattern) for pattern in self.allow) and not any(
            fnmatchcase(tool, pattern) for pattern in self.deny
        )

    def allowed(self, tools: list[ToolSchema]) -> list[dict[str, Any]]:
        """Those tools that the model may see."""
        return [tool for tool in tools if self.allows(tool["name"])]

    def allows_nothing(self, tools: list[ToolSchema]) -> list[str]:
        """Faults for the patterns of `allow` that fit none of the server's tools, and for a server that has none."""
        names = [tool["name"] for tool in tools]
        if not names:
            return [": it has no tools"]
        return [
            f"/allow: it has no tool '{pattern}'; it has: {', '.join(names)}"
            for pattern in self.allow
            if not any(fnmatchcase(name, pattern) for name in names)
        ]

    @property
    def target(self) -> str:
        """The URL to connect to, with `${NAME}` expanded; it may contain a secret."""
        return with_scheme(credentials.expand(self.url or ""))

    @property
    def on_loopback(self) -> bool:
        """Whether its URL is on this machine (for a row with a sandbox: inside that)."""
        return self.url is not None and urlsplit(self.target).hostname in LOOPBACK

    @property
    def port(self) -> int:
        """The port of its URL."""
        parts = urlsplit(self.target)
        return parts.port or (443 if parts.scheme == "https" else 80)


def servers(params: Params) -> list[McpServer]:
    """The servers of `tools.mcp`, then those of `mcp_url` (the short form), which are called mcp, mcp_2, ….

    Raises InputError with every fault: names that the environment lacks, invalid patterns.
    """
    named = [_server(name, entry) for name, entry in params.get("tools", {}).get("mcp", {}).items()]
    short = params.get("mcp_url") or []
    for number, url in enumerate([short] if isinstance(short, str) else short, start=1):
        key = "/mcp_url" if isinstance(short, str) else f"/mcp_url/{number - 1}"
        named.append(McpServer("mcp" if number == 1 else f"mcp_{number}", url=with_scheme(url), key=key))
    faults = Faults()
    for server in named:
        faults.add(*(f"params.yaml: {server.key}{fault}" for fault in _faults(server)))
    first_of: dict[str, McpServer] = {}
    for server in named:
        first = first_of.setdefault(server.name, server)
        if first is not server:
            faults.add(
                f"params.yaml: {server.key}: it is called '{server.name}', and so is {first.key}; "
                "name both under tools.mcp"
            )
    faults.check()
    return named


def identity(params: Params) -> list[dict[str, Any]]:
    """What the results of the servers' tools depend on: neither the port on this machine nor the headers do."""
    identities = []
    for server in servers(params):
        url = server.url
        if url and not url.startswith("${") and server.on_loopback:
            parts = urlsplit(url)
            url = urlunsplit(parts._replace(netloc="localhost"))
        identities.append(
            {
                "name": server.name,
                "url": url,
                "command": [server.command, *server.args],
                "env": server.env,
                "isolation": server.isolation,
                "then": server.then,
                "drop": server.drop,
            }
        )
    return identities


def with_scheme(url: str) -> str:
    """`localhost:8931` as `http://localhost:8931/mcp`; a complete URL or a `${NAME}` as it is."""
    if "://" in url or url.startswith("${"):
        return url
    return f"http://{url}" if "/" in url else f"http://{url}/mcp"


def _server(name: str, entry: dict[str, Any] | str) -> McpServer:
    fields = {"url": entry} if isinstance(entry, str) else entry
    url = with_scheme(fields["url"]) if "url" in fields else None
    return McpServer(name, **{**fields, "url": url}, key=f"/tools/mcp/{name}")


def _faults(server: McpServer) -> list[str]:
    texts = [server.url or "", *server.args, *server.env.values(), *server.headers.values()]
    missing = dict.fromkeys(name for text in texts for name in credentials.missing(text))
    faults = [f": ${{{name}}} is not set, neither in the environment nor in .env" for name in missing]
    if not faults:
        try:
            _ = server.port
        except ValueError as error:
            faults.append(f": '{server.url}' is not a valid URL: {error}")
    for pattern in server.drop:
        try:
            re2.compile(pattern, QUIET)
        except re2.error as error:
            reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error
            faults.append(f"/drop: {pattern!r} is not a valid pattern: {reason}; see the syntax of RE2")
    return faults
