"""The model card: where an adapter comes from, for whoever finds the folder."""

import pytest
import yaml

from distill.student.training import lineage

RECORD = {
    "base": "Qwen/Qwen3-8B", "base_commit": "c0" * 20, "teachers": ["gpt-5.2", "local/small"],
    "rows": 40, "validation_rows": 2, "tokens": 9000,
    "labels": 700, "trainable": 87_293_952, "parameters": 8_277_000_000, "data_sha256": "ab" * 32, "loss_first": 1.5,
    "loss_last": 0.25, "validation_loss": 0.31, "versions": {"torch": "2.13.0", "peft": "0.21.2"},
}  # fmt: skip
PARAMS = {"path": "Qwen/Qwen3-8B", "template": None, "qlora_rank": 32, "learning_rate": 0.0001, "lora_rank": 16}


@pytest.mark.parametrize("loss", [0.31, None])
def test_the_card_tells_base_teacher_data_counts_settings_metrics_and_licence(loss):
    card = lineage.card(RECORD | {"validation_loss": loss}, PARAMS)
    _, head, text = card.split("---\n", 2)
    assert yaml.safe_load(head)["base_model"] == "Qwen/Qwen3-8B"
    told = [
        "gpt-5.2, local/small", "| rows | 40; 2 rows held out", "9000, of which 700", "| " + "ab" * 32, "1.5000, 0.2500",
        "| trained parameters | 87293952 of 8277000000 |", "torch 2.13.0, peft 0.21.2", "| qlora_rank | 32 |",
        "| learning_rate | 0.0001 |", "| commit of the base | " + "c0" * 20,
        "terms of the teacher's provider", "PeftModel.from_pretrained", "--enable-lora",
    ]  # fmt: skip
    assert [part for part in told if part not in text] == []
    assert ("| validation loss | 0.3100 |" in text) == (loss is not None)
    assert "| lora_rank |" not in text and "\n\n|" in text


@pytest.mark.parametrize("base", ["models/base", "../base", "local/smollm2-135m-instruct", "tiny.gguf"])
def test_the_hub_hears_of_no_base_that_it_does_not_have(base):
    """It refuses a card whose base_model is a path, and would link another model that has such a name."""
    card = lineage.card(RECORD | {"base": base, "base_commit": None, "validation_loss": None}, PARAMS)
    assert "base_model" not in yaml.safe_load(card.split("---\n")[1])
    assert f"A LoRA adapter for {base}, trained" in card
