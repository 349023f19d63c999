"""Checks that the user writes, in checks.py."""

from pathlib import Path

import pytest
from good_rows import found, good, with_text
from injections import failing

from distill import checks
from distill.records.faults import InputError

OWN = """from distill.checks import Fault, check


@check
def short(row):
    return "too long" if len(row["messages"]) > 7 else None


@check
def polite(row):
    rude = [place for place, m in enumerate(row["messages"]) if m["role"] == "assistant" and "fool" in (m["content"] or "")]
    return Fault("is rude", tuple(f"/messages/{place}" for place in rude)) if rude else None


def helper(row):
    return "never run"
"""


def test_the_users_own_checks_run_by_name_and_can_mask(tmp_path: Path):
    (tmp_path / "checks.py").write_text(OWN)
    own = checks.load(tmp_path / "checks.py")
    assert list(own) == ["short", "polite"]
    long, rude, both = failing(["44"] * 3), with_text(4, "You fool."), failing(["44"] * 3)
    both["messages"][2]["content"] = "You fool."
    faults = [found("own", row, own=own) for row in (*good(1), long, rude, both)]
    assert (
        faults[0] is None
        and faults[1] == ("short: too long", ())
        and faults[2] == ("polite: is rude", ("/messages/4",))
    )
    assert (
        "short: too long; " in faults[3].detail and "polite: is rude" in faults[3].detail and faults[3].pointers == ()
    )
    assert checks.load(tmp_path / "no_such_file.py") == {}


def test_checks_may_be_objects_that_are_called(tmp_path: Path):
    made = "import functools\nfrom distill.checks import check\n\ndef longest(row, limit): return len(row['messages']) > limit\n"
    (tmp_path / "checks.py").write_text(made + "\nshort = check(functools.partial(longest, limit=3))\n")
    with pytest.raises(InputError, match=r"checks.py: check 'short' returned True; return None"):
        checks.load(tmp_path / "checks.py")["short"](good()[0])
    (tmp_path / "checks.py").write_text(made + "\nshort = check(functools.partial(longest))\n")
    with pytest.raises(InputError, match=r"checks.py: check 'short' must take one argument, the row"):
        checks.load(tmp_path / "checks.py")


@pytest.mark.parametrize(("text", "says"), [
    ("x = (", "checks.py:1: cannot be loaded: SyntaxError"),
    ("\nimport no_such_module", "checks.py:2: cannot be loaded: ModuleNotFoundError"),
    ("from distill.checks import check\n@check\ndef none(): ...", "checks.py:2: check 'none' must take one argument, the row"),
    ("from distill.checks import check\n@check\nasync def late(row): ...", "checks.py:2: check 'late' must be a plain function"),
])  # fmt: skip
def test_checks_that_cannot_run_are_named(tmp_path, text, says):
    (tmp_path / "checks.py").write_text(text)
    with pytest.raises(InputError) as error:
        checks.load(tmp_path / "checks.py")
    assert says in str(error.value), error.value


@pytest.mark.parametrize(("body", "says"), [
    ("\n    return row['metadata']['nothing']", "checks.py:5: check 'mine' raised KeyError: 'nothing' (rollout "),
    ("\n    return False", "checks.py:3: check 'mine' returned False; return None, or in words what is wrong"),
    ("\n    return Fault('x', ('/messages/7',))", "checks.py:3: check 'mine' points at ('/messages/7',); a Fault takes a tuple"),
    ("\n    return Fault('x', ('/messages/-1',))", "such as ('/messages/2',)"),
    ("\n    return Fault('x', '/messages/2')", "check 'mine' points at '/messages/2'; a Fault takes a tuple of JSON pointers"),
    ("\n    return Fault('x', (2,))", "such as ('/messages/2',)"),
    ("\n    return Fault('x', ('messages/2', ''))", "such as ('/messages/2',)"),
])  # fmt: skip
def test_a_check_that_fails_stops_the_run_with_its_line(tmp_path, body, says):
    (tmp_path / "checks.py").write_text(f"from distill.checks import Fault, check\n\n@check\ndef mine(row):{body}\n")
    own = checks.load(tmp_path / "checks.py")
    with pytest.raises(InputError) as error:
        own["mine"](good()[0])
    assert says in str(error.value), error.value
