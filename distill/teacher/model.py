"""What a model is to the rest of the code."""

from types import ModuleType
from typing import Any, Protocol

from distill.records.types import Request
from distill.teacher.answer import Answer
from distill.teacher.store import Note


class AnyModel(Protocol):
    """What models have in common."""

    identity: dict[str, Any]
    """The part of every request that says which model is asked, and where."""
    max_concurrent: int
    """Conversations that may be held at the same time; more would only wait."""

    async def close(self) -> None:
        """Closes connections and ends processes."""


class Model(AnyModel, Protocol):
    """Answers requests."""

    async def ask(self, request: Request) -> Answer:
        """One answer to a canonical request. Raises ApiError."""


class StoredModel(AnyModel, Protocol):
    """A model whose answers are stored, and found again by the request."""

    api: ModuleType
    """chat or responses: the module that makes requests of conversations."""
    takes_seed: bool
    """Whether requests have a sampling seed."""
    needs_lease: bool
    """Whether the caller must hold the lease of a request, so that no other process sends it, too."""

    async def ask(self, request: Request, note: Note) -> Answer:
        """As Model.ask; the note is that of the request's key."""
