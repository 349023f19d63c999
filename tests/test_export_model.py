"""`make merge` and `make gguf`: what they write is, to other programs, the student that was trained."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from endpoint_post import post
from test_lineage import PARAMS, RECORD
from tiny_qwen3 import ROW
from tiny_student import write_adapter, write_gguf

from distill.commands.serve import endpoint
from distill.records.faults import InputError
from distill.student import base
from distill.student.base_weights import open_folder
from distill.student.gguf import to_gguf
from distill.student.merge import merge
from distill.student.serving.open_student import open_student
from distill.student.tokenizer import load_tokenizer
from distill.student.training import lineage
from distill.teacher.embedded.llama_server import serve

QUESTION = ROW["messages"][:2]


@pytest.fixture
def trained_project(project: Path, trained: tuple[Path, Path], set_param: Callable[[str, object], None]) -> Path:
    set_param("student.path", str(trained[0]))
    shutil.copytree(trained[1], project / "models/adapter")
    (project / ".venv").symlink_to(ROOT / ".venv")
    return project


def test_merged_and_gguf_students_answer_as_trained(trained_project):
    (trained_project / "models/adapter/README.md").write_text(lineage.card(RECORD, PARAMS))
    command = ["make", "-s", "-o", ".venv/.train", "gguf"]  # merges first
    said = subprocess.run(command, cwd=trained_project, text=True, capture_output=True, check=False)
    assert "\nmodels/merged -> models/student.gguf (" in said.stdout, said.stderr
    merged = trained_project / "models/merged"
    assert {"config.json", "tokenizer.json", "chat_template.jinja", "README.md"} <= {f.name for f in merged.iterdir()}
    card = (merged / "README.md").read_text()
    assert "merged from a LoRA adapter and its base Qwen/Qwen3-8B, trained" in card and "SHA-256 of data" in card
    assert [word for word in ("library_name: peft", "PeftModel", "tags: [lora", "adapter.gguf") if word in card] == []
    [use] = re.findall(r"(?s)```python\n(.*?)```", card)
    exec(use.replace("FOLDER", str(merged)), loaded := {})
    assert type(loaded["model"]).__name__ == "Qwen3ForCausalLM" and loaded["tokenizer"].chat_template
    assert call_of_transformers(merged) == {"sku": "G101"}
    with serve(trained_project / "models/student.gguf", slots=1, context=1024) as endpoint:
        body = {"messages": QUESTION, "tools": ROW["tools"], "temperature": 0, "max_tokens": 64}
        answer = post(endpoint, "/v1/chat/completions", **body)["choices"][0]["message"]
        assert json.loads(answer["tool_calls"][0]["function"]["arguments"]) == {"sku": "G101"}
        text = "What's 1234 é✓ \n\n  <|im_end|> item G316?"
        ids = post(endpoint, "/tokenize", content=text, add_special=False, parse_special=True)["tokens"]
    assert ids == load_tokenizer(str(merged)).encode(text)


def call_of_transformers(folder: Path) -> Any:
    """The arguments that a plain transformers model calls with."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    asked = tokenizer.apply_chat_template(QUESTION, tools=ROW["tools"], add_generation_prompt=True, return_tensors="pt")
    said = AutoModelForCausalLM.from_pretrained(folder).generate(**asked, max_new_tokens=64)
    text = tokenizer.decode(said[0, asked["input_ids"].shape[1] :])
    return json.loads(text.split("<tool_call>")[1].split("</tool_call>")[0])["arguments"]


def test_a_student_that_came_as_gguf_is_served_and_goes_out_as_one(tmp_path, monkeypatch):
    """llama.cpp finds the same next tokens with the file as transformers with the merged model; equal runs, equal bytes."""
    import torch
    from transformers import AutoModelForCausalLM

    monkeypatch.setenv("DISTILL_CACHE", str(tmp_path / "cache"))
    source = write_gguf(tmp_path / "tiny.gguf")
    write_adapter(source, tmp_path / "models/adapter")
    monkeypatch.chdir(tmp_path)
    assert asyncio.run(first_token(str(source))) == "assistant"
    for name in ("one", "two"):
        merge(str(source), tmp_path / "models/adapter", tmp_path / name)
        to_gguf.write(tmp_path / name, tmp_path / f"{name}.gguf")
    assert (tmp_path / "one.gguf").read_bytes() == (tmp_path / "two.gguf").read_bytes()
    ids = load_tokenizer(str(source), "smollm2").encode("<|im_start|>user\nWhat is the price of item G316?")
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "one")(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    with serve(tmp_path / "one.gguf", slots=1, context=256) as endpoint:
        served = post(endpoint, "/completion", prompt=ids, n_predict=1, n_probs=10, temperature=0)
    for candidate in served["completion_probabilities"][0]["top_logprobs"]:
        assert ours[candidate["id"]].item() == pytest.approx(candidate["logprob"], abs=0.1)


async def first_token(student: str) -> str:
    """What `make serve` gives a client."""
    settings = {"student": {"path": student, "max_length": 256}, "runtime": {"student_url": None, "concurrency": 4}}
    settings |= {"evaluate": {"temperature": 0}}
    model = open_student(settings, Path("models/adapter"))
    assert model.max_concurrent == 1  # what llama.cpp has side by side is rounded otherwise each time
    async with endpoint(model, 0) as served:
        body = {"model": "student", "messages": QUESTION, "max_tokens": 1}
        answer = await asyncio.to_thread(post, served, "/v1/chat/completions", **body)
    return answer["choices"][0]["message"]["role"]


def test_the_rotary_positions_of_llama_3_are_written(tmp_path, monkeypatch):
    import torch
    from transformers import AutoModelForCausalLM

    monkeypatch.setenv("DISTILL_CACHE", str(tmp_path / "cache"))
    folder = shutil.copytree(base.find(str(write_gguf(tmp_path / "tiny.gguf"))).directory, tmp_path / "llama3")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    config = json.loads((folder / "config.json").read_text())
    scaled = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    config["rope_parameters"] |= scaled | {"original_max_position_embeddings": 32}
    (folder / "config.json").write_text(json.dumps(config))
    to_gguf.write(folder, tmp_path / "llama3.gguf")
    ids = load_tokenizer(str(folder)).encode("What is the price of item G316? " * 40)
    ours = AutoModelForCausalLM.from_pretrained(folder)(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    with serve(tmp_path / "llama3.gguf", slots=1, context=2048) as endpoint:
        served = post(endpoint, "/completion", prompt=ids, n_predict=1, n_probs=10, temperature=0)
    for candidate in served["completion_probabilities"][0]["top_logprobs"]:
        assert ours[candidate["id"]].item() == pytest.approx(candidate["logprob"], abs=0.1)
    with pytest.raises(InputError, match="scaled rotary positions are not supported"):
        base.find(str(tmp_path / "llama3.gguf"))


def test_a_qwen3_that_comes_as_gguf_is_the_model_that_it_was(trained, tmp_path, monkeypatch):
    import torch

    monkeypatch.setenv("DISTILL_CACHE", str(tmp_path / "cache"))
    to_gguf.write(trained[0], tmp_path / "qwen3.gguf")
    # The split of Qwen's tokenizers, which the tiny one does without.
    (tmp_path / "qwen3.gguf").write_bytes((tmp_path / "qwen3.gguf").read_bytes().replace(b"gpt-2", b"qwen2", 1))
    found = base.find(str(tmp_path / "qwen3.gguf"))
    ids = torch.tensor([load_tokenizer(str(trained[0])).encode("<|im_start|>user\nWhat is the price of item G316?")])
    before, after = (open_folder(folder)(ids).logits for folder in (trained[0], found.directory))
    assert (before - after).abs().max() < 0.3 < before.std()
    assert before[0, -1].argmax() == after[0, -1].argmax()


def test_what_cannot_be_merged_or_written_is_named(trained, tmp_path):
    with pytest.raises(InputError, match=r"no adapter is there; run `make train` first"):
        merge(str(trained[0]), tmp_path, tmp_path / "merged")
    other = shutil.copytree(trained[0], tmp_path / "other")
    with pytest.raises(InputError, match="was trained over base, not over"):
        merge(str(other), trained[1], tmp_path / "merged")
    config = json.loads((other / "config.json").read_text())
    for change, said in (
        ({"model_type": "gemma3"}, "a gemma3 is none of llama, qwen2, qwen3; try llama.cpp's"),
        (
            {"rope_parameters": {"rope_type": "yarn", "rope_theta": 5e5}},
            "rotary positions scaled as yarn are not written",
        ),
    ):
        (other / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(InputError, match=said):
            to_gguf.write(other, tmp_path / "x.gguf")
    (other / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    words = {"type": "Split", "pattern": {"Regex": r"\s?\p{L}+"}, "behavior": "Isolated", "invert": False}
    digits = {"type": "Digits", "individual_digits": True}  # as DeepSeek's first models; SmolLM2 has no `words`
    steps = [words, digits, {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]
    tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(InputError, match="no name of llama.cpp's is known for how it splits text"):
        to_gguf.write(other, tmp_path / "x.gguf")
    assert not list(tmp_path.glob("*.gguf"))
