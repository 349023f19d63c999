"""What a model is to the rest of the code, and the models that run on this machine."""

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


class Asked(Protocol):
    """What answers requests."""

    identity: dict[str, Any]
    """The part of every request that says which model is asked, and where."""
    max_concurrent: int
    """Conversations that may be held at the same time; more would only wait."""

    async def close(self) -> None:
        """Closes connections and ends processes."""


class Model(Asked, Protocol):
    """Answers requests."""

    async def ask(self, request: Request) -> Answer:
        """One answer to a canonical request. Raises ApiError."""


class StoredModel(Asked, Protocol):
    """A model whose answers are stored, and found again by the request."""

    takes_seed: bool
    """Whether requests have a sampling seed."""
    needs_lease: bool
    """Whether the caller must hold the lease of a request, so that no other process sends it, too."""

    def request(
        self,
        messages: list[Message],
        tools: list[ToolSchema],
        sampling: Sampling,
        earlier: list[Answer],
    ) -> Request:
        """The canonical request; `earlier`: the answers behind the last assistant messages."""

    async def ask(self, request: Request, note: Note) -> Answer:
        """As Model.ask; the note is that of the request's key."""


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
    embedded = weights.embedded().get(model.removeprefix("local/"))
    identity = {
        "provider": "llama.cpp",
        "api": "chat",
        "model": embedded.name if embedded else gguf.stem,
        "weights": embedded.sha256 if embedded else file_hash(gguf),
        "template": file_hash(template) if template else None,
    }
    return GgufModel(gguf, template, identity, slots, adapter, lenient)
