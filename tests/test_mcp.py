"""MCP servers as tools: real ones, over every transport, well and badly behaved."""

import asyncio
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sums
import teacher_server
from stage_process import Running
from teacher_server import Asked, calls, serving

from distill.project.params import load as load_params
from distill.project.params import parse
from distill.records import jsonl
from distill.records.faults import InputError
from distill.tools import toolbox
from distill.tools.mcp import mcp_session, mcp_source
from distill.tools.mcp.tool_lists import ToolLists
from distill.tools.session import ToolResult
from distill.tools.source import SessionLost

SERVER = str(Path(__file__).parent / "mcp_server.py")
STDIO = {"command": sys.executable, "args": [SERVER, "stdio"]}
PERSON = ["-c", "user.name=Me", "-c", "user.email=me@example.com"]
SECRET = "very-secret-value/+1"


@pytest.fixture(autouse=True)
def no_other_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@contextmanager
def listening(kind: str, port: int = 0) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """The test server on a port, 0 for a free one: its address, and its process."""
    if not port:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, SERVER, kind, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 300
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert process.poll() is None and time.monotonic() < end, "the test server did not start"
            time.sleep(0.02)
        yield f"localhost:{port}", process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def http() -> Iterator[str]:
    with listening("http") as (address, _):
        yield address


def params(timeout_s: float = 30, mcp_url: Any = None, **mcp: Any) -> dict[str, Any]:
    return {
        "agent": {"tool_timeout_s": timeout_s, "tool_output_chars": 1000},
        "runtime": {"tool_sessions": 4},
        "tools": {"mcp": mcp},
        "mcp_url": mcp_url,
    }


def with_tools(settings: dict[str, Any], work: Callable[[toolbox.Toolbox], Any], lists: ToolLists | None = None) -> Any:
    async def run() -> Any:
        async with toolbox.opened(settings, [{"source": "seed:1"}], lists) as box:
            return await work(box)

    return asyncio.run(run())


async def says(box: toolbox.Toolbox, *calls: tuple[str, dict[str, Any]]) -> list[str]:
    async with box.open({}) as session:
        return [(await one(session, name, arguments)).content for name, arguments in calls]


async def one(session: Any, name: str, arguments: dict[str, Any]) -> ToolResult:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return await session.call({"id": "c", "type": "function", "function": function})


def test_results_of_every_kind_become_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_SECRET", SECRET)
    server = STDIO | {"env": {"SECRET_FOR_SERVER": "${TEST_SECRET}"}, "then": "read", "drop": [r"(?m)^at: .*\n?"]}

    async def work(box: toolbox.Toolbox) -> list[str]:
        calls = [
            ("plus", {"a": 1}),
            ("write", {"text": "hi"}),
            ("picture", {}),
            ("picture", {"data": "data:image/png;base64,iVBORyBub3QgcmVhbGw"}),
            ("fail", {}),
            ("rubbish", {}),
            ("whisper", {}),
        ]
        return await says(box, *calls)

    plus, write, picture, sloppy, fail, rubbish, whisper = with_tools(params(s=server), work)
    assert plus == "2", "a tool that only reads is not followed"
    assert write == "written\nhi", "the time is dropped, the state follows"
    assert picture == "[image: image/png, 15 bytes, sha256 a8626d27cb132ba0]\nhi"
    assert sloppy.startswith("[image: image/png, 14 bytes, sha256 "), "a data URL without its padding"
    assert fail.startswith("error: ") and "\x1b" not in fail
    assert rubbish == "done\nhi"
    assert whisper == "[secret]\nhi"
    from distill.project import credentials

    assert SECRET not in credentials.redact(f"{whisper} at https://x?key=very-secret-value%2F%2B1")


@pytest.mark.parametrize("kind", ["http", "sse"])
def test_servers_that_listen_are_reached_by_their_bare_address(kind: str, proxy: None) -> None:
    with listening(kind) as (address, process):

        async def work(box: toolbox.Toolbox) -> None:
            assert await says(box, ("plus", {"a": 41}), ("pid", {})) == ["42", str(process.pid)]

        with_tools(params(mcp_url=address if kind == "http" else f"{address}/sse"), work)

        async def dies(box: toolbox.Toolbox) -> None:
            async with box.open({}) as session:
                assert (await one(session, "plus", {"a": 1})).content == "2"
                with pytest.raises(SessionLost, match="MCP server 'mcp'"):
                    await one(session, "die", {})
                with pytest.raises(SessionLost):
                    await one(session, "plus", {"a": 1})

        with_tools(params(mcp_url=address if kind == "http" else f"{address}/sse"), dies)


@pytest.mark.parametrize("code", [-32000, -32001, -32603])
def test_an_error_of_the_protocol_is_an_answer_as_long_as_the_server_is_there(code: int) -> None:
    async def work(box: toolbox.Toolbox) -> None:
        said = await says(box, ("refuse", {"code": code}), ("plus", {"a": 1}))
        assert said == ["error: row 7 is locked", "2"]
        async with box.open({}) as session:
            await one(session, "plus", {"a": 1})
            with pytest.raises(SessionLost):
                await one(session, "die", {})

    with_tools(params(s=STDIO), work)


def test_what_succeeded_is_told_though_the_look_behind_it_failed() -> None:
    async def work(box: toolbox.Toolbox) -> list[str]:
        return await says(box, ("write", {"text": "hi"}), ("break_page", {}), ("look", {}))

    wrote, broke, look = with_tools(params(s=STDIO | {"then": "look"}), work)
    assert wrote.endswith("a page") and broke.startswith("broken") and "(look: Error" in broke
    assert look.startswith("error: ")


def test_a_url_may_come_from_the_environment(http: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(box: toolbox.Toolbox) -> list[str]:
        return await says(box, ("plus", {"a": 1}))

    for url in (http, f"http://{http}/mcp"):
        monkeypatch.setenv("TEST_URL", url)
        assert with_tools(params(s="${TEST_URL}"), work) == ["2"]


def test_a_rollout_has_a_session_of_its_own_unless_it_is_shared(http: str) -> None:
    async def own(box: toolbox.Toolbox) -> list[list[str]]:
        return list(await asyncio.gather(*(says(box, ("write", {"text": t}), ("read", {}), ("pid", {})) for t in "ab")))

    (_, read_a, pid_a), (_, read_b, pid_b) = with_tools(params(s=STDIO), own)
    assert (read_a, read_b) == ("a", "b") and pid_a != pid_b
    (_, _, pid_a), (_, _, pid_b) = with_tools(params(s=STDIO | {"isolation": "shared"}), own)
    assert pid_a == pid_b, "a shared server is connected once"


def test_a_shared_server_that_dies_is_started_again_for_the_next_rollout() -> None:
    async def work(box: toolbox.Toolbox) -> None:
        with pytest.raises(SessionLost):
            await says(box, ("die", {}))
        assert await says(box, ("plus", {"a": 1})) == ["2"]

    with_tools(params(s=STDIO | {"isolation": "shared"}), work)


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_server_that_is_gone_is_waited_for(comes_back: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All other rollouts would fail as well, one after the other, and the exam would count them as the student's."""
    monkeypatch.setattr(mcp_source, "LOOKS_S", 0.1)
    monkeypatch.setattr(mcp_source, "BACK_S", 300 if comes_back else 0.5)
    with listening("http") as (address, process):

        async def work(box: toolbox.Toolbox) -> str:
            async with box.open({}) as session:
                with pytest.raises(SessionLost):
                    await asyncio.gather(one(session, "sleep", {"seconds": 30}), asyncio.to_thread(process.kill))
            waits = [asyncio.create_task(box.check_alive()) for _ in range(3)]
            if comes_back:
                await asyncio.sleep(0.5)
                assert not any(wait.done() for wait in waits)
                with listening("http", int(address.rpartition(":")[2])):
                    await asyncio.gather(*waits)
                    return (await says(box, ("plus", {"a": 1})))[0]
            done = await asyncio.gather(*waits, return_exceptions=True)
            assert all(isinstance(error, InputError) for error in done)
            return str(done[0])

        said = with_tools(params(s=address), work)
    assert said == "2" if comes_back else "'s' cannot be reached" in said and "run again to go on" in said


def test_a_rollout_goes_on_once_its_server_is_there_again(tmp_path: Path) -> None:
    project = sums.bare(tmp_path)
    again = ExitStack()
    with listening("http") as (address, process), again:

        def start_again() -> None:
            again.enter_context(listening("http", int(address.rpartition(":")[2])))

        restart = threading.Timer(4, start_again)

        def teacher(asked: Asked) -> Any:
            if asked.body["messages"][-1]["role"] == "tool":
                return teacher_server.says("Answer: 4")
            process.kill()
            restart.start()
            return calls(("c", "plus", '{"a": 3}'))

        sums.make(project, 1, tools__mcp={"s": f"http://{address}/mcp"})
        assert Running(project, "prompts").wait().returncode == 0
        with serving(teacher) as books:
            sums.set_params(project, teacher__base_url=books.base_url)
            done = Running(project, "teacher_rollouts", TEACHER_API_KEY="").wait()
        restart.join()
    assert done.returncode == 0, done.stderr
    [path] = (project / "rollouts").iterdir()
    assert jsonl.read_json(path, "rollout")["status"] == "completed" and len(books.posts) == 2


def test_a_server_that_comes_back_with_other_tools_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_source, "BACK_S", 0.0)

    async def work(box: toolbox.Toolbox) -> None:
        await box.check_alive()
        (tmp_path / "changed").touch()
        with pytest.raises(InputError, match=r"its tools changed .*gone: plus.* run again to go on"):
            await box.check_alive()

    with_tools(params(s=STDIO | {"env": {"CHANGED": str(tmp_path / "changed")}}), work)


def test_a_shared_server_that_comes_back_with_other_tools_is_used_by_no_rollout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_source, "BACK_S", 0.0)

    async def work(box: toolbox.Toolbox) -> None:
        async with box.open({}) as session:
            assert (await one(session, "plus", {"a": 1})).content == "2"
            (tmp_path / "changed").touch()
            with pytest.raises(SessionLost):
                await one(session, "die", {})
        async with box.open({}) as session:
            with pytest.raises(SessionLost, match=r"changed its tools: gone: plus"):
                await one(session, "pid", {})
            with pytest.raises(InputError, match=r"its tools changed .*gone: plus"):
                await box.check_alive()

    server = STDIO | {"env": {"CHANGED": str(tmp_path / "changed")}, "isolation": "shared"}
    with_tools(params(s=server), work)


def test_a_shared_server_of_which_there_can_be_one_is_not_started_again_to_see_whether_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser with its profile, say, while a rollout has lost its sandbox."""
    monkeypatch.setattr(mcp_source, "BACK_S", 0.0)
    server = " ".join(map(shlex.quote, [STDIO["command"], *STDIO["args"]]))
    alone = f"mkdir {tmp_path}/alone || exit 1; trap 'rmdir {tmp_path}/alone' EXIT; {server}"

    async def work(box: toolbox.Toolbox) -> None:
        async with box.open({}) as session:
            assert (await one(session, "plus", {"a": 1})).content == "2"
            await box.check_alive()
            assert (await one(session, "plus", {"a": 2})).content == "3"

    with_tools(params(s={"command": "sh", "args": ["-c", alone], "isolation": "shared"}), work)


def test_a_call_that_hangs_costs_its_time_and_a_long_result_is_cut() -> None:
    async def work(box: toolbox.Toolbox) -> None:
        hung, after = await says(box, ("sleep", {"seconds": 60}), ("plus", {"a": 1}))
        assert hung == "error: the tool did not answer within 1.5 s" and after == "2"

    with_tools(params(1.5, s=STDIO), work)

    async def much(box: toolbox.Toolbox) -> None:
        (text,) = await says(box, ("long", {"megabytes": 4}))
        assert len(text) < 1100 and text.endswith(f"[cut: the first 1000 of {4 * 2**20} characters]")

    with_tools(params(60, s=STDIO), much)


def test_fifty_megabytes_cost_one_message() -> None:
    async def work(box: toolbox.Toolbox) -> None:
        flooded, other = await asyncio.gather(says(box, ("long", {"megabytes": 50})), says(box, ("plus", {"a": 1})))
        assert other == ["2"] and len(flooded[0]) < 1100
        assert flooded[0] == "error: the server said more than 64 MB at once", (
            "it says it twice, as text and structured"
        )

    with_tools(params(60, s=STDIO), work)


def test_a_program_may_write_ten_megabytes_while_others_work() -> None:
    async def work(box: toolbox.Toolbox) -> None:
        started = time.perf_counter()
        (text,) = await says(box, ("long", {"megabytes": 10}))
        assert text.endswith(f"[cut: the first 1000 of {10 * 2**20} characters]")
        assert time.perf_counter() - started < 8  # quadratic work on its pieces took eleven seconds on an idle machine

    with_tools(params(60, s=STDIO), work)


def test_a_large_result_comes_through_http(http: str) -> None:
    async def work(box: toolbox.Toolbox) -> None:
        (text,) = await says(box, ("long", {"megabytes": 3}))
        assert text.endswith(f"[cut: the first 1000 of {3 * 2**20} characters]")
        flooded, after = await says(box, ("long", {"megabytes": 50}), ("plus", {"a": 1}))
        assert "the server said more than 64 MB at once" in flooded and after == "2"

    with_tools(params(60, mcp_url=http), work)


def test_a_large_result_comes_through_sse() -> None:
    async def work(box: toolbox.Toolbox) -> None:
        (text,) = await says(box, ("long", {"megabytes": 3}))
        assert text.endswith(f"[cut: the first 1000 of {3 * 2**20} characters]")

    with listening("sse") as (address, _):
        with_tools(params(60, mcp_url=f"{address}/sse"), work)


@pytest.mark.parametrize(
    "message", ['{"jsonrpc":"2.0","id":7,"result":%s}', '{"result": %s, "jsonrpc": "2.0", "id": 7}', '{"log": %s}']
)
def test_in_place_of_a_line_that_is_too_long_comes_an_error_with_its_id(message: str) -> None:
    """The SDKs of Python and TypeScript write the id at different ends. Others of its lines come whole."""
    import anyio

    from distill.tools.mcp import mcp_bounds

    async def lines() -> list[str]:
        send, receive = anyio.create_memory_object_stream[bytes](100)
        text = f"a\nb\n{message % ('[' + '1' * (mcp_bounds.LARGEST + 1) + ']')}\nc\nd"
        pieces = [text[start : start + 2**20].encode() for start in range(0, len(text), 2**20)]
        for piece in [*pieces, b"\n"]:
            send.send_nowait(piece)
        send.close()
        return "".join([piece async for piece in mcp_bounds.Lines(receive)]).split("\n")

    first, second, refused, *others = asyncio.run(lines())
    assert (first, second, others) == ("a", "b", ["c", "d", ""])
    if "id" in message:
        assert json.loads(refused)["id"] == 7 and json.loads(refused)["error"]["message"] == mcp_bounds.TOO_LARGE
    else:
        assert refused == ""


def test_a_server_that_changes_its_tools_costs_the_rollout() -> None:
    async def work(box: toolbox.Toolbox) -> None:
        async with box.open({}) as session:
            await one(session, "forget", {})
            with pytest.raises(SessionLost, match="changed its tools: gone: plus"):
                await one(session, "plus", {"a": 1})
        assert await says(box, ("plus", {"a": 1})) == ["2"], "the next rollout is not touched"

    with_tools(params(s=STDIO), work)


def test_same_names_get_prefixes_and_lists_narrow_the_tools(http: str) -> None:
    async def work(box: toolbox.Toolbox) -> list[str]:
        return [*box.names({}), *(await says(box, ("one_plus", {"a": 1}), ("two_plus", {"a": 2})))]

    one_server, two = (
        STDIO | {"allow": ["p*"], "deny": ["picture"]},
        {"url": f"http://{http}/mcp", "allow": ["plus", "read"]},
    )
    assert with_tools(params(one=one_server, two=two), work) == ["pid", "one_plus", "two_plus", "read", "2", "3"]


def test_what_is_allowed_and_does_not_exist_is_refused() -> None:
    """Misspelled, or as the model calls it: the teacher would be asked, and paid, without that tool."""

    async def nothing(box: toolbox.Toolbox) -> None:
        raise AssertionError

    with pytest.raises(InputError) as caught:
        with_tools(params(notes=STDIO | {"allow": ["p*", "notes_read", "wr1te"]}), nothing)
    first, second = caught.value.faults
    assert first.startswith(
        "params.yaml: /tools/mcp/notes/allow: it has no tool 'notes_read'; it has: break_page, die, "
    )
    assert second.startswith("params.yaml: /tools/mcp/notes/allow: it has no tool 'wr1te'; it has: ")
    with pytest.raises(InputError, match=r"/tools/mcp/s: it has no tools$"):
        with_tools(params(s={"command": sys.executable, "args": ["-c", UNLISTED, "has none"]}), nothing)


def test_allow_and_deny_count_for_what_is_remembered(tmp_path: Path) -> None:
    lists = ToolLists(tmp_path, "v1")

    async def names(box: toolbox.Toolbox) -> list[str]:
        return box.names({})

    async def ready(box: toolbox.Toolbox) -> list[str]:
        await box.ready([{}])
        return box.names({})

    assert with_tools(params(s=STDIO | {"allow": ["plus", "pid"]}), names, lists) == ["pid", "plus"]
    narrower, wider = STDIO | {"allow": ["pid"]}, STDIO | {"allow": ["p*"]}
    for look in (names, ready):
        assert with_tools(params(s=narrower), look, lists) == ["pid"]
        assert with_tools(params(s=wider), look, lists) == ["picture", "pid", "plus"]


def test_what_was_offered_is_offered_again_without_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = ToolLists(tmp_path, "v1")
    monkeypatch.setenv("CHANGED_FILE", str(tmp_path / "changed"))
    server = STDIO | {"env": {"CHANGED": "${CHANGED_FILE}"}}

    async def names(box: toolbox.Toolbox) -> list[str]:
        return box.names({})

    before = with_tools(params(s=server), names, lists)
    assert "plus" in before
    assert with_tools(params(s=server | {"command": "/no/such/program"}), names, lists) == before
    (tmp_path / "changed").touch()
    assert with_tools(params(s=server), names, lists) == before

    async def ready(box: toolbox.Toolbox) -> None:
        await box.ready([{}])

    with pytest.raises(InputError, match=r"tools/mcp/s: its tools changed since .*gone: plus"):
        with_tools(params(s=server), ready, lists)
    anew = ToolLists(tmp_path, "v1", anew=True)
    with pytest.raises(InputError, match="cannot be reached"):
        with_tools(params(s=server | {"command": "/no/such/program"}), names, anew)
    assert with_tools(params(s=server), names, lists) == before, "one that failed has forgotten nothing"
    assert "plus" not in with_tools(params(s=server), names, anew), "what `make tools` does"
    with_tools(params(s=server), ready, lists)


def test_a_fresh_clone_offers_what_was_offered_when_its_answers_were_bought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list is in git. The server has lost a tool since then: the teacher is not asked anew unasked."""
    project = sums.bare(tmp_path)
    sums.make(project, 2, tools__mcp={"s": STDIO | {"env": {"CHANGED": "${CHANGED_FILE}"}}})
    monkeypatch.setenv("CHANGED_FILE", str(tmp_path / "changed"))
    monkeypatch.setenv("DISTILL_STORE", str(tmp_path / "store"))
    assert Running(project, "prompts").wait().returncode == 0
    with serving(sums.adds) as books:
        sums.set_params(project, teacher__base_url=books.base_url)
        done = Running(project, "teacher_rollouts", TEACHER_API_KEY="").wait()
    assert done.returncode == 0, done.stderr
    [offered] = jsonl.read_json(project / "reports/tool_lists.json", "tool_lists").values()
    assert "plus" in {tool["name"] for tool in offered}
    for command in (["init", "-q"], ["add", "-A"], [*PERSON, "commit", "-qm", "two rollouts"]):
        subprocess.run(["git", *command], cwd=project, check=True)
    (tmp_path / "changed").touch()
    (project / "reports/tool_lists.json").unlink()  # DVC removes outputs before it runs a stage
    empty = {"DISTILL_STORE": str(tmp_path / "empty"), "TEACHER_API_KEY": ""}
    done = Running(project, "teacher_rollouts", **empty).wait()
    assert done.returncode == 1 and "its tools changed since" in done.stderr and "gone: plus" in done.stderr


def test_what_is_wrong_is_said_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_TOKEN", SECRET)

    async def nothing(box: toolbox.Toolbox) -> None:
        raise AssertionError

    with pytest.raises(InputError, match=r"params.yaml: /tools/mcp/s: \$\{NOT_SET_ANYWHERE\} is not set"):
        with_tools(params(s=STDIO | {"env": {"A": "${NOT_SET_ANYWHERE}"}}), nothing)
    with pytest.raises(InputError, match=r"MCP server 's' cannot be reached") as caught:
        with_tools(params(s={"url": "http://localhost:9/${TEST_TOKEN}"}, t={"command": "/no/${TEST_TOKEN}"}), nothing)
    assert len(caught.value.faults) == 2 and SECRET not in str(caught.value)
    with pytest.raises(InputError) as caught:
        with_tools(params(mcp_url=["localhost:1", "x/${GONE}"], mcp={"url": "y", "drop": ["("]}), nothing)
    assert caught.value.faults == [
        "params.yaml: /tools/mcp/mcp/drop: '(' is not a valid pattern: missing ): (; see the syntax of RE2",
        "params.yaml: /mcp_url/1: ${GONE} is not set, neither in the environment nor in .env",
        "params.yaml: /mcp_url/0: it is called 'mcp', and so is /tools/mcp/mcp; name both under tools.mcp",
    ]
    addresses = {"a": "http://[::1:8931/mcp", "b": "localhost:89310", "c": "localhost:8931abc"}
    with pytest.raises(InputError) as caught:
        with_tools(params(**addresses), nothing)
    assert [fault.partition(" is not a valid URL: ")[0] for fault in caught.value.faults] == [
        "params.yaml: /tools/mcp/a: 'http://[::1:8931/mcp'",
        "params.yaml: /tools/mcp/b: 'http://localhost:89310/mcp'",
        "params.yaml: /tools/mcp/c: 'http://localhost:8931abc/mcp'",
    ]
    with pytest.raises(InputError, match=r"no luck today"):
        with_tools(params(s={"command": "sh", "args": ["-c", "echo no luck today >&2; exit 1"]}), nothing)


def test_a_server_that_refuses_is_named_with_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_TOKEN", SECRET)

    async def nothing(box: toolbox.Toolbox) -> None:
        raise AssertionError

    with serving(lambda asked: (401, {}, {}), gets=lambda asked: (401, {}, {})) as door:
        address = door.base_url.removesuffix("/v1")
        with pytest.raises(InputError) as caught:
            with_tools(params(s=address + "/mcp?key=${TEST_TOKEN}"), nothing)
    [fault] = caught.value.faults
    assert fault.endswith(f"(HTTP 401 X at {address}/mcp?key=${{TEST_TOKEN}})"), fault


UNLISTED = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    reply = {"error": {"code": -32603, "message": "no list today"}}
    if asked["method"] == "initialize":
        info = {"name": "x", "version": "1"}
        reply = {"result": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}}
    if asked["method"] == "tools/list" and sys.argv[1] != "refuses":
        tools = {"goes on": {"tools": [], "nextCursor": "on"}, "has none": {"tools": []}}
        reply = {"result": tools.get(sys.argv[1], {"tools": [{"name": "a"}]})}
    if "id" in asked and (asked["method"], sys.argv[1]) != ("tools/list", "hangs"):
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **reply}), flush=True)
"""


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("hangs", "did not list its tools within 2 s"),
        ("goes on", "did not list its tools within 2 s"),
        ("refuses", "does not list its tools: MCPError: no list today"),
        ("mumbles", "does not list its tools: ValidationError: .*Field required"),
    ],
)
def test_a_server_that_lists_no_tools_is_named(how: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_session, "LIST_S", 2.0)

    async def nothing(box: toolbox.Toolbox) -> None:
        raise AssertionError

    with pytest.raises(InputError, match=f"params.yaml: /tools/mcp/s: MCP server 's' {said}"):
        with_tools(params(s={"command": sys.executable, "args": ["-c", UNLISTED, how]}), nothing)


def test_a_name_that_a_prefix_makes_too_long_is_refused() -> None:
    async def nothing(box: toolbox.Toolbox) -> None:
        raise AssertionError

    with pytest.raises(InputError, match=rf"seed:1: the name '{'s' * 60}_plus' has more than 64 characters"):
        with_tools(params(**{"s" * 60: STDIO, "t": STDIO}), nothing)


def test_calls_that_wait_for_each_other_have_their_time_each() -> None:
    async def work(box: toolbox.Toolbox) -> list[ToolResult]:
        async with box.open({}) as session:
            await one(session, "read", {})
            return await asyncio.gather(*(one(session, "sleep", {"seconds": 1}) for _ in range(4)))

    told = with_tools(params(s=STDIO, timeout_s=2.5), work)
    assert {one.content for one in told} == {"slept"} and max(one.ms or 0 for one in told) < 2500


def test_servers_are_written_as_the_schema_says(tmp_path: Path) -> None:
    good = parse((Path(SERVER).parents[1] / "params.yaml").read_text())
    path = tmp_path / "params.yaml"
    for mcp in ({"a": "localhost:8931"}, {"a": {"url": "http://x/mcp", "headers": {"k": "${V}"}}}, {"a": STDIO}):
        path.write_text(json.dumps(good | {"tools": {**good["tools"], "mcp": mcp}, "mcp_url": ["localhost:8931"]}))
        load_params(path)
    for mcp, said in (
        ({"a": {}}, "/a: needs 'url' or 'command'"),
        ({"a": {"url": "x", "command": "y"}}, "/a: has 'url' and 'command', which exclude each other"),
        ({"a": {"url": "x", "args": []}}, "/a: "),
        ({"a b": "x"}, ': "a b" does not match'),
        ({"a": {"urll": "x"}}, "/a: unknown key 'urll', did you mean 'url'"),
        ({"a": {"url": "x", "isolation": "none"}}, '/a/isolation: "none" is not one of "rollout", "shared"'),
    ):
        path.write_text(json.dumps(good | {"tools": {**good["tools"], "mcp": mcp}}))
        with pytest.raises(InputError) as caught:
            load_params(path)
        assert f": /tools/mcp{said}" in str(caught.value)


def test_no_schema_makes_us_fetch_anything() -> None:
    from distill.tools.arguments import parse, schema_fault

    with listening("http") as (address, _):
        remote = {"type": "object", "properties": {"a": {"$ref": f"http://{address}/schema.json"}}}
        assert "cannot fetch" in str(schema_fault(remote))
        offered = [{"type": "function", "function": {"name": "f", "parameters": remote}}]
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
        assert "is not a valid JSON Schema" in str(parse(call, offered)[1])
    assert schema_fault({"type": "strin"}) and schema_fault({"type": "array"}) and not schema_fault({"type": "object"})


def test_no_server_is_left_behind() -> None:
    async def work(box: toolbox.Toolbox) -> str:
        return (await says(box, ("pid", {})))[0]

    pid = int(with_tools(params(s=STDIO), work))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_manuals_servers_are_read_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import re

    import yaml

    from distill.tools.mcp.mcp_server import servers

    root = Path(SERVER).parents[1]
    (block,) = re.findall(r"(?s)```yaml\n(tools:.*?)```", (root / "docs/tools.md").read_text())
    path = tmp_path / "params.yaml"
    whole = parse((root / "params.yaml").read_text())
    path.write_text(json.dumps(whole | yaml.safe_load(block)))  # in place of the whole group `tools`
    monkeypatch.setenv("SEARCH_KEY", "key")
    browser, files, search = servers(load_params(path))
    assert browser.url == "http://localhost:8931/mcp" and browser.isolation == "rollout"
    assert files.allows("read_file") and not files.allows("write_file")
    assert search.isolation == "shared" and search.headers == {"Authorization": "Bearer ${SEARCH_KEY}"}
