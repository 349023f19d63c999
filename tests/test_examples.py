"""The training examples: the same from any number of processes, with every fault by file and line."""

from pathlib import Path
from typing import Any

import pytest
from tiny_rows import row
from tiny_student import write_gguf

from distill.records import jsonl, shards
from distill.records.faults import InputError
from distill.student.training import examples
from distill.student.training.examples import Examples


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("student")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILL_CACHE", str(folder / "cache"))
        yield {"path": str(write_gguf(folder / "tiny.gguf")), "template": "smollm2", "max_length": 256}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    jsonl.write(tmp_path / "rows.jsonl", [row(number) | {"teacher": f"t{number % 2}"} for number in range(40)], "row")
    return tmp_path / "rows.jsonl"


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "SHARD", 5_000)


def content(made: Examples) -> Any:
    sequences = [[(list(one.input_ids), list(one.labels)) for one in part] for part in (made.train, made.validation)]
    return sequences, made.rows, made.validation_rows, made.teachers


def test_several_processes_make_the_same_examples(rows: Path, student: dict[str, Any], small_shards: None) -> None:
    assert len(list(shards.split(rows, examples.SHARD))) > 3
    one, two = (examples.prepare(rows, student, None, workers) for workers in (1, 2))
    assert content(one) == content(two) and (one.rows, one.validation_rows, one.teachers) == (38, 2, ["t0", "t1"])
    assert one.tokens > one.labelled_tokens > 0


def test_every_fault_of_every_process_is_told(rows: Path, student: dict[str, Any], small_shards: None) -> None:
    lines = rows.read_text().splitlines()
    lines[3], lines[20] = "{", lines[20].replace('"assistant"', '"nobody"')
    lines[38] = lines[38].replace("Answer: ", "Answer: " + "long " * 300)
    rows.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError) as refused:
        examples.prepare(rows, student, None, 2)
    told = [fault.removeprefix(f"{rows}:") for fault in refused.value.faults]
    assert told[0].startswith("4: not valid JSON") and any(fault.startswith("21: /messages/2/role") for fault in told)
    assert told[-1].startswith("39: /messages: ") and "rows are never cut" in told[-1]
    with pytest.raises(InputError, match="^nobody reads them$"):
        examples.prepare(rows, student, "nobody reads them", 2)
