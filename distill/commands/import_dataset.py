"""`make import FILE=…`: copies the conversations in a dataset's file into data/imported/, a row a line, and says which rows
cannot be read and are left out.

A file there with one such row is refused as a whole, so that nothing is lost without a word; here somebody reads the words.
"""

import argparse
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from distill.dataset import rollouts
from distill.project import stage
from distill.records import json_text, lines
from distill.records.atomic import replacing
from distill.records.counted import counted
from distill.records.faults import InputError

FOLDER = Path("data/imported")
ROWS_AT_ONCE = 1_000
"""Rows of a Parquet file that are in memory."""
MOST_REASONS = 10
_DIGITS = re.compile(r"\d+")


class LeftOut:
    """The rows that cannot be read, by the reason, whatever the numbers in it."""

    def __init__(self) -> None:
        self._counts, self._first = Counter[str](), dict[str, str]()

    def add(self, where: str, fault: str) -> None:
        """Counts a row."""
        kind = _DIGITS.sub("0", fault)
        self._counts[kind] += 1
        self._first.setdefault(kind, f"{where}: {fault}")

    def told(self) -> list[str]:
        """A line for each reason, the most frequent first, with the first row that it kept out."""
        shown = self._counts.most_common(MOST_REASONS)
        told = [f"left out: {counted(count, 'row')}, such as {self._first[kind]}" for kind, count in shown]
        unsaid = self._counts.total() - sum(count for _, count in shown)
        return told + ([f"left out: {counted(unsaid, 'row')} for other reasons"] if unsaid else [])


def main() -> None:
    """Imports every file. Raises InputError for one of which no row can be read, or that is there already."""
    parser = argparse.ArgumentParser(prog="python -m distill.commands.import_dataset", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=".jsonl, .jsonl.zst, .json or .parquet")
    parser.add_argument("-n", type=int, metavar="N", help="as many rows of each file, the first that can be read")
    options = parser.parse_args()
    if options.n is not None and options.n < 1:
        parser.error(f"N={options.n}: must be at least 1")
    for file in options.files:
        target = FOLDER / f"{file.name.partition('.')[0]}.jsonl"
        if target.exists():
            raise InputError(f"{target}: exists; remove it, or give {file} another name")
        left_out = LeftOut()
        with replacing(target) as imported:
            count = 0
            for count, text in enumerate(islice(_readable(file, left_out), options.n), start=1):  # noqa: B007
                imported.write(text + b"\n")
            if not count:
                raise InputError([f"{file}: no row can be read", *left_out.told()])
        for line in left_out.told():
            print(f"import: {line}")
        print(f"import: {counted(count, 'row')} -> {target}")


def _readable(file: Path, left_out: LeftOut) -> Iterator[bytes]:
    """The rows that can be read, as JSON texts."""
    for where, text in _texts(file):
        if faults := rollouts.faults_of(text):
            left_out.add(where, faults[0])
        else:
            yield text


def _texts(file: Path) -> Iterator[tuple[str, bytes]]:
    """Every row of a file, as a JSON text, and where it is. Raises InputError for a file of another kind, or a damaged one."""
    if file.name.endswith((".jsonl", f".jsonl{lines.PACKED}")):
        return ((f"{file}:{line.number}", line.text.strip()) for line in lines.read(file))
    if file.suffix == ".parquet":
        rows = _parquet(file)
    elif file.suffix == ".json":
        rows = _listed(file)
    else:
        raise InputError(f"{file}: only .jsonl, .jsonl.zst, .json and .parquet files can be imported")
    return ((f"{file}: row {number}", orjson.dumps(row, default=str)) for number, row in enumerate(rows, start=1))


def _listed(file: Path) -> Iterator[Any]:
    """The rows of one long list."""
    try:
        value, fault = json_text.parse(file.read_bytes().removeprefix(lines.MARK))
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    if fault:
        raise InputError(f"{file}: {fault}")
    yield from value if isinstance(value, list) else [value]


def _parquet(file: Path) -> Iterator[Any]:
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError:
        raise InputError(f"{file}: reading Parquet takes what `make install` installs") from None
    try:
        for batch in parquet.ParquetFile(file).iter_batches(ROWS_AT_ONCE):
            yield from batch.to_pylist()
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except (ArrowException, OSError) as error:
        raise InputError(f"{file}: cannot be read: {error}") from None


if __name__ == "__main__":
    with stage.ending():
        main()
