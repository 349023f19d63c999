"""A sandbox: one container, for one rollout. Methods documented as blocking must run in a thread."""

import contextlib
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.tools.sandbox import owner
from distill.tools.sandbox.exec import Exec
from distill.tools.sandbox.port_tunnel import PortTunnel
from distill.tools.source import SessionLost

SHM = "256m"
"""The size of /dev/shm, where browsers share memory with their child processes; it counts as the container's memory."""
TMP_SHARE = 2
"""/tmp lies in memory, too, and may take one part in this many of the container's."""
STOP_POLL_S = 0.05
LOG_LINES = 20
MESSAGE_CHARS = 400
"""Characters of an engine's message, or of a container's last output, that a fault shows."""


@dataclass(frozen=True)
class ContainerLimits:
    """What a container may use: `tools.sandbox` of params.yaml."""

    network: str = "none"
    memory: str = "1g"
    cpus: float = 1
    pids: int = 256


class Sandbox:
    """A container that `start` makes; `name` is its image as the row has it, `image` the image's id."""

    def __init__(self, client: Any, name: str, image: str, env: Mapping[str, str], limits: ContainerLimits):
        self.name, self.image = name, image
        self._client, self._env, self._limits = client, dict(env), limits
        self._container: Any = None
        self._folder: Path | None = None
        self._tunnels: dict[int, PortTunnel] = {}
        self._lock = threading.Lock()
        self._removed = False

    def start(self) -> None:
        """Creates and starts the container; blocks. Raises SessionLost."""
        from docker.errors import DockerException

        with self._lock:
            if self._removed:
                raise SessionLost("the sandbox was removed before it was started")
            try:
                self._container = self._client.containers.create(self.image, **self.settings())
                self._container.start()
            except (DockerException, OSError) as error:
                raise SessionLost(f"the container of '{self.name}' cannot be started: {_line(error)}") from None

    def settings(self) -> dict[str, Any]:
        """The settings that the container is created with. Only /tmp and the image's VOLUMEs are writable; standard input
        stays open, so that a shell or a Python that is the image's command keeps running."""
        from docker.utils import parse_bytes

        limits = self._limits
        return {
            "name": f"distill-{secrets.token_hex(6)}",
            "labels": {owner.OWNER: owner.this_process()},
            "environment": self._env,
            "stdin_open": True,
            "network_mode": limits.network,
            "mem_limit": limits.memory,
            "memswap_limit": limits.memory,
            "nano_cpus": round(limits.cpus * 1e9),
            "pids_limit": limits.pids,
            "shm_size": SHM,
            "read_only": True,
            "tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={parse_bytes(limits.memory) // TMP_SHARE}"},
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
        }

    def exec(self, command: Sequence[str]) -> Exec:
        """A program to run inside; it is not started yet."""
        return Exec(self._client, self._container.id, command)

    def tunnel(self, port: int) -> PortTunnel:
        """A tunnel to a port inside."""
        with self._lock:
            if self._removed:
                raise SessionLost("the sandbox is gone")
            if port not in self._tunnels:
                self._folder = self._folder or Path(tempfile.mkdtemp(prefix="distill-"))
                self._tunnels[port] = PortTunnel(self._folder, port, self.exec)
            return self._tunnels[port]

    def end(self, within_s: float = 0.0) -> str | None:
        """Why the container is not running, with its last output; None when it is. Blocks.

        `within_s`: how long to wait for its end. Docker still says `running` for a moment after everything was killed.
        """
        from docker.errors import DockerException

        deadline = time.monotonic() + within_s
        try:
            self._container.reload()
            while self._container.status == "running" and time.monotonic() < deadline:
                time.sleep(STOP_POLL_S)
                self._container.reload()
            if self._container.status == "running":
                return None
            state = self._container.attrs["State"]
            output = " ".join(self._container.logs(tail=LOG_LINES).decode(errors="replace").split())[-MESSAGE_CHARS:]
        except (DockerException, OSError) as error:
            return f"the container of '{self.name}' is gone: {_line(error)}"
        killed = " because memory ran out," if state.get("OOMKilled") else ""
        return (
            f"the container of '{self.name}' ended{killed} with exit code {state.get('ExitCode')}"
            f"{': ' + output if output else ''}; its command must run as long as the rollout"
        )

    def remove(self) -> None:
        """Removes the container and what belongs to it; blocks. What cannot be removed is left to the next run."""
        from docker.errors import DockerException

        with self._lock:
            self._removed = True
            for tunnel in self._tunnels.values():
                tunnel.close()
            if self._folder:
                shutil.rmtree(self._folder, ignore_errors=True)
            if self._container is not None:
                with contextlib.suppress(DockerException, OSError):
                    self._container.kill()  # Podman would wait ten seconds for it to end
                with contextlib.suppress(DockerException, OSError):
                    self._container.remove(force=True, v=True)


def _line(error: BaseException) -> str:
    """The engine's explanation of an error in one line."""
    return " ".join(str(getattr(error, "explanation", None) or error).split())[:MESSAGE_CHARS]
