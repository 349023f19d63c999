"""Opens the model that params.yaml names: the name alone decides where it runs and which API it is asked through."""

import re
import resource
from types import ModuleType
from typing import Any

from distill.records import credentials
from distill.records.faults import InputError
from distill.records.ids import content_id
from distill.records.types import Params, Sampling
from distill.teacher import chat, gguf_model, prices, responses, rules
from distill.teacher.batch_model import BatchModel
from distill.teacher.budget import Budget
from distill.teacher.endpoint_model import EndpointModel
from distill.teacher.errors import Fatal
from distill.teacher.halt import Halt
from distill.teacher.http import Http, check_url
from distill.teacher.model import StoredModel
from distill.teacher.open_batches import OpenBatches
from distill.teacher.store import Store
from distill.teacher.tariff import max_charged_tokens, output_limit
from distill.teacher.throttle import Throttle

OPENAI = re.compile(r"^(gpt-(?!oss)|o\d|ft:|chatgpt-|codex-|computer-use)")
"""The names of OpenAI's own models, which need no base_url."""
LOCAL_TEMPERATURE, LOCAL_TOKENS = 0.5, 128
"""The defaults of teacher.temperature and teacher.max_output_tokens for embedded models."""
API_TOKENS = 16_384
"""The default of teacher.max_output_tokens at an API. It has room for reasoning, which counts as output; tokens that are
not used are not paid."""
FLEX_TIMEOUT_S = 900.0
"""The least timeout in the flex tier, which answers slowly."""
OTHER_FILES = 600
"""Open files that are not connections: leases, the store, Python's own."""


def open_model(
    params: Params, halt: Halt, store: Store, with_tools: bool, optional: frozenset[str] = frozenset()
) -> StoredModel:
    """The model that `params` names; nothing is contacted or started before the first request. `optional`: sampling
    settings that are left out where the server refuses them.

    `local/<name>` and GGUF paths run here; with `teacher.base_url` every other name is asked there (key:
    TEACHER_API_KEY); OpenAI's models are asked at OpenAI (key: OPENAI_API_KEY). Raises InputError for any other name, and
    for all rules of OpenAI's that the parameters break.
    """
    model, runtime = params["model"], params["runtime"]
    if gguf_model.is_local(model):
        return gguf_model.local_model(model, slots=runtime["concurrency"], lenient=True)
    faults = rules.faults(model, api_of(params), params["teacher"], with_tools) if OPENAI.match(model) else []
    if runtime["tier"] == "batch" and with_tools and params["agent"]["max_turns"] > 1:
        faults.append(
            "params.yaml: /runtime/tier: batch is for prompts without tools, and there are some with tools; flex costs "
            "as little"
        )
    if faults:
        raise InputError(faults)
    if runtime["tier"] == "batch":
        return _batch_model(params, halt, store, optional)
    return _endpoint_model(params, halt, store, optional)


def _batch_model(params: Params, halt: Halt, store: Store, optional: frozenset[str]) -> BatchModel:
    return BatchModel(
        _adapter(params),
        _identity(params),
        lambda: connect(params),
        find_prices=lambda: find_prices(params),
        budget=Budget(params["runtime"]["budget_usd"]),
        halt=halt,
        store=store,
        optional=optional,
    )


def _endpoint_model(params: Params, halt: Halt, store: Store, optional: frozenset[str]) -> EndpointModel:
    model, runtime = params["model"], params["runtime"]
    adapter, identity = _adapter(params), _identity(params)
    throttle = Throttle(
        _most_connections(runtime["api_concurrency"]),
        halt,
        runtime["requests_per_minute"],
        runtime["tokens_per_minute"],
    )
    if runtime["tier"] == "flex_or_standard":
        throttle.congestion -= {"flex_busy"}  # the standard tier may have room for what the flex tier refuses
    return EndpointModel(
        adapter,
        identity,
        lambda: connect(params),
        find_prices=lambda: find_prices(params),
        throttle=throttle,
        budget=Budget(runtime["budget_usd"]),
        halt=halt,
        tier=runtime["tier"],
        background=adapter is responses and bool(OPENAI.match(model)) and rules.in_background(model),
        find_batched=OpenBatches(store, content_id(identity)).messages_by_key,
        optional=optional,
    )


def _adapter(params: Params) -> ModuleType:
    return responses if api_of(params) == "responses" else chat


def api_of(params: Params) -> str:
    """`responses` or `chat`: the value of `teacher.api`, where `auto` is responses at OpenAI itself, else chat.

    Raises InputError for a model that has no endpoint.
    """
    model, teacher = params["model"], params["teacher"]
    group = "judge" if "keys" in teacher else "teacher"
    if teacher["base_url"] is None and not OPENAI.match(model):
        raise InputError(
            f"params.yaml: {'/judge' if group == 'judge' else ''}/model: '{model}' is neither an OpenAI model nor "
            f"local/<name>; set {group}.base_url to the endpoint that serves it (docs/teacher.md)"
        )
    if teacher["base_url"]:
        check_url(teacher["base_url"], f"/{group}/base_url", f"{group.upper()}_API_KEY")
    if teacher["api"] != "auto":
        return teacher["api"]
    return "chat" if teacher["base_url"] else "responses"


def _identity(params: Params) -> dict[str, Any]:
    base_url = params["teacher"]["base_url"] or "openai"
    return {"provider": base_url.rstrip("/"), "api": api_of(params), "model": params["model"]}


def sampling(params: Params) -> Sampling:
    """The sampling settings under the names that the API has for them."""
    model, teacher = params["model"], params["teacher"]
    temperature, max_tokens, effort = teacher["temperature"], teacher["max_output_tokens"], teacher["reasoning_effort"]
    if gguf_model.is_local(model):
        return {
            "temperature": LOCAL_TEMPERATURE if temperature is None else temperature,
            "max_tokens": max_tokens or LOCAL_TOKENS,
        }
    max_tokens = max_tokens or API_TOKENS
    if api_of(params) == "responses":
        reasoning = {"reasoning": {"effort": effort, "summary": "auto"}} if rules.reasons(model) or effort else {}
        if reasoning and effort is None:
            reasoning = {"reasoning": {"summary": "auto"}}
        return {"temperature": temperature, "max_output_tokens": max_tokens, **reasoning}
    limit_name = "max_completion_tokens" if OPENAI.match(model) else "max_tokens"
    return {"temperature": temperature, limit_name: max_tokens} | ({"reasoning_effort": effort} if effort else {})


def connect(params: Params) -> Http:
    """A connection to the endpoint, with the key. Raises Fatal when OpenAI would be asked without one."""
    base_url = params["teacher"]["base_url"]
    names = params["teacher"].get("keys", ["TEACHER_API_KEY"]) if base_url else ["OPENAI_API_KEY"]
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
    timeout_s = params["runtime"]["timeout_s"]
    if params["runtime"]["tier"].startswith("flex"):
        timeout_s = max(timeout_s, FLEX_TIMEOUT_S)
    return Http(base_url or prices.OPENAI_URL, headers, timeout_s, missing_key)


def most_answer_tokens(params: Params) -> int:
    """Tokens that one answer may be charged for."""
    limit = output_limit(sampling(params))
    return limit if gguf_model.is_local(params["model"]) else max_charged_tokens(_identity(params), limit)


def price_of(params: Params) -> prices.Prices | None:
    """The prices of the model, None when they are unknown."""
    if gguf_model.is_local(params["model"]):
        return prices.FREE
    return prices.find(params["model"], params["teacher"]["base_url"], params["runtime"]["prices"])


def find_prices(params: Params) -> prices.Prices | None:
    """The prices of the model, None when they are unknown. Raises Fatal then unless the user has allowed it."""
    model_prices = price_of(params)
    if model_prices is None and params["runtime"]["unknown_price"] == "refuse":
        raise Fatal(
            "unknown_price",
            f"the price of {params['model']} is not known here, so no budget can be kept: give its "
            "price in runtime.prices (0 if it is free), or set runtime.unknown_price to allow (docs/teacher.md)",
        )
    return model_prices


def _most_connections(connections: int) -> int:
    """`connections`, or fewer if the system does not allow that many open files. Raises the soft limit of open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHER_FILES
    if soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return connections if allowed == resource.RLIM_INFINITY else min(connections, max(1, allowed - OTHER_FILES))
