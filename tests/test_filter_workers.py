"""The filter in several processes and over shards of any size: the same bytes, bounded memory, clear errors."""

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from rollout_records import call, rollout

from distill.dataset import kept_and_rejected
from distill.dataset.convert import row
from distill.dataset.verdict import KEEP
from distill.machine import pool
from distill.records import jsonl, lines, shards
from distill.records.faults import InputError

OUTPUTS = ("data/train.jsonl", "data/rejected.jsonl", "reports/filter.json")


def planted(count: int) -> list[dict[str, Any]]:
    """Rows with every kind of verdict: kept, rejected alone and as a copy, masked."""
    rows = [row(rollout(units)) for units in range(2, count + 2)]
    for number, bad in enumerate(rows):
        bad["metadata"] = bad["metadata"] | {"kind": "abc"[number // 30 % 3], "number": number}
        if number % 7 == 3:
            bad["outcome"] |= {"correct": False, "answer": "41"}
        if number % 11 == 5:
            bad["messages"][2]["tool_calls"] = [call("call_1", "lookup_thing", "{}")]
        if number % 13 == 6:
            bad["messages"][3]["content"] += " — sk-" + "a1B2" * 10
    copies = [json.loads(json.dumps(bad)) | {"rollout_id": f"{number:016x}"} for number, bad in enumerate(rows[::9])]
    return [*rows[: count // 2], *copies, *rows[count // 2 :]]


@pytest.fixture
def ready(project: Path, set_param: Callable[[str, object], None]) -> Path:
    """The project with converted rows and without a tokenizer."""
    for name in ("length", "tools_shown", "contaminated", "own"):
        set_param(f"filter.{name}", "off")
    set_param("filter.calls", "mask")
    set_param("filter.max_per_prompt", 1)
    jsonl.write(project / "data/converted.jsonl", planted(300), "row")
    return project


@pytest.fixture
def run_stage(project: Path) -> Callable[..., Any]:
    """Runs a stage of the project's own code, which these tests change."""

    def run(name: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", f"stages.{name}"]
        return subprocess.run(command, cwd=project, text=True, capture_output=True, check=False)

    return run


def in_shards_of(project: Path, size: int) -> None:
    """The project's own constant, changed as a developer would."""
    module = project / "distill/records/shards.py"
    module.write_text(re.sub(r"^SIZE = .*$", f"SIZE = {size}", module.read_text(), flags=re.MULTILINE))


def test_the_bytes_are_the_same_for_any_number_of_workers_and_shards(ready, run_stage, set_param):
    seen = {}
    for workers, size in [(1, 8 << 20), (1, 3_000), (2, 50_000), (5, 9_999), (None, 100_000)]:
        in_shards_of(ready, size)
        set_param("runtime.workers", workers)
        done = run_stage("filter")
        assert done.returncode == 0, done.stderr
        seen[workers, size] = (done.stdout, *((ready / name).read_bytes() for name in OUTPUTS))
    first, *others = seen.values()
    assert all(other == first for other in others)
    kept, rejected = (
        list(jsonl.read(ready / name, kind)) for name, kind in zip(OUTPUTS, ("row", "rejected"), strict=False)
    )
    assert len(kept) + len(rejected) == len(planted(300)) and len(kept) > 150 and len(rejected) > 50
    assert any(message.get("weight") == 0 for row in kept for message in row["messages"])
    assert {reason["check"] for row in rejected for reason in row["reasons"]} >= {"answer", "secrets", "duplicate"}


def test_rows_that_stay_are_copied_byte_for_byte(ready, run_stage):
    """Also those that somebody wrote with other spacing, with Windows' line ends, and without the last one."""
    rows = [row(rollout(units)) for units in (2, 3, 4)]
    texts = [
        json.dumps(rows[0], indent=None).encode(),
        json.dumps(rows[1], ensure_ascii=False).encode(),
        orjson.dumps(rows[2]),
    ]
    (ready / "data/converted.jsonl").write_bytes(lines.MARK + texts[0] + b"\r\n\r\n" + texts[1] + b"\n" + texts[2])
    assert run_stage("filter").returncode == 0
    assert (ready / "data/train.jsonl").read_bytes() == b"\n".join(texts) + b"\n"


def test_faults_in_several_shards_are_all_named(ready, run_stage, set_param):
    in_shards_of(ready, 20_000)
    set_param("runtime.workers", 2)
    path = ready / "data/converted.jsonl"
    texts = path.read_bytes().splitlines()
    texts[7] = texts[7].replace(b'"sample"', b'"simple"')
    texts[100] = texts[100].replace(b'"split":"train"', b'"split":"eval"')
    texts[200] = texts[200].replace(b'{"messages"', b'{"sample":0,"messages"')
    texts[300] = texts[300][:-20]
    path.write_bytes(b"\n".join(texts))
    done = run_stage("filter")
    assert done.returncode == 1
    named = [int(found) for found in re.findall(r"converted\.jsonl:(\d+): ", done.stderr)]
    assert sorted(set(named)) == [8, 101, 201, 301], done.stderr
    assert not (ready / "data/train.jsonl").exists() and not (ready / "data/rejected.jsonl").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_check_of_the_user_raises_is_one_error(ready, run_stage, set_param, workers):
    in_shards_of(ready, 20_000)
    set_param("filter.own", "reject")
    set_param("runtime.workers", workers)
    (ready / "checks.py").write_text(
        "from distill.checks import check\n\n\n@check\ndef boom(row):\n    return 1 / (row['sample'] - row['sample'])\n"
    )
    done = run_stage("filter")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "checks.py:6: check 'boom' raised ZeroDivisionError" in done.stderr


def test_a_worker_that_dies_is_one_error(ready, run_stage, set_param):
    in_shards_of(ready, 20_000)
    set_param("filter.own", "reject")
    set_param("runtime.workers", 2)
    (ready / "checks.py").write_text(
        "import os\n\nfrom distill.checks import check\n\n\n@check\ndef boom(row):\n    os.kill(os.getpid(), 9)\n"
    )
    done = run_stage("filter")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "worker processes died" in done.stderr and "runtime.workers" in done.stderr
    assert not (ready / "data/train.jsonl").exists()


def doubled(seen: list[int]) -> Callable[[int], tuple[int, int]]:
    return lambda number: (number * 2 + len(seen), os.getpid())


def test_the_pool_keeps_the_order_and_does_not_run_ahead():
    taken = itertools.count()
    results = pool.run(doubled, ([],), (next(taken) for _ in range(1000)), 2)
    first = [next(results) for _ in range(20)]
    assert next(taken) <= 20 + pool.AHEAD * 2 + 2
    results.close()
    assert [number for number, _ in first] == list(range(0, 40, 2))
    assert os.getpid() not in {process for _, process in first}
    assert list(pool.run(doubled, ([],), [4], 2)) == [(8, os.getpid())]


LINES = b'\n{"a":1}\r\n\r\n{"b":22}\n{"c":3}'


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize("text", [b"", b"\n\n", LINES, LINES + b"\n", b"x" * 50 + b"\ny"])
def test_every_line_is_in_one_shard(tmp_path: Path, size: int, text: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(text)
    found = [
        (shards.lines_before(shard) + place, line)
        for shard in shards.split(path, size)
        for place, line in shards.texts(shard)
    ]
    assert found == [(number, line.strip()) for number, line in enumerate(text.split(b"\n"), 1) if line.strip()]


def test_a_file_that_is_cut_while_it_is_read_ends_where_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"a\n" * 100)
    *_, last = list(shards.split(path, 50))
    path.write_bytes(b"a\n" * 10)
    assert list(shards.texts(last)) == [] and shards.lines_before(last) == 10


@pytest.mark.parametrize("before", [0, 10, 5 * 2**20])
def test_a_line_that_is_too_long_for_a_shard_is_refused(tmp_path: Path, before: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"x" * before + b"\n" + b"y" * (lines.LONGEST - 1) + b"\nz")
    assert len(texts_of(path)) == 2 + bool(before)
    path.write_bytes(b"x" * before + b"\n" + b"y" * lines.LONGEST + b"\nz")
    with pytest.raises(InputError, match=r"a\.jsonl:2: longer than 64 MiB"):
        texts_of(path)


def texts_of(path: Path) -> list[bytes]:
    return [text for shard in shards.split(path) for _, text in shards.texts(shard)]


@pytest.mark.parametrize("verdicts", [2, 4])
def test_no_row_is_lost_in_silence(tmp_path: Path, verdicts: int) -> None:
    path, kept = tmp_path / "a.jsonl", tmp_path / "kept.jsonl"
    path.write_bytes(LINES)
    with pytest.raises(ValueError, match="argument 2"):
        kept_and_rejected.write(
            shards.split(path, 8), [KEEP] * verdicts, {}, str(kept), str(tmp_path / "rejected.jsonl")
        )
    assert not kept.exists()
