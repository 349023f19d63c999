"""What a status that is not 2xx means. The codes are OpenAI's; other servers use the same ones, or only the status."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from distill.teacher import errors
from distill.teacher.errors import KINDS, ApiError
from distill.teacher.waits import DAILY_LIMIT_S, retry_after_s

BY_CODE = {
    "insufficient_quota": "quota",
    "billing_hard_limit_reached": "quota",
    "billing_not_active": "quota",
    "credit_balance_exhausted": "quota",
    "organization_spend_limit_exceeded": "quota",
    "project_spend_limit_exceeded": "quota",
    "organization_usage_limit_exceeded": "quota",
    "Arrearage": "quota",  # Alibaba, with 400: the bill was not paid
    "invalid_encrypted_content": "thoughts_refused",
    "context_length_exceeded": "context_full",
    "exceed_context_size_error": "context_full",
    "content_policy_violation": "content_policy",
    "content_filter": "content_policy",
    "invalid_prompt": "content_policy",
    "cyber_policy": "content_policy",
    "bio_policy": "content_policy",
    "misalignment_policy_violation": "content_policy",
    "budget_exceeded": "quota",  # LiteLLM's proxy, with 422, 400 or 429
    "no_db_connection": "key_refused",  # the same, where it knows one key and this is another
    "tool_use_failed": "server",  # Groq: the model wrote a call that cannot be read
}
UNSUPPORTED = {"unsupported_parameter", "unsupported_value", "unknown_parameter"}
CONTEXT_WORDS = re.compile(
    r"maximum context length|context window|context size|prompt is too long|input token count .*exceeds", re.IGNORECASE
)
FLAGGED = re.compile(r"flagged|usage guidelines|SAFETY_CHECK")  # by OpenRouter and xAI, with 403
THOUGHT = r"(reasoning_content|messages\b.*\breasoning(_details)?)"
UNWANTED = "(not |un)(supported|permitted|allowed|expected|known)"
BY_WORDS = [
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in [
        (r"credit balance is too low", "quota"),  # Anthropic, with 400
        (r"api.?key (is )?not valid|(incorrect|invalid) api.?key", "key_refused"),  # Gemini and xAI, with 400
        (r"location is not supported", "forbidden"),  # Gemini
        (r"invalid model( name|:)|is not a valid model id", "not_found"),  # LiteLLM, Mistral and OpenRouter, with 400
        # vLLM and llama.cpp that were not started for tools, a model of Ollama's that has none: true of every
        # conversation, and of none once that is changed.
        (r"tool choice requires|enable-auto-tool-choice|tool-call-parser|requires --jinja", "parameter_refused"),
        (r"does not support tools", "parameter_refused"),
        (r"output that does not match the expected", "call_unreadable"),  # llama.cpp, with 500
        (r"\btemperature\b.{1,40}(deprecated|support|allowed|only)", "temperature_refused"),  # Anthropic, Kimi
        (r"reasoning summar", "summary_refused"),
        (r"encrypted content is not supported", "reasoning_refused"),
        (r"(?s)reasoning_content\b.*must be passed back|missing.{1,9}reasoning_content", "echo_missed"),  # DeepSeek
        (rf"(?s){THOUGHT}\b.*{UNWANTED}|{UNWANTED}.*{THOUGHT}\b", "echo_refused"),
    ]
]
"""What servers say where their codes say nothing."""
BY_PARAMETER = {
    "reasoning.summary": "summary_refused",
    "include": "reasoning_refused",
    "temperature": "temperature_refused",
}
ABOUT_THE_PARAMETERS = re.compile(
    r"^(model|temperature|top_p|reasoning|max_\w*tokens|service_tier|store|tools|parallel)"
)
MOVED = {301, 302, 303, 307, 308}
BY_STATUS = {
    401: "key_refused",
    402: "quota",
    403: "forbidden",
    498: "flex_busy",  # Groq
    404: "not_found",
    405: "not_found",
    408: "timeout",
    409: "server",
    425: "server",
    503: "overloaded",
    529: "overloaded",
}


def refused(status: int, headers: Mapping[str, str], content: bytes) -> ApiError:
    """The error that a refusal is, with the server's own words."""
    details = _details(content)
    code = str(details.get("code") or details.get("type") or "")
    words = str(details.get("message") or content.decode("utf-8", "replace") or "no reason given")
    metadata = details.get("metadata")
    if isinstance(metadata, dict) and metadata.get("raw"):  # what OpenRouter's provider said, which is the reason
        words = f"{words}: {metadata['raw']}"
    kind = _kind(status, {code, str(details.get("type"))}, str(details.get("param") or ""), words)
    wait = retry_after_s(headers)
    if status in MOVED:
        kind, words = (
            "not_found",
            f"what is asked for is at {headers.get('location')}, so that is the URL to give",
        )
    if KINDS[kind].fate == "retry" and wait is not None and wait > DAILY_LIMIT_S:
        kind, words = "long_wait", f"{words} (the server asks to wait {wait / 3600:.1f} h)"
    message = f"HTTP {status}{f' ({code})' if code else ''}: {words}"
    return errors.error(kind, message, http_status=status, retry_after_s=wait)


def refused_with_200(content: Any) -> ApiError | None:
    """The error that a body is which came as a success and says otherwise (OpenRouter's, where a provider refuses)."""
    found = content.get("error") if isinstance(content, dict) else None
    status = found.get("code") if isinstance(found, dict) else None
    return refused(status, {}, orjson.dumps(content)) if isinstance(status, int) and 400 <= status < 600 else None


def refused_in_batch(line: dict[str, Any]) -> ApiError:
    """The error that a line of a batch's output is which holds no good answer."""
    response, found = line.get("response"), line.get("error") or {}
    if response:
        return refused(response["status_code"], {}, orjson.dumps(response.get("body")))
    kind = "server" if found.get("code") in ("batch_expired", "batch_cancelled", None) else "bad_request"
    return errors.error(kind, f"{found.get('code')}: {found.get('message')}")


def _kind(status: int, codes: set[str], parameter: str, words: str) -> str:  # noqa: PLR0911 - one line per rule
    for code in codes & BY_CODE.keys():
        return BY_CODE[code]
    if status in (400, 413, 422) and CONTEXT_WORDS.search(words):
        return "context_full"
    if status == 403 and FLAGGED.search(words):
        return "content_policy"
    if kind := BY_PARAMETER.get(parameter) or next((kind for said, kind in BY_WORDS if said.search(words)), None):
        return kind
    if status == 429:
        if "resource_unavailable" in codes or "resource unavailable" in words.lower():
            return "flex_busy"
        return "request_too_large" if words.startswith("Request too large") else "rate_limit"
    if status in BY_STATUS:
        return BY_STATUS[status]
    if status >= 500:
        return "server"
    if codes & UNSUPPORTED or ABOUT_THE_PARAMETERS.match(parameter) or "/v1/responses" in words:
        return "parameter_refused"
    return "bad_request"


def _details(content: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    found = body.get("error", body) if isinstance(body, dict) else {}
    return found if isinstance(found, dict) else {"message": str(found)}
