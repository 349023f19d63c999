"""Rows that go through a model at once have the loss and gradient that they have one by one."""

from typing import Any

import pytest
from training import *  # noqa: F403

from distill.student.render import IGNORED
from distill.student.training import packing


def rows_of(*pairs: tuple[list[int], int]) -> list[dict[str, list[int]]]:
    """Rows of tokens of which those from a place on are learned."""
    return [{"input_ids": ids, "labels": [IGNORED] * start + ids[start:]} for ids, start in pairs]


@pytest.mark.parametrize(
    "rows",
    [
        rows_of(([5, 6, 7, 8, 9, 10], 4), ([5, 6, 7, 11, 12], 4), ([5, 6, 7, 8, 9, 13, 14], 5)),
        rows_of(([5, 6, 7, 8, 9], 3), ([5, 6, 7, 10, 11], 3)),  # one prompt, two answers
        rows_of(([5, 6, 7], 1), ([8, 9, 10, 11], 2)),  # nothing in common
        rows_of(([5, 6, 7, 8], 2), ([5, 6, 7, 8], 2)),  # the same twice
        rows_of(([5, 6, 7, 8], 2)),
    ],
)
def test_a_packed_batch_has_the_loss_and_gradient_of_its_rows(rows, gguf):
    import torch
    from transformers import AutoModelForCausalLM

    from distill.student import base

    model = AutoModelForCausalLM.from_pretrained(base.find(str(gguf)).directory)
    weight = model.model.layers[0].self_attn.q_proj.weight

    def backward(loss: Any) -> tuple[Any, Any]:
        model.zero_grad()
        loss.backward()
        return loss.detach(), weight.grad.clone()

    def loss(logits: Any, targets: Any) -> Any:
        return torch.nn.functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")

    def alone(one: dict[str, list[int]]) -> Any:
        return loss(model(torch.tensor([one["input_ids"]])).logits[0, :-1], torch.tensor(one["labels"][1:]))

    batch = packing.pack(rows)
    targets = batch.pop("shift_labels")[0]
    del batch["labels"]
    packed = backward(loss(model(**batch).logits[0], targets))
    separate = backward(sum(alone(one) for one in rows))
    torch.testing.assert_close(packed, separate, rtol=1e-4, atol=1e-5)
    shared = packing.common_context(rows)
    assert len(targets) == sum(len(one["input_ids"]) for one in rows) - shared * (len(rows) - 1)


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
WINDOWS = {"sliding_window": 30, "layer_types": ["sliding_attention", "full_attention"]}
LINEAR = {"linear_num_value_heads": 2, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}


@pytest.mark.parametrize(
    ("family", "settings"),
    [("qwen3", {}), ("gemma3_text", WINDOWS), ("mistral", {"sliding_window": 30}), ("nemotron", {})],
)
@pytest.mark.parametrize("recompute", [False, True])
def test_rows_that_attend_one_by_one_have_the_loss_and_gradient_of_single_rows_and_need_no_mask(
    family, settings, recompute
):
    """Windows are longer than some rows. Only Nemotron does not hand on which rows there are, and keeps to the mask."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **LAYERS, **settings, eos_token_id=0))
    weight = model.model.layers[0].self_attn.q_proj.weight
    rows = rows_of(*[(torch.randint(3, 64, (length,)).tolist(), 5) for length in (40, 26, 31)])
    squares: list[Any] = []

    def kept(saved: Any) -> Any:
        squares.extend([saved] if saved.shape[-2:] == (97, 97) else [])
        return saved

    def learned(*batches: list[dict[str, list[int]]]) -> tuple[Any, Any]:
        model.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(kept, lambda saved: saved):
            losses = [packing.summed_loss(model, packing.concatenate(batch), False)[0] for batch in batches]
        sum(losses).backward()
        return sum(losses).detach(), weight.grad.clone()

    alone = learned(*([row] for row in rows))
    masked = learned(rows)
    assert len(squares) == 2, "each layer keeps a copy of the mask"
    packing.attend_row_by_row(model)
    if recompute:
        model.train().activation_checkpointing_enable()
    squares.clear()
    torch.testing.assert_close(learned(rows), alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(masked, alone, rtol=1e-4, atol=1e-5)
    if family != "nemotron" and not recompute:
        assert not squares


def tiny(family: str, **settings: Any) -> Any:
    """A model to which TRL's output matrix was added."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    torch.manual_seed(0)
    words = {"vocab_size": 96, "eos_token_id": 0}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **LAYERS | words | settings))
    for weights in model.parameters():
        if weights.dim() > 1:
            torch.nn.init.normal_(weights, std=0.2)
    add_fused_lm_head(model)
    return model


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("qwen3", {}),
        ("gemma3_text", {"final_logit_softcapping": 2.0}),
        ("cohere2", {"logit_scale": 0.3}),
        ("granite", {"logits_scaling": 3.0}),
    ],
)
def test_logits_in_tiles_give_the_same_loss_and_gradient_and_none_are_kept(family, settings):
    import torch
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    student = get_peft_model(tiny(family, **settings), lora)
    batch = packing.concatenate(rows_of(*[(torch.randint(3, 96, (length,)).tolist(), 5) for length in (40, 26)]))
    logits: list[Any] = []

    def kept(saved: Any) -> Any:
        logits.extend([saved] if saved.shape[-1:] == (96,) else [])
        return saved

    def learned(tiled: bool) -> list[Any]:
        student.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(kept, lambda saved: saved):
            loss, count = packing.summed_loss(student, batch, tiled)
        loss.backward()
        return [loss.detach(), count, *(one.grad.clone() for one in student.parameters() if one.requires_grad)]

    at_once = learned(tiled=False)
    assert logits
    logits.clear()
    torch.testing.assert_close(learned(tiled=True), at_once, rtol=1e-4, atol=1e-4)
    assert not logits


@pytest.mark.parametrize(
    ("family", "why"),
    [
        ("llama4_text", "has no attribute 'last_hidden_state'"),  # TRL looks for its layers elsewhere
        ("modernbert-decoder", "TRL's tiles have a loss of "),  # it has a layer before its output matrix
    ],
)
def test_logits_are_computed_at_once_where_tiles_do_not_give_the_models_own_loss(family, why, capsys):
    assert not packing.can_tile(tiny(family))
    told = capsys.readouterr().out
    assert "all logits are computed at once, which takes more memory: " in told and why in told


def test_logits_are_computed_at_once_where_a_card_cannot_compile_the_gradient_of_tiles(monkeypatch, capsys):
    model = tiny("qwen3").train()
    assert packing.can_tile(model) and model.training and not capsys.readouterr().out
    assert all(weight.grad is None for weight in model.parameters())

    def too_old(*_: Any, **__: Any) -> None:
        raise RuntimeError("Feature '.bf16' requires .target sm_80 or higher")

    monkeypatch.setattr("trl.kernels.chunked_logprob._backward_tile", too_old)
    assert not packing.can_tile(model)
    assert "takes more memory: Feature '.bf16' requires" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("family", "layout", "settings"),
    [
        ("qwen3", "shared", {}),
        ("gemma3_text", "apart", {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}),
        ("mistral", "apart", {"sliding_window": 8}),
        ("qwen3_5_text", "alone", {"layer_types": ["linear_attention", "full_attention"], **LINEAR}),
        ("lfm2", "alone", {"layer_types": ["conv", "full_attention"]}),
        ("recurrent_gemma", "alone", {"lru_width": 32, "block_types": ["recurrent", "attention"]}),
        ("gptj", "shared", {"rotary_dim": 8}),
        ("stablelm", "alone", {}),
        ("gpt2", "shared", {}),
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
