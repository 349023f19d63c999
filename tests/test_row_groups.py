"""A kind of task of which the filter keeps nothing is named: in the terminal, in reports/filter.json, on the page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_project import write_project
from rollout_records import call, rollout, tool

from distill.answers.groups import MOST_VALUES, Groups
from distill.dataset.convert import row
from distill.dataset.row_groups import MOST_LOST, RowGroups, lost
from distill.records import jsonl
from distill.report.gather import gather
from distill.report.page import page


def asked(units: int, kind: str, **metadata: Any) -> dict[str, Any]:
    made = row(rollout(units))
    made["metadata"] = made["metadata"] | {"kind": kind, "number": units} | metadata
    return made


def test_lost_groups_are_named(project: Path, run_stage, set_param: Callable[[str, object], None]) -> None:
    for name in ("length", "tools_shown", "contaminated", "own"):
        set_param(f"filter.{name}", "off")
    set_param("filter.calls", "mask")
    counts, money, masked = [asked(n, "count") for n in range(2, 14)], [], asked(40, "count")
    for n in range(20, 28):
        bad = asked(n, "money", answer_type="judge", rubric="The same sum.")
        bad["outcome"] |= {"correct": False, "answer": "41", "accepted_by": None}
        bad["tools"].append(tool("quote_shipping", to="string"))
        bad["messages"][2]["tool_calls"] = [call("call_1", "quote_shipping", '{"to": "Bern"}')]
        money.append(bad)
    masked["messages"][2]["tool_calls"] = [call("call_1", "unknown", "{}")]  # the filter masks this turn
    jsonl.write(project / "data/converted.jsonl", [*counts, *money, masked], "row")
    done = run_stage("filter")
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith("  lost: ")]
    assert told == [
        "  lost: answer_type=judge: 0 of 8 rows kept",
        "  lost: kind=money: 0 of 8 rows kept",
        "  lost: no kept row calls quote_shipping, as 8 of all rows did",
        "  lost: no kept row calls unknown, as 1 of all rows did",
    ]
    report = jsonl.read_json(project / "reports/filter.json", "filter_report")
    assert report["by_answer_type"] == {"number": {"rows": 13, "kept": 13}, "judge": {"rows": 8, "kept": 0}}
    assert report["by_metadata"] == {"kind": {"count": {"rows": 13, "kept": 13}, "money": {"rows": 8, "kept": 0}}}
    assert report["by_tool"]["lookup_item"] == {"rows": 12, "kept": 12}
    assert report["by_tool"]["calculator"] == {"rows": 21, "kept": 13}


def test_few_lines_are_said_of_many_groups() -> None:
    gone = {f"v{number}": {"rows": number, "kept": 0} for number in range(1, 8)}
    report = {"kept": 3, "by_source": {"seed": {"rows": 50, "kept": 3}}, "by_metadata": {"kind": gone}}
    report |= {"by_answer_type": {}, "by_tool": {}}
    lines = lost(report)
    assert len(lines) == MOST_LOST + 1 and lines[0] == "kind=v7: 0 of 7 rows kept"
    assert lines[-1] == "and 2 more groups, see reports/filter.json"
    assert lost(report | {"kept": 0}) == [], "that nothing is kept is said anyway"


def test_memory_does_not_grow_with_the_values() -> None:
    groups, half, other = Groups(), Groups(), Groups()
    for number in range(100_000):
        pairs = [("n", number), ("kind", number % MOST_VALUES), ("long", "x" * 999)]
        groups.add(pairs)
        (half if number < 50_000 else other).add(pairs)
    assert groups.counts["n"] is None and groups.counts["long"] is None
    assert sum((groups.counts["kind"] or {}).values()) == 100_000
    half.merge(other)
    assert half.counts == groups.counts
    more = Groups()
    more.add([("kind", "one more")])
    half.merge(more)
    assert half.counts["kind"] is None


@pytest.mark.parametrize("keys", [200, 201, 1000])
def test_too_many_keys_are_no_groups_however_the_rows_are_cut(keys: int) -> None:
    rows = [[("answer_type", "exact"), (f"key {number % (keys - 1)}", "a")] for number in range(3_000)]
    whole, parts = Groups(), Groups()
    for start in range(0, len(rows), 150):
        part = Groups()
        for pairs in rows[start : start + 150]:
            whole.add(pairs)
            part.add(pairs)
        parts.merge(part)
    assert whole.counts == parts.counts and whole.counts["answer_type"] == {"exact": 3_000}
    assert len(whole.counts) == (200 if keys == 200 else 1)


def test_no_group_keeps_fewer_rows_than_none() -> None:
    """Two shards with more keys than are counted; the rows that are lost have one that the second shard would leave out."""

    def with_key(number: int, value: str) -> dict[str, Any]:
        return row(rollout(2)) | {"metadata": {f"key {number}": value, "expected_answer": 2}}

    many = [with_key(number, value) for number in range(199) for value in "ab"]
    more, gone = [with_key(number, "a") for number in range(199, 398)], [with_key(0, "a")] * 5
    groups, lost_rows = RowGroups(), RowGroups()
    for shard in (many, more + gone):
        part = RowGroups()
        for made in shard:
            part.add(made)
        groups.merge(part)
    for made in gone:
        lost_rows.add(made)
    report = groups.report(lost_rows)
    assert report["by_metadata"] == {} and report["by_answer_type"] == {"number": {"rows": 602, "kept": 597}}


def test_the_page_names_lost_groups(tmp_path: Path) -> None:
    write_project(tmp_path, train=8, held_out=2)
    path = tmp_path / "reports/filter.json"
    report = json.loads(path.read_text())
    path.write_text(json.dumps(report | {"by_metadata": {}}))
    assert "Lost wholly" not in page(gather(tmp_path)).decode()
    kinds = {"kind": {"count": {"rows": 5, "kept": 5}, "money<b>": {"rows": 3, "kept": 0}}}
    path.write_text(json.dumps(report | {"by_metadata": kinds}))
    shown = page(gather(tmp_path)).decode()
    assert "Lost wholly: kind=money&lt;b&gt;: 0 of 3 rows kept." in shown and ">kind</th>" in shown
