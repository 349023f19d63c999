"""Checks and simplifies the requests of OpenAI's API for a student, which reads and writes text only."""

from typing import Any

from distill.records.types import Message, ToolCall, ToolSchema
from distill.teacher.api.tool_calls import acceptable, tool_call
from distill.tools.arguments import NO_PARAMETERS

UNSUPPORTED = ("logprobs", "functions", "function_call", "frequency_penalty", "presence_penalty", "logit_bias")
NUMBERS: dict[str, tuple[Any, int]] = {
    "temperature": ((int, float), 0), "top_p": ((int, float), 0), "max_tokens": (int, 1), "max_completion_tokens": (int, 1),
    "seed": (int, 0),
}  # fmt: skip
"""What each has to be, and the least that it may be."""


def plain(body: Any) -> dict[str, Any]:
    """The body of a chat completion with every content as one text, `developer` messages as `system` (which templates
    know), earlier calls as in the exam (`acceptable`), no tools where `tool_choice` is none, `stop` as a list, and a list
    `forced` of the tools of which `tool_choice` demands a call.

    Raises ValueError that names the first field whose value is not supported here.
    """
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
        raise ValueError("messages: a list of messages is needed")
    for name in UNSUPPORTED:
        if body.get(name):
            raise ValueError(f"{name}: not known here; vLLM knows it")
    if body.get("n") not in (None, 1):
        raise ValueError("n: one answer at a time")
    if (body.get("response_format") or {"type": "text"}) != {"type": "text"}:
        raise ValueError("response_format: the student writes text; vLLM can hold it to a form")
    for name, (kind, least) in NUMBERS.items():
        if body.get(name) is not None and not (isinstance(body[name], kind) and body[name] >= least):
            raise ValueError(f"{name}: a{' whole' if least else ''} number is needed, {least} or more")
    if (body.get("top_p") or 0) > 1:
        raise ValueError("top_p: a share of the probability is needed, 1 at most")
    stop = body.get("stop") or []
    stop = [stop] if isinstance(stop, str) else stop
    if not isinstance(stop, list) or not all(isinstance(text, str) and text for text in stop):
        raise ValueError("stop: a text, or a list of texts, none of them empty")
    choice = body.get("tool_choice") or "auto"
    tools = [_tool(tool, f"tools/{place}") for place, tool in enumerate(_listed(body.get("tools") or []))]
    messages = [_message(place, message) for place, message in enumerate(body["messages"])]
    offered = None if choice == "none" else tools
    return body | {"stop": stop, "tools": offered, "forced": _forced(choice, tools), "messages": messages}


def _tool(tool: Any, where: str) -> ToolSchema:
    """The tool, with empty `parameters` where it takes none: OpenAI lets clients leave them out, and templates do not."""
    function = _function(tool, where)
    return {**tool, "function": {**function, "parameters": function.get("parameters") or NO_PARAMETERS}}


def _function(holder: Any, where: str) -> dict[str, Any]:
    """The function of a tool or a call."""
    function = holder.get("function") if isinstance(holder, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ValueError(f"{where}: a function with a name is needed")
    return function


def _listed(values: Any) -> list[Any]:
    return values if isinstance(values, list) else [values]


def _forced(choice: Any, tools: list[ToolSchema]) -> list[str]:
    """The names of the tools of which one must be called; empty where the student may choose."""
    if choice in ("auto", "none"):
        return []
    try:
        names = [tool["function"]["name"] for tool in tools]
        forced = names if choice == "required" else [choice["function"]["name"]]
    except (KeyError, TypeError):
        raise ValueError("tool_choice: auto, none, required, or the name of a function in tools") from None
    if not forced or not all(name in names for name in forced):
        raise ValueError("tool_choice: there is no such tool in tools")
    return forced


def _message(place: int, message: Any) -> Message:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise ValueError(f"messages/{place}: an object with a role is needed")
    role = "system" if message["role"] == "developer" else message["role"]
    calls = enumerate(_listed(message.get("tool_calls") or []))
    called = [_call(call, f"messages/{place}/tool_calls/{number}") for number, call in calls]
    return (
        message
        | ({"tool_calls": called} if called else {})
        | {"role": role, "content": _text(message.get("content"), f"messages/{place}/content")}
    )


def _call(call: Any, where: str) -> ToolCall:
    """A call that the template can render: a student that has called with broken JSON is to hear so and go on. Arguments may
    be missing or an object, as for vLLM."""
    function = _function(call, where)
    return acceptable(tool_call(call.get("id"), function["name"], function.get("arguments")))


def _text(content: Any, where: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    parts = _listed(content)
    for part in parts:
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            raise ValueError(f"{where}: the student reads text only")
    return "".join(part["text"] for part in parts)
