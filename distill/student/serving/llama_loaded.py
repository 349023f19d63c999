"""A student in llama.cpp, with the interface of `Loaded`: tokens in, tokens out.

llama.cpp's own chat endpoint would render the history anew, with numbers cut to six digits (48.8583701 becomes 48.8584),
and hold the integers of a call to sixteen. Here prompts are rendered and calls read as for every other student: what is
served is what was trained.
"""

import json
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from distill.records.faults import InputError
from distill.records.one_line import one_line
from distill.student.base import MADE_AGAIN
from distill.student.serving.forced_call import may_follow
from distill.student.serving.loaded import Over
from distill.teacher.api.error_response import error_from_response
from distill.teacher.embedded.gguf_model import CONTEXT_TOKENS, TIMEOUT_S
from distill.teacher.embedded.llama_server import NO_PROXY, serve
from distill.teacher.errors import error

TOKENS_AT_ONCE = 24
"""Tokens of an answer after which it is looked at: who waits for it may have gone, or its text `stop` may have come."""
SEEDS = 2**32
"""llama.cpp's seeds have 32 bits."""
FORCED = 1000.0
"""Added to the logits of the tokens that may follow, so that no other does."""


class LlamaLoaded:
    """A base and its adapter, both GGUF, behind llama.cpp's server with `slots` conversations side by side, each of up to
    `context` tokens."""

    def __init__(self, gguf: Path, adapter: Path, slots: int, context: int = CONTEXT_TOKENS):
        self._server = ExitStack()
        try:
            self._endpoint = self._server.enter_context(serve(gguf, slots=slots, context=context, adapters=[adapter]))
        except InputError as failed:
            if "lora adapter" not in str(failed):
                raise
            raise InputError(f"{adapter}: cannot be read ({one_line(failed)}); {MADE_AGAIN}") from None
        # No more than what the model was made for, be it less than what was asked for.
        self.context: int = self._ask("/props")["default_generation_settings"]["n_ctx"]

    def generate(
        self,
        prompts: Sequence[list[int]],
        stops: Sequence[int],
        longest: int,
        adapted: bool,
        temperature: float,
        top_p: float = 1.0,
        begins: Sequence[list[list[int]]] = (),
        over: Sequence[Over] = (),
        seeds: Sequence[int | None] = (),
    ) -> list[list[int] | None]:
        """As `Loaded.generate`, one prompt after the other. Raises ApiError."""
        settings = {
            "temperature": temperature,
            "top_p": top_p,
            "samplers": ["top_p", "temperature"],
            "lora": [{"id": 0, "scale": float(adapted)}],
        }
        return [
            self._answer(prompt, stops, longest, openings or [], ends, settings, seed)
            for prompt, openings, ends, seed in zip_longest(prompts, begins, over, seeds)
        ]

    def _answer(
        self,
        prompt: list[int],
        stops: Sequence[int],
        longest: int,
        openings: list[list[int]],
        over: Over | None,
        settings: dict[str, Any],
        seed: int | None,
    ) -> list[int]:
        ids: list[int] = []
        while len(ids) < longest:
            allowed = may_follow(openings, ids)
            bias = [[id_, FORCED] for id_ in sorted(allowed)]
            count = 1 if allowed else min(TOKENS_AT_ONCE, longest - len(ids))
            drawn = {} if seed is None else {"seed": (seed + len(ids)) % SEEDS}  # another one for each part
            said = self._complete(settings | drawn | {"prompt": prompt + ids, "n_predict": count, "logit_bias": bias})
            for id_ in said["tokens"]:
                ids.append(id_)
                if over and over(ids):
                    return ids
            if said["stop_type"] == "eos":  # at another such token than the template's, which says the same
                return ids if ids[-1] in stops else [*ids[:-1], stops[0]]
        return ids

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._ask("/completion", json.dumps(body | {"return_tokens": True, "cache_prompt": True}).encode())

    def _ask(self, path: str, body: bytes | None = None) -> dict[str, Any]:
        """What the server answers. Raises ApiError with its words where it refuses or is too slow."""
        request = urllib.request.Request(
            f"{self._endpoint.base_url.removesuffix('/v1')}{path}",
            body,
            {"Authorization": f"Bearer {self._endpoint.api_key}", "Content-Type": "application/json"},
        )
        try:
            with NO_PROXY.open(request, timeout=TIMEOUT_S) as response:
                return json.load(response)
        except HTTPError as refused:
            raise error_from_response(refused.code, dict(refused.headers), refused.read()) from None
        except TimeoutError:
            raise error("timeout", f"llama.cpp gave no answer within {TIMEOUT_S:.0f} s") from None

    def close(self) -> None:
        """Stops the server."""
        self._server.close()
