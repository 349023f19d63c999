"""What a status that is not 2xx means. The codes are OpenAI's; other servers use the same ones, or only the status."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from distill.teacher import errors
from distill.teacher.errors import KINDS, ApiError
from distill.teacher.waits import LONGEST_WAIT_S, retry_after_s

QUOTA = {
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
}
CONTEXT = {"context_length_exceeded", "exceed_context_size_error"}
POLICY = {"content_policy_violation", "content_filter", "invalid_prompt", "cyber_policy"}
UNSUPPORTED = {"unsupported_parameter", "unsupported_value", "unknown_parameter"}
CONTEXT_WORDS = re.compile(r"maximum context length|context window|context size", re.IGNORECASE)
ABOUT_THE_PARAMETERS = re.compile(
    r"^(model|temperature|top_p|reasoning|max_\w*tokens|service_tier|store|tools|parallel)"
)
ABOUT_THE_SERVER = re.compile(r"tool choice requires|enable-auto-tool-choice|tool-call-parser|requires --jinja")
"""vLLM and llama.cpp that were not started for tools: true of every conversation, and of none once they are."""
MOVED = {301, 302, 303, 307, 308}
BY_STATUS = {
    401: "key_refused",
    402: "quota",
    403: "forbidden",
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
    kind = _kind(status, {code, str(details.get("type"))}, str(details.get("param") or ""), words)
    wait = retry_after_s(headers)
    if status in MOVED:
        kind, words = (
            "not_found",
            f"what is asked for is at {headers.get('location')}, so that belongs into teacher.base_url",
        )
    if KINDS[kind].fate == "retry" and wait is not None and wait > LONGEST_WAIT_S:
        kind, words = "long_wait", f"{words} (the server asks to wait {wait / 3600:.1f} h)"
    message = f"HTTP {status}{f' ({code})' if code else ''}: {words}"
    return errors.error(kind, message, http_status=status, retry_after_s=wait)


def refused_in_batch(line: dict[str, Any]) -> ApiError:
    """The error that a line of a batch's output is which holds no good answer."""
    response, found = line.get("response"), line.get("error") or {}
    if response:
        return refused(response["status_code"], {}, orjson.dumps(response.get("body")))
    kind = "server" if found.get("code") in ("batch_expired", "batch_cancelled", None) else "bad_request"
    return errors.error(kind, f"{found.get('code')}: {found.get('message')}")


def _kind(status: int, codes: set[str], parameter: str, words: str) -> str:  # noqa: PLR0911 - one line per rule
    if codes & QUOTA:
        return "quota"
    if codes & CONTEXT or (status in (400, 413, 422) and CONTEXT_WORDS.search(words)):
        return "context_full"
    if codes & POLICY or (status == 403 and "flagged" in words):  # so OpenRouter words it
        return "content_policy"
    if ABOUT_THE_SERVER.search(words):
        return "parameter_refused"
    if parameter == "reasoning.summary" or "reasoning summar" in words:
        return "summary_refused"
    if parameter == "include" or "ncrypted content is not supported" in words:
        return "reasoning_refused"
    if status == 429:
        if "resource_unavailable" in codes or "resource unavailable" in words.lower():
            return "flex_busy"
        return "bad_request" if words.startswith("Request too large") else "rate_limit"
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
