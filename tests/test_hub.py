"""Students from a model hub: gated, pinned, and the same at training and at the exam."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hub_server import hub
from tiny_rows import row

TOKEN = "hf_" + "a1B2" * 9  # put together here: such a text in a file is found by scanners
SMALL = {"batch_size": 4, "num_epochs": 1, "lora_rank": 4, "max_length": 512}
Find = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Find:
    """What a call of distill.student.base says in a process of its own: the hub's library reads its address once."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)

    def run(url: str, call: str, folder: Path = tmp_path) -> "subprocess.CompletedProcess[str]":
        code = f"from pathlib import Path; from distill.student import base; print(base.{call}.commit)"
        environment = {**os.environ, "HF_ENDPOINT": url, "PYTHONPATH": str(Path(__file__).parents[1])}
        return subprocess.run(
            [sys.executable, "-c", code], cwd=folder, env=environment, text=True, capture_output=True, check=False
        )

    return run


def test_a_gated_student_is_trained_at_a_commit_and_examined_at_the_same(
    project: Path, trained: tuple[Path, Path], find: Find, set_param: Callable[[str, object], None], run_stage: Any
) -> None:
    (project / ".env").write_text(f"HF_TOKEN={TOKEN}\n")
    (project / "data/train.jsonl").write_text("".join(json.dumps(row(number)) + "\n" for number in range(8)))
    for name, value in {"path": "acme/tiny", **SMALL}.items():
        set_param(f"student.{name}", value)
    adapter = project / "models/adapter"
    with hub("acme/tiny", trained[0], TOKEN) as server:
        done = run_stage("sft_train", HF_ENDPOINT=server.url)
        assert done.returncode == 0, done.stderr
        assert "it/s]" not in done.stderr, "a bar where nobody watches"
        commit, files = server.commit, list(server.fetched)
        assert "model.safetensors" in files and len(files) == len(set(files))
        server.commit = "2" * 40
        of_adapter = f"of_adapter(Path({str(adapter)!r}), 'acme/tiny')"
        assert find(server.url, of_adapter, project).stdout.strip() == commit
        assert server.fetched == files
        assert find(server.url, "find('acme/tiny')", project).stdout.strip() == "2" * 40
    assert find(server.url, of_adapter, project).stdout.strip() == commit, "and with no hub at all"
    other = find(server.url, of_adapter.replace("'acme/tiny'", "'acme/other'"), project)
    assert "was trained over acme/tiny, not over student.path = acme/other" in other.stderr
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("acme/tiny", commit)
    assert json.loads((project / "reports/training.json").read_text())["base_commit"] == commit
    assert f"| commit of the base | {commit} |" in (adapter / "README.md").read_text()
    written = [*adapter.rglob("*"), *(project / "reports").rglob("*")]
    assert not any(TOKEN in file.read_text(errors="replace") for file in written if file.is_file())
    assert TOKEN not in done.stdout + done.stderr


def test_a_pinned_commit_is_fetched_once_and_each_weight_once(
    trained: tuple[Path, Path], find: Find, tmp_path: Path
) -> None:
    folder = shutil.copytree(trained[0], tmp_path / "tiny")
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    with hub("acme/tiny", folder) as server:
        pinned = f"find('acme/tiny@{server.commit}')"
        assert find(server.url, pinned).stdout.strip() == server.commit
        assert [file for file in server.fetched if file.endswith(".safetensors")] == ["model.safetensors"]
    assert find(server.url, pinned).stdout.strip() == server.commit


def test_what_the_hub_does_not_give_is_explained(trained: tuple[Path, Path], find: Find) -> None:
    with hub("acme/tiny", trained[0], TOKEN) as gated:
        assert (
            "accepted the terms on its page, with their HF_TOKEN in .env" in find(gated.url, "find('acme/tiny')").stderr
        )
    with hub("acme/tiny", trained[0]) as server:
        other = find(server.url, "find('acme/other')").stderr
        assert "there is none of this name, or it is private" in other
        assert "it has no revision 'v9'" in find(server.url, "find('acme/tiny@v9')").stderr
    gone = find(server.url, "find('acme/tiny')").stderr.splitlines()[-1]
    assert gone.startswith(
        "distill.records.faults.InputError: params.yaml: /student/path: 'acme/tiny' is no folder here"
    )
    assert "and could not be fetched from the hub: " in gone and "onnect" in gone
