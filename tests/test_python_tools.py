"""`@tool`: a function gets what it asks for, and one that cannot be told to a model is refused by line."""

import asyncio
import sys
from pathlib import Path

import pytest
from tools_file import HEAD, call, load, schema

from distill.records.faults import InputError
from distill.tools.python import python_source
from distill.tools.source import ToolError


def test_the_function_gets_what_its_types_say(tmp_path: Path) -> None:
    tools = load(
        tmp_path,
        "@tool\ndef f(place: Place, span: Span, box: Box, color: Color, day: datetime.date, n: Literal[1, True]):\n"
        "    '''Does.'''\n    return [place.city, span['start'], box.depth, color is Color.blue, day.year, n]\n",
    )
    arguments = {
        "place": {"city": "Rome"},
        "span": {"start": 1},
        "box": {"width": 1},
        "color": "blue",
        "day": "2026-01-31",
        "n": True,
    }
    assert call(tools, "f", **arguments) == '["Rome",1,2,true,2026,true]'
    with pytest.raises(ToolError, match=r"the arguments do not fit: /day: .*day"):
        call(tools, "f", **arguments | {"day": "2026-02-31"})


ASYNC = """
import asyncio
@tool
async def plain(x: int):
    '''Does.'''
    await asyncio.sleep(0)
    return x + 1

def retried(function):
    @functools.wraps(function)
    def again(*args, **kwargs):
        return function(*args, **kwargs)
    return again

@tool
@retried
async def wrapped(x: int):
    '''Does.'''
    return x + 2

@tool
@functools.cache
def cached(x: int):
    '''Does.'''
    return x + 3

@tool
async def leaves():
    '''Leaves.'''
    raise SystemExit(3)

@tool
async def gives_up():
    '''Gives up.'''
    raise asyncio.CancelledError

@tool
async def runs():
    '''Runs.'''
    child = await asyncio.create_subprocess_exec("true", process_group=0)  # uvloop refuses that
    return await child.wait()
"""


def test_async_tools_and_tools_under_other_decorators_run(tmp_path: Path) -> None:
    tools = load(tmp_path, ASYNC)
    assert [call(tools, name, x=1) for name in ("plain", "wrapped", "cached")] == ["2", "3", "4"]
    for name, said in (("leaves", "SystemExit: 3"), ("gives_up", "CancelledError")):
        with pytest.raises(RuntimeError, match=said):
            call(tools, name)
    assert call(tools, "plain", x=1) == "2", "the others go on"
    assert call(tools, "runs") == "0"
    asyncio.run(tools.close())


CONTEXT = """
@tool
def peek(query: str, context: Context, again: Annotated[Context, "hidden"]) -> str:
    '''Looks.

    Args:
        query: What.
    '''
    context.metadata["seen"] = True
    return f"{query} {again.metadata} {context.prompt_id} {context.sample}"
"""


def test_the_row_is_given_to_the_tool_and_not_told_to_the_model(tmp_path: Path) -> None:
    tools = load(tmp_path, CONTEXT)
    assert list(schema(tmp_path, CONTEXT)["properties"]) == ["query"]
    prompt = {"id": "abc", "sample": 2, "metadata": {"db": "x"}}
    assert call(tools, "peek", prompt, query="q") == "q {'db': 'x'} abc 2"
    assert prompt["metadata"] == {"db": "x"}, "a tool cannot change the record"
    assert [offer.reads_row for offer in asyncio.run(tools.offers({}))] == [True]


def test_calls_of_a_rollout_share_a_state_of_their_own(tmp_path: Path) -> None:
    cart = "def put(item: str, cart: State, same: State | None = None):\n    '''Puts.'''\n    cart[item] = len(cart)\n"
    tools = load(tmp_path, f"@tool\n{cart}    return list(same)\n")
    assert list(schema(tmp_path, f"@tool\n{cart}")["properties"]) == ["item"]

    async def rollouts() -> list[str]:
        async with tools.open({}, None) as one, tools.open({}, None) as other:
            return [await put("put", {"item": item}) for put, item in ((one, "pear"), (other, "fig"), (one, "nut"))]

    assert asyncio.run(rollouts()) == ['["pear"]', '["fig"]', '["pear","nut"]']
    offered = asyncio.run(tools.offers({}))[0]
    assert offered.keeps_state and not offered.reads_row


COUNTED = '''
import sqlite3, time

@tool
def count(seconds: float, state: State) -> int:
    """Counts."""
    if "db" not in state:
        state["db"] = sqlite3.connect(":memory:")
        state["db"].execute("create table calls (number)")
    state["db"].execute("insert into calls values (1)")
    time.sleep(seconds)
    return state["db"].execute("select count(*) from calls").fetchone()[0]
'''


def test_calls_with_a_state_run_in_a_thread_of_the_rollout_where_the_next_waits_for_a_late_one(tmp_path: Path) -> None:
    tools = load(tmp_path, COUNTED)

    async def rollout() -> list[str]:
        async with tools.open({}, None) as count:
            for seconds in (2.0, 0.0):  # the second one never begins
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await count("count", {"seconds": seconds})
            return [await count("count", {"seconds": 0.0}) for _ in range(2)]

    async def rollouts() -> list[list[str]]:
        return await asyncio.gather(rollout(), rollout())

    assert asyncio.run(rollouts()) == [["2", "3"], ["2", "3"]]


FAULTS = '''
@tool(sandbox=True)
def packed(cart: State):
    """Does."""

@tool
def nohint(x, y):
    """Does."""

@tool
def nodoc(x: int):
    pass

@tool
def many(*args: int, **kwargs: int):
    """Does."""

@tool
def sock(a: socket.socket, b: Callable[[], int], c: int = "x"):
    """Does."""

@tool(timeout=0)
def soon():
    """Does."""

@tool(timeout="5")
def later():
    """Does."""

@tool
def naïve():
    """Does."""

@tool
def late(x: "NoSuchType"):
    """Does."""

@tool
def first(a: int, /):
    """Does."""

@tool
def stream():
    """Does."""
    yield 1

@tool
def twice():
    """Does."""

@tool
def twice():
    """Does."""

class Shop:
    @tool
    def method(self):
        """Does."""

class Store:
    def exposed(self):
        """Does."""

globals()["exposed"] = tool(Store.exposed)

@tool
def exposed():
    """Does."""

def factory():
    @tool
    def inside():
        """Does."""

factory()
short = tool(lambda x: x)

@tool
class Thing:
    """Does."""

@lambda function: (lambda: function())
@tool
def hidden():
    """Does."""

@property
@tool
def made():
    """Does."""

@tool
def typo(field: int, other: int = 1):
    """Does.

    Args:
        feild: Which one.
        other, rest: More.
        None: of that.
    """

@tool
def fine():
    """Does."""
'''


def test_every_fault_of_every_tool_is_named_at_once_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, FAULTS)
    lines = (HEAD + FAULTS).splitlines()

    def at(name: str, start: str = "def ", nth: int = 0) -> int:
        """The line of the decorator above a definition."""
        return [number for number, line in enumerate(lines) if line.strip().startswith(f"{start}{name}")][nth]

    expected = [
        (at("packed"), "tool 'packed': a State is not known in the sandbox"),
        (at("nohint"), "tool 'nohint': parameter 'x' has no type hint"),
        (at("nohint"), "tool 'nohint': parameter 'y' has no type hint"),
        (at("nodoc"), "tool 'nodoc': it has no docstring"),
        (at("many"), "tool 'many': *args cannot be described"),
        (at("many"), "tool 'many': **kwargs cannot be described"),
        (at("sock"), "tool 'sock': parameter 'a': its type has no JSON form: "),
        (at("sock"), "tool 'sock': parameter 'b': its type has no JSON form: "),
        (at("sock"), "tool 'sock': parameter 'c': its default 'x' does not fit its type"),
        (at("soon"), "tool 'soon': timeout=0 is not a number of seconds above 0"),
        (at("later"), "tool 'later': timeout='5' is not a number of seconds above 0"),
        (at("naïve"), "tool 'naïve': a name has up to 64 letters"),
        (at("late("), "tool 'late': its type hints cannot be read: name 'NoSuchType' is not defined"),
        (at("first"), "tool 'first': parameter 'a' cannot be passed by name"),
        (at("stream"), "tool 'stream': it yields"),
        (at("twice", nth=1), f"tool 'twice' exists already, at tools.py:{at('twice')}"),
        (at("method"), "tool 'method' is inside Shop"),
        (at("exposed", nth=1), f"tool 'exposed' exists already, at tools.py:{at('exposed') + 1}"),
        (at("inside"), "tool 'inside' is inside factory"),
        (at("short", "") + 1, "@tool is on a lambda"),
        (at("Thing", "class "), "@tool is on a class"),
        (at("typo"), "tool 'typo': its docstring describes 'feild', which is not a parameter; did you mean 'field'?"),
        (at("made") - 1, "tool 'made' is a property in the end; take away the decorator"),
        (at("hidden") - 1, "tool 'hidden' is gone at the end of the file; put @tool above all other decorators"),
    ]
    for line, words in expected:
        assert any(f.startswith(f"tools.py:{line}: {words}") for f in caught.value.faults), (line, words, caught.value)
    assert len(caught.value.faults) == len(expected)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_library\n", r"tools\.py:1: cannot be loaded: ModuleNotFoundError"),
        ("import sys\n\nsys.exit('set SHOP_KEY')\n", r"tools\.py:3: cannot be loaded: SystemExit: set SHOP_KEY"),
        ("x = 1\ndef f(:\n", r"tools\.py:2: cannot be loaded: SyntaxError"),
        ("\nimport broken_helper\n", r"tools\.py:2: cannot be loaded: SyntaxError.*broken_helper\.py, line 4"),
        ("from distill.tools import tool\n\n@tool('name')\ndef f(): pass\n", r"tools\.py:3: .*write `@tool`"),
        ("from distill.tools import tool\n\n@tool\n@property\ndef f(): pass\n", r"tools\.py:3: .*without a decorator"),
        ("from distill.tools import tool\n\n@tool(name='x')\ndef f(): pass\n", r"tools\.py:3: .*unexpected keyword"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "broken_helper.py").write_text("\n\n\ndef f(:\n")
    (tmp_path / "tools.py").write_text(text)
    with pytest.raises(InputError, match=said):
        python_source.load(tmp_path / "tools.py")


def test_tools_of_other_files_and_other_names_of_a_tool_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "more_tools_of_mine.py").write_text(
        "from distill.tools import tool\n@tool\ndef far(x: int) -> int:\n    '''Far.'''\n    return x\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    text = "from more_tools_of_mine import far\n@tool\ndef near():\n    '''Near.'''\nalias = near\n"
    assert list(load(tmp_path, text).tools) == ["far", "near"]
    assert list(load(tmp_path, text).tools) == ["far", "near"], "also when the module was loaded before"


RNOW = '''
"""Written as rnow's own documentation writes tools."""
import subprocess

from rnow.core import ToolArgs
from rnow.core.tool import tool


@tool
def my_tool(query: str, limit: int = 10) -> dict:
    """Brief description of what this tool does.

    Args:
        query: What to search for
        limit: Maximum results to return
    """
    return {"results": [query] * limit}


@tool(timeout=120)
async def calculator(operation: str, a: float, b: float) -> dict:
    """
    Simple calculator tool for basic arithmetic operations.
    Supports add and subtract operations.
    """
    if operation == "add":
        return {"result": a + b}
    return {"error": "Invalid operation"}


@tool
def sql(args: ToolArgs, query: str) -> str:
    """Execute SQL query and return results."""
    return f"{args.metadata['db_id']}: {query}"
'''


def test_a_tools_file_of_rnow_loads_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(RNOW)
    tools = python_source.PythonTools("tools.py", python_source.load(tmp_path / "tools.py"))
    offered = {offer.name: offer for offer in asyncio.run(tools.offers({}))}
    assert list(offered) == ["my_tool", "calculator", "sql"] and offered["calculator"].timeout_s == 120
    assert offered["my_tool"].schema["function"]["parameters"]["properties"]["limit"] == {
        "type": "integer",
        "default": 10,
        "description": "Maximum results to return",
    }
    assert list(offered["sql"].schema["function"]["parameters"]["properties"]) == ["query"]
    assert call(tools, "my_tool", query="x", limit=2) == '{"results":["x","x"]}'
    assert call(tools, "calculator", operation="add", a=1, b=2) == '{"result":3.0}'
    assert call(tools, "sql", {"id": "p", "metadata": {"db_id": "cars"}}, query="q") == "cars: q"
    assert not [name for name in sys.modules if name.split(".")[0] == "rnow"]
