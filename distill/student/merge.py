"""The adapter put into the base's weights: a model of its own that any program loads."""

import shutil
from pathlib import Path
from typing import Any

from distill.records.faults import InputError
from distill.student import base
from distill.student.base_weights import open_folder
from distill.student.quiet import quiet

FROM_ADAPTER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
    "generation_config.json", "README.md",
)  # fmt: skip


def merge(path: str, adapter: Path, folder: Path) -> None:
    """Writes base and adapter as one model into `folder`, replacing what is there: safetensors in the precision of the
    base (never the 4 bits that QLoRA trains over), its config, and the adapter's tokenizer, template and card.

    Raises InputError where there is no adapter, or where it belongs to another base.
    """
    if not (adapter / "adapter_config.json").is_file():
        raise InputError(f"{adapter}: no adapter is there; run `make train` first")
    found = base.of_adapter(adapter, path)
    model = _merged(found.directory, adapter)
    made = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(made, ignore_errors=True)
    model.save_pretrained(made)
    for name in FROM_ADAPTER:
        if (adapter / name).is_file():
            shutil.copyfile(adapter / name, made / name)
    for file in found.directory.glob(
        "*processor_config.json"
    ):  # a server asks for them where there is a tower for images
        shutil.copyfile(file, made / file.name)
    for file in made.iterdir():
        file.chmod(0o644)
    shutil.rmtree(folder, ignore_errors=True)
    made.rename(folder)


def _merged(directory: Path, adapter: Path) -> Any:
    quiet()
    from peft import PeftModel

    return PeftModel.from_pretrained(open_folder(directory, dtype="auto"), str(adapter)).merge_and_unload()
