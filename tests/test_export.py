"""Our rows in the formats of others, read by the others' own code or against their published rules; and theirs in ours."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
from rollout_records import call, rollout

from distill.dataset import convert
from distill.dataset.export import NotRepresentable, openai, sharegpt
from distill.dataset.export.card import card
from distill.project import params
from distill.records import jsonl
from distill.student.render import render
from distill.student.served_messages import as_templates_want, numbered, tools_as_served
from distill.student.template import compile_template
from distill.student.tokenizer import load_tokenizer, read_tokenizer, template_text
from distill.tools.python import python_source

# Of FineTuneChatRequestInput in OpenAI's API reference: which keys there are, and that nothing else may be there.
TEXT = {"type": "string"}
OPENAI_MESSAGE = {
    "type": "object",
    "required": ["role"],
    "properties": {"role": {"enum": ["system", "user", "assistant", "tool"]}},
    "allOf": [
        {
            "if": {"properties": {"role": {"enum": ["system", "user"]}}},
            "then": {"properties": {"role": {}, "content": TEXT, "name": TEXT}, "required": ["content"],
                     "additionalProperties": False},
        },
        {
            "if": {"properties": {"role": {"const": "tool"}}},
            "then": {"properties": {"role": {}, "content": TEXT, "tool_call_id": TEXT},
                     "required": ["content", "tool_call_id"], "additionalProperties": False},
        },
        {
            "if": {"properties": {"role": {"const": "assistant"}}},
            "then": {
                "properties": {
                    "role": {}, "content": TEXT, "name": TEXT, "refusal": TEXT, "weight": {"enum": [0, 1]},
                    "tool_calls": {"type": "array", "minItems": 1, "items": {
                        "type": "object", "required": ["id", "type", "function"], "additionalProperties": False,
                        "properties": {"id": TEXT, "type": {"const": "function"}, "function": {
                            "type": "object", "required": ["name", "arguments"], "additionalProperties": False,
                            "properties": {"name": TEXT, "arguments": TEXT}}}}},
                },
                "additionalProperties": False,
                "anyOf": [{"required": ["content"]}, {"required": ["tool_calls"]}, {"required": ["refusal"]}],
            },
        },
    ],
}  # fmt: skip
OPENAI_ROW = {
    "type": "object",
    "required": ["messages"],
    "properties": {
        "messages": {"type": "array", "minItems": 1, "items": OPENAI_MESSAGE},
        "parallel_tool_calls": {"type": "boolean"},
        "tools": {"type": "array", "minItems": 1, "items": {
            "type": "object", "required": ["type", "function"], "additionalProperties": False,
            "properties": {"type": {"const": "function"}, "function": {
                "type": "object", "required": ["name"], "additionalProperties": False,
                "properties": {"name": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}, "description": TEXT,
                               "parameters": {"type": "object"}, "strict": {"type": "boolean"}}}}}},
    },
    "additionalProperties": False,
}  # fmt: skip


def rows() -> list[dict[str, Any]]:
    """Rows of every shape: plain, with reasoning, with a masked turn, with parallel calls, without tools."""
    found = [convert.row(rollout(units)) for units in range(2, 12)]
    found[1]["messages"][2]["reasoning_content"] = "I need the price."
    found[2]["messages"][2]["weight"] = 0
    talk = found[3]["messages"]
    talk[2]["tool_calls"] = [call("a", "lookup_item", '{"sku": "D1"}'), call("b", "lookup_item", '{"sku": "D2"}')]
    talk[3:4] = [{"role": "tool", "tool_call_id": name, "name": "lookup_item", "content": name} for name in "ab"]
    found[4]["tools"], found[4]["messages"] = [], [found[4]["messages"][1], found[4]["messages"][-1]]
    found[5]["messages"][2]["content"] = "Let me look."
    return found


@pytest.fixture
def exported(project: Path, run_module):
    """Writes rows, exports them in a format, and gives the lines."""

    def export(chosen: str, given: list[dict[str, Any]], file: str) -> tuple[list[dict[str, Any]], str]:
        jsonl.write(project / "data" / "train.jsonl", given, "row")
        done = run_module("distill.commands.export", chosen)
        assert done.returncode == 0, done.stderr
        return [orjson.loads(line) for line in (project / "exports" / file).read_bytes().splitlines()], done.stdout

    return export


def test_openai_takes_every_row(exported):
    from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
    from pydantic import TypeAdapter

    lines, said = exported("openai", rows(), "openai.jsonl")
    assert len(lines) == len(rows()) and "10 rows -> exports/openai.jsonl" in said
    assert "export: 1 row without the teacher's thoughts" in said
    rules = jsonschema_rs.validator_for(OPENAI_ROW)
    for line, row in zip(lines, rows(), strict=True):
        assert [error.message for error in rules.iter_errors(line)] == []
        TypeAdapter(list[ChatCompletionMessageParam]).validate_python(line["messages"])
        TypeAdapter(list[ChatCompletionToolParam]).validate_python(line.get("tools", []))
        assert line["messages"][-1]["role"] == "assistant"
        assert [message.get("weight") for message in line["messages"]] == [
            message.get("weight") for message in row["messages"]
        ]
        assert line.get("parallel_tool_calls") == (True if row["tools"] else None)


def test_parallel_tool_calls_is_what_the_dataset_does(exported):
    lines, said = exported("openai", [rows()[0], rows()[4]], "openai.jsonl")
    assert [line.get("parallel_tool_calls") for line in lines] == [False, None]
    assert "OpenAI takes files of 10 rows or more" in said


def test_what_openai_would_refuse_is_left_out():
    unlearnable, unfinished = rows()[:2]
    for message in unlearnable["messages"]:
        if message["role"] == "assistant":
            message["weight"] = 0
    unfinished["messages"].pop()
    for bad in (unlearnable, unfinished):
        with pytest.raises(NotRepresentable):
            openai.export(bad, False)


def read_as_llama_factory(line: dict[str, Any]) -> tuple[str, list[str]]:
    """System message and roles, by the rules with which LLaMA-Factory reads ShareGPT; AssertionError where it skips."""
    turns = line["conversations"]
    system = turns[0]["value"] if turns[0]["from"] == "system" else ""
    turns = turns[1:] if system else turns
    for place, turn in enumerate(turns):
        assert turn["from"] in (("human", "observation"), ("gpt", "function_call"))[place % 2]
        if turn["from"] == "function_call":
            calls = json.loads(turn["value"])
            for one in calls if isinstance(calls, list) else [calls]:
                assert set(one) == {"name", "arguments"} and isinstance(one["arguments"], dict)
    assert len(turns) % 2 == 0
    assert not line["tools"] or all({"name", "parameters"} <= set(tool) for tool in json.loads(line["tools"]))
    return system, [turn["from"] for turn in turns]


def test_sharegpt_readers_take_every_row_and_what_cannot_be_said_is_counted(exported, project):
    lines, said = exported("sharegpt", rows(), "sharegpt.jsonl")
    read = [read_as_llama_factory(line) for line in lines]
    usual = ["human", "function_call", "observation", "function_call", "observation", "gpt"]
    assert read[0] == ("You work in a small shop.", usual) and read[2] == read[0]
    assert read[3] == ("", ["human", "gpt"]) and lines[3]["tools"] == ""
    assert [one["name"] for one in json.loads(lines[2]["conversations"][2]["value"])] == ["lookup_item"] * 2
    assert lines[2]["conversations"][3]["value"] == f"a{sharegpt.BETWEEN_RESULTS}b"
    assert len(lines) == 8 and said.count("1 row left out: ") == 2
    [named] = json.loads((project / "exports/dataset_info.json").read_text()).values()
    assert named["file_name"] == "sharegpt.jsonl" and set(named["columns"].values()) == set(lines[0])
    assert "warning" not in said, "two of ten are not many"
    assert "weight 0" in said and "beside a tool call" in said and "1 row without the teacher's thoughts" in said


def test_sharegpt_has_the_results_of_parallel_calls_in_the_order_of_the_calls():
    row = rows()[3]
    row["messages"][3:5] = row["messages"][4:2:-1]
    observation = sharegpt.export(row)["conversations"][3]
    assert observation == {"from": "observation", "value": f"a{sharegpt.BETWEEN_RESULTS}b"}


def test_many_rows_that_are_left_out_are_said_loudly(exported):
    given = rows()
    for row in given[:4]:
        row["messages"][2]["weight"] = 0
    lines, said = exported("sharegpt", given, "sharegpt.jsonl")
    assert len(lines) == 5 and said.splitlines()[-1] == (
        "export: warning: 5 of 10 rows are NOT in there, for the reasons above; FORMAT=tokens keeps them for any trainer, "
        "FORMAT=openai for those that read `weight`"
    )


@pytest.mark.parametrize("change", [
    lambda talk: talk.pop(),
    lambda talk: talk.insert(2, {"role": "user", "content": "Please."}),
    lambda talk: talk.insert(2, {"role": "system", "content": "Be brief."}),
    lambda talk: talk[2]["tool_calls"][0]["function"].update(arguments="{"),
    lambda talk: talk[2]["tool_calls"][0]["function"].update(arguments='{"sku": 12345678901234567890123}'),
])  # fmt: skip
def test_rows_that_sharegpt_readers_would_skip_are_left_out(change):
    row = deepcopy(rows()[0])
    change(row["messages"])
    with pytest.raises(NotRepresentable):
        sharegpt.export(row)


def test_a_hugging_face_dataset_gives_the_rows_back_and_has_a_card(exported, project):
    datasets = pytest.importorskip("datasets")
    import yaml

    exported("hf", rows(), "hf/data/train.jsonl")
    loaded = datasets.load_dataset(str(project / "exports" / "hf"), cache_dir=str(project / "cache"), split="train")
    for got, row in zip(loaded, rows(), strict=True):
        said = [{key: value for key, value in message.items() if value is not None} for message in got["messages"]]
        for message in said:
            for one in message.get("tool_calls", []):
                one["function"]["arguments"] = json.dumps(one["function"]["arguments"])
        assert said == list(numbered(row["messages"]))
        assert {key: json.loads(got[key]) for key in ("tools", "metadata", "outcome")} == {
            key: row[key] for key in ("tools", "metadata", "outcome")
        }
    head, text = (project / "exports" / "hf" / "README.md").read_text().removeprefix("---\n").split("\n---\n", 1)
    assert yaml.safe_load(head)["license"] == "unknown" and yaml.safe_load(head)["size_categories"] == ["n<1K"]
    for told in ("| conversations | 10 |", "| local/qwen2.5-coder-0.5b-instruct | 10 |", "SHA-256", "## Licence"):
        assert told in text
    assert "Written by a teacher model and its tools; checked" in text
    unnamed = [row | {"teacher": "unknown"} for row in rows()]
    imported = card(project / "data/train.jsonl", unnamed, params.load(project / "params.yaml"))
    assert "Imported from where no model was named; checked" in imported and "wrote none of these" in imported
    assert "| conversations with turns of weight 0 | 1 |" in text and "`calculator` (9)" in text


def test_fractions_are_loaded_as_they_are(exported, project):
    """The loader's own reader would make 0.30000000000000004 of 0.3."""
    datasets = pytest.importorskip("datasets")
    row = deepcopy(next(row for row in rows() if row["outcome"]["tool_calls"]))
    given = {"share": [sign * number / 1000 for number in range(3000) for sign in (1, -1)], "tiny": 1.5e-7}
    turn = next(message for message in row["messages"] if message.get("tool_calls"))
    turn["tool_calls"][0]["function"]["arguments"] = json.dumps(given)
    exported("hf", [row], "hf/data/train.jsonl")
    [loaded] = datasets.load_dataset(str(project / "exports/hf"), cache_dir=str(project / "cache"), split="train")
    turn = next(message for message in loaded["messages"] if message["tool_calls"])
    assert turn["tool_calls"][0]["function"]["arguments"] == given


def test_another_export_is_loaded_anew(exported, project):
    """The loader's cache goes by the name of the folder and the card, not by the rows."""
    datasets = pytest.importorskip("datasets")
    for made in (rows(), rows()[:3]):
        exported("hf", made, "hf/data/train.jsonl")
        loaded = datasets.load_dataset(str(project / "exports/hf"), cache_dir=str(project / "cache"), split="train")
        assert len(loaded) == len(made)


def test_a_field_that_few_rows_have_does_not_break_the_dataset(exported, project):
    """Loaders take the types of the first 10 MB for those of all rows, unless the card says them."""
    datasets = pytest.importorskip("datasets")
    exported("hf", rows(), "hf/data/train.jsonl")
    file = project / "exports/hf/data/train.jsonl"
    few = file.read_bytes()
    plain = json.loads(few.splitlines()[0]) | {"messages": [{"role": "user", "content": "long " * 1000}]}
    file.write_bytes((json.dumps(plain).encode() + b"\n") * 2200 + few)
    loaded = datasets.load_dataset(str(project / "exports/hf"), cache_dir=str(project / "cache"), split="train")
    assert len(loaded) == 2210 and any(message["tool_calls"] for message in loaded[-1]["messages"])


def test_trl_prepares_our_rows_and_their_tools(exported, project):
    """SFTTrainer tokenises the exported dataset with a tiny model; the tools and the calls are in its text."""
    datasets, trl = pytest.importorskip("datasets"), pytest.importorskip("trl")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    exported("hf", [row for row in rows() if row["tools"]], "hf/data/train.jsonl")
    loaded = datasets.load_dataset(str(project / "exports" / "hf"), cache_dir=str(project / "cache"), split="train")
    letters = {letter: number for number, letter in enumerate(["<end>", *map(chr, range(32, 127)), "\n"])}
    plain = Tokenizer(models.WordLevel(letters, unk_token="<end>"))
    plain.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<end>", pad_token="<end>")
    tokenizer.chat_template = (
        "{{ tools | tojson }}{% for m in messages %}{{ m.role }}:{{ m.content }}"
        "{% for c in m.tool_calls or [] %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}<end>{% endfor %}"
    )
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(letters), **sizes))
    options = trl.SFTConfig(output_dir=str(project / "out"), report_to=[], use_cpu=True, max_length=None)
    trainer = trl.SFTTrainer(model, args=options, train_dataset=loaded, processing_class=tokenizer)
    assert len(trainer.train_dataset) == 9
    text = "".join(tokenizer.convert_ids_to_tokens(trainer.train_dataset[0]["input_ids"]))
    assert '"name": "calculator"' in text and 'lookup_item{"sku": "D625"}' in text and "Answer: 88<end>" in text


@pytest.mark.parametrize("family", ["smollm2", "qwen2.5-coder", "qwen3", "llama3", "gemma3"])
def test_an_exported_row_is_rendered_as_ours(exported, project, family):
    """transformers, with a bundled template, makes of a loaded row the very text that our trainer learns."""
    datasets = pytest.importorskip("datasets")
    from families import bundled, write_tokenizer
    from transformers import AutoTokenizer

    given = rows()
    given[6]["messages"][2]["tool_calls"] = [call("a", "calculator", '{"a":1.5,   "b": 44.0}')]
    given[7]["messages"][2]["tool_calls"] = [call("a", "lookup_item", '{"sku": "<é \\"D\\">", "of": {"x": [1, null]}}')]
    given[8]["messages"][2] |= {"reasoning_content": "\nHm.\n", "content": "\nLet me see. "}
    del given[8]["tools"][0]["function"]["description"]
    exported("hf", given, "hf/data/train.jsonl")
    loaded = datasets.load_dataset(str(project / "exports/hf"), cache_dir=str(project / "cache"), split="train")
    folder = write_tokenizer(project / "student", family)
    theirs, ours = AutoTokenizer.from_pretrained(folder), read_tokenizer(folder, bundled(family))
    theirs.chat_template = bundled(family)
    for got, row in zip(loaded, given, strict=True):
        text = theirs.apply_chat_template(got["messages"], tools=json.loads(got["tools"]), tokenize=False)
        assert text == ours.text(list(as_templates_want(row["messages"])), tools_as_served(row["tools"]), False)


@pytest.mark.parametrize("family", ["smollm2", "qwen3", "llama3", "gemma3"])
def test_a_template_takes_arguments_that_are_text(family):
    """As rows in OpenAI's form have them, where another trainer gives them to the template unread."""
    written = compile_template(template_text(family))
    asked, turn = rows()[0]["messages"][1:3]
    text = written(messages=[asked, turn], tools=None, add_generation_prompt=False)
    assert '{"sku": "D625"}' in text and "\\" not in text


def test_what_no_dataset_can_hold_is_left_out_of_it(exported):
    given = rows()
    given[0]["messages"][2]["tool_calls"][0]["function"]["arguments"] = '{"sku": '
    given[1]["messages"][2]["tool_calls"][0]["function"]["arguments"] = f'{{"sku": {2**70}}}'
    lines, said = exported("hf", given, "hf/data/train.jsonl")
    assert len(lines) == 8
    assert "not a JSON object" in said and "more than 64 bits" in said and "warning" not in said


def test_any_trainer_learns_from_the_tokens_what_ours_learns(exported, project, set_param):
    """transformers' own Trainer takes the file as it is, and its labels are ours."""
    datasets = pytest.importorskip("datasets")
    from tiny_qwen3 import write_base
    from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments

    base = write_base(project / "base")
    set_param("student.path", str(base))
    set_param("student.template", "qwen3")
    set_param("student.max_length", 4000)
    lines, said = exported("tokens", rows(), "tokens.jsonl")
    assert "10 sequences -> exports/tokens.jsonl" in said and "thoughts" not in said
    ours = load_tokenizer(str(base), "qwen3")
    for line, row in zip(lines, rows(), strict=True):
        [sequence] = render(row, ours)
        assert (line["input_ids"], line["labels"]) == (sequence.input_ids, sequence.labels)
        assert line["attention_mask"] == [1] * len(sequence.input_ids)
    loaded = datasets.load_dataset(
        "json", data_files=str(project / "exports/tokens.jsonl"), cache_dir=str(project / "c")
    )
    options = TrainingArguments(str(project / "out"), report_to=[], use_cpu=True, max_steps=1, save_strategy="no")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    collate = DataCollatorForSeq2Seq(tokenizer, padding=True)
    model = AutoModelForCausalLM.from_pretrained(base)
    trainer = Trainer(model, options, train_dataset=loaded["train"], data_collator=collate)
    assert trainer.train().training_loss > 0
    set_param("student.max_length", len(lines[0]["input_ids"]) - 1)
    lines, said = exported("tokens", [*rows()[:1], rows()[4]], "tokens.jsonl")
    assert len(lines) == 1 and "rows are never cut" in said and "warning: 1 of 2 rows are NOT in there" in said
    long = [rows()[0] for _ in range(13)]
    for words, row in enumerate(long):
        row["messages"][1]["content"] += " more" * words
    _, said = exported("tokens", [*long, rows()[4]], "tokens.jsonl")
    assert said.count("export: 1 row left out: ") == 10 and "export: 3 rows left out for other reasons" in said


def test_nothing_exported_is_an_error(project, run_module):
    done = run_module("distill.commands.export", "hf")
    assert done.returncode == 1 and "data/train.jsonl: no such file; `make data` writes it" in done.stderr
    masked = rows()[2]
    jsonl.write(project / "data" / "train.jsonl", [masked], "row")
    done = run_module("distill.commands.export", "sharegpt")
    assert done.returncode == 1 and "weight 0" in done.stdout and "nothing exported" in done.stderr
    assert not (project / "exports" / "sharegpt.jsonl").exists()


SEED = {
    "messages": [
        {"role": "system", "content": "You are a research assistant..."},
        {"role": "user", "content": "Find info about NCT01234567"},
        {"role": "assistant", "content": "", "tool_calls": [
            call("call_1", "browser_navigate", '{"url": "https://clinicaltrials.gov/study/NCT01234567"}')]},
        {"role": "tool", "tool_call_id": "call_1", "content": "# Study NCT01234567\n\nIntervention: Pembrolizumab..."},
        {"role": "assistant", "content": "The active ingredient is pembrolizumab."},
    ],
    "metadata": {"expected_answer": "pembrolizumab"},
}  # fmt: skip


def test_rows_of_rnows_converter_and_of_openai_load_unchanged(project, run_stage):
    (project / "rollouts").mkdir(exist_ok=True)
    theirs = openai.export(rows()[2], True)
    (project / "rollouts" / "train.jsonl").write_text(f"{json.dumps(SEED)}\n{json.dumps(SEED)}\n{json.dumps(theirs)}\n")
    done = run_stage("convert")
    assert done.returncode == 0, done.stderr
    own = [tool.schema for tool in python_source.load(project / "tools.py").values()]
    found = list(jsonl.read(project / "data" / "converted.jsonl", "row"))
    assert sorted(len(row["messages"]) for row in found) == [5, 5, 7]
    for row in found:
        wanted = SEED if len(row["messages"]) == 5 else theirs
        assert row["messages"] == wanted["messages"] and row["metadata"] == wanted.get("metadata", {})
        assert row["tools"] == (wanted.get("tools") or own) and row["outcome"]["status"] == "completed"
    assert sorted(row["sample"] for row in found if len(row["messages"]) == 5) == [0, 1]


def test_a_prompt_among_finished_rows_is_named(project, run_stage):
    (project / "rollouts").mkdir(exist_ok=True)
    asked = {"messages": SEED["messages"][:2]}
    broken = {"messages": [*SEED["messages"][:4], {"role": "assistant"}]}
    lines = [json.dumps(line) for line in (SEED, asked, broken)]
    (project / "rollouts" / "train.jsonl").write_text("\n".join(lines))
    done = run_stage("convert")
    assert done.returncode == 1
    assert "rollouts/train.jsonl:2: /messages: no assistant message: prompts belong into data/seed/" in done.stderr
    assert "rollouts/train.jsonl:3: /messages/4" in done.stderr
