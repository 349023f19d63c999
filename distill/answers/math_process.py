"""The process in which math-verify runs: one JSON question a line on stdin, one JSON answer a line on stdout.

`{"expected": …, "answer": …}` -> whether both are equal; with `"answer": null`, whether the expected one can be read.
"""

import logging
import os
import resource
import signal
import sys
from typing import Any

import orjson

MEMORY = 2 * 1024**3
"""Bytes of address space that the process may use."""


def main(cpu_s: float) -> None:
    """Answers until stdin ends. A question that takes more than `cpu_s` seconds of CPU ends the process by SIGPROF."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    from math_verify import parse, verify

    for line in sys.stdin.buffer:
        question = orjson.loads(line)
        signal.setitimer(signal.ITIMER_PROF, cpu_s)
        try:
            reply = _reply(question, parse, verify)
        except (Exception, RecursionError, MemoryError):  # sympy raises anything; then equality is not shown
            reply = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        replies.write(orjson.dumps(reply) + b"\n")
        replies.flush()


def _reply(question: dict[str, Any], parse: Any, verify: Any) -> bool:
    expected = parse(_as_latex(question["expected"]), parsing_timeout=None)
    if question["answer"] is None:
        return bool(expected)
    answer = parse(_as_latex(question["answer"]), parsing_timeout=None)
    return bool(expected and answer and verify(expected, answer, timeout_seconds=None))


def _as_latex(text: str) -> str:
    """The text between dollar signs, unless it has LaTeX delimiters of its own; escaped dollar signs (money) removed."""
    text = text.replace("\\$", "")
    return text if any(sign in text for sign in ("$", "\\(", "\\[", "\\boxed")) else f"${text}$"
