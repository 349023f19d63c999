"""The filter's default checks as a user of datatrove writes them: `FOLDER`, in its own environment; keeps FOLDER/peer/kept.

datatrove's reader, filters (one a check, rejects in a file each), exact deduplication, writer and executor, one task.
What the filters call is plain Python with `re` and `jsonschema`, validators cached: written to be fast where that costs
nothing. Its deduplication takes three pipelines: the checks, which also write what passes and a key of it; the keys
that repeat; what passed without them.

Compared are the checks, not what surrounds them: nothing here validates a row, looks on after the first fault, says
where it is, or counts for a report, and there are fewer patterns for identities and hidden instructions than ours.
datatrove's own n-gram decontamination asks for models of NLTK and for lighteval's tasks from the net; here a prompt is
contaminated where it shares eight words in a row with a held-out one, which is less work than our rule.
"""

import re
import sys
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import orjson
from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup.exact_dedup import (
    ExactDedupConfig,
    ExactDedupFilter,
    ExactDedupSignature,
    ExactFindDedups,
)
from datatrove.pipeline.filters import LambdaFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

from distill.records.types import Message, Row

MOST_ERRORS, MOST_REPEATS, GRAM = 3, 2, 8
SECRET = re.compile(
    r"\bsk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{36,}|\bhf_[A-Za-z0-9]{30,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|AIza[A-Za-z0-9_-]{35}|xox[abposr]-[A-Za-z0-9-]{20,}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
IDENTITY = re.compile(
    r"\bas an ai\b|\bi(?:'m| am) an? (?:ai|large language model|language model)\b"
    r"|\bi(?:'m| am) (?:chatgpt|gpt-\d|claude|gemini)\b|\btrained by (?:openai|anthropic|google)\b",
    re.IGNORECASE,
)
HIDDEN = re.compile(
    r"\b(?:ignore|disregard) (?:all |the )?(?:previous|prior|above) (?:instructions|prompts)|\byou are now an?\b",
    re.IGNORECASE,
)
ADDRESS = re.compile(r"https?://[^\s\"'<>)\]]+|[\w.+-]+@[\w-]+\.[\w.-]+\w")
WORD = re.compile(r"\w+")


def document(self: JsonlReader, row: Row, path: str, number: int) -> dict[str, Any]:
    """A row as datatrove holds it."""
    text = "\n".join(message.get("content") or "" for message in row["messages"])
    return {"text": text, "id": row["rollout_id"], "metadata": row}


def row(self: JsonlWriter, doc: Document) -> dict[str, Any]:
    """The row again."""
    return doc.metadata


def finished(doc: Document) -> bool:
    outcome = doc.metadata["outcome"]
    return outcome["status"] == "completed" and outcome["stop_reason"] == "final_answer"


def final_answer(doc: Document) -> bool:
    last = doc.metadata["messages"][-1]
    return last["role"] == "assistant" and not last.get("tool_calls") and bool((last.get("content") or "").strip())


def paired(doc: Document) -> bool:
    waiting = set()
    for message in doc.metadata["messages"]:
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                return False
            waiting.remove(message["tool_call_id"])
        elif waiting:
            return False
        else:
            waiting = {call["id"] for call in message.get("tool_calls") or ()}
            if len(waiting) < len(message.get("tool_calls") or ()):
                return False
    return not waiting


def valid_calls(doc: Document) -> bool:
    tools = {tool["function"]["name"]: tool["function"]["parameters"] for tool in doc.metadata["tools"]}
    return all(valid(call, tools) for call in calls(doc))


def valid(call: dict[str, Any], tools: dict[str, Any]) -> bool:
    if call["name"] not in tools:
        return False
    try:
        arguments = orjson.loads(call["arguments"])
    except orjson.JSONDecodeError:
        return False
    return validator(orjson.dumps(tools[call["name"]])).is_valid(arguments)


@cache
def validator(schema: bytes) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(orjson.loads(schema))


def calls(doc: Document) -> list[dict[str, Any]]:
    return [call["function"] for message in doc.metadata["messages"] for call in message.get("tool_calls") or ()]


def few_errors(doc: Document) -> bool:
    return doc.metadata["outcome"]["tool_errors"] <= MOST_ERRORS


def no_loop(doc: Document) -> bool:
    if doc.metadata["outcome"]["tool_calls"] <= MOST_REPEATS:
        return True
    results = [message["content"] for message in doc.metadata["messages"] if message["role"] == "tool"]
    made = [(call["name"], call["arguments"]) for call in calls(doc)]
    return max(Counter(zip(made, results, strict=False)).values(), default=0) <= MOST_REPEATS


def right_answer(doc: Document) -> bool:
    return doc.metadata["metadata"].get("expected_answer") is None or doc.metadata["outcome"]["correct"] is True


def no_identity(doc: Document) -> bool:
    said = (message.get("content") or "" for message in doc.metadata["messages"] if message["role"] == "assistant")
    return not any(map(IDENTITY.search, said))


def no_secret(doc: Document) -> bool:
    return not SECRET.search(doc.text) and not any(SECRET.search(call["arguments"]) for call in calls(doc))


def not_obeyed(doc: Document) -> bool:
    demanded = set()
    for message in doc.metadata["messages"]:
        content = message.get("content") or ""
        if message["role"] == "tool" and (found := HIDDEN.search(content)):
            demanded.update(ADDRESS.findall(content[found.start() : found.start() + 600]))
        elif message["role"] == "assistant" and any(address in content for address in demanded):
            return False
    return True


def not_held_out(prompts: Path) -> Callable[[Document], bool]:
    rows = map(orjson.loads, prompts.read_bytes().splitlines())
    held_out = {gram for row in rows if row["split"] == "eval" for gram in grams(row["messages"])}
    return lambda doc: held_out.isdisjoint(grams(doc.metadata["messages"]))


def grams(messages: list[Message]) -> set[tuple[str, ...]]:
    """All sequences of GRAM words of what the user says."""
    asked = " ".join(message["content"] for message in messages if message["role"] == "user")
    words = WORD.findall(asked.lower())
    return {tuple(words[place : place + GRAM]) for place in range(max(1, len(words) - GRAM + 1))}


def conversation(doc: Document) -> str:
    """The same for copies: without case and spacing."""
    asked = [(call["name"], call["arguments"]) for call in calls(doc)]
    return " ".join(doc.text.lower().split()) + orjson.dumps([asked, doc.metadata["tools"]]).decode()


CHECKS = (finished, final_answer, paired, valid_calls, few_errors, no_loop, right_answer, no_identity, no_secret,
          not_obeyed)  # fmt: skip


def main(folder: Path) -> None:
    out = folder / "peer"

    def reader(name: str, **only: str) -> JsonlReader:
        return JsonlReader(str(folder / name), adapter=document, add_file_path=False, **only)

    def writer(name: str) -> JsonlWriter:
        return JsonlWriter(str(out / name), "${rank}.jsonl", compression=None, adapter=row)

    def run(name: str, *steps: Any) -> None:
        LocalPipelineExecutor(list(steps), logging_dir=str(out / "logs" / name)).run()

    once = ExactDedupConfig(conversation)
    run(
        "checks",
        reader("data", glob_pattern="converted.jsonl"),
        *(LambdaFilter(check, exclusion_writer=writer(f"rejected/{check.__name__}")) for check in CHECKS),
        LambdaFilter(not_held_out(folder / "data/prompts.jsonl"), exclusion_writer=writer("rejected/contaminated")),
        writer("passed"),
        ExactDedupSignature(str(out / "keys"), config=once),
    )
    run("repeated", ExactFindDedups(str(out / "keys"), str(out / "repeated"), config=once))
    run(
        "kept",
        reader("peer/passed"),
        ExactDedupFilter(str(out / "repeated"), config=once, exclusion_writer=writer("rejected/duplicate")),
        writer("kept"),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
