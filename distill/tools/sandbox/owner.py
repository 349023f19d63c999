"""Labels each container with its owner, a process that holds a lock, and removes those whose owner is gone.

The system frees the lock however a process ends. What has no file here, as on another machine, is left alone.
"""

import atexit
import fcntl
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from distill.records.paths import cache_dir

OWNER = "distill.owner"


@cache
def this_process() -> str:
    """The value of OWNER for this process's containers: a file that it keeps locked from now on."""
    _folder().mkdir(parents=True, exist_ok=True)
    handle, path = tempfile.mkstemp(dir=_folder())
    fcntl.flock(handle, fcntl.LOCK_EX)
    atexit.register(os.unlink, path)
    return Path(path).name


def is_gone(owner: str) -> bool:
    """Whether the process of this name ran with our cache folder and has ended."""
    try:
        with open(_folder() / Path(owner).name) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # there is no such file, or it is locked
        return False
    return True


def reap(client: Any) -> list[str]:
    """Removes the containers of processes that are gone; returns their names."""
    from docker.errors import APIError

    removed = []
    # Not client.containers.list: it inspects each one, and Podman fails on one that is removed meanwhile.
    for container in client.api.containers(all=True, filters={"label": OWNER}):
        if is_gone(container["Labels"][OWNER]):
            try:
                client.api.remove_container(container["Id"], force=True, v=True)
            except APIError:  # another process has removed it
                continue
            removed.append(container["Names"][0].lstrip("/"))
    return removed


def _folder() -> Path:
    return cache_dir() / "sandbox" / "owners"
