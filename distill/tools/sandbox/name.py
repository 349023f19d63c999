"""The name in a row's `docker`: an image of a registry, or `local/<name>`, which is built from `Dockerfile.<name>`."""

import re

LOCAL = "local/"
OWN_NAME = re.compile(r"[a-z0-9]+([._-]+[a-z0-9]+)*")
PART = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
IMAGE = re.compile(
    rf"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?/)?{PART}(?:/{PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)


def fault(docker: str) -> str | None:
    """Why this is not a valid name; None when it is. Nothing is looked up, and no valid name leads out of the project."""
    if docker.startswith(LOCAL):
        name = docker.removeprefix(LOCAL)
        if not OWN_NAME.fullmatch(name):
            return (
                f"'{docker}': the name after local/ is the end of a file Dockerfile.<name> in the project's folder: "
                "small letters, digits, and . _ - between them"
            )
    elif not IMAGE.fullmatch(docker):
        return f"'{docker}' is not a valid name of an image, such as python:3.12-slim or local/<name>"
    return None


def dockerfile_name(docker: str) -> str | None:
    """The name of the Dockerfile behind `local/<name>`; None for an image that is fetched."""
    return f"Dockerfile.{docker.removeprefix(LOCAL)}" if docker.startswith(LOCAL) else None
