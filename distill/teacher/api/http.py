"""HTTP to one endpoint, with aiohttp.

The openai SDK is not used: its import takes a CPU second, and each request 2.2 ms in place of 0.27 (openai 3.54 compared
with aiohttp, 64 requests at a time), which is three times what a whole turn takes here.
"""

import json
import socket
import ssl
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import orjson

from distill.machine.loopback import LOOPBACK
from distill.records.faults import InputError
from distill.teacher.api.error_response import LARGEST_ANSWER, LARGEST_REFUSAL, error_from_response, too_large
from distill.teacher.errors import ApiError, Fatal, Transient

CONNECT_S = 60.0
"""How long a connection may take."""
IDLE_S = 4.0
"""Unused connections are closed before most servers do it (5 s): a POST on a connection that is being closed is lost."""
SHOWN_BYTES = 80
"""Of a response that is not an API's, such as a web page, in the error message."""
KEEPALIVE_S = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 30}
"""When an idle connection sends its first keep-alive packet, and how often after that."""


class Reply(NamedTuple):
    """A response with status 2xx: its JSON content and its headers."""

    content: Any
    headers: Mapping[str, str]


class Http:
    """Sends JSON to `base_url` with `headers` (the key among them). Connects at the first request. `missing_key`: the names
    of the variables that should hold the key, if none does."""

    def __init__(self, base_url: str, headers: dict[str, str], timeout_s: float, missing_key: str | None = None):
        self.base_url, self.timeout_s = base_url.rstrip("/"), timeout_s
        self._headers, self._missing_key = headers, missing_key
        self._session: Any = None
        self.has_responded = False  # with anything, ever
        self._has_sent_json = False

    async def post(self, path: str, data: bytes) -> Reply:
        """The reply to a JSON body. Raises ApiError for an error response, a timeout, a lost connection or a broken reply."""
        return await self._send("POST", path, data=data, headers={"Content-Type": "application/json"})

    async def upload(self, path: str, name: str, data: bytes, **fields: str) -> Reply:
        """The reply to a file that is uploaded as a multipart form. Raises as `post`."""
        import aiohttp

        form = aiohttp.FormData(fields)
        form.add_field("file", data, filename=name, content_type="application/jsonl")
        return await self._send("POST", path, data=form)

    async def get(self, path: str) -> Reply:
        """The reply to a GET. Raises as `post`."""
        return await self._send("GET", path)

    async def download(self, path: str, file: BinaryIO) -> None:
        """Puts a file's content, of any size, into `file`. Raises as `post`."""
        file.seek(0)
        file.truncate()  # of what came before a connection broke
        await self._fetch("GET", path, file)

    async def delete(self, path: str) -> None:
        """Sends a DELETE. Raises as `post`."""
        await self._fetch("DELETE", path)

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _send(self, method: str, path: str, **request: Any) -> Reply:
        """The reply to a request, in JSON. Raises as `post`."""
        response, content = await self._fetch(method, path, **request)
        try:
            reply = Reply(parse_json(content), response.headers)
        except ValueError as error:
            if content and "json" not in response.content_type and not self._has_sent_json:
                raise self._not_an_api(path, response.content_type, content) from None
            raise Transient("broken_answer", f"the answer is not valid JSON: {error}", maybe_billed=True) from None
        self._has_sent_json = True
        return reply

    async def _fetch(self, method: str, path: str, file: BinaryIO | None = None, **request: Any) -> tuple[Any, bytes]:
        """The response to a request, and its content, which goes into `file` if there is one. Raises as `post`."""
        import aiohttp

        if self._session is None:
            self._session = self._connect()
        try:
            # A redirected POST would be sent again as a GET, or without the key: rather report the URL that is needed.
            follow_redirects = method == "GET"
            async with self._session.request(
                method, self.base_url + path, allow_redirects=follow_redirects, **request
            ) as response:
                content = b""
                if response.status >= 300:
                    content = await _beginning(response, LARGEST_REFUSAL)
                elif file is None:
                    content = await _beginning(response, LARGEST_ANSWER + 1)
                else:
                    async for piece in response.content.iter_any():
                        file.write(piece)
                self.has_responded = True
        except (
            aiohttp.ClientConnectorError,
            aiohttp.ConnectionTimeoutError,
            aiohttp.ClientHttpProxyError,
            aiohttp.InvalidURL,
        ) as error:
            raise Transient("connection", f"no connection to {self.base_url}: {_text(error)}") from None
        except TimeoutError:
            raise Transient("timeout", f"no answer within {self.timeout_s:g} s", maybe_billed=True) from None
        except (aiohttp.ClientError, ssl.SSLError, ConnectionError) as error:
            raise Transient("connection", f"the connection broke: {_text(error)}", maybe_billed=True) from None
        if response.status >= 300:
            refusal = self._error(response.status, response.headers, content)
            # Behind a proxy that no longer waits, the server goes on. To look for an answer costs nothing.
            refusal.maybe_billed = refusal.kind == "timeout" and method == "POST"
            raise refusal
        if len(content) > LARGEST_ANSWER:
            raise too_large()
        return response, content

    def _error(self, status: int, headers: Mapping[str, str], content: bytes) -> ApiError:
        error = error_from_response(status, headers, content)
        if error.kind == "key_refused" and self._missing_key:
            message = f"no key was sent, as neither the environment nor .env has {self._missing_key}; {error.message}"
            return Fatal("no_key", message, status)
        if error.kind == "not_found" and not urlsplit(self.base_url).path:
            return Fatal("not_found", f"{self.base_url}: most base_urls end in /v1; {error.message}", status)
        return error

    def _not_an_api(self, path: str, content_type: str, content: bytes) -> ApiError:
        """The error for a first response that is a web page or the like. A later one may be a proxy's, and pass."""
        start = " ".join(content[:SHOWN_BYTES].decode("utf-8", "replace").split())
        hint = "" if self.base_url.endswith("/v1") else "; most base_urls end in /v1"
        return Fatal("not_found", f"{self.base_url}{path} is no API: it answers with {content_type}, {start!r}{hint}")

    def _connect(self) -> Any:
        import aiohttp

        return aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S, socket_factory=_keep_alive_socket),
            timeout=aiohttp.ClientTimeout(total=self.timeout_s, sock_connect=CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),  # no request may depend on an earlier one
            proxy=_proxy(self.base_url),
        )


def _keep_alive_socket(address: Any) -> socket.socket:
    """A socket that sends keep-alive packets while an answer is awaited: routers drop connections that are silent for long."""
    family, kind, protocol, *_ = address
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in KEEPALIVE_S.items():
        if hasattr(socket, name):  # not on every system
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
    return sock


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for a URL, with a scheme. aiohttp's `trust_env` would also take a login out of
    ~/.netrc, and refuse it beside our key; it also reads the environment for each request. Raises Fatal for a SOCKS proxy,
    which aiohttp would address in HTTP."""
    parts, proxies = urlsplit(url), getproxies()
    host = parts.hostname or ""
    if host in LOOPBACK or proxy_bypass(host):
        return None
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and proxy.startswith("socks"):
        raise Fatal(
            "unreachable", f"only HTTP proxies are known here, and a SOCKS proxy is set: set {parts.scheme}_proxy"
        )
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def check_url(url: str, key: str, variable: str) -> None:
    """Raises InputError where an endpoint's URL, at `key` of params.yaml, is none, holds a credential or does not end at its
    path."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # one that is too large raises, too
    except ValueError as error:
        raise InputError(f"params.yaml: {key}: {url} is no URL: {error}") from None
    if parts.username or parts.password:
        raise InputError(f"params.yaml: {key}: holds a credential; put it into .env as {variable}")
    if "?" in url or "#" in url:
        raise InputError(f"params.yaml: {key}: ends at the path, such as https://host/v1; no ? and no #")
    for path in ("/chat/completions", "/responses"):
        if url.rstrip("/").endswith(path):
            raise InputError(f"params.yaml: {key}: ends before {path}, which is added here")


def parse_json(content: bytes) -> Any:
    """Parses JSON. Half an emoji (`\\ud83d`, where an answer was cut off) becomes `?`, since no text can hold it.

    Raises ValueError.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        if b"\\ud" not in content.lower():
            raise
        try:
            return orjson.loads(json.dumps(json.loads(content), ensure_ascii=False).encode("utf-8", "replace"))
        except RecursionError:
            raise ValueError("nested too deeply") from None


async def _beginning(response: Any, most: int) -> bytes:
    """The first `most` bytes of a response's content, unpacked; no more than a piece beyond them is read."""
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size >= most:
            break
    return b"".join(pieces)[:most]


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
