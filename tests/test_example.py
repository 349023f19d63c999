"""The example is what the README says: real questions, answers that only the tools know, nothing shared by accident."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from loaded_module import module

from distill.project.params import parse

PROJECT = Path(__file__).parent.parent
SEED = PROJECT / "data/seed/shop.jsonl"
TWO_STEP = PROJECT / "examples/two_step"


def rows(path: Path = SEED) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def tools() -> ModuleType:
    return module(PROJECT / "tools.py")


def test_the_files_are_what_their_script_makes(tmp_path):
    make = module(PROJECT / "data/shop/make.py")
    make.HERE, make.SEED = tmp_path, tmp_path / "shop.jsonl"
    make.main()
    assert make.SEED.read_bytes() == SEED.read_bytes()
    assert (tmp_path / "catalogue.json").read_bytes() == (PROJECT / "data/shop/catalogue.json").read_bytes()
    larger = module(TWO_STEP / "make.py")
    larger.HERE = tmp_path
    larger.main()
    for name in ("seed.jsonl", "demonstrations.jsonl"):
        assert (tmp_path / name).read_bytes() == (TWO_STEP / name).read_bytes()


def test_the_held_out_part_shares_no_wording_and_no_item_with_training():
    parts = {split: [row for row in rows() if row["split"] == split] for split in ("train", "eval")}
    assert len(parts["train"]) >= 200 and len(parts["eval"]) >= 80
    for of in (
        lambda row: row["metadata"]["template"],
        lambda row: row["messages"][-1]["content"],
        lambda row: row["metadata"].get("items", [None])[0],
    ):
        train, held_out = ({of(row) for row in parts[split]} - {None} for split in ("train", "eval"))
        assert len(held_out) >= 12 and not train & held_out
    demonstrations = (PROJECT / "data/demonstrations.jsonl").read_text()
    assert not any(row["messages"][-1]["content"] in demonstrations for row in rows())


def test_the_tools_know_every_expected_answer(tools):
    for row in rows():
        metadata = row["metadata"]
        if metadata["family"] == "lookup":
            sku = metadata["items"][0]
            assert metadata["expected_answer"] in (tools.lookup_item(sku, "price"), tools.lookup_item(sku, "stock"))
            assert sku in row["messages"][-1]["content"]


def test_the_calculator_only_calculates(tools):
    assert tools.calculator("152 * 21") == "3192"
    assert tools.calculator("(1031 + 2000) / 4") == "757.75"
    assert tools.calculator("0.1 + 0.2") == "0.3"
    for harmful in ("__import__('os')", "9 ** 9 ** 9", "a + 1", "'x' * 3", "True + 1", "1 if 1 else 2"):
        with pytest.raises(ValueError, match="only numbers"):
            tools.calculator(harmful)
    with pytest.raises(ValueError, match="longer than 200"):
        tools.calculator("1+" * 150 + "1")


def test_an_unknown_item_is_an_error_the_model_can_read(tools):
    with pytest.raises(ValueError, match="there is no item 'X1'"):
        tools.lookup_item("X1", "price")


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of the larger example, made twice: the second time over the first."""
    folder = tmp_path_factory.mktemp("larger")
    workspace = module(PROJECT / "examples/workspace.py")
    for _ in range(2):
        workspace.make("two_step", folder)
    return folder


def test_neither_a_signature_nor_a_hook_of_the_users_is_asked_for(tmp_path, monkeypatch):
    (tmp_path / "pre-commit").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "pre-commit").chmod(0o755)
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "true")
    monkeypatch.setenv("GIT_CONFIG_VALUE_1", str(tmp_path))
    (tmp_path / "mine").mkdir()
    module(PROJECT / "examples/workspace.py")._commit(tmp_path / "mine")
    shown = subprocess.run(
        ["git", "log", "--format=%s"], cwd=tmp_path / "mine", capture_output=True, text=True, check=True
    )
    assert shown.stdout == "The example\n"


def test_the_larger_example_is_a_valid_project_of_its_own(larger):
    done = subprocess.run(
        [sys.executable, "-m", "distill.commands.validate"], cwd=larger, capture_output=True, text=True, check=False
    )
    assert "valid: 288 prompts, 4 tools" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
    params = parse((larger / "params.yaml").read_text())
    assert params["model"] == "local/qwen2.5-coder-1.5b-instruct"
    assert params["student"]["path"] == parse((PROJECT / "params.yaml").read_text())["student"]["path"]
    assert not (larger / "dvc.lock").exists() and not (larger / "data/seed/shop.jsonl").exists()
    assert not subprocess.run(["git", "status", "--porcelain"], cwd=larger, capture_output=True, check=True).stdout


def test_each_question_of_the_larger_example_takes_two_tools(larger):
    tools = module(larger / "tools.py")
    questions = rows(TWO_STEP / "seed.jsonl")
    held_out = [row for row in questions if row["split"] == "eval"]
    trained = [row for row in questions if row["split"] == "train"]
    assert (len(trained), len(held_out)) == (240, 48)
    for key in ("template", "items"):
        assert not {str(row["metadata"][key]) for row in trained} & {str(row["metadata"][key]) for row in held_out}
    for row in questions:
        asked, (sku,) = row["messages"][-1]["content"], row["metadata"]["items"]
        family, price = row["metadata"]["family"], tools.lookup_item(sku, "price")
        if family == "total":
            count = re.search(r"(?<![A-Z])\b\d+", asked)
            expected = float(tools.calculator(f"{count[0]} * {price}"))
        elif family == "currency":
            expected = tools.convert_price(price, next(name for name in tools.RATES if name in asked))
        else:
            expected = tools.lookup_item(tools.find_item(_name(sku)), "price")
        assert row["metadata"]["expected_answer"] == pytest.approx(expected, abs=0.005)
        assert (_name(sku) if family == "named" else sku) in asked
    with pytest.raises(ValueError, match="there is no item called 'unicorn'"):
        tools.find_item("unicorn")


def _name(sku: str) -> str:
    return json.loads((PROJECT / "data/shop/catalogue.json").read_text())[sku]["name"]
