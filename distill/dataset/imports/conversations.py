"""Conversations from elsewhere as our rollout records: `{messages, tools, metadata}`, one JSON object a line.

rnow's converter writes this format and OpenAI's fine-tuning takes it. It names neither the model nor the cost, so
`model` is "unknown"; everything else goes into the row unchanged, but a greeting of the assistant's at the beginning gets
`weight: 0`, and what logs and datasets write in another form than the records gets that of the records (`message`,
`_tool`). Training rows of another project that uses this pipeline do name their teacher.
"""

from typing import Any

import orjson

from distill.dataset.imports import rnow
from distill.records import thought
from distill.records.types import Rollout
from distill.tools.arguments import NO_PARAMETERS

CONVERSATION_KEYS = {"messages", "tools", "metadata", "parallel_tool_calls"}
TRAINING_ROW_KEYS = {"prompt_id", "rollout_id", "sample", "split", "teacher", "outcome"}
IMPORTED_ROW_KEYS = TRAINING_ROW_KEYS | {"origin"}
"""Of a training row that was itself made from a conversation from elsewhere."""
OURS = {"prompt_id", "sample", "split"}
"""What all rollouts and training rows of such a project have; a row of a dataset may have one of them."""
THOUGHTS = ("reasoning", "thinking")
"""What vLLM's and OpenRouter's logs, and datasets of gpt-oss, call `reasoning_content`."""
SWE_AGENT = ("agent", "message_type", "thought", "action", "tool_call_ids")
"""What SWE-agent writes into messages beside what OpenAI's have: their content and calls once more, and who spoke."""
XLAM = (
    "; `query` and `answers`, as xLAM has them, have to become a user's message and one of the assistant's with tool_calls, "
    "and the types in `tools` those of JSON Schema"
)


def is_plain(value: Any) -> bool:
    """Whether a parsed line is a conversation: no keys but those of one, or also all those of our training rows."""
    if not isinstance(value, dict) or "messages" not in value:
        return False
    return set(value) - CONVERSATION_KEYS in (set(), TRAINING_ROW_KEYS, IMPORTED_ROW_KEYS)


def is_ours(value: dict[str, Any]) -> bool:
    """Whether it is a rollout or a training row of such a project, also one that lacks a key or has one more."""
    return len(OURS & value.keys()) > 1


def rollout(value: dict[str, Any], name: str, sample: int) -> Rollout:
    """The rollout record of a conversation; not validated here. `name` is unique among all files: `<path>:<line>`."""
    messages = [message(said) for said in value["messages"]]
    finished = {"completed": True, "conversation": messages, "metadata": value.get("metadata")}
    record = rnow.rollout(finished, name, sample)
    model = value.get("teacher", record["model"])
    messages = _greeting_unlearned(messages)
    tools = [_tool(tool) for tool in given] if isinstance(given := value.get("tools"), list) else given or []
    return {**record, "key": f"row/{name}", "model": model, "messages": messages, "tools": tools}


def message(given: Any) -> Any:
    """The message in the form of the records: without keys that are null or an empty list, with one text for a content in
    parts of text and `system` for `developer` (as the student is served them), with arguments as JSON text, and with a
    thought that its text begins with apart."""
    if not isinstance(given, dict):
        return given
    said = {key: value for key, value in given.items() if key == "content" or value not in (None, [])}
    if "message_type" in said:
        said = {key: value for key, value in said.items() if key not in SWE_AGENT}
    if said.get("role") == "developer":
        said["role"] = "system"
    if isinstance(parts := said.get("content"), list) and all(_is_text(part) for part in parts):
        said["content"] = "".join(part["text"] for part in parts)
    if isinstance(calls := said.get("tool_calls"), list):
        said["tool_calls"] = [_call(call) for call in calls]
    for name in THOUGHTS:
        if isinstance(text := said.get(name), str):
            del said[name]
            said["reasoning_content"] = said.get("reasoning_content") or text
    if said.get("role") == "assistant" and isinstance(said.get("content"), str):
        return thought.taken_out(said)
    return said


def _is_text(part: Any) -> bool:
    part = _without_nulls(part)
    return (
        isinstance(part, dict) and set(part) - {"cache_control"} == {"type", "text"} and isinstance(part["text"], str)
    )


def _call(call: Any) -> Any:
    """The call as a function with arguments as text, with its type, and without its place in a stream."""
    call = _without_nulls(call)
    if not isinstance(call, dict):
        return call
    kept = {key: value for key, value in call.items() if key in ("id", "type")}
    function = _without_nulls(call.get("function", {key: call[key] for key in ("name", "arguments") if key in call}))
    if isinstance(function, dict) and isinstance(function.get("arguments"), dict):
        function = {**function, "arguments": orjson.dumps(function["arguments"]).decode()}
    return {**kept, "type": kept.get("type", "function"), "function": function}


def _tool(tool: Any) -> Any:
    """The tool in the form of the records: also from a function alone, without keys that are null, and with empty `parameters`
    where it takes none."""
    tool = _without_nulls(tool)
    if isinstance(tool, dict) and "function" not in tool:
        tool = {"function": {key: value for key, value in tool.items() if key != "type"}}
    if not isinstance(tool, dict) or not isinstance(tool.get("function"), dict):
        return tool
    function = _without_nulls(tool["function"])
    parameters = _schema(function.get("parameters")) or NO_PARAMETERS
    if isinstance(parameters, dict) and "properties" in parameters and "type" not in parameters:
        parameters = {"type": "object", **parameters}
    return {"type": "function", **tool, "function": {**function, "parameters": parameters}}


def _schema(value: Any) -> Any:
    """A JSON Schema without the nulls that a table of many tools has where others have a keyword or a parameter."""
    if isinstance(value, list):
        return [_schema(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {key: _schema(inner) for key, inner in value.items() if inner is not None or key in ("default", "const")}


def _without_nulls(value: Any) -> Any:
    return {key: inner for key, inner in value.items() if inner is not None} if isinstance(value, dict) else value


def _greeting_unlearned(messages: list[Any]) -> list[Any]:
    """The messages, with `weight: 0` on an assistant message that begins: no request can ask a student for it."""
    if messages and isinstance(messages[0], dict) and messages[0].get("role") == "assistant":
        return [{**messages[0], "weight": 0}, *messages[1:]]
    return messages


def other_fault(value: Any) -> str | None:
    """What is wrong with a line that is neither a conversation nor a rollout; None if it may be a rollout record."""
    if isinstance(value, list):
        return "/: a list, where a conversation is an object: `make import FILE=…` makes lines of its rows"
    if not isinstance(value, dict) or is_ours(value):
        return None
    advice = XLAM if {"query", "answers"} <= set(value) else "; docs/imports.md lists the forms that are read"
    return f"/: no messages, so this is no conversation{advice}"


def prompt_fault(value: dict[str, Any]) -> str | None:
    """What a conversation has of a prompt: no answer, or names for tools; None for a finished one."""
    roles = [message.get("role") for message in value["messages"] if isinstance(message, dict)]
    if "assistant" not in roles:
        return "/messages: no assistant message: prompts belong into data/seed/"
    tools = value.get("tools")
    if isinstance(tools, list) and any(isinstance(tool, str) for tool in tools):
        return "/tools: names, where a conversation has schemas; without `tools` they are those of tools.py"
    return None
