"""The adapter: the same bytes every time, also after a kill; nothing at all from rows or losses that are no good."""

import asyncio
import csv
import json
import os
import re
import resource
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from endpoint_post import post
from tiny_rows import as_row, row
from training import *  # noqa: F403
from training import HERE, ROWS, TEMPLATE, folder, in_child, written
from transformers import Gemma3TextConfig, Qwen3Config

from distill.records.faults import InputError
from distill.student import base_weights
from distill.student.render import IGNORED
from distill.student.serving.open_student import open_student
from distill.student.training import callback, checkpoints, lineage
from distill.student.training.validation import held_out_prompts
from distill.teacher.errors import ApiError
from stages import sft_train

STEPS = 8  # of 16 rows (one is held out), 4 at a time, twice
STOPS_EARLY = {"early_stopping": 2, "learning_rate": 0.02, "num_epochs": 4}
[HELD_OUT] = held_out_prompts(one["prompt_id"] for one in ROWS)
ANOTHER_ANSWER = [{"role": "assistant", "content": "How many are left? How many are left? "}]
UNLIKE = [
    one | {"messages": one["messages"][:2] + ANOTHER_ANSWER} if one["prompt_id"] == HELD_OUT else one for one in ROWS
]
"""Rows of which the held-out one gets less likely, the better the others are learned."""
FILES = {
    "README.md", "adapter.gguf", "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja",
    "generation_config.json", "tokenizer.json", "tokenizer_config.json",
}  # fmt: skip


@pytest.fixture
def stopped_early(run, references):
    """What the stage writes for UNLIKE where it stops early, made once for all tests."""
    if "early" not in references:
        references["early"] = run("early", rows=UNLIKE, **STOPS_EARLY)
    return references["early"]


def test_equal_inputs_give_equal_bytes(uninterrupted, run, tmp_path):
    assert run("again") == uninterrupted
    names = {f"models/adapter/{name}" for name in FILES} | {"reports/loss.csv", "reports/training.json"}
    assert set(uninterrupted) == names
    assert not [name for name, content in uninterrupted.items() if str(tmp_path.parent).encode() in content]
    config = json.loads(uninterrupted["models/adapter/adapter_config.json"])
    assert config["target_modules"] == sorted(config["target_modules"])
    assert config["base_model_name_or_path"] == "tiny.gguf"
    assert uninterrupted["models/adapter/chat_template.jinja"] == TEMPLATE.read_bytes()


def test_a_run_that_ended_while_its_adapter_was_written_stops_where_it_had_stopped(
    stopped_early, run, monkeypatch, capsys
):
    def full(*_: Any) -> None:
        raise InputError("the disk is full")

    with monkeypatch.context() as patched, pytest.raises(InputError, match="the disk is full"):
        patched.setattr(sft_train.adapter, "save", full)
        run("again", rows=UNLIKE, **STOPS_EARLY)
    assert run("again", rows=UNLIKE, **STOPS_EARLY) == stopped_early
    assert "resuming after step" in capsys.readouterr().out


def test_early_stopping_keeps_the_best(run, gguf):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from distill.student import base
    from distill.student.training import examples

    report = json.loads(run(rows=UNLIKE, **STOPS_EARLY)["reports/training.json"])
    losses = [point["loss"] for point in report["validation"]]
    best = losses.index(min(losses))
    assert report["steps"] == 2 * len(losses) == 2 * (best + 1 + 2) < 16, "measured at every second of 16 steps"
    assert report["epochs"] == report["steps"] / 4
    assert report["validation_loss"] == losses[best] < losses[-1]
    tuned = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base.find(str(gguf)).directory), "models/adapter"
    )
    student = {"path": str(gguf), "template": str(TEMPLATE), "max_length": 256}
    (held_out,) = examples.prepare("data/train.jsonl", student, None, 1).validation
    with torch.no_grad():
        logits = tuned(torch.tensor([held_out.input_ids])).logits[0, :-1]
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(held_out.labels[1:]), ignore_index=IGNORED)
    assert loss.item() == pytest.approx(losses[best], rel=1e-4)


def test_early_stopping_needs_something_to_go_by(run):
    with pytest.raises(InputError, match="/student/early_stopping: needs at least 16 training prompts"):
        run(rows=ROWS[:8], early_stopping=1)


def test_another_seed_gives_another_adapter(uninterrupted, run):
    weights = "models/adapter/adapter_model.safetensors"
    assert run("seed", seed=1)[weights] != uninterrupted[weights]


def test_it_learns_and_says_so(run, capsys):
    files = run()
    report = json.loads(files["reports/training.json"])
    loss = list(csv.DictReader(files["reports/loss.csv"].decode().splitlines()))
    assert list(loss[0]) == ["step", "loss", "grad_norm", "learning_rate", "validation_loss"]
    assert [int(line["step"]) for line in loss] == list(range(1, STEPS + 1))
    assert (report["rows"], report["validation_rows"], report["steps"]) == (16, 1, STEPS)
    assert report["loss_last"] < report["loss_first"] / 2
    assert report["thoughts_learned"] is False, "the template of this student has no place for them"
    measured = [point["loss"] for point in report["validation"]]
    assert [point["epoch"] for point in report["validation"]] == [step / 4 for step in range(1, STEPS + 1)]
    assert [float(line["validation_loss"]) for line in loss] == measured
    assert measured[-1] == report["validation_loss"] < measured[0]
    said = capsys.readouterr().out
    assert f"step {STEPS}/{STEPS}: loss " in said
    assert re.search(r"sft_train: \d+ s, \d+ tokens/s, [\d.]+ GiB at most", said)
    assert f"; {report['validation_rows']} rows held out for validation\n" in said, "held-out alone are the exam's"
    assert f"{report['loss_last']:.4f}, validation loss {report['validation_loss']:.4f} -> models/adapter" in said


@pytest.mark.parametrize(("step", "changes"), [(1, {}), (4, {}), (STEPS, {}), (4, STOPS_EARLY)])
def test_a_kill_costs_nothing(
    step, changes, uninterrupted, stopped_early, children, run, params, tmp_path, cache, capfd
):
    rows, expected = (UNLIKE, stopped_early) if changes else (ROWS, uninterrupted)
    place = folder(tmp_path / "killed", rows)
    reader, writer = children.Pipe(duplex=False)
    child = children.Process(target=in_child, args=(str(place), cache, params | changes, writer))
    child.start()
    writer.close()
    with os.fdopen(os.dup(reader.fileno())) as lines:
        for line in lines:
            if line.startswith(f"step {step}/"):
                os.kill(child.pid, signal.SIGKILL)
                break
    child.join(600)
    assert child.exitcode == -signal.SIGKILL
    assert not (place / "models/adapter").exists()
    left = len(list((cache / "checkpoints").glob("*/checkpoint-*")))
    capfd.readouterr()
    assert run("killed", rows, **changes) == expected
    assert ("resuming after step" in capfd.readouterr().out) == bool(left)
    assert not list((cache / "checkpoints").glob("*/"))


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk on which no file gets longer, in bytes: writing on fails, as on a full one."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("size", [20_000, 80_000])  # the adapter's weights (safetensors), the optimizer's (torch)
def test_a_full_disk_is_said_and_costs_nothing(size, uninterrupted, run, params, tmp_path, cache, monkeypatch):
    monkeypatch.chdir(folder(tmp_path / "full", ROWS))
    with (
        pytest.raises(InputError, match=r"^a checkpoint of step 1 in .* could not be written .* DISTILL_CACHE"),
        files_of_at_most(size),
    ):
        sft_train.main({"student": params, "runtime": HERE})
    assert not written()
    assert run("full") == uninterrupted
    assert not list((cache / "checkpoints").glob("*/"))


def test_a_disk_that_is_full_in_the_end_leaves_no_adapter(uninterrupted, run, monkeypatch, capsys):
    card = lineage.card

    def full(*what: Any) -> str:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        return card(*what)

    monkeypatch.setattr(lineage, "card", full)
    with pytest.raises(InputError, match=r"^models/adapter could not be written .* training goes on from"):
        with files_of_at_most(10_000_000):
            run("full")
    assert not written() and not list(Path("models").iterdir())
    monkeypatch.setattr(lineage, "card", card)
    assert run("full") == uninterrupted
    assert f"resuming after step {STEPS}" in capsys.readouterr().out


def in_turn(cache: Path, order: Any, name: str, holding: Any, release: Any) -> None:
    """A training that does nothing but hold its working folder. What it puts is there when `put` returns (SimpleQueue)."""
    os.environ["DISTILL_CACHE"] = str(cache)
    with checkpoints.working_folder("r"):
        order.put(name)
        holding.set()
        release.wait(600)
        order.put(name)


def test_of_equal_trainings_one_runs_at_a_time(children, cache):
    """Also those that come when the first has ended while another has waited for it."""
    order, release = children.SimpleQueue(), [children.Event() for _ in range(3)]
    holding = [children.Event() for _ in range(3)]
    turns = [children.Process(target=in_turn, args=(cache, order, n, holding[n], release[n])) for n in range(3)]
    turns[0].start()
    assert holding[0].wait(600)
    turns[1].start()
    while not blocked(turns[1].pid):
        assert turns[1].is_alive()
        time.sleep(0.02)
    release[0].set()
    assert holding[1].wait(600)
    turns[2].start()
    while not (blocked(turns[2].pid) or holding[2].is_set()):
        assert turns[2].is_alive()
        time.sleep(0.02)
    release[1].set()
    release[2].set()
    for turn in turns:
        turn.join(600)
    assert [turn.exitcode for turn in turns] == [0, 0, 0]
    assert [order.get() for _ in range(6)] == [0, 0, 1, 1, 2, 2]
    assert not list((cache / "checkpoints").glob("*/"))


def test_what_nobody_goes_on_with_is_removed_in_the_end(cache):
    days_ago = time.time() - 15 * 24 * 3600
    with checkpoints.working_folder("old-and-running") as running:
        for name in ("abandoned", "recent"):
            (running.with_name(name) / "checkpoint-3").mkdir(parents=True)
        for old in (running, running.with_name("abandoned")):
            os.utime(old, (days_ago, days_ago))
        with checkpoints.working_folder("new"):
            assert {run.name for run in running.parent.glob("*/")} == {"old-and-running", "recent", "new"}
    os.utime(running.with_name("recent"), (days_ago, days_ago))
    with checkpoints.working_folder("recent") as again:
        assert (again / "checkpoint-3").is_dir(), "it goes on after all"


def blocked(process: int) -> bool:
    """Whether it waits for a lock."""
    return any(
        line.split()[1] == "->" and line.split()[5] == str(process)
        for line in Path("/proc/locks").read_text().splitlines()
    )


def test_a_checkpoint_that_was_cut_off_is_not_used(tmp_path):
    from distill.student.training.checkpoints import mark_complete, newest

    for step in (2, 4, 10, 12):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "optimizer.pt").write_bytes(b"what it was")
    for step in (2, 4, 12):
        mark_complete(tmp_path, step)
    (tmp_path / "checkpoint-4" / ".DS_Store").touch()
    (tmp_path / "checkpoint-12" / "optimizer.pt").write_bytes(b"")  # as a power cut may leave it
    assert newest(tmp_path) == tmp_path / "checkpoint-4"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-2", "checkpoint-4"]


def test_bad_rows_are_refused_all_at_once(run):
    masked, broken = row(1), row(2)
    for place in (2, 4):
        masked["messages"][place]["weight"] = 0
    broken["messages"][2]["tool_calls"][0]["function"]["arguments"] = "{"
    long = row(3)
    long["messages"][1]["content"] = "How many? " * 90
    with pytest.raises(InputError) as refused:
        run(rows=[row(0), masked, broken, long])
    first, second, third = refused.value.faults
    assert first.startswith("data/train.jsonl:2: /messages: nothing to learn from")
    assert second.startswith("data/train.jsonl:3: /messages/2/tool_calls/0/function/arguments: not JSON")
    assert third.startswith("data/train.jsonl:4: /messages: ") and "more than student.max_length = 256" in third
    assert not written()


def test_rows_beyond_the_context_of_the_base_are_refused(run):
    long = row(3)
    long["messages"][1]["content"] = "How many? " * 900
    with pytest.raises(
        InputError, match=r"student/max_length: the longest row has \d+ tokens, .* for 2048: .* to 2048,"
    ):
        run(rows=[row(0), long], max_length=8192)
    assert not written()


def test_the_context_of_a_base_is_that_of_its_scaled_positions():
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768, "rope_theta": 1e6}
    assert base_weights.context(Qwen3Config(max_position_embeddings=40960, rope_parameters=yarn)) == 131072
    assert base_weights.context(Qwen3Config(max_position_embeddings=40960)) == 40960
    assert base_weights.context(Gemma3TextConfig(max_position_embeddings=32768)) == 32768
    unsaid = SimpleNamespace(max_position_embeddings=None, rope_parameters=yarn | {"factor": None})
    assert base_weights.context(SimpleNamespace(get_text_config=lambda: unsaid)) == 2**31, (
        "a config of a hub's own code"
    )


def test_calls_that_nobody_could_read_are_refused(run, gguf, tmp_path):
    """A template of ChatML that knows no tools does for a student of texts."""
    template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    template += "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    (tmp_path / "chatml.jinja").write_text(template)
    with pytest.raises(InputError, match="^params.yaml: /student/template: there are tools to call, but the student's"):
        run(template=str(tmp_path / "chatml.jinja"))
    assert not written()
    texts = [[*one["messages"][:2], one["messages"][-1]] for one in ROWS]
    run("texts", [as_row(messages, []) for messages in texts], template=str(tmp_path / "chatml.jinja"))
    settings = {"student": {"path": str(gguf), "max_length": 256}, "runtime": HERE, "evaluate": {"temperature": 0}}
    model = open_student(settings, Path("models/adapter"))
    body = {"messages": texts[0][:2], "max_tokens": 5}
    assert asyncio.run(answered(model, body))["choices"][0]["message"]["role"] == "assistant"
    with pytest.raises(ApiError, match="writes no tool calls, or in a form that cannot be read here"):
        asyncio.run(answered(model, body | {"tools": ROWS[0]["tools"]}))


async def answered(model: Any, body: dict[str, Any]) -> dict[str, Any]:
    try:
        return await model.complete(body)
    finally:
        await model.close()


def test_no_rows_are_refused(run):
    with pytest.raises(InputError, match=r"data/train\.jsonl: no rows"):
        run(rows=[])


def test_tokens_that_the_base_cannot_tell_apart_are_refused(run, gguf, tmp_path):
    """As `<tool_call>` is to Qwen2.5-Coder: LoRA leaves the output matrix as it is, so nothing could make up for it."""
    from safetensors.torch import load_file, save_file

    from distill.student import base

    folder = shutil.copytree(base.find(str(gguf)).directory, tmp_path / "untrained")
    weights = load_file(folder / "model.safetensors")
    end, other = 2, 1
    weights["model.embed_tokens.weight"][end] = weights["model.embed_tokens.weight"][other] * 1.001
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"untrained was never trained to output '<\|im_end\|>', .* up to 1 other"):
        run(path=str(folder))
    assert not written()


def test_a_loss_that_is_no_number_stops_and_writes_nothing(run, tmp_path):
    with pytest.raises(InputError, match=r"training stopped at step \d: (loss|grad_norm) is"):
        run(learning_rate=1e30)
    assert not written()


@pytest.mark.parametrize(("loss", "norm"), [(0.0, 1.0), (float("nan"), 1.0), (1.0, float("inf")), (1.0, 0.0)])
def test_what_nothing_can_be_learned_from(loss, norm):
    with pytest.raises(InputError, match="training stopped at step 3"):
        callback.refuse_unusable(loss, norm, 3)


def test_all_samples_of_a_prompt_fall_on_one_side():
    prompts = [f"{number:016x}" for number in range(40)]
    assert len(held_out_prompts(prompts)) == 2
    assert held_out_prompts(prompts) == held_out_prompts(reversed(prompts))
    assert not held_out_prompts(prompts[:15])


def test_peft_and_llama_cpp_load_the_adapter_and_agree(run, gguf, cache):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from distill.student import base
    from distill.teacher.embedded.llama_server import serve

    run(num_epochs=4)
    adapter = Path("models/adapter")
    plain = AutoModelForCausalLM.from_pretrained(base.find(str(gguf)).directory)
    tuned = PeftModel.from_pretrained(plain, adapter)
    messages = ROWS[0]["messages"][:2]
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    prompt = tokenizer.apply_chat_template(messages, tools=ROWS[0]["tools"], add_generation_prompt=True)["input_ids"]
    template = adapter / "chat_template.jinja"
    with serve(gguf, slots=1, context=256, template=template, adapters=[adapter / "adapter.gguf"]) as endpoint:
        for scale, model in ((1.0, tuned), (0.0, None)):
            lora = [{"id": 0, "scale": scale}]
            served = post(endpoint, "/completion", prompt=prompt, n_predict=1, n_probs=10, temperature=0, lora=lora)
            with torch.no_grad(), tuned.disable_adapter() if model is None else torch.no_grad():
                ours = tuned(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
            for candidate in served["completion_probabilities"][0]["top_logprobs"]:
                if candidate["logprob"] > -5:
                    assert ours[candidate["id"]].item() == pytest.approx(candidate["logprob"], abs=0.1)
