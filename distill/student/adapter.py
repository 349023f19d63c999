"""Writes the folder of a trained adapter: everything needed to load or serve it, and nothing that differs between runs."""

import json
import shutil
from pathlib import Path
from typing import Any

from distill.records.atomic import replacing_folder
from distill.student.base import Base
from distill.student.gguf import lora
from distill.student.gguf.from_gguf import write_settings
from distill.student.tokenizer import read_settings, read_tokenizer
from distill.student.training.checkpoints import saving
from distill.student.training.train import ALPHA

TOKENIZER_FILES = ("tokenizer.json", "special_tokens_map.json")


def save(model: Any, base: Base, template: str, card: str, folder: Path, state: dict[str, Any] | None = None) -> None:
    """Writes the adapter of a peft `model` into `folder`, replacing what is there.

    adapter_config.json and adapter_model.safetensors (peft), adapter.gguf (llama.cpp, where it knows the
    architecture), the tokenizer, the chat template that was trained with, generation_config.json with the tokens that end a
    turn, and README.md with the text `card`. `state` has the weights where the model does not hold them itself (it is
    spread over several processes). Raises InputError when it cannot be written.
    """
    advice = "Free some space and run again: training goes on from its last checkpoint"
    with saving(str(folder), advice), replacing_folder(folder) as fresh:
        model.save_pretrained(fresh, state_dict=state)
        _make_reproducible(fresh / "adapter_config.json", base)
        lora.write(fresh / "adapter_model.safetensors", model.config, ALPHA, fresh / "adapter.gguf")
        for name in TOKENIZER_FILES:
            if (base.directory / name).is_file():
                shutil.copyfile(base.directory / name, fresh / name)
        generation = read_settings(base.directory / "generation_config.json")
        stops = sorted(read_tokenizer(base.directory, template).stops)
        write_settings(fresh / "generation_config.json", generation | {"eos_token_id": stops})
        settings = read_settings(base.directory / "tokenizer_config.json")
        settings.pop("chat_template", None)
        write_settings(fresh / "tokenizer_config.json", settings)
        (fresh / "chat_template.jinja").write_text(template, encoding="utf-8")
        (fresh / "README.md").write_text(card, encoding="utf-8")
        for file in fresh.iterdir():
            file.chmod(0o644)


def _make_reproducible(file: Path, base: Base) -> None:
    """Replaces what peft writes differently in each run: the order of sets, and the path of the base on this machine."""
    config = json.loads(file.read_text(encoding="utf-8"))
    config["base_model_name_or_path"], config["revision"] = base.name, base.commit
    for name in ("target_modules", "target_parameters"):  # the latter are experts
        if config.get(name):
            config[name] = sorted(config[name])
    write_settings(file, config)
