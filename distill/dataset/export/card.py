"""The data card: where a dataset comes from, its teachers, its counts, and what its licence depends on."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import yaml

from distill.dataset.export.huggingface import FEATURES
from distill.project.committed import version
from distill.records import jsonl
from distill.records.faults import InputError
from distill.records.ids import file_hash
from distill.records.types import Params, Row

REPORT = Path("reports/filter.json")
SIZES = [
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
    (1_000_000_000, "100M<n<1B"),
    (10_000_000_000, "1B<n<10B"),
]
"""Rows below which a dataset has one of the hub's size categories."""
IMPORTED = "unknown"
"""The teacher of conversations from elsewhere that name none."""
MOST_TOOLS = 20
"""Tools that the card lists."""


def card(train: Path, rows: Iterable[Row], params: Params) -> str:
    """The text of README.md for the rows of `train`; the same rows, params and commit give the same card."""
    teachers: Counter[str] = Counter()
    tools: Counter[str] = Counter()
    prompts: set[str] = set()
    turns = calls = masked = count = 0
    for row in rows:
        count += 1
        teachers[row["teacher"]] += 1
        prompts.add(row["prompt_id"])
        turns += row["outcome"]["turns"]
        calls += row["outcome"]["tool_calls"]
        masked += any(message.get("weight") == 0 for message in row["messages"])
        tools.update(tool["function"]["name"] for tool in row["tools"])
    size = next(name for most, name in SIZES if count < most)
    teacher_lines = "\n".join(f"| {name} | {number} |" for name, number in teachers.most_common())
    tool_list = ", ".join(f"`{name}` ({number})" for name, number in tools.most_common(MOST_TOOLS)) or "none"
    by_teacher = set(teachers) != {IMPORTED}
    origin = ["Written by a teacher model and its tools"] if by_teacher else []
    origin += ["imported from where no model was named"] if IMPORTED in teachers else []
    written = ", or ".join(origin)
    commit = version()
    # The description: `datasets` keeps what it has loaded by the card, and would give the rows of an earlier export again.
    info = {"description": f"SHA-256 of {train.as_posix()}: {file_hash(train)}", "features": FEATURES}
    return f"""---
license: unknown
task_categories:
- text-generation
tags:
- distillation
- tool-use
- sft
size_categories:
- {size}
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train.jsonl
{yaml.safe_dump({"dataset_info": info}, sort_keys=False, width=200)}---

# {count} conversations with tools

{written[:1].upper()}{written[1:]}; checked and filtered, for training a student on them
(off-policy distillation). `messages` are in OpenAI's chat form; `tools`, `metadata` and `outcome` are JSON strings
(`json.loads(row["tools"])`; TRL does it itself). The arguments of calls are loaded as objects, by datasets 4.7 or newer. An
assistant message with `weight: 0` is context and not to be learned from: your trainer must mask it, TRL does not.

## Counts

| | |
|---|---|
| conversations | {count} |
| prompts | {len(prompts)} |
| assistant turns | {turns} |
| tool calls | {calls} |
| conversations with turns of weight 0 | {masked} |
| tools, and the conversations that offer them | {tool_list} |

| teacher | conversations |
|---|---|
{teacher_lines}

{_filtered(count)}## Lineage

| | |
|---|---|
| SHA-256 of `{train.as_posix()}` | `{file_hash(train)}` |
| git commit of the project | {f"`{commit}`" if commit else "unknown"} |
| teacher in `params.yaml` | {f"`{params['model']}`" if by_teacher else "wrote none of these conversations"} |
| held-out prompts | not in here: they are those with `"split": "eval"` in the seed, else chosen by a hash of their content |

## Licence

Not decided here. It depends on the terms of the teacher's provider, some of which do not allow training on the output
of their models, and on the sources of the prompts and of what the tools returned. Read both, then replace
`license: unknown` above.
"""


def _filtered(count: int) -> str:
    """The section on the filter; empty where there is no report, or it is about other rows."""
    try:
        report = jsonl.read_json(REPORT, "filter_report")
    except InputError:
        return ""
    if report["kept"] != count:
        return ""
    steps = "\n".join(f"| {step['check']} | {step['rejected']} |" for step in report["funnel"])
    return (
        f"## Filter\n\n{report['rows']} conversations came in, {report['kept']} stayed. A conversation can fail several "
        f"checks.\n\n| check | rejected |\n|---|---|\n{steps}\n\n"
    )
