"""The scripted teacher and OpenAI: what it is asked, and what it answers, is what the API's own types allow."""

from typing import Any

import openai_types
import pytest
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from pydantic import BaseModel, ValidationError
from teacher_server import calls, function_call, reasoning, response, says, text

ASKED = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "name": "add", "parameters": {}}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"model": "m", "input": [ASKED], "budget": 1}),
        ("/v1/responses", {"model": "m", "input": [ASKED | {"weight": 0}]}),
        ("/v1/responses", {"model": "m", "input": [ASKED], "tools": [TOOL]}),  # says nothing of `strict`
        ("/v1/responses", {"model": "m", "input": [{"type": "reasoning", "id": "rs_1"}]}),
        ("/v1/chat/completions", {"model": "m", "messages": [ASKED | {"weight": 0}]}),
        ("/v1/chat/completions", {"model": "m", "messages": [{"role": "tool", "content": "4"}]}),
        ("/v1/batches", {"input_file_id": "f", "endpoint": "/v1/chat", "completion_window": "24h"}),
    ],
)
def test_a_wrong_request_is_noticed(path: str, body: dict[str, Any]) -> None:
    with pytest.raises((AssertionError, ValidationError)):
        openai_types.check(path, body)


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        (Response, response(reasoning("secret", "first"), text("a", "b"), function_call("c", "add", "{}"))),
        (Response, response({**text(), "content": [{"type": "refusal", "refusal": "I will not."}]})),
        (Response, response(status="incomplete", incomplete_details={"reason": "max_output_tokens"})),
        (Response, response(status="failed", error={"code": "bio_policy", "message": "not allowed"})),
        (ChatCompletion, says("a")),
        (ChatCompletion, calls(("c", "add", "{}"))),
    ],
)
def test_the_scripted_answers_are_such_as_openai_gives(kind: type[BaseModel], answer: dict[str, Any]) -> None:
    kind.model_validate(answer, strict=True)
