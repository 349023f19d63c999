"""Tokens per second of training, against plain TRL on the same rows: `make bench-training`.

On a CPU: the real student and rows of the shop, fp32, both in this process one after the other. Plain TRL means its
SFTTrainer with a LoRA adapter of the same rank on the same layers, given the same tokens and labels, with its own
collator, loss and evaluation settings. Both must end the same first step with the same loss, or nothing is compared.

On a card: Qwen3-8B's shape with random weights, 2048 tokens a row, LoRA in bf16 and QLoRA, against plain TRL with
packing and against the limit that the card's data sheet sets.
"""

import argparse
import gc
import json
import math
import os
import tempfile
import time
import timeit
from dataclasses import replace
from pathlib import Path
from typing import Any

from distill.records.types import Params
from distill.student.base import Base, find
from distill.student.device import find_device
from distill.student.render import IGNORED, TokenSequence
from distill.student.tokenizer import load_tokenizer
from distill.student.training import train
from distill.student.training.examples import Examples, sequences
from distill.student.training.packing import pack
from distill.student.training.speed import Speed, operations
from distill.student.training.train import Trained

ROUNDS = 2
GEMM = (512, 1024, 1024)
"""Rows, inner size and columns of the matrix product that measures the peak of a CPU."""
GEMM_TRIES = 12
STUDENT = "local/smollm2-135m-instruct"
SYSTEM = "You work in a small shop. Prices and stock come from lookup_item, sums from calculator: always call one of them first."
QWEN3_8B = {
    "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 40960,
    "tie_word_embeddings": False, "dtype": "bfloat16",
}  # fmt: skip
PARAMS = {
    "path": STUDENT, "template": None, "lora_rank": 16, "qlora_rank": None, "batch_size": 4, "num_epochs": 1,
    "learning_rate": 0.001, "max_length": 1024, "early_stopping": None, "seed": 0,
}  # fmt: skip


def shop_rows(count: int) -> Examples:
    """Conversations of the default example's form: a question, a call, its result, an answer."""
    from distill.tools.python.python_tool import build
    from tools import calculator, lookup_item

    offered = [build(tool).schema for tool in (lookup_item, calculator)]
    prompts = [json.loads(line) for line in Path("data/seed/shop.jsonl").read_text().splitlines()]
    looked_up = [prompt for prompt in prompts if prompt["metadata"]["family"] == "lookup"][:count]
    rows = []
    for number, prompt in enumerate(looked_up):
        sku, answer = prompt["metadata"]["items"][0], prompt["metadata"]["expected_answer"]
        function = {"name": "lookup_item", "arguments": json.dumps({"sku": sku, "field": "price"})}
        rows.append(
            {
                "messages": [
                    *prompt["messages"],
                    {
                        "role": "assistant",
                        "content": "",
                        "tool_calls": [{"id": "c", "type": "function", "function": function}],
                    },
                    {"role": "tool", "tool_call_id": "c", "content": str(answer)},
                    {"role": "assistant", "content": f"Answer: {answer}"},
                ],
                "tools": offered,
                "prompt_id": f"{number:016x}",
            }
        )
    tokenizer = load_tokenizer(STUDENT, None)
    return Examples([sequence for row in rows for sequence in sequences(row, tokenizer, 1024)], [], len(rows), 0)


def long_rows(count: int, length: int, vocabulary: int) -> Examples:
    """Rows of random tokens of which the last quarter is learned."""
    import random

    draw = random.Random(0)
    tokens = [[draw.randrange(100, vocabulary - 1000) for _ in range(length)] for _ in range(count)]
    learned = length // 4
    return Examples(
        [TokenSequence(row, [IGNORED] * (length - learned) + row[-learned:]) for row in tokens], [], count, 0
    )


def random_base(folder: Path, shape: dict[str, Any]) -> Base:
    """A model of this shape with random weights and a tokenizer that knows next to nothing, as transformers loads them."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen3ForCausalLM._from_config(Qwen3Config(**shape), dtype=getattr(torch, shape["dtype"]))
    model.save_pretrained(folder)
    letters = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1}, unk_token="<pad>"))
    PreTrainedTokenizerFast(tokenizer_object=letters, pad_token="<pad>", eos_token="<eos>").save_pretrained(folder)
    return Base("random", folder, "random")


def ours(examples: Examples, base: Base, params: Params) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        trained = train.train(examples, base, params, Path(folder))
    log = trained.log
    speed = trained.speed if find_device() == "cuda" else against_gemm(trained, examples, params["batch_size"])
    return {
        "loss": log[0]["loss"], "losses": [entry["loss"] for entry in log], "tokens_per_s": trained.speed.tokens_per_s,
        "grad_norm": min(entry["grad_norm"] or 0.0 for entry in log), "speed": speed,
    }  # fmt: skip


def against_gemm(trained: Trained, examples: Examples, batch_size: int) -> Speed:
    """The speed of one epoch on a CPU, as a share of what a matrix product reaches there."""
    import torch

    rows, inner, columns = GEMM
    left, right = torch.ones(rows, inner), torch.ones(inner, columns)
    seconds = min(timeit.repeat(lambda: torch.mm(left, right), number=1, repeat=GEMM_TRIES))
    peak = 2 * rows * inner * columns / seconds
    sequences = [vars(sequence) for sequence in examples.train]
    batches = [pack(sequences[start : start + batch_size]) for start in range(0, len(sequences), batch_size)]
    positions = torch.cat([batch["position_ids"][0] for batch in batches])
    done = operations(trained.model, len(positions), (positions + 1).sum().item(), examples.labelled_tokens)
    return replace(trained.speed, utilisation=done / trained.speed.seconds / peak, peak=peak)


def plain_trl(examples: Examples, base: Base, params: Params, packed: bool) -> dict[str, Any]:
    """SFTTrainer as a user would set it up: per-device batch 1 with accumulation on a CPU (its fastest there), packing
    on a card; gradient checkpointing as TRL has it by default on a card, none on a CPU (slower)."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer, BitsAndBytesConfig
    from trl import SFTConfig, SFTTrainer

    cuda = torch.cuda.is_available()
    rank, four_bit = params["qlora_rank"] or params["lora_rank"], params["qlora_rank"] is not None
    dtype = torch.bfloat16 if cuda else torch.float32
    quantized = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=str(base.directory),
            args=SFTConfig(
                output_dir=folder, seed=params["seed"], data_seed=params["seed"], bf16=cuda, use_cpu=not cuda,
                model_init_kwargs={"dtype": dtype, **({"quantization_config": quantized} if four_bit else {})},
                per_device_train_batch_size=1, gradient_accumulation_steps=params["batch_size"], packing=packed,
                max_length=params["max_length"] if packed else None, activation_checkpointing=cuda,
                num_train_epochs=params["num_epochs"], learning_rate=params["learning_rate"], optim="adamw_torch",
                logging_steps=1, save_strategy="no",
                report_to=[], disable_tqdm=True, log_level="error",
            ),
            peft_config=LoraConfig(r=rank, lora_alpha=train.ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"),
            train_dataset=Dataset.from_list([vars(sequence) for sequence in examples.train]),
            processing_class=AutoTokenizer.from_pretrained(base.directory),
        )  # fmt: skip
        began = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - began
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {
        "loss": history[0]["loss"], "losses": [entry["loss"] for entry in history],
        "tokens_per_s": examples.tokens * params["num_epochs"] / seconds,
        "grad_norm": min(entry["grad_norm"] for entry in history),
    }  # fmt: skip


def compare(examples: Examples, base: Base, params: Params, packed: bool, same: float, title: str) -> None:
    rounds: dict[str, list[dict[str, Any]]] = {"plain TRL": [], "here": []}
    for _ in range(ROUNDS):  # by turns, so that what else the machine does hits both
        rounds["plain TRL"].append(plain_trl(examples, base, params, packed))
        gc.collect()
        rounds["here"].append(ours(examples, base, params))
        gc.collect()
    theirs, mine = (max(runs, key=lambda run: run["tokens_per_s"]) for runs in rounds.values())
    for who, found in (("plain TRL", theirs), ("here", mine)):
        if not (math.isfinite(found["grad_norm"]) and found["grad_norm"] > 0):
            raise SystemExit(f"error: {who} trained with a gradient of {found['grad_norm']}: its speed means nothing")
    apart = abs(theirs["loss"] - mine["loss"]) / theirs["loss"]
    if apart > same:
        raise SystemExit(f"error: the first losses are {theirs['loss']} and {mine['loss']}: not the same training")
    print(
        f"{title}: {examples.tokens} tokens, first loss {theirs['loss']:.4f} and {mine['loss']:.4f}, last"
        f" {theirs['losses'][-1]:.4f} and {mine['losses'][-1]:.4f}\n"
        f"  plain TRL {_all(rounds['plain TRL'])} tokens/s\n"
        f"  here      {_all(rounds['here'])} tokens/s; {mine['speed']}\n"
        f"  ratio     {mine['tokens_per_s'] / theirs['tokens_per_s']:.2f}",
        flush=True,
    )


def _all(runs: list[dict[str, Any]]) -> str:
    return " and ".join(f"{run['tokens_per_s']:.0f}" for run in runs)


def limit(shape: dict[str, Any], rank: int, peak: float, length: int, learned: float) -> float:
    """Tokens per second of LoRA if the card did nothing but its arithmetic, nothing twice; `learned` is a share."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen3Config, Qwen3ForCausalLM

    with torch.device("meta"):
        bare = Qwen3ForCausalLM(Qwen3Config(**shape))
        model = get_peft_model(bare, LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM"))
    return peak / operations(model, 1, (length + 1) / 2, learned)


def on_a_card(shape: dict[str, Any], rows: int, length: int, peak: float | None) -> None:
    """LoRA and QLoRA over random weights of a shape; `peak` is what the card can do in a second, where it is known."""
    with tempfile.TemporaryDirectory() as folder:
        base = random_base(Path(folder), shape)
        examples = long_rows(rows, length, shape["vocab_size"])
        if peak:
            bound = limit(shape, 32, peak, length, 0.25)
            print(f"the limit at {length} tokens, a quarter learned: {bound:.0f} tokens/s")
        settings = PARAMS | {"batch_size": 8, "lora_rank": 32, "learning_rate": 1e-4, "max_length": length}
        compare(examples, base, settings, True, 0.02, "Qwen3-8B's shape, LoRA, bf16")
        compare(examples, base, settings | {"qlora_rank": 32}, True, 0.02, "Qwen3-8B's shape, QLoRA")


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=12, help="rows of the shop, on a CPU")
    chosen = parser.parse_args()
    print(f"{torch.cuda.get_device_name() if torch.cuda.is_available() else f'{torch.get_num_threads()} CPU threads'}")
    if not torch.cuda.is_available():
        compare(shop_rows(chosen.rows), find(STUDENT), PARAMS, False, 1e-3, "SmolLM2-135M, LoRA, fp32")
        print("the benchmark for cards was not run: there is none here")
        return
    from trl.trainer.utils import get_peak_flops

    on_a_card(QWEN3_8B, 64, 2048, get_peak_flops(torch.cuda.get_device_name(), "bfloat16"))


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
