"""A way from here to a port inside of a container that has no network: each connection is a program run in there.

Outside it is a Unix socket in a folder that only this user may enter, so a client still says `localhost:8931` in its
requests, which is what servers that guard against rebinding want to hear, and no port of this machine is opened.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from distill.tools.sandbox.exec import Exec

CHUNK = 65536
WAIT_S = 30
"""How long the server may take to listen after its container was started."""

# Waits until somebody listens (state 0A; the kernel's own list, so nothing has to be installed), then connects.
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


class Door:
    """Open from its making to `close`. `path`: the Unix socket; `why`: what the last connection that failed died of."""

    def __init__(self, folder: Path, port: int, run: Callable[[Sequence[str]], Exec]):
        self.path = str(folder / str(port))
        self.why = ""
        self._port, self._run, self._waited = port, run, False
        self._open: set[Exec] = set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(64)
        threading.Thread(target=self._accept, name=f"door {port}", daemon=True).start()

    def close(self) -> None:
        """Closes the socket and all that goes through it."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for program in list(self._open):
            program.close()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(here,), name=f"through door {self._port}", daemon=True).start()

    def _serve(self, here: socket.socket) -> None:
        # Who was there once and is not any more has died, and who did not come will not: no need to wait again.
        tries = 1 if self._waited else WAIT_S * 10
        program = self._run(["sh", "-c", INSIDE, "door", str(self._port), str(tries)])
        self._open.add(program)
        try:
            program.start()
            threading.Thread(target=self._send, args=(here, program), daemon=True).start()
            for data in program.read():
                self._waited = True
                here.sendall(data)
        except Exception as error:  # the engine's and the client's alike: the connection is over
            self.why = str(error)
        finally:
            self._waited, self.why = True, program.said.strip() or self.why
            self._open.discard(program)
            program.close()
            with contextlib.suppress(OSError):
                here.shutdown(socket.SHUT_RDWR)
            here.close()

    def _send(self, here: socket.socket, program: Exec) -> None:
        with contextlib.suppress(OSError):
            while data := here.recv(CHUNK):
                program.write(data)
        program.close()
