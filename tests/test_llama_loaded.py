"""The student in llama.cpp: it reads the tokens of its training, and its answers are tokens that nobody has changed."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_student import write_adapter, write_gguf

from distill.records.faults import InputError
from distill.student.render import render
from distill.student.serving import llama_loaded
from distill.student.serving.forced_call import openings
from distill.student.serving.in_process import InProcess
from distill.student.serving.llama_loaded import TOKENS_AT_ONCE, LlamaLoaded
from distill.student.serving.open_student import open_student
from distill.student.tokenizer import Tokenizer, read_tokenizer
from distill.teacher.embedded.gguf_model import CONTEXT_TOKENS
from distill.teacher.errors import ApiError

NUMBERS = {"at": 48.8583701, "price": 1234567.89, "order": 98765432109876543210, "half": 0.5, "whole": 44.0}
CALL = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": json.dumps(NUMBERS)}}
ROW: Any = {
    "messages": [
        {"role": "user", "content": "Where is it?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "In Paris."},
        {"role": "assistant", "content": "Answer: Paris"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "find", "description": "-", "parameters": {"type": "object"}}},
        {"type": "function", "function": {"name": "ask", "description": "-", "parameters": {"type": "object"}}},
    ],
}


class Listened(LlamaLoaded):
    """Keeps what the server is asked."""

    def __init__(self, *where: Any) -> None:
        self.asked: list[dict[str, Any]] = []
        super().__init__(*where)

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(body)
        return super()._complete(body)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("llama")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILL_CACHE", str(folder / "cache"))
        write_adapter(write_gguf(folder / "tiny.gguf"), folder / "adapter")
    yield folder / "tiny.gguf", folder / "adapter"


@pytest.fixture(scope="module")
def loaded(files: tuple[Path, Path]) -> Iterator[Listened]:
    opened = Listened(files[0], files[1] / "adapter.gguf", 1)
    yield opened
    opened.close()


@pytest.fixture
def tokenizer(files: tuple[Path, Path]) -> Tokenizer:
    return read_tokenizer(files[1], (files[1] / "chat_template.jinja").read_text())


def test_it_reads_the_very_tokens_that_it_was_trained_on(loaded: Listened, tokenizer: Tokenizer) -> None:
    loaded.asked.clear()
    model = InProcess("tiny", tokenizer, lambda: loaded, places=1)
    body = {"messages": ROW["messages"][:3], "tools": ROW["tools"], "max_tokens": 5}
    completion = asyncio.run(model.complete(body))
    [sequence] = render(ROW, tokenizer)
    prompt = loaded.asked[0]["prompt"]
    assert prompt == sequence.input_ids[: len(prompt)]
    text = tokenizer.decode(prompt)
    assert all(number in text for number in ("48.8583701", "1234567.89", "98765432109876543210", ":44}"))
    assert completion["usage"]["prompt_tokens"] == len(prompt)
    assert completion["usage"]["completion_tokens"] <= 5


def test_an_answer_is_the_same_in_parts_and_ends_where_it_is_over(loaded: Listened, tokenizer: Tokenizer) -> None:
    prompt, stops = tokenizer.encode(tokenizer.text(ROW["messages"][:1], None, True)), sorted(tokenizer.stops)
    size = 2 * TOKENS_AT_ONCE + 3
    [whole] = loaded.generate([prompt], [-1], size, True, 0)
    assert whole and len(whole) <= size
    [again] = loaded.generate([prompt], [-1], size, True, 0)
    [part] = loaded.generate([prompt], [-1], size, True, 0, over=[lambda ids: len(ids) == 7])
    assert again == whole and part == whole[:7]
    [base] = loaded.generate([prompt], stops, size, False, 0)
    assert base != whole, "the adapter makes a difference"
    assert loaded.asked[-1]["lora"] == [{"id": 0, "scale": 0.0}]


def test_what_is_drawn_depends_on_the_seed_only(loaded: Listened, tokenizer: Tokenizer) -> None:
    prompt, size = tokenizer.encode(tokenizer.text(ROW["messages"][:1], None, True)), 2 * TOKENS_AT_ONCE
    drawn = [loaded.generate([prompt], [-1], size, True, 2.0, seeds=[seed])[0] for seed in (7, 7, 8, 2**32 + 7)]
    assert drawn[0] == drawn[1] == drawn[3] != drawn[2] and drawn[0] is not None
    assert drawn[0][:TOKENS_AT_ONCE] != drawn[0][TOKENS_AT_ONCE:], "each part has a seed of its own"


def test_a_forced_call_begins_with_one_of_its_openings(loaded: Listened, tokenizer: Tokenizer) -> None:
    begins = openings(tokenizer, ROW["messages"][:1], ROW["tools"], ["find", "ask"])
    prompt = tokenizer.encode(tokenizer.text(ROW["messages"][:1], ROW["tools"], True))
    [ids] = loaded.generate([prompt], sorted(tokenizer.stops), 30, True, 0, begins=[begins])
    assert ids and any(ids[: len(opening)] == opening for opening in begins), tokenizer.decode(ids or [])
    [free] = loaded.generate([prompt], sorted(tokenizer.stops), 30, True, 0)
    assert free and not any(free[: len(opening)] == opening for opening in begins)


def test_conversations_are_answered_side_by_side(files: tuple[Path, Path], tokenizer: Tokenizer) -> None:
    opened: list[Listened] = []

    def load() -> Listened:
        opened.append(Listened(files[0], files[1] / "adapter.gguf", 2))
        return opened[-1]

    async def ask() -> list[dict[str, Any]]:
        model = InProcess("tiny", tokenizer, load, places=1, workers=2)
        bodies = [{"messages": [{"role": "user", "content": f"{n}"}], "max_tokens": 40} for n in range(5)]
        try:
            return await asyncio.gather(*map(model.complete, bodies))
        finally:
            await model.close()

    assert len(asyncio.run(ask())) == 5 and len(opened) == 1
    with pytest.raises(OSError):
        opened[0].generate([[1]], [2], 1, True, 0)


def test_an_adapter_that_was_cut_off_is_named_and_not_its_base(files: Any, tmp_path: Path) -> None:
    cut = tmp_path / "adapter.gguf"
    whole = (files[1] / "adapter.gguf").read_bytes()
    for left in (100, len(whole) - 100):
        cut.write_bytes(whole[:left])
        with pytest.raises(InputError, match=rf"^{cut}: cannot be read .*`make train` makes the adapter again"):
            LlamaLoaded(files[0], cut, 1)


def test_a_student_of_long_rows_is_served_with_as_much(tmp_path: Path, tokenizer: Tokenizer, files: Any) -> None:
    gguf = write_gguf(tmp_path / "long.gguf", 20_000)
    write_adapter(gguf, tmp_path / "adapter")
    runtime = {"student_url": None, "concurrency": 1}
    settings = {
        "student": {"path": str(gguf), "max_length": 12_000},
        "runtime": runtime,
        "evaluate": {"temperature": 0},
    }
    model = open_student(settings, tmp_path / "adapter")

    async def ask() -> dict[str, Any]:
        try:
            return await model.complete({"messages": [{"role": "user", "content": " a" * 9_000}], "max_tokens": 2})
        finally:
            await model.close()

    assert asyncio.run(ask())["usage"]["prompt_tokens"] > CONTEXT_TOKENS


def test_a_conversation_that_fails_is_an_answer_and_not_the_end_of_all(
    loaded: Listened, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model was made for fewer tokens than llama.cpp is asked to have room for."""

    def complete(words: int) -> dict[str, Any]:
        model = InProcess("tiny", tokenizer, lambda: loaded, places=1)
        return asyncio.run(model.complete({"messages": [{"role": "user", "content": " a" * words}]}))

    assert loaded.context == 2048 < CONTEXT_TOKENS
    with pytest.raises(ApiError, match="longer than the student's context of 2048 tokens") as full:
        complete(3000)
    assert full.value.kind == "context_full"
    whole = complete(2000)
    assert whole["usage"]["total_tokens"] <= 2048
    with pytest.raises(ApiError, match=r"HTTP 400 \(400\): Prompt contains invalid tokens") as refused:
        loaded.generate([[10**6]], [2], 1, True, 0)
    assert refused.value.kind == "bad_request"
    monkeypatch.setattr(llama_loaded, "TIMEOUT_S", 1e-6)
    with pytest.raises(ApiError, match="no answer within 0 s") as slow:
        complete(2000)
    assert slow.value.kind == "timeout"


class Slow(LlamaLoaded):
    """Takes its time to ask, and keeps whether that was going on as the server was to stop."""

    asking, asking_at_the_end = False, True

    def __init__(self, *where: Any) -> None:
        self.begun = threading.Event()
        super().__init__(*where)

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        self.asking = True
        self.begun.set()
        time.sleep(0.3)
        said = super()._complete(body)
        self.asking = False
        return said

    def close(self) -> None:
        self.asking_at_the_end = self.asking
        while self.asking:
            time.sleep(0.01)
        super().close()


def test_the_server_is_not_stopped_while_it_is_asked(files, tokenizer):
    """Ctrl-C in the exam: llama.cpp would wait for ever for an answer that it does not give any more."""
    slow = Slow(files[0], files[1] / "adapter.gguf", 1)
    student = InProcess("tiny", tokenizer, lambda: slow)

    async def interrupted() -> None:
        body = {"messages": [{"role": "user", "content": "Where is it?"}], "max_tokens": 1500}
        asked = asyncio.create_task(student.complete(body))
        await asyncio.to_thread(slow.begun.wait)
        asked.cancel()
        await student.close()

    asyncio.run(interrupted())
    assert not slow.asking_at_the_end
