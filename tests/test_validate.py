"""`make validate`: whatever a person wrote wrong is named before anything runs, all of it in one go."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT
from families import own, write_tokenizer
from stage_process import Done
from tiny_student import write_gguf
from validated import in_git, validate, validate_its_own

Change = Callable[[str, object], None]


def test_the_example_is_valid(project: Path) -> None:
    done = validate_its_own(in_git(project))
    assert done.returncode == 0, done.stderr
    assert "336 prompts" in done.stdout and "dvc.yaml with 7 stages" in done.stdout


def test_all_faults_are_named_in_one_go(project: Path, set_param: Change) -> None:
    set_param("student.path", "models/no/such.gguf")
    set_param("judge.model", "my-judge")
    set_param("model", "gtp-5.2")
    set_param("student.template", "missing.jinja")
    seed = project / "data/seed/mine.jsonl"
    user = {"role": "user", "content": "hello"}
    seed.write_text(
        json.dumps({"messages": [user], "tools": ["lookup_itme"]})
        + "\n"
        + json.dumps({"messages": [{"role": "usr", "content": "hello"}]})
        + "\n"
    )
    with (project / "tools.py").open("a") as tools:
        tools.write("\n\n@tool\ndef nameless(it):\n    return it\n")
    schema = project / "schemas/row.schema.json"
    schema.write_text(schema.read_text().replace('"object"', '"obect"', 1))
    done = validate_its_own(in_git(project))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    for said in (
        "/student/path: 'models/no/such.gguf'",
        "yaml: /model: 'gtp-5.2' is neither an OpenAI model nor local/<name>; set teacher.base_url",
        "/judge/model: 'my-judge' is neither an OpenAI model nor local/<name>; set judge.base_url",
        "mine.jsonl:2: /messages/0/role",
        "row.schema.json",
        "'nameless'",
    ):
        assert said in done.stderr
    (project / "tools.py").write_text((project / "tools.py").read_text().split("\n\n@tool\ndef nameless")[0])
    set_param("student.path", "stages/base")
    set_param("judge.model", None)
    set_param("model", "weights/foo.gguf")
    with seed.open("a") as rows:
        rows.write(
            json.dumps({"messages": [user], "metadata": {"expected_answer": "x", "answer_type": "number"}}) + "\n"
        )
    done = validate(project)
    for said in (
        "mine.jsonl:1: /tools: there is no tool 'lookup_itme'; the tools are: lookup_item",
        'mine.jsonl:2: /messages/0/role: "usr" is not one of "system", "user", "assistant", "tool"',
        "mine.jsonl:3: /metadata/expected_answer: 'x' holds no single number",
        "/student/template: missing.jinja",
        "/student/path: 'stages/base' is no folder here",
        "/model: weights/foo.gguf: there is no such file",
    ):
        assert done.stderr.count(said) == 1
    seed.unlink()
    (project / "mine.jinja").write_text("{{ messages }}")
    set_param("student.template", "mine.jinja")
    assert "warning: mine.jinja (student.template) never mentions `tools`" in validate(project).stdout
    (project / "mine.jinja").write_text("{% if %}")
    set_param("model", "local/qwen2.5-coder-05b")
    set_param("teacher.entries", "0-999")
    said = validate(project).stderr
    assert "/teacher/entries: '0-999' is outside of 0-" in said, said
    assert "/student/template: mine.jinja: line 1: Expected an expression" in said
    assert "/model: local/qwen2.5-coder-05b: no embedded model is called" in said


def test_an_unknown_param_is_refused_by_every_stage_and_by_validate(project: Path, set_param: Change) -> None:
    set_param("student.num_epoch", 3)
    done = validate(in_git(project))
    assert done.returncode == 1
    assert "num_epochs" in done.stderr, done.stderr
    path = project / "params.yaml"
    path.write_text(
        (ROOT / "params.yaml").read_text().replace("  lora_rank: 16\n", "  lora_rank: 16\n  lora_rank: 8\n")
    )
    said = validate(project).stderr
    assert 'found duplicate key "lora_rank"' in said and "suppress" not in said, said


def test_a_benchmark_is_readable_and_among_the_deps_of_the_filter(project: Path, set_param: Change) -> None:
    set_param("filter.decontaminate_against", ["data/benchmarks/sums.jsonl"])
    done = validate(in_git(project))
    assert done.returncode == 1 and "data/benchmarks/sums.jsonl: no such file" in done.stderr, done.stderr
    (project / "data/benchmarks").mkdir()
    (project / "data/benchmarks/sums.jsonl").write_text('{"question": "How much is 17 times 23?"}\n')
    done = validate(project)
    assert done.returncode == 1 and "/stages/filter/deps: add data/benchmarks/sums.jsonl" in done.stderr, done.stderr
    pipeline = project / "dvc.yaml"
    text = pipeline.read_text()
    for dep in ("data/benchmarks/sums.jsonl", "data/benchmarks"):
        pipeline.write_text(text.replace("    - data/converted.jsonl\n", f"    - data/converted.jsonl\n    - {dep}\n"))
        done = validate(project)
        assert done.returncode == 0 and "1 prompts of benchmarks" in done.stdout, done.stderr


def test_a_dvc_yaml_that_is_no_yaml_is_told_with_its_line(project: Path) -> None:
    """A dep that a person adds by hand, one space out of line."""
    pipeline = project / "dvc.yaml"
    pipeline.write_text(pipeline.read_text().replace("    - data/shop/", "   - data/shop/", 1))
    done = validate(in_git(project))
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert re.search(r"dvc\.yaml: not valid YAML: (.*\n)*.* line \d+, column 4", done.stderr), done.stderr


def test_demonstrations_are_among_the_deps_of_who_shows_them(project: Path, set_param: Change) -> None:
    shown = project / "data/demonstrations.jsonl"
    shown.rename(project / "data/shown.jsonl")
    set_param("teacher.demonstrations", "data/shown.jsonl")
    done = validate(in_git(project))
    assert "/stages/teacher_rollouts/deps: add data/shown.jsonl, which teacher.demonstrations" in done.stderr
    assert "/stages/teacher_rollouts/deps: there is no data/demonstrations.jsonl" in done.stderr
    pipeline = project / "dvc.yaml"
    pipeline.write_text(pipeline.read_text().replace("data/demonstrations.jsonl", "data/shown.jsonl"))
    assert validate(project).returncode == 0
    row = json.loads(shown_row := (project / "data/shown.jsonl").read_text().splitlines()[1])
    call = row["messages"][1]["tool_calls"][0]["function"]
    broken = [
        shown_row.replace('"name": "lookup_item"', '"name": "lookup_itme"'),
        shown_row.replace(call["arguments"].replace('"', '\\"'), '{\\"skku\\": 1}'),
        shown_row.replace('"tool_call_id": "', '"tool_call_id": "no_'),
        json.dumps({"messages": row["messages"][:-1]}),
    ]
    (project / "data/shown.jsonl").write_text("\n".join(broken) + "\n")
    done = validate(project)
    for said in ("1: /messages/1/tool_calls/0: there is no tool 'lookup_itme'", "2: /messages/1/tool_calls/0: the arguments "
                 "do not fit", "3: /messages/2: answers no open call 'no_", "4: the last message is a tool message"):  # fmt: skip
        assert f"data/shown.jsonl:{said}" in done.stderr


def test_a_template_and_a_base_of_the_project_are_among_the_deps_of_who_reads_them(
    project: Path, set_param: Change
) -> None:
    shutil.copy(ROOT / "distill/student/templates/smollm2.jinja", project / "mine.jinja")
    (project / "bases").mkdir()
    write_gguf(project / "bases/tiny.gguf")
    set_param("student.template", "./mine.jinja")
    set_param("student.path", "bases/tiny.gguf")
    said = validate(in_git(project)).stderr
    for stage in ("filter", "sft_train"):
        assert f"/stages/{stage}/deps: add ./mine.jinja, which student.template in params.yaml names" in said
    for stage in ("filter", "sft_train", "evaluate"):
        assert f"/stages/{stage}/deps: add bases/tiny.gguf, which student.path in params.yaml names" in said
    pipeline = project / "dvc.yaml"
    listed = pipeline.read_text().replace("    - stages/evaluate.py\n", "    - stages/evaluate.py\n    - bases\n")
    for code in ("    - stages/filter.py\n", "    - stages/sft_train.py\n"):
        listed = listed.replace(code, f"{code}    - bases\n    - mine.jinja\n")
    pipeline.write_text(listed)
    done = validate(project)
    assert done.returncode == 0, done.stderr


def test_a_student_whose_calls_nobody_could_read_is_refused_where_there_are_tools(
    project: Path, set_param: Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_CACHE", str(tmp_path / "cache"))
    base = write_tokenizer(tmp_path / "base", "")
    (base / "config.json").write_text('{"vocab_size": 1024}')
    (base / "chat_template.jinja").write_text(own("lfm2"))
    set_param("student.path", str(base))
    done = validate(in_git(project))
    assert done.returncode == 1
    assert "params.yaml: /student/template: there are tools to call, but the student's chat template" in done.stderr
    assert "name another in student.template" in done.stderr and done.stderr.count("params.yaml") == 1
    set_param("runtime.student_url", "http://localhost:8000/v1")
    assert validate(project).returncode == 0, "that server may have a parser"
    set_param("runtime.student_url", None)
    set_param("student.template", "qwen3")
    assert validate(project).returncode == 0
    set_param("student.template", "gemma3")
    refused = "params.yaml: /student/template: no row could be learned: the chat template ends the turn with a token at"
    assert refused in validate(project).stderr
    set_param("student.template", None)
    for seed in (project / "data/seed").iterdir():
        seed.unlink()
    row = {"messages": [{"role": "user", "content": "hello"}], "tools": [], "split": "train"}
    (project / "data/seed/mine.jsonl").write_text(json.dumps(row) + "\n")
    assert validate(project).returncode == 0, "no tools, no calls"


def test_a_gguf_that_is_no_student_is_refused(
    project: Path, set_param: Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_CACHE", str(tmp_path / "cache"))
    file = write_gguf(tmp_path / "tiny.gguf")
    file.write_bytes(file.read_bytes().replace(b"smollm", b"gemma4"))
    set_param("student.path", str(file))
    assert f"{file}: tokenizer gpt2/gemma4 is none of" in validate(in_git(project)).stderr


def test_an_answer_under_another_name_is_asked_about(project: Path) -> None:
    row = {"messages": [{"role": "user", "content": "hello"}], "metadata": {"expected": "x"}}
    (project / "data/seed/mine.jsonl").write_text(json.dumps(row) + "\n")
    done = validate(in_git(project))
    assert done.returncode == 0
    assert "warning: data/seed/mine.jsonl:1: /metadata/expected: nothing is compared with it" in done.stdout


def test_a_project_with_nothing_to_learn_from_is_refused(project: Path) -> None:
    for seed in (project / "data/seed").iterdir():
        seed.unlink()
    row = {"messages": [{"role": "user", "content": "hello"}], "split": "eval"}
    (project / "data/seed/mine.jsonl").write_text(json.dumps(row) + "\n")
    done = validate(in_git(project))
    assert done.returncode == 1 and "all 1 prompts are held out" in done.stderr, done.stderr
    (project / "data/seed/mine.jsonl").unlink()
    (project / "data/imported/talk.jsonl").touch()
    assert "and data/imported/ holds no conversation" in validate(project).stderr
    talk = {"messages": [*row["messages"], {"role": "assistant", "content": "hi"}]}
    (project / "data/imported/talk.jsonl").write_text(json.dumps(talk) + "\n")
    assert validate(project).returncode == 0


def test_what_dvc_would_not_find_is_named(project: Path) -> None:
    (project / "tools.py").unlink()
    (project / "data/shop/catalogue.json").rename(project / "catalogue.json")
    (project / "data/shop/catalogue.json.dvc").touch()
    done = validate(in_git(project))
    assert done.returncode == 1
    for stage in ("teacher_rollouts", "evaluate"):
        assert f"/stages/{stage}/deps: there is no tools.py; an empty file will do" in done.stderr
        assert f"/stages/{stage}/deps: there is no data/shop/catalogue.json; dvc pull fetches it" in done.stderr
    assert "/stages/convert/deps: there is no tools.py" in done.stderr and done.stderr.count("there is no") == 5


def test_the_code_of_a_server_is_among_the_deps_and_its_tools_are_known_once_it_was_asked(
    project: Path, set_param: Change, run_module: Callable[..., Done]
) -> None:
    (project / "servers").mkdir()
    shutil.copy(ROOT / "tests/mcp_server.py", project / "servers/warehouse.py")
    (project / ".own").symlink_to(sys.prefix)
    command = {"command": ".own/bin/python", "args": ["servers/warehouse.py", "stdio"]}
    module, script = ["-m", "servers.warehouse", "stdio"], ["-c", "print(1)\n" * 60]
    servers = {"warehouse": command, "again": command | {"args": module}, "inline": command | {"args": script}}
    set_param("tools.mcp", servers)
    said = validate(in_git(project)).stderr
    for stage in ("teacher_rollouts", "evaluate"):
        assert said.count(f"/stages/{stage}/deps: add servers/warehouse.py, which tools.mcp in params.yaml names") == 1
    assert ".own" not in said
    pipeline = project / "dvc.yaml"
    pipeline.write_text(pipeline.read_text().replace("    - tools.py\n", "    - servers\n    - tools.py\n"))
    set_param("tools.mcp", {"warehouse": command})
    row = {"messages": [{"role": "user", "content": "hello"}], "tools": ["plos"]}
    (project / "data/seed/mine.jsonl").write_text(json.dumps(row) + "\n")
    done = validate(project)
    assert done.returncode == 0, "nobody has asked the server"
    assert "mine.jsonl:1: /tools: there is no tool 'plos'" in run_module("distill.commands.tools").stderr
    set_param("tools.mcp", {"warehouse": command | {"deny": ["picture"]}})
    said = validate(project).stderr
    assert "mine.jsonl:1: /tools: there is no tool 'plos'; the tools are: lookup_item, calculator, " in said
    assert "plus" in said and "picture" not in said
