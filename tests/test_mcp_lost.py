"""MCP servers that end, come back or change under way, and what that costs: the rollout, the run, or nothing."""

import asyncio
import shlex
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sums
import teacher_server
from mcp_box import *  # noqa: F403
from mcp_box import STDIO, listening, one, params, says, with_tools
from stage_process import Running
from teacher_server import Asked, calls, serving

from distill.records import jsonl
from distill.records.faults import InputError
from distill.tools import toolbox
from distill.tools.mcp import mcp_session, mcp_source
from distill.tools.mcp.tool_lists import ToolLists
from distill.tools.source import SessionLost


def test_a_shared_server_that_dies_is_started_again_for_the_next_rollout(listed: ToolLists) -> None:
    async def work(box: toolbox.Toolbox) -> None:
        with pytest.raises(SessionLost):
            await says(box, ("die", {}))
        assert await says(box, ("plus", {"a": 1})) == ["2"]

    with_tools(params(s=STDIO | {"isolation": "shared"}), work, listed)


def test_a_shared_server_that_hangs_altogether_is_started_again(
    listed: ToolLists, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All later rollouts would get nothing but time limits, and the teacher would be paid for them."""
    monkeypatch.setattr(mcp_session, "LIST_S", 2)

    async def work(box: toolbox.Toolbox) -> None:
        sleeps, plus = await says(box, ("sleep", {"seconds": 60}), ("plus", {"a": 1}))
        assert "did not answer within" in sleeps and plus == "2", "one that only this call waits for goes on"
        assert "did not answer within" in (await says(box, ("freeze", {})))[0]
        with pytest.raises(SessionLost, match="did not list its tools within 2 s"):
            await says(box, ("plus", {"a": 1}))
        assert await says(box, ("plus", {"a": 1})) == ["2"]

    with_tools(params(5, s=STDIO | {"isolation": "shared"}), work, listed)


def test_a_shared_server_that_hangs_is_found_by_calls_with_less_time_than_that_takes(
    listed: ToolLists, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_session, "LIST_S", 7)

    async def work(box: toolbox.Toolbox) -> None:
        assert "did not answer within" in (await says(box, ("freeze", {})))[0]
        assert "did not answer within" in (await says(box, ("plus", {"a": 1})))[0]
        with pytest.raises(SessionLost, match="did not list its tools within 7 s"):
            for _ in range(4):
                await says(box, ("plus", {"a": 1}))
        assert await says(box, ("plus", {"a": 1})) == ["2"]

    with_tools(params(3, s=STDIO | {"isolation": "shared"}), work, listed)


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

        restart = threading.Timer(1, start_again)

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


def test_a_server_that_changes_its_tools_costs_the_rollout(listed: ToolLists) -> None:
    async def work(box: toolbox.Toolbox) -> None:
        async with box.open({}) as session:
            await one(session, "forget", {})
            with pytest.raises(SessionLost, match="changed its tools: gone: plus"):
                await one(session, "plus", {"a": 1})
        assert await says(box, ("plus", {"a": 1})) == ["2"], "the next rollout is not touched"

    with_tools(params(s=STDIO), work, listed)
