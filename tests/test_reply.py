"""What a template wrote is read back as it was; what a student garbles is kept as it wrote it."""

import json
from typing import Any

import pytest
from conversations import WORDS, conversations, serving
from families import AS_CODE, AT_ONCE, FAMILIES, SILENT, TYPED_BY_SCHEMA, bundled, own, write_tokenizer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_rows import TOOLS, as_row, call

from distill.records.faults import InputError
from distill.student.render import render
from distill.student.served_messages import as_templates_want
from distill.student.serving.forced_call import openings
from distill.student.serving.reply import form
from distill.student.serving.stream import Stream
from distill.student.tokenizer import Tokenizer, read_tokenizer

DEEP = "[" * 5000


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = tmp_path_factory.mktemp("tokenizers")
    return lambda kind, name: read_tokenizer(write_tokenizer(place / name, name), kind(name))


def turn(tokenizer: Tokenizer, conversation: dict[str, Any], place: int) -> str:
    """What the student would write as the message at `place`, without the token that ends it."""
    said = serving(conversation["messages"][: place + 1])
    prompt = tokenizer.text(said[:-1], conversation["tools"], True)
    text = tokenizer.text(said, conversation["tools"], False)[len(prompt) :].rstrip()
    return text[: text.rindex("<")]


@pytest.mark.parametrize(("kind", "family"), FAMILIES)
def test_what_the_template_writes_is_read_back(kind, family, tokenizers):
    tokenizer = tokenizers(kind, family)
    reader = form(tokenizer)
    keeps_text = not family.startswith("llama3_")  # those drop the text beside a call

    @given(conversations(2 if kind is bundled else AT_ONCE.get(family, 2)))
    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    def compare(conversation: dict[str, Any]) -> None:
        for place, message in enumerate(conversation["messages"]):
            if message["role"] != "assistant":
                continue
            read = reader.read(turn(tokenizer, conversation, place), conversation["tools"])
            wanted, given = message.get("tool_calls", []), read.get("tool_calls", [])
            assert [call["function"]["name"] for call in given] == [call["function"]["name"] for call in wanted]
            assert [json.loads(call["function"]["arguments"]) for call in given] == [
                json.loads(call["function"]["arguments"]) for call in wanted
            ]
            if keeps_text or not wanted:
                assert read["content"].strip() == message["content"].strip()
            if reader.thought:
                assert read.get("reasoning_content", "").strip() == message.get("reasoning_content", "").strip()

    compare()


@pytest.mark.parametrize(("kind", "family"), [*FAMILIES, *((own, name) for name in (*TYPED_BY_SCHEMA, *AS_CODE))])
def test_what_is_sure_of_a_turn_stays_true_wherever_it_ends(kind, family, tokenizers):
    tokenizer = tokenizers(kind, family)
    reader = form(tokenizer)
    sooner = 0

    @given(conversations(1), st.data())
    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    def compare(conversation: dict[str, Any], data: st.DataObject) -> None:
        nonlocal sooner
        if family in SILENT:  # those say no text beside a call
            bare = [m | {"content": ""} if m.get("tool_calls") else m for m in conversation["messages"]]
            conversation = conversation | {"messages": bare}
        messages, tools = conversation["messages"], conversation["tools"]
        place = data.draw(st.sampled_from([n for n, message in enumerate(messages) if message["role"] == "assistant"]))
        text = turn(tokenizer, conversation, place) + data.draw(st.sampled_from(("", " <", "<tool_", "\n\n", "{")))
        start = data.draw(st.integers(0, len(text)))
        stop = data.draw(st.sampled_from(("\0", text[start : start + 3] or "\0")))
        stream = Stream(reader, tokenizer.text(serving(messages[:place]), tools, True), ["never said", stop])
        heard = [stream.sure(text[:n]) for n in range(len(text) + 1)]
        end = text.find(stop) if stop in text else len(text)
        for n in {*range(0, len(text), 7), end, len(text)}:
            whole = reader.read(text[: min(n, end)], tools)
            for sure in heard[: n + 1]:
                for name, value in sure.items():
                    assert whole.get(name, "").startswith(value), (sure, whole)
        sooner += any("content" in sure for sure in heard[: len(text) - 1])

    compare()
    assert sooner or family == "gemma4"  # its texts wait for a thought, which its turns without calls do not have


def test_text_waits_for_the_end_of_a_thought_unless_the_prompt_has_it(tokenizers):
    reader = form(tokenizers(own, "qwen3"))
    open_, closed = (Stream(reader, f"<|im_start|>assistant\n{end}", []) for end in ("", "<think>\n\n</think>\n\n"))
    assert open_.sure("It is ") == {"role": "assistant"}
    assert open_.sure("<think>\nHm.\n</think>\n\nIt ") == {
        "role": "assistant", "reasoning_content": "Hm.", "content": "It",
    }  # fmt: skip
    for said in ("It is ", "It is <tool_", "It is \ufffd"):  # the last is half a character, as decoders have it
        assert closed.sure(said) == {"role": "assistant", "content": "It is"}


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ('<tool_call>{"name":"f","arguments":{"a": 1}}</tool_call>', [("f", '{"a": 1}')]),
        ('Well.\n<tool_call>\n{"name": "f", "arguments": {"a": }}\n</tool_call>', [("f", '{"a": }')]),
        ('<tool_call>\n{"name": "f", "arguments": {"a": "1', [("f", '{"a": "1')]),
        (
            '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>\n<tool_call>{"name": "g", "arguments": {"b": "}"}}',
            [("f", "{}"), ("g", '{"b": "}"}')],
        ),
        (f'<tool_call>\n{{"name": "f", "arguments": {{"a": {DEEP}', [("f", f'{{"a": {DEEP}')]),
        ("<tool_call>\nnothing\n</tool_call>", []),
        ("f(a=1)", []),
    ],
)
def test_garbled_calls_are_kept_as_they_are(text, calls, tokenizers):
    read = form(tokenizers(own, "qwen3")).read(f"<think>\nHm\n</think>\n\n{text}", [])
    assert [tuple(call["function"].values()) for call in read.get("tool_calls", [])] == calls
    assert read["reasoning_content"] == "Hm"
    assert [call["id"] for call in read.get("tool_calls", [])] == [f"call_{n + 1}" for n in range(len(calls))]


def test_special_tokens_are_no_text(tokenizers):
    read = form(tokenizers(own, "llama3_1")).read('<|begin_of_text|>{"name": "f", "parameters": {}}', [])
    assert read["content"] == "" and read["tool_calls"][0]["function"]["name"] == "f"


TYPED = {
    "words": ({"type": "string"}, WORDS),
    "count": ({"type": "integer"}, st.integers(-(2**53), 2**53)),
    "sure": ({"type": "boolean"}, st.booleans()),
    "many": ({"type": "array"}, st.lists(st.one_of(WORDS, st.integers(0, 9)), max_size=2)),
    "one": ({"enum": ["5", "true"]}, st.sampled_from(["5", "true"])),
    "perhaps": ({"anyOf": [{"type": "string"}, {"type": "null"}]}, st.one_of(st.none(), st.just("7"))),
    "free": ({}, st.dictionaries(st.sampled_from(["k", "one_2"]), st.integers() | WORDS, max_size=2)),
}
OFFERED = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "-",
            "parameters": {"type": "object", "properties": {key: schema for key, (schema, _) in TYPED.items()}},
        },
    }
    for name in ("f", "g.h")
]
CALLS = st.tuples(
    st.sampled_from(["f", "g.h"]), st.fixed_dictionaries({}, optional={k: v for k, (_, v) in TYPED.items()})
)


@pytest.mark.parametrize("family", TYPED_BY_SCHEMA + AS_CODE)
def test_arguments_that_are_no_json_are_read_as_the_schema_says(family, tokenizers):
    tokenizer = tokenizers(own, family)
    reader = form(tokenizer)

    @given(st.lists(CALLS, min_size=1, max_size=2))
    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    def compare(made: list[tuple[str, dict[str, Any]]]) -> None:
        calls = [{"type": "function", "function": {"name": name, "arguments": given}} for name, given in made]
        question = [{"role": "user", "content": "?"}]
        prompt = tokenizer.text(question, OFFERED, True)
        beside = "" if family in SILENT else "Let me see."
        said = [*question, {"role": "assistant", "content": beside, "tool_calls": calls}]
        read = reader.read(tokenizer.text(said, OFFERED, False)[len(prompt) :], OFFERED)
        found = [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in read["tool_calls"]]
        assert found == made
        assert read["content"].strip() == beside

    compare()


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("[f(a='(1 + 2) * 3', b=[1, 'x']), g()]", [("f", '{"a": "(1 + 2) * 3", "b": [1, "x"]}'), ("g", "{}")]),
        ("[f(a='x IN ('y', 'z')'), g()]", [("f", "{\"a\": \"x IN ('y', 'z')\"}"), ("g", "{}")]),
        ("[f(a='new X(Y('z'))', b=1)]", [("f", '{"a": "new X(Y(\'z\'))", "b": 1}')]),
        ("[f($a='x', user-id=5)]", [("f", '{"$a": "x", "user-id": 5}')]),
        ("[f(a='it's', b=true)]", [("f", '{"a": "it\'s", "b": true}')]),
        ('[f(a="x", b=None)]', [("f", '{"a": "x", "b": null}')]),
        ("[f('x')]", [("f", "'x'")]),
        ("[f(a='x'", [("f", "a='x'")]),
        ("[f(a={1, 2}), g(b=1)]", [("f", "a={1, 2}), g(b=1")]),
        (f"[f(a={DEEP})]", [("f", f"a={DEEP}")]),
        ("f(a=1)", []),
    ],
)
def test_calls_in_pythons_way(text, calls, tokenizers):
    read = form(tokenizers(own, "lfm2_2_5")).read(f"<think>Hm</think><|tool_call_start|>{text}<|tool_call_end|>", [])
    found = [tuple(call["function"].values()) for call in read.get("tool_calls", [])]
    assert [(name, arguments.partition(")]<|")[0].partition("<|")[0]) for name, arguments in found] == calls
    assert read["reasoning_content"] == "Hm"


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ('call:f{a:<|"|>b:c, {d}<|"|>,n:1.5}<tool_call|>', [("f", '{"a": "b:c, {d}", "n": 1.5}')]),
        (
            "call:f{x:{a:[true,null]}}<tool_call|><|tool_call>call:g{}<tool_call|>",
            [("f", '{"x": {"a": [true, null]}}'), ("g", "{}")],
        ),
        ('call:f{a:<|"|>b}<tool_call|>', [("f", '{a:<|"|>b}')]),
        ("call:f{a:b}<tool_call|>", [("f", "{a:b}")]),
        (f"call:f{{a:{DEEP}", [("f", f"{{a:{DEEP}")]),
        ("call:f(a=1)<tool_call|>", []),
    ],
)
def test_calls_with_bare_keys(text, calls, tokenizers):
    read = form(tokenizers(own, "gemma4_v5")).read(f"<|channel>thought\nHm\n<channel|><|tool_call>{text}", [])
    assert [tuple(call["function"].values()) for call in read.get("tool_calls", [])] == calls
    assert read["reasoning_content"] == "Hm"


@pytest.mark.parametrize("family", ["gemma4", "gemma4_v3", "gemma4_v4"])
def test_thoughts_that_stand_in_turns_with_calls_only_are_read(family, tokenizers):
    tokenizer = tokenizers(own, family)
    asked = {
        "role": "assistant",
        "content": "",
        "reasoning_content": "Hm\nso",
        "tool_calls": [call(1, "calculator", {})],
    }
    conversation = as_row([{"role": "user", "content": "?"}, asked], TOOLS)
    read = form(tokenizer).read(turn(tokenizer, conversation, 1), TOOLS)
    assert (read["content"], read["reasoning_content"]) == ("", "Hm\nso") and len(read["tool_calls"]) == 1


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("<function=f>\n<parameter=count>\n1\n</parameter>\n</function>", [("f", '{"count": 1}')]),
        ("<function=f><parameter=count>some</parameter></function>", [("f", '{"count": "some"}')]),
        (f"<function=f><parameter=count>{DEEP}</parameter></function>", [("f", f'{{"count": "{DEEP}"}}')]),
        ("<function=f>\n<parameter=sure>\nfalse\n</parameter>\n</function>", [("f", '{"sure": false}')]),
        ("<function=f>\n</function>", [("f", "{}")]),
        ("<function=x>\n<parameter=n>\n1\n</parameter>\n</function>", [("x", '{"n": 1}')]),
        ("<function=f>\n<parameter=count>\n1", [("f", "<parameter=count>\n1\n</tool_call>")]),
        (
            "<function=f>\ncount=1\n</function>\n</tool_call>\n<tool_call>\n<function=f>\n</function>",
            [("f", "count=1\n"), ("f", "{}")],
        ),
    ],
)
def test_tags_that_a_student_garbles_are_kept_as_they_are(text, calls, tokenizers):
    read = form(tokenizers(own, "qwen3_5_think")).read(f"Hm\n</think>\n\n<tool_call>\n{text}\n</tool_call>", OFFERED)
    found = [(call["function"]["name"], call["function"]["arguments"]) for call in read["tool_calls"]]
    assert [(name, arguments.strip()) for name, arguments in found] == [(name, said.strip()) for name, said in calls]
    assert read["reasoning_content"] == "Hm"


@pytest.mark.parametrize("family", ["lfm2", "phi3", "llama3", "gemma3", "qwen2_5_vl"])
def test_without_a_known_form_of_calls_every_text_is_an_answer(family, tokenizers):
    """Such a student can be trained and served where no tools are."""
    reader = form(tokenizers(own, family))
    assert reader.calls is None
    text = 'Answer: <tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    assert reader.read(text, []) == {"role": "assistant", "content": text}
    assert Stream(reader, "", []).sure(text) == {"role": "assistant", "content": text}


def test_a_template_that_renders_no_turn_is_refused(tokenizers):
    with pytest.raises(InputError, match="template cannot render a question and its answer"):
        form(tokenizers(own, "idefics3"))


LISTED = """{{ tools | tojson }}{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}{% for call in m.tool_calls %}{{ '[TOOL_CALLS] [' if loop.first else ', ' }}ONE{{ ']' if loop.last }}
{%- endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""Writes the calls of a turn as one list, as Granite 3 and Mistral do."""
NAMED = '"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}'
ID = '"id": "{{ call.id }}"'


@pytest.mark.parametrize("one", [f"{{{NAMED}}}", f"{{{NAMED}, {ID}}}", f"{{{ID}, {NAMED}}}"])
def test_calls_in_a_list_are_all_read(one, tokenizers):
    tokenizer = tokenizers(lambda _: LISTED.replace("ONE", one), "qwen2_5")

    @given(conversations(3))
    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    def compare(conversation: dict[str, Any]) -> None:
        for place, message in enumerate(conversation["messages"]):
            if message["role"] == "assistant":
                said = message.get("tool_calls", [])
                read = form(tokenizer).read(turn(tokenizer, conversation, place), conversation["tools"])
                found = [call["function"] for call in read.get("tool_calls", [])]
                assert [call["name"] for call in found] == [call["function"]["name"] for call in said]
                assert [json.loads(call["arguments"]) for call in found] == [
                    json.loads(call["function"]["arguments"]) for call in said
                ]

    compare()


NINE = "{{ raise_exception('not nine') if call.id | length != 9 }}{{ call.id }}"


def test_ids_are_the_same_in_training_and_serving_and_such_as_mistral_demands(tokenizers):
    one = f'{{{NAMED}, "id": "{NINE}"}}'
    tokenizer = tokenizers(lambda _: LISTED.replace("ONE", one), "qwen2_5")
    asked = {"role": "user", "content": "?"}

    def talk(*ids: str) -> list[dict[str, Any]]:
        said = [
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [call(0, "f", {"a": n}) | {"id": ids[n]} for n in (0, 1)],
            }
        ]
        results = [{"role": "tool", "tool_call_id": ids[n], "content": f"result {n}"} for n in (1, 0)]
        return [asked, *said, *results, {"role": "assistant", "content": "Answer: 1"}]

    for ids in (("call_1", "call_2"), ("call_Zx81PqM2", "toolu_01")):
        trained = render(as_row(talk(*ids), TOOLS), tokenizer)
        assert trained == render(as_row(talk("a", "b"), TOOLS), tokenizer)
        text = tokenizer.decode(trained[-1].input_ids)
        assert (
            '"id": "call00001"' in text
            and '"id": "call00002"' in text
            and text.index("result 0") < text.index("result 1")
        )
    assert [found["function"]["arguments"] for found in form(tokenizer).read(text, [])["tool_calls"]] == [
        '{"a": 0}',
        '{"a": 1}',
    ]
    begun = openings(tokenizer, list(as_templates_want(talk("a", "b"))), TOOLS, ["f"])
    assert tokenizer.decode(begun[0]).startswith('[TOOL_CALLS] [{"name": "f", "arguments":')


def test_where_only_some_calls_of_a_turn_could_be_read_none_is(tokenizers):
    numbered = LISTED.replace("[TOOL_CALLS] [", "").replace("ONE", f"<{{{{ loop.index }}}}>{{{NAMED}}}")
    assert form(tokenizers(lambda _: numbered, "qwen2_5")).calls is None


def test_a_template_that_writes_one_call_a_turn_is_read(tokenizers):
    """gpt-oss's drops the others without a word, which `render` refuses."""
    assert form(tokenizers(own, "gptoss")).calls


def test_a_call_is_read_as_the_tokens_spell_it(tmp_path):
    """Some tokenizers begin each piece of a text with a space."""
    from tokenizers import Tokenizer as Encoder
    from tokenizers import decoders, normalizers

    place = write_tokenizer(tmp_path / "spaced", "qwen2_5")
    encoder = Encoder.from_file(str(place / "tokenizer.json"))
    encoder.normalizer = normalizers.Prepend(" ")
    encoder.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    encoder.save(str(place / "tokenizer.json"))
    tokenizer = read_tokenizer(place, LISTED.replace("[TOOL_CALLS] [", "<|tool_call>[").replace("ONE", f"{{{NAMED}}}"))
    text = tokenizer.decode(tokenizer.encode('<|tool_call>[{"name": "f", "arguments": {"a": 1}}]'))
    assert text.startswith("<|tool_call> [")
    [call] = form(tokenizer).read(text, [])["tool_calls"]
    assert call["function"] == {"name": "f", "arguments": '{"a": 1}'}
