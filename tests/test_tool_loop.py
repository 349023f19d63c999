"""Tools inside of real rollouts: calls that are repaired, tools that block, servers that are slow to start, and what is
recorded of it all."""

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sums
from asking import *  # noqa: F403
from stage_process import Done, Running, until
from sums import adds, number
from teacher_server import Asked, Books, calls, says, serving

from distill.agent import tool_times
from distill.agent.tool_times import ToolTimes
from distill.records import jsonl

Asks = Callable[..., Done]
MCP = {"command": sys.executable, "args": [str(Path(__file__).parent / "mcp_server.py"), "stdio"]}


@pytest.fixture
def asks(project: Path) -> Asks:
    """A project of ten prompts `what is N + 1?`, and a function that runs its teacher stage against a server."""
    sums.make(project, 10, runtime__api_concurrency=16)
    assert Running(project, "prompts").wait().returncode == 0

    def run(books: Books, **params: Any) -> Done:
        sums.set_params(project, teacher__base_url=books.base_url, **params)
        done = Running(project, "teacher_rollouts").wait()
        assert done.returncode == 0, done.stderr
        return done

    return run


def rollouts(project: Path) -> list[dict[str, Any]]:
    """By the N of their prompt."""
    found = [jsonl.read_json(path, "rollout") for path in (project / "rollouts").iterdir()]
    return sorted(found, key=lambda rollout: int(rollout["messages"][1]["content"].split()[2]))


def report(project: Path) -> dict[str, Any]:
    return jsonl.read_json(project / "reports/rollouts.json", "rollouts_report")


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("plus", '{"a": 3, "b": 1}', "error: there is no tool 'plus'; the tools are: add"),
        ("add", '{"a": 3, "b": ', "error: the arguments are not valid JSON: "),
        ("add", "[3, 1]", "error: the arguments must be a JSON object"),
        ("add", '{"a": 3}', 'error: the arguments do not fit the tool\'s schema: "b" is a required property'),
        ("add", '{"a": "3", "b": 1}', 'error: the arguments do not fit the tool\'s schema: /a: "3" is not of type'),
        ("add", '{"a": 3, "b": 1, "c": 1}', "error: the arguments do not fit the tool's schema: Additional properties"),
    ],
)
def test_a_teacher_that_is_told_its_mistake_repairs_its_call(
    asks: Asks, project: Path, name: str, arguments: str, told: str
) -> None:
    def clumsy(asked: Asked) -> Any:
        if number(asked.body) != 3:
            return adds(asked)
        said = [message["content"] for message in asked.body["messages"] if message["role"] == "tool"]
        if not said:
            return calls(("bad", name, arguments))
        if said[1:]:
            return says(f"Answer: {said[1]}")
        return calls(("good", "add", '{"a": 3, "b": 1}')) if said[0].startswith(told) else says("I give up.")

    with serving(clumsy) as server:
        done = asks(server)
    rollout = rollouts(project)[3]
    bad, result, good, repaired, last = rollout["messages"][2:]
    assert bad["tool_calls"][0]["function"] == {"name": name, "arguments": arguments}, "the raw text is kept"
    assert result["content"].startswith(told) and good["tool_calls"][0]["id"] == "good"
    assert (repaired["content"], last["content"]) == ("4", "Answer: 4")
    assert rollout["calls"][0]["tool_ms"] == [None] and rollout["calls"][1]["tool_ms"][0] > 0
    sent = next(
        message["tool_calls"][0]["function"]
        for asked in server.posts
        for message in asked.body["messages"]
        if message.get("tool_calls", [{}])[0].get("id") == "bad"
    )
    assert isinstance(json.loads(sent["arguments"]), dict), "servers refuse what is no JSON object"
    tools = report(project)["tools"]
    assert list(tools) == ["add"] and (tools["add"]["calls"], tools["add"]["errors"]) == (
        11 - (name != "add"),
        name == "add",
    )
    assert (report(project)["tool_calls"], report(project)["tool_errors"]) == (11, 1)
    assert "\n  tool    calls   failed    p50 ms    p95 ms\n  add " in done.stdout


def test_of_many_tools_those_that_failed_or_were_called_most_are_shown():
    """In the order of their names, as of few."""
    nothing = {"errors": 0, "late": 0, "p50_ms": 1.0, "p95_ms": 2.0}
    tools = {f"tool_{number:03}": nothing | {"calls": number % 100} for number in range(300)}
    tools["tool_001"] |= {"errors": 1}
    header, *shown, last = tool_times.lines(tools)
    names = [line.split()[0] for line in shown]
    assert len(names) == 20 and names == sorted(names) and {"tool_001", "tool_199", "tool_299"} <= {*names}
    assert last == "  and 277 more tools, see reports/rollouts.json" and header.startswith("  tool  ")
    assert [line.split()[0] for line in tool_times.lines(dict(list(tools.items())[:9]))[1:]] == sorted(tools)[1:9]


BLOCKS = '''
import time
from pathlib import Path
from distill.tools import tool

@tool
{kind} add(a: int, b: int) -> str:
    """Sleeps until all others are done."""
    Path("begun").touch()
    for _ in range(15):
        time.sleep(2)
        if Path("others-are-done").exists():
            return "they went on"
    return "they waited for me"

@tool
def wait() -> str:
    """Returns once the other one sleeps."""
    while not Path("begun").exists():
        time.sleep(0.01)
    return "it sleeps"
'''


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_tool_that_sleeps_holds_up_nobody_else(asks: Asks, project: Path, kind: str) -> None:
    """While it sleeps, the other rollouts get a tool's result, ask the teacher once more, and end."""
    (project / "tools.py").write_text(BLOCKS.format(kind=kind))
    ended: set[int] = set()

    def teacher(asked: Asked) -> Any:
        n, last = number(asked.body), asked.body["messages"][-1]
        if last["role"] == "user":
            return calls(("c", "wait", "{}")) if n else calls(("c", "add", '{"a": 0, "b": 1}'))
        ended.add(n)
        if len(ended) == 9:
            (project / "others-are-done").touch()
        return says(f"Answer: {last['content']}")

    with serving(teacher) as server:
        asks(server, agent__tool_timeout_s=60)
    answers = [rollout["messages"][-1]["content"] for rollout in rollouts(project)]
    assert answers == ["Answer: they went on"] + ["Answer: it sleeps"] * 9


def test_a_servers_session_starts_while_the_teacher_thinks(asks: Asks, project: Path) -> None:
    """The teacher's first answer waits for the rollout's own server to be there."""
    started = project / "started"

    def teacher(asked: Asked) -> Any:
        if asked.body["messages"][-1]["role"] == "user":
            until(lambda: len(started.read_text().splitlines()) == 2)  # the first was asked for its tools
            return calls(("c", "plus", '{"a": 1}'))
        return says(f"Answer: {asked.body['messages'][-1]['content']}")

    with serving(teacher) as server:
        asks(server, tools__mcp={"s": MCP | {"env": {"STARTED": str(started)}}}, teacher__entries="0")
    assert rollouts(project)[0]["messages"][-1]["content"] == "Answer: 2"


@pytest.mark.parametrize(("isolation", "sessions"), [("shared", 1), ("rollout", 3)])
def test_a_shared_server_is_connected_once(asks: Asks, project: Path, isolation: str, sessions: int) -> None:
    def teacher(asked: Asked) -> Any:
        last = asked.body["messages"][-1]
        return says(f"Answer: {last['content']}") if last["role"] == "tool" else calls(("c", "pid", "{}"))

    started = project / "started"
    server = MCP | {"env": {"STARTED": str(started)}, "isolation": isolation}
    with serving(teacher) as books:
        asks(books, tools__mcp={"s": server}, teacher__entries="0-2")
    assert len(started.read_text().splitlines()) == 1 + sessions, "one more is asked for its tools before the run"
    pids = Counter(rollout["messages"][-1]["content"] for rollout in rollouts(project))
    assert len(pids) == sessions


def test_calls_replayed_after_a_fresh_one_are_made_again_before_the_next(asks: Asks, project: Path) -> None:
    """Of three notes written and a look at them, the results of the second and of the look are lost."""
    turns = [("write", '{"text": "a"}'), ("write", '{"text": "b"}'), ("write", '{"text": "c"}'), ("read", "{}")]

    def teacher(asked: Asked) -> Any:
        told = [message["content"] for message in asked.body["messages"] if message["role"] == "tool"]
        return calls((f"c{len(told)}", *turns[len(told)])) if turns[len(told) :] else says(f"Answer: {told[-1]}")

    with serving(teacher) as books:
        asks(books, tools__mcp={"s": MCP}, teacher__entries="0")
        first, store = rollouts(project), Path(os.environ["DISTILL_STORE"])
        (results,) = (store / "tool_results").iterdir()
        kept = results.read_text().split("\n\n")[::2]
        results.write_text("\n\n".join([*kept, ""]))
        shutil.rmtree(store / "finished")
        asks(books)
    again = rollouts(project)
    assert first[0]["messages"][-1]["content"] == "Answer: a,b,c" and len(kept) == 2
    assert again[0]["messages"] == first[0]["messages"] and len(books.posts) == 5, "the look saw all three notes again"


def test_schemas_are_recorded_with_their_origins_and_reach_the_rows(asks: Asks, project: Path) -> None:
    with serving(adds) as server:
        asks(server, tools__mcp={"notes": MCP | {"allow": ["plus", "read"]}}, teacher__entries="0-1")
    rollout = rollouts(project)[0]
    sent = server.posts[0].body["tools"]
    assert rollout["tools"] == sent and [tool["function"]["name"] for tool in sent] == ["add", "plus", "read"]
    assert rollout["origins"] == {"add": "tools.py", "plus": "notes", "read": "notes"}
    assert Running(project, "convert").wait().returncode == 0
    assert all(row["tools"] == sent for row in jsonl.read(project / "data/converted.jsonl", "row"))
    assert report(project)["tools"]["read"] == {"calls": 0, "errors": 0, "late": 0, "p50_ms": None, "p95_ms": None}


def test_times_are_those_of_the_first_run(asks: Asks, project: Path) -> None:
    with serving(adds) as server:
        asks(server)
        first = (project / "reports/rollouts.json").read_bytes()
        (project / "reports/rollouts.json").unlink()
        asks(server)
    assert (project / "reports/rollouts.json").read_bytes() == first and len(server.posts) == 20
    times = sorted(rollout["calls"][0]["tool_ms"][0] for rollout in rollouts(project))
    add = report(project)["tools"]["add"]
    assert (add["calls"], add["p50_ms"], add["p95_ms"]) == (10, times[4], times[9])


def test_many_calls_that_hit_their_time_limit_are_worth_a_warning(asks: Asks, project: Path) -> None:
    slow = sums.TOOLS.replace("@tool", "@tool(timeout=0.5)").replace(
        "return", "__import__('time').sleep(a % 3)\n    return"
    )
    (project / "tools.py").write_text(slow)
    with serving(adds) as server:
        assert "warning: 6 of 10 calls of add hit their time limit" in asks(server).stdout
        add = report(project)["tools"]["add"]
        assert (add["calls"], add["errors"], add["late"]) == (10, 6, 6)
        assert "warning" not in asks(server, teacher__entries="0,3,6,9").stdout


HANGS = {
    "a pool": """
@tool
def add(a: int, b: int) -> int:
    "Never ends."
    with ThreadPoolExecutor() as pool:
        return sum(pool.map(lambda n: time.sleep(1e6), [a, b]))
""",
    "a pool of all calls": """
POOL = ThreadPoolExecutor(1)

@tool
def add(a: int, b: int) -> int:
    "Never ends."
    return POOL.submit(time.sleep, 1e6).result()
""",
    "asyncio's pool": """
@tool
async def add(a: int, b: int) -> int:
    "Never ends."
    return await asyncio.to_thread(time.sleep, 1e6)
""",
}


@pytest.mark.parametrize("where", HANGS)
def test_a_run_ends_though_threads_that_a_tool_has_started_hang(project: Path, where: str) -> None:
    sums.make(project, 1, agent__tool_timeout_s=0.5)
    head = "import asyncio, time\nfrom concurrent.futures import ThreadPoolExecutor\nfrom distill.tools import tool\n"
    (project / "tools.py").write_text(head + HANGS[where])
    assert Running(project, "prompts").wait().returncode == 0
    with serving(adds) as server:
        sums.set_params(project, teacher__base_url=server.base_url)
        done = Running(project, "teacher_rollouts").wait(60)
    assert "1 of 1 rollouts completed" in done.stdout and (done.returncode, done.stderr) == (0, "")
    assert "of pools that tools use did not end" in done.stdout


LOGS = """
POOL = ThreadPoolExecutor(1)

def log(n: int) -> None:
    time.sleep(0.5)
    with open("log.txt", "a") as file:
        file.write(f"{n}\\n")

@tool
def add(a: int, b: int) -> int:
    "Adds, and writes a log beside it."
    POOL.submit(log, a)
    return a + b
"""


def test_what_calls_have_left_to_a_pool_is_done(project: Path) -> None:
    sums.make(project, 3)
    head = "import time\nfrom concurrent.futures import ThreadPoolExecutor\nfrom distill.tools import tool\n"
    (project / "tools.py").write_text(head + LOGS)
    assert Running(project, "prompts").wait().returncode == 0
    with serving(adds) as server:
        sums.set_params(project, teacher__base_url=server.base_url)
        done = Running(project, "teacher_rollouts").wait(60)
    assert (done.returncode, done.stderr) == (0, "") and "warning" not in done.stdout
    assert sorted((project / "log.txt").read_text().split()) == ["0", "1", "2"]


CART = '''
from distill.tools import State, tool

@tool
def add(a: int, b: int, cart: State) -> list[int]:
    """Puts b into the cart."""
    cart.setdefault("items", []).append(b)
    return cart["items"]
'''


def test_a_rollout_that_goes_on_finds_the_state_that_its_earlier_calls_left(asks: Asks, project: Path) -> None:
    (project / "tools.py").write_text(CART)
    teacher, stops = sums.counts_to(5), True

    def stopped(asked: Asked) -> Any:
        told = [message for message in asked.body["messages"] if message["role"] == "tool"]
        return (401, {"error": {"message": "no such key"}}, {}) if stops and len(told) == 2 else teacher(asked)

    with serving(stopped) as server:
        with pytest.raises(AssertionError, match="no such key"):
            asks(server, teacher__n=3)
        stops, asked_before = False, len(server.posts)
        asks(server)
        assert len(server.posts) - asked_before < 3 * 5
    for rollout in rollouts(project):
        told = [message["content"] for message in rollout["messages"] if message["role"] == "tool"]
        assert told == ["[0]", "[0,1]", "[0,1,2]", "[0,1,2,3]"]


CONTEXT = '''
from distill.tools import Context, tool

@tool
def add(a: int, b: int, row: Context) -> str:
    """Adds two numbers."""
    return f"{row.metadata['expected_answer']} {row.sample}"
'''


def test_another_row_makes_the_tool_run_again_and_the_teacher_answers_only_what_is_new(
    asks: Asks, project: Path
) -> None:
    """What a tool reads of the row is not in the conversation that answers are kept under."""
    (project / "tools.py").write_text(CONTEXT)
    with serving(adds) as server:
        asks(server, teacher__samples=2)
        assert sorted(rollout["messages"][-1]["content"] for rollout in rollouts(project))[:2] == [
            "Answer: 1 0",
            "Answer: 1 1",
        ]
        assert len(server.posts) == 40
        assert list(server.posts[0].body["tools"][0]["function"]["parameters"]["properties"]) == ["a", "b"]
        path = project / "data/seed/sums.jsonl"
        path.write_text(path.read_text().replace('"expected_answer": 1}', '"expected_answer": 111}'))
        assert Running(project, "prompts").wait().returncode == 0
        asks(server)
    found = sorted(rollout["messages"][-1]["content"] for rollout in rollouts(project))
    assert found[:4] == ["Answer: 10 0", "Answer: 10 1", "Answer: 111 0", "Answer: 111 1"] and len(found) == 20
    assert len(server.posts) == 42, "the calls were bought before; what follows from them is new"


def test_a_call_faster_than_the_clock_shows_counts_among_the_times() -> None:
    """Times are recorded to a tenth of a millisecond, which a fast async tool rounds to none."""
    call = {"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    said = [{"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "content": "1"}]
    counted = ToolTimes()
    for ms in (0.0, 0.0, 0.0, 50.0, None):
        counted.add({"tools": [{"function": {"name": "add"}}], "messages": said, "calls": [{"tool_ms": [ms]}]})
    add = counted.report()["add"]
    assert (add["calls"], add["p50_ms"], add["p95_ms"]) == (5, 0.0, 50.0)


def test_a_call_of_a_tool_that_was_not_offered_is_no_call_of_that_tool() -> None:
    """Whichever rollout ends first: the report has to be the same."""

    def rollout(offered: str, result: str) -> dict[str, Any]:
        call = {"id": "c", "type": "function", "function": {"name": "b", "arguments": "{}"}}
        said = [{"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "content": result}]
        tools = [{"function": {"name": name}} for name in offered]
        return {"tools": tools, "messages": said, "calls": [{"tool_ms": [5.0]}]}

    both = [rollout("a", "error: there is no tool b"), rollout("ab", "1")]
    for order in (both, both[::-1]):
        counted = ToolTimes()
        for one in order:
            counted.add(one)
        assert (counted.calls, counted.errors) == (2, 1)
        assert [(name, tool["calls"], tool["errors"]) for name, tool in counted.report().items()] == [
            ("a", 0, 0), ("b", 1, 0),
        ]  # fmt: skip
