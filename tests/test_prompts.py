"""From seed rows to prompts: ids, duplicates, splits, variables, and what is refused."""

import json
from pathlib import Path

import pytest

from distill.dataset.prompts import prepare, read_seed, split_of
from distill.records.faults import InputError


def row(text: str, **more: object) -> dict:
    return {"messages": [{"role": "user", "content": text}], **more}


def numbered(*rows: dict) -> list[tuple[str, dict]]:
    return [(f"seed.jsonl:{number}", row) for number, row in enumerate(rows, start=1)]


def test_the_id_is_the_content_not_the_place() -> None:
    one, two = prepare(numbered(row("a"), row("b")), 0.2)
    assert {prompt["id"] for prompt in prepare(numbered(row("b"), row("c"), row("a")), 0.2)} >= {one["id"], two["id"]}


def test_exact_duplicates_are_merged_and_contradictions_refused() -> None:
    answer = {"expected_answer": 4}
    assert len(prepare(numbered(row("a", metadata=answer), row("a", metadata=answer)), 0.2)) == 1
    with pytest.raises(InputError, match=r"seed.jsonl:2: /metadata: asks the same as seed.jsonl:1"):
        prepare(numbered(row("a", metadata=answer), row("a", metadata={"expected_answer": 5})), 0.2)
    with pytest.raises(InputError, match="another split"):
        prepare(numbered(row("a", split="train"), row("a", split="eval")), 0.2)


def test_a_prompt_never_changes_sides_when_others_come() -> None:
    few = {prompt["id"]: prompt["split"] for prompt in prepare(numbered(*(row(str(n)) for n in range(50))), 0.2)}
    many = {prompt["id"]: prompt["split"] for prompt in prepare(numbered(*(row(str(n)) for n in range(500))), 0.2)}
    assert few.items() <= many.items()
    assert 60 <= sum(split == "eval" for split in many.values()) <= 140


def test_split_of_takes_the_whole_range() -> None:
    assert split_of("0" * 16, 0.01) == "eval" and split_of("f" * 16, 0.99) == "train"


def test_variables_are_filled_in() -> None:
    (prompt,) = prepare(
        numbered(row("$topic costs $5, says $who", variables={"topic": "tea"}, metadata={"who": "Ann"})), 0.2
    )
    assert prompt["messages"][0]["content"] == "tea costs $5, says Ann"
    (plain,) = prepare(numbered(row("echo $HOME")), 0.2)
    assert plain["messages"][0]["content"] == "echo $HOME"
    (escaped,) = prepare(numbered(row("echo $$HOME in $topic", variables={"topic": "tea"})), 0.2)
    assert escaped["messages"][0]["content"] == "echo $HOME in tea"
    (bare,) = prepare(numbered(row("$who", variables={}, metadata={"who": "Ann"})), 0.2)
    assert bare["messages"][0]["content"] == "Ann"
    with pytest.raises(InputError, match=r"/messages/0/content: \$who has no value in variables; \$\$who stands for"):
        prepare(numbered(row("$topic, says ${who}", variables={"topic": "tea"})), 0.2)


def test_variables_are_filled_into_the_calls_of_a_prompt() -> None:
    def asked(arguments: str) -> dict:
        call = {"id": "1", "type": "function", "function": {"name": "find", "arguments": arguments}}
        told = {"role": "tool", "tool_call_id": "1", "content": "$text: $count"}
        messages = [{"role": "assistant", "tool_calls": [call]}, told, {"role": "user", "content": "And now?"}]
        return {"messages": messages, "variables": {"text": 'the "red" one', "count": 2}}

    (prompt,) = prepare(numbered(asked('{"text": "$text", "count": $count}')), 0.2)
    call, told, _ = prompt["messages"]
    assert json.loads(call["tool_calls"][0]["function"]["arguments"]) == {"text": 'the "red" one', "count": 2}
    assert told["content"] == 'the "red" one: 2'
    with pytest.raises(InputError, match=r"/messages/0/tool_calls/0/function/arguments: \$who has no value"):
        prepare(numbered(asked('{"text": "$who"}')), 0.2)


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        (
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
            "/messages/1: a prompt ends with a user message",
        ),
        ([{"role": "user", "content": " \n"}], "/messages/0/content: is blank"),
        (
            [{"role": "user", "content": "a"}, {"role": "tool", "tool_call_id": "c1", "content": "b"}],
            "answers no tool call",
        ),
        (
            [
                {"role": "user", "content": "a"},
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}],
                },
                {"role": "user", "content": "b"},
            ],
            "never answered: c1",
        ),
    ],
)
def test_what_is_no_prompt_is_refused(messages: list, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        prepare(numbered({"messages": messages}), 0.2)


def test_an_rnow_row_is_taken_as_it_is() -> None:
    text = (
        '{"messages": [{"role": "system", "content": "You are a research assistant"}, {"role": "user", "content": '
        '"Find info about NCT01234567"}], "tools": ["browse"], "docker": "local/playwright", "docker_env": {"DEBUG": '
        '"true"}, "variables": {"topic": "oncology"}, "metadata": {"expected_answer": "pembrolizumab"}}'
    )
    (prompt,) = prepare(numbered(json.loads(text)), 0.2)
    assert prompt["docker"] == "local/playwright" and prompt["tools"] == ["browse"]


def test_faults_of_all_files_are_named_together(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"messages": []}\n')
    (tmp_path / "b.jsonl").write_text("{\n")
    with pytest.raises(InputError) as caught:
        read_seed(tmp_path)
    assert [str(tmp_path / "a.jsonl:1") in str(caught.value), str(tmp_path / "b.jsonl:1") in str(caught.value)] == [
        True,
        True,
    ]


def test_an_empty_seed_folder_is_an_error(project: Path, run_stage) -> None:  # type: ignore[no-untyped-def]
    for path in (project / "data/seed").glob("*.jsonl"):
        path.unlink()
    done = run_stage("prompts")
    assert done.returncode == 1 and "error: data/seed: no prompts" in done.stderr
    assert not (project / "data/prompts.jsonl").exists()


def test_broken_json_on_line_3_is_named(project: Path, run_stage) -> None:  # type: ignore[no-untyped-def]
    path = next((project / "data/seed").glob("*.jsonl"))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], lines[2][:-5], *lines[3:]]) + "\n")
    done = run_stage("prompts")
    assert done.returncode == 1 and f"data/seed/{path.name}:3: " in done.stderr and "not valid JSON" in done.stderr
    assert not (project / "data/prompts.jsonl").exists()


def test_an_expected_answer_that_nothing_can_meet_is_refused() -> None:
    with pytest.raises(InputError, match=r"seed.jsonl:1: /metadata/expected_answer"):
        prepare(numbered(row("a", metadata={"expected_answer": "five or six", "answer_type": "number"})), 0.2)


def test_what_vanishes_or_is_not_used_is_said(project: Path, run_stage) -> None:  # type: ignore[no-untyped-def]
    for path in (project / "data/seed").glob("*.jsonl"):
        path.unlink()
    answers = [{"expectd": 4}, {"Answer": 4}, {"expected_answer": 4, "answer": "long"}, {"topic": "tea"}, {}]
    rows = [row(f"{n}", metadata=metadata) for n, metadata in enumerate(answers)]
    (project / "data/seed/a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows + rows))
    done = run_stage("prompts")
    first, *warned = done.stdout.splitlines()
    assert done.returncode == 0 and first.startswith("prompts: 5 (")
    same = "5 rows left out, the same as an earlier one: data/seed/a.jsonl:6, data/seed/a.jsonl:7, data/seed/a.jsonl:8"
    assert first.endswith(f"; {same}, and 2 more")
    told = "nothing is compared with it; is it the expected_answer?"
    places = ((1, "expectd"), (2, "Answer"), (6, "expectd"))
    named = [f"data/seed/a.jsonl:{line}: /metadata/{key}: {told}" for line, key in places]
    assert warned == ["warning: answers that may have the wrong name:", *named, "and 1 more"]
    (project / "data/seed/a.jsonl").write_text(json.dumps(row("a") | {"expected_answer": 4, "splitt": "eval"}) + "\n")
    said = run_stage("prompts").stderr
    assert (
        "a.jsonl:1: /: unknown key" in said
        and "'splitt', did you mean 'split'?" in said
        and "'expected_answer'" in said
    )
