"""Rollouts to training rows.

Reads rollouts/, and conversations from elsewhere in data/imported/, in any layout; those that call tools without
listing them get the tools of tools.py. Writes data/converted.jsonl: every completed rollout of a training prompt, with
outcome columns for the filter. Names every rollout that cannot be read; ends with an error when nothing is converted.
"""

import argparse
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from distill.dataset import convert, rollouts
from distill.project import stage
from distill.records import jsonl
from distill.records.types import Params, ToolSchema
from distill.tools.python import python_source

ROLLOUTS, IMPORTED = "rollouts", "data/imported"
CONVERTED = "data/converted.jsonl"


def main(params: Params, arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    include_failed = options.include_failed or params["convert"]["include_failed"]
    if options.output == CONVERTED:
        stage.forget_metrics()
    folders = [ROLLOUTS, *([IMPORTED] if Path(IMPORTED).is_dir() else [])]
    fates = convert.Fates()
    rows = convert.rows(rollouts.read(*folders), include_failed, fates, _own_tools)
    count = jsonl.write(options.output, rows, "row")
    print(
        f"convert: {count} rows of {fates.counts.total()} rollouts -> {options.output}; "
        f"left out: {fates.counts['failed']} failed, {fates.counts['eval']} held out for the evaluation"
    )
    for line in fates.failures():
        print(line)


@cache
def _own_tools() -> list[ToolSchema]:
    return [tool.schema for tool in python_source.load("tools.py").values()]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.convert", description="Rollouts to training rows.")
    parser.add_argument("-o", "--output", default=CONVERTED, metavar="FILE", help=f"default: {CONVERTED}")
    parser.add_argument("--include-failed", action="store_true", help="convert failed rollouts too")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    stage.run(main)
