"""Labels each container with the process that owns it, and removes those whose process is gone.

A process is identified by host, process namespace, boot, PID and start time, so that a reused PID or a process in another
container is not mistaken for it. Other hosts' containers are left alone.
"""

import os
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PREFIX = "distill."
HOST, BOOT, PROCESS, STARTED = (PREFIX + name for name in ("host", "boot", "process", "started"))


def labels() -> dict[str, str]:
    """The labels of this process's containers."""
    return {HOST: _host(), BOOT: _boot(), PROCESS: str(os.getpid()), STARTED: _started(os.getpid()) or ""}


def is_gone(labels: Mapping[str, str]) -> bool:
    """Whether the process that these labels name ran on this host and has ended."""
    if labels.get(HOST) != _host() or not labels.get(PROCESS, "").isdigit():
        return False
    return labels.get(BOOT) != _boot() or _started(int(labels[PROCESS])) != labels.get(STARTED)


def reap(client: Any) -> list[str]:
    """Removes the containers of processes that are gone; returns their names."""
    from docker.errors import APIError

    removed = []
    # Not client.containers.list: it inspects each one, and Podman fails on one that is removed meanwhile.
    for container in client.api.containers(all=True, filters={"label": HOST}):
        if is_gone(container["Labels"]):
            try:
                client.api.remove_container(container["Id"], force=True, v=True)
            except APIError:  # another process has removed it
                continue
            removed.append(container["Names"][0].lstrip("/"))
    return removed


def _host() -> str:
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(process: int) -> str | None:
    """When a process was started, in the system's own unit; None when it has ended (a zombie has, too)."""
    if Path("/proc/self/stat").exists():
        try:
            # pid (name) state ppid …: a name may hold spaces and brackets; the start is the 22nd field.
            fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return None
        return None if fields[0] in ("Z", "X") else fields[19]
    listing = subprocess.run(["ps", "-o", "lstart=", "-p", str(process)], capture_output=True, text=True, check=False)
    return listing.stdout.strip() or None
