"""One answer of a model, as it is stored and as the agent loop reads it."""

from datetime import UTC, datetime
from typing import Any, NotRequired, TypedDict

from distill.records.types import Message


class Usage(TypedDict):
    """Tokens; `output_tokens` includes `reasoning_tokens`, `input_tokens` includes the two kinds of cached ones."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cache_write_tokens: NotRequired[int]
    """Tokens written to the server's prompt cache, which some models charge extra for; only where the server counts them."""


class Answer(TypedDict):
    """`message` is an assistant message in chat form, tool-call arguments exactly as the model wrote them."""

    message: Message
    finish_reason: str
    usage: Usage
    cost_usd: float | None
    model: str
    response_id: str | None
    created_at: str
    latency_ms: float
    attempts: int
    tier: NotRequired[str]
    """The service tier that the server reports."""
    items: NotRequired[list[dict[str, Any]]]
    """Responses API only: the output items as received, encrypted reasoning included, to be sent back unchanged."""
    echo: NotRequired[dict[str, Any]]
    """Chat only: fields that a provider wants back with the message, unchanged: OpenRouter's `reasoning_details`, `reasoning` of
    vLLM and others that name it so, a `content` with thoughts in it (among its parts, as Mistral has them, or in its text),
    and by call id Gemini's `extra_content` (the signature of a thought)."""


def build_answer(
    content: dict[str, Any], message: Message, finish_reason: str, usage: Usage, latency_ms: float
) -> Answer:
    """The Answer of a response body of either API: model, id, cost and tier have the same names in both."""
    answer = Answer(
        message=message,
        finish_reason=finish_reason,
        usage=usage,
        cost_usd=_reported_cost(content.get("usage") or {}),
        model=as_text(content.get("model")),
        response_id=as_text(content.get("id")) or None,
        created_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        latency_ms=round(latency_ms, 1),
        attempts=1,
    )
    if isinstance(content.get("service_tier"), str):
        answer["tier"] = content["service_tier"]
    return answer


def as_text(value: Any) -> str:
    """A name, an id or a reason as text, even where a server sends other JSON; empty for null."""
    return value if isinstance(value, str) else "" if value is None else str(value)


def usage_of(content: dict[str, Any], read: str, written: str) -> Usage:
    """The tokens of a response body; `read` and `written` are what its API calls them: prompt and completion, input and
    output. Raises ValueError, TypeError or AttributeError where they are no numbers."""
    raw = content.get("usage") or {}
    read_details, written_details = raw.get(f"{read}_tokens_details") or {}, raw.get(f"{written}_tokens_details") or {}
    input_tokens = _count(raw.get(f"{read}_tokens"))
    usage = Usage(
        input_tokens=input_tokens,
        # xAI bills reasoning that its completion_tokens leave out; the total has it.
        output_tokens=max(_count(raw.get(f"{written}_tokens")), _count(raw.get("total_tokens")) - input_tokens),
        # Moonshot has them beside the details.
        cached_tokens=_count(read_details.get("cached_tokens") or raw.get("cached_tokens")),
        reasoning_tokens=_count(written_details.get("reasoning_tokens")),
    )
    if read_details.get("cache_write_tokens"):
        usage["cache_write_tokens"] = _count(read_details["cache_write_tokens"])
    return usage


def _count(value: Any) -> int:
    """A number of tokens, 0 for null."""
    return max(0, int(value or 0))


def _reported_cost(raw_usage: dict[str, Any]) -> float | None:
    """What the server reports that it charged, in its own unit; None where it reports its fee alone, since the user's own
    key at the provider pays for the tokens."""
    cost = raw_usage.get("cost")
    return float(cost) if isinstance(cost, int | float) and not raw_usage.get("is_byok") else None


def total(usages: list[Usage]) -> Usage:
    """The sum of usages, key by key."""
    return Usage(
        input_tokens=sum(usage["input_tokens"] for usage in usages),
        output_tokens=sum(usage["output_tokens"] for usage in usages),
        cached_tokens=sum(usage["cached_tokens"] for usage in usages),
        reasoning_tokens=sum(usage["reasoning_tokens"] for usage in usages),
    )
