"""A real container engine for tests, and a small image with Python in it, made of this machine's own files.

The engine that answers here is taken. Else Podman is, started on a socket in a temporary folder; as root on Debian it is
installed if need be. Nothing is fetched from a registry of images.
"""

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from distill.records.faults import InputError
from distill.tools.sandbox import engine

PACKAGES = ("podman", "runc", "uidmap", "slirp4netns", "fuse-overlayfs", "busybox-static")
# Machines without CAP_SYS_RESOURCE cannot raise limits, and crun knows no hybrid cgroups.
CONTAINERS = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
exit_command_delay = 2
tmp_dir = "{folder}/tmp"
"""
STORAGE = """\
[storage]
driver = "{driver}"
runroot = "{folder}/run"
graphroot = "{folder}/graph"
"""
IMAGE = "distill-test/python:1"
APPLETS = ("sh", "cat", "sleep", "ls", "touch", "kill", "nc", "id", "env", "mkdir", "grep", "ps")
EMPTY = ("etc", "proc", "sys", "dev", "tmp", "run", "work")
LEFT_OUT = (
    "test",
    "idlelib",
    "lib2to3",
    "tkinter",
    "ensurepip",
    "pydoc_data",
    "turtledemo",
    "dist-packages",
    "site-packages",
)
START_S = 300


@contextmanager
def running() -> Iterator[str]:
    """The DOCKER_HOST of an engine with the test image. Skips, with the reason, where no engine can start."""
    if host := _answering():
        yield host
        _tidy(host)
        return
    _install()
    for driver in ("overlay", "vfs"):
        folder = Path(tempfile.mkdtemp(prefix="distill-podman-"))
        service = _service(folder, driver)
        try:
            why = _started(service, folder)
            if not why:
                yield f"unix://{folder}/podman.sock"
                return
        finally:
            service.terminate()
            service.wait()
            subprocess.run(["umount", str(folder / "graph" / "overlay")], capture_output=True, check=False)
            shutil.rmtree(folder, ignore_errors=True)
    pytest.skip(f"no container engine can start here: {why}")


def _answering() -> str | None:
    """The DOCKER_HOST of the first engine that answers and runs the test image; None where none does."""
    for host in engine.hosts():
        with pytest.MonkeyPatch.context() as only, suppress(InputError):
            only.setenv("DOCKER_HOST", host)
            if not _unfit(engine.connect()):
                return host
    return None


def _tidy(host: str) -> None:
    """Removes the test image from somebody's engine, and what was built on it."""
    import docker
    from docker.errors import DockerException

    client = docker.DockerClient(base_url=host, timeout=120)
    first = client.images.get(IMAGE).attrs["RootFS"]["Layers"][0]
    for image in client.images.list():
        if image.attrs["RootFS"]["Layers"][:1] == [first]:
            with suppress(DockerException):  # another run may need it
                client.images.remove(image.id, force=len(image.tags) > 1)
    client.close()


def _install() -> None:
    if shutil.which("podman") and shutil.which("runc") and shutil.which("busybox"):
        return
    if os.getuid() or not shutil.which("apt-get"):
        pytest.skip(
            "no container engine answers, and only root may install one: apt-get install podman runc busybox-static"
        )
    command = ["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES]
    for before in (["true"], ["apt-get", "update"]):
        subprocess.run(before, capture_output=True, check=False)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
    pytest.skip(f"Podman cannot be installed: {done.stderr.strip().splitlines()[-1:]}")


def _service(folder: Path, driver: str) -> "subprocess.Popen[bytes]":
    (folder / "containers.conf").write_text(CONTAINERS.format(folder=folder))
    (folder / "storage.conf").write_text(STORAGE.format(folder=folder, driver=driver))
    environment = {
        **os.environ,
        "CONTAINERS_CONF": f"{folder}/containers.conf",
        "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf",
    }
    with open(folder / "log", "wb") as log:
        command = ["podman", "system", "service", "--time", "0", f"unix://{folder}/podman.sock"]
        # conmon, its child, leaves a file `oom` in this folder when a container runs out of memory.
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)


def _started(service: "subprocess.Popen[bytes]", folder: Path) -> str:
    """Why the engine cannot run a container; empty when it can."""
    import docker

    end = time.monotonic() + START_S
    while not (folder / "podman.sock").exists():
        if service.poll() is not None or time.monotonic() > end:
            return (folder / "log").read_text()[-400:]
        time.sleep(0.05)
    return _unfit(docker.DockerClient(base_url=f"unix://{folder}/podman.sock", timeout=120))


def _unfit(client: Any) -> str:
    """Gives the engine the test image and closes the client. Why it runs no container of it; empty when it does."""
    from docker.errors import DockerException

    try:
        import_image(client)
        client.containers.run(IMAGE, ["sh", "-c", "true"], remove=True, network_mode="none")
    except (DockerException, OSError) as error:
        return str(error)
    finally:
        client.close()
    return ""


def import_image(client: Any) -> None:
    """The image: this machine's Python with its libraries, and busybox. 15 MB."""
    if not client.images.list(IMAGE):
        repository, tag = IMAGE.split(":")
        client.api.import_image_from_data(_rootfs(), repository=repository)
        client.images.get(repository).tag(repository, tag)  # Podman's import knows no tags


def _rootfs() -> bytes:
    """A tar of it."""
    python, busybox = Path("/usr/bin/python3").resolve(), shutil.which("busybox")
    if not python.is_file() or busybox is None:
        pytest.skip("the test image is made of /usr/bin/python3 and busybox (apt-get install python3 busybox-static)")
    asked = "import sysconfig; print(sysconfig.get_path('stdlib'))"
    library = Path(subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout.strip())
    files = [path for path in library.rglob("*") if path.is_file() and _wanted(path.relative_to(library).parts)]
    programs = [python, *(path for path in files if path.suffix == ".so"), Path(busybox)]
    listed = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout.split()
    libraries = {Path(word) for word in listed if word.startswith("/") and not word.endswith(":")}
    wanted = {str(path).lstrip("/"): path for path in [*files, *sorted(libraries)]}
    wanted |= {"usr/bin/python3": python, "bin/busybox": Path(busybox)}
    # Docker gives a folder that the archive only implies to root alone, and then root needs a capability to enter it.
    folders = {str(folder) for name in wanted for folder in Path(name).parents} | set(EMPTY)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", dereference=True) as archive:
        for folder in sorted(folders - {"."}):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o777 if folder in ("tmp", "work") else 0o755
            archive.addfile(entry)
        for name, path in wanted.items():
            archive.add(path, name, recursive=False)
        for name in APPLETS:
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(entry)
    return packed.getvalue()


def _wanted(parts: tuple[str, ...]) -> bool:
    return parts[0] not in LEFT_OUT and "__pycache__" not in parts and not parts[0].startswith("config-")
