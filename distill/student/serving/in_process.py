"""The student in this process, behind the interface of a chat endpoint: prompts by its own template, calls read back.

Conversations that wait at the same time are answered as one batch, so the turns of an exam go side by side.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jinja2

from distill.student.render import as_templates_want, tools_as_served
from distill.student.serving.forced_call import openings
from distill.student.serving.loaded import Loaded, Over
from distill.student.serving.reply import Form, form
from distill.student.serving.stream import Stream
from distill.student.tokenizer import Tokenizer
from distill.teacher import chat
from distill.teacher.answer import Answer
from distill.teacher.errors import error
from distill.teacher.gguf_model import with_plain_ids
from distill.teacher.store import Note

PLACES = 32
"""Conversations of one batch, at most."""
ANSWER_TOKENS = 512
"""Where a request names no limit."""


@dataclass
class _Question:
    prompt: list[int]
    begins: list[list[int]]
    """The tokens with one of which the answer has to begin; empty: any."""
    longest: int
    """Tokens of the answer, at most."""
    over: Over
    """Whether nothing is to follow these tokens of an answer."""
    settings: tuple[bool, float, float]
    """Adapter on, temperature, top_p: what all questions of a batch have in common."""
    answer: "asyncio.Future[list[int]]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def unwanted(self, ids: list[int]) -> bool:
        """Whether generation can stop here: the answer is complete, or at its limit, or nobody waits for it. Thread-safe."""
        return self.answer.done() or self.over(ids) or len(ids) >= self.longest


class InProcess:
    """`load` gives the student; it is called at the first question, in a thread of its own."""

    seeded = False
    leased = False
    places = PLACES

    def __init__(self, name: str, tokenizer: Tokenizer, load: Callable[[], Loaded]):
        self.identity = {"provider": "transformers", "api": "chat", "model": name}
        self.tokenizer = tokenizer
        self.form: Form = form(tokenizer)
        self._load = load
        self._loaded: Loaded | None = None
        self._waiting: list[_Question] = []
        self._arrived = asyncio.Event()
        self._work: asyncio.Task[None] | None = None

    def request(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]],
        sampling: dict[str, Any],
        earlier: list[Answer],
    ) -> dict[str, Any]:
        """The canonical request."""
        return chat.request(self.identity, messages, tools, sampling, earlier)

    async def ask(self, request: dict[str, Any], note: Note | None = None) -> Answer:
        """One answer, free of charge. Raises ApiError."""
        answer = chat.parse(await self.complete(chat.body(request)), latency_ms=0.0)
        return {**answer, "response_id": None, "cost_usd": 0.0}

    async def complete(
        self, body: dict[str, Any], hear: Callable[[dict[str, Any]], None] | None = None
    ) -> dict[str, Any]:
        """The chat completion of a request's body; `lora` in it turns the adapter on (scale 1) or off (0).

        A text of the list `stop` in it ends what is said, and is left out. One of the tools that the list `forced` in it
        names is called, whatever the student would have said. `hear` gets the message after each token, as far as it is
        sure then (see stream.py).
        Raises ApiError for a conversation that the template cannot say or that does not fit the context.
        """
        try:
            messages, tools = list(as_templates_want(body["messages"])), tools_as_served(body.get("tools"))
            asked = self.tokenizer.text(messages, tools, True)
            prompt = self.tokenizer.encode(asked)
            forced = body.get("forced")
            begins = openings(self.tokenizer, messages, tools, forced) if forced else []
        except (jinja2.TemplateError, ValueError, LookupError, TypeError, AttributeError) as refused:
            raise error("bad_request", f"the student's template refuses: {refused}") from None
        stops = body.get("stop") or []
        stream, loop = Stream(self.form, asked, stops), asyncio.get_running_loop()

        def over(ids: list[int]) -> bool:
            if ids[-1] in self.tokenizer.stops:
                return True
            said = self.tokenizer.decode(ids) if stops or hear else ""
            if hear:
                loop.call_soon_threadsafe(hear, stream.sure(said))
            return any(stop in said for stop in stops)

        ids = await self._answer(prompt, begins, over, body)
        stopped = bool(ids) and ids[-1] in self.tokenizer.stops
        text = self.tokenizer.decode(ids[:-1] if stopped else ids)
        end = min((place for stop in stops if (place := text.find(stop)) >= 0), default=None)
        stopped = stopped or end is not None
        said = self.form.read(text[:end], body.get("tools") or [])
        if body.get("parallel_tool_calls") is False and "tool_calls" in said:
            said["tool_calls"] = said["tool_calls"][:1]
        message = with_plain_ids(said, body["messages"])
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

    async def close(self) -> None:
        """Lets go of the student."""
        if self._work is not None:
            self._work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._work
        self._work = self._loaded = None

    async def _answer(self, prompt: list[int], begins: list[list[int]], over: Over, body: dict[str, Any]) -> list[int]:
        longest = body.get("max_completion_tokens") or body.get("max_tokens") or ANSWER_TOKENS
        adapted = any(adapter["scale"] for adapter in body.get("lora", [{"scale": 1.0}]))
        if self._work is None:
            self._work = asyncio.create_task(self._serve())
        top_p = body.get("top_p")
        settings = adapted, float(body.get("temperature") or 0), 1.0 if top_p is None else float(top_p)
        question = _Question(prompt, begins, longest, over, settings)
        self._waiting.append(question)
        self._arrived.set()
        return await question.answer

    async def _serve(self) -> None:
        """Answers, batch after batch, all that have waited meanwhile."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(0)  # lets those that are about to ask do so, too
            settings = self._waiting[0].settings
            batch = [question for question in self._waiting if question.settings == settings][:PLACES]
            self._waiting = [question for question in self._waiting if question not in batch]
            if not self._waiting:
                self._arrived.clear()
            answers: list[list[int] | Exception]
            try:
                answers = await asyncio.to_thread(self._generate, batch, settings)
            except Exception as failure:
                answers = [failure] * len(batch)
            for question, answer in zip(batch, answers, strict=True):
                if question.answer.done():  # cancelled by who asked
                    continue
                if isinstance(answer, Exception):
                    question.answer.set_exception(answer)
                else:
                    question.answer.set_result(answer)

    def _generate(self, batch: list[_Question], settings: tuple[bool, float, float]) -> list[list[int] | Exception]:
        if self._loaded is None:
            self._loaded = self._load()
        full = error("context_full", f"longer than the student's context of {self._loaded.context} tokens")
        asked = [question for question in batch if len(question.prompt) < self._loaded.context]
        if not asked:
            return [full] * len(batch)
        prompts, begins = [question.prompt for question in asked], [question.begins for question in asked]
        longest, over = max(question.longest for question in asked), [question.unwanted for question in asked]
        found = self._loaded.generate(prompts, sorted(self.tokenizer.stops), longest, *settings, begins, over)
        no_room = error("context_full", "the conversation does not fit into the memory of the card")
        answers: dict[int, list[int] | Exception] = {
            id(question): no_room if ids is None else ids[: question.longest]
            for question, ids in zip(asked, found, strict=True)
        }
        return [answers.get(id(question), full) for question in batch]


def _reason(message: dict[str, Any], stopped: bool) -> str:
    if not stopped:
        return "length"
    return "tool_calls" if message.get("tool_calls") else "stop"
