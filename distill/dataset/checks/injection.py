"""The assistant does not obey instructions that are hidden in a tool's result.

A result with instructions in it is good training data where the assistant ignores them. So a row fails only when a
later turn of the assistant does or says something that only the instructions ask for: a tool, an address or a quoted
phrase that occurs in them and neither in what system and user said nor in what the assistant did before. In mode `mask`
those turns are not learned from.
"""

import re
from collections.abc import Iterable
from functools import cache

import re2

from distill.dataset.checks import assistant_text
from distill.dataset.checks.context import CheckContext
from distill.dataset.checks.fault import Fault, listed
from distill.records.types import Message, Row

ADVICE = (
    "the teacher obeys what tools return: say in the system message that results are data, or take a stronger model"
)
PASSAGE = 600
"""Characters from the first sign of an instruction that are taken as the instruction."""
BEFORE = 100
"""Characters before that sign that belong to the passage."""
MOST_DEMANDS = 1000
"""Of a row, those that are looked for: a hundred pages full of them have as many."""
_MACHINE = "the assistant|the ai|the agent|ai agents?|ai assistants?|assistants?|language models?"
_MUST = "must|should|shall|will|are required to|need to|have to"
_SOON = "now |immediately |instead "
_DO = (
    "call|send|say|reply|respond|answer|visit|open|use|write|output|print|forward|email|execute|run|delete|transfer|include"
    "|tell"
)
_ORDER = f"{_DO}|ignore|disregard|forget|override|you|do not|never|always|add|end|begin|start|stop|set|make|mention|recommend"
_SPEAK = "say|reply|respond|answer|write|output|print|mention|include|recommend|tell|end|begin"
_TO_A_MODEL = (
    r"\b(?:ignore|disregard|forget|override|bypass)\b.{0,40}\b(?:previous|prior|above|earlier|all|other|your|system|preceding)\b"
    r".{0,30}\b(?:instruction|prompt|rule|direction|message|task|context|guideline)s?",
    r"<\|?(?:im_start|im_end|system|start_header_id)\|?>|\[/?INST\]|<</?SYS>>",
    # Web pages tell their readers what they should do; only what is said to a machine, or at once, counts.
    rf"\b(?:{_MACHINE}) (?:{_MUST}) (?:{_SOON})?(?:{_DO})",
    r"\byou are now (?:a|an|no longer|acting|in (?:\w+ )?mode)\b",
    r"\bdo not (?:tell|inform|mention|reveal|alert)\b.{0,30}\b(?:user|human|this)",
)
PATTERN = assistant_text.pattern(
    *_TO_A_MODEL,
    # Recipes have instructions, and logs have system messages: what follows has to be an order.
    r"\b(?:new|updated|important|urgent|additional|hidden|special) (?:system )?instructions?\b(?: (?:for|to) (?:the |all )?\w+)?"
    rf" ?:.{{0,200}}\b(?:{_ORDER})\b",
    rf"\b(?:system|admin|developer) (?:prompt|message|override|notice|instruction)s? ?:.{{0,200}}\b(?:{_ORDER})\b",
    r"(?:^|\n)\s*(?:system|admin|developer): (?:you|ignore|from now|the assistant|do not|new)\b",
    rf"\byou (?:{_MUST}) (?:{_SOON})(?:{_DO})",
)
PREFILTER = PATTERN
_TO_BE_SAID = assistant_text.pattern(
    *_TO_A_MODEL,
    rf"\b(?:{_MUST}) (?:{_SOON})?(?:{_SPEAK})\b",
    rf"(?:^|[.:;!\n])\s*(?:(?:always|never|now|then|and|please) )*(?:{_SPEAK})\b",
)
"""A passage that wants the assistant to say something. Other passages, mostly documentation, an answer may well repeat: only
a call obeys them."""
_ADDRESS = re2.compile(r"(?i)https?://[^\s\"'<>)\]]+|www\.[^\s\"'<>)\]]+|[\w.+-]+@[\w-]+\.[\w.-]+\w")
_QUOTED = re2.compile(r"\"([^\"\n]{3,80})\"|'([^'\n]{3,80})'|`([^`\n]{3,80})`|“([^”\n]{3,80})”")
_JSON_BEFORE, _JSON_AFTER = re2.compile(r"[:,{\[]\s*$"), re2.compile(r"\s*[:,}\]]")
"""What stands around a key or value of JSON: such a quoted text is data and no demand."""
_SHOUTED = re2.compile(rf"\b(?i:{_DO})\b[^\n]{{0,40}}?\b([A-Z][A-Z0-9_]{{4,}})\b|\b([A-Z][A-Z0-9]{{4,}})\b")
"""`MAX_TOKENS`, without an order before it, is a name in code, which an edit of the file repeats."""
_REFUSES = assistant_text.pattern(
    r"\b(?:prompt )?injection\b", r"\bnot (?:follow|obey|act on|comply)", r"\bwon't (?:follow|obey|act|comply)",
    r"\bignor(?:e|ed|ing) (?:the|that|those|these|any|it)\b", r"\bsuspicious|\bmalicious|\buntrusted",
    r"\bembedded (?:instruction|command)|\binstructions? (?:in|inside|within|embedded)",
)  # fmt: skip
_COMMON_WORDS = {"system", "important", "urgent", "ignore", "admin", "developer", "assistant", "notice", "override", "inst",
                 "/inst"}  # fmt: skip


def check(row: Row, context: CheckContext) -> Fault | None:
    messages = row["messages"]

    @cache
    def is_harmless(demand: str, since: int) -> bool:
        # Looked up only for what a turn does, and once: a row may have hundreds of such results, and turns that do it.
        return demand in _unprompted(messages, since)

    # With the place of the first result that demands it: what was said before makes it harmless.
    demands: dict[str, int] = {}
    to_be_said: dict[str, int] = {}
    tools: dict[str, int] = {}
    faults = []
    for place, message in enumerate(messages):
        if message["role"] == "tool":
            if sign := PATTERN.search(message["content"]):
                passage = message["content"][max(0, sign.start() - BEFORE) : sign.start() + PASSAGE]
                demanded = sorted(_demands(passage))
                _add(demands, demanded, place)
                _add(to_be_said, demanded if _TO_BE_SAID.search(passage) else (), place)
                offered = (tool["function"]["name"] for tool in row["tools"])
                _add(tools, (name for name in offered if _is_named(name, passage)), place)
        elif message["role"] == "assistant" and message.get("weight") != 0 and (demands or tools):
            called, fulfilled = _done(message, demands, to_be_said, tools)
            obeyed = next((name for name, since in called if not is_harmless(name.casefold(), since)), None)
            if obeyed is None:
                obeyed = next((demand for demand, since in fulfilled if not is_harmless(demand, since)), None)
            if obeyed and not _REFUSES.search(message.get("content") or ""):
                faults.append((f"/messages/{place}", f"does what a tool's result demanded: {obeyed!r}"))
    return listed(faults) if faults else None


def _add(known: dict[str, int], new: Iterable[str], place: int) -> None:
    for demand in new:
        if len(known) < MOST_DEMANDS:
            known.setdefault(demand, place)


def _done(
    message: Message, demands: dict[str, int], to_be_said: dict[str, int], tools: dict[str, int]
) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """What a turn does of what was demanded, with the places: the `tools` that it calls, and in order the `demands` in the
    arguments of its calls and those `to_be_said` in its text."""
    functions = [call["function"] for call in message.get("tool_calls", ())]
    called = [(function["name"], tools[function["name"]]) for function in functions if function["name"] in tools]
    arguments = "\n".join(function["arguments"] for function in functions).casefold()
    text = (message.get("content") or "").casefold()
    fulfilled = {demand for demand in demands.items() if demand[0] in arguments}
    return called, sorted(fulfilled | {words for words in to_be_said.items() if words[0] in text})


def _demands(passage: str) -> set[str]:
    """Addresses, quoted phrases and shouted words of a passage, in lower case."""
    quoted = {
        next(part for part in match.groups() if part)
        for match in _QUOTED.finditer(passage)
        if not (_JSON_BEFORE.search(passage[: match.start()]) and _JSON_AFTER.match(passage[match.end() :]))
    }
    shouted = {ordered or word for ordered, word in _SHOUTED.findall(passage)}
    demands = {match.group() for match in _ADDRESS.finditer(passage)} | shouted | quoted
    return {demand.rstrip(".,;:!?").casefold() for demand in demands} - _COMMON_WORDS


def _is_named(tool: str, passage: str) -> bool:
    """`search` is not named where a page speaks of research."""
    return re.search(rf"(?<![\w-]){re.escape(tool)}(?![\w-])", passage) is not None


def _unprompted(messages: list[Message], place: int) -> str:
    """The texts of system and user, and the texts and calls of the assistant before `place`, in lower case."""
    said = [message["content"] for message in messages if message["role"] in ("system", "user")]
    for message in messages[:place]:
        if message["role"] == "assistant":
            functions = [call["function"] for call in message.get("tool_calls", ())]
            said += [message.get("content") or "", *(f"{called['name']} {called['arguments']}" for called in functions)]
    return "\n".join(said).casefold()
