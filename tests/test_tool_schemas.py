"""`@tool`: what a function says of itself is what the model is told."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from conftest import ROOT
from tools_file import call, load, schema

from distill.commands.tools import describe, listing
from distill.project import params
from distill.teacher.api.strict import strict
from distill.tools import arguments
from distill.tools.mcp import mcp_tool
from distill.tools.python import python_source
from distill.tools.schema_words import kind
from distill.tools.source import Offer

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


def test_a_default_that_json_cannot_say_is_not_told(tmp_path: Path) -> None:
    """The student would learn from a null what the exam shows it as Infinity."""
    text = "@tool\ndef f(most: float = float('inf')):\n    '''Does.'''\n    return repr(most)"
    assert schema(tmp_path, text)["properties"] == {"most": {"type": "number"}}
    assert call(load(tmp_path, text), "f") == "inf" and call(load(tmp_path, text), "f", most=2) == "2.0"


def test_a_default_that_is_made_for_each_call(tmp_path: Path) -> None:
    by_value = "a: list[int] = Field(default_factory=list, description='many')"
    by_hint = "b: Annotated[list[int], Field(default_factory=list)]"
    text = f"@tool\ndef f({by_value}, *, {by_hint}):\n    '''Does.'''\n    a.append(1)\n    return a + b"
    found = schema(tmp_path, text)
    assert found["properties"]["a"] == {"type": "array", "items": {"type": "integer"}, "description": "many"}
    assert "required" not in found
    tools = load(tmp_path, text)
    assert call(tools, "f") == call(tools, "f") == "[1]" and call(tools, "f", b=[2]) == "[1,2]"


@pytest.mark.parametrize("keyword", ["default", "const", "enum", "examples", "properties", "title"])
def test_a_field_may_be_called_like_a_keyword(tmp_path: Path, keyword: str) -> None:
    node = f"class Node(BaseModel):\n    name: str\n    {keyword}: Optional['Node'] = None\n"
    found = schema(tmp_path, f"{node}@tool\ndef f(node: Node):\n    '''Does.'''")
    assert list(found["$defs"]["Node"]["properties"]) == ["name", keyword]
    assert jsonschema_rs.validator_for(found).is_valid({"node": {"name": "a", keyword: {"name": "b"}}})


@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"])
def test_what_a_typed_dict_may_leave_out(tmp_path: Path, future: str) -> None:
    text = "from typing import NotRequired, Required, TypedDict\nfrom distill.tools import tool\n"
    text += "class A(TypedDict):\n    x: int\n    y: NotRequired[int]\n"
    text += "class B(TypedDict, total=False):\n    x: int\n    y: Required[int]\n"
    (tmp_path / "tools.py").write_text(f"{future}{text}@tool\ndef f(a: A, b: B):\n    '''Does.'''")
    (tool,) = python_source.load(tmp_path / "tools.py").values()
    properties = tool.schema["function"]["parameters"]["properties"]
    assert (properties["a"]["required"], properties["b"]["required"]) == (["x"], ["y"])


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
    assert json.loads(call(load(tmp_path, text), "f", **values)) == values


def test_a_default_with_a_title_stays_whole(tmp_path: Path) -> None:
    found = schema(tmp_path, "@tool\ndef f(x: dict[str, str] = {'title': 'Mr'}):\n    '''Does.'''")
    assert found["properties"]["x"]["default"] == {"title": "Mr"}


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


def test_schemas_are_plain_json(tmp_path: Path) -> None:
    """What is sent, stored and rendered is the same text everywhere."""
    text = "@tool\ndef f(place: Place, box: Box = Box(1), tree: Tree | None = None):\n    '''Does.'''"
    (tool,) = load(tmp_path, text).tools.values()
    assert json.loads(json.dumps(tool.schema)) == tool.schema and '"title": {"anyOf"' in json.dumps(tool.schema)


def test_make_tools_says_what_each_value_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tools.py").write_text(
        "from typing import Literal\n\nfrom pydantic import BaseModel, Field\n\nfrom distill.tools import tool\n\n\n"
        'class Leg(BaseModel):\n    start: str = Field(description="A town.")\n    end: str | None = None\n\n\n@tool\n'
        'def fare(legs: list[Leg], klass: Literal["first", "second"] = "second", guests: int | None = None) -> float:\n'
        '    """Gives the fare.\n\n    In euros.\n\n    Args:\n        guests: How many.\n    """\n\n\n'
        '@tool(sandbox=True)\ndef run(code: str) -> str:\n    """Runs it, for rows with a sandbox."""\n'
    )
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILL_STORE", str(tmp_path / "store"))
    text, faults = asyncio.run(listing(params.load()))
    listed = [
        "fare(legs, [klass], [guests])  from tools.py",
        "    Gives the fare.",
        "",
        "    In euros.",
        "      legs: list of {start: string, end: string | null}",
        "        legs.start: A town.",
        '      klass: "first" | "second"',
        "      guests: integer | null, How many.",
    ]
    assert not faults and text.splitlines() == listed, "no row, none with a sandbox"
    (tmp_path / "data/seed").mkdir(parents=True)
    row = {"messages": [{"role": "user", "content": "Run it."}], "docker": "python:3.12"}
    (tmp_path / "data/seed/mine.jsonl").write_text(json.dumps(row))
    text, faults = asyncio.run(listing(params.load()))
    sandboxed = ["run(code)  from tools.py", "    Runs it, for rows with a sandbox.", "      code: string"]
    assert not faults and text.splitlines() == [*listed, *sandboxed]


def test_a_schema_of_a_server_may_say_as_little_as_true() -> None:
    function = {
        "name": "f",
        "description": "F.",
        "parameters": {"properties": {"x": True, "y": {"type": ["string", "null"]}}},
    }
    assert describe("there", Offer({"type": "function", "function": function})).splitlines()[2:] == [
        "      x: anything",
        "      y: string | null",
    ]


def test_of_hundreds_of_tools_only_those_with_a_like_name_are_told(project: Path, run_module: Any) -> None:
    source = (project / "tools.py").read_text()
    more = "".join(f'\n\n@tool\ndef flight_{n}() -> int:\n    """Flies."""\n    return {n}\n' for n in range(300))
    (project / "tools.py").write_text(source + more)
    row = {"messages": [{"role": "user", "content": "hello"}], "tools": ["flight.250", "%"]}
    (project / "data/seed/mine.jsonl").write_text(json.dumps(row) + "\n")
    said = run_module("distill.commands.tools").stderr
    assert "mine.jsonl:1: /tools: there is no tool 'flight.250'; there are 302, such as flight_250, flight_" in said
    assert "there is no tool '%'; there are 302 (`make tools` shows them)" in said and len(said) < 500


def test_make_tools_lists_them_also_for_a_prompt_that_names_another(project: Path, run_module: Any) -> None:
    row = {"messages": [{"role": "user", "content": "hello"}], "tools": ["lookup_itme"]}
    (project / "data/seed/mine.jsonl").write_text(json.dumps(row) + "\n")
    done = run_module("distill.commands.tools")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "lookup_item(sku, field)  from tools.py" in done.stdout and "calculator(expression)" in done.stdout
    assert (
        "error: data/seed/mine.jsonl:1: /tools: there is no tool 'lookup_itme'; the tools are: lookup_item"
        in done.stderr
    )


ROOT_SCHEMA = {
    "$defs": {
        "Color": {"type": "string", "enum": ["red", "blue"]},
        "Spot": {"type": "object", "properties": {"at": {"$ref": "#/$defs/Color"}, "size": {"type": "number"}}},
        "Tree": {"type": "object", "properties": {"of": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}}},
    }
}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"$ref": "#/$defs/Color"}, '"red" | "blue"'),
        ({"anyOf": [{"$ref": "#/$defs/Spot"}, NULL]}, '{at: "red" | "blue", size: number} | null'),
        ({"$ref": "#/$defs/Tree"}, "{of: list of Tree}"),
        ({"$ref": "#/$defs/Gone"}, "Gone"),
        ({"allOf": [{"$ref": "#/$defs/Color"}]}, '"red" | "blue"'),
        ({"oneOf": [{"const": "x", "type": "string"}, {"const": 2}]}, '"x" | 2'),
        ({"type": ["array", "null"], "items": {"type": "integer"}}, "list of integer | null"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "object of integer"),
        ({"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, "object"),
        ({"type": "array"}, "list of anything"),
    ],
)
def test_a_type_in_words(found: dict[str, Any], words: str) -> None:
    assert kind(found, ROOT_SCHEMA) == words


def test_definitions_that_name_each_other_are_told_in_few_words() -> None:
    """Twelve of them can be gone through in more than 12! ways; three steps of each are."""
    fields = {f"f{number}": {"$ref": f"#/$defs/B{number}"} for number in range(12)}
    root = {"$defs": {f"B{number}": {"type": "object", "properties": fields} for number in range(12)}}
    words = kind({"$ref": "#/$defs/B0"}, root)
    assert (
        words.startswith("{f0: B0, f1: {f0: B0, f1: B1, f2: {f0: B0, f1: B1, f2: B2, f3: B3,") and len(words) < 20_000
    )


def test_a_schema_that_is_nested_without_end_is_cut() -> None:
    nested: dict[str, Any] = {"type": "string"}
    for _ in range(900):
        nested = {"type": "array", "items": nested}
    assert kind(nested, nested).endswith("list of anything")


def doubling(keyword: str, levels: int) -> dict[str, Any]:
    """What a server lists of a tool whose definitions name each other twice."""
    definitions: dict[str, Any] = {
        f"d{n}": {keyword: [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]} for n in range(levels)
    }
    definitions[f"d{levels}"] = {"type": "string"}
    parameters = {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": definitions}
    return {"name": "f", "description": "Does.", "reads": False, "parameters": parameters}


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf", "allOf"])
def test_a_schema_that_takes_minutes_to_compare_with_is_refused(keyword: str) -> None:
    assert "more than 5000 of them; put 'f' under deny" in mcp_tool.faults(doubling(keyword, 16))[0]
    assert mcp_tool.faults(doubling(keyword, 5000)), "whatever Python thinks of it"
    accepted = doubling(keyword, 10)
    assert mcp_tool.faults(accepted) == []
    wrong = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 5}'}}
    assert arguments.parse(wrong, [mcp_tool.schema(accepted)])[1]
    of_elsewhere = mcp_tool.schema(doubling(keyword, 40))  # a row that was imported brings its own tools
    assert "more than 5000 of them" in (arguments.parse(wrong, [of_elsewhere])[1] or "")


def test_schemas_that_name_themselves_and_have_many_choices_are_accepted() -> None:
    tree = {"type": "object", "properties": {"left": {"$ref": "#/$defs/tree"}, "right": {"$ref": "#/$defs/tree"}}}
    ring = {"anyOf": [{"$ref": "#/$defs/tree"}, {"$ref": "#/$defs/ring"}, *({"const": n} for n in range(1000))]}
    parameters = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/ring"}},
        "$defs": {"tree": tree, "ring": ring},
    }
    assert mcp_tool.faults({"name": "f", "description": "Does.", "reads": False, "parameters": parameters}) == []
