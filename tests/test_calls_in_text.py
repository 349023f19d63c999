"""Calls that come as text: the embedded teacher's own, and those that a server should have read."""

import json
from typing import Any

import pytest

from distill.teacher.api.calls_in_text import called, read

TOOLS = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("add", "look_up")]
ADD, LOOK = (
    '{"name": "add", "arguments": {"a": 1, "b": {"c": "}"}}}',
    '{"name": "look_up", "arguments": {"sku": "G101"}}',
)
ADDED, LOOKED = ("add", {"a": 1, "b": {"c": "}"}}), ("look_up", {"sku": "G101"})


def said(content: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        (ADD, "", [ADDED]),
        (f"```json\n{ADD}\n```", "", [ADDED]),
        (f"```\n{ADD}", "", [ADDED]),
        (f"I add.\n\n```json\n{ADD}\n```\n", "I add.", [ADDED]),
        (f"{ADD}\n{LOOK}", "", [ADDED, LOOKED]),
        (f"```json\n{ADD}\n```\n\n```json\n{LOOK}\n```", "", [ADDED, LOOKED]),
        (f"```json\n[{ADD}, {LOOK}]\n```", "", [ADDED, LOOKED]),
        (json.dumps(json.loads(ADD), indent=4), "", [ADDED]),
        ("{'name': 'add', 'arguments': {'a': True, 'b': None}}", "", [("add", {"a": True, "b": None})]),
        ('{"name": "look_up", "arguments": {"sku": "G101",}}', "", [LOOKED]),
        ('{"name": "look_up", "arguments": {"sku": "Größe"}}', "", [("look_up", {"sku": "Größe"})]),
    ],
)
def test_calls_that_end_a_text_are_calls(text: str, content: str, calls: list[tuple[str, Any]]) -> None:
    message = read(said(text, reasoning_content="hm"), TOOLS)
    assert (message["content"], message["reasoning_content"]) == (content, "hm")
    functions = [call["function"] for call in message["tool_calls"]]
    assert [(function["name"], json.loads(function["arguments"])) for function in functions] == calls
    assert {call["type"] for call in message["tool_calls"]} == {"function"}
    assert "\\u" not in functions[0]["arguments"]


@pytest.mark.parametrize(
    "message",
    [
        said("Answer: 3"),
        said(""),
        said(f"{ADD}\nThe result is 3."),
        said(f"1. ```json\n{ADD}\n```\n2. ```json\n{LOOK}\n```"),
        said(ADD.replace('"add"', '"subtract"')),
        said(f"{LOOK}\n{ADD.replace('add', 'subtract')}"),
        said(ADD[:-1]),
        said("{'name': 'add', 'arguments': {'a': {1, 2}}}"),
        said("{'name': ['add'], 'arguments': {}}"),
        said('{"name": "add", "arguments": "a"}'),
        said('{"name": "add", "arguments": {}, "result": 3}'),
        said('{"name": "add", "price": 3}'),
        said('{"name": "add"}'),
        said(ADD + "{1}"),
        said('{"name": "add", "arguments": ' + "[" * 100_000),
        said('{"name": "add", "arguments": {"a": ' + "}" * 100_000),
        said(ADD, tool_calls=[{"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}]),
    ],
)
def test_any_other_text_stays_as_it_is(message: dict[str, Any]) -> None:
    assert read(message, TOOLS) is message
    assert read(said(ADD), []) == said(ADD)


@pytest.mark.parametrize(
    "text",
    [
        ADD,
        f"I add.\n```json\n{ADD}\n```",
        f"<tool_call>\n{ADD}\n</tool_call>\n<tool_call>\n{LOOK}\n</tool_call>",
        f"I add.\n<tool_call>\n{ADD}\n</tool_call>\n",
        "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>",
        "<tool_call>add\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n</tool_call>",
        '<function=add>{"a": 1}</function>',
        f"[TOOL_CALLS][{ADD}]",
        f"[{ADD}, {LOOK}]",
        '[TOOL_CALLS]add[ARGS]{"a": 1}',
        'add{"a": 1}',
        '<|python_tag|>{"name": "add", "parameters": {"a": 1}}',
        '{"type": "function", "name": "add", "parameters": {"a": 1}}',
        f"<|tool_call|>[{ADD}]<|/tool_call|>",
        "[add(a=1, b=2), look_up(sku='G101')]",
        '<|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>{"a": 1}<|tool_call_end|>',
        '<minimax:tool_call>\n<invoke name="add">\n<parameter name="a">1</parameter>\n</invoke>\n</minimax:tool_call>',
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{}\n```<｜tool▁call▁end｜>",
    ],
)
def test_calls_that_a_server_should_have_read_are_seen(text: str) -> None:
    assert "add" in called(text, TOOLS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Answer: 3",
        f"You write <tool_call>{ADD}</tool_call>, and the server reads it.",
        f"You write\n```json\n{ADD}\n```\nand get 3.",
        "You write `<function=add>`",
        "Mark it with <function=NAME>",
        '{"name": "Ada", "arguments": {}}',
        '{"name": "add", "price": 3}',
        "<tool_call>subtract</tool_call>",
        "add(1, 2)",
        "{1, 2}",
        "[1, 2]",
        "[add]",
        "int main() {\n  return add(1, 2);\n}",
        "[" * 100_000,
        "add" + "{" * 100_000,
    ],
)
def test_what_is_no_call_of_a_tool_is_an_answer(text: str) -> None:
    assert called(text, TOOLS) == set()
    assert called(ADD, []) == set()
