"""Reads folders of rollouts in any layout: one JSON object a file, JSON Lines shards, rnow's flat or nested files, and
finished conversations `{messages, tools, metadata}` as rnow's converter and OpenAI's fine-tuning have them.

Streamed in two passes: the first checks every file and notes where each rollout lies, the second hands them out in
order. So no rollout is used before all are known to be good, and memory grows by a place per rollout, not by its text.
What is packed is unpacked into a temporary folder between the two.
"""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from distill.dataset import plain_rows, rnow
from distill.records import json_text, lines, schema
from distill.records.faults import InputError
from distill.records.jsonl import MOST_FAULTS, more_faults

SUFFIXES = (".json", ".jsonl", ".jsonl.zst")


class _Place(NamedTuple):
    """Where a rollout lies; places sort as the rollouts are handed out."""

    prompt_id: str
    sample: int
    id: str
    folder: Path
    path: str
    offset: int
    line: int


def read(*folders: Path | str) -> Iterator[dict[str, Any]]:
    """Every rollout under the folders, ordered by (prompt_id, sample, id) whatever the names and the order of the files.

    Raises InputError, before the first rollout, with every file that cannot be read, every fault of a record, and
    every id that occurs twice. Hidden files and those by which DVC tracks its neighbours are passed over.
    """
    with tempfile.TemporaryDirectory(prefix="distill-rollouts-") as room:
        for place in sorted(_survey([Path(folder) for folder in folders], Path(room))):
            name = _name(place.path, place.line)
            path = place.folder / place.path
            with open(_room(path, Path(room)) if lines.is_packed(path) else path, "rb") as file:
                file.seek(place.offset)
                text = file.readline() if place.line else file.read()
            yield _record(orjson.loads(text.removeprefix(lines.MARK)), name, place.sample)


def _survey(folders: list[Path], room: Path) -> list[_Place]:
    places: dict[str, _Place] = {}
    samples: Counter[str] = Counter()
    faults: list[str] = []
    for folder, path, offset, line, text in chain.from_iterable(_texts(one, room, faults) for one in folders):
        where = f"{folder / path}:{line}" if line else f"{folder / path}"
        record, found = _checked(text, _name(path, line), samples)
        if not found:
            place = _Place(record["prompt_id"], record["sample"], record["id"], folder, path, offset, line)
            twin = places.setdefault(record["id"], place)
            if twin is not place:
                found = [f"/id: rollout {record['id']} is also in {twin.folder / twin.path}; delete one of the two"]
        faults += [f"{where}: {fault}" for fault in found]
        if len(faults) >= MOST_FAULTS:
            faults[MOST_FAULTS:] = [more_faults(folder)]
            break
    if faults:
        raise InputError(faults)
    return list(places.values())


def _texts(folder: Path, room: Path, faults: list[str]) -> Iterator[tuple[Path, str, int, int, bytes]]:
    """(folder, path under it, byte offset, line, JSON text) of each rollout; line 0: the whole file is one rollout."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; `dvc repro teacher_rollouts` makes it")
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).parts):
        name = path.relative_to(folder)
        if path.is_dir() or path.suffix == ".dvc" or any(part.startswith(".") for part in name.parts):
            continue
        if not path.name.endswith(SUFFIXES):
            faults.append(f"{path}: not a rollout: only {', '.join(SUFFIXES)} files belong here")
            continue
        try:
            if path.suffix == ".json":
                yield folder, name.as_posix(), 0, 0, _whole(path)
                continue
            if lines.is_packed(path):
                _unpack(path, _room(path, room))
            for line in lines.read(path):
                yield folder, name.as_posix(), line.offset, line.number, line.text
        except InputError as error:
            faults += error.faults
        except OSError as error:
            faults.append(f"{path}: cannot be read: {error.strerror}")


def _whole(path: Path) -> bytes:
    with open(path, "rb") as file:
        text = file.read(lines.LONGEST + 1)
    if len(text) > lines.LONGEST:
        raise InputError(f"{path}: {lines.too_long()}")
    return text.removeprefix(lines.MARK)


def _unpack(packed: Path, path: Path) -> None:
    with open(path, "wb") as file:
        file.writelines(lines.unpacked(packed))


def _room(packed: Path, room: Path) -> Path:
    """Where in the temporary folder a packed file is unpacked to."""
    return room / hashlib.sha256(bytes(packed)).hexdigest()


def _name(path: str, line: int) -> str:
    """The name of a rollout that has none of its own: by its file, and its line where a file has many."""
    return f"{path}:{line}" if line else path


def _checked(text: bytes, name: str, samples: Counter[str]) -> tuple[dict[str, Any], list[str]]:
    """The record and its faults; `samples` counts the rollouts of a prompt that carry no number."""
    value, fault = json_text.parse(text)
    if fault:
        return {}, [fault]
    plain = plain_rows.is_plain(value)
    if not plain and not rnow.is_rnow(value):
        fault = plain_rows.other_fault(value)
        return value, [fault] if fault else schema.faults("rollout", value)
    talk = "messages" if plain else "conversation"
    if not isinstance(value[talk], list):
        return {}, [f"/{talk}: must be a list of messages"]
    if plain and (fault := plain_rows.prompt_fault(value)):
        return {}, [fault]
    prompt = rnow.prompt_id(plain_rows.as_rnow(value) if plain else value)
    record = _record(value, name, samples[prompt])
    samples[prompt] += 1
    return record, [fault.replace("/messages", f"/{talk}", 1) for fault in schema.faults("rollout", record)]


def _record(value: dict[str, Any], name: str, sample: int) -> dict[str, Any]:
    if plain_rows.is_plain(value):
        return plain_rows.rollout(value, name, sample)
    return rnow.rollout(value, name, sample) if rnow.is_rnow(value) else value
