"""A report of more conversations than a page can hold: it counts all of them and shows a part."""

import json
import random
import re

from hypothesis import given
from hypothesis import strategies as st
from report_project import write_project

from distill.report.gather import gather
from distill.report.page import page
from distill.report.sample import Sample
from distill.report.summary import summary
from distill.report.write import write_report


@given(st.dictionaries(st.text(), st.tuples(st.integers(1, 90), st.booleans()), min_size=1), st.randoms())
def test_the_same_records_are_drawn_in_whatever_order_they_come(records: dict, draw: random.Random) -> None:
    def drawn(names: list[str]) -> set[str]:
        sample = Sample(200)
        for name in names:
            size, first = records[name]
            sample.offer(name, "x" * size, first)
            assert len(list(sample)) == 1 or sum(len(text) + 2 for _, text in sample) <= 200
        return {name for name, _ in sample}

    names = list(records)
    held = drawn(names)
    draw.shuffle(names)
    assert drawn(names) == held
    left = records.keys() - held
    if any(records[name][1] for name in left):
        assert all(records[name][1] for name in held), "one that goes first was left out for one that does not"
    if left and len(held) > 1:
        assert sum(records[name][0] + 2 for name in held) > 200 - 92, "there was room for one more"


def test_a_page_without_room_for_all_counts_all_and_shows_the_held_out_ones_and_a_sample(tmp_path):
    write_project(tmp_path, train=60, held_out=6)
    whole, part = gather(tmp_path), gather(tmp_path, room=60_000)
    shown = {one["id"]: one for one in part["conversations"]}
    assert 6 < len(shown) < len(whole["conversations"]) == 66 == part["tally"].total
    assert all(one == shown[one["id"]] for one in whole["conversations"] if one["id"] in shown)
    assert sum(one["split"] == "eval" for one in shown.values()) == 6
    assert any(one["reasons"] for one in shown.values()) and len({one["fate"] for one in shown.values()}) > 2
    counted = [{**summary(report), "shown": 0, "tally": vars(report["tally"])} for report in (whole, part)]
    assert counted[0] == counted[1]
    told = " ".join(re.sub("<[^>]*>", "", page(part).decode()).split())
    assert f"{len(shown)} of 66 conversations: as many as a page takes, the held-out ones first" in told
    assert "of 66 conversations" not in page(whole).decode()


def test_held_out_conversations_share_the_room_where_even_they_are_too_many(tmp_path):
    write_project(tmp_path, train=10, held_out=40)
    few = gather(tmp_path, room=20_000)
    assert 1 < len(few["conversations"]) < 40 and {one["split"] for one in few["conversations"]} == {"eval"}
    assert all(len(one["talks"]) == 3 for one in few["conversations"])
    write_report(tmp_path, tmp_path / "index.html")
    index = re.search(r'id="index">(.*?)</script>', (tmp_path / "index.html").read_text())
    assert index and len(json.loads(index[1])["items"]) == 50
