"""Conversations in ShareGPT's form, in the dialects of LLaMA-Factory and of Hermes, become the rows that they were made from."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from rollout_records import TOOLS, call, rollout

from distill.dataset import convert
from distill.records import jsonl

CALL = {"name": "lookup_item", "arguments": {"sku": "A1", "all": True, "of": None}}
ASKED = {"from": "human", "value": "Is A1 there?"}
CALLED = {"from": "function_call", "value": json.dumps(CALL)}
TWICE = {"from": "function_call", "value": json.dumps([CALL, CALL])}
TOLD = {"from": "gpt", "value": "Answer: yes"}
BARE = [tool["function"] for tool in TOOLS]
HERMES = f"""You are a function calling AI model. Your tools are within <tools> </tools> XML tags.
<tools>
{TOOLS}
</tools>
For each call return an object within <tool_call> </tool_call> tags:
<tool_call>
{{'arguments': <args-dict>, 'name': <function-name>}}
</tool_call>
"""


def observed(*results: str) -> list[dict[str, Any]]:
    return [{"from": "observation", "value": result} for result in results]


@pytest.fixture
def converted(project: Path, run_stage):
    """The rows that conversations in data/imported/ become."""

    def convert_(*lines: dict[str, Any]) -> list[dict[str, Any]]:
        (project / "rollouts").mkdir(exist_ok=True)
        (project / "data/imported/theirs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        done = run_stage("convert")
        assert done.returncode == 0, done.stderr
        rows = jsonl.read(project / "data/converted.jsonl", "row")
        return sorted(rows, key=lambda row: row["origin"])

    return convert_


@pytest.fixture
def refused(project: Path, run_stage):
    """What convert says of a line that is no conversation."""

    def refuse(line: dict[str, Any]) -> str:
        (project / "rollouts").mkdir(exist_ok=True)
        (project / "data/imported/theirs.jsonl").write_text(json.dumps(line) + "\n")
        done = run_stage("convert")
        (said,) = [line for line in done.stderr.splitlines() if "theirs.jsonl:1: " in line]
        assert done.returncode == 1 and "Traceback" not in done.stderr
        return said.partition("data/imported/theirs.jsonl:1: ")[2]

    return refuse


def said(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages without what ShareGPT has no place for: ids, names, and how arguments are written."""
    kept = [{key: message[key] for key in ("role", "content", "weight") if key in message} for message in messages]
    for told, message in zip(kept, messages, strict=True):
        for one in message.get("tool_calls", ()):
            told.setdefault("calls", []).append((one["function"]["name"], json.loads(one["function"]["arguments"])))
    return kept


def test_what_our_export_wrote_comes_back(project, run_module, converted):
    rows = [convert.row(rollout(units)) for units in (2, 3, 4)]
    both = [call("b", "lookup_item", '{"sku": "D1"}'), call("a", "lookup_item", '{"sku": "D2", "of": [1, 2.50]}')]
    rows[1]["messages"][2]["tool_calls"] = both
    # The results in another order than the calls, one that ends a line, and one with the marks of the format in it.
    rows[1]["messages"][3:4] = [
        {"role": "tool", "tool_call_id": name, "content": text} for name, text in (("a", " a\n"), ("b", "\nb"))
    ]
    rows[2]["messages"][3]["content"] = "x\n</tool_response>\n<tool_response>\ny"
    rows[2]["tools"], rows[2]["messages"][0]["content"] = TOOLS, "Call what is between <tools> and </tools>."
    jsonl.write(project / "data/train.jsonl", rows, "row")
    assert run_module("distill.commands.export", "sharegpt").returncode == 0
    lines = [orjson.loads(line) for line in (project / "exports/sharegpt.jsonl").read_bytes().splitlines()]
    wanted = [said(row["messages"]) for row in rows]
    wanted[1][3:5] = wanted[1][4:2:-1]
    found = converted(*lines)
    assert [said(row["messages"]) for row in found] == wanted
    assert [row["tools"] for row in found] == [row["tools"] for row in rows]
    for row in found:
        made = [one["id"] for message in row["messages"] for one in message.get("tool_calls", ())]
        answered = [message["tool_call_id"] for message in row["messages"] if message["role"] == "tool"]
        assert made == answered and len(set(made)) == len(made)
        assert row["outcome"]["status"] == "completed" and row["outcome"]["answer"]


def test_llama_factorys_dialect(converted):
    """As in its demonstration data, and in APIGen-MT: tools are functions alone, the system message is a column."""
    columns = {"system": "Be brief.", "tools": json.dumps(BARE), "id": 7, "none": None}
    weighted = [ASKED, {**TOLD, "weight": 0}, ASKED, TWICE, *observed("1", "2"), {**TOLD, "weight": 1}]
    rows = converted(
        {"conversations": [ASKED, CALLED, *observed("1"), TOLD], **columns, "metadata": {"expected_answer": "yes"}},
        {"conversations": [ASKED, TOLD], "tools": "[]", "system": ""},
        {"conversations": weighted, "tools": json.dumps(BARE)},
    )
    assert said(rows[0]["messages"]) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Is A1 there?"},
        {"role": "assistant", "content": "", "calls": [("lookup_item", CALL["arguments"])]},
        {"role": "tool", "content": "1"},
        {"role": "assistant", "content": "Answer: yes"},
    ]
    assert rows[0]["tools"] == TOOLS and rows[0]["metadata"] == {"id": 7, "expected_answer": "yes"}
    assert rows[0]["outcome"]["correct"] is True
    assert rows[1]["tools"] == [] and [message["role"] for message in rows[1]["messages"]] == ["user", "assistant"]
    assert [message.get("weight") for message in rows[2]["messages"]] == [None, 0, None, None, None, None, 1]


def test_tools_one_a_line_may_have_separators_of_other_texts_in_them(converted):
    tool = {**BARE[0], "description": "Gives\u2028a price."}
    lines = "\r\n".join(json.dumps(one, ensure_ascii=False) for one in (tool, {**tool, "name": "other"}))
    (row,) = converted({"conversations": [ASKED, TOLD], "tools": lines})
    assert [one["function"]["description"] for one in row["tools"]] == ["Gives\u2028a price."] * 2


def test_the_system_message_of_a_column_is_there_once(converted):
    """OpenHermes has it in `system_prompt`, and in some rows in a turn as well; its models have names of their own."""
    system = {"from": "system", "value": "Be brief."}
    rows = converted(
        {
            "conversations": [ASKED, {**TOLD, "from": "chatgpt", "weight": None}],
            "system_prompt": "Be brief.",
            "idx": None,
        },
        {"conversations": [system, ASKED, {**TOLD, "from": "bing"}], "system_prompt": "Be brief."},
        {"conversations": [system, ASKED, {**TOLD, "from": "bard"}], "system": "Be brief.", "system_prompt": ""},
    )
    for row in rows:
        assert [message["role"] for message in row["messages"]] == ["system", "user", "assistant"]
        assert row["messages"][0]["content"] == "Be brief." and row["metadata"] == {}


@pytest.mark.parametrize("column", [None, json.dumps(TOOLS)])
def test_hermes_dialect(converted, column):
    """Tools, calls and results between tags; as Python writes them, or as JSON."""
    made = f"Let me see.\n<tool_call>\n{CALL}\n</tool_call>\n<tool_call>{json.dumps(CALL)}</tool_call>\n"
    results = '<tool_response>\n{"name": "lookup_item"}\n</tool_response>\n<tool_response>\n2\n\n</tool_response>\n'
    talk = [ASKED, {"from": "gpt", "value": made}, {"from": "tool", "value": results}, TOLD]
    single = [ASKED, {"from": "gpt", "value": f"<tool_call>\n{CALL}\n</tool_call>"}, {"from": "tool", "value": "3"}]
    theirs, mine = converted(
        {"conversations": [{"from": "system", "value": HERMES}, *talk], "tools": column},
        {"conversations": [{"from": "system", "value": f"Be brief.\n{HERMES}Be kind."}, *single, TOLD]},
    )
    assert theirs["tools"] == mine["tools"] == TOOLS
    calls = [("lookup_item", CALL["arguments"])]
    assert said(theirs["messages"]) == [
        {"role": "user", "content": "Is A1 there?"},
        {"role": "assistant", "content": "Let me see.", "calls": 2 * calls},
        {"role": "tool", "content": '{"name": "lookup_item"}'},
        {"role": "tool", "content": "2\n"},
        {"role": "assistant", "content": "Answer: yes"},
    ]
    assert mine["messages"][0] == {"role": "system", "content": "Be brief.\n\nBe kind."}
    assert said(mine["messages"])[2:4] == [
        {"role": "assistant", "content": "", "calls": calls},
        {"role": "tool", "content": "3"},
    ]


HOW = "calls are read from function_call turns"


@pytest.mark.parametrize(
    ("line", "faults"),
    [
        ({"conversations": {}}, ["/conversations: must be a list of turns"]),
        ({"conversations": [ASKED]}, ["/messages: no assistant message: prompts belong into data/seed/"]),
        ({"conversations": [ASKED, {"text": "q"}]}, ["/conversations/1: no turn of from and value, nor a message"]),
        ({"conversations": [ASKED, {"from": "moderator", "value": ""}]}, ["/conversations/1/from: 'moderator' is none of"]),
        ({"conversations": [ASKED, {"from": [], "value": ""}]}, ["/conversations/1/from: [] is none of"]),
        ({"conversations": [ASKED, {"from": "gpt", "value": {}}]}, ["/conversations/1/value: must be a text"]),
        ({"conversations": [{"from": "human", "value": ""}, TOLD]}, ["/conversations/0/value: must be a text, and not"]),
        ({"conversations": [{**ASKED, "train": False}, TOLD]}, ["/conversations/0/train: a turn has no such key here"]),
        ({"conversations": [ASKED, TOLD], "images": ["a.png"]}, ["/images: is not read", "leave such rows out"]),
        ({"conversations": [ASKED], "chosen": TOLD, "rejected": TOLD}, ["/chosen: is not read"]),
        ({"conversations": [ASKED, TOLD], "tools": "[{"}, ["/tools: not valid JSON"]),
        ({"conversations": [ASKED, TOLD], "tools": "{}"}, ['/tools/0/function: "name" is a required']),
        ({"conversations": [ASKED, TOLD], "tools": ["price"]}, ["/tools: names, where a conversation has schemas"]),
        (
            {"conversations": [ASKED, TOLD], "tools": [{"name": "f", "parameters": {"sku": {"type": "str"}}}]},
            ["/tools/0/function/parameters: no JSON Schema of arguments"],
        ),
        ({"conversations": [ASKED, {**CALLED, "value": "f(1)"}]}, ["/conversations/1/value: not valid JSON"]),
        ({"conversations": [ASKED, {**CALLED, "value": '{"name": "f"}'}]}, ["/conversations/1/value: no call", HOW]),
        (
            {"conversations": [ASKED, {**CALLED, "value": '{"name": "f", "arguments": {"a": 1, "a": 2}}'}]},
            ["/conversations/1/value: the key 'a' occurs twice"],
        ),
        (
            {"conversations": [ASKED, {**CALLED, "value": f"{{'name': 'f', 'arguments': {{'a': {2**70}}}}}"}]},
            ["/conversations/1/value: arguments that JSON cannot say"],
        ),
        ({"conversations": [ASKED, {"from": "gpt", "value": "<tool_call>{}"}]}, ["/conversations/1/value: <tool_call> wi"]),
        (
            {"conversations": [ASKED, {"from": "gpt", "value": f"<tool_call>{CALL}</tool_call> So."}]},
            ["/conversations/1/value: text behind a call"],
        ),
        ({"conversations": [ASKED, *observed("1"), TOLD]}, ["/conversations/1: a result, and the turn before", HOW]),
        ({"conversations": [ASKED, CALLED, ASKED, *observed("1")]}, ["/conversations/3: a result, and the turn before"]),
        ({"conversations": [ASKED, TWICE, *observed("1, 2"), TOLD]}, ["/conversations/2: 1 result, and the turn"]),
        ({"conversations": [ASKED, CALLED, *observed("1", "2")]}, ["/conversations/2: 2 results, and the turn before it"]),
        ({"conversations": [ASKED, CALLED, CALLED, *observed("1")]}, ["/conversations/3: 1 result", "a list in one turn"]),
        (
            {"conversations": [ASKED, CALLED, *observed("<tool_response>1</tool_response><tool_response>2</tool_response>")]},
            ["/conversations/2: 2 results, and the turn before it makes 1 call: write"],
        ),
        (
            {"system": "Functions: […]", "conversations": [ASKED, {"from": "gpt", "value": '[Look Up(sku="A1", n=1)]'}]},
            ["/conversations/1/value: a call written as code", HOW],
        ),
        ({"system": "SYSTEM: …", "chat": "USER: hi"}, ["/: no messages", "docs/imports.md lists the forms"]),
        ({"query": "q", "answers": "[]", "tools": "[]"}, ["/: no messages", "as xLAM has them, have to become"]),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said_in_one_line(refused, line, faults):
    found = refused(line)
    assert found.startswith(faults[0]) and all(fault in found for fault in faults)


def test_validate_names_every_line_that_cannot_be_read(project, run_module):
    lines = [{"conversations": talk} for talk in ([ASKED, TOLD], [ASKED, *observed("1")], [TOLD, {"from": "me"}])]
    (project / "data/imported/theirs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (project / "data/imported/theirs.parquet").write_bytes(b"PAR1")
    done = run_module("distill.commands.validate")
    assert done.returncode == 1 and "theirs.jsonl:1" not in done.stderr
    assert (
        "theirs.jsonl:2: /conversations/1: a result" in done.stderr
        and "theirs.jsonl:3: /conversations/1: " in done.stderr
    )
    assert "theirs.parquet: not a rollout" in done.stderr and "`make import FILE=…` makes lines" in done.stderr
