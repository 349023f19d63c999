"""What a server's refusal means, and how long it asks to wait."""

import json
from typing import Any

import pytest

from distill.teacher.api.error_response import error_from_response
from distill.teacher.api.rate_limit_headers import duration_s, retry_after_s, used_up_s
from distill.teacher.errors import KINDS, Fatal, Transient, error

TOO_LONG = '{"error": {"message": "This model\'s maximum context length is 131072 tokens. You requested 140000"}}'


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (
            400,
            {
                "error": {
                    "code": 400,
                    "type": "BadRequestError",
                    "message": "This model's maximum context length is 8192",
                }
            },
            "context_full",
        ),
        (400, {"object": "error", "message": "nope", "param": None}, "bad_request"),
        (400, {"error": "just words"}, "bad_request"),
        (400, {"error": {"message": "`temperature` is deprecated for this model."}}, "temperature_refused"),
        (400, {"error": {"message": "invalid temperature: only 1 is allowed for this model"}}, "temperature_refused"),
        (400, {"error": {"message": "Unsupported value: 'temperature' does not support 0"}}, "temperature_refused"),
        (400, {"error": {"code": "content_policy_violation"}}, "content_policy"),
        (400, {"error": {"code": "bio_policy"}}, "content_policy"),
        (
            400,
            {
                "error": {
                    "message": "Function tools with reasoning_effort are not supported for gpt-5.6 in /v1/chat/completions. "
                    "Please use /v1/responses or set reasoning_effort to 'none'"
                }
            },
            "parameter_refused",
        ),
        (429, {"error": {"type": "insufficient_quota", "code": "credit_balance_exhausted"}}, "quota"),
        (429, {"error": {"code": "slow_down"}}, "rate_limit"),
        (429, {"error": {"code": "resource_unavailable", "message": "Resource Unavailable"}}, "flex_busy"),
        (
            429,
            {"error": {"code": "rate_limit_exceeded", "message": "Request too large for gpt-5 on tokens per min"}},
            "request_too_large",
        ),
        (
            400,
            {"message": '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'},
            "parameter_refused",
        ),
        (403, {"error": {"message": "Your input was flagged", "code": 403}}, "content_policy"),
        (
            403,
            {
                "code": "The caller does not have permission to execute the specified operation",
                "error": "Content violates usage guidelines. Model: grok-4, Failed check: SAFETY_CHECK_TYPE_BIO",
            },
            "content_policy",
        ),
        (403, {"error": {"message": "The caller does not have permission"}}, "forbidden"),
        (
            400,
            {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": TOO_LONG}}},
            "context_full",
        ),
        (400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}}], "key_refused"),
        (
            400,
            {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xx"},
            "key_refused",
        ),
        (400, {"error": {"message": "Your credit balance is too low to access the Anthropic API."}}, "quota"),
        (400, [{"error": {"code": 400, "message": "User location is not supported for the API use."}}], "forbidden"),
        (
            400,
            {"error": {"message": "registry.ollama.ai/library/gemma:2b does not support tools"}},
            "parameter_refused",
        ),
        (422, {"error": {"message": "Budget has been exceeded!", "type": "budget_exceeded", "code": "422"}}, "quota"),
        (429, {"error": {"message": "Budget has been exceeded!", "type": "budget_exceeded", "code": "429"}}, "quota"),
        (400, {"error": {"message": "No connected db.", "type": "no_db_connection", "code": "400"}}, "key_refused"),
        (
            400,
            {
                "error": {
                    "message": "/chat/completions: Invalid model name passed in model=nope.",
                    "type": "invalid_request_error",
                    "code": "400",
                }
            },
            "not_found",
        ),
        (500, {"error": {"message": "invalid model output"}}, "server"),
        (400, {"error": {"message": "nope/nope is not a valid model ID", "code": 400}}, "not_found"),
        (400, {"error": {"message": "Failed to call a function.", "code": "tool_use_failed"}}, "server"),
        (498, {"error": {"message": "capacity exceeded", "code": "capacity_exceeded"}}, "flex_busy"),
        (400, {"error": {"message": "prompt is too long: 210000 tokens > 200000 maximum"}}, "context_full"),
        (
            400,
            [{"error": {"message": "The input token count (1200000) exceeds the maximum number of tokens allowed"}}],
            "context_full",
        ),
        (400, {"error": {"message": "'messages.2' : property 'reasoning_content' is unsupported"}}, "echo_refused"),
        (400, {"error": {"message": "'messages.2' : property 'reasoning' is unsupported"}}, "echo_refused"),
        (
            400,
            {"error": {"message": "Extra inputs are not permitted, field: 'messages[8].reasoning', value: 'I\nadd'"}},
            "echo_refused",
        ),
        (422, {"detail": [{"loc": ["messages", 2, "reasoning_content"], "msg": "not permitted"}]}, "echo_refused"),
        (400, {"error": {"message": "'reasoning' is not supported by this model"}}, "bad_request"),
        (400, {"error": {"message": "Missing `reasoning_content` field in the assistant message"}}, "echo_missed"),
        (502, b"<html>", "server"),
        (529, b"", "overloaded"),
        (413, b"too large", "bad_request"),
    ],
)
def test_refusals_are_told_apart(status: int, content: Any, kind: str) -> None:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    found = error_from_response(status, {}, data)
    assert found.kind == kind and found.kind in KINDS and found.http_status == status


def test_the_fates_are_types() -> None:
    assert {KINDS[kind].fate for kind in KINDS} == {"retry", "repair", "fail", "stop"}
    assert isinstance(error("rate_limit", ""), Transient) and isinstance(error("quota", ""), Fatal)


def test_durations_as_servers_write_them() -> None:
    assert [duration_s(text) for text in ("120ms", "6m0s", "1h2m3s", "1s", "")] == [0.12, 360, 3723, 1, 0]
    assert [duration_s(text) for text in ("12.5", "1.2.3s", "1790000000", "soon", "5 s", "nan")] == [
        12.5,
        0,
        0,
        0,
        0,
        0,
    ]


def test_a_refusal_without_retry_after_waits_for_what_is_used_up() -> None:
    reset = {"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}
    assert retry_after_s(reset | {"x-ratelimit-remaining-requests": "0", "x-ratelimit-remaining-tokens": "9"}) == 1
    assert retry_after_s(reset | {"x-ratelimit-remaining-tokens": "0", "retry-after": "2"}) == 2
    assert retry_after_s(reset) is None and used_up_s(reset) == 0
    day = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "23h59m"}
    assert error_from_response(429, day, b"{}").kind == "long_wait"
    assert error_from_response(500, {"retry-after": "86400"}, b"{}").kind == "long_wait"
