"""Settings that OpenAI's models are known to refuse, reported before anything is sent. Models that are not listed here are
not checked: the server does that. Sources: the model pages and error messages of the API, November 2026.
"""

import re
from typing import Literal, NamedTuple

from distill.teacher.asked import Asked

LEAST_OUTPUT_TOKENS = 16
"""The least max_output_tokens of the Responses API."""


class Family(NamedTuple):
    """`efforts`: the allowed values of reasoning_effort (None: not known); `temperature`: when it may differ from the default."""

    efforts: tuple[str, ...] | None
    temperature: Literal["never", "effort none or null", "effort none"]


TO_HIGH = ("low", "medium", "high")
FAMILIES: list[tuple[re.Pattern[str], Family]] = [
    (re.compile(r"^o\d"), Family(TO_HIGH, "never")),
    (re.compile(r"^gpt-5-pro"), Family(("high",), "never")),
    (re.compile(r"^gpt-5(?!\.)"), Family(("minimal", *TO_HIGH), "never")),
    (re.compile(r"^gpt-5\.1-codex-max"), Family(("none", *TO_HIGH, "xhigh"), "effort none or null")),
    (re.compile(r"^gpt-5\.1"), Family(("none", *TO_HIGH), "effort none or null")),
    (re.compile(r"^gpt-5\.[2-4](?!.*-pro)"), Family(("none", *TO_HIGH, "xhigh"), "effort none or null")),
    (re.compile(r"^gpt-5\.5(?!.*-pro)"), Family(("none", *TO_HIGH, "xhigh"), "effort none")),
    (re.compile(r"^gpt-5\.6"), Family(("none", *TO_HIGH, "xhigh", "max"), "effort none")),
    (re.compile(r"^gpt-6\.1-sol"), Family((*TO_HIGH, "xhigh", "max"), "never")),
    (re.compile(r"^gpt-6-astra"), Family(None, "never")),
]
REASONING = re.compile(r"^(o\d|codex-|gpt-([5-9]|\d{2,})(?!.*-chat))")
ONLY_RESPONSES = re.compile(r"-pro\b|-codex|-deep-research|^computer-use|^gpt-6\.1-(sol|terra)")
TOOLS_ONLY_IN_RESPONSES = re.compile(r"^gpt-(5\.[4-9]|[6-9]|\d{2,})")
IN_BACKGROUND = re.compile(r"-pro\b|-deep-research")


def base(model: str) -> str:
    """The base model of a fine-tuned one (`ft:<base>:…`); any other name unchanged."""
    return model.split(":")[1] if model.startswith("ft:") else model


def reasons(model: str) -> bool:
    """Whether the model reasons before it answers, by its name."""
    return bool(REASONING.match(base(model)))


def faults(asked: Asked, api: str, with_tools: bool) -> list[str]:
    """Every rule of OpenAI's that the parameters break, one line each."""
    model, effort, temperature = asked.model, asked.reasoning_effort, asked.temperature
    name = base(model)
    family = next((family for pattern, family in FAMILIES if pattern.match(name)), None) if reasons(model) else None
    faults = []
    if not reasons(model) and effort is not None:
        faults.append(f"/teacher/reasoning_effort: {model} does not reason; set it to null")
    if family and effort is not None and family.efforts and effort not in family.efforts:
        faults.append(f"/teacher/reasoning_effort: {model} takes {', '.join(family.efforts)}, not '{effort}'")
    if family and temperature is not None and not _takes_temperature(family, effort):
        exception = f", unless reasoning_effort is {family.temperature.removeprefix('effort ')}"
        exception = "" if family.temperature == "never" else exception
        faults.append(f"/teacher/temperature: {model} takes its own temperature only{exception}; set it to null")
    if api == "responses" and (asked.max_output_tokens or LEAST_OUTPUT_TOKENS) < LEAST_OUTPUT_TOKENS:
        faults.append(f"/teacher/max_output_tokens: the Responses API takes {LEAST_OUTPUT_TOKENS} or more")
    if api == "chat" and ONLY_RESPONSES.search(name):
        faults.append(_not_in_chat(asked, "is served by the Responses API only"))
    elif api == "chat" and with_tools and TOOLS_ONLY_IN_RESPONSES.match(name) and effort != "none":
        faults.append(_not_in_chat(asked, "takes tools in chat only with reasoning_effort none"))
    return [f"params.yaml: {fault}" for fault in faults]


def _not_in_chat(asked: Asked, rule: str) -> str:
    """The fault of a rule against the chat API, at the parameter that has chosen this API."""
    model, url, group = asked.model, asked.base_url, asked.group
    if url is None:
        return f"/teacher/api: {model} {rule}; set it to auto"
    responses = "" if group == "judge" else f", or {group}.api to responses if {url} offers them"
    return (
        f"/{group}/base_url: {model} {rule}, and {url} is asked in chat; set {group}.base_url to null to ask OpenAI"
        f"{responses}"
    )


def _takes_temperature(family: Family, effort: str | None) -> bool:
    if family.temperature == "never":
        return False
    return effort == "none" or (effort is None and family.temperature == "effort none or null")
