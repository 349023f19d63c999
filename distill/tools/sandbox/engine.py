"""Connects to the container engine: anything with Docker's API, such as Docker or Podman."""

import os
from pathlib import Path
from typing import Any

from distill.records.faults import InputError
from distill.records.one_line import one_line

TIMEOUT_S = 120
CONNECTIONS = 128
ADVICE = (
    "start Docker, or Podman's API (`systemctl --user start podman.socket`, as root without --user; or "
    "`podman system service --time 0 unix:///tmp/podman.sock` and DOCKER_HOST=unix:///tmp/podman.sock), or set DOCKER_HOST "
    "to the address of one"
)


def connect() -> Any:
    """A `docker.DockerClient` of the engine at DOCKER_HOST; else of Docker's current context, else of the first that
    answers at the sockets of Docker and Podman. Raises InputError that lists what was tried.
    """
    import docker
    from docker.errors import DockerException

    tried = []
    for host in hosts():
        try:
            if host == os.environ.get("DOCKER_HOST"):
                client = docker.from_env(timeout=TIMEOUT_S, max_pool_size=CONNECTIONS)  # with its TLS settings
            else:
                client = docker.DockerClient(base_url=host, timeout=TIMEOUT_S, max_pool_size=CONNECTIONS)
            client.ping()
            return client
        except (DockerException, OSError, ValueError) as error:
            tried.append(f"{host} ({_reason(error)})")
    raise InputError(f"no container engine answers at {', '.join(tried)}: {ADVICE}")


def answers(client: Any) -> bool:
    """Whether the engine of a client answers; blocks."""
    from docker.errors import DockerException

    try:
        return client.ping()
    except (DockerException, OSError):
        return False


def hosts() -> list[str]:
    """The addresses where an engine may listen, the likeliest first; only DOCKER_HOST when that is set."""
    named = os.environ.get("DOCKER_HOST")
    if named:
        return [named]
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    sockets = [
        "/var/run/docker.sock",
        f"{runtime}/docker.sock",
        str(Path("~/.docker/run/docker.sock").expanduser()),
        f"{runtime}/podman/podman.sock",
        "/run/podman/podman.sock",
    ]
    return list(dict.fromkeys([*_context(), *(f"unix://{path}" for path in sockets)]))


def _context() -> list[str]:
    """The host of `docker context use …`, if there is one."""
    from docker.context import ContextAPI

    try:
        host = ContextAPI.get_current_context().Host
    except Exception:  # whatever is wrong with ~/.docker/config.json, the sockets may still answer
        return []
    return [host] if host else []


def _reason(error: BaseException) -> str:
    if "No such file" in str(error):
        return "no such socket"
    if "Permission denied" in str(error):
        return "permission denied: this user may not use it"
    return one_line(error, most=200)
