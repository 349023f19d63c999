"""Rollouts in every layout become the same rows; a rollout that cannot be read is named, never skipped."""

import json
import shutil
from pathlib import Path

import orjson
import pytest
import zstandard
from rollout_records import rollout

from distill.dataset import rollouts
from distill.dataset.convert import row
from distill.records import jsonl, schema
from distill.records.faults import InputError
from distill.records.ids import content_id
from distill.student.evaluation import exam

SAMPLES = [rollout(units, sample) for units in (9, 7, 3) for sample in (1, 0)]
RNOW = {
    "id": "sample_1",
    "completed": True,
    "success": True,
    "errors": [],
    "truncated": False,
    "totalTokens": 10,
    "promptTokens": 6,
    "metadata": {"expected_answer": "82"},
    "conversation": [
        {"role": "user", "content": "q82"},
        {"role": "assistant", "content": "", "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "search", "arguments": '{"q":"x"}'}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "82"},
        {"role": "assistant", "content": "82"},
    ],
}  # fmt: skip


def as_files(folder: Path, records: list[dict]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for record in records:
        (folder / f"20261122_120000_{record['id']}.json").write_bytes(orjson.dumps(record))
    return folder


def as_shards(folder: Path, records: list[dict], shards: int = 2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(shards):
        lines = [orjson.dumps(record) + b"\n" for record in records[number::shards]]
        (folder / f"shard-{number:02}.jsonl").write_bytes(b"\n".join(lines))
    return folder


def rnow(folder: Path, name: str, **changes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(RNOW | changes))


def test_files_and_shards_give_the_same_rollouts_in_the_same_order(tmp_path):
    from_files = list(rollouts.read(as_files(tmp_path / "files", SAMPLES)))
    from_shards = list(rollouts.read(as_shards(tmp_path / "shards", SAMPLES[::-1])))
    assert from_files == from_shards == sorted(SAMPLES, key=lambda record: (record["prompt_id"], record["sample"]))


def test_rnows_nested_and_flat_layouts_are_read(tmp_path):
    rnow(tmp_path, "rollout_1/sample_1.json")
    rnow(tmp_path, "rollout_1/sample_2.json", truncated=True)
    rnow(tmp_path, "20260125_203801_1a2b3c4d.json", id="20260125_203801_1a2b3c4d", completed="error", error="boom")
    rnow(tmp_path, "20260125_203802_1a2b3c4e.json", completed=False, conversation=RNOW["conversation"][:2])
    found = {record["key"]: record for record in rollouts.read(tmp_path)}
    assert {key: (record["status"], record["stop_reason"]) for key, record in found.items()} == {
        "rnow/rollout_1/sample_1.json": ("completed", "final_answer"),
        "rnow/rollout_1/sample_2.json": ("failed", "truncated"),
        "rnow/20260125_203801_1a2b3c4d.json": ("failed", "api_error"),
        "rnow/20260125_203802_1a2b3c4e.json": ("failed", "api_error"),
    }
    assert sorted(record["sample"] for record in found.values()) == [0, 1, 2, 3]
    assert len({record["id"] for record in found.values()}) == 4
    converted = row(found["rnow/rollout_1/sample_1.json"])
    assert converted["messages"] == RNOW["conversation"] and converted["origin"] == "rollout_1/sample_1.json"
    assert converted["outcome"]["correct"] is True and converted["outcome"]["tokens"] == 10


def test_conversations_that_only_open_alike_are_of_different_prompts(tmp_path):
    hello = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    asked = [
        [*hello, {"role": "user", "content": f"What is {number}?"}, {"role": "assistant", "content": answer}]
        for number, answer in ((1, "one"), (2, "two"), (2, "2"))
    ]
    (tmp_path / "chats.jsonl").write_bytes(b"\n".join(orjson.dumps({"messages": one}) for one in [hello, *asked]))
    found = {record["key"]: record for record in rollouts.read(tmp_path)}
    greeted, one, two, again = (found[f"row/chats.jsonl:{line}"] for line in (1, 2, 3, 4))
    assert greeted["prompt_id"] == content_id({"messages": hello[:1]})
    assert len({record["prompt_id"] for record in (greeted, one, two)}) == 3
    assert again["prompt_id"] == two["prompt_id"] and {again["sample"], two["sample"]} == {0, 1}


def test_every_bad_rollout_is_named_before_any_is_used(tmp_path):
    as_files(tmp_path, SAMPLES)
    (tmp_path / "cut.json").write_bytes(orjson.dumps(SAMPLES[0])[:-20])
    (tmp_path / "empty.json").write_bytes(b"")
    (tmp_path / "list.json").write_bytes(b"[]")
    (tmp_path / "notes.txt").write_bytes(b"hello")
    (tmp_path / ".hidden.json.tmp").write_bytes(b"half")
    as_shards(tmp_path, [rollout(5), rollout(6) | {"status": "odd"}], shards=1)
    rnow(tmp_path, "rollout_1/sample_1.json", conversation=[{"role": "tool", "content": "x"}])
    rnow(tmp_path, "rollout_1/sample_2.json", metadata={"expected_answer": ["4"]})
    (tmp_path / "rows.jsonl").write_bytes(
        b"".join(
            orjson.dumps({"messages": RNOW["conversation"], "metadata": {"expected_answer": wrong}}) + b"\n"
            for wrong in ("82", ["4"], {"x": 1})
        )
    )
    (tmp_path / "twin.json").write_bytes(orjson.dumps(SAMPLES[0]))
    with pytest.raises(InputError) as error:
        next(rollouts.read(tmp_path))
    faults = sorted(fault.removeprefix(f"{tmp_path}/") for fault in error.value.faults)
    expected = [
        "cut.json: not valid JSON",
        "empty.json: not valid JSON",
        "list.json: /: ",
        "notes.txt: not a rollout",
        'rollout_1/sample_1.json: /conversation/0: "tool_call_id"',
        "rollout_1/sample_2.json: /metadata/answer_type: with several expected answers, say list",
        "rows.jsonl:2: /metadata/answer_type: with several expected answers, say list",
        "rows.jsonl:3: /metadata/expected_answer: must be a string or a number",
        "shard-00.jsonl:3: /status: ",
        f"twin.json: /id: rollout {SAMPLES[0]['id']} is also in",
    ]
    assert len(faults) == len(expected), faults
    assert all(fault.startswith(start) for fault, start in zip(faults, expected, strict=True)), faults


def test_a_folder_full_of_rubbish_stops_early(tmp_path):
    for number in range(150):
        (tmp_path / f"{number:03}.json").write_bytes(b"{")
    with pytest.raises(InputError, match="more than 100 faults") as error:
        list(rollouts.read(tmp_path))
    assert len(error.value.faults) == 101


def test_a_row_has_the_conversation_its_tools_and_what_came_out():
    record = rollout(9)
    record["messages"][3]["content"] = "error: no such item"
    converted = row(record)
    assert not schema.faults("row", converted)
    assert [converted[key] for key in ("messages", "tools", "metadata")] == [
        record[key] for key in ("messages", "tools", "metadata")
    ]
    assert converted["rollout_id"] == record["id"] and converted["teacher"] == record["model"]
    assert converted["outcome"] == {
        "status": "completed", "stop_reason": "final_answer", "answer": "396", "correct": True, "accepted_by": "number",
        "why": None, "turns": 3, "tool_calls": 2, "tool_errors": 1, "tokens": 360, "cost_usd": None,
    }  # fmt: skip


def test_the_stage_converts_finished_training_rollouts(project, run_stage):
    failed = rollout(4, status="failed", stop_reason="max_turns")
    as_files(project / "rollouts", [*SAMPLES, rollout(8, split="eval"), failed])
    done = run_stage("convert")
    assert done.returncode == 0, done.stderr
    assert "convert: 6 rows of 8 rollouts" in done.stdout and "1 failed, 1 held out" in done.stdout
    converted = project / "data" / "converted.jsonl"
    assert [line["rollout_id"] for line in jsonl.read(converted, "row")] == [
        record["id"] for record in sorted(SAMPLES, key=lambda record: (record["prompt_id"], record["sample"]))
    ]
    before = converted.read_bytes()
    for path in (project / "rollouts").iterdir():
        path.unlink()
    as_shards(project / "rollouts", SAMPLES)
    assert run_stage("convert", "-o", "other/rows.jsonl").returncode == 0
    assert (project / "other" / "rows.jsonl").read_bytes() == before
    as_shards(project / "rollouts", [*SAMPLES, failed])
    assert "convert: 7 rows" in run_stage("convert", "--include-failed").stdout


def test_imported_conversations_go_with_the_teachers(project, run_stage, run_module):
    """Plain rows, packed ones and rollouts, in a folder that no stage writes."""
    as_shards(project / "rollouts", SAMPLES[:2])
    imported = project / "data/imported"
    talk = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]
    (imported / "mine.jsonl").write_text(json.dumps({"messages": talk}) + "\n")
    (imported / "more.jsonl.zst").write_bytes(zstandard.compress(b"\n".join(map(orjson.dumps, SAMPLES[2:4]))))
    assert "3 imported conversations" in run_module("distill.commands.validate").stdout
    done = run_stage("convert")
    assert "convert: 5 rows of 5 rollouts" in done.stdout, done.stderr
    made = {one["rollout_id"]: one for one in jsonl.read(project / "data/converted.jsonl", "row")}
    assert {record["id"] for record in SAMPLES[:4]} < set(made)
    [mine] = [one for key, one in made.items() if key not in {record["id"] for record in SAMPLES}]
    assert (mine["messages"], mine["teacher"], mine["origin"]) == (talk, "unknown", "mine.jsonl:1")
    assert not any("origin" in one for one in made.values() if one is not mine)
    (imported / "mine.jsonl").write_text(f"\n{json.dumps(mine)}\n")  # a row of another such project
    assert run_stage("convert").returncode == 0
    places = {one.get("origin") for one in jsonl.read(project / "data/converted.jsonl", "row")}
    assert places == {None, "mine.jsonl:2"}
    (imported / "twin.json").write_bytes(orjson.dumps(SAMPLES[0]))
    (imported / "cut.jsonl").write_text('{"messages": ')
    for said in (run_stage("convert"), run_module("distill.commands.validate")):
        assert said.returncode == 1 and "data/imported/cut.jsonl:1: not valid JSON" in said.stderr
    assert "data/imported/twin.json: /id: rollout" in run_stage("convert").stderr


def test_the_greeting_of_an_imported_conversation_is_not_learned(project, run_stage):
    greeting, question = {"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "1 + 1?"}
    answer = {"role": "assistant", "content": "2"}
    (project / "rollouts").mkdir()
    talk = [greeting, question, answer]
    (project / "data/imported/mine.jsonl").write_text(json.dumps({"messages": talk}) + "\n")
    assert run_stage("convert").returncode == 0
    [row] = jsonl.read(project / "data/converted.jsonl", "row")
    assert row["messages"] == [greeting | {"weight": 0}, question, answer]


def test_what_logs_and_datasets_write_in_another_form_is_read(project, run_stage):
    """OpenAI's SDK and Arrow write every key, vLLM an empty list of calls, clients text in parts, templates take objects."""
    nothing = {"audio": None, "function_call": None, "annotations": [], "refusal": None, "reasoning_content": None}
    part = {"type": "text", "text": "1 + "}
    asked = {"name": "price", "arguments": {"sku": "A1", "days": [1, 2.5]}}
    talk = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [part, part | {"text": "1?", "image_url": None}], "tool_calls": None},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": asked, "index": None}],
        }
        | nothing,
        {"role": "tool", "tool_call_id": "c", "content": [], "name": None},
        {"role": "assistant", "content": "2", "tool_calls": []} | nothing,
    ]
    function = {"name": "price", "description": None, "parameters": None, "strict": None}
    tools = json.dumps([{"type": "function", "function": function}])
    plain = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "2"},
    ]
    (project / "rollouts").mkdir()
    lines = [json.dumps({"messages": talk, "tools": tools}), json.dumps({"messages": plain})]
    (project / "data/imported/mine.jsonl").write_text("\n".join(lines))
    done = run_stage("convert")
    assert done.returncode == 0, done.stderr
    made = {one["outcome"]["tool_calls"]: one for one in jsonl.read(project / "data/converted.jsonl", "row")}
    written = asked | {"arguments": '{"sku":"A1","days":[1,2.5]}'}
    assert made[0]["messages"] == plain and made[0]["prompt_id"] == made[1]["prompt_id"]
    assert made[1]["messages"] == [
        *plain[:2],
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": written}]},
        {"role": "tool", "tool_call_id": "c", "content": ""},
        plain[2],
    ]
    [tool] = made[1]["tools"]
    assert tool["function"] == {"name": "price", "parameters": {"type": "object", "properties": {}}}


@pytest.mark.parametrize(
    "content", [[{"type": "image_url", "image_url": {"url": "data:"}}], [{"type": "text", "text": 1}], {}]
)
def test_a_content_that_is_no_text_is_refused(project, run_stage, content):
    (project / "rollouts").mkdir()
    talk = [{"role": "user", "content": content}, {"role": "assistant", "content": "2"}]
    (project / "data/imported/mine.jsonl").write_text(json.dumps({"messages": talk}))
    assert "data/imported/mine.jsonl:1: /messages/0/content: " in run_stage("convert").stderr


def test_imported_conversations_that_are_left_out_are_named(project, run_stage):
    talk = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]
    asked = [{"messages": [{"role": "user", "content": f"q{n}"}, *talk[1:], talk[0]]} for n in range(4)]
    lines = [{"messages": talk}, *asked, {"messages": RNOW["conversation"][:3]}]
    (project / "rollouts").mkdir()
    (project / "data/imported/mine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = run_stage("convert")
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert "convert: 1 rows of 6 rollouts" in said[0] and "5 failed" in said[0]
    assert said[1].startswith("  5 failed (1 cut off, 4 unanswered)")
    assert said[2].startswith("  imported ones: mine.jsonl:") and said[2].endswith(" and 2 more")
    assert "(unanswered)" in said[2] and "--include-failed" in said[3] and "`error`" not in done.stdout
    assert "filter.finished, final_answer and paired to off" in said[4]


def test_what_the_prompt_lets_the_assistant_say_is_no_turn_of_the_teachers():
    record = rollout(9, 0)
    shown = [
        {"role": "user", "content": "What does A1 cost?"},
        {"role": "assistant", "content": "", "tool_calls": [record["messages"][2]["tool_calls"][0] | {"id": "shown"}]},
        {"role": "tool", "tool_call_id": "shown", "content": "error: no such item"},
        {"role": "assistant", "content": "I have no idea."},
    ]
    spoken = sum(message["role"] == "assistant" for message in record["messages"])
    talk = record | {"messages": [record["messages"][0], *shown, *record["messages"][1:]], "calls": [{}] * spoken}
    made, alone = row(talk), row(record)
    assert [message.get("weight") for message in made["messages"] if message["role"] == "assistant"] == [
        0, 0, *[None] * spoken
    ]  # fmt: skip
    assert made["outcome"] == alone["outcome"]
    ours = exam.from_rollout(talk)
    assert (ours["turns"], ours["tool_calls"]) == (spoken, alone["outcome"]["tool_calls"])
    unanswered = talk | {
        "messages": talk["messages"][:6],
        "calls": [],
        "status": "failed",
        "versions": {"distill": "1"},
    }
    assert exam.from_rollout(unanswered)["turns"] == 0 and row(unanswered)["outcome"]["turns"] == 0
    assert {message.get("weight") for message in row(unanswered)["messages"] if message["role"] == "assistant"} == {0}
    assert not schema.faults("row", made)


def test_calls_to_tools_that_nobody_names_are_those_of_the_project(project, run_stage):
    shutil.copy(Path(__file__).parent / "shop_tools.py", project / "tools.py")
    call = {"id": "c", "type": "function", "function": {"name": "lookup_item", "arguments": '{"sku": "A1"}'}}
    talk = [RNOW["conversation"][0], {"role": "assistant", "content": "", "tool_calls": [call]}]
    talk += [{"role": "tool", "tool_call_id": "c", "content": "82"}, RNOW["conversation"][3]]
    rnow(project / "data/imported", "one.json", conversation=talk)
    as_files(project / "rollouts", SAMPLES[:1])
    done = run_stage("convert")
    assert done.returncode == 0, done.stderr
    imported = next(one for one in jsonl.read(project / "data/converted.jsonl", "row") if one["teacher"] == "unknown")
    assert "lookup_item" in {tool["function"]["name"] for tool in imported["tools"]}


def test_training_rows_of_another_project_are_conversations(project, run_stage):
    as_shards(project / "rollouts", SAMPLES[:1])
    assert run_stage("convert").returncode == 0
    [row] = jsonl.read(project / "data/converted.jsonl", "row")
    shutil.rmtree(project / "rollouts")
    (project / "rollouts").mkdir()
    (project / "data/imported/theirs.jsonl").write_text(json.dumps(row) + "\n")
    done = run_stage("convert")
    assert done.returncode == 0, done.stderr
    [again] = jsonl.read(project / "data/converted.jsonl", "row")
    same = ("messages", "tools", "metadata", "teacher")
    assert {key: again[key] for key in same} == {key: row[key] for key in same}


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (
            {"messages": RNOW["conversation"][:1], "rewards": ["x"], "docker": "local/shop", "variables": {"a": 1}},
            "/messages: no assistant message: prompts belong into data/seed/",
        ),
        (
            {"messages": RNOW["conversation"], "tools": ["price"]},
            "/tools: names, where a conversation has schemas; without `tools` they are those of tools.py",
        ),
        ({"text": "hi"}, "/: no messages, so this is no conversation"),
        (
            [{"messages": RNOW["conversation"]}],
            "/: a list, where a conversation is an object: `make import FILE=…` makes lines of its rows",
        ),
    ],
)
def test_what_is_no_conversation_is_said_in_one_line(project, run_stage, row, fault):
    (project / "rollouts").mkdir()
    (project / "data/imported/odd.jsonl").write_text(json.dumps(row) + "\n")
    done = run_stage("convert")
    assert done.returncode == 1
    assert done.stderr.count("odd.jsonl") == 1 and f"data/imported/odd.jsonl:1: {fault}" in done.stderr


@pytest.mark.parametrize(
    ("parameters", "fault"),
    [
        ({"type": "dict", "properties": {}}, '/type: "dict" is not a type; there are array, boolean, integer,'),
        ({"type": "object", "properties": {"sku": {"type": "str"}}}, '/properties/sku/type: "str" is not a type'),
        (
            {"type": "object", "properties": {"sku": {"required": True}}},
            "/properties/sku/required: true is not of type",
        ),
        ({"sku": {"type": "str", "description": "Code."}}, "its type is not object"),
    ],
)
def test_a_tool_without_a_json_schema_is_refused(project, run_stage, parameters, fault):
    """As datasets of calls have them: no call could be checked, and the student would be shown no parameters."""
    (project / "rollouts").mkdir()
    tools = [{"type": "function", "function": {"name": "price", "parameters": one}} for one in ({}, parameters)]
    talk = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]
    (project / "data/imported/odd.jsonl").write_text(json.dumps({"messages": talk, "tools": tools}) + "\n")
    where = "data/imported/odd.jsonl:1: /tools/1/function/parameters: no JSON Schema of arguments"
    done = run_stage("convert")
    assert done.returncode == 1 and done.stderr.count("odd.jsonl") == 1 and f"{where}: {fault}" in done.stderr


def test_a_schema_may_lack_its_type_and_have_the_nulls_of_a_table(project, run_stage):
    """As servers take it, and as a column of a dataset has the keywords and parameters of all its tools."""
    (project / "rollouts").mkdir()
    sku = {"type": "string", "description": None, "enum": None, "default": None}
    parameters = {"properties": {"sku": sku, "place": None}, "required": ["sku"], "additionalProperties": None}
    tools = [{"type": "function", "function": {"name": "price", "parameters": parameters}}]
    talk = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]
    (project / "data/imported/odd.jsonl").write_text(json.dumps({"messages": talk, "tools": tools}) + "\n")
    done = run_stage("convert")
    assert done.returncode == 0, done.stderr
    (row,) = jsonl.read(project / "data" / "converted.jsonl", "row")
    read = {"properties": {"sku": {"type": "string", "default": None}}, "required": ["sku"]}
    assert row["tools"][0]["function"]["parameters"] == {"type": "object", **read}


def test_nothing_converted_is_an_error_that_says_why(project, run_stage):
    output = project / "data" / "converted.jsonl"
    assert not output.exists()
    (project / "rollouts").mkdir(exist_ok=True)
    done = run_stage("convert")
    assert done.returncode == 1 and "there is no rollout; `dvc repro teacher_rollouts`" in done.stderr
    failed = [rollout(units, status="failed", stop_reason="max_turns") for units in (2, 3)]
    as_files(project / "rollouts", [*failed, rollout(8, split="eval")])
    done = run_stage("convert")
    assert done.returncode == 1
    assert "nothing converted of 3 rollouts" in done.stderr and "2 failed (2 max_turns)\n" in done.stderr
    assert "1 are held out" in done.stderr and "--include-failed" in done.stderr
    error = {
        "kind": "server",
        "where": "teacher",
        "message": "busy",
        "http_status": 500,
        "retryable": True,
        "request": None,
    }
    as_files(project / "rollouts", [*failed, rollout(4, status="failed", stop_reason="api_error", error=error)])
    assert "3 failed (1 api_error, 2 max_turns); `error` says more of 1" in run_stage("convert").stderr
    (project / "rollouts" / "bad.json").write_text("{")
    done = run_stage("convert")
    assert done.returncode == 1 and "rollouts/bad.json: not valid JSON" in done.stderr
    assert not output.exists()


def test_conversations_alone_make_a_project(project, run_stage, run_module, set_param):
    """No prompt, no key: nobody is asked, and the rows are there to train on."""
    for path in (project / "data/seed").glob("*.jsonl"):
        path.unlink()
    set_param("model", "gpt-5.2")
    assert "data/seed: no prompts; put" in run_stage("prompts").stderr
    talk = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]
    (project / "data/imported/mine.jsonl").write_text(json.dumps({"messages": talk}) + "\n")
    for stage in ("prompts", "teacher_rollouts", "convert"):
        done = run_stage(stage)
        assert done.returncode == 0, done.stderr
    assert [one["messages"] for one in jsonl.read(project / "data/converted.jsonl", "row")] == [talk]
    assert "valid: 0 prompts" in run_module("distill.commands.validate").stdout
