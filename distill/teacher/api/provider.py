"""A model at an API: how it is asked there, with which key, and what its answers cost."""

import re
from typing import Any

from distill.project import credentials
from distill.records.faults import InputError
from distill.records.types import Sampling
from distill.teacher.api import chat, responses, rules
from distill.teacher.api.http import Http, check_url
from distill.teacher.asked import Asked
from distill.teacher.cost import prices
from distill.teacher.cost.tariff import Tariff, max_charged_tokens, output_limit
from distill.teacher.embedded import gguf_model
from distill.teacher.errors import Fatal

OPENAI = re.compile(r"^(gpt-(?!oss)|o\d|ft:|chatgpt-|codex-|computer-use)")
"""The names of OpenAI's own models, which need no base_url."""
LOCAL_TEMPERATURE, LOCAL_TOKENS = 0.5, 128
"""The defaults of teacher.temperature and teacher.max_output_tokens for embedded models."""
API_TOKENS = 16_384
"""The default of teacher.max_output_tokens at an API. It has room for reasoning, which counts as output; tokens that are
not used are not paid."""
FLEX_TIMEOUT_S = 900.0
"""The least timeout in the flex tier, which answers slowly."""


APIS = {"responses": responses, "chat": chat}


def api_of(asked: Asked) -> str:
    """`responses` or `chat`: the value of `api`, where `auto` is responses at OpenAI itself, else chat.

    Raises InputError for a model that has no endpoint.
    """
    model, group, base_url = asked.model, asked.group, asked.base_url
    if base_url is None and not OPENAI.match(model):
        raise InputError(
            f"{asked.place}: '{model}' is neither an OpenAI model nor "
            f"local/<name>; set {group}.base_url to the endpoint that serves it (docs/teacher.md)"
        )
    if base_url:
        check_url(base_url, f"/{group}/base_url", f"{group.upper()}_API_KEY")
    if asked.api != "auto":
        return asked.api
    return "chat" if base_url else "responses"


def identity(asked: Asked) -> dict[str, Any]:
    """The part of every request that says which model is asked, and where."""
    return {"provider": (asked.base_url or "openai").rstrip("/"), "api": api_of(asked), "model": asked.model}


def in_background(asked: Asked) -> bool:
    """Whether answers take longer than a connection should be held open: OpenAI's of some models."""
    slow = OPENAI.match(asked.model) and rules.IN_BACKGROUND.search(asked.model)
    return bool(slow) and api_of(asked) == "responses"


def sampling(asked: Asked) -> Sampling:
    """The sampling settings under the names that the API has for them."""
    model, temperature, effort = asked.model, asked.temperature, asked.reasoning_effort
    if gguf_model.is_local(model):
        return {
            "temperature": LOCAL_TEMPERATURE if temperature is None else temperature,
            "max_tokens": asked.max_output_tokens or LOCAL_TOKENS,
        }
    max_tokens = asked.max_output_tokens or API_TOKENS
    if api_of(asked) == "responses":
        reasoning = {"reasoning": {"effort": effort, "summary": "auto"}} if rules.reasons(model) or effort else {}
        if reasoning and effort is None:
            reasoning = {"reasoning": {"summary": "auto"}}
        return {"temperature": temperature, "max_output_tokens": max_tokens, **reasoning}
    limit_name = "max_completion_tokens" if OPENAI.match(model) else "max_tokens"
    return {"temperature": temperature, limit_name: max_tokens} | ({"reasoning_effort": effort} if effort else {})


def most_answer_tokens(asked: Asked) -> int:
    """Tokens that one answer may be charged for."""
    limit = output_limit(sampling(asked))
    return limit if gguf_model.is_local(asked.model) else max_charged_tokens(identity(asked), limit)


def connect(asked: Asked) -> Http:
    """A connection to the endpoint, with the key. Raises Fatal when OpenAI would be asked without one."""
    base_url = asked.base_url
    names = asked.keys if base_url else ("OPENAI_API_KEY",)
    name = next((name for name in names if credentials.get(name)), names[0])
    key = credentials.get(name)
    if not key and base_url is None:
        raise Fatal(
            "no_key",
            f"{name} is not set: put it into .env (see .env.example) or the environment (docs/teacher.md)",
        )
    headers = {"Authorization": f"Bearer {key or 'none'}", "User-Agent": "distill"}
    if base_url is None:
        optional = {
            "OpenAI-Organization": credentials.get("OPENAI_ORG_ID"),
            "OpenAI-Project": credentials.get("OPENAI_PROJECT_ID"),
        }
        headers |= {header: value for header, value in optional.items() if value}
    if not all(value.isprintable() for value in headers.values()):
        raise Fatal("key_refused", f"{name} (or an OPENAI_ id) holds a line break or another control character")
    missing_key = None if key else " or ".join(names)
    timeout_s = asked.runtime["timeout_s"]
    if asked.runtime["tier"].startswith("flex"):
        timeout_s = max(timeout_s, FLEX_TIMEOUT_S)
    return Http(base_url or prices.OPENAI_URL, headers, timeout_s, missing_key)


def price_of(asked: Asked) -> prices.Prices | None:
    """The prices of the model, None when they are unknown."""
    if gguf_model.is_local(asked.model):
        return prices.FREE
    return prices.find(asked.model, asked.base_url, asked.runtime["prices"])


def price_unknown(asked: Asked) -> str:
    """Whose price is unknown, and how it is given."""
    whose = f"the price of {asked.model} is not known here"
    if asked.base_url:
        whose = f"{asked.model} would be asked at {asked.base_url} ({asked.group}.base_url), whose price for it is not known here"
    return f"{whose} (runtime.prices: {{{asked.model}: {{input: 0, output: 0}}}} if it is free)"


def tariff(asked: Asked) -> Tariff:
    """What answers cost. Raises Fatal when that is unknown, unless the user has allowed it."""
    found = Tariff(identity(asked)["provider"], lambda: price_of(asked))
    if found.prices is None and asked.runtime["unknown_price"] == "refuse":
        raise Fatal(
            "unknown_price",
            f"{price_unknown(asked)}, so no budget can be kept (docs/teacher.md)",
        )
    return found
