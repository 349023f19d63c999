"""What error responses mean: kinds of errors by the codes and words of providers."""

import json
from typing import Any

import pytest
from asking import *  # noqa: F403

from distill.teacher.api.error_response import error_from_response, error_in_batch_line, error_in_ok_body

CONTEXT_FULL = [
    "The decoder prompt (length 5951) is longer than the maximum model length of 4096.",  # vLLM
    "max_tokens must be at least 1, got -155.",  # older ones
    "The input (5000 tokens) is longer than the model's context length (4096 tokens).",  # SGLang
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 10000 `inputs` tokens",  # TGI
    "The number of tokens to keep from the initial prompt is greater than the context length",  # LM Studio
    "the model is loaded with context length of only 4096 tokens, which is not enough",
    "prompt too long; exceeded max context length by 12 tokens",  # Ollama
    "input length and `max_tokens` exceed context limit: 190000 + 21333 > 200000",  # Anthropic
    "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",  # xAI
    "Invalid request: Your request exceeded model token limit: 262144 (requested: 269030)",  # Moonshot
    "Range of input length should be [1, 129024]",  # Alibaba
    "too many tokens: total number of tokens in the prompt cannot exceed 128000",  # Cohere
    "the input token count is 32825 but model only supports up to 32768.",  # Vertex
    "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",  # Gemini
    "litellm.BadRequestError: BedrockException - Input is too long for requested model.",
    "Input length 131393 exceeds the maximum allowed input length of 131040 tokens.",  # OpenRouter
]
PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
TOO_LARGE = "Request too large for model `m` on tokens per minute (TPM): Limit 8000, Requested 20449"
REFUSALS = [
    *((400, {"error": {"message": words, "param": "max_tokens"}}, "context_full") for words in CONTEXT_FULL),
    (400, {"error": {"code": "1261", "message": "Prompt exceeds max length"}}, "context_full"),  # Z.ai
    (
        413,
        {"error": {"message": TOO_LARGE, "type": "tokens", "code": "rate_limit_exceeded"}},
        "request_too_large",
    ),  # Groq
    (429, {"error": {"message": "suspended", "type": "exceeded_current_quota_error"}}, "quota"),  # Moonshot
    (429, {"error": {"code": "1113", "message": "Insufficient balance or no resource package."}}, "quota"),  # Z.ai
    (429, {"code": "exhausted", "error": "Your team has either used all available credits or reached"}, "quota"),  # xAI
    (403, {"code": "denied", "error": "Your newly created teams doesn't have any credits or licenses yet."}, "quota"),
    (403, {"error": {"message": "Key limit exceeded (monthly limit).", "code": 403}}, "quota"),  # OpenRouter
    (412, {"error": {"message": "Account a-b is suspended, possibly due to the spending limit"}}, "quota"),  # Fireworks
    (429, [{"error": {"code": 429, "details": [{"violations": [{"quotaId": PER_DAY}]}]}}], "long_wait"),  # Gemini
    (429, {"error": {"message": "Rate limit exceeded: free-models-per-day.", "code": 429}}, "long_wait"),  # OpenRouter
    (429, {"error": {"message": "Rate limit exceeded: free-models-per-min.", "code": 429}}, "rate_limit"),
    (429, {"error": {"message": "On requests per day (RPD): Limit 10000. Please try again in 8.64s."}}, "rate_limit"),
    (429, {"error": {"message": "Slow down. You were not charged any credits."}}, "rate_limit"),
    (
        500,
        {"error": {"message": "The number of tokens is greater than the context length"}},
        "context_full",
    ),  # LM Studio
    (429, {"error": {"message": "Too many tokens, please wait before trying again."}}, "rate_limit"),  # Bedrock
    (400, {"error": {"code": "data_inspection_failed", "message": "Input data may be"}}, "content_policy"),  # Alibaba
    (400, {"error": {"code": "1301", "message": "potentially unsafe or sensitive content"}}, "content_policy"),  # Z.ai
    (
        400,
        {"error": {"message": "reasoning_content is missing in assistant tool call message at index 2"}},
        "echo_missed",
    ),
    (400, {"error": {"message": "string too long. Expected a string with maximum length 64"}}, "bad_request"),
]


@pytest.mark.parametrize(("status", "content", "kind"), REFUSALS)
def test_what_providers_mean_is_known_by_their_words(status: int, content: Any, kind: str) -> None:
    assert error_from_response(status, {}, json.dumps(content).encode()).kind == kind


def test_credit_that_is_only_taken_by_what_is_being_answered_is_waited_for() -> None:
    words = b'{"error": {"code": 402, "message": "In-flight budget exhausted"}}'
    found = error_from_response(402, {"retry-after": "7"}, words)
    assert (found.kind, found.retry_after_s, error_from_response(402, {}, words).kind) == ("rate_limit", 7, "quota")
    spent = error_from_response(402, {"retry-after": "7"}, b'{"error": {"code": "insufficient_quota"}}')
    limits = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s"}
    assert (spent.kind, error_from_response(402, limits, words).kind) == ("quota", "quota")


def test_a_daily_limit_of_which_the_server_says_how_long_it_lasts_is_waited_for() -> None:
    words = b'{"error": {"message": "Rate limit reached on requests per day (RPD): Limit 200. Try again in 7m12s"}}'
    found = error_from_response(429, {"retry-after": "432"}, words)
    assert (found.kind, found.retry_after_s) == ("rate_limit", 432)


def test_only_a_gateway_that_gave_up_may_leave_a_bill() -> None:
    """An error in a good response, or in a line of a batch, says that there is no answer."""
    late = {"error": {"code": 504, "message": "the provider was too slow"}}
    in_body = error_in_ok_body(late)
    assert in_body and in_body.kind == "timeout" and not in_body.maybe_billed
    in_batch = error_in_batch_line({"response": {"status_code": 504, "body": late}})
    assert in_batch.kind == "timeout" and not in_batch.maybe_billed


def test_a_line_of_a_batch_without_a_status_or_a_body_is_read_all_the_same() -> None:
    assert error_in_batch_line({"response": {"status_code": None, "body": None}, "error": None}).kind == "server"
    assert error_in_batch_line({"response": {"request_id": "1"}}).kind == "server"
    refused = {"response": {"status_code": 400, "body": None}, "error": {"message": "the prompt is too long"}}
    assert error_in_batch_line(refused).message == "HTTP 400: the prompt is too long"


def test_a_refusal_that_repeats_the_request_is_told_by_its_beginning_and_at_once() -> None:
    """The patterns look for words that a conversation may have: these would keep the event loop for hours."""
    echo = '{"messages": "reasoning"} temperature per day ' * 20_000
    for status in (400, 429, 500):
        assert error_from_response(status, {}, f"no such voice: {echo}".encode()).message.startswith("HTTP")
    assert error_from_response(400, {}, f"prompt is too long: {echo}".encode()).kind == "context_full"
