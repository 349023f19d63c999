"""Law 4 for every family of students, with the template that its models have and with the one that is bundled."""

import json
from pathlib import Path
from typing import Any

import pytest
from conversations import assert_trained_as_served, conversations, serving, serving_tools
from families import AT_ONCE, SILENT, bundled, marks, own, write_tokenizer
from hypothesis import HealthCheck, example, given, settings
from tiny_rows import TOOLS, as_row, call, row

from distill.records.faults import InputError
from distill.student.render import render
from distill.student.template import STOPPED_CLOCK, Unrenderable
from distill.student.tokenizer import TEMPLATES, Tokenizer, load_tokenizer, mismatches, read_tokenizer, template_text

OWN = [
    "qwen2_5",
    "qwen3",
    "qwen3_instruct_2507",
    "llama3",
    "llama3_1",
    "llama3_2",
    "gemma3",
    "qwen3_5_think",
    "qwen3_6",
    "qwen3_8",
    "gemma4_v5",
    "lfm2_2_5",
]
BUNDLED = ["smollm2", "qwen2.5-coder", "qwen3", "llama3", "gemma3"]
SEVERAL = as_row(
    [
        {"role": "user", "content": " \tone?\n"},
        {"role": "assistant", "content": "Let me.", "tool_calls": [call(n, "calculator", {"é": [n]}) for n in (1, 2)]},
        {"role": "tool", "tool_call_id": "call_1", "content": "</think>\n"},
        {"role": "tool", "tool_call_id": "call_2", "content": "<tool_response>"},
        {"role": "assistant", "content": "Answer: \u2028 2", "reasoning_content": "\n thought\n"},
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": "<think>\n\n</think>\n\nYes. ", "weight": 0},
        {"role": "user", "content": "<|im_end|>"},
        {"role": "assistant", "content": "No"},
    ],
    TOOLS,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[str, Path] = {}

    def of(family: str) -> Path:
        return made.setdefault(family, write_tokenizer(tmp_path_factory.mktemp("tokenizer") / family, family))

    return of


def as_servers_do(tokenizer: Tokenizer, family: str, messages: list[dict], tools: list[dict]) -> str:
    """The prompt from transformers' own engine, which vLLM uses, clock and all."""
    from transformers.utils.chat_template_utils import render_jinja_template

    named = {"bos_token": bos} if (bos := marks(family)[0]) else {}
    texts, _ = render_jinja_template(
        [messages], tools=tools or None, chat_template=tokenizer.template, add_generation_prompt=True, **named
    )
    return texts[0]


@pytest.mark.parametrize(("kind", "family"), [(own, name) for name in OWN] + [(bundled, name) for name in BUNDLED])
def test_every_turn_is_trained_in_its_serving_context(kind, family, folder):
    tokenizer = read_tokenizer(folder(family), kind(family))
    at_once = 2 if kind is bundled else AT_ONCE.get(family, 2)

    silent = kind is own and family in SILENT

    @given(conversations(at_once, ("",)) if silent else conversations(at_once))
    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    def compare(conversation: dict[str, Any]) -> None:
        assert_trained_as_served(conversation, tokenizer)
        for place, message in enumerate(conversation["messages"]):
            if message["role"] == "assistant":
                before = serving(conversation["messages"][:place])
                tools = serving_tools(conversation["tools"])
                served = as_servers_do(tokenizer, family, before, tools)
                assert served.encode() == tokenizer.text(before, tools, True).encode()

    if at_once == 2 and not silent:
        compare = example(SEVERAL)(compare)
    compare()


@pytest.mark.parametrize("family", BUNDLED)
def test_a_bundled_template_makes_one_sequence_that_says_it_all(family, folder):
    [sequence] = render(SEVERAL, tokenizer := read_tokenizer(folder(family), bundled(family)))
    text = tokenizer.decode(sequence.input_ids)
    said = [message["content"] for message in SEVERAL["messages"]]
    said += ["lookup_item", "Gives name, price and stock", "sku", '{"é":']
    assert [part for part in said if part not in text.replace('": [', '":[').replace('{"é":[', '{"é":')] == []


def test_qwen3_is_split_where_its_own_template_forgets(folder):
    """Each turn is learned once, in the history that the model's own template leaves; no turn is cut."""
    tokenizer = read_tokenizer(folder("qwen3"), own("qwen3"))
    conversation = row(1)
    texts = [tokenizer.decode(sequence.input_ids) for sequence in render(conversation, tokenizer)]
    assert len(texts) == 2
    asked = '<tool_call>\n{"name": "lookup_item", "arguments": {"sku": "G101"}}\n</tool_call><|im_end|>'
    assert texts[0].endswith("<think>\n\n</think>\n\n" + asked)
    assert "<|im_start|>assistant\n<tool_call>" in texts[1] and texts[1].endswith("</think>\n\nAnswer: 3<|im_end|>")


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("llama3", "drops the tools"),
        ("gemma3", "roles must alternate|drops the tools"),
        ("llama3_1", "single tool-calls"),
        ("gemma4_v5", "^/messages/4: the chat template does not begin this turn as"),
    ],
)
def test_what_a_familys_own_template_cannot_say_is_refused(family, said, folder):
    with pytest.raises(Unrenderable, match=said):
        render(SEVERAL, read_tokenizer(folder(family), own(family)))


def test_a_template_that_drops_some_calls_or_a_result_is_refused(folder):
    start = "{{ tools }}{% for m in messages %}<|im_start|>{{ m.role }}\n"
    end = "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    first = start + "{{ m.content }}{{ m.tool_calls[0] if m.tool_calls }}" + end
    deaf = start + "{% if m.role != 'tool' %}{{ m.content }}{% endif %}{{ m.tool_calls }}" + end
    with pytest.raises(Unrenderable, match="^/messages/1/tool_calls: the chat template drops the calls"):
        render(SEVERAL, read_tokenizer(folder("qwen3"), first))
    with pytest.raises(Unrenderable, match="^/messages/3/content: the chat template drops the result"):
        render(SEVERAL, read_tokenizer(folder("qwen3"), deaf))


def test_a_template_that_tells_the_date_tells_the_same_one_every_day(folder):
    tokenizer = read_tokenizer(folder("llama3"), own("llama3_2"))
    assert tokenizer.template.startswith(STOPPED_CLOCK)
    question = [{"role": "user", "content": "?"}]
    assert "Today Date: 26 Jul 2024" in as_servers_do(tokenizer, "llama3_2", question, TOOLS)
    assert read_tokenizer(folder("llama3"), tokenizer.template).template == tokenizer.template


@pytest.mark.parametrize("family", ["lfm2_2_5", "gptoss"])
def test_thoughts_reach_a_template_under_the_name_that_every_server_has(family, folder):
    """vLLM knows no `thinking`."""
    asked = {
        "role": "assistant",
        "content": "",
        "reasoning_content": "2 + 1",
        "tool_calls": [call(1, "calculator", {})],
    }
    result = {"role": "tool", "tool_call_id": asked["tool_calls"][0]["id"], "content": "3"}
    tokenizer = read_tokenizer(folder("lfm2_2_5"), own(family))
    talk = serving([{"role": "user", "content": "?"}, asked, result])
    assert "2 + 1" in tokenizer.text(talk, serving_tools(TOOLS), True)
    assert read_tokenizer(folder("lfm2_2_5"), tokenizer.template).template == tokenizer.template


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.json", '{"vocab_size": 300}', "but config.json has a vocabulary of 300: the"),
        ("config.json", '{"text_config": {"vocab_size": 300}}', "belongs to another model"),
        ("tokenizer_config.json", '{"eos_token": "</s>"}', "eos_token '</s>' is not a token of tokenizer.json"),
        (
            "generation_config.json",
            '{"eos_token_id": [2, 151645]}',
            "eos_token_id 151645 is not a token of tokenizer.json",
        ),
    ],
)
def test_a_base_with_the_tokenizer_of_another_model_is_refused(file, content, said, tmp_path):
    place = write_tokenizer(tmp_path / "base", "qwen3")
    (place / "config.json").write_text('{"vocab_size": 1024}')
    (place / "chat_template.jinja").write_text(own("qwen3"))
    assert load_tokenizer(str(place)).template == own("qwen3") and not mismatches(place)
    (place / file).write_text(content)
    with pytest.raises(InputError, match="^params.yaml: /student/path: ") as refused:
        load_tokenizer(str(place))
    assert said in str(refused.value)


@pytest.mark.parametrize("file", ["chat_template.jinja", "tokenizer_config.json", "chat_template.json"])
def test_a_base_has_its_template_in_one_of_three_files(file, tmp_path):
    place = write_tokenizer(tmp_path / "base", "qwen3")
    (place / "config.json").write_text('{"vocab_size": 1024}')
    with pytest.raises(InputError, match="has no chat template of its own"):
        load_tokenizer(str(place))
    held = json.loads((place / file).read_text()) if (place / file).exists() else {}
    text = json.dumps(held | {"chat_template": own("qwen3")})
    (place / file).write_text(own("qwen3") if file.endswith("jinja") else text)
    assert load_tokenizer(str(place)).template == own("qwen3")


def test_templates_are_found_by_family_or_file(tmp_path):
    assert template_text("gemma3") == (TEMPLATES / "gemma3.jinja").read_text()
    (tmp_path / "mine.jinja").write_text("x")
    assert template_text(str(tmp_path / "mine.jinja")) == "x"
    with pytest.raises(InputError, match="bundled are gemma3, llama3, qwen2.5-coder, qwen3, smollm2"):
        template_text("gemma2")
