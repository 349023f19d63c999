"""A sandbox: one container, for one rollout. Its methods that block say so: they belong into a thread."""

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
from distill.tools.sandbox.port_tunnel import Door
from distill.tools.source import SessionLost

SHM = "256m"
"""Browsers share memory with their children there; it counts as the container's memory."""
SAID = 400


@dataclass(frozen=True)
class Limits:
    """What a container may use, as `tools.sandbox` in params.yaml has it."""

    network: str = "none"
    memory: str = "1g"
    cpus: float = 1
    pids: int = 256


class Box:
    """`name` is the image as the row has it, `image` the id of what it was when this was made."""

    def __init__(self, client: Any, name: str, image: str, env: Mapping[str, str], limits: Limits):
        self.name, self.image = name, image
        self._client, self._env, self._limits = client, dict(env), limits
        self._container: Any = None
        self._folder: Path | None = None
        self._doors: dict[int, Door] = {}
        self._lock = threading.Lock()
        self._removed = False

    def start(self) -> None:
        """Makes and starts the container; blocks. Raises SessionLost."""
        from docker.errors import DockerException

        with self._lock:
            if self._removed:
                raise SessionLost("the sandbox was given up")
            try:
                self._container = self._client.containers.create(self.image, **self.settings())
                self._container.start()
            except (DockerException, OSError) as error:
                raise SessionLost(f"the container of '{self.name}' cannot be started: {_line(error)}") from None

    def settings(self) -> dict[str, Any]:
        """What the container is made with. Only /tmp and the image's VOLUMEs can be written to; standard input is held
        open, so that a shell or a Python that an image starts by itself stays there."""
        from docker.utils import parse_bytes

        limits = self._limits
        return {
            "name": f"distill-{secrets.token_hex(6)}",
            "labels": owner.labels(),
            "environment": self._env,
            "stdin_open": True,
            "network_mode": limits.network,
            "mem_limit": limits.memory,
            "memswap_limit": limits.memory,
            "nano_cpus": round(limits.cpus * 1e9),
            "pids_limit": limits.pids,
            "shm_size": SHM,
            "read_only": True,
            "tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={parse_bytes(limits.memory) // 2}"},
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
        }

    def exec(self, command: Sequence[str]) -> Exec:
        """A program to be run inside; it is not started yet."""
        return Exec(self._client, self._container.id, command)

    def door(self, port: int) -> Door:
        """The way to a port inside."""
        with self._lock:
            if self._removed:
                raise SessionLost("the sandbox is gone")
            if port not in self._doors:
                self._folder = self._folder or Path(tempfile.mkdtemp(prefix="distill-"))
                self._doors[port] = Door(self._folder, port, self.exec)
            return self._doors[port]

    def end(self, within_s: float = 0.0) -> str | None:
        """Why the container is not running, with its last words; None when it is. Blocks.

        `within_s`: how long to wait for its end. Docker says `running` for a moment after all in it was killed.
        """
        from docker.errors import DockerException

        last = time.monotonic() + within_s
        try:
            self._container.reload()
            while self._container.status == "running" and time.monotonic() < last:
                time.sleep(0.05)
                self._container.reload()
            if self._container.status == "running":
                return None
            state = self._container.attrs["State"]
            said = " ".join(self._container.logs(tail=20).decode(errors="replace").split())[-SAID:]
        except (DockerException, OSError) as error:
            return f"the container of '{self.name}' is gone: {_line(error)}"
        killed = " for want of memory" if state.get("OOMKilled") else ""
        return (
            f"the container of '{self.name}' ended{killed} with exit code {state.get('ExitCode')}"
            f"{': ' + said if said else ''}; its command has to run as long as the rollout"
        )

    def remove(self) -> None:
        """Removes the container and what belongs to it; blocks. What cannot be removed is left to the next start."""
        from docker.errors import DockerException

        with self._lock:
            self._removed = True
            for door in self._doors.values():
                door.close()
            if self._folder:
                shutil.rmtree(self._folder, ignore_errors=True)
            if self._container is not None:
                with contextlib.suppress(DockerException, OSError):
                    self._container.kill()  # Podman would wait ten seconds for it to end by itself
                with contextlib.suppress(DockerException, OSError):
                    self._container.remove(force=True, v=True)


def _line(error: BaseException) -> str:
    return " ".join(str(getattr(error, "explanation", None) or error).split())[:SAID]
