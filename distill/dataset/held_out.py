"""Prompts that nobody may train on, so that an exam on them means something: the eval split, and files of benchmarks."""

import heapq
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from distill.dataset.prompt_words import PromptWords, of_messages, role_text, words
from distill.records import jsonl
from distill.records.faults import InputError

TEXTS = ("messages", "prompt", "question", "problem", "instruction", "text")
"""Where a row of a benchmark has its prompt: the first of these that it has."""
SAMPLE = 300
"""Training prompts in which their common wording is looked for (held_out_index.py)."""


class HeldOutPrompt(NamedTuple):
    """One prompt that is held out."""

    where: str
    """file:line."""
    prompt: PromptWords
    system: str


class Sample:
    """What the user says in up to SAMPLE training prompts: those whose ids, which are hashes, come last."""

    def __init__(self) -> None:
        self._texts: list[tuple[str, str]] = []

    def add(self, prompt: Mapping[str, Any]) -> None:
        """Adds a row of data/prompts.jsonl."""
        entry = prompt["id"], role_text(prompt["messages"])
        if len(self._texts) < SAMPLE:
            heapq.heappush(self._texts, entry)
        else:
            heapq.heappushpop(self._texts, entry)

    @property
    def texts(self) -> list[str]:
        """The texts of the sample."""
        return [text for _, text in self._texts]


def of_prompt(prompt: Mapping[str, Any]) -> HeldOutPrompt:
    """The held-out prompt of a row of data/prompts.jsonl in the eval split."""
    messages = prompt["messages"]
    return HeldOutPrompt(prompt["source"], of_messages(messages, prompt["metadata"]), role_text(messages, "system"))


def of_files(paths: Sequence[str]) -> list[HeldOutPrompt]:
    """The held-out prompts of JSON Lines files of benchmarks. Raises InputError with the faults of all files."""
    prompts: list[HeldOutPrompt] = []
    faults: list[str] = []
    for path in paths:
        number = 0
        try:
            for number, row in jsonl.read_numbered(path, "benchmark"):
                where = f"{path}:{number}"
                if text := next((row[key] for key in TEXTS if row.get(key)), None):
                    prompts.append(_of_text(where, text, row.get("metadata")))
                else:
                    faults.append(f"{where}: holds no prompt; it is looked for in {', '.join(TEXTS)}")
        except InputError as error:
            faults += [f"{fault} (filter.decontaminate_against in params.yaml)" for fault in error.faults]
        else:
            if not number:
                faults.append(f"{path}: holds no row (filter.decontaminate_against in params.yaml)")
    if faults:
        raise InputError(faults)
    return prompts


def _of_text(where: str, text: Any, metadata: Any) -> HeldOutPrompt:
    """The held-out prompt of a text, or of a list of messages."""
    if isinstance(text, str):
        return HeldOutPrompt(where, PromptWords(words(text), None), "")
    of = of_messages(text, metadata if isinstance(metadata, dict) else {})
    return HeldOutPrompt(where, of, role_text(text, "system"))
