"""The student of transformers or of llama.cpp, with the interface of a chat endpoint: prompts from its own template,
calls parsed.

Requests that wait at the same time are answered as one batch, so the turns of an exam are generated side by side.
"""

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jinja2

from distill.records.types import Message, Request
from distill.student.served_messages import as_templates_want, tools_as_served
from distill.student.serving.forced_call import openings
from distill.student.serving.llama_loaded import LlamaLoaded
from distill.student.serving.loaded import Loaded, Over
from distill.student.serving.reply import UNREADABLE, Form, form
from distill.student.serving.stream import Stream
from distill.student.tokenizer import Tokenizer
from distill.teacher.answer import Answer
from distill.teacher.api import chat
from distill.teacher.embedded.gguf_model import with_plain_ids
from distill.teacher.errors import error

PLACES = 32
"""Conversations of one batch in transformers, at most."""


@dataclass
class _Pending:
    """A request that waits for its answer."""

    prompt: list[int]
    begins: list[list[int]]
    """The tokens with one of which the answer has to begin; empty: any."""
    longest: int
    """Tokens of the answer, at most; no more than the context has room for, once that is known."""
    over: Over
    """Whether an answer ends after these tokens of it."""
    settings: tuple[bool, float, float]
    """Adapter on, temperature, top_p: all requests of a batch have the same."""
    seed: int | None
    """Of what is drawn at a temperature; None: any."""
    answer: "asyncio.Future[list[int]]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def unwanted(self, ids: list[int]) -> bool:
        """Whether generation can stop here: the answer is complete, or at its limit, or nobody waits for it. Thread-safe."""
        return self.answer.done() or self.over(ids) or len(ids) >= self.longest


class InProcess:
    """The student that `load` gives, which is called at the first request, in a thread of its own.

    `workers` batches of at most `places` conversations are answered side by side. `temperature` is that of requests that
    name none.
    """

    def __init__(
        self,
        name: str,
        tokenizer: Tokenizer,
        load: Callable[[], Loaded | LlamaLoaded],
        places: int = PLACES,
        workers: int = 1,
        temperature: float = 0.0,
    ):
        self.identity = {"provider": "student", "api": "chat", "model": name}
        self.tokenizer = tokenizer
        self.form: Form = form(tokenizer)
        self.max_concurrent = places * workers
        self._places, self._workers, self._temperature = places, workers, temperature
        self._load, self._loading = load, threading.Lock()
        self._loaded: Loaded | LlamaLoaded | None = None
        self._waiting: list[_Pending] = []
        self._arrived = asyncio.Event()
        self._work: list[asyncio.Task[None]] = []

    async def ask(self, request: Request) -> Answer:
        """One answer, free of charge. Raises ApiError."""
        answer = chat.parse(await self.complete(chat.body(request)), latency_ms=0.0, thoughts_in_text=False)
        return {**answer, "response_id": None, "cost_usd": 0.0}

    async def complete(
        self, body: dict[str, Any], hear: Callable[[dict[str, Any]], None] | None = None
    ) -> dict[str, Any]:
        """The chat completion of a request's body; `lora` in it turns the adapter on (scale 1) or off (0).

        A text of the list `stop` in it ends the answer, and is left out. If the list `forced` in it names tools, one of
        them is called, whatever the student would have written. `hear` gets the message after each token, as far as it
        is certain by then (see stream.py).
        Raises ApiError for a conversation that the template cannot render or that does not fit the context.
        """
        text, prompt, begins = self._prompt(body)
        ids = await self._answer(prompt, begins, self._over(text, body.get("stop") or [], hear), body)
        message, stopped = self._message(ids, body)
        return {
            "object": "chat.completion",
            "model": self.identity["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": _reason(message, stopped)}],
            "usage": {
                "prompt_tokens": len(prompt),
                "completion_tokens": len(ids),
                "total_tokens": len(prompt) + len(ids),
            },
        }

    def _prompt(self, body: dict[str, Any]) -> tuple[str, list[int], list[list[int]]]:
        """The prompt of a request as text and as tokens, and the tokens with one of which a forced call begins.

        Raises ApiError for a conversation that the template cannot render, and for tools whose calls cannot be read.
        """
        if body.get("tools") and not self.form.calls:
            raise error("bad_request", UNREADABLE)
        try:
            messages, tools = list(as_templates_want(body["messages"])), tools_as_served(body.get("tools"))
            text = self.tokenizer.text(messages, tools, True)
            prompt, forced = self.tokenizer.encode(text), body.get("forced")
            return text, prompt, openings(self.tokenizer, messages, tools, forced) if forced else []
        except (jinja2.TemplateError, ValueError, LookupError, TypeError, AttributeError) as refused:
            raise error("bad_request", f"the student's template refuses: {refused}") from None

    def _over(self, prompt: str, stops: list[str], hear: Callable[[dict[str, Any]], None] | None) -> Over:
        """Makes the function that tells whether an answer ends; it also tells `hear` how far the message is. It is called
        in the thread that generates."""
        stream, loop = Stream(self.form, prompt, stops), asyncio.get_running_loop()

        def over(ids: list[int]) -> bool:
            if ids[-1] in self.tokenizer.stops:
                return True
            text = self.tokenizer.decode(ids) if stops or hear else ""
            if hear:
                loop.call_soon_threadsafe(hear, stream.sure(text))
            return any(stop in text for stop in stops)

        return over

    def _message(self, ids: list[int], body: dict[str, Any]) -> tuple[Message, bool]:
        """The message that the tokens of an answer are, and whether the answer ended by itself or at a text of `stop`."""
        stopped = bool(ids) and ids[-1] in self.tokenizer.stops
        text = self.tokenizer.decode(ids[:-1] if stopped else ids)
        end = min((place for stop in body.get("stop") or [] if (place := text.find(stop)) >= 0), default=None)
        message = self.form.read(text[:end], body.get("tools") or [])
        if body.get("parallel_tool_calls") is False and "tool_calls" in message:
            message["tool_calls"] = message["tool_calls"][:1]
        return with_plain_ids(message, body["messages"]), stopped or end is not None

    async def close(self) -> None:
        """Stops the work and frees the student."""
        for work in self._work:
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
        self._work = []
        if self._loaded is not None:
            await asyncio.to_thread(self._loaded.close)
        self._loaded = None

    async def _answer(self, prompt: list[int], begins: list[list[int]], over: Over, body: dict[str, Any]) -> list[int]:
        """The tokens of the answer to a prompt, by the settings of a request."""
        longest = body.get("max_completion_tokens") or body.get("max_tokens") or sys.maxsize
        adapted = any(adapter["scale"] for adapter in body.get("lora", [{"scale": 1.0}]))
        self._work = self._work or [asyncio.create_task(self._serve()) for _ in range(self._workers)]
        temperature, top_p = body.get("temperature"), body.get("top_p")
        settings = (
            adapted,
            self._temperature if temperature is None else float(temperature),
            1.0 if top_p is None else float(top_p),
        )
        pending = _Pending(prompt, begins, longest, over, settings, body.get("seed"))
        self._waiting.append(pending)
        self._arrived.set()
        return await pending.answer

    async def _serve(self) -> None:
        """Answers the waiting requests, batch after batch."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(0)  # lets requests that are about to arrive join the batch
            if not self._waiting:  # another worker was faster
                continue
            settings = self._waiting[0].settings
            batch = [pending for pending in self._waiting if pending.settings == settings][: self._places]
            self._waiting = [pending for pending in self._waiting if pending not in batch]
            if not self._waiting:
                self._arrived.clear()
            answers: list[list[int] | Exception]
            working = asyncio.create_task(asyncio.to_thread(self._generate, batch, settings))
            try:
                answers = await asyncio.shield(working)
            except asyncio.CancelledError:  # by `close`: a server of llama.cpp that is asked as it stops may never end
                for pending in batch:
                    pending.answer.cancel()
                await asyncio.gather(working, return_exceptions=True)
                raise
            except Exception as failure:
                answers = [failure] * len(batch)
            for pending, answer in zip(batch, answers, strict=True):
                if pending.answer.done():  # the caller has cancelled it
                    continue
                if isinstance(answer, Exception):
                    pending.answer.set_exception(answer)
                else:
                    pending.answer.set_result(answer)

    def _generate(self, batch: list[_Pending], settings: tuple[bool, float, float]) -> list[list[int] | Exception]:
        """The answer, or the error, of each request of a batch."""
        with self._loading:
            self._loaded = self._loaded or self._load()
        full = error("context_full", f"longer than the student's context of {self._loaded.context} tokens")
        fitting = [pending for pending in batch if len(pending.prompt) < self._loaded.context]
        if not fitting:
            return [full] * len(batch)
        for pending in fitting:
            pending.longest = min(pending.longest, self._loaded.context - len(pending.prompt))
        prompts, begins = [pending.prompt for pending in fitting], [pending.begins for pending in fitting]
        longest, over = max(pending.longest for pending in fitting), [pending.unwanted for pending in fitting]
        stops, seeds = sorted(self.tokenizer.stops), [pending.seed for pending in fitting]
        generated = self._loaded.generate(prompts, stops, longest, *settings, begins, over, seeds)
        no_room = error("context_full", "the conversation does not fit into the memory of the card")
        answers: dict[int, list[int] | Exception] = {
            id(pending): no_room if ids is None else ids[: pending.longest]
            for pending, ids in zip(fitting, generated, strict=True)
        }
        return [answers.get(id(pending), full) for pending in batch]


def _reason(message: Message, stopped: bool) -> str:
    if not stopped:
        return "length"
    return "tool_calls" if message.get("tool_calls") else "stop"
