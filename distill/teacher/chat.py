"""Chat Completions: one request, one answer. Every OpenAI-compatible endpoint speaks it."""

import re
from time import perf_counter
from typing import Any

import orjson

from distill.records.spoken import spoken
from distill.records.types import Message, Request, Sampling, ToolCall, ToolSchema
from distill.teacher import request as requests
from distill.teacher.answer import Answer, Usage, count, finished, word
from distill.teacher.errors import Transient
from distill.teacher.http import Http
from distill.teacher.refusal import refused_with_200

PATH = "/chat/completions"
WHOLE = {
    "stop",
    "tool_calls",
    "function_call",
    "end_turn",
    "tool_use",
    "eos",
    "eos_token",
    "stop_sequence",
    "stop_token",
    "end",
    "done",
    "complete",
    "completed",
}
CUT_OFF = {"length", "max_tokens", "model_length", "model_context_window_exceeded"}
FILTERED = re.compile("content.?filter|safety|recitation|prohibited|blocklist|refusal")
ECHOES = ("reasoning_content", "reasoning_details", "reasoning")
NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]")


def request(
    identity: dict[str, Any],
    messages: list[Message],
    tools: list[ToolSchema],
    sampling: Sampling,
    earlier: list[Answer],
) -> Request:
    """What is asked, in canonical form; `earlier`: the answers behind the last assistant messages."""
    return requests.build(identity, _with_echoes(messages, earlier), tools, sampling)


def body(request: Request, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The JSON body of a request: its messages as servers take them back, its sampling, its tools.

    Servers parse the calls of earlier turns and refuse broken JSON or names with a 400 or 500, so on the wire (not in
    the record) such arguments become `{}` and such characters `_`; `weight` and `reasoning_content: null` do not travel.
    `without` names what was refused: "echo" is the reasoning of earlier turns, "silence" that a turn has none,
    "temperature" that setting.
    """
    unsaid = {"weight", *(ECHOES if "echo" in without else ())}
    thought = {"reasoning_content": ""} if "silence" in without else {}
    messages = [
        (thought if message["role"] == "assistant" else {}) | _on_wire(message, unsaid)
        for message in request["messages"]
    ]
    sent = {"model": request["model"], "messages": messages}
    if request["tools"]:
        sent["tools"] = request["tools"]
    return sent | {key: value for key, value in request["sampling"].items() if value is not None and key not in without}


async def ask(http: Http, request: Request, **more: Any) -> Answer:
    """Sends one request, with `more` in its body. Raises ApiError, or the kind of it that tells its fate."""
    started = perf_counter()
    reply = await http.post(PATH, orjson.dumps(body(request) | more))
    return parse(reply.content, latency_ms=(perf_counter() - started) * 1000)


def parse(content: Any, latency_ms: float) -> Answer:
    """The Answer in a chat completion. Raises Transient when the body is not one, ApiError when it is a refusal (some
    proxies answer 200 on errors)."""
    refusal = refused_with_200(content)
    if refusal and not content.get("choices"):
        raise refusal
    try:
        choice, used = content["choices"][0], content.get("usage") or {}
        reason = _finish_reason(choice)
        message = _message(choice["message"])
        usage = _usage(used)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise Transient(
            "broken_answer", f"the answer is not a chat completion: {content}", maybe_billed=True
        ) from error
    answer = finished(
        content, message, "tool_calls" if reason == "stop" and message.get("tool_calls") else reason, usage, latency_ms
    )
    answer["cost_usd"] = _charged(used)
    if echo := _echo(choice["message"], message.get("tool_calls", [])):
        answer["echo"] = echo
    return answer


def _echo(raw: dict[str, Any], calls: list[ToolCall]) -> dict[str, Any]:
    """What the provider wants back as it came, see Answer.echo."""
    echo = {}
    if raw.get("reasoning_details"):
        echo = {"reasoning_details": raw["reasoning_details"]}
    elif raw.get("reasoning") and not raw.get("reasoning_content"):
        echo = {"reasoning": raw["reasoning"]}
    extras = {
        call["id"]: came["extra_content"]
        for call, came in zip(calls, raw.get("tool_calls") or [], strict=True)
        if came.get("extra_content")
    }
    return echo | ({"extra_content": extras} if extras else {})


def _with_echoes(messages: list[Message], earlier: list[Answer]) -> list[Message]:
    if not any("echo" in answer for answer in earlier):
        return messages
    said = list(messages)
    for place, answer in zip(spoken(messages, len(earlier)), earlier, strict=True):
        echo = dict(answer.get("echo", {}))
        extras = echo.pop("extra_content", {})
        unsaid = {"reasoning_content"} if "reasoning" in echo else set()  # Groq refuses what is not its own name
        said[place] = {key: value for key, value in messages[place].items() if key not in unsaid} | echo
        if extras:
            calls = messages[place]["tool_calls"]
            said[place]["tool_calls"] = [
                call | ({"extra_content": extras[call["id"]]} if call["id"] in extras else {}) for call in calls
            ]
    return said


def _finish_reason(choice: dict[str, Any]) -> str:
    """Why an answer ended: `stop` (it is whole), `length` or `content_filter`.

    Raises Transient for any other reason (`error`, `abort`, `insufficient_system_resource`, `MALFORMED_FUNCTION_CALL`):
    the answer broke off, and half of one must not be kept.
    """
    said = word(choice.get("finish_reason")) or "stop"
    if said.lower() in WHOLE:
        return "stop"
    if said.lower() in CUT_OFF:
        return "length"
    if FILTERED.search(said.lower()):
        return "content_filter"
    raise Transient(
        "server", f"the answer broke off ({said}): {choice.get('error') or 'no more is said'}", maybe_billed=True
    )


def _usage(used: dict[str, Any]) -> Usage:
    asked, prompt = used.get("prompt_tokens_details") or {}, count(used.get("prompt_tokens"))
    usage = Usage(
        input_tokens=prompt,
        # xAI bills reasoning that its completion_tokens leave out; the total has it.
        output_tokens=max(count(used.get("completion_tokens")), count(used.get("total_tokens")) - prompt),
        cached_tokens=count(asked.get("cached_tokens")),
        reasoning_tokens=count((used.get("completion_tokens_details") or {}).get("reasoning_tokens")),
    )
    if asked.get("cache_write_tokens"):
        usage["cache_write_tokens"] = count(asked["cache_write_tokens"])
    return usage


def _charged(used: dict[str, Any]) -> float | None:
    """What a server says it charged, in a unit of its own; of one's own key at a provider that is the fee alone."""
    said = used.get("cost")
    return float(said) if isinstance(said, int | float) and not used.get("is_byok") else None


def _message(raw: dict[str, Any]) -> Message:
    message: Message = {"role": "assistant", "content": _plain(raw.get("content"))}
    reasoning = raw.get("reasoning_content") or raw.get("reasoning")
    if isinstance(reasoning, str) and reasoning:
        message["reasoning_content"] = reasoning
    if raw.get("refusal"):
        message["refusal"] = word(raw["refusal"])
    if raw.get("tool_calls"):
        message["tool_calls"] = with_own_ids(
            [
                {
                    "id": word(call.get("id")),
                    "type": "function",
                    "function": {
                        "name": word(call["function"]["name"]),
                        "arguments": arguments_text(call["function"].get("arguments")),
                    },
                }
                for call in raw["tool_calls"]
            ]
        )
    return message


def with_own_ids(calls: list[ToolCall]) -> list[ToolCall]:
    """The calls of one message, each with an id of its own: a missing or a second equal id gets its number."""
    given = {call["id"] for call in calls}
    seen: set[str] = set()
    for place, call in enumerate(calls, start=1):
        if not call["id"] or call["id"] in seen:
            call["id"] = f"{call['id'] or 'call'}_{place}"
            while call["id"] in given | seen:
                call["id"] += "_"
        seen.add(call["id"])
    return calls


def _plain(content: Any) -> str:
    """The text of a content that may be a string, null, or (some servers) a list of text parts."""
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content)
    if content is not None and not isinstance(content, str):
        raise ValueError("content is no text")
    return content or ""


def arguments_text(arguments: Any) -> str:
    """The arguments of a call as the model wrote them; as JSON where a server has parsed them."""
    return arguments if isinstance(arguments, str) else orjson.dumps(arguments or {}).decode()


def _on_wire(message: Message, unsaid: set[str]) -> Message:
    sent = {key: value for key, value in message.items() if key not in unsaid and value is not None}
    if message.get("tool_calls"):
        sent["content"] = sent.get("content") or None  # proxies to Anthropic refuse an empty text
        sent["tool_calls"] = [
            call | {"function": _function_on_wire(call["function"])} for call in message["tool_calls"]
        ]
    return sent


def _function_on_wire(function: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": NOT_IN_A_NAME.sub("_", function["name"])[:64] or "_",
        "arguments": object_or_empty(function["arguments"]),
    }


def object_or_empty(arguments: str) -> str:
    """The arguments when they are a JSON object, else `{}`."""
    try:
        return arguments if isinstance(orjson.loads(arguments), dict) else "{}"
    except orjson.JSONDecodeError:
        return "{}"
