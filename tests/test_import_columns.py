"""Rows in the structures of widely used datasets of hubs, of texts of our own, become conversations in OpenAI's form."""

import json
from pathlib import Path
from typing import Any

import pytest
from rollout_records import rollout

from distill.dataset import convert, rollouts
from distill.dataset.imports import columns
from distill.records.faults import InputError

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
BARE = {"name": "get_weather", "description": "Weather of a city.", "parameters": PARAMETERS}
TOOL = {"type": "function", "function": BARE}
OSLO, ROME = '{"city": "Oslo"}', '{"city": "Rome"}'
FUNCTION = {"name": "get_weather", "arguments": OSLO}
ASKED = {"role": "user", "content": "How warm is it in Oslo?"}
TOLD = {"role": "assistant", "content": "4 degrees."}


def called(*arguments: str, text: str | None = "", first: str = "call_1", **more: str) -> dict[str, Any]:
    names = [first, "call_2"]
    calls = [
        {"id": name, "type": "function", "function": {"name": "get_weather", "arguments": one}}
        for name, one in zip(names, arguments, strict=False)
    ]
    return {"role": "assistant", **more, "content": text, "tool_calls": calls}


def result(text: str, id_: str = "call_1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id_, "content": text}


def read(folder: Path, *rows: Any) -> list[dict[str, Any]]:
    folder.joinpath("theirs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return sorted(rollouts.read(folder), key=lambda rollout: rollout["key"])


def declared(*tools: dict[str, Any]) -> dict[str, str]:
    return {"role": "system", "content": f"<|im_system|>tool_declare<|im_middle|>{json.dumps(tools)}<|im_end|>"}


CALL = {"role": "assistant", "content": "", "function_call": FUNCTION}
OTHER = {"role": "assistant", "content": "", "function_call": {**FUNCTION, "arguments": ROME}}
TOUCAN = {"uuid": "u", "question": "q", "target_tools": "get_weather"}
SMOLTALK = {"custom_instructions": "Be brief.", "enable_thinking": False, "python_tools": []}
SWE_AGENT = {"agent": "main", "message_type": "action", "thought": "I look.", "action": "bash ls"}
ROWS = {
    "Toucan's SFT": (
        {
            **TOUCAN,
            "messages": json.dumps([
                ASKED,
                {"role": "assistant", "content": "I will look."},
                {"role": "tool_call", "content": str(FUNCTION)},
                {"role": "tool_call", "content": str({**FUNCTION, "arguments": ROME})},
                {"role": "tool_response", "content": "4"},
                {"role": "tool_response", "content": "14"},
                TOLD,
            ]),
            "tools": json.dumps([TOOL]),
        },
        [ASKED, called(OSLO, ROME, text="I will look."), result("4"), result("14", "call_2"), TOLD],
        TOUCAN,
    ),
    "Toucan's Kimi-K2": (
        {
            **TOUCAN,
            "messages": json.dumps([
                declared(TOOL), ASKED, CALL, OTHER,
                {"role": "function", "name": "get_weather", "content": "4"},
                {"role": "function", "name": "get_weather", "content": "14"}, TOLD,
            ]),
            "available_tools": json.dumps([TOOL]),
            "metadata": json.dumps({"servers": ["w"]}),
        },
        [ASKED, called(OSLO, ROME), result("4"), result("14", "call_2"), TOLD],
        {**TOUCAN, "servers": ["w"]},
    ),
    "Toucan's OSS": (
        {
            "messages": json.dumps([
                declared(TOOL), ASKED, {**CALL, "reasoning_content": "I look."}, {"role": "function", "content": "4"}, TOLD,
            ]),
        },
        [ASKED, called(OSLO, reasoning_content="I look."), result("4"), TOLD],
        {},
    ),
    "Nemotron's agentic": (
        {
            "messages": [
                {"role": "system", "content": ""}, ASKED, called(OSLO, reasoning_content="I look."), result("4"), TOLD,
            ],
            "tools": [TOOL], "license": "cc", "reasoning": "on",
        },
        [ASKED, called(OSLO, reasoning_content="I look."), result("4"), TOLD],
        {"license": "cc", "reasoning": "on"},
    ),
    "Nemotron's post-training": (
        {"messages": [ASKED, called(OSLO), result("4"), TOLD], "metadata": json.dumps({"tools": [TOOL]}), "tools": None},
        [ASKED, called(OSLO), result("4"), TOLD],
        {},
    ),
    "ToolMind": (
        {
            "conversations": [
                ASKED,
                {"role": "assistant", "content": None, "tool_calls": [{"function": {**FUNCTION, "arguments": {"city": "Oslo"}}}]},
                {"role": "tool", "name": "get_weather", "content": "4"}, TOLD,
            ],
            "tools": [TOOL],
        },
        [ASKED, called('{"city":"Oslo"}'), result("4"), TOLD],
        {},
    ),
    "smoltalk2": (
        {
            "messages": [
                ASKED,
                {"role": "assistant", "content": f"<tool_call>\n{FUNCTION}\n</tool_call>"},
                {"role": "tool", "content": "<tool_response>\n4\n</tool_response>"}, TOLD,
            ],
            "chat_template_kwargs": {**SMOLTALK, "xml_tools": [f"Call these. <tools> {[TOOL]} </tools>"]},
            "source": "hermes",
        },
        [{"role": "system", "content": "Be brief."}, ASKED, called(OSLO), result("4"), TOLD],
        {"enable_thinking": False, "python_tools": [], "source": "hermes"},
    ),
    "smolagents in smoltalk2": (
        {"messages": [ASKED, TOLD], "chat_template_kwargs": {**SMOLTALK, "xml_tools": [f"{json.dumps(TOOL)}\n"]}},
        [{"role": "system", "content": "Be brief."}, ASKED, TOLD],
        {"enable_thinking": False, "python_tools": []},
    ),
    "When2Call": ({"messages": [ASKED, TOLD], "tools": [BARE]}, [ASKED, TOLD], {}),
    "tools each a text": ({"messages": [ASKED, TOLD], "tools": [json.dumps(BARE)]}, [ASKED, TOLD], {}),
    "tools of Responses": ({"messages": [ASKED, TOLD], "tools": [{"type": "function", **BARE}]}, [ASKED, TOLD], {}),
    "OpenAI's older form": (
        {
            "messages": [
                {"role": "developer", "content": "Be brief."}, ASKED, {**CALL, "content": None},
                {"role": "function", "content": "4"}, TOLD,
            ],
            "functions": [BARE],
        },
        [{"role": "system", "content": "Be brief."}, ASKED, called(OSLO), result("4"), TOLD],
        {},
    ),
    "SWE-agent": (
        {
            "messages": json.dumps([
                {**ASKED, **SWE_AGENT},
                {**called(OSLO, text="I look."), **SWE_AGENT},
                {
                    "role": "tool", "content": [{"type": "text", "text": "4", "cache_control": {"type": "ephemeral"}}],
                    **SWE_AGENT, "tool_call_ids": ["call_1"],
                },
                TOLD,
            ]),
            "tools": [TOOL], "system": "Be brief.", "resolved": True,
        },
        [{"role": "system", "content": "Be brief."}, ASKED, called(OSLO, text="I look."), result("4"), TOLD],
        {"resolved": True},
    ),
    "a prompt_id of theirs": (
        {"messages": [ASKED, TOLD], "tools": [TOOL], "prompt_id": "f0e3"},
        [ASKED, TOLD],
        {"prompt_id": "f0e3"},
    ),
    "another column for tools": (
        {"messages": [ASKED, TOLD], "tools": [TOOL], "functions": ["get_weather"], "available_tools": []},
        [ASKED, TOLD],
        {"functions": ["get_weather"]},
    ),
    "another system message": (
        {"messages": [ASKED, TOLD], "tools": [TOOL], "system": "Be brief.", "system_prompt": "weather"},
        [{"role": "system", "content": "Be brief."}, ASKED, TOLD],
        {"system_prompt": "weather"},
    ),
    "a text of texts": ({"messages": [ASKED, TOLD], "tools": json.dumps([json.dumps(BARE)])}, [ASKED, TOLD], {}),
    "calls without what surrounds them": (
        {"messages": [ASKED, {"role": "assistant", "tool_calls": [{"id": "a", **FUNCTION, "index": 0}]}, result("4", "a"), TOLD],
         "tools": [BARE]},
        [ASKED, {key: value for key, value in called(OSLO, first="a").items() if key != "content"}, result("4", "a"), TOLD],
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_a_dataset_is_read(tmp_path, name):
    row, messages, metadata = ROWS[name]
    (rollout,) = read(tmp_path, row)
    assert rollout["messages"] == messages and rollout["tools"] == [TOOL] and rollout["metadata"] == metadata


def test_a_thought_that_a_text_begins_with_is_apart(tmp_path):
    """As of a teacher's answer, in both forms; also where the thought names the tags of calls."""
    thought, calls = "<think>\nIn <tool_call> tags.\n</think>\n", f"<tool_call>\n{json.dumps(FUNCTION)}\n</tool_call>"
    hermes = [
        {"from": "human", "value": ASKED["content"]},
        {"from": "gpt", "value": f"{thought}{calls}"},
        {"from": "tool", "value": "4"},
        {"from": "gpt", "value": "<think>\nWarm.\n</think>\n\n4 degrees."},
    ]
    plain = [ASKED, {"role": "assistant", "content": "<think>Warm.</think>4 degrees."}]
    elsewhere = [ASKED, {"role": "assistant", "content": "I write <think>Warm.</think> so."}]
    named = [
        ASKED,
        {**TOLD, "reasoning": "Warm.", "reasoning_content": ""},
        ASKED,
        {**TOLD, "thinking": "Warm.", "reasoning": "Warm."},
    ]
    empty = [ASKED, {"role": "assistant", "content": "<think>\n\n</think>\n\n4 degrees."}]
    rows = [
        {"conversations": hermes, "tools": [BARE]},
        *({"messages": talk} for talk in (plain, elsewhere, named, empty)),
    ]
    found = [rollout["messages"] for rollout in read(tmp_path, *rows)]
    warm = {"role": "assistant", "reasoning_content": "Warm.", "content": "4 degrees."}
    assert found[0] == [ASKED, called(OSLO, reasoning_content="In <tool_call> tags."), result("4"), warm]
    assert found[1] == [ASKED, warm] and found[2] == elsewhere and found[4] == [ASKED, TOLD]
    assert found[3] == [ASKED, warm, ASKED, warm]


def test_an_answer_may_speak_of_tags(tmp_path):
    spoken = {"role": "assistant", "content": f"It was <tool_call>{OSLO}</tool_call>, so to say."}
    talks = (
        [ASKED, called(OSLO), result("4"), spoken],
        [{"role": "system", "content": "As <tools>{tools}</tools>."}, ASKED, spoken],
    )
    for talk in talks:
        (rollout,) = read(tmp_path, {"messages": talk})
        assert rollout["messages"] == talk


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"messages": [ASKED], "chosen_response": TOLD, "rejected_response": TOLD}, "/chosen_response: is not read"),
        ({"messages": [ASKED, TOLD], "tool": [{"name": "add"}]}, "/tool: is it `tools`? then name it so, else leave it out"),
        ({"messages": "hi"}, "/messages: not valid JSON"),
        ({"messages": "{}"}, "/messages: must be a list of turns, or of messages"),
        ({"messages": [ASKED, TOLD], "metadata": "by hand"}, "/metadata: not valid JSON"),
        ({"messages": [ASKED, TOLD], "metadata": json.dumps(json.dumps({"id": 1}))}, "/metadata: "),
        ({"messages": [ASKED, TOLD], "split": "eval"}, "/split: conversations are trained on"),
        ({"messages": [ASKED, {"role": "answer", "content": "4"}]}, "/messages/1/role: 'answer' is none of system, developer"),
        ({"messages": [ASKED, {"role": "assistant", "tool_calls": 5}]}, '/messages/1/tool_calls: 5 is not of type "array"'),
        ({"messages": [ASKED, {"role": "assistant", "tool_calls": [5]}, {"role": "tool", "content": "4"}]},
         "/messages/1/content: no call of name and arguments alone"),
        ({"messages": [ASKED, CALL, TOLD, {"role": "function", "content": "4"}]}, "/messages/3: a result, and the turn before"),
        ({"messages": [ASKED, {**TOLD, "loss": False}]}, "/messages/1: unknown key 'loss'"),
        ({"inputs": {"messages": [ASKED]}, "outputs": {}}, "/: no messages, so this is no conversation"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(tmp_path, row, fault):
    with pytest.raises(InputError) as raised:
        read(tmp_path, row)
    (said,) = raised.value.faults
    assert said.partition("theirs.jsonl:1: ")[2].startswith(fault)


@pytest.mark.parametrize("record", [rollout(), convert.row(rollout())], ids=["rollout", "row"])
def test_a_rollout_or_a_training_row_of_ours_that_lacks_a_key_is_no_conversation(tmp_path, record):
    """It would be read without its split, its outcome, and all else that the filter goes by."""
    for lost in set(record) - {"metadata", "origins", "tools"}:
        with pytest.raises(InputError) as raised:
            read(tmp_path, {key: value for key, value in record.items() if key != lost})
        assert raised.value.faults == [f'{tmp_path}/theirs.jsonl:1: /: "{lost}" is a required property']


def test_tags_that_are_opened_a_hundred_thousand_times_are_refused_at_once() -> None:
    """By patterns that go back in the text, it takes minutes."""
    said = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "<tool_call>" * 100_000}]
    with pytest.raises(InputError, match="/conversations/1/value: <tool_call> without its end"):
        columns.conversation({"conversations": said})
    for text in ("<tools>[{" * 100_000, "<|im_system|>tool_declare<|im_middle|>" * 100_000):
        row = columns.conversation({"conversations": [{"from": "system", "value": text}, *said[:1]]})
        assert row["tools"] == [] and row["messages"][0]["content"] == text
