"""The base model a student starts from: one name in `student.path`, one folder that transformers can load.

A base that exists only as GGUF is converted once and cached outside the workspace. Nothing here needs torch, so a
stage without it can count tokens with the very tokenizer that training uses.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from os.path import expanduser
from pathlib import Path

from distill.machine.locked import locked
from distill.records.atomic import replacing_folder
from distill.records.faults import InputError
from distill.records.ids import file_hash
from distill.records.one_line import one_line
from distill.records.paths import cache_dir
from distill.student import hub
from distill.student.gguf import from_gguf
from distill.teacher.embedded import weights as embedded

LOCAL = "local/"
TOKENIZER_FILES = [
    "tokenizer*.json", "special_tokens_map.json", "generation_config.json", "config.json", "chat_template.json", "*.jinja",
]  # fmt: skip
UNFETCHED = "a download broke off, or git-lfs has not fetched the file: fetch it again"
MADE_AGAIN = "`make train` makes the adapter again, from DVC's cache where that has it"
WEIGHT_FILES = ["*.safetensors", "*.safetensors.index.json", "*processor_config.json"]


@dataclass(frozen=True)
class Base:
    """A base model on this machine."""

    name: str
    """Its name in `student.path`, which an adapter records as its base, the same on every machine."""
    directory: Path
    """config.json, tokenizer.json and (unless only the tokenizer was asked for) safetensors."""
    fingerprint: str
    """Changes with the weights: the GGUF's SHA-256, or the sizes and times of a folder's files."""
    commit: str | None = None
    """The commit of a model from the hub."""


def find(path: str, weights: bool = True) -> Base:
    """The base that `student.path` names: `local/<name>`, a .gguf file, a folder, or a hub id.

    `weights=False` fetches no more of a hub model than its tokenizer. Raises InputError when there is no such base.
    """
    path = expanduser(path)
    if path.startswith(LOCAL):
        return _from_gguf(path, _embedded(path), weights)
    if path.endswith(".gguf") and Path(path).is_file():
        return _from_gguf(path, Path(path), weights)
    if Path(path).is_dir():
        return _from_folder(path, Path(path))
    if hub.names(path):
        folder = hub.fetch(path, TOKENIZER_FILES + (WEIGHT_FILES if weights else []))
        return replace(_from_folder(path, folder), commit=folder.name)
    raise InputError(
        f"params.yaml: /student/path: '{path}' is neither a folder nor a .gguf file here (looked for"
        f" {Path(path).absolute()}), nor local/<name>, nor a hub id such as Qwen/Qwen3-8B (docs/student.md)"
    )


def check(path: str) -> None:
    """Raises InputError for a name that `find` would refuse, and for one that is rather a missing folder than a hub id;
    nothing is fetched or converted."""
    path = expanduser(path)
    if path.startswith(LOCAL):
        if path.removeprefix(LOCAL) not in embedded.MODELS:
            _embedded(path)
    elif not hub.names(path):
        if not path.endswith(".gguf") or not Path(path).is_file():
            find(path, weights=False)
    elif "@" not in path and Path(owner := path.partition("/")[0]).is_dir():
        raise InputError(
            f"params.yaml: /student/path: '{path}' is no folder here (looked for {Path(path).absolute()}), though there is"
            f" a folder {owner}; if it is a hub id, write {path}@main"
        )


def of_adapter(adapter: Path, path: str) -> Base:
    """The base that the adapter in a folder was trained on, which `path` (`student.path`) has to name. A model from the hub
    is taken at the commit of the training, even if there are newer ones. Raises InputError as `find`, and where the
    adapter was trained on another base.
    """
    base_name, commit = check_adapter(adapter, path)
    return find(f"{base_name}@{commit}" if commit and hub.names(path) else path)


def check_adapter(adapter: Path, path: str) -> tuple[str, str | None]:
    """The name of the base that the adapter in a folder was trained on, and its commit if it is from the hub. Raises
    InputError where `path` (`student.path`) has another name, or the adapter's file cannot be read."""
    file = adapter / "adapter_config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        base_name = config["base_model_name_or_path"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{file}: cannot be read ({one_line(error)}); {MADE_AGAIN}") from None
    if base_name != name(path):
        raise InputError(
            f"{adapter}: was trained over {base_name}, not over student.path = {path}: run"
            " `make train`, or name that base again"
        )
    return base_name, config.get("revision")


def unreadable(file: Path, error: Exception) -> InputError:
    """The error for a file of a model, or of an adapter, that cannot be read."""
    if (file.parent / "adapter_config.json").is_file():
        return InputError(f"{file}: cannot be read ({one_line(error)}); {MADE_AGAIN}")
    return InputError(f"params.yaml: /student/path: {file} cannot be read ({one_line(error)}): {UNFETCHED}")


def name(path: str) -> str:
    """The name of a base in reports and adapters: of an absolute path only the last part, which is the same everywhere."""
    path = expanduser(path)
    return Path(path).name if Path(path).is_absolute() else hub.without_revision(path)


def _embedded(path: str) -> Path:
    """The GGUF file of `local/<name>`, fetched on first use."""
    try:
        return embedded.find(path)[0]
    except InputError as error:
        raise InputError(f"params.yaml: /student/path: {fault}" for fault in error.faults) from None


def _from_folder(path: str, folder: Path) -> Base:
    for needed in ("config.json", "tokenizer.json"):
        if not (folder / needed).is_file():
            raise InputError(f"params.yaml: /student/path: {folder} holds no {needed}, so it is no model to train")
    parts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(folder.glob("*.safetensors"))]
    return Base(name(path), folder, hashlib.sha256(repr(parts).encode()).hexdigest())


def _from_gguf(path: str, file: Path, weights: bool) -> Base:
    digest = file_hash(file)
    folder = cache_dir() / "students" / f"{file.stem}-{digest[:16]}-{from_gguf.FORMAT}{'' if weights else '-tokenizer'}"
    with locked(folder.with_name(folder.name + ".lock")):  # one process converts, the others find the folder done
        if not folder.is_dir():
            with replacing_folder(folder) as fresh:
                from_gguf.convert(file, fresh, weights)
    return Base(name(path), folder, digest)
