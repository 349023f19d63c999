"""Whose a container is: it says so by its labels, and one whose process is gone is removed at the next start.

A process is known by host, process namespace, boot, number and start time, so that neither a number that came round
again nor a process in another container is taken for it. What cannot be judged from here is left alone.
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


def is_gone(found: Mapping[str, str]) -> bool:
    """Whether the process that these labels name ran on this host and is no more."""
    if found.get(HOST) != _host() or not found.get(PROCESS, "").isdigit():
        return False
    return found.get(BOOT) != _boot() or _started(int(found[PROCESS])) != found.get(STARTED)


def reap(client: Any) -> list[str]:
    """Removes the containers of processes that are gone; returns their names."""
    from docker.errors import APIError

    gone = []
    # Not client.containers.list: it inspects each one, and Podman fails on one that somebody removes meanwhile.
    for found in client.api.containers(all=True, filters={"label": HOST}):
        if is_gone(found["Labels"]):
            try:
                client.api.remove_container(found["Id"], force=True, v=True)
            except APIError:  # somebody else was faster
                continue
            gone.append(found["Names"][0].lstrip("/"))
    return gone


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
    """When a process was started, in whatever unit the system has; None when there is none (a zombie counts as none)."""
    if Path("/proc/self/stat").exists():
        try:
            # pid (name) state ppid …: a name may hold spaces and brackets; the start is the 22nd field.
            fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return None
        return None if fields[0] in ("Z", "X") else fields[19]
    told = subprocess.run(["ps", "-o", "lstart=", "-p", str(process)], capture_output=True, text=True, check=False)
    return told.stdout.strip() or None
