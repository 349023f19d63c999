"""OpenAI's Responses API, without state on the server: every request carries the whole conversation.

Reasoning comes encrypted and goes back as it came, item by item, in the place where it stood; a changed or missing item
is refused or makes the model think again. The items stay with the stored answer, the messages hold only what is said.
"""

from typing import Any

from distill.records.types import Message, Request, Sampling, ToolSchema
from distill.teacher import errors
from distill.teacher.answer import Answer, Usage, count, finished, word
from distill.teacher.chat import arguments_text, with_own_ids
from distill.teacher.errors import Transient
from distill.teacher.refusal import BY_CODE
from distill.teacher.strict import strict

PATH = "/responses"
PENDING = ("queued", "in_progress")
OVER = ("completed", "incomplete")
PASSING = {"server_error": "server", "cancelled": "server", "rate_limit_exceeded": "rate_limit"}


def request(
    identity: dict[str, Any],
    messages: list[Message],
    tools: list[ToolSchema],
    sampling: Sampling,
    earlier: list[Answer],
) -> Request:
    """What is asked, in canonical form: `input` holds the items of `earlier`, the answers behind the last assistant
    messages, untouched."""
    return {**identity, "input": _input(messages, earlier), "tools": tools, "sampling": sampling}


def body(request: Request, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The JSON body of a request; `without` names extras that were refused: "summary", "reasoning", "temperature", and
    "thoughts", the reasoning of earlier turns."""
    sampling = {
        key: value
        for key, value in request["sampling"].items()
        if value is not None and not (key == "temperature" and key in without)
    }
    if "summary" in without and "reasoning" in sampling:
        sampling["reasoning"] = {key: value for key, value in sampling["reasoning"].items() if key != "summary"}
    items = _thoughtless(request["input"]) if "thoughts" in without else request["input"]
    sent = {"model": request["model"], "input": _on_wire(items), "store": False, **sampling}
    may_reason = "reasoning" in sampling or request["provider"] != "openai"
    if request["tools"]:
        functions = [tool["function"] for tool in request["tools"]]
        sent["tools"] = [{"type": "function", "strict": strict(one["parameters"]), **one} for one in functions]
    if may_reason and "reasoning" not in without:
        sent["include"] = ["reasoning.encrypted_content"]
    return sent


def parse(content: Any, latency_ms: float) -> Answer:
    """The Answer in a finished response. Raises the ApiError of a failed one, Transient when it is no response."""
    try:
        if content["status"] in ("failed", "cancelled"):
            raise _failure(content)
        if content["status"] not in OVER or not isinstance(content["output"], list):
            raise ValueError("not finished")
        items = content["output"]
        message = _message(items)
        usage = _usage(content.get("usage") or {})
        reason = (content.get("incomplete_details") or {}).get("reason")
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise Transient(
            "broken_answer", f"the answer is not a finished response: {content}", maybe_billed=True
        ) from error
    finish_reason = "tool_calls" if message.get("tool_calls") else "stop"
    if content["status"] == "incomplete":
        finish_reason = "content_filter" if reason == "content_filter" else "length"
    answer = finished(content, message, finish_reason, usage, latency_ms)
    answer["items"] = items
    return answer


def _message(items: list[dict[str, Any]]) -> Message:
    """What the items say, as an assistant message in chat form."""
    texts, refusals, reasons, calls = [], [], [], []
    for item in items:
        kind = item["type"]
        if kind == "message":
            texts += [part["text"] for part in item["content"] if part["type"] == "output_text"]
            refusals += [word(part["refusal"]) for part in item["content"] if part["type"] == "refusal"]
        elif kind == "function_call":
            calls.append(
                {
                    "id": word(item["call_id"]),
                    "type": "function",
                    "function": {"name": word(item["name"]), "arguments": arguments_text(item["arguments"])},
                }
            )
        elif kind == "reasoning":
            reasons += [part["text"] for part in item.get("content") or item.get("summary") or []]
    message: Message = {"role": "assistant", "content": "\n\n".join(texts)}
    if reasons:
        message["reasoning_content"] = "\n\n".join(reasons)
    if refusals:
        message["refusal"] = "\n\n".join(refusals)
    if calls:
        message["tool_calls"] = with_own_ids(calls)
    return message


def _usage(used: dict[str, Any]) -> Usage:
    asked = used.get("input_tokens_details") or {}
    usage = Usage(
        input_tokens=count(used.get("input_tokens")),
        output_tokens=count(used.get("output_tokens")),
        cached_tokens=count(asked.get("cached_tokens")),
        reasoning_tokens=count((used.get("output_tokens_details") or {}).get("reasoning_tokens")),
    )
    if asked.get("cache_write_tokens"):
        usage["cache_write_tokens"] = count(asked["cache_write_tokens"])
    return usage


def _input(messages: list[Message], earlier: list[Answer]) -> list[dict[str, Any]]:
    spoken = sum(message["role"] == "assistant" for message in messages)
    answers = [None] * (spoken - len(earlier)) + list(earlier)
    items: list[dict[str, Any]] = []
    raw_ids: dict[str, str] = {}
    for message in messages:
        if message["role"] == "assistant":
            answer = answers.pop(0)
            items += _said(message) if answer is None else _as_they_came(answer)
            raw_ids = {} if answer is None else _raw_ids(answer)
        elif message["role"] == "tool":
            call = message["tool_call_id"]
            items.append(
                {"type": "function_call_output", "call_id": raw_ids.get(call, call), "output": message["content"]}
            )
        else:
            items.append({"role": message["role"], "content": message["content"]})
    return items


def _on_wire(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every item with its type: OpenAI takes a message without one, llama.cpp refuses it. Not part of the canonical
    request, or answers bought before would no longer be found."""
    return [item if "type" in item else {"type": "message", **item} for item in items]


def _thoughtless(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items without reasoning, and without ids: by its id, an item is known to belong to the reasoning before it."""
    left = []
    for item in items:
        if "id" not in item:
            left.append(item)
        elif item["type"] == "function_call":
            left.append({key: value for key, value in item.items() if key != "id"})
        elif item["type"] == "message":
            left += _said(_message([item]))
    return left


def _raw_ids(answer: Answer) -> dict[str, str]:
    """The ids of an answer's calls as the server wrote them; ours differ where it gave two calls the same."""
    ours = [call["id"] for call in answer["message"].get("tool_calls", [])]
    return dict(
        zip(ours, (item["call_id"] for item in answer["items"] if item["type"] == "function_call"), strict=True)
    )


def _as_they_came(answer: Answer) -> list[dict[str, Any]]:
    """The items of an answer, less the nulls that say nothing and are refused as unknown parameters."""
    return [{key: value for key, value in item.items() if value is not None} for item in answer["items"]]


def _said(message: Message) -> list[dict[str, Any]]:
    """An assistant message that no answer stands behind: a demonstration, or a prompt's own few-shot turn."""
    said = [{"role": "assistant", "content": message["content"]}] if message.get("content") else []
    return said + [
        {"type": "function_call", "call_id": call["id"], **call["function"]} for call in message.get("tool_calls", [])
    ]


def _failure(content: dict[str, Any]) -> errors.ApiError:
    """A failed response is billed if tokens were counted."""
    found = content.get("error") or {}
    code, words = str(found.get("code") or content["status"]), found.get("message") or "no reason given"
    kind = (PASSING | BY_CODE).get("cancelled" if content["status"] == "cancelled" else code, "bad_request")
    return errors.error(
        kind, f"the response {content['status']} ({code}): {words}", maybe_billed=bool(content.get("usage"))
    )
