"""The benchmark's part for cards, at a toy size on whatever there is: so that it runs on the day that there is a card."""

import re

import pytest

from benchmarks import training

TOY = training.QWEN3_8B | {
    "vocab_size": 2000, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 512, "dtype": "float32",
}  # fmt: skip


def test_the_part_for_cards_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DISTILL_CACHE", str(tmp_path))
    monkeypatch.setattr(training, "ROUNDS", 1)
    training.on_a_card(TOY, rows=16, length=64, peak=1e12)
    said = capsys.readouterr().out
    assert re.search(r"the limit at 64 tokens, a quarter learned: \d+ tokens/s", said)
    ratios = re.findall(
        r"Qwen3-8B's shape, (Q?LoRA).*: 1024 tokens.*\n.*plain TRL \d+ .*\n.*here .*\n  ratio +[\d.]+", said
    )
    assert ratios == ["LoRA", "QLoRA"]


def test_the_limit_is_that_of_the_formula():
    """LoRA on Qwen3-8B at 2048 tokens and 989 TFLOP/s with a seventh of them learned: 32,400 tokens/s by hand."""
    assert training.limit(training.QWEN3_8B, 32, 989e12, 2048, 0.15) == pytest.approx(32_400, rel=0.02)
