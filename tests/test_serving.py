"""`make serve` and `make chat`: the trained student over HTTP, and to talk to."""

import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import openai
import pytest
from conftest import ROOT
from tiny_qwen3 import PROMPT, QUESTION, ROW, SHOP, sit
from tiny_student import write_adapter, write_gguf

from distill.student.serving.remote import Served


@pytest.fixture
def served_project(project: Path, trained: tuple[Path, Path], set_param: Callable[[str, object], None]) -> Path:
    """A project whose student is the small one, trained."""
    set_param("student.path", str(trained[0]))
    shutil.copytree(trained[1], project / "models/adapter")
    shutil.copy(SHOP, project / "tools.py")
    (project / "data/prompts.jsonl").write_text(json.dumps(PROMPT) + "\n")
    (project / ".venv").symlink_to(ROOT / ".venv")
    return project


@pytest.fixture
def make_serve(served_project: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], str, str]]]:
    """`make serve`: the process, its URL and its key."""
    running: list[subprocess.Popen[str]] = []

    def start(**environment: str) -> tuple[subprocess.Popen[str], str, str]:
        process = subprocess.Popen(
            ["make", "-o", ".venv/.train", "serve"],
            cwd=served_project,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        running.append(process)
        said = ""
        while "Bearer " not in said:
            line = process.stdout.readline()
            assert line, "make serve ended"
            said += line
        return process, said.split(": ")[1].split()[0], said.split("Bearer ")[1].split('"')[0]

    yield start
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def test_make_serve_speaks_openai(make_serve):
    process, url, key = make_serve()
    client = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
    asked: dict[str, Any] = {"messages": QUESTION, "tools": ROW["tools"], "max_tokens": 64}
    completion = client.chat.completions.create(model="student", **asked)
    answer = completion.choices[0]
    assert completion.created and client.models.list().data[0].created, "typed clients refuse an answer without"
    assert answer.finish_reason == "tool_calls"
    assert json.loads(answer.message.tool_calls[0].function.arguments) == {"sku": "G101"}
    base = (
        client.chat.completions.create(model=client.models.list().data[1].id, **asked)
        .choices[0]
        .message.tool_calls[0]
        .function
    )
    assert json.loads(base.arguments) == {"sku": "G108"}
    [begun, called] = [c.choices[0] for c in client.chat.completions.create(model="student", stream=True, **asked)]
    assert (begun.delta.role, begun.delta.content, begun.finish_reason) == ("assistant", None, None)
    assert called.delta.tool_calls[0].function.name == "lookup_item" and called.finish_reason == "tool_calls"
    assert client.models.list().data[0].id == "student"
    with pytest.raises(openai.NotFoundError, match="there is no model 'tiny' here, only student and "):
        client.chat.completions.create(model="tiny", **asked)
    with pytest.raises(openai.NotFoundError, match="/v1/responses: not served here, only /v1/chat/completions"):
        client.responses.create(model="student", input="?")
    with pytest.raises(openai.BadRequestError, match="a list of messages is needed"):
        client.chat.completions.create(model="student", messages=[])
    parts = [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in QUESTION]
    renamed = [{**message, "role": message["role"].replace("system", "developer")} for message in parts]
    said = client.chat.completions.create(model="student", **(asked | {"messages": renamed})).choices[0].message
    assert json.loads(said.tool_calls[0].function.arguments) == {"sku": "G101"}
    bare = [{"type": "function", "function": {"name": "look_around"}}]
    assert client.chat.completions.create(model="student", **(asked | {"tools": bare})).choices, "OpenAI's `parameters`"
    with pytest.raises(openai.BadRequestError, match="tools/0: a function with a name is needed"):
        client.chat.completions.create(model="student", **(asked | {"tools": [{"type": "web_search"}]}))
    silent = client.chat.completions.create(model="student", tool_choice="none", **asked).choices[0].message
    assert not silent.tool_calls
    cut = asked | {"messages": "MESSAGES", "model": "student"}  # JavaScript cuts an emoji in two
    half = json.dumps(cut).replace('"MESSAGES"', r'[{"role": "user", "content": "\ud83d"}]').encode()
    headers = {"Authorization": f"Bearer {key}"}
    assert urllib.request.urlopen(urllib.request.Request(f"{url}/chat/completions", half, headers)).status == 200
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
    told = asked | {"messages": ROW["messages"][:-1]}
    [whole, cut] = [client.chat.completions.create(model="student", stop=s, **told).choices[0] for s in (None, ":")]
    assert whole.message.content == "Answer: 3"
    chunks = list(client.chat.completions.create(model="student", stream=True, **told))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Answer: 3" and len(chunks) > 3
    assert [chunk.choices[0].delta.role for chunk in chunks] == ["assistant"] + [None] * (len(chunks) - 1)
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert cut.message.content == "Answer" and cut.finish_reason == "stop"
    unstopped = client.chat.completions.create(model="student", stop=["never said"], **asked).choices[0]
    assert unstopped.message.tool_calls[0].function == answer.message.tool_calls[0].function
    named = {"type": "function", "function": {"name": "lookup_item"}}
    for choice in ("required", named):
        forced = client.chat.completions.create(model="student", tool_choice=choice, **told).choices[0].message
        # A model this small may not go on as JSON where it never learned to call.
        begun = forced.tool_calls[0].function.name if forced.tool_calls else forced.content
        assert begun == "lookup_item" or begun.startswith('<tool_call>\n{"name": "lookup_item", "arguments":')
    unknown = {"type": "function", "function": {"name": "add"}}
    garbled = {"type": "function", "function": {"name": ["lookup_item"]}}
    choices = (("sometimes", told), (unknown, told), (garbled, told), ("required", {"messages": QUESTION}))
    for choice, others in choices:
        with pytest.raises(openai.BadRequestError, match="tool_choice: "):
            client.chat.completions.create(model="student", tool_choice=choice, **others)
    refused = {"stop": [1], "n": 2, "logprobs": True, "messages": image, "frequency_penalty": 1, "logit_bias": {"1": 5}}
    wrong = {"response_format": "json", "temperature": [1], "top_p": 2, "max_tokens": "many", "seed": "x"}
    for name, value in [*refused.items(), *wrong.items(), ("max_tokens", 0), ("temperature", -1)]:
        with pytest.raises(openai.BadRequestError, match=name):
            client.chat.completions.create(model="student", **(asked | {name: value}))
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=url, api_key="guess", max_retries=0).models.list()
    ends_at_ctrl_c(process)
    with pytest.raises(openai.APIConnectionError):
        client.models.list()


def test_a_key_of_ones_own_is_asked_for_and_not_printed(make_serve, served_project):
    (served_project / ".env").write_text("STUDENT_API_KEY=my-own-key\n")
    _, url, key = make_serve()
    assert key == "$STUDENT_API_KEY"
    assert openai.OpenAI(base_url=url, api_key="my-own-key", max_retries=0).models.list().data[0].id == "student"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=url, api_key="guess", max_retries=0).models.list()


def test_a_student_that_called_with_broken_json_can_go_on(make_serve):
    """As in the exam: agents send the call back with what was wrong, and would end at a refusal."""
    _, url, key = make_serve()
    client = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
    call = {"id": "a", "type": "function", "function": {"name": "lookup_item", "arguments": '{"sku"'}}
    told = {"role": "tool", "tool_call_id": "a", "content": "error: not JSON"}
    asked: dict[str, Any] = {
        "model": "student",
        "messages": [*QUESTION, {"role": "assistant", "tool_calls": [call]}, told],
    }
    assert client.chat.completions.create(tools=ROW["tools"], max_tokens=4, **asked).choices
    for arguments in ({"sku": "G101"}, None):  # vLLM takes both
        call["function"]["arguments"] = arguments
        assert client.chat.completions.create(max_tokens=4, **asked).choices
    del call["function"]["name"]
    with pytest.raises(openai.BadRequestError, match="messages/2/tool_calls/0: a function with a name is needed"):
        client.chat.completions.create(**asked)


MAKES_OWN = re.compile(r"make: \*\*\* (wait: No child processes|Waiting for unfinished jobs)")
"""What GNU make 4.3 says, with exit code 2, when a program ends at the very moment of Ctrl-C: it waits for it twice."""


def ends_at_ctrl_c(process: subprocess.Popen[str]) -> None:
    """Types Ctrl-C: every process of the terminal's group hears of it. Input, if there is any, stays open."""
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(600)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    said = process.stdout.read()
    *_, last = (line for line in said.splitlines() if line and not MAKES_OWN.match(line))
    assert process.returncode in (0, -signal.SIGINT) or "wait: No child processes" in said, said
    assert last == "ended" and "Traceback" not in said, said
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_make_serve_ends_while_it_answers(make_serve):
    """The first request loads the model, which takes far longer than to end."""
    process, url, key = make_serve()
    body = json.dumps({"messages": QUESTION, "max_tokens": 900}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nExpect: 100-continue\r\n"
    with socket.create_connection(("127.0.0.1", int(url.split(":")[2].split("/")[0])), timeout=600) as client:
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 100")
        client.sendall(body)
        ends_at_ctrl_c(process)
        assert client.recv(100) == b""


def test_make_serve_ends_while_the_embedded_server_answers(make_serve, served_project, set_param, monkeypatch):
    monkeypatch.setenv("DISTILL_CACHE", str(served_project / "cache"))
    shutil.rmtree(served_project / "models/adapter")
    write_adapter(write_gguf(served_project / "tiny.gguf"), served_project / "models/adapter")
    set_param("student.path", "tiny.gguf")
    monkeypatch.setenv("STUDENT_API_KEY", key := "my-own-key")
    process, url, _ = make_serve()
    asked: dict[str, Any] = {"messages": QUESTION, "max_tokens": 8000, "extra_body": {"ignore_eos": True}}
    client = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
    assert [model.id for model in client.models.list()] == ["student", "tiny.gguf"]
    [talk] = sit(Served.at(url, "tiny.gguf"), 0.0, PROMPT)
    assert talk["correct"] is False
    with client.chat.completions.create(model="student", stream=True, **asked) as answer:
        next(iter(answer))
        ends_at_ctrl_c(process)
        finished: list[Any] = []
        with suppress(Exception):  # the connection breaks
            finished.extend(choice.finish_reason for chunk in answer for choice in chunk.choices)
    assert not any(finished)


@pytest.mark.parametrize("typed", ["", f"{QUESTION[1]['content']}\n"], ids=["for a line", "for the student"])
def test_ctrl_c_ends_make_chat_while_it_waits(served_project, typed):
    process = subprocess.Popen(
        ["make", "-o", ".venv/.train", "chat"],
        cwd=served_project,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    with process:
        assert process.stdout.readline().startswith("system: ")
        process.stdin.write(typed)
        process.stdin.flush()
        ends_at_ctrl_c(process)


@pytest.mark.parametrize("port", ["taken", "99999"])
def test_make_serve_refuses_a_port_that_it_cannot_have(served_project, port):
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1] if port == "taken" else port
        refused = subprocess.run(
            ["make", "-s", "-o", ".venv/.train", "serve", f"PORT={number}"],
            cwd=served_project,
            text=True,
            capture_output=True,
            check=False,
            timeout=600,
        )
    assert refused.returncode and not refused.stdout
    assert f"error: port {number}: " in refused.stderr and "name another" in refused.stderr


def test_make_chat_uses_the_tools(served_project):
    typed = f"{QUESTION[1]['content']}\n"
    said = subprocess.run(
        ["make", "-s", "-o", ".venv/.train", "chat"],
        cwd=served_project,
        input=typed,
        text=True,
        capture_output=True,
        check=False,
    )
    assert said.returncode == 0 and "Warning" not in said.stderr, said.stderr
    assert said.stdout.splitlines() == [
        f"system: {QUESTION[0]['content']}",
        '  > lookup_item {"sku": "G101"}',
        '  = {"price": 3, "stock": 1}',
        "student: Answer: 3",
    ]


def test_make_chat_says_at_a_terminal_how_it_ends(served_project):
    here, there = pty.openpty()
    process = subprocess.Popen(
        ["make", "-s", "-o", ".venv/.train", "chat"],
        cwd=served_project,
        stdin=there,
        stdout=there,
        stderr=there,
        start_new_session=True,
    )
    os.close(there)
    said = b""
    with process:
        while not said.endswith(b"you: "):
            said += os.read(here, 1000)
        os.write(here, b"\x04")  # Ctrl-D
        assert process.wait(600) == 0
    rest = os.read(here, 1000)
    os.close(here)
    assert said.startswith(b"(Ctrl-D or Ctrl-C ends it)\r\nsystem: ") and rest == b"\r\n"
