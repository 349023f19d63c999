"""Law 4: whatever the conversation, each assistant turn is trained in the context in which it will be served."""

import json
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conversations import assert_trained_as_served, conversations, serving, serving_tools, spans
from families import bundled, own
from hypothesis import HealthCheck, given, settings
from tiny_rows import SYSTEM, TOOLS, as_row, call, row
from tiny_student import write_gguf

from distill.records.faults import InputError
from distill.student.render import IGNORED, count_last_turn, count_tokens, render
from distill.student.served_messages import as_said
from distill.student.shown import has_place_for_thoughts
from distill.student.template import Unrenderable, compile_template
from distill.student.tokenizer import TEMPLATES, Tokenizer, load_tokenizer
from distill.student.training.examples import sequences
from distill.teacher.embedded.llama_server import Endpoint, serve

SMOLLM2 = TEMPLATES / "smollm2.jinja"
# A template that drops what was thought in earlier turns, as Qwen3's does.
FORGETFUL = """{%- for m in messages -%}
{{- '<|im_start|>' + m.role + '\n' -}}
{%- if m.role == 'assistant' and loop.last and not add_generation_prompt %}{{ '<think></think>' }}{% endif -%}
{{- m.content -}}
{%- for c in m.tool_calls or [] %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor -%}
{{- '<|im_end|>\n' -}}
{%- endfor -%}
{%- for tool in tools or [] if false %}{% endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif -%}"""


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="module")
def tokenizer(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILL_CACHE", str(tmp_path_factory.mktemp("cache")))
        return load_tokenizer(str(gguf), str(SMOLLM2))


def with_template(tokenizer: Tokenizer, text: str) -> Tokenizer:
    """The same tokenizer with another template."""
    compiled = compile_template(text)
    said = lambda m, t, add: compiled(messages=m, tools=t, add_generation_prompt=add)  # noqa: E731
    return replace(tokenizer, template=text, text=said)


@given(conversations())
@settings(max_examples=150)
def test_every_turn_is_trained_in_its_serving_context(tokenizer, conversation):
    assert_trained_as_served(conversation, tokenizer)


@given(conversations())
@settings(max_examples=50)
def test_also_when_the_template_rewrites_history(tokenizer, conversation):
    for message in conversation["messages"]:
        message.pop("weight", None)
    conversation["tools"] = []
    forgetful = with_template(tokenizer, FORGETFUL)
    assert_trained_as_served(conversation, forgetful)
    assert len(render(conversation, forgetful)) == sum(m["role"] == "assistant" for m in conversation["messages"])


@pytest.mark.parametrize(
    "template",
    [
        *(bundled(family) for family in ("smollm2", "qwen2.5-coder", "qwen3", "llama3", "gemma3")),
        own("qwen3"),
        own("qwen2_5"),
    ],
    ids=["smollm2", "qwen2.5-coder", "qwen3", "llama3", "gemma3", "own qwen3", "own qwen2_5"],
)
def test_the_server_renders_the_same_prompt(template, gguf, tokenizer, tmp_path):
    """llama.cpp's own rendering, byte for byte, of what a client sends before each turn."""
    (tmp_path / "template.jinja").write_text(template)
    ours = with_template(tokenizer, template)
    with serve(gguf, slots=1, context=512, template=tmp_path / "template.jinja") as endpoint:

        @given(conversations())
        @settings(max_examples=25, suppress_health_check=list(HealthCheck))
        def compare(conversation: dict[str, Any]) -> None:
            # What a client sends of earlier turns is what the server said they are.
            messages = [as_said({k: v for k, v in m.items() if k != "weight"}) for m in conversation["messages"]]
            prompt = ours.text(serving(messages[:-1]), serving_tools(TOOLS), True)
            theirs = server_prompt(endpoint, messages[:-1], TOOLS)
            assert theirs.removeprefix("<|im_start|>" if "bos_token" in template else "") == prompt

        compare()


DEFINED = {
    "Color": {"type": "string", "enum": ["red", "blue"]},
    "Spot": {"type": "object", "properties": {"items": {"type": "number"}, "in": {"$ref": "#/$defs/Color"}}},
    "Tree": {"type": "object", "properties": {"of": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}}},
}
NULL = {"type": "null"}
SHORT_TYPES = [
    ({"type": "string", "description": "A town."}, "string"),
    ({"type": "string", "enum": ["price", "stock"]}, "price|stock"),
    ({"type": "array"}, "array"),
    ({"type": "object"}, "object"),
    ({}, "any"),
    ({"enum": [True, "auto", None, 1.5]}, "true|auto|null|1.5"),
    ({"anyOf": [{"type": "integer"}, NULL], "default": None}, "integer|null"),
    ({"type": ["string", "null"]}, "string|null"),
    ({"$ref": "#/$defs/Color"}, "red|blue"),
    ({"anyOf": [{"$ref": "#/$defs/Spot"}, NULL]}, "{items: number, in: red|blue}|null"),
    ({"$ref": "#/$defs/Tree"}, "{of: array[Tree]}"),
    ({"allOf": [{"$ref": "#/$defs/Color"}]}, "red|blue"),
    ({"oneOf": [{"const": "x"}, {"const": None}, {"const": 2}]}, "x|null|2"),
    ({"type": ["array", "null"], "items": {"anyOf": [{"type": "integer"}, NULL]}}, "array[integer|null]|null"),
    ({"type": "object", "additionalProperties": {"type": "integer"}}, "object[integer]"),
    ({"type": "object", "additionalProperties": True}, "object"),
    ({"properties": {"a": {"type": "string"}}}, "{a: string}"),
    ({"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, "object"),
]


def test_the_short_template_tells_the_type_of_every_parameter_as_the_server_does(gguf):
    function = {"name": "f", "description": "Does.", "parameters": {
        "type": "object", "properties": {f"p{place}": schema for place, (schema, _) in enumerate(SHORT_TYPES)},
        "$defs": DEFINED,
    }}  # fmt: skip
    tools, asked = [{"type": "function", "function": function}], [{"role": "user", "content": "Go."}]
    types = ", ".join(f"p{place}: {words}" for place, (_, words) in enumerate(SHORT_TYPES))
    ours = compile_template(SMOLLM2.read_text())(messages=asked, tools=tools, add_generation_prompt=True)
    assert f"\nf({types}): Does.<|im_end|>" in ours
    with serve(gguf, slots=1, context=512, template=SMOLLM2) as endpoint:
        assert server_prompt(endpoint, asked, tools) == ours


def server_prompt(endpoint: Endpoint, messages: list[dict], tools: list[dict]) -> str:
    """llama.cpp's own rendering of what a client sends."""
    body = json.dumps({"messages": messages, "tools": tools}).encode()
    url = endpoint.base_url.removesuffix("/v1") + "/apply-template"
    request = urllib.request.Request(url, body, {"Authorization": f"Bearer {endpoint.api_key}"})
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)["prompt"]


@given(conversations())
@settings(max_examples=20)
def test_transformers_renders_the_same_text(conversation):
    from transformers.utils.chat_template_utils import render_jinja_template

    text = SMOLLM2.read_text()
    messages = serving(conversation["messages"])
    theirs, _ = render_jinja_template([messages], tools=TOOLS, chat_template=text, add_generation_prompt=True)
    assert compile_template(text)(messages=messages, tools=TOOLS, add_generation_prompt=True) == theirs[0]


def test_what_is_learned_of_a_row(tokenizer):
    [sequence] = render(row(3), tokenizer)
    learned = [sequence.input_ids[start:end] for start, end in spans(sequence)]
    assert learned == [
        tokenizer.encode('<call>lookup_item{"sku":"G103"}</call><|im_end|>'),
        tokenizer.encode("Answer: 5<|im_end|>"),
    ]
    assert count_tokens(row(3), tokenizer) == len(sequence.input_ids)


def test_weight_0_stays_in_context(tokenizer):
    masked = row(3)
    masked["messages"][2]["weight"] = 0
    [sequence], [plain] = render(masked, tokenizer), render(row(3), tokenizer)
    assert sequence.input_ids == plain.input_ids
    assert [sequence.input_ids[a:b] for a, b in spans(sequence)] == [tokenizer.encode("Answer: 5<|im_end|>")]


def test_a_row_with_nothing_to_learn_has_no_sequence(tokenizer):
    masked = row(3)
    for place in (2, 4):
        masked["messages"][place]["weight"] = 0
    assert (
        render(masked, tokenizer) == [] and count_tokens(masked, tokenizer) == count_last_turn(masked, tokenizer) == 0
    )
    with pytest.raises(Unrenderable, match="^/messages: nothing to learn from"):
        sequences(masked, tokenizer, 1024)


def test_only_turns_that_are_learned_have_to_be_servable(tokenizer):
    """A conversation may begin with a greeting, and a masked call may be broken: it is served as a call without arguments."""
    greeting = {"role": "assistant", "content": "How can I help?"}
    talk = row(3)["messages"]
    with pytest.raises(Unrenderable, match="^/messages/0: the assistant begins"):
        render(as_row([greeting, *talk], TOOLS), tokenizer)
    [sequence] = render(as_row([greeting | {"weight": 0}, *talk], TOOLS), tokenizer)
    assert len(spans(sequence)) == 2 and "How can I help?" in tokenizer.decode(sequence.input_ids)
    broken, empty = row(3), row(3)
    for one, arguments in ((broken, '{"sku": '), (empty, "{}")):
        one["messages"][2] |= {"weight": 0, "tool_calls": [call(0, "lookup_item", arguments)]}
    assert render(broken, tokenizer) == render(empty, tokenizer)


def test_the_last_turn_is_the_last_that_is_learned(tokenizer):
    forgetful = with_template(tokenizer, FORGETFUL)
    talk = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "Answer: 1"}]
    unlearned = [{"role": "user", "content": "? " * 50}, {"role": "assistant", "content": "Answer: 2", "weight": 0}]
    rows = as_row(talk, []), as_row([*talk, *unlearned], [])
    assert [count_last_turn(one, forgetful) for one in rows] == [count_tokens(one, forgetful) for one in rows]


def test_a_null_content_is_an_empty_one(tokenizer):
    silent = row(3)
    silent["messages"][2]["content"] = None
    assert render(silent, tokenizer) == render(row(3), tokenizer)


def test_a_call_without_arguments_text_has_none(tokenizer):
    spoken, silent = row(3), row(3)
    spoken["messages"][2]["tool_calls"], silent["messages"][2]["tool_calls"] = (
        [call(0, "lookup_item", text)] for text in ("{}", "")
    )
    assert render(silent, tokenizer) == render(spoken, tokenizer)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [('{"sku": ', "not JSON"), ('["G1"]', "not a JSON object"), ('{"n": NaN}', "not JSON: NaN is not a JSON number")],
)
def test_broken_arguments_are_named(tokenizer, arguments, said):
    broken = row(3)
    broken["messages"][2]["tool_calls"] = [call(0, "lookup_item", {"sku": "G1"}), call(1, "lookup_item", arguments)]
    with pytest.raises(Unrenderable, match=f"^/messages/2/tool_calls/1/function/arguments: {said}"):
        render(broken, tokenizer)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
            "drops the tools",
        ),
        (
            "{% for t in tools %}{{ t.function.name }}{% endfor %}{% for m in messages %}<|im_start|>{{ m.role }}\n"
            "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
            "drops the calls",
        ),
        (
            "{{ tools }}{% for m in messages %}{{ m.role }} {{ m.content }}{{ m.tool_calls }}\n{% endfor %}"
            "{% if add_generation_prompt %}assistant {% endif %}",
            "without an end-of-turn token",
        ),
        (
            "{{ tools }}{% for m in messages %}{{ m.role }} {{ m.content }}{{ m.tool_calls }}<|endoftext|>{% endfor %}"
            "{% if add_generation_prompt %}assistant {% endif %}",
            "at which no server stops",
        ),
        (
            "{{ tools }}{% for m in messages %}{{ m.role }} {{ m.tool_calls }}<|im_end|>{% endfor %}"
            "{% if add_generation_prompt %}bot {% endif %}",
            "does not begin this turn as its generation prompt does",
        ),
        ("{{ raise_exception('no tools here') }}", "the chat template refuses: no tools here"),
        ("{{ messages[0].content.nothing.here }}", "the chat template refuses"),
    ],
)
def test_a_template_that_would_teach_wrongly_is_refused(tokenizer, template, said):
    with pytest.raises(Unrenderable, match=said):
        render(row(3), with_template(tokenizer, template))


@pytest.mark.parametrize("place", [2, 4])
def test_the_token_that_ends_a_turn_is_not_learned_in_the_middle_of_one(tokenizer, place):
    """A teacher that explains a chat template writes it; served, the student would fall silent there."""
    shown = row(3)
    ending, asked = (
        {"content": "ChatML ends a turn with <|im_end|>."},
        [call(0, "calculator", {"expression": "<|im_end|>"})],
    )
    shown["messages"][1]["content"] += " <|im_end|>"
    shown["messages"][3]["content"] = "<|im_end|>"
    assert render(shown, tokenizer)
    shown["messages"][place] |= {"tool_calls": asked} if place == 2 else ending
    with pytest.raises(Unrenderable, match=rf"^/messages/{place}: holds <\|im_end\|>, at which a server stops"):
        render(shown, tokenizer)
    shown["messages"][place]["weight"] = 0
    assert render(shown, tokenizer)


def test_of_a_template_that_ends_the_turn_and_then_the_text_the_turn_is_learned(tokenizer):
    """Phi's do; the server stops at the end of the turn, and in a longer conversation nothing else is there."""
    ends_text = SMOLLM2.read_text() + "{% if not add_generation_prompt %}<|endoftext|>\n{% endif %}"
    stops = tokenizer.stops.union(tokenizer.encode("<|endoftext|>"))
    assert render(row(3), replace(with_template(tokenizer, ends_text), stops=stops)) == render(row(3), tokenizer)


PICKY = """{{ tools }}{% for m in messages %}{% if loop.index0 == 1 and m.role == 'assistant' and m.tool_calls is defined %}
{{- raise_exception('a call needs more before it') }}{% endif %}<|im_start|>{{ m.role }}
{{ '' if m.role == DROPPED else m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@pytest.mark.parametrize(
    ("dropped", "said"),
    [("tool", "/messages/4/content: .* drops the result"), ("nobody", "/messages/3/tool_calls: .* drops")],
)
def test_what_a_template_drops_is_found_where_it_refuses_a_short_conversation(tokenizer, dropped, said):
    calls = [call(1, "lookup_item", {"sku": "A"})]
    talk = [
        *({"role": role, "content": "Hm"} for role in ("user", "assistant", "user")),
        {"role": "assistant", "content": "", "tool_calls": calls} | ({"weight": 0} if dropped == "tool" else {}),
        {"role": "tool", "tool_call_id": "call_1", "content": "5"},
        {"role": "assistant", "content": "5"},
    ]
    with pytest.raises(Unrenderable, match=said):
        render(as_row(talk, TOOLS), with_template(tokenizer, PICKY.replace("DROPPED", repr(dropped))))


def test_to_look_for_what_a_template_drops_costs_little_in_a_long_row(tokenizer):
    def step(n: int) -> list[dict[str, Any]]:
        calling = {"role": "assistant", "content": "", "tool_calls": [call(n, "lookup_item", {"sku": "A"})]}
        return [calling, {"role": "tool", "tool_call_id": f"call_{n}", "content": "5"}]

    turns = 30
    steps = [message for n in range(turns) for message in step(n)]
    talk = as_row([{"role": "user", "content": "?"}, *steps, {"role": "assistant", "content": "5"}], TOOLS)
    rendered: list[int] = []

    def text(messages: list[dict], *others: Any) -> str:
        rendered.append(len(messages))
        return tokenizer.text(messages, *others)

    assert render(talk, replace(tokenizer, text=text)) == render(talk, tokenizer)
    prompts = [1 + 2 * n for n in range(turns + 1)]
    assert sum(rendered) < 1.3 * sum(2 * length + 1 for length in prompts), (
        "each turn's prompt, and the prompt with the turn"
    )


def test_a_template_file_that_is_missing_or_broken_is_named(gguf, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILL_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"student/template: nowhere\.jinja: there is no such file"):
        load_tokenizer(str(gguf), "nowhere.jinja")
    (tmp_path / "broken.jinja").write_text("\n{% for m in messages %}")
    with pytest.raises(InputError, match=r"params\.yaml: /student/template: .*broken\.jinja: line 2"):
        load_tokenizer(str(gguf), str(tmp_path / "broken.jinja"))
    with pytest.raises(InputError, match="has no chat template of its own"):
        load_tokenizer(str(gguf))


def test_the_system_text_is_that_of_the_row(tokenizer):
    assert (
        tokenizer.text([{"role": "system", "content": SYSTEM}], None, False)
        == f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
    )


def test_results_stand_in_the_order_of_their_calls(tokenizer):
    """Templates without ids tell the results of one turn apart by their order; clients may send them in any."""
    calls = [call(1, "lookup_item", {"sku": "A"}), call(2, "lookup_item", {"sku": "B"})]
    results = [
        {"role": "tool", "tool_call_id": one["id"], "content": text} for one, text in zip(calls, "12", strict=True)
    ]
    talk = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "", "tool_calls": calls}]
    end = {"role": "assistant", "content": "Answer: 3"}
    ordered, swapped = (as_row([*talk, *told, end], TOOLS) for told in (results, results[::-1]))
    assert render(swapped, tokenizer) == render(ordered, tokenizer)


def test_white_space_around_the_parts_of_a_turn_is_the_templates(tokenizer):
    """vLLM hands out what stands between a turn's parts with them; it comes back with the next question."""
    asked = row(3)["messages"][2] | {"content": "Let me check.", "reasoning_content": "I look it up."}
    raw = asked | {"content": "\n\nLet me check.\n", "reasoning_content": "\nI look it up.\n"}
    blank = asked | {"content": "\n\n", "reasoning_content": "\n\n"}
    assert as_said(raw) == asked
    assert as_said(blank) == {key: value for key, value in asked.items() if key != "reasoning_content"} | {
        "content": ""
    }
    code = {"role": "assistant", "content": "    return 1\n"}
    assert as_said(code) == code and as_said(raw | {"role": "user"}) == raw | {"role": "user"}


@pytest.mark.parametrize(("family", "place"), [("smollm2", False), ("qwen3", True)])
def test_thoughts_are_learned_where_the_template_has_a_place_for_them(tokenizer, family, place):
    student = with_template(tokenizer, (TEMPLATES / f"{family}.jinja").read_text())
    thoughtful = row(3)
    thoughtful["messages"][-1]["reasoning_content"] = "So I multiply."
    learned = "".join(
        student.decode([label for label in sequence.labels if label != IGNORED])
        for sequence in render(thoughtful, student)
    )
    assert has_place_for_thoughts(student) == ("So I multiply." in learned) == place


@pytest.mark.parametrize("calls", [{}, {"tool_calls": row(3)["messages"][2]["tool_calls"]}])
def test_a_thought_in_the_text_is_a_thought_to_the_qwen3_template(calls):
    """Datasets and servers without a parser leave it there; else an empty thought would be learned before it."""

    def rendered(**said: str) -> str:
        talk = [row(3)["messages"][1], {"role": "assistant", **said, **calls}, row(3)["messages"][1]]
        return compile_template(bundled("qwen3"))(messages=talk, tools=None, add_generation_prompt=True)

    assert rendered(content="<think>\nSo.\n</think>\n\n44") == rendered(content="44", reasoning_content="So.")
    for text in ("It ends with </think>.", "<think> opens a thought."):
        assert f"<think>\n\n</think>\n\n{text}" in rendered(content=text)
