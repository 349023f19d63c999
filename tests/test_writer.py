"""Answers are written by a process of their own: whole, durable, and not lost with it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill.teacher import writer_process
from distill.teacher.store import Store, request_key
from distill.teacher.writer_process import HEAD, REPLY

KEYS = [request_key({"n": n}, 0) for n in range(300)]


def keeping(work: Callable[[Store], Any], root: Path) -> Any:
    async def run() -> Any:
        store = Store(root)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def processes() -> list[int]:
    """The ids of this process's writers."""
    found = subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", "writer_process"], capture_output=True, check=False)
    return [int(line) for line in found.stdout.split()]


async def keep_all(store: Store, size: int = 10) -> None:
    await asyncio.gather(*(store.keep(key, {"text": f"{n}" * size}) for n, key in enumerate(KEYS)))  # type: ignore[typeddict-item]


def test_every_answer_is_there_when_its_keep_returns(tmp_path: Path) -> None:
    before = set(processes())

    async def work(store: Store) -> None:
        await asyncio.gather(*(one(store, n, key) for n, key in enumerate(KEYS)))
        assert len(set(processes()) - before) == 1

    async def one(store: Store, n: int, key: str) -> None:
        await store.keep(key, {"text": "é" * n * 200})  # type: ignore[typeddict-item]
        assert store.get(key) == {"text": "é" * n * 200}

    keeping(work, tmp_path)
    assert set(processes()) <= before and not list(tmp_path.rglob("*.tmp"))


def test_a_store_can_be_used_in_one_loop_after_another(tmp_path: Path) -> None:
    store = Store(tmp_path)

    async def one(key: str) -> None:
        await store.keep(key, {"text": "x"})  # type: ignore[typeddict-item]
        await store.close()

    for key in KEYS[:3]:
        asyncio.run(one(key))
    assert all(store.has(key) for key in KEYS[:3])


def test_a_writer_that_is_killed_takes_nothing_with_it(tmp_path: Path) -> None:
    others = set(processes())

    async def work(store: Store) -> None:
        for _ in range(3):
            writing = asyncio.create_task(keep_all(store, 20_000))
            while not (found := set(processes()) - others):  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.001)
            os.kill(found.pop(), signal.SIGKILL)
            await writing
        assert all(store.get(key) == {"text": f"{n}" * 20_000} for n, key in enumerate(KEYS))

    keeping(work, tmp_path)


@pytest.mark.parametrize("fault", ["a file in the way", "a folder in the way"])
def test_what_cannot_be_written_is_told_with_its_place_and_costs_no_other(tmp_path: Path, fault: str) -> None:
    if fault == "a file in the way":
        (tmp_path / KEYS[0][:2]).touch()
    else:
        (tmp_path / KEYS[0][:2] / f"{KEYS[0]}.json").mkdir(parents=True)

    async def work(store: Store) -> list[BaseException | None]:
        keys = [key for key in KEYS if key[:2] != KEYS[0][:2]]
        return await asyncio.gather(
            *(store.keep(key, {"text": "x"}) for key in [KEYS[0], *keys]),  # type: ignore[typeddict-item]
            return_exceptions=True,
        )

    failed, *others = keeping(work, tmp_path)
    assert isinstance(failed, OSError) and KEYS[0] in str(failed) and set(others) == {None}
    assert not list(tmp_path.rglob("*.tmp"))


def test_what_was_handed_over_is_written_though_nobody_waits_any_more(tmp_path: Path) -> None:
    """As when a run is killed between its last byte to the writer and the answer."""
    writer = subprocess.Popen(
        [sys.executable, "-I", "-S", writer_process.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdin and writer.stdout
    writer.stdout.close()
    content = b"y" * 100_000
    for n in range(20):
        path = str(tmp_path / f"deep/{n}").encode()
        writer.stdin.write(HEAD.pack(len(path), len(content)) + path + content)
    writer.stdin.write(HEAD.pack(5, 5) + b"hal")  # what a kill cut off is no file
    writer.stdin.close()
    assert writer.wait() == 0
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == sorted(map(str, range(20)))
    assert {path.read_bytes() for path in (tmp_path / "deep").iterdir()} == {content}


def test_replies_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    paths = [str(tmp_path / "a"), "/proc/nowhere/b", str(tmp_path / "c")]
    files = b"".join(HEAD.pack(len(path), 1) + path.encode() + b"z" for path in paths)
    done = subprocess.run(
        [sys.executable, "-I", "-S", writer_process.__file__], input=files, capture_output=True, check=True
    )
    codes = [code for (code,) in REPLY.iter_unpack(done.stdout)]
    assert codes[0] == codes[2] == 0 and codes[1] > 0
