"""The training stage on a tiny student, in a folder of its own: what several test files stand on."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stage_process import preloaded
from tiny_rows import row
from tiny_student import write_gguf

from distill.student.tokenizer import TEMPLATES
from stages import sft_train

__all__ = ["cache", "children", "converted", "gguf", "params", "references", "run", "uninterrupted"]
TEMPLATE = TEMPLATES / "smollm2.jinja"
ROWS = [row(number) for number in range(17)]
HERE = {"student_url": None, "workers": None}
"""`runtime` of a student that is served on this machine."""
Bytes = dict[str, bytes]


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache(converted: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    one_thread()
    monkeypatch.setenv("DISTILL_CACHE", str(converted))
    shutil.rmtree(converted / "checkpoints", ignore_errors=True)
    return converted


def one_thread() -> None:
    """Sums in one order: on some processors the last bit depends on how many threads share them."""
    import torch

    torch.set_num_threads(1)


def in_child(place: str, cache: Path, student: dict[str, Any], progress: Any) -> None:
    """The stage in a process that tells of each line of progress."""
    os.environ["DISTILL_CACHE"] = str(cache)  # the server that forks may be older than this test
    one_thread()
    os.chdir(place)
    os.dup2(progress.fileno(), 1)
    sft_train.main({"student": student, "runtime": HERE})


@pytest.fixture(scope="module")
def children() -> Iterator[Any]:
    """Processes that start with the imports done."""
    with preloaded(["trl", "trl.trainer.sft_trainer", "peft", "datasets", "gguf", "training"]) as context:
        yield context


@pytest.fixture
def params(gguf: Path) -> dict[str, Any]:
    return {
        "path": str(gguf), "template": str(TEMPLATE), "lora_rank": 4, "qlora_rank": None, "batch_size": 4,
        "num_epochs": 2, "learning_rate": 0.01, "max_length": 256, "early_stopping": None, "seed": 0,
    }  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, params: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Bytes]:
    """Runs the stage in a folder of its own and returns what it wrote."""

    def run(name: str = "here", rows: list[dict] = ROWS, **changes: Any) -> Bytes:
        monkeypatch.chdir(folder(tmp_path / name, rows))
        sft_train.main({"student": {**params, **changes}, "runtime": HERE})
        return written()

    return run


def folder(place: Path, rows: list[dict]) -> Path:
    (place / "data").mkdir(parents=True, exist_ok=True)
    (place / "data/train.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    return place


def written() -> Bytes:
    found = [file for top in ("models", "reports") for file in Path(top).rglob("*") if file.is_file()]
    return {file.as_posix(): file.read_bytes() for file in found}


@pytest.fixture(scope="module")
def references() -> dict[str, Bytes]:
    return {}


@pytest.fixture
def uninterrupted(run: Callable[..., Bytes], references: dict[str, Bytes]) -> Bytes:
    """What the stage writes for ROWS, made once for all tests of a file."""
    if "plain" not in references:
        references["plain"] = run("uninterrupted")
    return references["plain"]
