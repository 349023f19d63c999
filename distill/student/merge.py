"""Merges the adapter into the base's weights: a model of its own that any program can load."""

import shutil
from pathlib import Path

from distill.records.atomic import replacing_folder
from distill.records.faults import InputError
from distill.student import base
from distill.student.base_weights import open_folder, with_adapter
from distill.student.quiet import quiet
from distill.student.training.lineage import merged_card

FROM_ADAPTER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
    "generation_config.json",
)  # fmt: skip
CARD = "README.md"


def merge(path: str, adapter: Path, folder: Path) -> None:
    """Writes base and adapter as one model into `folder`, replacing what is there: safetensors in the precision of the
    base (never the 4 bits that QLoRA trains over), its config, the adapter's tokenizer and template, and a card made of its.

    Raises InputError where there is no adapter, where it cannot be read, or where it was trained on another base.
    """
    if not (adapter / "adapter_config.json").is_file():
        raise InputError(f"{adapter}: no adapter is there; run `make train` first")
    directory = base.of_adapter(adapter, path).directory
    quiet()
    model = with_adapter(open_folder(directory, dtype="auto"), adapter).merge_and_unload()
    with replacing_folder(folder) as fresh:
        model.save_pretrained(fresh)
        for name in FROM_ADAPTER:
            if (adapter / name).is_file():
                shutil.copyfile(adapter / name, fresh / name)
        if (adapter / CARD).is_file():
            (fresh / CARD).write_text(merged_card((adapter / CARD).read_text(encoding="utf-8")), encoding="utf-8")
        for file in directory.glob("*processor_config.json"):  # servers need them for a model with an image tower
            shutil.copyfile(file, fresh / file.name)
        for file in fresh.iterdir():
            file.chmod(0o644)
