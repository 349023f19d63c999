"""What people and programs put into JSON Lines files: handled, or refused with file and line; nothing is dropped."""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard
from rollout_records import rollout

from distill.dataset import convert, rollouts
from distill.dataset.prompts import read_seed
from distill.records import json_text, jsonl, lines
from distill.records.faults import InputError

PROMPTS = [{"messages": [{"role": "user", "content": f"What is {number} + ü?"}]} for number in range(5)]
GOOD = b"".join(orjson.dumps(prompt) + b"\n" for prompt in PROMPTS)
HALF = '{"messages": [{"role": "user", "content": "q"}], "metadata": {'


def packed(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", lines.MARK + GOOD),
        ("a.jsonl", GOOD.replace(b"\n", b"\r\n")),
        ("a.jsonl", lines.MARK + GOOD.replace(b"\n", b"\r\n\r\n")),
        ("a.jsonl", GOOD[:-1]),
        ("a.jsonl.zst", packed(GOOD)),
        ("a.jsonl.zst", packed(GOOD[:100]) + packed(b"") + packed(GOOD[100:])),
        ("a.jsonl", b"".join(json.dumps(prompt, indent=None).encode() + b"\n" for prompt in PROMPTS)),
    ],
)
def test_harmless_differences_make_none(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert [row for _, row in read_seed(tmp_path)] == PROMPTS


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (GOOD.decode().encode("utf-16"), "is in UTF-16"),
        (b"\xfe\xff" + GOOD.decode().encode("utf-16-be"), "is in UTF-16"),
        (gzip.compress(GOOD, mtime=0), "is packed with gzip"),
    ],
)
def test_a_file_that_is_none_of_utf8_text_is_one_fault(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_seed(tmp_path)
    (fault,) = caught.value.faults
    assert fault.startswith(f"{tmp_path / 'a.jsonl'}: {said}")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (HALF + '"a": NaN}}', "not valid JSON"),
        (HALF + '"a": Infinity}}', "not valid JSON"),
        (HALF + '"a": 1e999}}', "not valid JSON"),
        (HALF + '"a": "\\ud800"}}', "not valid JSON: no low surrogate in string, column 6"),
        (HALF + '"a": "\udcff"}}', "not valid UTF-8: surrogates not allowed, column 1: save it as UTF-8"),
        (HALF + '"a": 1, "b": {"c": 1, "c": 2}}}', "the key 'c' occurs twice in one object"),
        ('{"messages":[],"messages":[{"role":"user","content":"q"}]}', "the key 'messages' occurs twice"),
        (HALF + '"a": 123456789012345678901234}}', "the number 123456789012345678901234 has too many digits"),
        (HALF + '"a": -9223372036854775809}}', "has too many digits"),
        (HALF + '"a": ' + "[" * 300 + "]" * 300 + "}}", "nested too deeply"),
        (HALF + '"a": ' + "[" * 9000 + "]" * 9000 + "}}", "not valid JSON: depth limit exceeded"),
        (HALF, "the text ends in the middle"),
        ("{", "(of JSON Lines, each line is a whole object)"),
        ('{"messages": [{"role": "user", "cont', "the text ends in the middle"),
        ('"a text"', 'is not of type "object"'),
        ('{"messages": [{"role": "user", "content": "q"}]} {}', "not valid JSON: unexpected content after document"),
    ],
)
def test_what_would_be_changed_or_lost_is_refused_with_file_and_line(tmp_path: Path, row: str, said: str) -> None:
    data = GOOD + row.encode("utf-8", "surrogateescape")
    for name, content in (("a.jsonl", data), ("b.jsonl.zst", packed(data))):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_seed(tmp_path)
    for fault, name in zip(caught.value.faults, ("a.jsonl", "b.jsonl.zst"), strict=True):
        assert fault.startswith(f"{tmp_path / name}:6: ") and said in fault


def test_a_key_may_occur_in_several_objects_and_numbers_may_be_large_enough() -> None:
    text = b'{"a": {"a": [{"a": 1}, {"a": 18446744073709551615}]}, "b": -9223372036854775808, "c": 1E2}'
    assert json_text.parse(text) == (json.loads(text), None)


@pytest.mark.parametrize("cut", [1, 3, 12, 60])
def test_a_packed_file_that_was_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    (tmp_path / "a.jsonl.zst").write_bytes(packed(GOOD)[:-cut])
    with pytest.raises(InputError, match=r"a\.jsonl\.zst: (ends in the middle|cannot be unpacked)"):
        read_seed(tmp_path)


@pytest.mark.parametrize("data", [b"", GOOD, packed(GOOD) + b"more"])
def test_what_is_not_packed_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.jsonl.zst").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.jsonl\.zst: "):
        read_seed(tmp_path)


def test_a_file_that_would_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(GOOD)
    (tmp_path / ".hidden").write_bytes(b"x")
    for name in ("b.json", "c.jsonl.gz"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "more").mkdir()
    with pytest.raises(InputError) as caught:
        read_seed(tmp_path)
    assert [fault.split(":")[0] for fault in caught.value.faults] == [
        str(tmp_path / name) for name in ("b.json", "c.jsonl.gz", "more")
    ]


def test_every_fault_is_told_beside_a_file_that_ends_early(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.zst").write_bytes(packed(b"{}\n" + GOOD)[:-4])
    with pytest.raises(InputError) as caught:
        read_seed(tmp_path)
    assert [fault.removeprefix(str(tmp_path))[:16] for fault in caught.value.faults][-1] == "/a.jsonl.zst: en"


BOUNDED = """
import resource, sys
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
from distill.records import lines
from distill.records.faults import InputError
{reads}
limit = 3 * lines.LONGEST + 40 * 2**20
try:
    for _ in read(sys.argv[1]): pass
except InputError as error:
    print(error)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
assert grown < limit, grown
"""
SEED = "from distill.dataset.prompts import read_seed as read"
ROLLOUTS = "from distill.dataset.rollouts import read"


def _write_huge(path: Path) -> None:
    """A row of 200 MB after a good one, written in pieces."""
    head = GOOD.splitlines(keepends=True)[0]
    piece = b"word " * 200_000
    start = b'{"messages": [{"role": "user", "content": "'
    with open(path, "wb") as plain:
        file = zstandard.ZstdCompressor().stream_writer(plain) if path.suffix == ".zst" else plain
        file.write(head if path.suffix != ".json" else b"")
        file.write(start)
        for _ in range(200):
            file.write(piece)
        file.write(b'"}]}\n')
        file.close()


@pytest.mark.parametrize(
    ("name", "reads", "place"),
    [
        ("a.jsonl", SEED, "a.jsonl:2"),
        ("a.jsonl.zst", SEED, "a.jsonl.zst:2"),
        ("a.jsonl", ROLLOUTS, "a.jsonl:2"),
        ("a.json", ROLLOUTS, "a.json"),
    ],
)
def test_a_row_of_200_megabytes_is_refused_in_bounded_memory(tmp_path: Path, name: str, reads: str, place: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    _write_huge(folder / name)
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED.format(reads=reads), str(folder)],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"{folder}/{place}: longer than 64 MiB" in done.stdout


def test_rollouts_are_as_strict_and_as_tolerant(tmp_path: Path) -> None:
    records = [rollout(units) for units in (2, 3, 4, 5)]
    texts = [orjson.dumps(record) for record in records]
    (tmp_path / "one.json").write_bytes(lines.MARK + orjson.dumps(records[0], option=orjson.OPT_INDENT_2))
    (tmp_path / "two.jsonl").write_bytes(lines.MARK + texts[1] + b"\r\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/three.jsonl.zst").write_bytes(packed(b"\n" + texts[2] + b"\n" + texts[3]))
    by_id = {record["id"]: record for record in rollouts.read(tmp_path)}
    assert by_id == {record["id"]: record for record in records}
    (tmp_path / "four.jsonl").write_bytes(texts[0].replace(b'{"id"', b'{"id":"0","id"'))
    (tmp_path / "five.json").write_bytes(texts[1][:-30])
    with pytest.raises(InputError) as caught:
        list(rollouts.read(tmp_path))
    assert [fault.removeprefix(f"{tmp_path}/").split(": ")[0] for fault in caught.value.faults] == [
        "five.json",
        "four.jsonl:1",
    ]


def test_a_row_of_ten_thousand_messages_is_judged_in_seconds(project: Path, run_stage: Callable[..., Any]) -> None:
    """Rendering every turn with all that is before it would take hours; that it is too long is seen from the last."""
    good = [convert.row(rollout(units)) for units in (2, 3)]
    long = convert.row(rollout(4))
    middle = [
        {"role": "user", "content": "and more"} if place % 2 else {"role": "assistant", "content": f"Yes, {place}."}
        for place in range(10_000)
    ]
    long["messages"][6:6] = middle
    jsonl.write(project / "data/converted.jsonl", [good[0], long, good[1]], "row")
    jsonl.write(project / "data/prompts.jsonl", [], "prepared_prompt")
    (project / "checks.py").unlink()
    done = run_stage("filter")
    assert done.returncode == 0, done.stderr
    (rejected,) = jsonl.read(project / "data/rejected.jsonl", "rejected")
    assert rejected["rollout_id"] == long["rollout_id"]
    assert any(reason["check"] == "length" and "tokens" in reason["detail"] for reason in rejected["reasons"])


def test_a_fault_that_many_lines_have_is_folded() -> None:
    faults = [f"data/seed/a.jsonl:{line}: /metadata: odd" for line in range(1, 11)]
    error = InputError([*faults[:5], "data/seed/b.jsonl:1: /metadata: odd", "params.yaml: /model: odd", *faults[5:]])
    assert len(error.faults) == 12
    assert str(error).splitlines() == [
        *faults[:3],
        "data/seed/a.jsonl: and 7 more lines: /metadata: odd",
        "data/seed/b.jsonl:1: /metadata: odd",
        "params.yaml: /model: odd",
    ]


def test_a_file_of_another_kind_among_the_prompts_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question,answer\n")
    (tmp_path / "more").mkdir()
    with pytest.raises(InputError) as error:
        read_seed(tmp_path)
    assert f"{tmp_path}/a.csv: not JSON Lines: prompts are in files of {tmp_path}/ that end in .jsonl" in str(
        error.value
    )
    assert f"{tmp_path}/more: a folder: " in str(error.value)
