"""Secrets: a key reaches the server that it is for, and no file, no message, and nobody else."""

import os
from pathlib import Path
from typing import Any

import pytest
import sums
from stage_process import Running
from teacher_server import Asked, serving

from distill.records import jsonl
from distill.teacher.api import chat
from distill.teacher.errors import Transient


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Ten prompts that are ready for the teacher."""
    project = sums.bare(tmp_path)
    sums.make(project, 10)
    assert Running(project, "prompts").wait().returncode == 0
    return project


SECRETIVE = '''
import os
from distill.tools import tool

@tool
def add(a: int, b: int) -> str:
    """Adds two numbers, and talks too much."""
    return f"{a + b}, my key is {os.environ['TEACHER_API_KEY']} and theirs is " + "sk-proj-" + "A1b2C3d4" * 6
'''


def test_no_secret_is_written_or_sent(project: Path) -> None:
    """Not the key, which a tool gives away and a server repeats, nor what looks like somebody else's."""
    key = "teacher-" + "key-0123456789"
    (project / "tools.py").write_text(SECRETIVE)
    (project / ".env").write_text(f"TEACHER_API_KEY={key}\nUNRELATED={key}\n")

    def teacher(asked: Asked) -> Any:
        assert asked.headers["authorization"] == f"Bearer {key}"
        if sums.number(asked.body) == 3:
            return 400, {"error": {"message": f"I do not like {key}"}}, {}
        if sums.number(asked.body) == 5:
            return 400, {"error": {"message": "." * 990 + key}}, {}
        return sums.adds(asked)

    with serving(teacher) as books:
        sums.set_params(project, teacher__base_url=books.base_url)
        done = Running(project, "teacher_rollouts", TEACHER_API_KEY=key).wait()
    assert done.returncode == 0, done.stderr
    (project / ".env").unlink()
    written = [
        path for folder in (project, Path(os.environ["DISTILL_STORE"])) for path in folder.rglob("*") if path.is_file()
    ]
    assert not [path for path in written if key.encode() in path.read_bytes()] and key not in done.stdout + done.stderr
    assert not [path for path in written if key[:9].encode() in path.read_bytes()], "nor a part of it"
    assert not [asked for asked in books.posts if key.encode() in asked.raw or b"A1b2C3d4" in asked.raw]
    told = {
        message["content"]
        for path in (project / "rollouts").iterdir()
        for message in jsonl.read_json(path, "rollout")["messages"]
        if message["role"] == "tool"
    }
    assert "1, my key is [secret] and theirs is [secret]" in told


def test_a_bad_answer_is_quoted_without_its_secrets() -> None:
    with pytest.raises(Transient) as caught:
        chat.parse({"errors": "." * 920 + "who is sk-proj-" + "A1b2C3d4" * 6}, 0.0)
    assert str(caught.value).endswith("who is [secret]'}") and caught.value.message == str(caught.value)


def test_the_login_of_a_proxy_is_not_told(project: Path) -> None:
    """Not by an error about a proxy whose address is malformed, nor by a proxy that repeats what it got."""
    said = []

    def proxy(asked: Asked) -> Any:
        said.append(asked.headers["proxy-authorization"])
        return 400, f"I got {said[-1]}".encode(), {}

    sums.set_params(project, teacher__base_url="http://example.invalid/v1", teacher__n=1)
    with serving(proxy) as books:
        address = books.base_url.removeprefix("http://").removesuffix("/v1")
        environment = {"TEACHER_API_KEY": "", "no_proxy": "", "http_proxy": f"http://me:pass-word-1@{address}"}
        assert Running(project, "teacher_rollouts", **environment).wait().returncode == 0
        assert "I got Basic [secret]" in next(project.glob("rollouts/*")).read_text()
        sums.set_params(project, model="another")
        malformed = "http://me:pass-word-1@127.0.0.1:99999"
        done = Running(project, "teacher_rollouts", **environment | {"http_proxy": malformed}).wait()
        assert "(unreachable)" in done.stderr and "[secret]" in done.stderr and "pass-word-1" not in done.stderr
    [login] = said
    assert not [path for path in project.parent.rglob("*.json") if login.split()[1].encode() in path.read_bytes()]


def test_a_login_in_netrc_is_left_alone(project: Path, tmp_path: Path) -> None:
    """With a proxy, too; aiohttp would take it, and fail since there is a key."""
    said = []

    def proxy(asked: Asked) -> Any:
        said.append(asked.headers["authorization"])
        return sums.adds(asked)

    (tmp_path / "home").mkdir()
    (tmp_path / "home/.netrc").write_text("machine example.invalid login me password pass-word-1\n")
    sums.set_params(project, teacher__base_url="http://example.invalid/v1", teacher__n=1)
    with serving(proxy) as books:
        environment = {"TEACHER_API_KEY": "a-key", "no_proxy": "", "http_proxy": books.base_url.removesuffix("/v1")}
        done = Running(project, "teacher_rollouts", HOME=str(tmp_path / "home"), **environment).wait()
    assert done.returncode == 0 and set(said) == {"Bearer a-key"}, done.stderr


def test_a_key_with_a_line_break(project: Path) -> None:
    with serving(sums.adds) as books:
        sums.set_params(project, teacher__base_url=books.base_url, teacher__n=1)
        assert Running(project, "teacher_rollouts", TEACHER_API_KEY="an-odd-key\n").wait().returncode == 0
        assert {asked.headers["authorization"] for asked in books.posts} == {"Bearer an-odd-key"}
        sums.set_params(project, teacher__n=2)
        done = Running(project, "teacher_rollouts", TEACHER_API_KEY="an-odd-\nkey").wait()
    assert done.returncode == 1 and "TEACHER_API_KEY (or" in done.stderr and "odd-" not in done.stderr


def test_a_key_in_a_url_is_refused(project: Path) -> None:
    sums.set_params(project, teacher__base_url="https://me:secret@example.com/v1")
    done = Running(project, "teacher_rollouts").wait()
    assert done.returncode == 1 and "holds a credential" in done.stderr
    sums.set_params(project, teacher__base_url="https://example.com/v1?key=secret")
    done = Running(project, "teacher_rollouts").wait()
    assert done.returncode == 1 and "no ? and no #" in done.stderr
