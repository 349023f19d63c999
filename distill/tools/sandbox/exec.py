"""A program in a container, connected by its standard input and output. All methods block: they belong in a thread."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

STDOUT, STDERR = 1, 2
LARGEST = 64 * 2**20
"""Bytes of a line."""
STDERR_CHARS = 400
"""Characters of its standard error that are kept: the last ones."""


class Exec:
    """Call `start` before anything else, and `close` in any case, from any thread.

    `close` ends the program's input: our programs then know that nobody waits for them any more (the engine has no other
    way to end one). `stderr`: the last characters of its standard error.
    """

    def __init__(self, client: Any, container: str, command: Sequence[str]):
        self._api, self._container, self._command = client.api, container, list(command)
        self._raw: Any = None  # what the SDK reads from; _socket is the socket underneath
        self._socket: Any = None
        self._id = ""
        self._closed = False
        self._lock = threading.Lock()
        self.stderr = ""

    def start(self) -> None:
        """Starts the program. Raises what the docker SDK raises."""
        self._id = self._api.exec_create(self._container, self._command, stdin=True)["Id"]
        raw = self._api.exec_start(self._id, socket=True)
        with self._lock:
            self._raw, self._socket = raw, getattr(raw, "_sock", raw)
            self._socket.settimeout(None)
            closed = self._closed
        if closed:  # by another thread, before there was a socket
            self.close()

    def write(self, data: bytes) -> None:
        """Writes to its standard input. Raises OSError when the program is gone."""
        self._socket.sendall(data)

    def read(self) -> Iterator[bytes]:
        """The pieces of its standard output, until it ends."""
        from docker.utils.socket import SocketError, frames_iter

        with contextlib.suppress(OSError, ValueError, SocketError):  # closed by us, or torn down with its container
            for stream, data in frames_iter(self._raw, tty=False):
                if stream == STDOUT:
                    yield data
                else:
                    self.stderr = (self.stderr + data.decode(errors="replace"))[-STDERR_CHARS:]

    def line(self) -> bytes | None:
        """Its first line of standard output; None when it ends without one. Raises ValueError for a line beyond LARGEST."""
        received = bytearray()
        for data in self.read():
            received += data
            if data.endswith(b"\n"):
                return bytes(received)
            if len(received) > LARGEST:
                raise ValueError(f"it returned more than {LARGEST >> 20} MB")
        return None

    @property
    def exit_code(self) -> int | None:
        """Its exit code; None when the engine does not know."""
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
