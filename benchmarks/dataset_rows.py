"""Rows like those of data/converted.jsonl, about 4 kB each, with planted faults: `python -m benchmarks.dataset_rows N FILE`.

Half of the text is sentences of the standard library's docstrings (English with shared boilerplate), half are words by
Zipf's law. Of 100 rows 2 repeat an earlier row in other case and spacing, 5 ask nearly the same as an earlier one, and
2 have one of ten faults.
"""

import inspect
import itertools
import random
import sys
from pathlib import Path
from typing import Any

import orjson

from distill.records.types import Message, Row

MODULES = ("argparse", "asyncio", "collections", "configparser", "datetime", "decimal", "email.message", "ftplib",
           "heapq", "http.client", "inspect", "json", "logging", "mailbox", "optparse", "os", "pathlib", "pickle",
           "random", "re", "shutil", "smtplib", "socket", "sqlite3", "statistics", "string", "subprocess", "tarfile",
           "tempfile", "textwrap", "threading", "turtle", "unittest", "urllib.request", "zipfile")  # fmt: skip
NAMES = ("search_web", "open_page", "lookup_item", "list_orders", "run_query", "get_weather", "convert_currency",
         "read_file", "send_form", "find_route", "translate", "calculator")  # fmt: skip
FAULTS = ("unfinished", "no_answer", "orphan", "broken_arguments", "wrong_arguments", "unknown_tool", "wrong_answer",
          "secret", "identity", "loop")  # fmt: skip


def write(path: Path, count: int, seed: int = 0) -> None:
    """Writes `count` rows; the same for the same seed."""
    with open(path, "wb", buffering=1 << 20) as file:
        for row in rows(count, seed):
            file.write(orjson.dumps(row) + b"\n")


def rows(count: int, seed: int) -> Any:
    dice = random.Random(seed)
    talk = _Talk(dice)
    earlier: list[Message] = []
    for number in range(count):
        luck = dice.random()
        if luck < 0.02 and earlier:
            row = orjson.loads(orjson.dumps(dice.choice(earlier)))
            for message in row["messages"]:
                message["content"] = message["content"].replace(" ", "  ").upper()
        else:
            row = talk.row()
            if luck < 0.07 and earlier:
                words = dice.choice(earlier)["messages"][1]["content"].split()
                words[dice.randrange(len(words))] = "otherwise"
                row["messages"][1]["content"] = " ".join(words)
            elif luck > 0.98:
                _plant(row, dice.choice(FAULTS), dice)
        row |= {"prompt_id": f"{dice.getrandbits(64):016x}", "rollout_id": f"{number:016x}"}
        if len(earlier) < 2000:
            earlier.append(row)
        elif luck > 0.5:
            earlier[dice.randrange(2000)] = row
        yield row


def long_rows(count: int, rounds: int, seed: int = 0) -> list[Row]:
    """Rows with all tools and as many rounds of calls, without faults."""
    talk = _Talk(random.Random(seed))
    return [talk.row(rounds, len(NAMES)) for _ in range(count)]


class _Talk:
    def __init__(self, dice: random.Random):
        self._dice, self._sentences, self._tools = dice, _sentences(), [_tool(name, dice) for name in NAMES]
        words = [f"{a}{b}" for a, b in itertools.product(("ka", "lo", "mi", "ter", "sun", "vo", "re", "pla"), repeat=2)]
        self._words = [f"{one}{other}" for one in words for other in words]
        self._weights = list(itertools.accumulate(1 / rank for rank in range(1, len(self._words) + 1)))

    def _text(self, size: int) -> str:
        parts, length = [], 0
        while length < size:
            if self._dice.random() < 0.5:
                part = self._dice.choice(self._sentences)
            else:
                part = " ".join(self._dice.choices(self._words, cum_weights=self._weights, k=12)) + "."
            parts.append(part)
            length += len(part) + 1
        return " ".join(parts)

    def row(self, rounds: int | None = None, offered: int = 3) -> dict[str, Any]:
        dice, tools = self._dice, self._dice.sample(self._tools, offered)
        rounds, answer = rounds or dice.randint(1, 3), dice.randrange(10_000)
        messages: list[Message] = [
            {"role": "system", "content": "You are a careful assistant. " + self._text(150)},
            {"role": "user", "content": self._text(dice.randint(150, 500))},
        ]
        for number in range(rounds):
            tool = dice.choice(tools)["function"]
            arguments = {key: self._value(kind, dice) for key, kind in tool["parameters"]["properties"].items()}
            call = {"name": tool["name"], "arguments": orjson.dumps(arguments).decode()}
            messages.append(
                {"role": "assistant", "content": self._text(60),
                 "tool_calls": [{"id": f"call_{number}", "type": "function", "function": call}]})  # fmt: skip
            messages.append({"role": "tool", "tool_call_id": f"call_{number}", "content": self._text(500)})
        messages.append({"role": "assistant", "content": f"{self._text(200)}\nAnswer: {answer}"})
        outcome = {"status": "completed", "stop_reason": "final_answer", "answer": str(answer), "correct": True,
                   "accepted_by": "number", "why": None, "turns": rounds + 1, "tool_calls": rounds, "tool_errors": 0,
                   "tokens": 1000, "cost_usd": 0.01}  # fmt: skip
        return {"messages": messages, "tools": tools, "metadata": {"expected_answer": answer, "source": "bench"},
                "prompt_id": "", "rollout_id": "", "sample": 0, "split": "train", "teacher": "bench",
                "outcome": outcome}  # fmt: skip

    @staticmethod
    def _value(schema: dict[str, Any], dice: random.Random) -> Any:
        if "enum" in schema:
            return dice.choice(schema["enum"])
        return f"item {dice.randrange(10**6)}" if schema["type"] == "string" else dice.randrange(100)


def _tool(name: str, dice: random.Random) -> dict[str, Any]:
    properties = {
        "query": {"type": "string", "description": f"What to give to {name}, in plain words."},
        "limit": {"type": "integer", "minimum": 0, "description": "Results, at most."},
        "order": {"type": "string", "enum": ["newest", "oldest", "best"]},
    }
    parameters = {"type": "object", "properties": properties, "required": ["query"], "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": f"Does {name.replace('_', ' ')}.",
                                             "parameters": parameters}}  # fmt: skip


def _sentences() -> list[str]:
    found = set()
    for name in MODULES:
        module = __import__(name, fromlist=["_"])
        for thing in [module, *vars(module).values()]:
            for member in [thing, *(vars(thing).values() if inspect.isclass(thing) else ())]:
                text = getattr(member, "__doc__", None)
                for part in text.split(". ") if isinstance(text, str) else ():
                    if 30 < len(sentence := " ".join(part.split())) < 200 and sentence.isascii():
                        found.add(sentence + ".")
    return sorted(found)


def _plant(row: Row, fault: str, dice: random.Random) -> None:
    messages, outcome = row["messages"], row["outcome"]
    call = messages[2]["tool_calls"][0]
    if fault == "unfinished":
        outcome |= {"status": "failed", "stop_reason": "max_turns"}
    elif fault == "no_answer":
        messages[-1]["content"] = " "
    elif fault == "orphan":
        messages[3]["tool_call_id"] = "call_9"
    elif fault == "broken_arguments":
        call["function"]["arguments"] = call["function"]["arguments"][:-1]
    elif fault == "wrong_arguments":
        call["function"]["arguments"] = '{"query": 7}'
    elif fault == "unknown_tool":
        call["function"]["name"] = "launch"
    elif fault == "wrong_answer":
        outcome |= {"correct": False, "accepted_by": None}
    elif fault == "secret":
        messages[3]["content"] += " sk-" + "".join(dice.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=40))
    elif fault == "identity":
        messages[-1]["content"] = "As an AI language model, I say " + messages[-1]["content"]
    else:
        turn = [orjson.loads(orjson.dumps(message)) for message in messages[2:4]]
        messages[2:2] = [*turn, *orjson.loads(orjson.dumps(turn))]
        outcome["tool_calls"] += 2


if __name__ == "__main__":
    write(Path(sys.argv[2]), int(sys.argv[1]))
