"""Bases that are more than layers of attention over text: towers for images, sliding windows, experts, a state carried on.

Each is small and random, of the class that such models are published as.
"""

import json
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from families import own, write_tokenizer
from tiny_rows import row
from training import HERE, folder, one_thread

from distill.records.faults import InputError
from distill.student import adapter, base_weights
from distill.student.base import Base
from distill.student.merge import merge
from distill.student.serving.loaded import Loaded
from distill.student.tokenizer import load_tokenizer
from distill.student.training.examples import sequences
from distill.student.training.packing import attend_row_by_row, concatenate, layout, summed_loss
from stages import sft_train

TEXT = {
    "vocab_size": 900, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 1024, "initializer_range": 0.3,
    "bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
SEES = {"hidden_size": 32, "intermediate_size": 48, "image_size": 28, "patch_size": 14}
ROWS = [row(number) for number in range(4)]
TEXT_ONLY, WITH_TOWERS = "base_model.model.model.", "base_model.model.model.language_model."


def gemma3() -> Any:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    layers = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 32}
    vision = SEES | {"num_hidden_layers": 1, "num_attention_heads": 2}
    config = Gemma3Config(text_config=TEXT | layers, vision_config=vision, mm_tokens_per_image=4, image_token_index=890)
    return Gemma3ForConditionalGeneration(config)


def gemma4() -> Any:
    from transformers import Gemma4Config, Gemma4ForConditionalGeneration

    layers = {
        "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 32, "vocab_size_per_layer_input": 900,
        "hidden_size_per_layer_input": 8,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 2, "head_dim": 16, "patch_size": 14, "position_embedding_size": 16,
    }  # fmt: skip
    images = {"image_token_id": 890, "video_token_id": 891, "audio_token_id": 892}
    return Gemma4ForConditionalGeneration(
        Gemma4Config(text_config=TEXT | layers, vision_config=vision, audio_config=None, **images)
    )


def mistral3() -> Any:
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration, MistralConfig, PixtralVisionConfig

    vision = PixtralVisionConfig(**SEES, num_hidden_layers=1, num_attention_heads=2)
    text = MistralConfig(**TEXT, sliding_window=None)
    return Mistral3ForConditionalGeneration(
        Mistral3Config(text_config=text, vision_config=vision, image_token_index=890)
    )


def qwen3_5() -> Any:
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    layers = {
        "layer_types": ["linear_attention", "full_attention"], "linear_key_head_dim": 8, "linear_value_head_dim": 8,
        "linear_num_key_heads": 2, "linear_num_value_heads": 2,
    }  # fmt: skip
    vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32}
    config = Qwen3_5Config(text_config=TEXT | layers, vision_config=vision, image_token_id=890, video_token_id=891)
    return Qwen3_5ForConditionalGeneration(config)


def gpt_oss() -> Any:
    """Its own masks do not keep rows apart that lie one after the other."""
    from transformers import GptOssConfig, GptOssForCausalLM

    layers = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 32}
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2}
    rope = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}
    return GptOssForCausalLM(GptOssConfig(**TEXT, **layers, **experts, **rope))


@pytest.fixture(
    scope="module",
    params=[
        (gpt_oss, "apart", TEXT_ONLY),
        (gemma3, "apart", WITH_TOWERS),
        (gemma4, "apart", WITH_TOWERS),
        (mistral3, "shared", WITH_TOWERS),
        (qwen3_5, "alone", WITH_TOWERS),
    ],
)
def student(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The folder of a base, how its rows may lie together, and where its adapter's weights are."""
    import torch

    one_thread()
    make, together, weights = request.param
    place = write_tokenizer(tmp_path_factory.mktemp(make.__name__) / "base", "qwen3")
    (place / "chat_template.jinja").write_text(own("qwen3_instruct_2507"), encoding="utf-8")
    generation = (place / "generation_config.json").read_bytes()
    torch.manual_seed(0)
    make().save_pretrained(place)
    (place / "generation_config.json").write_bytes(generation)
    (place / "preprocessor_config.json").write_text("{}")
    return place, together, weights


def test_on_a_card_its_rows_have_the_loss_that_they_have_one_by_one(student):
    """Row by row, and with logits in tiles; some rows are longer than the windows."""
    import torch
    from trl.trainer.utils import add_fused_lm_head

    place, together, _ = student
    tokenizer = load_tokenizer(str(place))
    rows = [vars(sequence) for row in ROWS for sequence in sequences(row, tokenizer, 1024)]
    model = base_weights.open_base(place, False, "cpu")
    with torch.no_grad():
        alone = sum(summed_loss(model, concatenate([row]), False)[0] for row in rows)
        attend_row_by_row(model)
        add_fused_lm_head(model)
        batches = [[row] for row in rows] if together == "alone" else [rows]
        card = sum(summed_loss(model, concatenate(batch), True)[0] for batch in batches)
    torch.testing.assert_close(card, alone, rtol=1e-4, atol=0)


def test_its_layers_can_be_spread_over_cards(student):
    from accelerate import FullyShardedDataParallelPlugin

    model = base_weights.open_base(student[0], False, "cpu", spread=True)
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, auto_wrap_policy="transformer_based_wrap")
    plugin.set_auto_wrap_policy(model)
    assert set(model.state_dict(keep_vars=True)) == {name for name, _ in model.named_parameters(remove_duplicate=False)}
    assert plugin.auto_wrap_policy.keywords["transformer_layer_cls"] >= {type(model.get_decoder().layers[0])}


def test_it_is_trained_merged_and_asked_under_the_names_of_its_checkpoint(student, tmp_path, monkeypatch):
    import torch
    from safetensors.torch import load_file

    place, together, weights = student
    monkeypatch.setenv("DISTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(folder(tmp_path / "here", ROWS))
    settings = {
        "path": str(place), "template": None, "lora_rank": 4, "qlora_rank": None, "batch_size": 4, "num_epochs": 1,
        "learning_rate": 0.01, "max_length": 1024, "early_stopping": None, "seed": 0,
    }  # fmt: skip
    sft_train.main({"student": settings, "runtime": HERE})
    names = list(load_file("models/adapter/adapter_model.safetensors"))
    assert names and [name for name in names if not name.startswith(weights)] == []

    assert layout(base_weights.config(place)) == together
    tokenizer = load_tokenizer(str(place))
    rows = [sequence for row in ROWS for sequence in sequences(row, tokenizer, 1024)]
    tuned = Loaded(place, Path("models/adapter"))
    report = json.loads(Path("reports/training.json").read_text())
    apart = [tuned.loss([sequence], adapted=False) * learned(sequence) for sequence in rows]
    mean = sum(apart) / sum(map(learned, rows))
    assert tuned.loss(rows, adapted=False) == pytest.approx(mean, rel=1e-4), "rows see each other"
    assert report["loss_first"] == pytest.approx(mean, rel=1e-4)
    assert tuned.loss(rows, adapted=True) < mean

    merge(str(place), Path("models/adapter"), Path("models/merged"))
    assert Path("models/merged/preprocessor_config.json").exists()
    merged = copy(tuned)
    merged.model = base_weights.open_base(Path("models/merged"), False, "cpu").eval()
    assert type(merged.model) is type(base_weights.open_folder(place))
    assert merged.loss(rows, adapted=True) == pytest.approx(tuned.loss(rows, adapted=True), rel=1e-4)
    prompts = [rows[0].input_ids[:40], rows[1].input_ids[:60]]
    answers = tuned.generate(prompts, [2], 8, adapted=True, temperature=0)
    assert answers == merged.generate(prompts, [2], 8, adapted=True, temperature=0)
    assert answers[0] == tuned.generate(prompts[:1], [2], 8, adapted=True, temperature=0)[0], "padding is seen"
    with torch.no_grad():
        assert tuned.model(torch.tensor(prompts[:1])).logits[0, -1].argmax() == answers[0][0]


def test_an_adapter_of_experts_is_the_same_in_every_run(tmp_path):
    """peft writes sets, in another order each time."""
    parts = {"target_modules": ["v_proj", "k_proj"], "target_parameters": ["gate_up_proj", "gate.weight", "down_proj"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(parts))
    adapter._make_reproducible(tmp_path / "adapter_config.json", Base("tiny", tmp_path, "-"))
    written = json.loads((tmp_path / "adapter_config.json").read_text())
    assert written["target_modules"] == ["k_proj", "v_proj"]
    assert written["target_parameters"] == ["down_proj", "gate.weight", "gate_up_proj"]


EXPERTS = {
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, "first_k_dense_replace": 0, "n_group": 1,
    "topk_group": 1, "layer_types": ["full_attention", "full_attention"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("family", "have_adapters"),
    [
        ("qwen3_moe", True),
        ("mixtral", True),
        ("glm4_moe", True),
        ("qwen3_5_moe_text", False),
        ("gemma4_text", False),
        ("llama4_text", False),
        ("gpt_oss", False),
    ],
)
def test_which_experts_have_an_adapter(family, have_adapters):
    """As docs/student.md says: peft goes by how older checkpoints had them."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    gemma = {"enable_moe_block": True, "hidden_size_per_layer_input": 0} if family == "gemma4_text" else {}
    config = AutoConfig.for_model(family, **TEXT, **EXPERTS, **gemma)
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    student = get_peft_model(AutoModelForCausalLM.from_config(config), lora)
    learned = [name for name, weights in student.named_parameters() if weights.requires_grad]
    assert any("experts" in name for name in student.state_dict())
    assert any(".experts." in name for name in learned) == have_adapters


def test_experts_are_not_held_in_4_bits(tmp_path):
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    Qwen3MoeForCausalLM(Qwen3MoeConfig(**TEXT, **EXPERTS)).save_pretrained(tmp_path)
    layer = base_weights.open_base(tmp_path, True, "cpu").model.layers[0]
    kinds = [str(weights.dtype) for weights in (layer.self_attn.q_proj.weight, layer.mlp.experts.down_proj)]
    assert kinds == ["torch.uint8", "torch.float32"]


def learned(sequence: Any) -> int:
    return sum(label >= 0 for label in sequence.labels)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "qwen9"}, "qwen9"),
        ({"architectures": ["Qwen3ForSequenceClassification"]}, "a Qwen3ForSequenceClassification writes no text"),
    ],
)
def test_what_is_no_student_is_named(change, said, tmp_path):
    from transformers import Qwen3Config

    config = Qwen3Config(architectures=["Qwen3ForCausalLM"]).to_dict() | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=rf"student/path: .*{said}"):
        base_weights.open_folder(tmp_path)


def test_a_towers_pattern_leaves_the_layers(student):
    import re

    place, _, weights = student
    pattern = base_weights.towers(base_weights.open_folder(place))
    if weights == TEXT_ONLY:
        assert pattern is None
        return
    assert pattern and not re.fullmatch(pattern, "model.language_model.layers.0.mlp.up_proj")
    assert re.fullmatch(pattern, "model.vision_tower.layers.0.mlp.up_proj")
