"""A student as transformers has them: a small Qwen3 that gets one row wrong, and an adapter that gets it right."""

import asyncio
from pathlib import Path
from typing import Any

from families import own, write_tokenizer
from tiny_rows import row

from distill.student import adapter, base
from distill.student.evaluation import exam
from distill.student.render import IGNORED, render
from distill.student.serving.open_student import sampling
from distill.student.tokenizer import Tokenizer, load_tokenizer
from distill.tools import toolbox

SHOP = Path(__file__).parent / "shop_tools.py"
AGENT = {"max_turns": 4, "tool_timeout_s": 5, "tool_output_chars": 1000}
GREEDY = {"temperature": 0, "samples": 1, "max_output_tokens": 64}
"""The settings `evaluate` of params.yaml."""


async def offered() -> list[dict[str, Any]]:
    """The schemas of shop_tools.py, as a rollout offers them."""
    prompt: dict[str, Any] = {"messages": [], "metadata": {}, "source": "here"}
    tools = toolbox.load({"agent": AGENT, "runtime": {"tool_sessions": 4}}, SHOP)
    await tools.prepare([prompt])
    return tools.offered(prompt).schemas


ROW = row(1) | {"tools": asyncio.run(offered())}
WRONG = ROW | {"messages": [*ROW["messages"][:2], *row(8)["messages"][2:4], row(3)["messages"][4]]}
"""Asks for another item, and answers with the price of a third."""
QUESTION = ROW["messages"][:2]
PROMPT = {"id": "0" * 16, "messages": QUESTION, "metadata": {"expected_answer": 3}, "split": "eval", "source": "mine:1"}
STEPS = 120


def write_base(folder: Path) -> Path:
    """Two layers, 64 wide, with a real byte-level tokenizer and Qwen3's own chat template; it says what WRONG says."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    write_tokenizer(folder, "qwen3")
    (folder / "chat_template.jinja").write_text(own("qwen3"), encoding="utf-8")
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=900, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=32, max_position_embeddings=1024, tie_word_embeddings=True,
        initializer_range=0.1, bos_token_id=None, eos_token_id=2,
    )  # fmt: skip
    (folder / "config.json").write_text(config.to_json_string())
    generation = (folder / "generation_config.json").read_bytes()
    model = Qwen3ForCausalLM(config)
    learn(model, WRONG, load_tokenizer(str(folder)))
    model.save_pretrained(folder)
    (folder / "generation_config.json").write_bytes(generation)
    return folder


def write_adapter(path: Path, folder: Path, template: str | None = None) -> Path:
    """An adapter over the base in `path` with which it says the assistant's turns of ROW."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    tokenizer = load_tokenizer(str(path), template)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(path),
        LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    learn(model, ROW, tokenizer)
    adapter.save(model, base.find(str(path)), tokenizer.template, "A card.", folder)
    return folder


def learn(model: Any, conversation: dict[str, Any], tokenizer: Tokenizer) -> None:
    """Trains until the model knows the conversation by heart."""
    import torch

    torch.set_num_threads(1)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.015)
    for _ in range(STEPS):
        loss: Any = 0
        for sequence in render(conversation, tokenizer):
            logits = model(torch.tensor([sequence.input_ids])).logits[0, :-1]
            targets = torch.tensor(sequence.labels[1:])
            loss = loss + torch.nn.functional.cross_entropy(logits, targets, ignore_index=IGNORED)
        if loss.item() < 0.01:
            return
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    raise AssertionError(f"not learned: loss {loss.item()}")


PARAMS = {"agent": AGENT, "student": {"path": "tiny"}, "runtime": {"student_url": None}}


def sit(
    model: Any, scale: float, *prompts: dict[str, Any], shop: Path = SHOP, evaluate: dict[str, Any] = GREEDY
) -> list[dict[str, Any]]:
    """What a student says in the exam, and how it is marked."""

    async def run() -> list[dict[str, Any]]:
        tools = toolbox.load({"agent": AGENT, "runtime": {"tool_sessions": 4}}, shop)
        await tools.prepare(list(prompts))
        asked = sampling(evaluate, scale)
        try:
            return await exam.evaluate(
                "student", list(prompts), model, asked, tools, PARAMS | {"evaluate": evaluate}, lambda _: None
            )
        finally:
            await model.close()

    return asyncio.run(run())
