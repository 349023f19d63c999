"""Training on what the machine has: less memory, several processes and a 4-bit base give the same student."""

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from training import *  # noqa: F403
from training import ROWS, folder, in_child, written

from distill.records.faults import InputError
from distill.student import launch, memory, packing, train, watch
from distill.student.memory import Fit
from distill.student.render import IGNORED

WEIGHTS = "models/adapter/adapter_model.safetensors"


@pytest.fixture
def little_memory(monkeypatch) -> Any:
    """A machine on which the model cannot take more than so many rows at once: it runs out of memory for real."""
    import torch
    from transformers import LlamaForCausalLM

    forward = LlamaForCausalLM.forward
    tried: list[int] = []

    def least(rows: int, error: type[Exception] | None) -> list[int]:
        def limited(self: Any, *arguments: Any, **inputs: Any) -> Any:
            here = int((inputs["position_ids"].diff() < 0).sum()) + 1  # each row but the first begins further back
            tried.append(here)
            if here > rows:
                if error:
                    raise error("CUDA out of memory. Tried to allocate 20.00 MiB.")
                torch.empty(2**60, dtype=torch.uint8)
            return forward(self, *arguments, **inputs)

        monkeypatch.setattr(LlamaForCausalLM, "forward", limited)
        return tried

    return least


@pytest.mark.parametrize("on", ["a card", "a CPU"])
def test_out_of_memory_halves_what_is_computed_at_once(on, uninterrupted, run, little_memory, capsys):
    import torch

    tried = little_memory(2, torch.OutOfMemoryError if on == "a card" else None)
    report = json.loads(run("little")["reports/training.json"])
    assert tried[:2] == [4, 4] and max(tried[2:]) == 2  # at these lengths nothing is gained by fewer rows before
    whole = json.loads(uninterrupted["reports/training.json"])
    assert report["loss_first"] == pytest.approx(whole["loss_first"], rel=1e-4)
    assert report["loss_last"] == pytest.approx(whole["loss_last"], rel=1e-2)
    said = capsys.readouterr().out
    assert "out of memory; going on with 4 rows at once, activations recomputed\n" in said
    assert "out of memory; going on with 2 rows at once, activations recomputed\n" in said


def test_a_row_that_is_too_much_is_refused(run, little_memory):
    import torch

    little_memory(0, torch.OutOfMemoryError)
    with pytest.raises(InputError, match="/student/max_length: one row at a time does not fit into memory"):
        run()
    assert not written()


def test_what_was_found_out_about_memory_outlives_a_kill(tmp_path):
    assert memory.found(tmp_path) is None
    memory.keep(Fit(2, True), tmp_path)
    assert memory.found(tmp_path) == Fit(2, True)


def test_the_ladder_of_memory():
    """Fewer rows while they keep a card busy, then recomputing, which costs a third, then fewer rows again."""

    def ladder(longest: int) -> list[Fit]:
        steps, fit = [], Fit(12, False)
        while fit := memory.less(fit, 12, longest):
            steps.append(fit)
        return steps

    assert ladder(100) == [Fit(12, True), Fit(6, True), Fit(3, True), Fit(1, True)]
    assert ladder(700) == [Fit(6, False), Fit(3, False), Fit(3, True), Fit(1, True)]
    assert ladder(2048) == [Fit(6, False), Fit(3, False), Fit(1, False), Fit(1, True)]


@pytest.mark.parametrize(
    ("said", "memory_is_why"),
    [
        ("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("CUDA error: an illegal memory access was encountered", False),
    ],
)
def test_which_errors_mean_that_memory_is_short(said, memory_is_why):
    assert memory.is_out_of_memory(RuntimeError(said)) == memory_is_why


def test_rows_that_follow_each_other_have_the_loss_and_gradient_of_single_rows(gguf, cache):
    import torch
    from transformers import AutoModelForCausalLM

    from distill.student import base

    model = AutoModelForCausalLM.from_pretrained(base.find(str(gguf)).directory)
    weight = model.model.layers[0].self_attn.q_proj.weight
    rows = [
        {"input_ids": [5, 6, 7, 8, 9, 10], "labels": [IGNORED] * 4 + [9, 10]},
        {"input_ids": [5, 6, 11, 12], "labels": [IGNORED, 6, 11, 12]},
    ]

    def summed(batch: dict[str, Any]) -> tuple[Any, Any]:
        targets = batch.pop("shift_labels")[0]
        del batch["labels"]
        model.zero_grad()
        logits = model(**batch, use_cache=False).logits[0]
        loss = torch.nn.functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
        loss.backward()
        return loss.detach(), weight.grad.clone()

    together = summed(packing.concatenate(rows))
    alone = [summed(packing.concatenate([row])) for row in rows]
    torch.testing.assert_close(together[0], alone[0][0] + alone[1][0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together[1], alone[0][1] + alone[1][1], rtol=1e-4, atol=1e-5)


LAYERS = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
          "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}  # fmt: skip
LINEAR = {"linear_num_value_heads": 2, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}


@pytest.mark.parametrize(
    ("family", "layout", "settings"),
    [
        ("qwen3", "shared", {}),
        ("gemma3_text", "apart", {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}),
        ("mistral", "apart", {"sliding_window": 8}),
        ("qwen3_5_text", "alone", {"layer_types": ["linear_attention", "full_attention"], **LINEAR}),
        ("lfm2", "alone", {"layer_types": ["conv", "full_attention"]}),
    ],
)
def test_rows_see_nothing_of_each_other_whatever_the_model_is_made_of(family, layout, settings):
    """Windows that slide over old tokens, and states that are carried on, included."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(family, **LAYERS, **settings)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    for weights in model.parameters():
        if weights.dim() > 1:
            torch.nn.init.normal_(weights, std=0.2)
    rows = []
    for length in (20, 26, 23):
        ids = [*range(3, 13), *torch.randint(3, 64, (length - 10,)).tolist()]
        rows.append({"input_ids": ids, "labels": [IGNORED] * 11 + ids[11:]})

    def loss(logits: Any, targets: Any) -> float:
        return torch.nn.functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum").item()

    def batched(rows: list[dict[str, list[int]]]) -> float:
        batch = packing.collator(config, "cpu")(rows)
        targets = batch.pop("shift_labels")[0]
        del batch["labels"]
        return loss(model(**batch, use_cache=False).logits[0], targets)

    assert packing.layout(config) == layout
    with torch.no_grad():
        alone = sum(
            loss(model(torch.tensor([row["input_ids"]])).logits[0, :-1], torch.tensor(row["labels"][1:]))
            for row in rows
        )
        at_once = 1 if layout == "alone" else 3
        assert sum(batched(rows[n : n + at_once]) for n in range(0, 3, at_once)) == pytest.approx(alone, rel=1e-4)


def in_process(place: str, cache: Path, student: dict[str, Any], progress: Any, rank: int, port: int) -> None:
    """One of two processes, with the variables that `accelerate launch --cpu` sets."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    in_child(place, cache, student, progress)


def test_two_processes_train_as_one(children, run, params, tmp_path, cache):
    from safetensors.numpy import load

    one = run("one")
    place = folder(tmp_path / "two", ROWS)
    reader, writer = children.Pipe(duplex=False)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    both = [
        children.Process(target=in_process, args=(str(place), cache, params, writer, rank, port)) for rank in range(2)
    ]
    for process in both:
        process.start()
    writer.close()
    with os.fdopen(os.dup(reader.fileno())) as lines:
        said = lines.read()
    for process in both:
        process.join(600)
    assert [process.exitcode for process in both] == [0, 0], said
    assert said.count("step 8/8: loss") == 1
    os.chdir(place)
    two = written()
    assert set(two) == set(one)
    reports = [json.loads(files["reports/training.json"]) for files in (one, two)]
    assert reports[1]["loss_first"] == pytest.approx(reports[0]["loss_first"], rel=1e-5)
    assert reports[1]["validation_loss"] == pytest.approx(reports[0]["validation_loss"], rel=1e-2)
    weights, others = load(one[WEIGHTS]), load(two[WEIGHTS])
    for name, values in weights.items():
        assert others[name] == pytest.approx(values, abs=2e-3), name
    assert not list((cache / "checkpoints").iterdir())


def test_a_batch_that_cannot_be_shared_is_refused():
    assert train.share(8, 2) == 4
    with pytest.raises(InputError, match="/student/batch_size: 4 rows cannot be shared evenly among 3 processes"):
        train.share(4, 3)


def test_a_launch_is_tried_again_only_for_want_of_memory(tmp_path):
    """The first process of each launch says why it ends; a file counts the launches."""
    count = tmp_path / "count"
    script = (
        "import os, pathlib, sys; count = pathlib.Path(sys.argv[1]); text = count.read_text() if count.exists() else '';"
        "count.write_text(text + 'x'); first = not text;"
        f"first and pathlib.Path(os.environ['{memory.NOTICE}']).touch(); sys.exit(1 if first else int(sys.argv[2]))"
    )
    for end in (0, 3):
        count.unlink(missing_ok=True)
        assert launch.run([sys.executable, "-c", script, str(count), str(end)]) == end
        assert count.read_text() == "xx"


def test_the_shipped_configuration_is_one_that_accelerate_knows():
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(launch.FSDP))
    assert config.distributed_type == "FSDP"
    assert config.fsdp_config["fsdp_version"] == 2
    assert str(launch.FSDP) in launch.command(8, four_bit=False)
    assert "--multi_gpu" in launch.command(8, four_bit=True)


def test_patience_counts_from_the_lowest():
    assert [watch.not_better_for(losses) for losses in ([3.0], [3.0, 2.0], [3.0, 2.0, 2.5], [1, 2, 3, 0.5, 0.6])] == [
        0, 0, 1, 1,
    ]  # fmt: skip


def test_the_counted_operations_are_those_that_torch_counts(gguf, cache):
    """A forward and backward pass over two rows; torch counts attention without the mask, so both rows are of it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModelForCausalLM

    from distill.student import base, speed

    model = AutoModelForCausalLM.from_pretrained(base.find(str(gguf)).directory, attn_implementation="eager")
    tuned = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    length, learned = 64, 16
    with FlopCounterMode(display=False) as torchs:
        tuned(input_ids=torch.ones(1, length, dtype=torch.long), logits_to_keep=learned).logits.sum().backward()
    meter = speed.meter(tuned)
    meter.count(torch.arange(length)[None], learned)
    masked = meter.per_pair * (length * length - length * (length + 1) / 2)  # eager attention computes these, too
    assert float(meter.done) + masked == pytest.approx(torchs.get_total_flops(), rel=0.06)
    assert speed.peak("cpu") > 1e8
