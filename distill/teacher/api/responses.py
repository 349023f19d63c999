"""OpenAI's Responses API, without state on the server: every request holds the whole conversation.

Reasoning is received encrypted and sent back unchanged, each item in its place: if one is changed or missing, the server
refuses the request or the model reasons again. The stored answer keeps the items; the messages hold the visible text.
"""

from typing import Any

from distill.records.types import Message, Request, Sampling, ToolSchema
from distill.teacher import errors
from distill.teacher.answer import Answer, as_text, build_answer, usage_of
from distill.teacher.api.error_response import BY_CODE, error_in_ok_body
from distill.teacher.api.strict import strict
from distill.teacher.api.tool_calls import tool_call, with_unique_ids
from distill.teacher.errors import Transient

PATH = "/responses"
PENDING = ("queued", "in_progress")
FINISHED = ("completed", "incomplete")
KIND_BY_CODE = BY_CODE | {"server_error": "server", "cancelled": "server", "rate_limit_exceeded": "rate_limit"}


def request(
    identity: dict[str, Any],
    messages: list[Message],
    tools: list[ToolSchema],
    sampling: Sampling,
    earlier: list[Answer],
) -> Request:
    """The canonical request: `input` holds the items of `earlier`, the answers behind the last assistant messages,
    unchanged."""
    return {**identity, "input": _input(messages, earlier), "tools": tools, "sampling": sampling}


def body(request: Request, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The JSON body of a request. `without` names extras that the server refused: "temperature", the "summary" of
    reasoning, encrypted "reasoning" in the answer, and "thoughts", the reasoning of earlier turns."""
    sampling = {
        key: value
        for key, value in request["sampling"].items()
        if value is not None and not (key == "temperature" and key in without)
    }
    if "summary" in without and "reasoning" in sampling:
        sampling["reasoning"] = {key: value for key, value in sampling["reasoning"].items() if key != "summary"}
    items = _without_reasoning(request["input"]) if "thoughts" in without else request["input"]
    content = {"model": request["model"], "input": _with_types(items), "store": False, **sampling}
    may_reason = "reasoning" in sampling or request["provider"] != "openai"
    if request["tools"]:
        functions = [tool["function"] for tool in request["tools"]]
        content["tools"] = [
            {"type": "function", "strict": strict(function["parameters"]), **function} for function in functions
        ]
    if may_reason and "reasoning" not in without:
        content["include"] = ["reasoning.encrypted_content"]
    return content


def parse(content: Any, latency_ms: float) -> Answer:
    """The Answer in a finished response. Raises ApiError for a failed one, Transient when it is not a response."""
    error_in_body = error_in_ok_body(content)
    if error_in_body and "output" not in content:
        raise error_in_body
    try:
        if content["status"] in ("failed", "cancelled"):
            raise _error_of(content)
        if content["status"] not in FINISHED or not isinstance(content["output"], list):
            raise ValueError("not finished")
        items = content["output"]
        message = _message(items)
        usage = usage_of(content, "input", "output")
        reason = (content.get("incomplete_details") or {}).get("reason")
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise Transient(
            "broken_answer", f"the answer is not a finished response: {content}", maybe_billed=True
        ) from error
    finish_reason = "tool_calls" if message.get("tool_calls") else "stop"
    if content["status"] == "incomplete":
        finish_reason = "content_filter" if reason == "content_filter" else "length"
    answer = build_answer(content, message, finish_reason, usage, latency_ms)
    answer["items"] = items
    return answer


def _message(items: list[dict[str, Any]]) -> Message:
    """The text, refusals, reasoning and calls of the items, as an assistant message in chat form."""
    texts, refusals, thoughts, calls = [], [], [], []
    for item in items:
        kind = item["type"]
        if kind == "message":
            texts += [part["text"] for part in item["content"] if part["type"] == "output_text"]
            refusals += [as_text(part["refusal"]) for part in item["content"] if part["type"] == "refusal"]
        elif kind == "function_call":
            calls.append(tool_call(item["call_id"], item["name"], item["arguments"]))
        elif kind == "reasoning":
            thoughts += [part["text"] for part in item.get("content") or item.get("summary") or []]
    message: Message = {"role": "assistant", "content": "\n\n".join(texts)}
    if thoughts:
        message["reasoning_content"] = "\n\n".join(thoughts)
    if refusals:
        message["refusal"] = "\n\n".join(refusals)
    if calls:
        message["tool_calls"] = with_unique_ids(calls)
    return message


def _input(messages: list[Message], earlier: list[Answer]) -> list[dict[str, Any]]:
    """The conversation as items: the original ones where an answer stands behind an assistant message."""
    turns = sum(message["role"] == "assistant" for message in messages)
    answers = [None] * (turns - len(earlier)) + list(earlier)
    items: list[dict[str, Any]] = []
    raw_ids: dict[str, str] = {}
    for message in messages:
        if message["role"] == "assistant":
            answer = answers.pop(0)
            items += _items_of(message) if answer is None else _original_items(answer)
            raw_ids = {} if answer is None else _raw_ids(answer)
        elif message["role"] == "tool":
            call_id = message["tool_call_id"]
            items.append(
                {"type": "function_call_output", "call_id": raw_ids.get(call_id, call_id), "output": message["content"]}
            )
        else:
            items.append({"role": message["role"], "content": message["content"]})
    return items


def _with_types(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items, each with its type: OpenAI accepts a message without one, llama.cpp refuses it. The canonical request has
    no such types, since with them the answers that were stored before would no longer be found."""
    return [item if "type" in item else {"type": "message", **item} for item in items]


def _without_reasoning(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items without reasoning, and without ids, by which the server knows that an item needs the reasoning before it."""
    kept = []
    for item in items:
        if "id" not in item:
            kept.append(item)
        elif item["type"] == "function_call":
            kept.append({key: value for key, value in item.items() if key != "id"})
        elif item["type"] == "message":
            kept += _items_of(_message([item]))
    return kept


def _raw_ids(answer: Answer) -> dict[str, str]:
    """The server's id of each call, by ours, which differs where the server gave two calls the same id."""
    own_ids = [call["id"] for call in answer["message"].get("tool_calls", [])]
    return dict(
        zip(own_ids, (item["call_id"] for item in answer["items"] if item["type"] == "function_call"), strict=True)
    )


def _original_items(answer: Answer) -> list[dict[str, Any]]:
    """The items of an answer as received, but for nulls, which the server would refuse as unknown parameters."""
    return [{key: value for key, value in item.items() if value is not None} for item in answer["items"]]


def _items_of(message: Message) -> list[dict[str, Any]]:
    """The items of an assistant message without an answer: of a demonstration, or of a prompt's own few-shot turn."""
    items = [{"role": "assistant", "content": message["content"]}] if message.get("content") else []
    return items + [
        {"type": "function_call", "call_id": call["id"], **call["function"]} for call in message.get("tool_calls", [])
    ]


def _error_of(content: dict[str, Any]) -> errors.ApiError:
    """The error of a failed response, which is billed if tokens were counted."""
    status, details = content["status"], content.get("error") or {}
    code, message = str(details.get("code") or status), details.get("message") or "no reason given"
    kind = KIND_BY_CODE.get("cancelled" if status == "cancelled" else code, "bad_request")
    return errors.error(kind, f"the response {status} ({code}): {message}", maybe_billed=bool(content.get("usage")))
