"""Turns error responses into ApiErrors: which kind one is, by its code, its message or its HTTP status.

The codes are OpenAI's; other servers use the same ones, or only the status.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from distill.project import credentials
from distill.teacher import errors
from distill.teacher.api.rate_limit_headers import DAILY_LIMIT_S, retry_after_s
from distill.teacher.errors import KINDS, ApiError

LARGEST_ANSWER = 64 * 2**20
"""Bytes: a hundred times what a model can say."""
LARGEST_REFUSAL = 2**20
"""Bytes of an error response that are read."""
MATCHED_CHARS = 2000
"""Characters of a message that say what is wrong. Behind them some servers repeat the whole request, in which the words below
may stand by chance, and so often that to search it takes hours."""
TOO_LARGE = "answer_too_large"
BY_CODE = {
    "insufficient_quota": "quota",
    "billing_hard_limit_reached": "quota",
    "billing_not_active": "quota",
    "credit_balance_exhausted": "quota",
    "organization_spend_limit_exceeded": "quota",
    "project_spend_limit_exceeded": "quota",
    "organization_usage_limit_exceeded": "quota",
    "Arrearage": "quota",  # Alibaba, with 400: the bill was not paid
    "exceeded_current_quota_error": "quota",  # Moonshot, with 429
    "1113": "quota",  # Z.ai, with 429
    "invalid_encrypted_content": "thoughts_refused",
    "context_length_exceeded": "context_full",
    "exceed_context_size_error": "context_full",
    "1261": "context_full",  # Z.ai
    "content_policy_violation": "content_policy",
    "content_filter": "content_policy",
    "data_inspection_failed": "content_policy",  # Alibaba
    "1301": "content_policy",  # Z.ai
    "invalid_prompt": "content_policy",
    "cyber_policy": "content_policy",
    "bio_policy": "content_policy",
    "misalignment_policy_violation": "content_policy",
    "budget_exceeded": "quota",  # LiteLLM's proxy, with 422, 400 or 429
    "no_db_connection": "key_refused",  # the same, where it knows one key and this is another
    "tool_use_failed": "server",  # Groq: the model wrote a call that cannot be read
}
PASSING_IN_BATCH = {"batch_expired", "batch_cancelled", "request_timeout", None}
"""The codes of a batch's line that has no response, as OpenAI's reference lists them: another batch may do better."""
UNSUPPORTED_CODES = {"unsupported_parameter", "unsupported_value", "unknown_parameter"}
CONTEXT_FULL = re.compile(
    r"context ?(length|window|size|limit)|(prompt|input) is too long|(prompt|input) token count"
    r"|maximum (model|prompt|allowed input) length|range of input length"  # vLLM, xAI, OpenRouter; Alibaba
    r"|model token limit|too many tokens|inputs` tokens|must be at least 1, got -",  # Moonshot, Cohere, TGI, vLLM
    re.IGNORECASE,
)
NO_CREDIT = re.compile(
    r"used all available credits|have any credits|account .*suspended|(key|budget) limit exceeded", re.IGNORECASE
)  # xAI, Fireworks, OpenRouter
DAILY = re.compile(r"per.?day(?!.*try again in)", re.IGNORECASE | re.DOTALL)
FLAGGED_PROMPT = re.compile(r"flagged|usage guidelines|SAFETY_CHECK")  # by OpenRouter and xAI, with 403
REASONING = r"(reasoning_content|messages\b.*\breasoning(_details)?)"
UNSUPPORTED_WORDS = "(not |un)(supported|permitted|allowed|expected|known)"
BY_MESSAGE = [
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in [
        (r"credit balance is too low", "quota"),  # Anthropic, with 400
        (r"api.?key (is )?not valid|(incorrect|invalid) api.?key", "key_refused"),  # Gemini and xAI, with 400
        (r"location is not supported", "forbidden"),  # Gemini
        (r"unexpected endpoint", "not_found"),  # LM Studio, with 200
        (r"invalid model( name|:)|is not a valid model id", "not_found"),  # LiteLLM, Mistral and OpenRouter, with 400
        # vLLM and llama.cpp that were not started for tools, or a model of Ollama's that takes none: every conversation
        # is refused until that is changed.
        (r"tool choice requires|enable-auto-tool-choice|tool-call-parser|requires --jinja", "parameter_refused"),
        (r"does not support tools", "parameter_refused"),
        (r"output that does not match the expected", "call_unreadable"),  # llama.cpp, with 500
        (r"\btemperature\b.{1,40}(deprecated|support|allowed|only)", "temperature_refused"),  # Anthropic, Kimi
        (r"reasoning summar", "summary_refused"),
        (r"encrypted content is not supported", "reasoning_refused"),
        # OpenAI, with 404 and 400, where a proxy drops the encrypted thoughts or an item beside one
        (r"items are not persisted when", "thoughts_refused"),
        (r"without its required (following item|'reasoning' item)", "thoughts_refused"),
        (r"use 'max_completion_tokens' instead", "limit_refused"),  # Azure, whose models have any name
        # DeepSeek and Moonshot
        (r"(?s)reasoning_content\b.*must be passed back|missing.{1,9}reasoning_content", "echo_missed"),
        (r"reasoning_content is missing", "echo_missed"),
        (rf"(?s){REASONING}\b.*{UNSUPPORTED_WORDS}|{UNSUPPORTED_WORDS}.*{REASONING}\b", "echo_refused"),
    ]
]
"""Messages of servers whose codes are not specific. The first pattern that matches counts."""
BY_PARAMETER = {
    "reasoning.summary": "summary_refused",
    "include": "reasoning_refused",
    "temperature": "temperature_refused",
}
SETTING = re.compile(r"^(model|temperature|top_p|reasoning|max_\w*tokens|service_tier|store|tools|parallel)")
REDIRECTS = {301, 302, 303, 307, 308}
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
    504: "timeout",
    524: "timeout",  # Cloudflare
    529: "overloaded",
}


def error_from_response(status: int, headers: Mapping[str, str], content: bytes) -> ApiError:
    """The error of a response whose status is not 2xx, with the server's own message."""
    details = _details(content)
    code = str(details.get("code") or details.get("type") or "")
    message = str(details.get("message") or content.decode("utf-8", "replace") or "no reason given")
    metadata = details.get("metadata")
    if isinstance(metadata, dict) and metadata.get("raw"):  # the provider's message, which OpenRouter's leaves out
        message = f"{message}: {metadata['raw']}"
    message = credentials.redact(message)[:MATCHED_CHARS]
    codes = {code, str(details.get("type"))}
    kind = _kind(status, codes, str(details.get("param") or ""), message)
    wait_s = retry_after_s(headers)
    if status in REDIRECTS:
        kind = "not_found"
        message = f"what is asked for is at {headers.get('location')}, so that is the URL to give"
    # OpenRouter: what is being answered already takes all that the credit allows. Limits of requests say nothing of credit.
    if status == 402 and "retry-after" in headers and not codes & BY_CODE.keys():
        kind = "rate_limit"
    if KINDS[kind].fate == "retry" and wait_s is not None and wait_s > DAILY_LIMIT_S:
        kind, message = "long_wait", f"{message} (the server asks to wait {wait_s / 3600:.1f} h)"
    if kind == "rate_limit" and wait_s is None and DAILY.search(message):  # Gemini, OpenRouter
        kind = "long_wait"
    message = f"HTTP {status}{f' ({code})' if code else ''}: {message}"
    return errors.error(kind, message, http_status=status, retry_after_s=wait_s)


def too_large() -> ApiError:
    """The error of an answer beyond LARGEST_ANSWER: another attempt would most likely be paid for in vain, too."""
    return errors.error(
        TOO_LARGE, f"the answer has more than {LARGEST_ANSWER >> 20} MB, and was not read to its end", maybe_billed=True
    )


def error_in_ok_body(content: Any) -> ApiError | None:
    """The error in the body of a response with status 200 (OpenRouter's, where a provider refuses); None if there is none.
    One that names no status (LM Studio's) is treated as a 500."""
    details = content.get("error") if isinstance(content, dict) else None
    if not details:
        return None
    code = details.get("code") if isinstance(details, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    return error_from_response(status, {}, orjson.dumps(content))


def error_in_batch_line(line: dict[str, Any]) -> ApiError:
    """The error in a line of a batch's results that holds no good answer. A line without a status is treated as one without
    a response, and one with an empty body by the `error` beside it."""
    response, details = line.get("response") or {}, line.get("error") or {}
    if details.get("code") == TOO_LARGE:  # the endpoint's word for a line that it did not read (batch_endpoint.py)
        return too_large()
    if status := response.get("status_code"):
        return error_from_response(status, {}, orjson.dumps(response.get("body") or {"error": details}))
    kind = "server" if details.get("code") in PASSING_IN_BATCH else "bad_request"
    return errors.error(kind, f"{details.get('code')}: {details.get('message')}")


def _kind(status: int, codes: set[str], parameter: str, message: str) -> str:  # noqa: PLR0911 - one line per rule
    for code in codes & BY_CODE.keys():
        return BY_CODE[code]
    if status in (400, 413, 422, 500) and CONTEXT_FULL.search(message):
        return "context_full"
    if status == 403 and FLAGGED_PROMPT.search(message):
        return "content_policy"
    if status in (403, 412, 429) and NO_CREDIT.search(message):
        return "quota"
    if status in (413, 429) and "Request too large" in message:  # Groq has 413
        return "request_too_large"
    if parameter in BY_PARAMETER:
        return BY_PARAMETER[parameter]
    if kind := next((kind for pattern, kind in BY_MESSAGE if pattern.search(message)), None):
        return kind
    if status == 429:
        if "resource_unavailable" in codes or "resource unavailable" in message.lower():
            return "flex_busy"
        return "rate_limit"
    if status in BY_STATUS:
        return BY_STATUS[status]
    if status >= 500:
        return "server"
    if codes & UNSUPPORTED_CODES or SETTING.match(parameter) or "/v1/responses" in message:
        return "parameter_refused"
    return "bad_request"


def _details(content: bytes) -> dict[str, Any]:
    """The error object of a body: OpenAI's `error`, or the body itself where a server has no such field."""
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    details = body.get("error", body) if isinstance(body, dict) else {}
    return details if isinstance(details, dict) else {"message": str(details)}
