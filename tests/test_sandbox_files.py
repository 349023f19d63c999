"""What a sandbox is made of, before any engine is asked: names, Dockerfiles, whose containers are whose."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from validated import in_git, validate

from distill.records.faults import InputError
from distill.tools.sandbox import dockerfile, engine, name, owner, runner


@pytest.mark.parametrize(
    "docker",
    [
        "local/playwright",
        "local/py-3.12_x",
        "python:3.12-slim",
        "ghcr.io/a/b:1",
        "localhost:5000/x",
        f"a@sha256:{'0' * 64}",
    ],
)
def test_names_of_images(docker: str) -> None:
    assert name.fault(docker) is None


@pytest.mark.parametrize(
    "docker",
    [
        "local/../../x",
        "local/",
        "local/a/b",
        "local/.x",
        "local/X",
        "local/a..",
        "-v",
        "a b",
        "../x",
        "/x",
        "x;y",
        "",
        "a:",
    ],
)
def test_what_is_no_name(docker: str) -> None:
    assert name.fault(docker)


def test_a_dockerfile_takes_what_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (
        "a.txt",
        "data/b.txt",
        "data/deep/c.txt",
        "data/__pycache__/x.pyc",
        "d1.py",
        "d2.py",
        "e",
        "f",
        "unused",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    (tmp_path / "Dockerfile.x").write_text(
        "# COPY nothing /\nFROM python:3 AS base\nCOPY\t--chown=1:1\ta.txt \\\n  # why\n  data /srv/\n"
        'COPY ["d1.py", "d2.py", "/srv/"]\ncopy --from=base /etc/passwd /\nADD https://example.org/x /x\n'
        "RUN --mount=type=bind,source=e,target=/e cat /e && echo <<END\nCOPY missing /\nEND\n"
        'RUN echo $((1<<20)) $((1<<x)) <<<"hello"\nCOPY f /f\n'
    )
    context = dockerfile.read("Dockerfile.x")
    assert set(context.files) == {"Dockerfile.x", "a.txt", "data/b.txt", "data/deep/c.txt", "d1.py", "d2.py", "e", "f"}
    before, packed = context.hash, context.tar().getvalue()
    (tmp_path / "unused").write_text("other")
    os.utime(tmp_path / "a.txt", (1, 1))
    assert dockerfile.read("Dockerfile.x").hash == before
    assert dockerfile.read("Dockerfile.x").tar().getvalue() == packed
    (tmp_path / "data/deep/c.txt").write_text("other")
    changed = dockerfile.read("Dockerfile.x").hash
    (tmp_path / "d1.py").chmod(0o755)
    assert len({before, changed, dockerfile.read("Dockerfile.x").hash}) == 3


def test_all_faults_of_a_dockerfile_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/.env").write_text("KEY=1")
    (tmp_path / "Dockerfile.x").write_text(
        "FROM a\nCOPY . /srv\nCOPY ../up /srv\nCOPY nope.txt $X /srv/\nADD conf /srv\nRUN --mount=type=bind,target=/s ls\n"
    )
    with pytest.raises(InputError) as caught:
        dockerfile.read("Dockerfile.x")
    lines = [fault.split(": ")[0] for fault in caught.value.faults]
    assert lines == [f"Dockerfile.x:{line}" for line in (2, 3, 4, 4, 5, 6)], caught.value.faults
    with pytest.raises(InputError, match=r"Dockerfile\.y: there is no such file"):
        dockerfile.read("Dockerfile.y")


def test_a_container_is_known_to_be_left_behind_only_when_its_process_is_gone() -> None:
    assert not owner.is_gone(owner.this_process()), "this process lives"
    asked = "from distill.tools.sandbox import owner; print(owner.this_process(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", asked], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        theirs = other.stdout.readline().strip()
        assert not owner.is_gone(theirs)
        other.kill()
    assert owner.is_gone(theirs)
    assert not owner.is_gone("elsewhere"), "what runs on another machine cannot be judged here"


def test_where_no_engine_answers_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/engine.sock")
    with pytest.raises(
        InputError,
        match=r"no container engine answers at unix:///no/such/engine.sock .*start Docker.* DOCKER_HOST=unix:///tmp/podman.sock\)",
    ):
        engine.connect()
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert "unix:///run/user/7/podman/podman.sock" in engine.hosts() and "unix:///var/run/docker.sock" in engine.hosts()


def test_validate_names_what_is_wrong_with_sandboxes(project: Path) -> None:
    """`project` is a copy of this one."""
    rows = [
        {"docker": "local/../../x"},
        {"docker": "local/none"},
        {"docker": "local/playwright", "docker_network": "host"},
        {"docker_env": {"A": "b"}},
    ]
    seed = project / "data/seed/mine.jsonl"

    def write(*rows: dict[str, object]) -> None:
        told = [{"messages": [{"role": "user", "content": f"{place}"}], **row} for place, row in enumerate(rows)]
        seed.write_text("".join(json.dumps(row) + "\n" for row in told))

    in_git(project)
    write(*rows[2:])
    said = validate(project).stderr
    assert 'mine.jsonl:1: /docker_network: "host" is not allowed (none, bridge, or a network of your engine' in said
    assert "mine.jsonl:2: " in said
    write(rows[0], rows[0])
    said = validate(project).stderr
    assert all(f"mine.jsonl:{line}: /docker: 'local/../../x': the name after local/" in said for line in (1, 2))
    write(rows[1], {"docker": "local/bad"})
    (project / "Dockerfile.bad").write_text("FROM a\nCOPY .. /\n")
    said = validate(project).stderr
    assert "mine.jsonl:1: /docker: 'local/none': Dockerfile.none: there is no such file" in said
    assert "mine.jsonl:2: /docker: 'local/bad': Dockerfile.bad:2: COPY ..: leads out" in said
    write({"docker": "local/playwright"})
    said = validate(project).stderr
    for stage in ("teacher_rollouts", "evaluate"):
        assert f"dvc.yaml: /stages/{stage}/deps: add Dockerfile.playwright" in said
    pipeline = (project / "dvc.yaml").read_text()
    (project / "dvc.yaml").write_text(
        pipeline.replace("    - tools.py\n", "    - tools.py\n    - Dockerfile.playwright\n")
    )
    done = validate(project)
    assert done.returncode == 0, done.stderr


def test_chat_takes_the_usual_sandbox() -> None:
    from distill.commands.chat import usual_sandbox

    prompts = [{"docker": "a"}, {"docker": "b", "docker_env": {"X": "1"}}, {"docker": "b", "messages": []}]
    assert usual_sandbox(prompts, False) == {"docker": "b", "docker_env": {"X": "1"}}
    prompts = [{}, {"docker": "a"}, {}]
    assert usual_sandbox(prompts, False) == usual_sandbox([], True) == {}
    assert usual_sandbox(prompts, True) == {"docker": "a"}, "where a tool runs only in one"


def test_chat_begins_with_the_usual_system_message() -> None:
    from distill.commands.chat import usual_system

    terse, kind, asked = ({"role": role, "content": role + text} for role, text in
                          (("system", "1"), ("system", "2"), ("user", "")))  # fmt: skip
    prompts = [{"messages": messages} for messages in ([kind, asked], [terse, asked], [asked], [terse, asked])]
    assert usual_system(prompts) == [terse]
    assert usual_system([{"messages": [asked]}]) == usual_system([]) == []


SLOW_TO_LOAD = """
import time
time.sleep(%s)
from distill.tools import tool

@tool
def wait(seconds: float):
    time.sleep(seconds)
"""


@pytest.mark.parametrize(
    ("loads_s", "waits_s", "said"),
    [
        ("2", 0.0, {"result": None}),
        ("0", 30.0, {"error": "the tool did not answer within 1 s"}),
        ("30", 0.0, {"lost": "tools.py was not loaded within 6 s"}),
    ],
)
def test_the_time_limit_of_a_function_begins_with_it(loads_s: str, waits_s: float, said: object) -> None:
    assert answered(SLOW_TO_LOAD % loads_s, "wait", {"seconds": waits_s}) == said


PUSHES = """
import contextlib, os, time
from distill.tools import tool

@tool
def push():
    for _ in range(15):
        time.sleep(0.2)
        for file in range(3, 10):
            with contextlib.suppress(OSError):
                os.write(file, b"\\n")
    return "there is time"
"""


def test_a_function_cannot_say_again_that_it_begins() -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        answered(PUSHES, "push", {})


TYPED = """
import sys
from distill.tools import tool

@tool
def add(a: int, b: float, c: list[int] | None = None):
    return [repr(a), repr(b), "pydantic" in sys.modules]
"""


def test_pydantic_is_imported_only_for_what_it_converts() -> None:
    assert answered(TYPED, "add", {"a": 1, "b": 2.5}) == {"result": ["1", "2.5", False]}
    assert answered(TYPED, "add", {"a": 1, "b": 2}) == {"result": ["1", "2.0", True]}


ODD = """
from distill.tools import tool

@tool
def odd():
    return {(1, 2): 3}

@tool
def lazy():
    return (n for n in [b"a", {"b": 1}.keys()])

@tool
def breaks_off():
    yield 1
    raise ValueError("no more")

@tool
def thing():
    return object()
"""


def test_a_result_without_a_json_form_is_told_as_text() -> None:
    assert answered(ODD, "odd", {}) == {"result": "{(1, 2): 3}"}
    assert answered(ODD, "lazy", {}) == {"result": ["a", ["b"]]}
    assert answered(ODD, "breaks_off", {}) == {"error": "RuntimeError: its result broke off: ValueError: no more"}
    advice = "its result holds a value of type object; return a dict, a list or a text"
    assert answered(ODD, "thing", {}) == {"error": f"RuntimeError: {advice}"}


def answered(source: str, name: str, arguments: dict[str, object]) -> object:
    """What the runner says, here and not in a container."""
    job = {
        "source": source,
        "file": "tools.py",
        "name": name,
        "arguments": arguments,
        "context": {},
        "loading_s": 6,
        "timeout_s": 1,
    }
    with subprocess.Popen(
        [sys.executable, runner.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()  # and it stays open: somebody waits
        return json.loads(process.stdout.readline())
