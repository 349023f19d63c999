"""A student of transformers' kind in this process, which `evaluate` and `make serve` ask."""

import asyncio
import shutil
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from tiny_qwen3 import GREEDY, PROMPT, QUESTION, ROW, SHOP, sit

from distill.records.faults import InputError
from distill.student.render import TokenSequence
from distill.student.served_messages import as_templates_want
from distill.student.serving.endpoint import serving
from distill.student.serving.forced_call import openings
from distill.student.serving.in_process import InProcess
from distill.student.serving.loaded import Loaded
from distill.student.serving.open_student import open_student, sampling
from distill.student.serving.reply import rendered_turn
from distill.student.template import compile_template
from distill.student.tokenizer import read_tokenizer
from distill.teacher.api import chat
from distill.teacher.errors import ApiError


@pytest.fixture(scope="module")
def loaded(trained: tuple[Path, Path]) -> Loaded:
    return Loaded(*trained)


@pytest.fixture
def in_process(trained: tuple[Path, Path], loaded: Loaded) -> Callable[[], InProcess]:
    tokenizer = read_tokenizer(trained[1], (trained[1] / "chat_template.jinja").read_text())
    return lambda: InProcess("tiny", tokenizer, lambda: loaded)


def test_the_exam_runs_in_process_with_and_without_the_adapter(in_process):
    others = [PROMPT | {"messages": [{"role": "user", "content": "What is " + "more " * n}]} for n in (1, 9)]
    [right, *_] = sit(in_process(), 1.0, PROMPT, *others)
    assert right["messages"] == [
        *QUESTION,
        {
            "role": "assistant", "content": "", "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "lookup_item", "arguments": '{"sku": "G101"}'}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": '{"price": 3, "stock": 1}'},
        {"role": "assistant", "content": "Answer: 3"},
    ]  # fmt: skip
    assert (right["correct"], right["valid_calls"], right["status"]) == (True, 1, "completed")
    [wrong] = sit(in_process(), 0.0, PROMPT)
    assert wrong["correct"] is False and "G108" in wrong["messages"][2]["tool_calls"][0]["function"]["arguments"]


def test_a_base_that_does_not_fit_in_16_bits_is_loaded_in_4(trained, loaded, monkeypatch, capsys):
    """As after QLoRA on a small card; its answers are near those of the whole one."""
    import torch

    from distill.student import base_weights
    from distill.student.serving import loaded as module

    begun: list[Any] = []

    def open_small(directory: Path, four_bit: bool, device: str) -> Any:
        if four_bit:
            assert begun[0]() is None, "what was loaded of it is gone by now"
            return base_weights.open_base(directory, four_bit, device)
        half = torch.nn.Linear(2, 2)
        begun.append(weakref.ref(half))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "open_base", open_small)
    small = Loaded(*trained)
    assert "loaded in 4" in capsys.readouterr().out
    assert {type(part).__name__ for part in small.model.modules()} & {"Linear4bit"}
    ids = list(range(10, 30))
    row = [TokenSequence(ids, ids)]
    for adapted in (False, True):
        assert small.loss(row, adapted) == pytest.approx(loaded.loss(row, adapted), rel=0.2)


def test_a_conversation_without_room_on_the_card_costs_no_other(in_process, loaded, monkeypatch):
    """Not all of torch's libraries have an error of their own for that."""
    at_once = loaded._at_once

    def small(prompts: Any, *others: Any) -> Any:
        if max(map(len, prompts)) > 700:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return at_once(prompts, *others)

    monkeypatch.setattr(loaded, "_at_once", small)
    long = {**PROMPT, "id": "f" * 16, "messages": [{"role": "user", "content": "page " * 180}]}
    said = sit(in_process(), 1.0, PROMPT, long)
    assert [talk["error"] and talk["error"]["kind"] for talk in said] == [None, "context_full"]
    assert said[0]["correct"] and "memory of the card" in said[1]["error"]["message"]


@pytest.mark.parametrize("limit", [{}, {"max_tokens": 20_000}])
def test_an_answer_has_the_room_that_the_context_has(in_process, loaded, monkeypatch, limit):
    monkeypatch.setattr(loaded, "generate", lambda prompts, stops, longest, *_: [[200] * longest for _ in prompts])
    said = asyncio.run(in_process().complete({"messages": QUESTION, **limit}))
    assert said["usage"]["total_tokens"] == loaded.context == 1024
    assert said["choices"][0]["finish_reason"] == "length"


def test_a_key_that_a_tool_says_is_in_no_exam(in_process, tmp_path):
    key = "sk-" + "A1b2C3d4" * 4  # put together here: such a text in a file is found by scanners
    shop = tmp_path / "tools.py"
    shop.write_text(SHOP.read_text().replace("return f'", f"return '{key} ' f'"))
    [talk] = sit(in_process(), 1.0, PROMPT, shop=shop)
    assert talk["messages"][3]["content"] == '[secret] {"price": 3, "stock": 1}'


def test_a_batch_says_what_each_would_say_alone(loaded, in_process):
    tokenizer = in_process().tokenizer
    prompts = [tokenizer.encode(tokenizer.text(QUESTION[:n], ROW["tools"], True)) for n in (2, 1)]
    prompts.append(tokenizer.encode("What is"))
    stops = sorted(tokenizer.stops)
    together = loaded.generate(prompts, stops, 48, True, 0.0)
    assert together == [loaded.generate([prompt], stops, 48, True, 0.0)[0] for prompt in prompts]
    assert tokenizer.decode(together[0]).endswith("</tool_call><|im_end|>")
    assert max(map(len, together)) <= 48


def test_a_forced_call_leaves_the_others_of_its_batch_alone(loaded, in_process):
    tokenizer = in_process().tokenizer
    told = ROW["messages"][:-1]
    answered, asked = (
        tokenizer.encode(tokenizer.text(list(as_templates_want(m)), ROW["tools"], True)) for m in (told, QUESTION)
    )
    begins = openings(tokenizer, list(as_templates_want(told)), ROW["tools"], ["lookup_item"])
    free, other = loaded.generate([answered, asked], [2], 48, True, 0.0)
    forced, same = loaded.generate([answered, asked], [2], 48, True, 0.0, begins=[begins, []])
    assert tokenizer.decode(free).startswith("<think>\n\n</think>\n\nAnswer: 3")
    assert forced[: len(begins[0])] == begins[0] and '"name": "lookup_item"' in tokenizer.decode(forced)
    assert same == other


def test_an_answer_that_is_over_leaves_the_others_of_its_batch_alone(loaded, in_process):
    tokenizer = in_process().tokenizer
    prompts = [tokenizer.encode(tokenizer.text(QUESTION[:n], ROW["tools"], True)) for n in (2, 1)]
    whole, other = loaded.generate(prompts, [2], 48, True, 0.0)
    cut, same = loaded.generate(prompts, [2], 48, True, 0.0, over=[lambda ids: len(ids) == 3, lambda _: False])
    assert cut == [*whole[:3], 2] and same == other


def test_questions_of_different_lengths_are_one_batch(in_process, loaded, monkeypatch):
    batches: list[int] = []
    generate = loaded.generate
    monkeypatch.setattr(
        loaded, "generate", lambda prompts, *how: batches.append(len(prompts)) or generate(prompts, *how)
    )

    async def ask() -> list[dict[str, Any]]:
        model, told = in_process(), {"messages": ROW["messages"][:-1], "tools": ROW["tools"]}
        try:
            return await asyncio.gather(*(model.complete(told | limit) for limit in ({}, {"max_tokens": 7}, {})))
        finally:
            await model.close()

    whole, cut, same = asyncio.run(ask())
    assert batches == [3] and whole == same
    assert [said["choices"][0]["finish_reason"] for said in (whole, cut)] == ["stop", "length"]
    assert cut["usage"]["completion_tokens"] == 7 < whole["usage"]["completion_tokens"]


def test_tokens_are_drawn_from_all_or_from_top_p(loaded, in_process):
    tokenizer = in_process().tokenizer
    prompt = tokenizer.encode(tokenizer.text([{"role": "user", "content": "What?"}], None, True))
    likeliest, narrow, *wide = (
        loaded.generate([prompt] * 4, [2], 16, False, temperature, top_p)
        for temperature, top_p in ((0.0, 1.0), (5.0, 1e-6), (5.0, 1.0))
    )
    assert narrow == likeliest and wide != [likeliest]
    assert len({first for [first] in loaded.generate([prompt] * 200, [2], 1, False, 1e4)}) > 50


def test_an_exam_at_a_temperature_draws_the_same_for_the_same_prompt(in_process):
    warm = GREEDY | {"temperature": 5.0, "max_output_tokens": 16}
    first, again = (sit(in_process(), 1.0, PROMPT, evaluate=warm) for _ in range(2))
    other = sit(in_process(), 1.0, PROMPT | {"id": "another"}, evaluate=warm)
    said, same, different, likeliest = (
        [message for message in one["messages"] if message["role"] == "assistant"]
        for [one] in (first, again, other, sit(in_process(), 1.0, PROMPT, evaluate=warm | {"temperature": 0}))
    )
    assert said == same and said not in (different, likeliest)


def test_a_request_that_names_no_temperature_is_answered_at_the_exams(loaded, in_process):
    def answers(own: float, **named: float) -> set[str]:
        async def ask() -> set[str]:
            model = InProcess("tiny", in_process().tokenizer, lambda: loaded, temperature=own)
            body = {"messages": QUESTION, "max_tokens": 8, **named}
            try:
                return {str(await model.complete(body)) for _ in range(3)}
            finally:
                await model.close()

        return asyncio.run(ask())

    assert len(answers(0.0)) == 1 == len(answers(5.0, temperature=0)) and len(answers(5.0)) == 3


def test_nothing_more_is_computed_for_a_stop_that_was_said_or_who_is_gone(in_process, loaded, monkeypatch):
    computed: list[int] = []
    generate, go_on = loaded.generate, threading.Event()
    go_on.set()

    def counting(*asked: Any) -> list[list[int]]:
        *others, [over], _ = asked
        [answer] = generate(*others, [lambda ids: (len(ids) == 1 or go_on.wait()) and over(ids)])
        computed.append(len(answer))
        return [answer]

    monkeypatch.setattr(loaded, "generate", counting)

    async def ask() -> None:
        model, heard = in_process(), asyncio.Event()
        told = {"messages": ROW["messages"][:-1], "tools": ROW["tools"]}
        await model.complete(told)
        await model.complete(told | {"stop": ["Ans"]})
        go_on.clear()
        gone = asyncio.create_task(model.complete(told, lambda _: heard.set()))
        await heard.wait()
        gone.cancel()
        await asyncio.wait([gone])
        go_on.set()
        await model.complete(told | {"stop": ["Answer"]})
        await model.close()

    asyncio.run(ask())
    whole, stopped, unheard, _ = computed
    assert stopped < whole and unheard == 2


@pytest.mark.parametrize("stream", [False, True], ids=["for the whole", "for a stream"])
def test_a_client_that_hangs_up_holds_up_nobody(in_process, loaded, monkeypatch, stream):
    computed: list[int] = []
    generate, begun = loaded.generate, threading.Event()

    def waiting(*asked: Any) -> list[list[int]]:
        """The first answer waits at its second token until nobody wants it, or for a while."""
        *others, [over], _ = asked

        def ends(ids: list[int]) -> bool:
            begun.set()
            patience = time.monotonic() + 20
            while len(ids) == 2 and not computed and not over(ids) and time.monotonic() < patience:
                time.sleep(0.01)
            return over(ids)

        [answer] = generate(*others, [ends])
        computed.append(len(answer))
        return [answer]

    monkeypatch.setattr(loaded, "generate", waiting)
    asked = {"model": "student", "messages": ROW["messages"][:-1], "tools": ROW["tools"]}

    async def hang_up() -> None:
        async with serving(in_process()) as at, openai.AsyncOpenAI(base_url=at.base_url, api_key=at.api_key) as client:
            gone = asyncio.create_task(client.chat.completions.create(**asked, stream=stream))
            await asyncio.to_thread(begun.wait, 60)
            if stream:
                await (await gone).close()
            gone.cancel()
            said = await client.chat.completions.create(**asked)
            assert said.choices[0].message.content == "Answer: 3"

    asyncio.run(hang_up())
    unheard, whole = computed
    assert unheard == 2 < whole


def test_a_stream_goes_on_where_an_answer_begins_anew(in_process, loaded, monkeypatch):
    """A batch that does not fit into the card's memory is computed again in halves."""
    generate = loaded.generate

    def again(*asked: Any) -> list[list[int]]:
        *others, [over], _ = asked
        [answer] = generate(*others)
        over(answer[:-2])
        return generate(*asked)

    monkeypatch.setattr(loaded, "generate", again)
    asked = {"model": "student", "messages": ROW["messages"][:-1], "tools": ROW["tools"]}

    async def said() -> str:
        async with serving(in_process()) as at, openai.AsyncOpenAI(base_url=at.base_url, api_key=at.api_key) as client:
            stream = await client.chat.completions.create(**asked, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(said()) == "Answer: 3"


def test_the_prompt_is_the_one_that_was_trained_with(in_process, loaded, monkeypatch):
    seen: list[list[int]] = []
    generate = loaded.generate
    monkeypatch.setattr(loaded, "generate", lambda prompts, *rest: seen.extend(prompts) or generate(prompts, *rest))
    sit(in_process(), 1.0, PROMPT)
    from distill.student.render import IGNORED, render

    trained = [
        s.input_ids[: next(n for n, label in enumerate(s.labels) if label != IGNORED)]
        for s in render(ROW, in_process().tokenizer)
    ]
    assert seen == trained


def test_the_loss_is_that_of_the_learned_tokens(loaded, in_process, monkeypatch):
    import torch

    from distill.student.render import IGNORED, render
    from distill.student.training.packing import common_context

    sequences = render(ROW, in_process().tokenizer)
    total = count = 0
    for sequence in sequences:
        logits = loaded.model(torch.tensor([sequence.input_ids])).logits[0, :-1]
        targets = torch.tensor(sequence.labels[1:])
        total += torch.nn.functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum").item()
        count += int((targets != IGNORED).sum())
    assert loaded.loss(sequences, True) == pytest.approx(total / count, rel=1e-3)
    assert loaded.loss(sequences, True) < 0.1 < loaded.loss(sequences, False)
    widths: list[int] = []
    handle = loaded.model.register_forward_pre_hook(
        lambda _, __, given: widths.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    behind = len(sequences[0].input_ids) - common_context([vars(sequences[0])])
    monkeypatch.setattr("distill.student.serving.loaded.TOKENS_TOGETHER", 2 * behind)
    alone = loaded.loss(sequences[:1], True)
    assert loaded.loss(sequences[:1] * 3, True) == pytest.approx(alone, rel=1e-3)
    handle.remove()
    assert widths[0] == widths[2] < widths[1] and len(widths) == 3, "one, then two together and one"


def test_what_cannot_be_answered_is_an_error_of_its_conversation(in_process):
    async def ask(messages: list[dict[str, Any]]) -> None:
        model = in_process()
        try:
            await model.ask(chat.request(model.identity, messages, [], sampling(GREEDY, 1.0)))
        finally:
            await model.close()

    with pytest.raises(ApiError, match="longer than the student's context of 1024"):
        asyncio.run(ask([{"role": "user", "content": "word " * 2000}]))
    model = in_process()
    model.tokenizer = replace(
        model.tokenizer, text=lambda *_: compile_template("{{ raise_exception('no pictures') }}")()
    )
    with pytest.raises(ApiError, match="the student's template refuses: .*no pictures"):
        asyncio.run(model.complete({"messages": QUESTION}))


def test_a_client_that_wants_one_call_gets_one(in_process):
    model = in_process()
    asked, two = {"messages": QUESTION, "tools": ROW["tools"]}, ROW["messages"][2]["tool_calls"] * 2
    turn = {"role": "assistant", "content": "", "tool_calls": two}
    written = model.tokenizer.encode(rendered_turn(model.tokenizer, next(as_templates_want([turn]))))

    async def writes(*_: Any) -> list[int]:
        return written

    model._answer = writes
    for wanted, count in ((True, 2), (None, 2), (False, 1)):
        said = asyncio.run(model.complete(asked | {"parallel_tool_calls": wanted}))["choices"][0]["message"]
        assert [call["function"]["name"] for call in said["tool_calls"]] == ["lookup_item"] * count


def test_an_adapter_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"adapter_config.json: no such file, or an empty one; run `make train` first"):
        open_student(
            {"student": {"path": "Qwen/Qwen3-8B"}, "runtime": {"student_url": None}, "evaluate": GREEDY}, tmp_path
        )


@pytest.mark.parametrize(
    ("file", "left", "told"),
    [
        ("chat_template.jinja", 0, "chat_template.jinja: no such file, or an empty one; run `make train` first"),
        ("chat_template.jinja", 200, "chat_template.jinja: cannot be read .* `make train` makes the adapter again"),
        (
            "chat_template.jinja",
            b"\xff\xfe",
            "chat_template.jinja: cannot be read .* `make train` makes the adapter again",
        ),
        ("tokenizer.json", 99, "tokenizer.json: cannot be read .* `make train` makes the adapter again"),
        (
            "tokenizer_config.json",
            b"[1]",
            "tokenizer_config.json: cannot be read .* `make train` makes the adapter again",
        ),
        ("generation_config.json", b"[1]", "generation_config.json: cannot be read .* `make train` makes the adapter"),
        ("adapter_config.json", b"[1]", "adapter_config.json: cannot be read .* `make train` makes the adapter again"),
        ("adapter_config.json", b"{}", "adapter_config.json: cannot be read .* `make train` makes the adapter again"),
        ("adapter_config.json", 99, "adapter_config.json: cannot be read .* `make train` makes the adapter again"),
        ("adapter_model.safetensors", 99, "its weights cannot be read .* `make train` makes the adapter again"),
    ],
)
def test_an_adapter_with_a_damaged_file_is_named(file, left, told, trained, tmp_path):
    adapter = shutil.copytree(trained[1], tmp_path / "adapter")
    (adapter / file).write_bytes((adapter / file).read_bytes()[:left] if isinstance(left, int) else left)
    with pytest.raises(InputError, match=told):
        student = open_student(
            {"student": {"path": str(trained[0])}, "runtime": {"student_url": None}, "evaluate": GREEDY}, adapter
        )
        asyncio.run(student.ask(chat.request(student.identity, QUESTION, [], sampling(GREEDY, 1.0))))


def test_an_adapter_without_weights_is_named_and_not_looked_for_on_the_hub(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    adapter = shutil.copytree(trained[1], Path("models/adapter"))
    (adapter / "adapter_model.safetensors").unlink()
    student = open_student(
        {"student": {"path": str(trained[0])}, "runtime": {"student_url": None}, "evaluate": GREEDY}, adapter
    )
    with pytest.raises(InputError, match="^models/adapter/adapter_model.safetensors: no such file; `make train` makes"):
        asyncio.run(student.ask(chat.request(student.identity, QUESTION, [], sampling(GREEDY, 1.0))))


@pytest.mark.parametrize("stream", [False, True])
def test_clients_hear_why_a_student_cannot_be_loaded(stream, trained, tmp_path):
    adapter = shutil.copytree(trained[1], tmp_path / "adapter")
    student = open_student(
        {"student": {"path": str(trained[0])}, "runtime": {"student_url": None}, "evaluate": GREEDY}, adapter
    )
    shutil.rmtree(adapter)

    async def ask():
        async with serving(student) as endpoint:
            client = openai.AsyncOpenAI(base_url=endpoint.base_url, api_key=endpoint.api_key, max_retries=0)
            await client.chat.completions.create(model="student", messages=QUESTION, stream=stream)

    with pytest.raises(openai.InternalServerError, match="adapter_config.json: cannot be read .*No such file"):
        asyncio.run(ask())


@pytest.mark.parametrize("path", ["Qwen/Qwen3-8B", "/elsewhere/other", "other.gguf"])
@pytest.mark.parametrize("url", [None, "http://localhost:8000/v1"])
def test_an_adapter_is_put_on_no_base_but_its_own(path, url, trained, tmp_path):
    adapter = shutil.copytree(trained[1], tmp_path / "adapter")
    (adapter / "adapter.gguf").write_bytes(b"GGUF")
    with pytest.raises(InputError, match=f"was trained over base, not over student.path = {path}"):
        open_student({"student": {"path": path}, "runtime": {"student_url": url}, "evaluate": GREEDY}, adapter)


def test_plain_peft_loads_the_adapter(trained):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(trained[0]), str(trained[1]))
    tokenizer = AutoTokenizer.from_pretrained(trained[1])
    asked = tokenizer.apply_chat_template(QUESTION, tools=ROW["tools"], add_generation_prompt=True, return_tensors="pt")
    said = model.generate(**asked, max_new_tokens=64)[0, asked["input_ids"].shape[1] :]
    assert isinstance(said, torch.Tensor)
    assert tokenizer.decode(said).endswith(
        '{"name": "lookup_item", "arguments": {"sku": "G101"}}\n</tool_call><|im_end|>'
    )
