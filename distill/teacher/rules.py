"""What OpenAI's models are known to refuse, told before anything is sent. Unknown models are let through: the server
knows best. Sources: the model pages and error messages of the API, November 2026.
"""

import re
from typing import Any, Literal, NamedTuple

SHORTEST_ANSWER = 16


class Family(NamedTuple):
    """`efforts`: what reasoning_effort may be (None: not known); `temperature`: when another one than the default is taken."""

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
REASONS = re.compile(r"^(o\d|codex-|gpt-([5-9]|\d{2,})(?!.*-chat))")
ONLY_RESPONSES = re.compile(r"-pro\b|-codex|-deep-research|^computer-use|^gpt-6\.1-(sol|terra)")
TOOLS_ONLY_IN_RESPONSES = re.compile(r"^gpt-(5\.[4-9]|[6-9]|\d{2,})")
IN_BACKGROUND = re.compile(r"-pro\b|-deep-research")


def base(model: str) -> str:
    """The model that a fine-tuned one (`ft:<base>:…`) was made of; any other name as it is."""
    return model.split(":")[1] if model.startswith("ft:") else model


def reasons(model: str) -> bool:
    """Whether the model thinks before it answers (by its name)."""
    return bool(REASONS.match(base(model)))


def in_background(model: str) -> bool:
    """Whether its answers take longer than a connection should be held open."""
    return bool(IN_BACKGROUND.search(model))


def faults(model: str, api: str, teacher: dict[str, Any], with_tools: bool) -> list[str]:
    """Every rule of OpenAI's that `model` and the `teacher` group of params.yaml break, one line each."""
    name, effort, temperature = base(model), teacher["reasoning_effort"], teacher["temperature"]
    family = next((family for pattern, family in FAMILIES if pattern.match(name)), None) if reasons(model) else None
    found = []
    if not reasons(model) and effort is not None:
        found.append(f"/teacher/reasoning_effort: {model} does not reason; set it to null")
    if family and effort is not None and family.efforts and effort not in family.efforts:
        found.append(f"/teacher/reasoning_effort: {model} takes {', '.join(family.efforts)}, not '{effort}'")
    if family and temperature is not None and not _takes_temperature(family, effort):
        found.append(
            f"/teacher/temperature: {model} takes its own temperature only"
            + (
                ""
                if family.temperature == "never"
                else f", unless reasoning_effort is {family.temperature.removeprefix('effort ')}"
            )
            + "; set it to null"
        )
    if api == "responses" and (teacher["max_output_tokens"] or SHORTEST_ANSWER) < SHORTEST_ANSWER:
        found.append(f"/teacher/max_output_tokens: the Responses API takes {SHORTEST_ANSWER} or more")
    if api == "chat" and ONLY_RESPONSES.search(name):
        found.append(_in_chat(model, "is served by the Responses API only", teacher))
    elif api == "chat" and with_tools and TOOLS_ONLY_IN_RESPONSES.match(name) and effort != "none":
        found.append(_in_chat(model, "takes tools in chat only with reasoning_effort none", teacher))
    return [f"params.yaml: {fault}" for fault in found]


def _in_chat(model: str, rule: str, teacher: dict[str, Any]) -> str:
    """A rule that chat breaks, at the parameter by which chat was chosen."""
    url, whose = teacher["base_url"], "judge" if "keys" in teacher else "teacher"
    if url is None:
        return f"/teacher/api: {model} {rule}; set it to auto"
    responses = "" if whose == "judge" else f", or {whose}.api to responses if {url} offers them"
    return (
        f"/{whose}/base_url: {model} {rule}, and {url} is asked in chat; set {whose}.base_url to null to ask OpenAI"
        f"{responses}"
    )


def _takes_temperature(family: Family, effort: str | None) -> bool:
    if family.temperature == "never":
        return False
    return effort == "none" or (effort is None and family.temperature == "effort none or null")
