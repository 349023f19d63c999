"""What is ordered in a batch is ordered once, whoever else asks, whatever is lost, and whoever is killed."""

import asyncio
import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import pytest
import sums
from batch_project import *  # noqa: F403
from batch_project import PARAMS, finished, killed_with_an_open_batch, model_at, question_for, run, sums_up
from batch_server import Batches
from stage_process import Running
from teacher_server import Asked, Cut, refused, says, serving

from distill.records.ids import content_id
from distill.teacher.api import chat, retry
from distill.teacher.api.http import Http
from distill.teacher.batch import batch_endpoint, batch_model
from distill.teacher.batch.batch_endpoint import BatchEndpoint
from distill.teacher.batch.open_batches import Batch, OpenBatches
from distill.teacher.errors import Fatal
from distill.teacher.halt import Halt
from distill.teacher.store import Store, request_key
from distill.teacher.teacher import Teacher


def test_a_batch_of_another_key_is_in_nobodys_way(ready: Path) -> None:
    """Whoever wants its answers is told what to do; others go on."""
    mine, theirs = Batches(sums_up), Batches(sums_up)
    mine.held = True
    with serving(mine.post, gets=mine.get) as books:
        killed_with_an_open_batch(ready, books.base_url)
    port = int(books.base_url.split(":")[2].split("/")[0])
    with serving(theirs.post, gets=theirs.get, port=port) as books:
        done = run(ready, books.base_url).wait()
        assert done.returncode == 1 and "use the key it was ordered with, or delete" in done.stderr
        sums.make(ready, 0, **PARAMS)
        sums.add_prompts(ready, range(6, 8))
        (ready / "tools.py").write_text("")
        assert Running(ready, "prompts").wait().returncode == 0
        finished(ready, books.base_url)
    assert len(theirs.ordered) == 2 and list((ready.parent / "store/batches").glob("*.json"))


@pytest.mark.parametrize("moment", ["while it runs", "before its id is known"])
def test_a_killed_run_finds_its_batch_again(ready: Path, moment: str) -> None:
    batches = Batches(sums_up)
    batches.held = True
    with serving(batches.post, gets=batches.get) as books:
        killed_with_an_open_batch(ready, books.base_url)
        if moment == "before its id is known":
            import orjson

            [note] = (ready.parent / "store/batches").glob("*.json")
            note.write_bytes(orjson.dumps(orjson.loads(note.read_bytes()) | {"id": None}))
        batches.held = False
        finished(ready, books.base_url)
    assert len(batches.batches) == 1 and set(batches.answered.values()) == {1}
    assert not list((ready.parent / "store/batches").glob("*.json"))


def test_what_a_killed_run_did_not_come_to_order_waits_for_the_budget(ready: Path) -> None:
    batches = Batches(sums_up)
    folder = ready.parent / "store/batches"
    folder.mkdir(parents=True)
    with serving(batches.post, gets=batches.get) as books:
        asked = {"provider": books.base_url, "api": "chat", "model": "scripted"}
        batch = {"name": "n", "asked": content_id(asked), "file": "file-9", "keys": ["a" * 64], "id": None}
        (folder / "n.json").write_text(json.dumps(batch))
        os.utime(folder / "n.json", (0, time.time() - batch_endpoint.UNLISTED_S))
        done = run(ready, books.base_url, runtime__budget_usd=0.0001).wait()
        assert done.returncode == 1 and "runtime.budget_usd" in done.stderr and not batches.batches
    assert not list(folder.glob("*.json"))


def test_what_a_batch_will_answer_is_not_bought_at_another_tier(ready: Path) -> None:
    batches = Batches(sums_up)
    batches.held = True
    with serving(
        lambda asked: batches.post(asked) if "completions" not in asked.path else says("Answer: 1"), gets=batches.get
    ) as books:
        killed_with_an_open_batch(ready, books.base_url)
        done = run(ready, books.base_url, runtime__tier="standard").wait()
        assert done.returncode == 1 and "collect it with runtime.tier: batch, or delete" in done.stderr
        assert not [asked for asked in books.posts if "completions" in asked.path]
        batches.held = False
        finished(ready, books.base_url, runtime__tier="batch")
        finished(ready, books.base_url, runtime__tier="standard")
    assert set(batches.answered.values()) == {1} and not [asked for asked in books.posts if "completions" in asked.path]


def test_what_is_ordered_is_not_planned_to_be_bought(ready: Path) -> None:
    batches = Batches(sums_up)
    batches.held = True
    with serving(batches.post, gets=batches.get) as books:
        killed_with_an_open_batch(ready, books.base_url)
    sums.add_prompts(ready, range(6, 8))
    assert Running(ready, "prompts").wait().returncode == 0
    said = Running(ready, "teacher_rollouts", "--plan", TEACHER_API_KEY="").wait().stdout
    assert "6 answers were ordered by an earlier run: the next one only collects them\nabout 2 answers to buy" in said


def test_two_runs_order_it_once(ready: Path, tmp_path: Path) -> None:
    import shutil

    batches = Batches(sums_up)
    with serving(batches.post, gets=batches.get) as books:
        sums.set_params(ready, teacher__base_url=books.base_url)
        other = shutil.copytree(ready, tmp_path / "other")
        runs = [Running(folder, "teacher_rollouts", TEACHER_API_KEY="") for folder in (ready, other)]
        assert [each.wait().returncode for each in runs] == [0, 0]
    assert set(batches.ordered.values()) == {1} and len(batches.ordered) == 6


def test_what_another_run_has_bought_meanwhile_is_not_ordered(tmp_path: Path) -> None:
    async def ask(base_url: str) -> Any:
        store = Store(tmp_path / "here")
        model = model_at(base_url, store)
        question = question_for(model, 1)
        store.put("a" * 64, chat.parse(says("Answer: 2"), 1.0))
        answer = await model.ask(question, store.note("a" * 64))
        await model.close()
        return answer

    batches = Batches(sums_up)
    with serving(batches.post, gets=batches.get) as books:
        assert asyncio.run(ask(books.base_url))["message"]["content"] == "Answer: 2"
    assert not books.posts


def test_an_order_that_is_refused_for_a_while_is_placed_once(ready: Path) -> None:
    batches, busy = (
        Batches(sums_up),
        iter([refused(503, "server_is_overloaded", retry_after="0"), refused(500, "server")]),
    )

    def post(asked: Asked) -> Any:
        return (asked.path == "/v1/batches" and next(busy, None)) or batches.post(asked)

    with serving(post, gets=batches.get) as books:
        finished(ready, books.base_url)
    assert len(batches.batches) == 1 and set(batches.ordered.values()) == {1}


def test_a_lost_order_is_found_behind_a_hundred_others(ready: Path) -> None:
    """The answer to the order breaks off; meanwhile others have ordered a lot, and the list comes in pages."""
    batches, broken = Batches(sums_up), [True]

    def post(asked: Asked) -> Any:
        found = batches.post(asked)
        return Cut(found, 10) if asked.path == "/v1/batches" and broken and broken.pop() else found

    def get(asked: Asked) -> Any:
        if asked.path == "/v1/batches?limit=100":
            return {"data": [{"id": f"other-{n}", "metadata": None} for n in range(100)], "has_more": True}
        return batches.get(asked)

    with serving(post, gets=get) as books:
        finished(ready, books.base_url)
    assert len(batches.batches) == 1 and set(batches.answered.values()) == {1}


def test_an_order_that_was_placed_behind_a_gateways_refusal_is_not_placed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor where the list of batches cannot be had for a while."""
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.001)
    batches, ill = Batches(sums_up), [(503, b"<html>upstream", {})] * retry.ATTEMPTS
    batches.files["file-0"] = []

    def post(asked: Asked) -> Any:
        batches.post(asked)
        return 502, b"<html>Bad Gateway", {}

    async def create(base_url: str) -> str:
        http = Http(base_url, {}, 5)
        try:
            return await BatchEndpoint(http, chat.PATH, Halt()).create(Batch("n", "m", "file-0", []))
        finally:
            await http.close()

    with serving(post, gets=lambda asked: ill.pop() if ill else batches.get(asked)) as books:
        assert asyncio.run(create(books.base_url)) == "batch-0"
    assert len(books.posts) == 1 and not ill


def test_a_lost_order_that_is_not_listed_yet_is_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_endpoint, "UNLISTED_PAUSE_S", 0.001)
    batches, looks = Batches(sums_up), iter(range(3))
    store, key = Store(tmp_path / "here"), "a" * 64

    def get(asked: Asked) -> Any:
        lists = asked.path.startswith("/v1/batches?")
        return {"data": [], "has_more": False} if lists and next(looks, None) is not None else batches.get(asked)

    async def ask(base_url: str) -> Any:
        model = model_at(base_url, store)
        open_batches = OpenBatches(store, model.identity)
        batch = open_batches.add("file-0", [key])
        line = {"custom_id": key, "url": "/v1/chat/completions", "body": model.api.body(question_for(model, 1))}
        batches.files["file-0"] = [line]
        batches.post(Asked("POST", "/v1/batches", {}, {"completion_window": "24h", "input_file_id": "file-0",
                                                       "metadata": {"distill": batch.name}}, b"", 0.0))  # fmt: skip
        answer = await model.ask(question_for(model, 1), store.note(key))
        await model.close()
        return answer

    with serving(batches.post, gets=get) as books:
        assert asyncio.run(ask(books.base_url))["message"]["content"] == "Answer: 2"
    assert next(looks, None) is None and not books.posts


def test_what_another_process_asks_at_this_moment_is_not_ordered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run in another clone, at the standard tier: both paid."""
    monkeypatch.setattr(batch_model, "ELSEWHERE_WAIT_S", 0.01)
    store, batches = Store(tmp_path / "here"), Batches(sums_up)
    keys = ["a" * 64, "b" * 64]
    elsewhere = store.lease(keys[0])
    assert elsewhere.take()

    async def ask(base_url: str) -> list[Any]:
        model = model_at(base_url, store)
        first, second = (
            asyncio.create_task(model.ask(question_for(model, n), store.note(key))) for n, key in enumerate(keys)
        )
        await second
        store.put(keys[0], chat.parse(says("Answer: bought elsewhere"), 1.0))
        elsewhere.release()
        answers = [await first, await second]
        await model.close()
        return answers

    with serving(batches.post, gets=batches.get) as books:
        answers = asyncio.run(ask(books.base_url))
    assert [answer["message"]["content"] for answer in answers] == ["Answer: bought elsewhere", "Answer: 2"]
    assert dict(batches.ordered) == {keys[1]: 1}
    assert all(store.lease(key).take() for key in keys), "and nothing is held any more"


def test_a_run_at_another_tier_sees_what_is_ordered_after_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a batch that ends, its answers stored, while it is looked for: then there is no note of it any more."""
    store, look = Store(tmp_path / "here"), OpenBatches.ordered_message

    async def ask(base_url: str) -> str:
        model = model_at(base_url, store, tier="standard")
        teacher = Teacher(model, store, {"max_tokens": 9}, [], model.halt)

        def answer(n: int) -> Any:
            messages = [{"role": "user", "content": f"what is {n} + 1?"}]
            key = request_key(teacher.request(messages, [], 0, []), 0)
            return key, teacher.ask(messages, [], seed=0, sample=0, earlier=[])

        await answer(1)[1]
        key, asking = answer(2)
        batch = teacher.open_batches.add("file-0", [key])
        with pytest.raises(Fatal, match="would be paid as well"):
            await asking

        def ends(batches: OpenBatches, key: str) -> str | None:
            store.put(key, chat.parse(says("Answer: of the batch"), 1.0))
            batches.remove(batch)
            return look(batches, key)

        monkeypatch.setattr(OpenBatches, "ordered_message", ends)
        _, found = await answer(2)[1]
        await teacher.close()
        return str(found["message"]["content"])

    with serving(lambda asked: says("Answer: 2")) as books:
        assert asyncio.run(ask(books.base_url)) == "Answer: of the batch"
    assert len(books.posts) == 1


def test_what_another_process_has_ordered_in_the_background_meanwhile_is_not_ordered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was asking for it, and was stopped; the server goes on."""
    monkeypatch.setattr(batch_model, "ELSEWHERE_WAIT_S", 0.01)
    store, key, batches = Store(tmp_path / "here"), "a" * 64, Batches(sums_up)
    elsewhere = store.lease(key)
    assert elsewhere.take()

    async def ask(base_url: str) -> None:
        model = model_at(base_url, store)
        asked = asyncio.create_task(model.ask(question_for(model, 1), store.note(key)))
        await asyncio.sleep(0.3)
        store.note(key).write("resp_0")
        elsewhere.release()
        with pytest.raises(Fatal, match="answer resp_0 was ordered in the background"):
            await asked
        await model.close()

    with serving(batches.post, gets=batches.get) as books:
        asyncio.run(ask(books.base_url))
    assert not books.posts


def test_a_batch_raises_the_limit_of_open_files_for_its_leases(tmp_path: Path) -> None:
    """256 files, which is all that a Mac allows at first."""
    store, batches = Store(tmp_path / "here"), Batches(sums_up, polls=0)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def ask(base_url: str) -> int:
        model = model_at(base_url, store)
        notes = [store.note(f"{n:02x}" * 32) for n in range(256)]
        answers = await asyncio.gather(*(model.ask(question_for(model, n), note) for n, note in enumerate(notes)))
        await model.close()
        return len(answers)

    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 100, before[1]))
    try:
        with serving(batches.post, gets=batches.get) as books:
            assert asyncio.run(ask(books.base_url)) == 256
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
