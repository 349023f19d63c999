"""Reads folders of rollouts in any layout: one JSON object a file, JSON Lines shards, rnow's flat or nested files, and
finished conversations: `{messages, tools, metadata}` as rnow's converter and OpenAI's fine-tuning have them, or rows of datasets.

Streamed in two passes: the first checks every file and notes where each rollout lies, the second reads them in order.
So no rollout is used before all are valid, and memory grows by the place of a rollout, not by its text. Compressed
files are unpacked into a temporary folder in the first pass.
"""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from distill import answers
from distill.dataset.imports import columns, conversations, rnow
from distill.records import json_text, lines, schema
from distill.records.faults import InputError
from distill.records.jsonl import MOST_FAULTS, more_faults
from distill.records.types import Rollout, ToolSchema
from distill.tools.arguments import schema_fault

SUFFIXES = (".json", ".jsonl", ".jsonl.zst")


class _Place(NamedTuple):
    """Where a rollout lies. Places sort in the order in which the rollouts are read."""

    prompt_id: str
    sample: int
    id: str
    folder: Path
    path: str
    offset: int
    line: int


def read(*folders: Path | str) -> Iterator[Rollout]:
    """Every rollout under the folders, ordered by (prompt_id, sample, id) whatever the names and the order of the files.

    Raises InputError, before the first rollout, with every file that cannot be read, every fault of a record, and
    every id that occurs twice. Hidden files and DVC's own (*.dvc) are skipped.
    """
    with tempfile.TemporaryDirectory(prefix="distill-rollouts-") as temporary:
        for place in sorted(_survey([Path(folder) for folder in folders], Path(temporary))):
            name = _name(place.path, place.line)
            path = place.folder / place.path
            with open(_unpacked(path, Path(temporary)) if lines.is_packed(path) else path, "rb") as file:
                file.seek(place.offset)
                text = file.readline() if place.line else file.read()
            yield _record(columns.conversation(orjson.loads(text.removeprefix(lines.MARK))), name, place.sample)


def faults_of(text: bytes) -> list[str]:
    """Why a JSON text is no rollout in any of the layouts, as `/pointer: message`; empty when it is one."""
    return _checked(text, "", Counter())[1]


def _survey(folders: list[Path], temporary: Path) -> list[_Place]:
    """The place of every rollout under the folders. Raises InputError as `read`."""
    places: dict[str, _Place] = {}
    samples: Counter[str] = Counter()
    faults: list[str] = []
    for folder, path, offset, line, text in chain.from_iterable(
        _texts(folder, temporary, faults) for folder in folders
    ):
        where = f"{folder / path}:{line}" if line else f"{folder / path}"
        record, record_faults = _checked(text, _name(path, line), samples)
        if not record_faults:
            place = _Place(record["prompt_id"], record["sample"], record["id"], folder, path, offset, line)
            twin = places.setdefault(record["id"], place)
            if twin is not place:
                record_faults = [
                    f"/id: rollout {record['id']} is also in {twin.folder / twin.path}; delete one of the two"
                ]
        faults += [f"{where}: {fault}" for fault in record_faults]
        if len(faults) >= MOST_FAULTS:
            faults[MOST_FAULTS:] = [more_faults(folder)]
            break
    if faults:
        raise InputError(faults)
    return list(places.values())


def _texts(folder: Path, temporary: Path, faults: list[str]) -> Iterator[tuple[Path, str, int, int, bytes]]:
    """(folder, path under it, byte offset, line, JSON text) of each rollout; line 0: the whole file is one rollout.

    The faults of files that cannot be read are added to `faults`.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; `dvc repro teacher_rollouts` makes it")
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).parts):
        name = path.relative_to(folder)
        if path.is_dir() or path.suffix == ".dvc" or any(part.startswith(".") for part in name.parts):
            continue
        if not path.name.endswith(SUFFIXES):
            advice = "; `make import FILE=…` makes lines of its rows" if path.suffix == ".parquet" else ""
            faults.append(f"{path}: not a rollout: only {', '.join(SUFFIXES)} files belong here{advice}")
            continue
        try:
            if path.suffix == ".json":
                yield folder, name.as_posix(), 0, 0, _whole(path)
                continue
            if lines.is_packed(path):
                with open(_unpacked(path, temporary), "wb") as file:
                    file.writelines(lines.unpacked(path))
            for line in lines.read(path):
                yield folder, name.as_posix(), line.offset, line.number, line.text
        except InputError as error:
            faults += error.faults
        except OSError as error:
            faults.append(f"{path}: cannot be read: {error.strerror}")


def _whole(path: Path) -> bytes:
    """The text of a file that is one rollout. Raises InputError where it is too long."""
    with open(path, "rb") as file:
        text = file.read(lines.LONGEST + 1)
    if len(text) > lines.LONGEST:
        raise InputError(f"{path}: {lines.too_long()}")
    return text.removeprefix(lines.MARK)


def _unpacked(packed: Path, temporary: Path) -> Path:
    """The file in the temporary folder that a compressed file is unpacked to."""
    return temporary / hashlib.sha256(bytes(packed)).hexdigest()


def _name(path: str, line: int) -> str:
    """The name of a rollout without an id of its own: its file, with the line where a file has many."""
    return f"{path}:{line}" if line else path


def _checked(text: bytes, name: str, samples: Counter[str]) -> tuple[dict[str, Any], list[str]]:
    """The record of a JSON text, and its faults; `samples` numbers the rollouts of a prompt that have no number."""
    value, fault = json_text.parse(text)
    if fault:
        return {}, [fault]
    try:
        value = columns.conversation(value)
    except InputError as error:
        return {}, error.faults
    plain = conversations.is_plain(value)
    if not plain and not rnow.is_rnow(value):
        fault = conversations.other_fault(value)
        return value, [fault] if fault else _faults(value)
    key = "messages" if plain else "conversation"
    if not isinstance(value[key], list):
        return {}, [f"/{key}: must be a list of messages"]
    if plain and (fault := conversations.prompt_fault(value)):
        return {}, [fault]
    record = _record(value, name, 0)
    record["sample"] = samples[record["prompt_id"]]
    samples[record["prompt_id"]] += 1
    record_faults = _faults(record) or _tool_faults(record["tools"])
    return record, [fault.replace("/messages", f"/{key}", 1) for fault in record_faults]


def _faults(record: Any) -> list[str]:
    """What is wrong with a record, also with the answer that it expects: no answer could be compared with it."""
    is_row = isinstance(record, dict) and ("rollout_id" in record or "outcome" in record)
    return schema.faults("row" if is_row else "rollout", record) or _answer_faults(orjson.dumps(record["metadata"]))


def _tool_faults(tools: list[ToolSchema]) -> list[str]:
    """The tools from elsewhere whose parameters are no JSON Schema of an object: no call could be checked against them, and
    a template would show the student others, or none."""
    faults = ((number, schema_fault(tool["function"]["parameters"])) for number, tool in enumerate(tools))
    return [
        f"/tools/{number}/function/parameters: no JSON Schema of arguments: {fault}"
        for number, fault in faults
        if fault
    ]


@lru_cache(maxsize=1024)
def _answer_faults(metadata: bytes) -> list[str]:
    try:
        answers.grade([], orjson.loads(metadata))
    except InputError as error:
        return error.faults
    return []


def _record(value: dict[str, Any], name: str, sample: int) -> dict[str, Any]:
    """The rollout record of a conversation, a rollout, or a training row."""
    if conversations.is_plain(value):
        return conversations.rollout(value, name, sample)
    return rnow.rollout(value, name, sample) if rnow.is_rnow(value) else value
