"""MCP servers as tools: real ones, over every transport, and what their results say."""

import asyncio
import json
import os
import sys

import pytest
from mcp_box import *  # noqa: F403
from mcp_box import SECRET, STDIO, listening, one, params, says, with_tools

from distill.tools import toolbox
from distill.tools.mcp.tool_lists import ToolLists
from distill.tools.session import ToolResult
from distill.tools.source import SessionLost


def test_results_of_every_kind_become_text(listed: ToolLists, monkeypatch: pytest.MonkeyPatch) -> None:
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

    plus, write, picture, sloppy, fail, rubbish, whisper = with_tools(params(s=server), work, listed)
    assert plus == "2", "a tool that only reads is not followed"
    assert write == "written\nhi", "the time is dropped, the state follows"
    assert picture == "[image: image/png, 15 bytes, sha256 a8626d27cb132ba0]\nhi"
    assert sloppy.startswith("[image: image/png, 14 bytes, sha256 "), "a data URL without its padding"
    assert fail.startswith("error: ") and "\x1b" not in fail
    assert rubbish == "done\nhi"
    assert whisper == "[secret]\nhi"
    from distill.project import credentials

    assert SECRET not in credentials.redact(f"{whisper} at https://x?key=very-secret-value%2F%2B1")


CUTS = """
import json, sys

TOOL = {"name": "cut", "inputSchema": {"type": "object"}}
SAID = {"content": [{"type": "text", "text": "caf\\u00e9 \\ud83d"}]}
SERVER = {"capabilities": {"tools": {}}, "serverInfo": {"name": "cuts", "version": "1"}}
for line in sys.stdin:
    asked = json.loads(line)
    if "id" in asked:
        info = {**SERVER, "protocolVersion": asked.get("params", {}).get("protocolVersion")}
        results = {"tools/call": SAID, "tools/list": {"tools": [TOOL]}, "initialize": info}
        unknown = {"error": {"code": -32601, "message": "no such method"}}
        said = {"result": results[asked["method"]]} if asked["method"] in results else unknown
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **said}), flush=True)
"""


def test_a_text_that_was_cut_in_the_middle_of_a_character_is_read() -> None:
    """As servers in JavaScript cut theirs: the call would wait until its time is over."""

    async def work(box: toolbox.Toolbox) -> list[str]:
        return await says(box, ("cut", {}))

    assert with_tools(params(5, s={"command": sys.executable, "args": ["-c", CUTS]}), work) == ["café ?"]


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


def test_an_error_of_the_protocol_is_an_answer_as_long_as_the_server_is_there(listed: ToolLists) -> None:
    async def work(box: toolbox.Toolbox) -> None:
        refusals = [("refuse", {"code": code}) for code in (-32000, -32001, -32603)]
        async with box.open({}) as session:
            for refusal in refusals:
                assert (await one(session, *refusal)).content == "error: row 7 is locked"
                assert (await one(session, "plus", {"a": 1})).content == "2"
            with pytest.raises(SessionLost, match="a call of 'die' failed: Connection closed"):
                await one(session, "die", {})

    with_tools(params(s=STDIO), work, listed)


def test_what_succeeded_is_told_though_the_look_behind_it_failed(listed: ToolLists) -> None:
    async def work(box: toolbox.Toolbox) -> list[str]:
        return await says(box, ("write", {"text": "hi"}), ("break_page", {}), ("look", {}))

    wrote, broke, look = with_tools(params(s=STDIO | {"then": "look"}), work, listed)
    assert wrote.endswith("a page") and broke.startswith("broken") and "(look: Error" in broke
    assert look.startswith("error: ")


def test_a_url_may_come_from_the_environment(http: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(box: toolbox.Toolbox) -> list[str]:
        return await says(box, ("plus", {"a": 1}))

    for url in (http, f"http://{http}/mcp"):
        monkeypatch.setenv("TEST_URL", url)
        assert with_tools(params(s="${TEST_URL}"), work) == ["2"]


def test_a_rollout_has_a_session_of_its_own_unless_it_is_shared(listed: ToolLists) -> None:
    async def own(box: toolbox.Toolbox) -> list[list[str]]:
        return list(await asyncio.gather(*(says(box, ("write", {"text": t}), ("read", {}), ("pid", {})) for t in "ab")))

    (_, read_a, pid_a), (_, read_b, pid_b) = with_tools(params(s=STDIO), own, listed)
    assert (read_a, read_b) == ("a", "b") and pid_a != pid_b
    (_, _, pid_a), (_, _, pid_b) = with_tools(params(s=STDIO | {"isolation": "shared"}), own, listed)
    assert pid_a == pid_b, "a shared server is connected once"


def test_a_call_that_hangs_costs_its_time_and_a_long_result_is_cut(listed: ToolLists) -> None:
    async def work(box: toolbox.Toolbox) -> None:
        hung, after = await says(box, ("sleep", {"seconds": 60}), ("plus", {"a": 1}))
        assert hung == "error: the tool did not answer within 1.5 s" and after == "2"

    with_tools(params(1.5, s=STDIO), work, listed)

    async def much(box: toolbox.Toolbox) -> None:
        (text,) = await says(box, ("long", {"megabytes": 4}))
        assert len(text) < 1100 and text.endswith(f"[cut: the first 1000 of {4 * 2**20} characters]")

    with_tools(params(60, s=STDIO), much, listed)


def test_fifty_megabytes_cost_one_message(listed: ToolLists) -> None:
    async def work(box: toolbox.Toolbox) -> None:
        flooded, other = await asyncio.gather(says(box, ("long", {"megabytes": 50})), says(box, ("plus", {"a": 1})))
        assert other == ["2"] and len(flooded[0]) < 1100
        # It says it twice, as text and structured.
        assert flooded[0] == "error: the server said more than 64 MB at once"

    with_tools(params(60, s=STDIO), work, listed)


def test_a_program_may_write_ten_megabytes_within_the_time_of_a_call(listed: ToolLists) -> None:
    """Which the SDK's own way to join their pieces would pass."""

    async def work(box: toolbox.Toolbox) -> None:
        (text,) = await says(box, ("long", {"megabytes": 10}))
        assert text.endswith(f"[cut: the first 1000 of {10 * 2**20} characters]")

    with_tools(params(8, s=STDIO), work, listed)


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


def test_calls_that_wait_for_each_other_have_their_time_each(listed: ToolLists) -> None:
    async def work(box: toolbox.Toolbox) -> list[ToolResult]:
        async with box.open({}) as session:
            await one(session, "read", {})
            return await asyncio.gather(*(one(session, "sleep", {"seconds": 1}) for _ in range(4)))

    told = with_tools(params(s=STDIO, timeout_s=2.5), work, listed)
    assert {one.content for one in told} == {"slept"} and max(one.ms or 0 for one in told) < 2500


def test_no_schema_makes_us_fetch_anything(http: str) -> None:
    from distill.tools.arguments import parse, schema_fault

    remote = {"type": "object", "properties": {"a": {"$ref": f"http://{http}/schema.json"}}}
    assert "cannot fetch" in str(schema_fault(remote))
    offered = [{"type": "function", "function": {"name": "f", "parameters": remote}}]
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    assert "is not a valid JSON Schema" in str(parse(call, offered)[1])
    assert schema_fault({"type": "strin"}) and schema_fault({"type": "array"}) and not schema_fault({"type": "object"})


def test_no_server_is_left_behind(listed: ToolLists) -> None:
    async def work(box: toolbox.Toolbox) -> str:
        return (await says(box, ("pid", {})))[0]

    pid = int(with_tools(params(s=STDIO), work, listed))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
