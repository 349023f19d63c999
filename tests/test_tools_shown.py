"""What the student's template leaves out of the tools, and schemas that cost more than they are worth."""

from dataclasses import replace

import pytest
from families import bundled
from good_rows import found, tokenizer
from rollout_records import rollout

from distill.dataset import convert
from distill.student.shown import offered
from distill.student.template import compile_template


@pytest.mark.parametrize(("template", "lacks"), [
    ("{{ tools | tojson }}{{ messages[0].content }}", None),
    ("{{ messages[0].content }}", "lacks lookup_item, sku"),
    ("{% for t in tools %}{{ t.function.name }}{% endfor %}", "lacks sku; /tools/1: the rendered prompt lacks a, b"),
    ("{{ raise_exception('two messages, please') }}", None),
])  # fmt: skip
def test_tools_that_the_template_drops_are_named(template, lacks):
    row = convert.row(rollout(2))
    row["tools"][1]["function"]["name"] = "CALC"
    student = tokenizer(template)
    fault = found("tools_shown", row, tokenizer=student)
    assert fault is None if lacks is None else lacks in fault.detail


TYPED = {
    "type": "object",
    "properties": {
        "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "color": {"$ref": "#/$defs/Color"},
        "spots": {"type": "array", "items": {"type": "object", "properties": {"at": {"$ref": "#/$defs/Tree"}}}},
        "unit": {"const": "boolean"},
        "name": {"type": ["string", "null"]},
        "free": {},
    },
    "$defs": {
        "Color": {"type": "string", "enum": ["other"]},
        "Tree": {"type": "object", "properties": {"value": {"type": "boolean"}, "next": {"$ref": "#/$defs/Tree"}}},
    },
}
FIELDS = "{% for t in tools %}f{% for k, v in t.function.parameters.properties.items() %}"
ENDS = "{% endfor %}{% endfor %}{{ messages[0].content }}"


@pytest.mark.parametrize(("template", "lacks"), [
    ("{{ tools | tojson(indent=1) }}{{ messages[0].content }}", None),
    (bundled("smollm2"), None),
    (FIELDS + "{{ k }}" + ENDS, "limit, color (its enum), spots.at.value, unit (its const), name"),
    (FIELDS + "{{ k }}: {{ v.type }} {{ v.const }} " + ENDS, "limit, color (its enum), spots.at.value"),
    (FIELDS + "{{ k }}: {{ v | tojson }} " + ENDS, "color (its enum), spots.at.value"),  # without the definitions
])  # fmt: skip
def test_types_that_the_template_drops_are_named(template, lacks):
    row = convert.row(rollout(2))
    row["tools"] = [{"type": "function", "function": {"name": "f", "description": "", "parameters": TYPED}}]
    student = tokenizer(template)
    fault = found("tools_shown", row, tokenizer=student)
    assert (fault and fault.detail) == (lacks and f"/tools/0: the rendered prompt lacks the type of {lacks}")


def test_a_tool_that_many_rows_offer_is_looked_at_once():
    rendered: list[int] = []
    compiled = compile_template(bundled("smollm2"))

    def text(messages, tools, prompt):
        rendered.append(len(tools))
        return compiled(messages=messages, tools=tools, add_generation_prompt=prompt)

    student = replace(tokenizer(""), text=text)
    tools = [
        {"type": "function", "function": {"name": f"f{number}", "description": "", "parameters": TYPED}}
        for number in range(3)
    ]
    alone = []
    for place in range(3):
        row = convert.row(rollout(2)) | {"tools": [*tools[place:], *tools[:place]]}
        assert found("tools_shown", row, tokenizer=student) is None
        alone.append(rendered.count(1))
    assert alone[0] > 3 and alone == [alone[0]] * 3, "in another order, the tools are the same"


def test_a_schema_that_is_none_is_told_with_its_place():
    row = convert.row(rollout(2))
    parameters = row["tools"][0]["function"]["parameters"]
    parameters["properties"] = {"sku": {"type": "str"}}
    assert 'JSON Schema: /properties/sku/type: "str" is not' in found("calls", row).detail
    parameters["properties"] = None
    assert "JSON Schema: /properties: null is not" in found("calls", row).detail
    assert found("tools_shown", row, tokenizer=tokenizer("{{ tools | tojson }}{{ messages[0].content }}")) is None


def nested(levels: int) -> dict:
    schema: dict = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize("levels", [30, 400, 990])
@pytest.mark.parametrize("family", ["smollm2", "qwen3"])
def test_a_hostile_schema_costs_its_row_at_most(family, levels):
    """Definitions that name each other, which a template could follow without end, and one nested as deep as JSON goes."""
    row = convert.row(rollout(2))
    fields = {f"f{number}": {"$ref": f"#/$defs/B{number}"} for number in range(12)}
    definitions = {f"B{number}": {"type": "object", "properties": fields} for number in range(12)}
    properties = {"each": {"$ref": "#/$defs/B0"}, "deep": nested(levels)}
    parameters = {"type": "object", "properties": properties, "$defs": definitions}
    row["tools"] = [{"type": "function", "function": {"name": "f", "description": "", "parameters": parameters}}]
    student = tokenizer(bundled(family))
    found("tools_shown", row, tokenizer=student)
    text = offered(row["tools"], student)
    assert text is None or len(text) < 100_000
