"""Whether a server has a model of its own under a name: llama.cpp and its like answer to every name with the one they have."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from distill.teacher.api import chat
from distill.teacher.api.http import Http
from distill.teacher.errors import ApiError, Fatal

LIST_S = 30.0
SHOWN = 5
"""Names of models in a message: some servers list thousands."""
NOBODY = "no-model-has-this-name"


async def check(http: Http, names: set[str], ask: Callable[[dict[str, Any]], Awaitable[Any]]) -> None:
    """Raises Fatal where the server's list of models lacks one of the names, and it refuses that, or takes every name.

    A list may be incomplete: then one token is asked for (`ask`: a canonical request). Without a list nothing is known.
    """
    listed = await _listed(http)
    unlisted = sorted(names - listed) if listed else []
    if not listed or not unlisted:
        return
    shown = ", ".join(sorted(listed)[:SHOWN]) + (", …" if len(listed) > SHOWN else "")
    lists = f"the server lists {shown}, not {' and '.join(unlisted)}"
    for name in unlisted:
        try:
            await ask(_one_token(name))
        except ApiError as error:
            raise Fatal("not_found", f"{lists}: {error.message}") from None
    try:
        await ask(_one_token(NOBODY))
    except ApiError:
        return
    raise Fatal("not_found", f"{lists}, and answers to every name, so that base and adapter would be the same model")


def _one_token(name: str) -> dict[str, Any]:
    identity = {"provider": "endpoint", "api": "chat", "model": name}
    return chat.request(identity, [{"role": "user", "content": "Hello"}], [], {"max_tokens": 1})


async def _listed(http: Http) -> set[str] | None:
    """The names of the server's models; None where it gives no list of them."""
    try:
        async with asyncio.timeout(LIST_S):
            models = (await http.get("/models")).content["data"]
        return {str(model["id"]).removesuffix(":latest") for model in models}  # Ollama adds the suffix
    except (ApiError, TimeoutError, KeyError, TypeError):
        return None
