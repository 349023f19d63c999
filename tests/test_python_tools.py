"""`@tool`: what a function says of itself is what the model is told, and what it cannot say is refused by line."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from distill.records.faults import InputError
from distill.teacher.strict import strict
from distill.tools import python_source
from distill.tools.source import ToolError

HEAD = """
import dataclasses, datetime, enum, functools, socket
from typing import *
from pydantic import BaseModel, Field
from distill.tools import Context, tool

class Color(enum.Enum):
    red = "red"
    blue = "blue"

class Place(BaseModel):
    "A town."
    city: str = Field(description="its name")
    title: str | None = None

class Span(TypedDict):
    start: Annotated[int, Field(ge=1)]
    end: NotRequired[int]

@dataclasses.dataclass
class Box:
    width: int
    depth: int = 2

class Tree(BaseModel):
    value: int
    children: "list[Tree]" = []

"""


def load(folder: Path, text: str) -> python_source.PythonTools:
    path = folder / "tools.py"
    path.write_text(HEAD + text)
    return python_source.load(path)


def schema(folder: Path, text: str) -> dict[str, Any]:
    """The parameters of the one tool in `text`."""
    (tool,) = load(folder, text).tools.values()
    return tool.schema["function"]["parameters"]


def call(tools: python_source.PythonTools, name: str, prompt: dict[str, Any] | None = None, **arguments: Any) -> Any:
    async def one() -> Any:
        async with tools.open(prompt or {}, None) as caller:
            return await caller.call(name, arguments)

    return asyncio.run(one())


GOOGLE = '''
    """Finds.

    Everywhere.

    Args:
        query: What to look for.
        limit (int): How many.
    """'''
NUMPY = '''
    """Finds.

    Everywhere.

    Parameters
    ----------
    query : str
        What to look for.
    limit : int, optional
        How many.
    """'''
REST = '''
    """Finds.

    Everywhere.

    :param query: What to look for.
    :param int limit: How many.
    """'''


@pytest.mark.parametrize("docstring", [GOOGLE, NUMPY, REST])
def test_docstrings_of_every_style_describe_the_parameters(tmp_path: Path, docstring: str) -> None:
    (tool,) = load(tmp_path, f"@tool\ndef find(query: str, limit: int = 5) -> str:{docstring}").tools.values()
    function = tool.schema["function"]
    assert function["description"] == "Finds.\n\nEverywhere."
    assert function["parameters"]["properties"] == {
        "query": {"type": "string", "description": "What to look for."},
        "limit": {"type": "integer", "default": 5, "description": "How many."},
    }


NULL = {"type": "null"}
PLACE = {
    "type": "object",
    "description": "A town.",
    "properties": {
        "city": {"type": "string", "description": "its name"},
        "title": {"anyOf": [{"type": "string"}, NULL], "default": None},
    },
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        ("Annotated[int, 'how many']", {"type": "integer", "description": "how many"}),
        (
            "Annotated[int, Field(description='how many', ge=1)]",
            {"type": "integer", "minimum": 1, "description": "how many"},
        ),
        ("int | None", {"anyOf": [{"type": "integer"}, NULL]}),
        ("Optional[str]", {"anyOf": [{"type": "string"}, NULL]}),
        ("Literal[1, 2]", {"enum": [1, 2], "type": "integer"}),
        ("Literal[True, 'auto', 3, None]", {"enum": [True, "auto", 3, None]}),
        ("Literal['a', 'b'] | None", {"anyOf": [{"type": "string", "enum": ["a", "b"]}, NULL]}),
        ("Color", {"type": "string", "enum": ["red", "blue"]}),
        ("list[list[float]]", {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}),
        ("dict[str, int]", {"type": "object", "additionalProperties": {"type": "integer"}}),
        ("int | str", {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        ("Place", PLACE),
        ("list[Place] | None", {"anyOf": [{"type": "array", "items": PLACE}, NULL]}),
        (
            "list[Span]",
            {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"start": {"type": "integer", "minimum": 1}, "end": {"type": "integer"}},
                    "required": ["start"],
                    "additionalProperties": False,
                },
            },
        ),
        (
            "Box",
            {
                "type": "object",
                "properties": {"width": {"type": "integer"}, "depth": {"type": "integer", "default": 2}},
                "required": ["width"],
                "additionalProperties": False,
            },
        ),
        ("datetime.date", {"type": "string", "format": "date"}),
    ],
)
def test_a_type_is_what_the_model_is_told(tmp_path: Path, hint: str, said: dict[str, Any]) -> None:
    found = schema(tmp_path, f"@tool\ndef f(x: {hint}):\n    '''Does.'''")
    assert found == {"type": "object", "properties": {"x": said}, "required": ["x"], "additionalProperties": False}


def test_defaults_are_told_and_one_of_none_makes_null_right(tmp_path: Path) -> None:
    text = (
        "@tool\ndef f(a: int = 3, b: list[int] = None, c: Color = Color.red, d: int = Field(5, description='five')):\n"
    )
    found = schema(tmp_path, text + "    '''Does.'''")
    assert "required" not in found and found["properties"] == {
        "a": {"type": "integer", "default": 3},
        "b": {"anyOf": [{"type": "array", "items": {"type": "integer"}}, NULL], "default": None},
        "c": {"type": "string", "enum": ["red", "blue"], "default": "red"},
        "d": {"type": "integer", "default": 5, "description": "five"},
    }


def test_a_type_that_holds_itself_is_told_once(tmp_path: Path) -> None:
    found = schema(tmp_path, "@tool\ndef f(tree: Tree, again: Annotated[Tree, 'b']):\n    '''Does.'''")
    assert found["properties"]["tree"] == {"$ref": "#/$defs/Tree"} and list(found["$defs"]) == ["Tree"]
    validator = jsonschema_rs.validator_for(found)
    leaf = {"value": 1, "children": []}
    assert validator.is_valid({"tree": {"value": 1, "children": [leaf]}, "again": leaf})
    assert not validator.is_valid({"tree": {"value": 1, "children": [{"value": "x"}]}, "again": leaf})


def test_names_that_pydantic_keeps_for_itself_are_free(tmp_path: Path) -> None:
    names = ["json", "copy", "model_config", "_private", "self", "title", "default"]
    text = f"@tool\ndef f({', '.join(f'{name}: int' for name in names)}):\n    '''Does.'''\n    return locals()"
    assert list(schema(tmp_path, text)["properties"]) == names
    values = dict.fromkeys(names, 7)

    async def one() -> Any:
        async with load(tmp_path, text).open({}, None) as caller:
            return await caller.call("f", values)

    assert asyncio.run(one()) == values


def test_a_default_with_a_title_stays_whole(tmp_path: Path) -> None:
    found = schema(tmp_path, "@tool\ndef f(x: dict[str, str] = {'title': 'Mr'}):\n    '''Does.'''")
    assert found["properties"]["x"]["default"] == {"title": "Mr"}


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
    assert call(tools, "f", **arguments) == ["Rome", 1, 2, True, 2026, True]
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
"""


def test_async_tools_and_tools_under_other_decorators_run(tmp_path: Path) -> None:
    tools = load(tmp_path, ASYNC)
    assert [call(tools, name, x=1) for name in ("plain", "wrapped", "cached")] == [2, 3, 4]
    for name, said in (("leaves", "SystemExit: 3"), ("gives_up", "CancelledError")):
        with pytest.raises(RuntimeError, match=said):
            call(tools, name)
    assert call(tools, "plain", x=1) == 2, "the others go on"
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


FAULTS = '''
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
        (at("nohint"), "tool 'nohint': parameter 'x' has no type hint"),
        (at("nohint"), "tool 'nohint': parameter 'y' has no type hint"),
        (at("nodoc"), "tool 'nodoc': it has no docstring"),
        (at("many"), "tool 'many': *args cannot be described"),
        (at("many"), "tool 'many': **kwargs cannot be described"),
        (at("sock"), "tool 'sock': parameter 'a': its type cannot be said in JSON: "),
        (at("sock"), "tool 'sock': parameter 'b': its type cannot be said in JSON: "),
        (at("sock"), "tool 'sock': parameter 'c': its default 'x' does not fit its type"),
        (at("soon"), "tool 'soon': timeout=0 is not a number of seconds above 0"),
        (at("later"), "tool 'later': timeout='5' is not a number of seconds above 0"),
        (at("naïve"), "tool 'naïve': a name has up to 64 letters"),
        (at("late("), "tool 'late': its type hints cannot be read: name 'NoSuchType' is not defined"),
        (at("first"), "tool 'first': parameter 'a' cannot be passed by name"),
        (at("stream"), "tool 'stream': it yields"),
        (at("twice", nth=1), f"tool 'twice' is there already, from tools.py:{at('twice')}"),
        (at("method"), "tool 'method' is inside of Shop"),
        (at("inside"), "tool 'inside' is inside of factory"),
        (at("short", "") + 1, "@tool stands on a lambda"),
        (at("Thing", "class "), "@tool stands on a class"),
        (at("hidden") - 1, "tool 'hidden' is gone at the end of the file; put @tool above all other decorators"),
    ]
    for line, words in expected:
        assert any(f.startswith(f"tools.py:{line}: {words}") for f in caught.value.faults), (line, words, caught.value)
    assert len(caught.value.faults) == len(expected)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_library\n", r"tools\.py:1: cannot be loaded: ModuleNotFoundError"),
        ("x = 1\ndef f(:\n", r"tools\.py:2: cannot be loaded: SyntaxError"),
        ("from distill.tools import tool\n\n@tool('name')\ndef f(): pass\n", r"tools\.py:3: .*write `@tool`"),
        ("from distill.tools import tool\n\n@tool(name='x')\ndef f(): pass\n", r"tools\.py:3: .*unexpected keyword"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
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


STRICT = [
    ("x: int, y: Literal['a', 'b']", True),
    ("x: int | None", True),
    ("x: list[str]", True),
    ("", True),
    ("x: int = 3", False),  # OpenAI requires every field; to make it nullable would be another tool
    ("x: Annotated[int, Field(ge=1)]", False),
    ("x: Any", False),
    ("x: dict[str, int]", False),
    ("x: Place", False),  # its title may be left out
    ("x: Tree", False),
    ("x: Literal[1, 'a']", False),
]


@pytest.mark.parametrize(("parameters", "is_strict"), STRICT)
def test_a_schema_is_strict_when_it_is_so_as_it_stands(tmp_path: Path, parameters: str, is_strict: bool) -> None:
    assert strict(schema(tmp_path, f"@tool\ndef f({parameters}):\n    '''Does.'''")) is is_strict


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
    tools = python_source.load(tmp_path / "tools.py")
    offered = {offer.name: offer for offer in asyncio.run(tools.offers({}))}
    assert list(offered) == ["my_tool", "calculator", "sql"] and offered["calculator"].timeout_s == 120
    assert offered["my_tool"].schema["function"]["parameters"]["properties"]["limit"] == {
        "type": "integer",
        "default": 10,
        "description": "Maximum results to return",
    }
    assert list(offered["sql"].schema["function"]["parameters"]["properties"]) == ["query"]
    assert call(tools, "my_tool", query="x", limit=2) == {"results": ["x", "x"]}
    assert call(tools, "calculator", operation="add", a=1, b=2) == {"result": 3}
    assert call(tools, "sql", {"id": "p", "metadata": {"db_id": "cars"}}, query="q") == "cars: q"
    assert not [name for name in sys.modules if name.split(".")[0] == "rnow"]


def test_schemas_are_plain_json(tmp_path: Path) -> None:
    """What is sent, stored and rendered is the same text everywhere."""
    text = "@tool\ndef f(place: Place, box: Box = Box(1), tree: Tree | None = None):\n    '''Does.'''"
    (tool,) = load(tmp_path, text).tools.values()
    assert json.loads(json.dumps(tool.schema)) == tool.schema and '"title": {"anyOf"' in json.dumps(tool.schema)


def test_a_tool_for_a_sandbox_never_runs_here(tmp_path: Path) -> None:
    tools = load(tmp_path, "@tool(sandbox=True)\ndef f():\n    '''Does.'''\n    open('ran-here', 'w').close()")
    with pytest.raises(ToolError, match="'f' runs in a sandbox only"):
        call(tools, "f")
    assert not Path("ran-here").exists()
