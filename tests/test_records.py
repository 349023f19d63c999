"""Records: valid both ways, every fault named with its place, files whole or absent."""

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from distill.project import params
from distill.records import ids, jsonl, schema
from distill.records.atomic import replacing, replacing_folder
from distill.records.faults import InputError

PROMPT = b'{"messages": [{"role": "user", "content": "hi"}]}\n'


def test_every_fault_of_a_file_is_named_with_line_and_pointer(tmp_path: Path) -> None:
    path = tmp_path / "seed.jsonl"
    path.write_bytes(
        PROMPT
        + b'{"messages": [{"role": "human", "content": "hi"}]}\n'
        + b'{"messages": [{"role": "user", "content": "hi"}\n'
        + b'{"messages": [{"role": "tool", "content": "42"}]}\n'
        + b'{"mesages": [{"role": "user", "content": "hi"}]}\n'
    )
    with pytest.raises(InputError) as caught:
        list(jsonl.read(path, "prompt"))
    lines = caught.value.faults
    assert [line.split(":")[1] for line in lines] == ["2", "3", "4", "5", "5"]
    assert lines[0].startswith(f'{path}:2: /messages/0/role: "human" is not one of')
    assert "not valid JSON" in lines[1]
    assert '/messages/0: "tool_call_id" is a required property' in lines[2]
    assert "unknown key 'mesages', did you mean 'messages'?" in "".join(lines[3:])


def test_an_unknown_key_is_named_wherever_the_schema_defines_it() -> None:
    said = {"messages": [{"role": "user", "content": "hi", "nme": "x"}]}
    assert schema.faults("prompt", said)[0].startswith("/messages/0: unknown key 'nme', did you mean 'name'?")
    misplaced = {"messages": [{"role": "user", "content": "hi"}], "expected_answer": 5}
    assert schema.faults("prompt", misplaced) == ["/: unknown key 'expected_answer': it belongs under metadata"]
    misplaced = params.load(ROOT / "params.yaml") | {"budget_usd": 5}
    assert "/: unknown key 'budget_usd': it belongs under runtime" in schema.faults("params", misplaced)
    assert "/accuracy: unknown key 'bas', did you mean 'base'?" in schema.faults("metrics", {"accuracy": {"bas": 1}})


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InputError, match=r"nowhere\.jsonl: no such file"):
        list(jsonl.read("nowhere.jsonl", "prompt"))


@pytest.mark.parametrize("text", [b'{"a": NaN}\n', b'{"a": "\xff"}\n', b'{"a": "\\ud800"}\n'])
def test_what_is_not_json_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "seed.jsonl"
    path.write_bytes(text)
    with pytest.raises(InputError, match=r"seed\.jsonl:1: .*not valid JSON"):
        list(jsonl.read(path, "prompt"))


def test_a_bad_row_leaves_the_old_file_in_place(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    assert jsonl.write(path, [{"messages": [{"role": "user", "content": "one"}]}], "prompt") == 1
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"out\.jsonl:2: .*refused by schemas/prompt"):
        jsonl.write(path, [{"messages": [{"role": "user", "content": "two"}]}, {"messages": []}], "prompt")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["out.jsonl"]


def test_a_kill_while_writing_leaves_no_half_written_file(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom distill.records import jsonl\n"
        "row = {'messages': [{'role': 'user', 'content': 'x' * 10000}]}\n"
        "def rows():\n    for n in range(10**9):\n        if n == 50: print('writing', flush=True)\n        yield row\n"
        f"jsonl.write({str(tmp_path / 'out.jsonl')!r}, rows(), 'prompt')\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=Path(__file__).parents[1])
    assert writer.stdout is not None
    writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert not (tmp_path / "out.jsonl").exists() and len(list(tmp_path.iterdir())) == 1
    with replacing(tmp_path / "out.jsonl") as file, replacing(tmp_path / "out.jsonl"):
        assert len(list(tmp_path.iterdir())) == 2  # what the killed one left is gone, and what others write is not
        file.write(b"whole")
    assert list(tmp_path.iterdir()) == [tmp_path / "out.jsonl"] and (tmp_path / "out.jsonl").read_bytes() == b"whole"


REPLACES = """
import sys
from distill.records.atomic import replacing_folder
with replacing_folder(sys.argv[1]) as folder:
    (folder / "one").write_text("new")
    print("half", flush=True)
    sys.stdin.readline()
    (folder / "two").write_text("new")
"""


def test_a_kill_while_a_folder_is_written_leaves_the_old_one(tmp_path: Path) -> None:
    path, command = tmp_path / "model", [sys.executable, "-c", REPLACES, str(tmp_path / "model")]
    path.mkdir()
    (path / "one").write_text("old")
    for end in ("killed", "whole"):
        writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        with writer:
            assert writer.stdout and writer.stdin and writer.stdout.readline()
            assert {file.name: file.read_text() for file in path.iterdir()} == {"one": "old"}
            assert len(list(tmp_path.iterdir())) == 2  # what the killed one left is gone when the next begins
            if end == "killed":
                writer.kill()
    assert {file.name: file.read_text() for file in path.iterdir()} == {"one": "new", "two": "new"}
    assert list(tmp_path.iterdir()) == [path] and path.stat().st_mode & 0o777 == 0o755


def test_a_folder_is_whole_whoever_replaces_it_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "model"

    def replace(number: int) -> None:
        with replacing_folder(path) as folder:
            for name in "ab":
                (folder / name).write_text(str(number))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(replace, range(100)))
    assert (path / "a").read_text() == (path / "b").read_text() and list(tmp_path.iterdir()) == [path]


NESTED = """
import sys
from distill.records.atomic import replacing, replacing_folder
with replacing_folder(sys.argv[1]) as folder, replacing(folder / "one") as file:
    file.write(b"whole")
"""


def test_a_file_is_written_whoever_has_locked_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "model"
    subprocess.run([sys.executable, "-c", NESTED, str(path)], cwd=ROOT, check=True, timeout=30)
    assert (path / "one").read_bytes() == b"whole"


def test_a_file_is_whole_whoever_writes_it_meanwhile(tmp_path: Path) -> None:
    def write(number: int) -> None:
        with replacing(tmp_path / "one") as file:
            file.write(b"%d" % (number % 10) * 1000)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(300)))
    assert len(set((tmp_path / "one").read_bytes())) == 1 and list(tmp_path.iterdir()) == [tmp_path / "one"]


def test_a_fault_while_a_folder_is_written_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(InputError), replacing_folder(tmp_path / "model") as folder:
        (folder / "one").touch()
        raise InputError("no")
    assert [*tmp_path.rglob("*")] == [tmp_path / "model"]


def test_a_full_disk_is_one_clear_error(project: Path) -> None:
    """The stage runs under a file size limit, which fails writes as a full disk does (EFBIG instead of ENOSPC)."""
    script = (
        "import resource, signal, runpy, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "runpy.run_module('stages.prompts', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "error: data/prompts.jsonl: File too large" in done.stderr and "Traceback" not in done.stderr
    assert not (project / "data/prompts.jsonl").exists()
    assert not list((project / "data").glob(".*tmp"))


WRITES = {
    "a library": "safetensors.numpy.save_file({'a': numpy.zeros(10**5)}, folder / 'weights')",
    "Python": "file = open(folder / 'text', 'w'); file.write('x' * 10**5); file.flush()",
}


@pytest.mark.parametrize("writer", WRITES)
def test_a_disk_that_is_full_with_a_folder_is_one_clear_error(tmp_path: Path, writer: str) -> None:
    """Also where a library has errors of its own: a student is converted into such a folder."""
    script = (
        "import numpy, pathlib, resource, signal, safetensors.numpy\n"
        "from distill.records import atomic; from distill.project import stage\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        f"with stage.ending(), atomic.replacing_folder({str(tmp_path / 'folder')!r}) as folder:\n    {WRITES[writer]}"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.startswith("error: ") and "File too large" in done.stderr
    assert writer != "Python" or f"{tmp_path / 'folder'}: " in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("printed", ["print('x')", "print('x' * 10**6)", "print('x', flush=True)"])
def test_nobody_who_reads_ends_a_command_without_a_word(printed: str) -> None:
    script = f"import sys; from distill.project import stage\nwith stage.ending():\n    sys.stdin.read()\n    {printed}"
    run = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    assert run.stdin and run.stdout and run.stderr
    run.stdout.close()
    run.stdin.close()
    assert (run.stderr.read(), run.wait()) == (b"", 141)


def test_a_character_that_the_locale_does_not_have_ends_no_stage() -> None:
    """LANG=en_US without UTF-8, as clusters have it."""
    code = "from distill.project import stage\nwith stage.ending(): print('10% \u2013 20%')"
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"10% ? 20%\n"), done.stderr
    told = [sys.executable, "-m", "stages.sft_train", "--help"]
    done = subprocess.run(told, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert not done.returncode, done.stderr


@pytest.mark.parametrize("package", ["stages", "distill.commands"])
def test_an_option_that_a_program_does_not_have_is_refused_and_nothing_run(tmp_path: Path, package: str) -> None:
    """`python -m stages.filter -o FILE` would else write data/train.jsonl, and `stages.sft_train --help` train."""
    names = [path.stem for path in (ROOT / package.replace(".", "/")).glob("*.py") if path.stem != "__init__"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    for name in names:
        start = [sys.executable, "-m", f"{package}.{name}", "--no-such-option"]
        done = subprocess.run(start, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode and "Traceback" not in done.stderr, name
        missing = name in ("ablate", "export", "import_dataset", "new")  # these take an argument, and say so first
        assert missing or "unrecognized arguments: --no-such-option" in done.stderr, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_an_id_does_not_depend_on_the_order_of_keys() -> None:
    assert (
        ids.content_id({"a": 1, "b": [2]}) == ids.content_id({"b": [2], "a": 1}) != ids.content_id({"a": 1, "b": [3]})
    )


@given(
    st.one_of(st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none())
)
def test_params_read_what_dvc_writes(value: object) -> None:
    """DVC writes YAML 1.2 through ruamel: what `dvc exp run -S` puts into params.yaml must come back as the same value."""
    import io

    from ruamel.yaml import YAML

    text = io.StringIO()
    YAML().dump({"value": value}, text)
    read = params.parse(text.getvalue())["value"]
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(("text", "value"), [("2e-05", 2e-05), ("1e-4", 1e-4), ("on", "on"), ("no", "no"), ("010", 10)])
def test_yaml_is_version_1_2(text: str, value: object) -> None:
    assert params.parse(f"a: {text}")["a"] == value


def test_a_misspelt_param_names_the_right_one(project: Path, run_stage) -> None:  # type: ignore[no-untyped-def]
    path = project / "params.yaml"
    text = path.read_text().replace("learning_rate:", "learning_rat:")
    path.write_text(re.sub("temperature:.*", "temperature: hot", text))
    done = run_stage("prompts")
    assert done.returncode == 1
    assert "params.yaml: /student: unknown key 'learning_rat', did you mean 'learning_rate'?" in done.stderr
    assert "/teacher/temperature" in done.stderr


def test_every_param_is_explained() -> None:
    """Each parameter has a line in the schema, and a comment in params.yaml stands over it or over its group."""
    for name, group in schema.load("params")["properties"].items():
        for key, value in group.get("properties", {name: group}).items():
            assert value.get("description"), f"{name}.{key} has no description in schemas/params.schema.json"


def test_a_value_that_no_json_holds_is_named_with_the_choices() -> None:
    chosen = params.load(ROOT / "params.yaml")
    chosen["runtime"]["tier"] = 10**30
    [fault] = schema.faults("params", chosen)
    assert fault.startswith(f"/runtime/tier: {10**30} is not one of ") and '"flex_or_standard"' in fault


def test_params_that_are_not_utf_8_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes("# für\nmodel: x\n".encode("cp1252"))
    with pytest.raises(InputError, match=r"params\.yaml: not valid YAML in UTF-8"):
        params.load(tmp_path / "params.yaml")
