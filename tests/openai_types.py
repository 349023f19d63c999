"""Whether a request is one that OpenAI's own types allow: those of the package `openai`, made from the API's description.

Other providers take a little more over chat: see BEYOND.
"""

from typing import Any

from openai.types.batch_create_params import BatchCreateParams
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter

TYPES: dict[str, TypeAdapter[Any]] = {
    "/v1/responses": TypeAdapter(ResponseCreateParamsNonStreaming),
    "/v1/chat/completions": TypeAdapter(CompletionCreateParamsNonStreaming),
    "/v1/batches": TypeAdapter(BatchCreateParams),
}
BEYOND = {"reasoning_content", "reasoning_details", "reasoning", "extra_content"}
"""Keys in which a provider other than OpenAI gets its model's thoughts back; Mistral gets them as parts of the content."""


def check(path: str, body: dict[str, Any]) -> None:
    """Raises ValidationError where the body lacks something or has it wrong, AssertionError where it has more."""
    if path.endswith("/chat/completions"):
        body = {**body, "messages": _without(body["messages"], BEYOND)}
    assert _without(TYPES[path].validate_python(body), set()) == body, "OpenAI knows no such key"


def _without(value: Any, keys: set[str]) -> Any:
    """A copy without these keys, in lists and dicts where pydantic has iterators."""
    if isinstance(value, dict):
        return {key: _without(found, keys) for key, found in value.items() if key not in keys}
    if value is None or isinstance(value, str | int | float):
        return value
    return [
        _without(found, keys) for found in value if not (isinstance(found, dict) and found.get("type") == "thinking")
    ]
