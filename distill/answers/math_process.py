"""The process in which math-verify runs: one JSON question a line on stdin, one JSON answer a line on stdout.

`{"expected": …, "answer": …}` -> whether both are equal; with `"answer": null`, whether the expected one can be read.
"""

import logging
import os
import re
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

import orjson

MEMORY = 2 * 1024**3
"""Bytes of address space that the process may use."""
_SIGNS = {
    "∞": r"\infty ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "·": r"\cdot ", "⋅": r"\cdot ", "⁄": "/",
    "½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}",
}  # fmt: skip
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉ₙ", "0123456789n")
_PLAIN: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(r"(?<=[\dπ)])(?: ?(?:[kcdm]m|ft|yd)| (?:in|mi|m(?=[²³])))(?:[²³]|\^[23])(?!\w)"), ""),  # 12 cm²: a unit
    (re.compile(r"(?<![\d.,^_{}/])(\d+) (\d+)/(\d+)(?![\d./])"), r"\1\\frac{\2}{\3}"),  # 1 1/2
    (re.compile("[⁺⁻]?[⁰¹²³⁴-⁹]+|ⁿ"), lambda found: f"^{{{found[0].translate(_RAISED)}}}"),
    (re.compile("[₀-₉]+|ₙ"), lambda found: f"_{{{found[0].translate(_LOWERED)}}}"),
    (re.compile("[" + "".join(_SIGNS) + "]"), lambda found: _SIGNS[found[0]]),
    (re.compile(r"(?<![\\A-Za-z])sqrt(?![A-Za-z])"), "√"),
    (re.compile(r"√ ?(?:\(([^()]*)\)|\{([^{}]*)\}|(\d+(?:\.\d+)?|\w))"), r"\\sqrt{\1\2\3}"),  # √2, √(x+1)
    (re.compile(r"(?<=[\w)])\*\*(?=[\w(])"), "^"),  # x**2
    (re.compile(r"(?<![\\A-Za-z])((?:arc)?(?:sin|cos|tan)|ln|log|exp|pi)(?![A-Za-z])"), r"\\\1 "),  # sin(x), 2 pi
]
"""What people and models write without LaTeX, and what it is in LaTeX. math-verify would read what stands before such a sign
and drop the rest: 5√2 and 5² would be 5, and 1 1/2 would be 1."""
_NUMBERS = re.compile(r"\d +\d")
"""Numbers side by side, which math-verify adds or multiplies: 1 2 would be 3, and 10 000 nothing."""


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
    """The text in LaTeX and between dollar signs, unless it has delimiters of its own; escaped dollar signs (money) removed.
    Raises ValueError for what would be misread."""
    is_plain = "\\" not in text
    text = text.replace("\\$", "")
    for pattern, latex in _PLAIN:
        text = pattern.sub(latex, text)
    if "√" in text or (is_plain and _NUMBERS.search(text)):
        raise ValueError("holds what math-verify misreads")
    return text if any(sign in text for sign in ("$", "\\(", "\\[", "\\boxed")) else f"${text}$"
