"""Who answers: what a model is to the rest of the code, and the models that run on this machine."""

from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from distill.records.faults import InputError
from distill.records.ids import file_hash
from distill.records.types import Message, Request, Sampling, ToolSchema
from distill.teacher import weights
from distill.teacher.answer import Answer
from distill.teacher.gguf_model import GgufModel
from distill.teacher.store import Note


class Model(Protocol):
    """Answers requests."""

    identity: dict[str, Any]
    """The part of every request that says who is asked."""
    places: int
    """Conversations that are worth having at the same time."""

    async def ask(self, request: Request, note: Note | None = None) -> Answer:
        """One answer to a canonical request. Raises ApiError."""

    async def close(self) -> None:
        """Lets go of connections and processes."""


class StoredModel(Model, Protocol):
    """One whose answers the store keeps, and so finds again by the request."""

    seeded: bool
    """Whether it takes a seed."""
    leased: bool
    """Whether a question must be leased, so that no other process asks it, too."""

    def request(
        self,
        messages: list[Message],
        tools: list[ToolSchema],
        sampling: Sampling,
        earlier: list[Answer],
    ) -> Request:
        """The canonical request; `earlier`: the answers behind the last assistant messages."""


def is_local(model: str) -> bool:
    """Whether the name means weights on this machine: `local/<name>` or a path to a GGUF file."""
    return model.startswith("local/") or model.endswith(".gguf")


def check_url(url: str, key: str, variable: str) -> None:
    """Raises InputError where an endpoint's URL, at `key` of params.yaml, holds a credential or does not end at its path."""
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise InputError(f"params.yaml: {key}: holds a credential; put it into .env as {variable}")
    if "?" in url or "#" in url:
        raise InputError(f"params.yaml: {key}: ends at the path, such as https://host/v1; no ? and no #")


def local_model(
    model: str, slots: int, template: Path | None = None, adapter: Path | None = None, lenient: bool = False
) -> GgufModel:
    """A GGUF model, with its own template unless one is given."""
    gguf = weights.gguf_path(model)
    template = template or weights.chat_template(model)
    known = weights.known().get(model.removeprefix("local/"))
    identity = {
        "provider": "llama.cpp",
        "api": "chat",
        "model": known.name if known else gguf.stem,
        "weights": known.sha256 if known else file_hash(gguf),
        "template": file_hash(template) if template else None,
    }
    return GgufModel(gguf, template, identity, slots, adapter, lenient)
