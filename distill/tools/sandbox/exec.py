"""A program that runs in a container, with its standard input and output in our hands. All of it blocks: see threads.py."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

STDOUT, STDERR = 1, 2
SAID = 400
"""Characters of what it wrote to standard error that are kept: the last ones."""


class Exec:
    """`start` before anything else; `close` in any case, from any thread. It ends the program's input, by which programs
    of ours know that nobody waits for them any more (the engine has no other way to end one)."""

    def __init__(self, client: Any, container: str, command: Sequence[str]):
        self._api, self._container, self._command = client.api, container, list(command)
        self._raw: Any = None  # what the SDK reads from, and the socket under it
        self._socket: Any = None
        self._id = ""
        self._closed = False
        self._lock = threading.Lock()
        self.said = ""

    def start(self) -> None:
        """Raises what the docker SDK raises."""
        self._id = self._api.exec_create(self._container, self._command, stdin=True)["Id"]
        raw = self._api.exec_start(self._id, socket=True)
        with self._lock:
            self._raw, self._socket = raw, getattr(raw, "_sock", raw)
            self._socket.settimeout(None)
            late = self._closed
        if late:
            self.close()

    def write(self, data: bytes) -> None:
        """Raises OSError when the program is gone."""
        self._socket.sendall(data)

    def read(self) -> Iterator[bytes]:
        """What it writes to standard output, until it ends."""
        from docker.utils.socket import SocketError, frames_iter

        with contextlib.suppress(OSError, ValueError, SocketError):  # closed by us, or torn down with its container
            for stream, data in frames_iter(self._raw, tty=False):
                if stream == STDOUT:
                    yield data
                else:
                    self.said = (self.said + data.decode(errors="replace"))[-SAID:]

    def line(self) -> bytes | None:
        """Its first line of standard output; None when it ends without one."""
        found = bytearray()
        for data in self.read():
            found += data
            if data.endswith(b"\n"):
                return bytes(found)
        return None

    @property
    def exit_code(self) -> int | None:
        """With what it ended; None where the engine does not know."""
        from docker.errors import DockerException

        try:
            return self._api.exec_inspect(self._id).get("ExitCode")
        except (DockerException, OSError):
            return None

    def close(self) -> None:
        """Closes its input and output."""
        with self._lock:
            self._closed = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
                with contextlib.suppress(OSError):
                    self._raw.close()
                    self._socket.close()
