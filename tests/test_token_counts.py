"""Token counts are remembered outside of the workspace, and only where they are right."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from rollout_records import rollout

from distill.dataset import token_counts
from distill.dataset.convert import row
from distill.dataset.token_counts import TokenCounts
from distill.student import render
from distill.student.tokenizer import Tokenizer


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The rows that are really counted: the real function, watched."""
    seen: list[str] = []
    real = render.count_tokens

    def watched(row: dict[str, Any], tokenizer: Tokenizer) -> int:
        seen.append(row["rollout_id"])
        return real(row, tokenizer)

    monkeypatch.setattr(render, "count_tokens", watched)
    return seen


def tokenizer(end: str = "<end>") -> Tokenizer:
    """One token a word; it cannot say the word `unsayable`."""

    def text(messages: list[dict], tools: list[dict] | None, add_generation_prompt: bool) -> str:
        if "unsayable" in str(messages):
            raise TypeError("no")
        turns = [f" {m['role']} : {m['content']} {m.get('tool_calls', '')} {end}" for m in messages]
        return f"{tools}" + "".join(turns) + (" assistant :" if add_generation_prompt else "")

    def encode(text: str) -> list[int]:
        return [1 if word == end else 7 for word in text.split()]

    return Tokenizer("t", text, encode, lambda ids: end, frozenset({1}), frozenset({1}))


def test_what_was_counted_is_not_counted_again(tmp_path: Path, calls: list[str]) -> None:
    rows = [row(rollout(units)) for units in (2, 3, 4)]
    rows[2]["messages"][6]["content"] = "unsayable"
    first = TokenCounts(tokenizer(), b"one", 10**6, tmp_path / "counts.sqlite")
    numbers = [first(row) for row in rows[:2]]
    said = first(rows[2])
    first.flush()
    assert len(calls) == 3 and numbers[0] > 10
    rows[0]["outcome"]["correct"] = False
    again = TokenCounts(tokenizer(), b"one", 10**6, tmp_path / "counts.sqlite")
    assert [again(row) for row in rows[:2]] == numbers
    assert again(rows[2]) == again(rows[2]) == said and "refuses: no" in said and len(calls) == 3


def test_another_row_or_another_tokenizer_is_counted(tmp_path: Path, calls: list[str]) -> None:
    given = row(rollout(2))
    first = TokenCounts(tokenizer(), b"one", 10**6, tmp_path / "counts.sqlite")
    before = first(given)
    first.flush()
    TokenCounts(tokenizer(), b"other", 10**6, tmp_path / "counts.sqlite")(given)
    longer = row(rollout(2))
    longer["messages"][1]["content"] += " please now"
    assert first(longer) == before + 2 and len(calls) == 3


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b""])
def test_a_damaged_file_is_made_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "counts.sqlite"
    path.write_bytes(content)
    counts = TokenCounts(tokenizer(), b"one", 10**6, path)
    number = counts(row(rollout(2)))
    counts.flush()
    assert sqlite3.connect(path).execute("SELECT count FROM counts").fetchall() == [(number,)]


def test_without_a_place_to_remember_it_counts_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    counts = TokenCounts(tokenizer(), b"one", 10**6, tmp_path / "file/counts.sqlite")
    number = counts(row(rollout(2)))
    counts.flush()
    assert counts(row(rollout(2))) == number


def test_the_last_turn_is_a_lower_bound_and_is_used_only_beyond_the_limit(
    tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = row(rollout(2))
    long["messages"][6:6] = [
        {"role": role, "content": "yes"} for _ in range(token_counts.MANY // 2) for role in ("assistant", "user")
    ]
    exact = render.count_tokens(long, tokenizer())
    calls.clear()
    assert render.count_last_turn(long, tokenizer()) <= exact
    assert TokenCounts(tokenizer(), b"one", exact, tmp_path / "a.sqlite")(long) == exact and len(calls) == 1
    short = TokenCounts(tokenizer(), b"one", exact // 2, tmp_path / "b.sqlite")
    minimum = short(long)
    assert exact // 2 < minimum and len(calls) == 1
    short.flush()
    monkeypatch.setattr(render, "count_last_turn", None)  # it is remembered, too
    assert TokenCounts(tokenizer(), b"one", exact // 2, tmp_path / "b.sqlite")(long) == minimum and len(calls) == 1


def test_a_key_has_the_code_of_every_module_that_renders() -> None:
    imported = {getattr(value, "__module__", None) for module in token_counts.CODE for value in vars(module).values()}
    of_students = {name for name in imported if str(name).startswith("distill.student.")}
    assert of_students == {module.__name__ for module in token_counts.CODE}
