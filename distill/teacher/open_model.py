"""The model's name chooses who is asked, and how: `-S model=…` is all it takes."""

import re
import resource
from typing import Any

from distill.records import credentials
from distill.records.faults import InputError
from distill.records.ids import content_id
from distill.records.types import Params, Sampling
from distill.teacher import chat, prices, provider, responses, rules
from distill.teacher.batch_model import BatchModel
from distill.teacher.budget import Budget
from distill.teacher.endpoint_model import EndpointModel
from distill.teacher.errors import Fatal
from distill.teacher.halt import Halt
from distill.teacher.http import Http
from distill.teacher.open_batches import OpenBatches
from distill.teacher.provider import StoredModel
from distill.teacher.store import Store
from distill.teacher.tariff import limit_of, longest_charged
from distill.teacher.throttle import Throttle

OPENAI = re.compile(r"^(gpt-(?!oss)|o\d|ft:|chatgpt-|codex-|computer-use)")
LOCAL_TEMPERATURE, LOCAL_TOKENS = 0.5, 128
API_TOKENS = 16_384
"""Room for reasoning, which counts as output; what is not used is not paid."""
FLEX_TIMEOUT_S = 900.0
FILES_BESIDE = 600
"""Open files that are no connections: leases, the store, Python's own."""


def open_model(
    params: Params, halt: Halt, store: Store, with_tools: bool, optional: frozenset[str] = frozenset()
) -> StoredModel:
    """The model that `params` names; nothing is contacted or started until the first question. `optional`: settings of
    its sampling that it may refuse.

    `local/<name>` and GGUF paths run here; with `teacher.base_url` every other name is asked there (key:
    TEACHER_API_KEY); OpenAI's names are asked at OpenAI (key: OPENAI_API_KEY). Raises InputError for any other name, and
    with every rule of OpenAI's that the parameters break.
    """
    model, runtime = params["model"], params["runtime"]
    if provider.is_local(model):
        return provider.local_model(model, slots=runtime["concurrency"], lenient=True)
    faults = rules.faults(model, api_of(params), params["teacher"], with_tools) if OPENAI.match(model) else []
    if runtime["tier"] == "batch" and with_tools and params["agent"]["max_turns"] > 1:
        faults.append(
            "params.yaml: /runtime/tier: batch is for prompts without tools, and there are some with tools; flex costs "
            "as little"
        )
    if faults:
        raise InputError(faults)
    adapter = responses if api_of(params) == "responses" else chat
    identity = _identity(params)
    budget = Budget(runtime["budget_usd"])
    if runtime["tier"] == "batch":
        return BatchModel(
            adapter,
            identity,
            lambda: connect(params),
            find_prices=lambda: find_prices(params),
            budget=budget,
            halt=halt,
            store=store,
            optional=optional,
        )
    throttle = Throttle(
        _with_files_for(runtime["api_concurrency"]), halt, runtime["requests_per_minute"], runtime["tokens_per_minute"]
    )
    if runtime["tier"] == "flex_or_standard":
        throttle.congestion -= {"flex_busy"}  # what flex refuses the standard tier has room for
    return EndpointModel(
        adapter,
        identity,
        lambda: connect(params),
        find_prices=lambda: find_prices(params),
        throttle=throttle,
        budget=budget,
        halt=halt,
        tier=runtime["tier"],
        background=adapter is responses and bool(OPENAI.match(model)) and rules.in_background(model),
        promised=OpenBatches(store, content_id(identity)).promised,
        optional=optional,
    )


def api_of(params: Params) -> str:
    """`responses` or `chat`: as `teacher.api` says; `auto` is responses at OpenAI itself, else chat.

    Raises InputError for a model that nobody serves.
    """
    model, teacher = params["model"], params["teacher"]
    whose = "judge" if "keys" in teacher else "teacher"
    if teacher["base_url"] is None and not OPENAI.match(model):
        raise InputError(
            f"params.yaml: {'/judge' if whose == 'judge' else ''}/model: '{model}' is neither an OpenAI model nor "
            f"local/<name>; set {whose}.base_url to the endpoint that serves it (docs/teacher.md)"
        )
    if teacher["base_url"]:
        provider.check_url(teacher["base_url"], f"/{whose}/base_url", f"{whose.upper()}_API_KEY")
    if teacher["api"] != "auto":
        return teacher["api"]
    return "chat" if teacher["base_url"] else "responses"


def _identity(params: Params) -> dict[str, Any]:
    base_url = params["teacher"]["base_url"] or "openai"
    return {"provider": base_url.rstrip("/"), "api": api_of(params), "model": params["model"]}


def sampling(params: Params) -> Sampling:
    """The sampling settings in the words of the API that is asked."""
    model, teacher = params["model"], params["teacher"]
    temperature, longest, effort = teacher["temperature"], teacher["max_output_tokens"], teacher["reasoning_effort"]
    if provider.is_local(model):
        return {
            "temperature": LOCAL_TEMPERATURE if temperature is None else temperature,
            "max_tokens": longest or LOCAL_TOKENS,
        }
    longest = longest or API_TOKENS
    if api_of(params) == "responses":
        reasoning = {"reasoning": {"effort": effort, "summary": "auto"}} if rules.reasons(model) or effort else {}
        if reasoning and effort is None:
            reasoning = {"reasoning": {"summary": "auto"}}
        return {"temperature": temperature, "max_output_tokens": longest, **reasoning}
    limit = "max_completion_tokens" if OPENAI.match(model) else "max_tokens"
    return {"temperature": temperature, limit: longest} | ({"reasoning_effort": effort} if effort else {})


def connect(params: Params) -> Http:
    """The connection to the endpoint, with the key. Raises Fatal when OpenAI is asked without one."""
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
        own = {
            "OpenAI-Organization": credentials.get("OPENAI_ORG_ID"),
            "OpenAI-Project": credentials.get("OPENAI_PROJECT_ID"),
        }
        headers |= {header: value for header, value in own.items() if value}
    if not all(value.isprintable() for value in headers.values()):
        raise Fatal("key_refused", f"{name} (or an OPENAI_ id) holds a line break or another control character")
    keyless = None if key else " or ".join(names)
    timeout_s = params["runtime"]["timeout_s"]
    if params["runtime"]["tier"].startswith("flex"):
        timeout_s = max(timeout_s, FLEX_TIMEOUT_S)
    return Http(base_url or prices.OPENAI_URL, headers, timeout_s, keyless)


def longest_answer(params: Params) -> int:
    """Tokens that one answer may be charged for."""
    limit = limit_of(sampling(params))
    return limit if provider.is_local(params["model"]) else longest_charged(_identity(params), limit)


def price_of(params: Params) -> prices.Prices | None:
    """The prices of the model, None when nobody knows them."""
    if provider.is_local(params["model"]):
        return prices.FREE
    return prices.find(params["model"], params["teacher"]["base_url"], params["runtime"]["prices"])


def find_prices(params: Params) -> prices.Prices | None:
    """The prices of the model. Raises Fatal when nobody knows them and the user has not said yes to that."""
    found = price_of(params)
    if found is None and params["runtime"]["unknown_price"] == "refuse":
        raise Fatal(
            "unknown_price",
            f"the price of {params['model']} is not known here, so no budget can be kept: give its "
            "price in runtime.prices (0 if it is free), or set runtime.unknown_price to allow (docs/teacher.md)",
        )
    return found


def _with_files_for(connections: int) -> int:
    """`connections`, or fewer if the system does not allow that many open files; its soft limit is raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + FILES_BESIDE
    if soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return connections if allowed == resource.RLIM_INFINITY else min(connections, max(1, allowed - FILES_BESIDE))
