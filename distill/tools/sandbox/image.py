"""Provides the image of a row: built once per content of its Dockerfile, or fetched if the engine does not have it."""

from typing import Any

from distill.records.faults import InputError
from distill.tools.sandbox import dockerfile
from distill.tools.sandbox.name import LOCAL, dockerfile_name

SHOWN_LINES = 15
"""Lines of a failed build's output that a fault shows: the last ones."""
CONTENT_LABEL = "distill.content"


def content(docker: str) -> str:
    """What determines the image: the hash of Dockerfile and copied files, or the name of an image that is fetched.

    Raises InputError as `dockerfile.read` does.
    """
    name = dockerfile_name(docker)
    return dockerfile.read(name).hash if name else docker


def ensure(client: Any, docker: str) -> str:
    """The id of the image, after it was built or fetched if necessary. Raises InputError when that fails."""
    from docker.errors import DockerException, ImageNotFound

    name = dockerfile_name(docker)
    context = dockerfile.read(name) if name else None
    tag = f"distill/{docker.removeprefix(LOCAL)}:{context.hash[:12]}" if context else docker
    try:
        try:
            return client.images.get(tag).id
        except ImageNotFound:
            print(f"sandbox: {'building' if context else 'fetching'} {docker}", flush=True)
        if context is None:
            return client.images.pull(tag).id
        _build(client, context, tag)
        return client.images.get(tag).id
    except (DockerException, OSError) as error:
        failure = f"{name}: cannot be built" if name else f"the image {docker} cannot be fetched"
        raise InputError(f"{failure}: {error}") from None


def _build(client: Any, context: dockerfile.BuildContext, tag: str) -> None:
    lines: list[str] = []
    for event in client.api.build(
        fileobj=context.tar(),
        custom_context=True,
        dockerfile=context.dockerfile,
        tag=tag,
        labels={CONTENT_LABEL: context.hash},
        rm=True,
        forcerm=True,
        decode=True,
    ):
        lines += event.get("stream", "").splitlines()
        if "error" in event:
            shown = "\n".join(line for line in [*lines[-SHOWN_LINES:], event["error"].strip()] if line.strip())
            raise InputError(f"{context.dockerfile}: cannot be built:\n{shown}")
