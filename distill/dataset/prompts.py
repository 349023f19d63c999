"""Turns seed rows into prompts: validated, filled in, identified by content, without duplicates, split."""

import difflib
from pathlib import Path
from string import Template
from typing import Any

import orjson

from distill import answers
from distill.records import jsonl
from distill.records.faults import Faults, InputError
from distill.records.ids import content_id
from distill.records.types import Message, Prompt, Row
from distill.tools.sandbox import name

IDENTIFYING = ("messages", "tools", "docker", "docker_env", "docker_network")
"""The keys of a row whose values make up its id."""
LIKE_ANSWERS = ("expected_answer", "expected", "answer", "expected_output", "correct_answer")
"""Names that people give to the expected answer."""
SUFFIXES = (".jsonl", ".jsonl.zst")


def read_seed(folder: Path | str) -> list[tuple[str, dict[str, Any]]]:
    """The rows of `seed_rows`. Raises InputError with every fault."""
    faults = Faults()
    rows = seed_rows(folder, faults)
    faults.check()
    return rows


def seed_rows(folder: Path | str, faults: Faults) -> list[tuple[str, dict[str, Any]]]:
    """The valid rows of all files of a folder, in the order of the file names, each with its `file:line`; hidden files are
    skipped. Adds to `faults` those of invalid rows, of files that are not JSON Lines, and of a folder without rows where
    the folder `imported` beside it is empty, too.
    """
    rows: list[tuple[str, dict[str, Any]]] = []
    for path in sorted(path for path in Path(folder).glob("*") if not path.name.startswith(".")):
        if not path.name.endswith(SUFFIXES):
            faults.add(
                f"{path}: {'a folder' if path.is_dir() else 'not JSON Lines'}: prompts are in files of {folder}/ that end "
                f"in {' or '.join(SUFFIXES)}, one JSON object a line; move it elsewhere, or convert it"
            )
            continue
        with faults.collect():
            for number, row in jsonl.read_numbered(path, "prompt"):
                rows.append((f"{path}:{number}", row))
    if not rows and not faults and not _has_files(Path(folder).with_name("imported")):
        faults.add(
            f'{folder}: no prompts; put at least one row {{"messages": [...]}} into {folder}/*.jsonl, or finished '
            f"conversations into {Path(folder).with_name('imported')}/"
        )
    return rows


def _has_files(folder: Path) -> bool:
    """Whether a folder holds a file that is neither hidden nor DVC's own."""
    return any(path.is_file() and path.suffix != ".dvc" and path.name[0] != "." for path in folder.rglob("*"))


def merged(rows: list[tuple[str, dict[str, Any]]], prompts: list[Prompt]) -> list[str]:
    """The places of the rows that ask the same as an earlier one, as `file:line`; `prompts` is what `prepare` made of them."""
    kept = {prompt["source"] for prompt in prompts}
    return [source for source, _ in rows if source not in kept]


def unused_answers(rows: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """Where a row without an expected answer has metadata that look like one, as `file:line: /metadata/…: message`. It may
    well be meant: the metadata are the user's."""
    return [
        f"{source}: /metadata/{key}: nothing is compared with it; is it the expected_answer?"
        for source, row in rows
        if (row.get("metadata") or {}).get("expected_answer") is None
        for key in row.get("metadata") or {}
        if difflib.get_close_matches(key.lower(), LIKE_ANSWERS, n=1, cutoff=0.8)
    ]


def prepare(rows: list[tuple[str, dict[str, Any]]], eval_fraction: float, has_judge: bool = True) -> list[Prompt]:
    """The prepared prompts (schemas/prepared_prompt.schema.json) of seed rows, in their order.

    The id is a hash of the content; a row with the same content is merged into the first. A row without a `split` gets
    one by its id, so that it never changes sides. `has_judge`: whether answers may need a judge. Raises InputError with
    every fault.
    """
    prepared: dict[str, Prompt] = {}
    faults: list[str] = []
    for source, row in rows:
        filled = _filled(row)
        metadata = row.get("metadata") or {}
        problems = _unfilled(row) + _faults(filled["messages"]) + answers.faults(metadata) + _docker_faults(row)
        if not problems and not has_judge and answers.needs_judge(metadata):
            problems = ["/metadata/answer_type: judge, and there is none: set judge.model in params.yaml"]
        faults += [f"{source}: {problem}" for problem in problems]
        if problems:
            continue
        content = {key: filled[key] for key in IDENTIFYING if filled.get(key) is not None}
        identity = content_id(content)
        split = row.get("split") or split_of(identity, eval_fraction)
        prompt = {"id": identity, "split": split, "source": source, **content, "metadata": metadata}
        first = prepared.setdefault(identity, prompt)
        conflict = next((key for key in ("split", "metadata") if first[key] != prompt[key]), None)
        if conflict:
            faults.append(f"{source}: /{conflict}: asks the same as {first['source']}, but has another {conflict}")
    if faults:
        raise InputError(faults)
    return list(prepared.values())


def _docker_faults(row: Row) -> list[str]:
    """What is wrong with the name of the sandbox's image; the stage that starts it finds out whether the image exists."""
    problem = name.fault(row["docker"]) if row.get("docker") is not None else None
    return [f"/docker: {problem}"] if problem else []


def split_of(identity: str, eval_fraction: float) -> str:
    """`eval` for the share `eval_fraction` of all ids, `train` for the others."""
    return "eval" if int(identity[:8], 16) / 2**32 < eval_fraction else "train"


def _filled(row: Row) -> dict[str, Any]:
    """A row that has `variables` with `$name` in its messages and the arguments of their tool calls replaced by these, then
    by `metadata`; unknown names stay as they are."""
    if row.get("variables") is None:
        return row
    values = _values(row)
    in_json = {key: orjson.dumps(str(value)).decode()[1:-1] for key, value in values.items()}
    messages = []
    for message in row["messages"]:
        filled = dict(message)
        if message.get("content"):
            filled["content"] = Template(message["content"]).safe_substitute(values)
        if message.get("tool_calls"):
            filled["tool_calls"] = [
                call | {"function": {**function, "arguments": Template(function["arguments"]).safe_substitute(in_json)}}
                for call in message["tool_calls"]
                for function in [call["function"]]
            ]
        messages.append(filled)
    return row | {"messages": messages}


def _values(row: Row) -> dict[str, Any]:
    return {**(row.get("metadata") or {}), **(row.get("variables") or {})}


def _unfilled(row: Row) -> list[str]:
    """A fault for each `$name` without a value in a row with `variables`: the teacher would be asked about the name."""
    values = _values(row)
    return [
        f"/messages/{place}/{pointer}: ${name} has no value in variables; $${name} stands for the text ${name}"
        for place, message in enumerate(row["messages"] if row.get("variables") is not None else [])
        for pointer, text in _texts(message)
        for name in Template(text).get_identifiers()
        if name not in values
    ]


def _texts(message: Message) -> list[tuple[str, str]]:
    """What may hold `$name`, each with its JSON pointer in the message."""
    arguments = [
        (f"tool_calls/{place}/function/arguments", call["function"]["arguments"])
        for place, call in enumerate(message.get("tool_calls") or [])
    ]
    return [("content", message.get("content") or ""), *arguments]


def _faults(messages: list[Message]) -> list[str]:
    """Why a conversation cannot be a prompt, as `/pointer: message`."""
    faults = []
    open_calls: set[str] = set()
    for place, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                faults.append(f"/messages/{place}/tool_call_id: answers no tool call of the messages before it")
            open_calls.discard(message["tool_call_id"])
        open_calls |= {call["id"] for call in message.get("tool_calls", [])}
    if open_calls:
        faults.append(f"/messages: these tool calls are never answered: {', '.join(sorted(open_calls))}")
    if messages[-1]["role"] == "user" and not messages[-1]["content"].strip():
        faults.append(f"/messages/{len(messages) - 1}/content: is blank, so there is nothing to answer")
    if messages[-1]["role"] not in ("user", "tool"):
        faults.append(
            f"/messages/{len(messages) - 1}: a prompt ends with a user message; this one ends with "
            f"the role '{messages[-1]['role']}', so there is nothing left to ask"
        )
    return faults
