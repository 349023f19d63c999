"""HTTP to one endpoint. The openai SDK is not used: its import costs a CPU second, and each request 2.2 ms in place of 0.27
(openai 3.54 beside aiohttp, 64 at a time): three times what a whole turn costs here."""

import json
import socket
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import orjson

from distill.records.loopback import LOOPBACK
from distill.teacher.errors import ApiError, Fatal, Transient
from distill.teacher.refusal import refused

CONNECT_S = 60.0
IDLE_S = 4.0
"""Unused connections are closed before the usual server does it (5 s): a POST on a dying connection is lost."""
SHOWN = 80
"""Bytes that are shown of what is no API's answer."""
KEEPALIVE_S = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 30}


class Reply(NamedTuple):
    """A good answer (status 2xx): its JSON content and its headers."""

    content: Any
    headers: Mapping[str, str]


class Http:
    """Sends JSON to `base_url` with `headers` (the key among them). Connects at the first request. `keyless`: the names
    under which a key was looked for in vain."""

    def __init__(self, base_url: str, headers: dict[str, str], timeout_s: float, keyless: str | None = None):
        self.base_url, self.timeout_s = base_url.rstrip("/"), timeout_s
        self._headers, self._keyless = headers, keyless
        self._session: Any = None
        self.heard = False  # whether the server has ever said anything
        self._understood = False  # whether it has ever answered as an API does

    async def post(self, path: str, data: bytes) -> Reply:
        """The answer to a JSON body. Raises the ApiError that a refusal, a timeout or a broken answer means."""
        return await self._send("POST", path, data=data, headers={"Content-Type": "application/json"})

    async def upload(self, path: str, name: str, data: bytes, **fields: str) -> Reply:
        """The answer to a file in a multipart form. Raises as `post`."""
        import aiohttp

        form = aiohttp.FormData(fields)
        form.add_field("file", data, filename=name, content_type="application/jsonl")
        return await self._send("POST", path, data=form)

    async def get(self, path: str) -> Reply:
        """The answer to a GET. Raises as `post`."""
        return await self._send("GET", path)

    async def get_bytes(self, path: str) -> bytes:
        """A file's content. Raises as `post`."""
        return (await self._send("GET", path, raw=True)).content

    async def delete(self, path: str) -> None:
        """Has something deleted. Raises as `post`."""
        await self._send("DELETE", path, raw=True)

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _send(self, method: str, path: str, raw: bool = False, **request: Any) -> Reply:
        import aiohttp

        if self._session is None:
            self._session = self._connect()
        try:
            # A redirected POST is sent again as a GET, or without the key: better say where it should have gone.
            follow = method == "GET"
            async with self._session.request(
                method, self.base_url + path, allow_redirects=follow, **request
            ) as response:
                content = await response.read()
                self.heard = True
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Transient("connection", f"no connection to {self.base_url}: {_plain(error)}") from None
        except TimeoutError:
            raise Transient("timeout", f"no answer within {self.timeout_s:g} s", maybe_billed=True) from None
        except (aiohttp.ClientError, ssl.SSLError, ConnectionError) as error:
            raise Transient("connection", f"the connection broke: {_plain(error)}", maybe_billed=True) from None
        if response.status >= 300:
            raise self._refused(response.status, response.headers, content)
        if raw:
            return Reply(content, response.headers)
        try:
            reply = Reply(parsed(content), response.headers)
        except ValueError as error:
            if content and "json" not in response.content_type and not self._understood:
                raise self._no_api(path, response.content_type, content) from None
            raise Transient("broken_answer", f"the answer is not valid JSON: {error}", maybe_billed=True) from None
        self._understood = True
        return reply

    def _refused(self, status: int, headers: Mapping[str, str], content: bytes) -> ApiError:
        error = refused(status, headers, content)
        if error.kind == "key_refused" and self._keyless:
            words = f"no key was sent, as neither the environment nor .env has {self._keyless}; {error.message}"
            return Fatal("no_key", words, status)
        return error

    def _no_api(self, path: str, kind: str, content: bytes) -> ApiError:
        """What a web page is in place of the first answer; a later one may be a proxy's, and pass."""
        words = " ".join(content[:SHOWN].decode("utf-8", "replace").split())
        usual = "" if self.base_url.endswith("/v1") else "; most base_urls end in /v1"
        return Fatal("not_found", f"{self.base_url}{path} is no API: it answers with {kind}, {words!r}{usual}")

    def _connect(self) -> Any:
        import aiohttp

        return aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S, socket_factory=_kept_alive),
            timeout=aiohttp.ClientTimeout(total=self.timeout_s, sock_connect=CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),  # a request depends on none before it
            proxy=_proxy(self.base_url),
        )


def _kept_alive(address: Any) -> socket.socket:
    """A socket that says it is there while an answer is on its way: routers forget connections that are silent for long."""
    family, kind, protocol, *_ = address
    found = socket.socket(family, kind, protocol)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in KEEPALIVE_S.items():
        if hasattr(socket, name):  # not every system has them
            found.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
    return found


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for a URL. aiohttp's `trust_env` would also take a login out of ~/.netrc,
    and refuse it beside our key; it costs a look at the environment for each request, too."""
    parts, known = urlsplit(url), getproxies()
    host = parts.hostname or ""
    if host in LOOPBACK or proxy_bypass(host):
        return None
    return known.get(parts.scheme) or known.get("all")


def parsed(content: bytes) -> Any:
    """JSON, half an emoji (`\\ud83d`, where an answer was cut) included: as `?`, since no text can hold it.

    Raises ValueError.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        if b"\\ud" not in content.lower():
            raise
        return orjson.loads(json.dumps(json.loads(content), ensure_ascii=False).encode("utf-8", "replace"))


def _plain(error: Exception) -> str:
    return str(error) or type(error).__name__
