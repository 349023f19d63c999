"""`math`: equal as mathematics, by math-verify in a process of its own.

sympy may not terminate on an answer like 9^9^9^9, so it runs in a child process with CPU and memory limits; a
comparison that kills the child counts as unequal, and the next one gets a new child.
"""

import atexit
import os
import re
import subprocess
import sys
import threading
from functools import lru_cache
from typing import Any

import orjson

from distill.answers import expected, math_process, number
from distill.answers.signs import typed
from distill.records.paths import PROJECT
from distill.records.types import Metadata

LONGEST = 2_000
"""Characters of an answer that is still read as a formula."""
CPU_S = 10.0
"""Seconds of processor time for one question: usual ones take milliseconds."""
_DANGLING = re.compile(r"[*+/^=-]\s*\$*$")
"""An answer that breaks off: `x = 5 +`."""
_FULL_STOP = re.compile(r"(?<!\.)\.\s*$")
"""That of a sentence, which math-verify takes for a part of some formulas."""
_SIMPLE_LEFT_SIDE = re.compile(r"\$*\s*(?:\\?[A-Za-z]\w*(?:_\{?\w+\}?)?(?:\([\w\\/., ]*\)|!)?|\|\w+\||[^A-Za-z]*)\s*")
_SIZE = re.compile(r"%|\b(?:per ?cent|dozen|hundred|thousand|[mb]illion|trillion)\b", re.IGNORECASE)
"""Words that math-verify takes for a unit, of which it knows none."""
_HEDGE = re.compile(r"\b(?:or|not|either|approximately|about)\b", re.IGNORECASE)


def why_not(answer: str, metadata: Metadata) -> str | None:
    """None where math-verify finds both equal, and they are of one kind: an equation is not a value, 10 is not 10%."""
    wanted, printed = expected.text(metadata), _FULL_STOP.sub("", answer)
    answer = typed(printed)
    if unlike := _unlike(wanted, answer):
        return unlike
    if number.is_plain(wanted) and number.is_plain(printed):  # whose spaces may group digits
        return number.why_not(printed, {"expected_answer": wanted})
    equal = _ask(wanted, answer)
    return None if equal else "not equal by math-verify" if equal is False else "math-verify could not compare it"


def _unlike(wanted: str, answer: str) -> str | None:
    """What makes an answer another kind of thing than the expected one, whatever its value."""
    if len(answer) > LONGEST:
        return f"longer than {LONGEST} characters"
    if _DANGLING.search(answer):
        return "it breaks off"
    if (size := _size(answer)) != _size(wanted):
        return f"only one of the two is in {size or _size(wanted)}"
    if (hedge := _HEDGE.search(answer)) and not _HEDGE.search(wanted):
        return f"hedged: '{hedge.group()}'"
    if "=" in answer and "=" not in wanted and not _SIMPLE_LEFT_SIDE.fullmatch(answer.rpartition("=")[0].split("=")[0]):
        return "an equation, not a value"
    return None


def _size(text: str) -> str:
    """The word of _SIZE in a text, if any."""
    found = _SIZE.search(text)
    word = found[0].casefold() if found else ""
    return "percent" if word in ("%", "per cent") else word


def faults(metadata: Metadata) -> list[str]:
    """The fault of an expected answer that math-verify cannot read."""
    problems = expected.text_faults(metadata)
    if not problems and _ask(expected.text(metadata), None) is not True:
        problems.append(
            f"/metadata/expected_answer: math-verify cannot read '{expected.text(metadata)}'; write LaTeX, or use "
            "another answer_type"
        )
    return problems


@lru_cache(maxsize=65_536)
def _ask(wanted: str, answer: str | None) -> bool | None:
    """Whether both are equal (or, without an answer, whether `wanted` can be read); None when that took too long."""
    return _CHILD.ask({"expected": wanted, "answer": answer})


class Child:
    """The process in which math-verify runs; started by the first question."""

    def __init__(self, cpu_s: float = CPU_S) -> None:
        self._cpu_s = cpu_s
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._turn = threading.Lock()

    def ask(self, question: dict[str, Any]) -> bool | None:
        """The answer to a question of math_process.py; None where the process ended instead."""
        with self._turn:
            if self._process is None or self._owner != os.getpid():  # after a fork, the process belongs to the parent
                self._process = self._start()
            assert self._process.stdin and self._process.stdout
            try:
                self._process.stdin.write(orjson.dumps(question) + b"\n")
                self._process.stdin.flush()
                reply = self._process.stdout.readline()
            except BrokenPipeError:
                reply = b""
            except BaseException:
                self.end()  # an interrupted question must not leave its reply to the next one
                raise
            if reply:
                return orjson.loads(reply)
            self.end()
            return None

    def _start(self) -> subprocess.Popen[bytes]:
        self._owner = os.getpid()
        atexit.register(self.end)
        return subprocess.Popen(
            [sys.executable, "-c", f"from {math_process.__name__} import main; main({self._cpu_s})"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=PROJECT,
            start_new_session=True,  # Ctrl-C must not reach it; it ends when its input does
        )

    def end(self) -> None:
        """Kills the process, if this one has started it."""
        if self._process and self._owner == os.getpid():
            self._process.kill()
            self._process.communicate()
        self._process = None


_CHILD = Child()
