"""Training on what the machine has: with less memory or several processes the student is the same; 4 bits and bf16."""

import errno
import json
import os
import resource
import socket
import subprocess
import sys
from array import array
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from training import *  # noqa: F403
from training import ROWS, folder, in_child, written

from distill.records.faults import InputError
from distill.student import base_weights, device
from distill.student.render import IGNORED, TokenSequence
from distill.student.training import callback, launch, micro_batch, train
from distill.student.training.examples import Examples
from distill.student.training.micro_batch import Fit
from distill.student.training.speed import measured

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
    with pytest.raises(
        InputError, match="/student/max_length: one row at a time does not fit into memory beside the base"
    ):
        run()
    assert not written()


def test_a_base_that_is_too_much_is_refused_at_once(run, monkeypatch):
    """Fewer rows would not help, and each try would load it again.."""
    from transformers import LlamaForCausalLM

    tries: list[Any] = []

    def too_much(*_: Any, **how: Any) -> Any:
        import torch

        tries.append(how)
        return torch.empty(2**60, dtype=torch.uint8)

    monkeypatch.setattr(LlamaForCausalLM, "from_pretrained", too_much)
    with pytest.raises(InputError, match=r"/student/path: .* does not fit into memory \(.*can't allocate memory"):
        run()
    assert len(tries) == 1 and not written()
    assert "qlora_rank all but its embeddings and experts takes a quarter" in base_weights.less_memory(False, "cuda")
    assert not base_weights.less_memory(True, "cuda") + base_weights.less_memory(False, "cpu")


def test_a_base_that_is_too_much_while_it_is_quantised_is_refused_alike(run, monkeypatch):
    """transformers takes the error of each weight, and ends with one about their conversion."""
    import torch
    from bitsandbytes.nn import Params4bit

    tries: list[Any] = []

    def too_much(weight: Any, *_: Any) -> Any:
        tries.append(weight)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr(Params4bit, "to", too_much)
    with pytest.raises(RuntimeError, match="issues during automatic conversion"):
        run(qlora_rank=4)
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda: {"num_ooms": len(tries)})
    with pytest.raises(InputError, match=r"/student/path: .* does not fit into memory \(CUDA out of memory while"):
        run(qlora_rank=4)
    assert not written()


def test_what_was_found_out_about_memory_outlives_a_kill(tmp_path):
    assert micro_batch.stored(tmp_path) is None
    micro_batch.keep(Fit(2, True), tmp_path)
    assert micro_batch.stored(tmp_path) == Fit(2, True)


def test_the_ladder_of_memory():
    """Fewer rows while they keep a card busy, then recomputing, which costs a third, then fewer rows again."""

    def ladder(longest: int) -> list[Fit]:
        steps, fit = [], Fit(12, False)
        while fit := micro_batch.less(fit, 12, longest):
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
        ("Triton Error [CUDA]: out of memory", True),
        ("CUDA error: an illegal memory access was encountered", False),
    ],
)
def test_which_errors_mean_that_memory_is_short(said, memory_is_why):
    assert device.is_out_of_memory(RuntimeError(said)) == memory_is_why


def test_a_batch_in_parts_trains_alike(uninterrupted, run, monkeypatch):
    """Row by row with accumulation, as where memory is short: the same up to rounding."""
    monkeypatch.setitem(micro_batch.TOKENS_AT_ONCE, "cpu", 1)
    parts = json.loads(run("parts")["reports/training.json"])
    whole = json.loads(uninterrupted["reports/training.json"])
    assert parts["loss_first"] == pytest.approx(whole["loss_first"], rel=1e-4)
    assert parts["loss_last"] == pytest.approx(whole["loss_last"], rel=1e-2)


def test_rows_at_once_fill_but_do_not_pass_the_limit(monkeypatch):
    sequences = [TokenSequence([1] * 50 + [number] * 50, [IGNORED] * 60 + [number] * 40) for number in range(2, 10)]
    examples = Examples(sequences, [], 8, 0)
    for tokens, rows in ((1, 1), (151, 2), (260, 4), (1000, 8)):
        monkeypatch.setitem(micro_batch.TOKENS_AT_ONCE, "cpu", tokens)
        assert micro_batch.first(examples, 8, "cpu") == Fit(rows, False)


def test_a_4_bit_base_needs_its_library(run, monkeypatch):
    monkeypatch.setattr("transformers.utils.is_bitsandbytes_available", lambda: False)
    with pytest.raises(InputError, match="/student/qlora_rank: a 4-bit base needs bitsandbytes"):
        run(qlora_rank=4)


def test_a_4_bit_base_is_trained_and_gives_the_same_bytes_again(run, monkeypatch):
    """On a CPU, in the same code as on a card: the linear layers are really held in 4 bits."""
    from safetensors.numpy import load

    from distill.student.training import trainer

    build, held = trainer.build, []

    def seen(**how: Any) -> Any:
        model = how["model"].model
        held.append((model.layers[0].mlp.up_proj.weight.dtype, model.embed_tokens.weight.dtype))
        return build(**how)

    monkeypatch.setattr(trainer, "build", seen)
    files = run("once", qlora_rank=8)
    assert [str(kind) for kind in held[0]] == ["torch.uint8", "torch.float32"]
    report = json.loads(files["reports/training.json"])
    assert report["loss_last"] < report["loss_first"] / 2
    assert json.loads(files["models/adapter/adapter_config.json"])["r"] == 8
    weights = load(files["models/adapter/adapter_model.safetensors"])
    assert {str(values.dtype) for values in weights.values()} == {"float32"}  # in bf16 small steps would change nothing
    assert run("twice", qlora_rank=8) == files


def test_in_bf16_the_adapter_stays_in_fp32_and_its_inputs_do_not_become_it(run, monkeypatch):
    """As on a card, but on a CPU: autocast rounds to bf16 what peft would have made fp32 before, which changes no bit."""
    import peft.helpers
    import trl
    from peft.tuners.tuners_utils import BaseTunerLayer
    from safetensors.numpy import load

    from distill.student import base_weights

    config, cast, in_fp32 = trl.SFTConfig, BaseTunerLayer._cast_input_dtype, base_weights.load
    became: list[bool] = []

    def seen(self: Any, x: Any, dtype: Any) -> Any:
        given = cast(self, x, dtype)
        became.append(given.dtype != x.dtype)
        return given

    monkeypatch.setattr(trl, "SFTConfig", lambda **how: config(**how | {"bf16": True}))
    monkeypatch.setattr(base_weights, "load", lambda *base: in_fp32(*base).bfloat16())
    monkeypatch.setattr(BaseTunerLayer, "_cast_input_dtype", seen)
    files = run("as they are")
    assert became and not any(became)
    report = json.loads(files["reports/training.json"])
    assert report["loss_last"] < report["loss_first"] / 2
    weights = load(files["models/adapter/adapter_model.safetensors"])
    assert {str(values.dtype) for values in weights.values()} == {"float32"}
    monkeypatch.setattr(peft.helpers, "disable_input_dtype_casting", lambda *_, active: nullcontext())
    assert run("in fp32") == files and any(became)


def test_rows_follow_each_other_as_on_a_card(uninterrupted, run, monkeypatch):
    """On a CPU, with what a card is given: rows without a common beginning, which attend one by one."""
    import trl

    config = trl.SFTConfig
    monkeypatch.setattr(trl, "SFTConfig", lambda **how: config(**how | {"use_cpu": False}))
    card = json.loads(run("card")["reports/training.json"])
    whole = json.loads(uninterrupted["reports/training.json"])
    assert card["loss_first"] == pytest.approx(whole["loss_first"], rel=1e-4)
    assert card["loss_last"] == pytest.approx(whole["loss_last"], rel=1e-2)


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
    assert not list((cache / "checkpoints").glob("*/"))


def test_a_batch_that_cannot_be_shared_is_refused():
    assert train.share(8, 2) == 4
    with pytest.raises(InputError, match="/student/batch_size: 4 rows cannot be shared evenly among 3 processes"):
        train.share(4, 3)


def test_it_is_refused_before_the_processes_are_launched(run, monkeypatch):
    launches: list[list[str]] = []
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    monkeypatch.setattr(launch, "run", lambda start, prepared: launches.append(start) or 0)
    with pytest.raises(InputError, match="4 rows cannot be shared evenly among 3 processes"):
        run()
    with pytest.raises(SystemExit):
        run(batch_size=6)
    assert len(launches) == 1


def test_rows_are_rendered_on_all_cores_until_others_train_beside(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    assert launch.share_of(64) == 64, "the process that launches the others is alone"
    for name, value in {"WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"}.items():
        monkeypatch.setenv(name, value)
    assert launch.share_of(64) == 8 and launch.share_of(4) == 1


def test_a_launch_is_tried_again_only_for_want_of_memory(tmp_path):
    """The first process of each launch says why it ends; a file counts the launches."""
    count = tmp_path / "count"
    script = (
        "import os, pathlib, sys; count = pathlib.Path(sys.argv[1]); text = count.read_text() if count.exists() else '';"
        "count.write_text(text + 'x'); first = not text;"
        f"first and pathlib.Path(os.environ['{micro_batch.NOTICE}']).touch(); sys.exit(1 if first else int(sys.argv[2]))"
    )
    for end in (0, 3):
        count.unlink(missing_ok=True)
        assert launch.run([sys.executable, "-c", script, str(count), str(end)], Examples([], [], 0, 0)) == end
        assert count.read_text() == "xx"


def test_launched_processes_get_the_rows_that_are_rendered(tmp_path, capfd, monkeypatch):
    """Also after a launch that ran out of memory; where the disk has no room they render for themselves."""
    made = Examples([TokenSequence(array("i", [1, 2]), array("i", [IGNORED, 2]))], [], 1, 0, ["t"])
    told = (
        "import os, pathlib; from distill.student.training import launch; print(launch.prepared(), flush=True);"
        f"notice = pathlib.Path(os.environ['{micro_batch.NOTICE}']); first = not (notice.parent / 'tried').exists();"
        "(notice.parent / 'tried').touch(); first and notice.touch(); raise SystemExit(int(first))"
    )
    assert launch.prepared() is None and launch.run([sys.executable, "-c", told], made) == 0
    assert capfd.readouterr().out == f"{made}\n" * 2

    def full(path: Path, _: bytes) -> None:
        path.write_text("half of it")
        (tmp_path / "rows").write_text(str(path))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert launch.run([sys.executable, "-c", told], made) == 0
    left = f"import os; print(os.stat(open({str(tmp_path / 'rows')!r}).read()).st_size)"
    assert launch.run([sys.executable, "-c", left], made) == 0
    assert capfd.readouterr().out == "None\nNone\n0\n"


def test_a_launcher_that_is_killed_leaves_no_rows_behind(tmp_path):
    script = (
        "import sys; from array import array; from distill.student.render import TokenSequence;"
        "from distill.student.training import launch; from distill.student.training.examples import Examples;"
        "tokens = array('i', range(100_000)); made = Examples([TokenSequence(tokens, tokens)], [], 1, 0);"
        "told = 'from distill.student.training import launch; print(launch.prepared().tokens, flush=True); input()';"
        "launch.run([sys.executable, '-c', told], made)"
    )
    told = {**os.environ, "TMPDIR": str(tmp_path)}
    start = [sys.executable, "-c", script]
    with subprocess.Popen(start, env=told, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout and launcher.stdout.readline() == "100000\n"
        launcher.kill()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_shipped_configuration_is_one_that_accelerate_knows():
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(launch.FSDP))
    assert config.distributed_type == "FSDP"
    assert config.fsdp_config["fsdp_version"] == 2
    assert str(launch.FSDP) in launch.command(8, four_bit=False)
    assert "--multi_gpu" in launch.command(8, four_bit=True)


SPREAD = """
import torch
from accelerate import FullyShardedDataParallelPlugin
from torch.distributed.fsdp import fully_shard
from distill.student.training.trainer import keep_losses_exact

class Loss(torch.nn.Linear):
    def forward(self, states):
        return super().forward(states).float().sum()

plugin = FullyShardedDataParallelPlugin(fsdp_version=2)
plugin.set_mixed_precision("bf16")
keep_losses_exact(plugin)
torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
mesh = torch.distributed.init_device_mesh("cpu", (1,))
print(fully_shard(Loss(8, 8), mesh=mesh, mp_policy=plugin.mixed_precision_policy)(torch.ones(1, 8)).dtype)
torch.distributed.destroy_process_group()
"""


def test_losses_of_a_model_that_is_spread_are_not_rounded():
    """With as many processes as there are, here one, and as accelerate sets it up. In a process of its own: forks from a
    thread of one that had a process group crash."""
    done = subprocess.run([sys.executable, "-c", SPREAD], capture_output=True, text=True, check=True)
    assert done.stdout == "torch.float32\n"


def test_patience_counts_from_the_lowest():
    assert [callback.not_better_for(losses) for losses in ([3.0], [3.0, 2.0], [3.0, 2.0, 2.5], [1, 2, 3, 0.5, 0.6])] == [
        0, 0, 1, 1,
    ]  # fmt: skip


def test_the_memory_of_a_training_is_that_of_the_process(monkeypatch):
    """Linux counts KiB, macOS bytes."""
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    row = TokenSequence([1, 2], [IGNORED, 2])
    for system, unit in (("linux", 1024), ("darwin", 1)):
        monkeypatch.setattr(sys, "platform", system)
        speed = measured(None, Examples([row], [], 1, 0), 1, 1.0, "cpu")
        assert speed.memory == pytest.approx(highest * unit, rel=0.1)


def test_the_speed_on_a_card_is_of_the_operations_that_torch_counts(gguf, monkeypatch):
    """A forward and backward pass over a row; torch counts attention without the mask."""
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModelForCausalLM

    from distill.student import base
    from distill.student.training.speed import operations

    model = AutoModelForCausalLM.from_pretrained(base.find(str(gguf)).directory, attn_implementation="eager")
    tuned = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    length, learned = 64, 16
    with FlopCounterMode(display=False) as torchs:
        tuned(input_ids=torch.ones(1, length, dtype=torch.long), logits_to_keep=learned).logits.sum().backward()
    assert operations(tuned, length, length * length, learned) == pytest.approx(torchs.get_total_flops(), rel=0.06)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * 2**30)
    row = TokenSequence([1] * length, [IGNORED] * (length - learned) + [1] * learned)
    seconds = operations(tuned, length, length * (length + 1) / 2, learned) / 989e12
    speed = measured(tuned, Examples([row] * 10, [], 10, 0), 2, 40 * seconds, "cuda")
    assert str(speed).endswith(" tokens/s, 50% of 989 TFLOP/s, 3.0 GiB at most")
