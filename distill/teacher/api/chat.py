"""Chat Completions, which every OpenAI-compatible endpoint has: request bodies, and answers from response bodies."""

import re
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import orjson

from distill.records import thought
from distill.records.spoken import spoken
from distill.records.types import Message, Request, Sampling, ToolCall, ToolSchema
from distill.teacher.answer import Answer, as_text, build_answer, usage_of
from distill.teacher.api.error_response import error_in_ok_body
from distill.teacher.api.http import Http
from distill.teacher.api.tool_calls import acceptable, tool_call, with_unique_ids
from distill.teacher.cost.prices import is_openai
from distill.teacher.errors import Transient

PATH = "/chat/completions"
COMPLETE = {
    "stop", "tool_calls", "function_call", "end_turn", "tool_use", "eos", "eos_token", "stop_sequence", "stop_token", "end",
    "done", "complete", "completed",
}  # fmt: skip
CUT_OFF = {"length", "max_tokens", "model_length", "model_context_window_exceeded"}
FILTERED = re.compile("content.?filter|safety|recitation|prohibited|blocklist|refusal|sensitive|spii|guardrail")
"""These three: the finish reasons of various servers that are `stop`, `length` and `content_filter` here."""
REASONING_FIELDS = ("reasoning_content", "reasoning_details", "reasoning")
"""The names that servers have for the reasoning in a message."""


def request(
    identity: dict[str, Any],
    messages: list[Message],
    tools: list[ToolSchema],
    sampling: Sampling,
    earlier: Sequence[Answer] = (),
) -> Request:
    """A request in canonical form: who is asked (`identity`), with which conversation, tools and sampling settings. All of it,
    with the number of the sample, makes the key of the answer. `earlier`: the answers behind the last assistant messages."""
    return {**identity, "messages": _with_echoes(messages, earlier), "tools": tools, "sampling": sampling}


def body(request: Request, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The JSON body of a request: model, messages, tools and sampling, and for OpenAI that it stores nothing.

    Servers parse the calls of earlier turns and refuse broken JSON or names with a 400 or 500, so in the body (not in
    the record) such arguments become `{}` and such characters `_`. `weight` and nulls are left out of messages. `without`
    names what the server refused: "echo" is the reasoning of earlier turns, "temperature" that setting, "silence" turns
    that have no reasoning, which then get an empty one, and "max_tokens" that name, in place of which it has OpenAI's newer.
    """
    omitted = {"weight", *(REASONING_FIELDS if "echo" in without else ())}
    no_thought = {"reasoning_content": ""} if "silence" in without else {}
    messages = [
        (no_thought if message["role"] == "assistant" else {}) | _message_body(message, omitted)
        for message in request["messages"]
    ]
    content = {"model": request["model"], "messages": messages}
    if is_openai(request["provider"]):
        content["store"] = False
    if request["tools"]:
        content["tools"] = request["tools"]
    sampling = {key: value for key, value in request["sampling"].items() if value is not None and key not in without}
    if "max_tokens" in without:
        sampling["max_completion_tokens"] = request["sampling"]["max_tokens"]
    return content | sampling


async def ask(http: Http, request: Request, **fields: Any) -> Answer:
    """Sends one request, with `fields` added to its body. Raises ApiError."""
    started = perf_counter()
    reply = await http.post(PATH, orjson.dumps(body(request) | fields))
    return parse(reply.content, latency_ms=(perf_counter() - started) * 1000, thoughts_in_text=False)


def parse(content: Any, latency_ms: float, thoughts_in_text: bool = True) -> Answer:
    """The Answer in a chat completion. `thoughts_in_text`: a thought that the server has left in the text, before
    `</think>`, is taken out of it; a student's text has been read by its template.

    Raises Transient when the body is not one, ApiError when it is an error (some proxies send errors with status 200).
    """
    error_in_body = error_in_ok_body(content)
    if error_in_body and not content.get("choices"):
        raise error_in_body
    try:
        choice = content["choices"][0]
        finish_reason = _finish_reason(choice)
        raw = choice.get("message") or {} if finish_reason == "content_filter" else choice["message"]  # Gemini has null
        message = _message(raw)
        usage = usage_of(content, "prompt", "completion")
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise Transient(
            "broken_answer", f"the answer is not a chat completion: {content}", maybe_billed=True
        ) from error
    if finish_reason == "stop" and message.get("tool_calls"):
        finish_reason = "tool_calls"
    echo = _echo(raw, message.get("tool_calls", []))
    if thoughts_in_text and thought.taken_out(message) != message:
        echo, message = echo | {"content": message["content"]}, thought.taken_out(message)
    answer = build_answer(content, message, finish_reason, usage, latency_ms)
    if echo:
        answer["echo"] = echo
    return answer


def _echo(raw: dict[str, Any], calls: list[ToolCall]) -> dict[str, Any]:
    """The fields that the provider wants back unchanged, see Answer.echo."""
    echo = {}
    if raw.get("reasoning_details"):
        echo = {"reasoning_details": raw["reasoning_details"]}
    elif raw.get("reasoning") and not raw.get("reasoning_content"):
        echo = {"reasoning": raw["reasoning"]}
    elif _thoughts_of(raw.get("content")):
        echo = {"content": raw["content"]}
    extras = {
        call["id"]: raw_call["extra_content"]
        for call, raw_call in zip(calls, raw.get("tool_calls") or [], strict=True)
        if raw_call.get("extra_content")
    }
    return echo | ({"extra_content": extras} if extras else {})


def _with_echoes(messages: list[Message], earlier: Sequence[Answer]) -> list[Message]:
    """The messages with the `echo` of each earlier answer in its assistant message."""
    if not any("echo" in answer for answer in earlier):
        return messages
    echoed = list(messages)
    for index, answer in zip(spoken(messages, len(earlier)), earlier, strict=True):
        echo = dict(answer.get("echo", {}))
        extras = echo.pop("extra_content", {})
        # Groq and Mistral refuse any name but their own.
        omitted = {"reasoning_content"} if "reasoning" in echo or "content" in echo else set()
        echoed[index] = {key: value for key, value in messages[index].items() if key not in omitted} | echo
        if extras:
            calls = messages[index]["tool_calls"]
            echoed[index]["tool_calls"] = [
                call | ({"extra_content": extras[call["id"]]} if call["id"] in extras else {}) for call in calls
            ]
    return echoed


def _finish_reason(choice: dict[str, Any]) -> str:
    """Why an answer ended: `stop` (it is complete), `length` or `content_filter`.

    Raises Transient for any other reason (`error`, `abort`, `insufficient_system_resource`, `MALFORMED_FUNCTION_CALL`):
    the answer broke off, and a part of one must not be stored.
    """
    reason = as_text(choice.get("finish_reason")) or "stop"
    if reason.lower() in COMPLETE:
        return "stop"
    if reason.lower() in CUT_OFF:
        return "length"
    if FILTERED.search(reason.lower()):
        return "content_filter"
    raise Transient(
        "server", f"the answer broke off ({reason}): {choice.get('error') or 'no more is said'}", maybe_billed=True
    )


def _message(raw: dict[str, Any]) -> Message:
    message: Message = {"role": "assistant", "content": _text_of(raw.get("content"))}
    reasoning = raw.get("reasoning_content") or raw.get("reasoning") or _thoughts_of(raw.get("content"))
    if isinstance(reasoning, str) and reasoning:
        message["reasoning_content"] = reasoning
    if raw.get("refusal"):
        message["refusal"] = as_text(raw["refusal"])
    if raw.get("tool_calls"):
        message["tool_calls"] = with_unique_ids(
            [
                tool_call(call.get("id"), call["function"]["name"], call["function"].get("arguments"))
                for call in raw["tool_calls"]
            ]
        )
    return message


def _text_of(content: Any) -> str:
    """The text of a content that may be a string, null, or (some servers) a list of text parts."""
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content)
    if content is not None and not isinstance(content, str):
        raise ValueError("content is no text")
    return content or ""


def _thoughts_of(content: Any) -> str:
    """The thoughts that are parts of a content, as Mistral has them."""
    thinking = [part for part in content if part.get("type") == "thinking"] if isinstance(content, list) else []
    return "".join(_text_of(part.get("thinking")) for part in thinking)


def _message_body(message: Message, omitted: set[str]) -> Message:
    """A message as servers accept it, see `body`."""
    content = {key: value for key, value in message.items() if key not in omitted and value is not None}
    if message.get("tool_calls"):
        content["content"] = content.get("content") or None  # proxies to Anthropic refuse an empty text
        content["tool_calls"] = [acceptable(call) for call in message["tool_calls"]]
    return content
