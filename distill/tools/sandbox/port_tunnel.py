"""A tunnel to a port inside a container that has no network: each connection is a program run in the container.

Outside it is a Unix socket in a folder that only this user may enter. A client still sends `localhost:8931` in its
requests, as servers that guard against DNS rebinding require, and no port of this machine is opened.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from distill.tools.sandbox.exec import Exec

CHUNK = 65536
BACKLOG = 64
"""Connections that may wait to be accepted."""
WAIT_S = 30
"""How long the server may take to listen after its container was started."""
TRIES_PER_S = 10
"""How often INSIDE looks whether it does."""

# Waits until a server listens (state 0A in the kernel's own list, so nothing has to be installed), then connects.
INSIDE = r"""
port=$1 left=$2 hex=$(printf %04X "$1")
listening() {
  for list in /proc/net/tcp /proc/net/tcp6; do
    while read -r _ local _ state _; do
      case "$local $state" in *":$hex 0A") return 0 ;; esac
    done < $list
  done 2> /dev/null
  return 1
}
until listening; do
  left=$((left - 1))
  [ "$left" -gt 0 ] || { echo "nothing listens on port $port in there" >&2; exit 69; }
  sleep 0.1
done
command -v socat > /dev/null && exec socat STDIO "TCP:localhost:$port"
command -v nc > /dev/null && exec nc localhost "$port"
command -v python3 > /dev/null && exec python3 -c '
import os, socket, sys, threading
there = socket.create_connection(("localhost", int(sys.argv[1])))
def send():
    while data := os.read(0, 65536):
        there.sendall(data)
    there.shutdown(socket.SHUT_WR)
threading.Thread(target=send, daemon=True).start()
while data := there.recv(65536):
    while data:
        data = data[os.write(1, data):]
' "$port"
command -v node > /dev/null && exec node -e '
const there = require("net").connect(+process.argv[1], "localhost", () => process.stdin.pipe(there).pipe(process.stdout))
there.on("close", () => process.exit()).on("error", () => process.exit(1))
' "$port"
echo "the image has none of socat, nc, python3, node, one of which is needed to reach port $port" >&2
exit 70
"""


class PortTunnel:
    """Open until `close`. `path`: the Unix socket; `error`: why the last failed connection failed."""

    def __init__(self, folder: Path, port: int, run: Callable[[Sequence[str]], Exec]):
        self.path = str(folder / str(port))
        self.error = ""
        self._port, self._run, self._waited = port, run, False
        self._open: set[Exec] = set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(BACKLOG)
        threading.Thread(target=self._accept, name=f"tunnel {port}", daemon=True).start()

    def close(self) -> None:
        """Closes the socket and all connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for program in list(self._open):
            program.close()

    def _accept(self) -> None:
        while True:
            try:
                local, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(local,), name=f"connection {self._port}", daemon=True).start()

    def _serve(self, local: socket.socket) -> None:
        # A server that has listened and does not any more has died, and one that never did will not: wait only once.
        tries = 1 if self._waited else WAIT_S * TRIES_PER_S
        program = self._run(["sh", "-c", INSIDE, "tunnel", str(self._port), str(tries)])
        self._open.add(program)
        try:
            program.start()
            threading.Thread(target=self._send, args=(local, program), daemon=True).start()
            for data in program.read():
                self._waited = True
                local.sendall(data)
        except Exception as error:  # the engine's or the client's: either way the connection is over
            self.error = str(error)
        finally:
            self._waited, self.error = True, program.stderr.strip() or self.error
            self._open.discard(program)
            program.close()
            with contextlib.suppress(OSError):
                local.shutdown(socket.SHUT_RDWR)
            local.close()

    def _send(self, local: socket.socket, program: Exec) -> None:
        with contextlib.suppress(OSError):
            while data := local.recv(CHUNK):
                program.write(data)
        program.close()
