"""The image of a row, on the engine: built once per content of its Dockerfile, or fetched if it is not there."""

from pathlib import Path
from typing import Any

from distill.records.faults import InputError
from distill.tools.sandbox import dockerfile
from distill.tools.sandbox.name import LOCAL
from distill.tools.sandbox.name import dockerfile as dockerfile_name

SHOWN = 15
CONTENT = "distill.content"


def content(docker: str, root: Path) -> str:
    """What the image is made of: the hash of Dockerfile and copied files, or the name of an image that is fetched.

    Raises InputError as `dockerfile.read` does.
    """
    name = dockerfile_name(docker)
    return dockerfile.read(name, root).hash if name else docker


def ensure(client: Any, docker: str, root: Path) -> str:
    """The id of the image, once the engine has it. Raises InputError when it cannot be built or fetched."""
    from docker.errors import DockerException, ImageNotFound

    name = dockerfile_name(docker)
    context = dockerfile.read(name, root) if name else None
    wanted = f"distill/{docker.removeprefix(LOCAL)}:{context.hash[:12]}" if context else docker
    try:
        try:
            return client.images.get(wanted).id
        except ImageNotFound:
            print(f"sandbox: {'building' if context else 'fetching'} {docker}", flush=True)
        if context is None:
            return client.images.pull(wanted).id
        _build(client, context, wanted)
        return client.images.get(wanted).id
    except (DockerException, OSError) as error:
        what = f"{name}: cannot be built" if name else f"the image {docker} cannot be fetched"
        raise InputError(f"{what}: {error}") from None


def _build(client: Any, context: dockerfile.Context, tag: str) -> None:
    lines: list[str] = []
    for event in client.api.build(
        fileobj=context.tar(),
        custom_context=True,
        dockerfile=context.dockerfile,
        tag=tag,
        labels={CONTENT: context.hash},
        rm=True,
        forcerm=True,
        decode=True,
    ):
        lines += event.get("stream", "").splitlines()
        if "error" in event:
            shown = "\n".join(line for line in [*lines[-SHOWN:], event["error"].strip()] if line.strip())
            raise InputError(f"{context.dockerfile}: cannot be built:\n{shown}")
