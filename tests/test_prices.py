"""What an answer costs: each kind of token, the tiers, and what the server itself says that it charged."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sums
from asking import *  # noqa: F403
from priced import *  # noqa: F403
from priced import COST, endpoint, question_for, usage
from stage_process import Done
from teacher_server import Asked, response, says, serving, text

from distill.records import jsonl
from distill.teacher.api import chat, responses
from distill.teacher.cost import prices, tariff
from distill.teacher.cost.prices import Prices, find, full_price_flex, is_openai
from distill.teacher.cost.tariff import Tariff, max_charged_tokens
from distill.teacher.halt import Halt
from distill.teacher.store import Store


def test_every_kind_of_token_has_its_price() -> None:
    price = Prices(input=2.0, cached=0.2, cache_write=2.5, output=10.0)
    million = 1_000_000
    assert price.cost(usage(input_tokens=million), "standard") == 2
    assert price.cost(usage(input_tokens=million, cached_tokens=million), "standard") == pytest.approx(0.2)
    assert price.cost(usage(input_tokens=million, cache_write_tokens=million), "standard") == 2.5
    assert price.cost(usage(output_tokens=million, reasoning_tokens=million), "standard") == 10
    assert price.cost(usage(input_tokens=million, output_tokens=million), "flex") == 6
    assert price.max_cost(million, million, "standard") == 12.5 and price.max_cost(million, million, "batch") == 6.25


def test_the_list_knows_openais_models_and_long_prompts() -> None:
    pro = find("gpt-5-pro", None, {})
    assert pro and (pro.input, pro.output) == (15, 120)
    sol = find("gpt-6.1-sol", None, {})
    assert sol and sol.cache_write > sol.input > sol.cached and sol.above
    start = sol.above[-1][0]
    assert sol.cost(usage(input_tokens=start + 1), "standard") > 1.5 * sol.cost(usage(input_tokens=start), "standard")
    assert find("gpt-5.2", None, {"gpt-5.2": {"input": 1, "output": 2}}) == Prices(1, 1, 1, 2)
    assert find("nobody-knows", None, {}) is None and find("gpt-5.2", "http://localhost:8000/v1", {}) is None


def test_an_unknown_price_needs_a_yes(asks: Callable[..., Done], project: Path) -> None:
    with serving(sums.adds) as books:
        done = asks(books, runtime__prices={})
        assert done.returncode == 1 and "runtime.unknown_price to allow" in done.stderr and not books.posts
        said = asks(books, "--plan").stdout
        for unknown in (done.stderr, said):
            assert f"scripted would be asked at {books.base_url} (teacher.base_url), whose price for it" in unknown
            assert "(runtime.prices: {scripted: {input: 0, output: 0}} if it is free)" in unknown
        assert "; set runtime.prices or runtime.unknown_price\n" in said
        said = asks(books, "--plan", "-S", "runtime.unknown_price=allow").stdout
        assert "; runtime.unknown_price allows that, and no budget is kept\n" in said
        free = {"scripted": {"input": 0, "output": 0}}
        assert asks(books, "--plan", runtime__prices=free).stdout.endswith("they cost only time\n")
        sums.set_params(project, runtime__prices={})
        assert asks(books, runtime__unknown_price="allow").returncode == 0


def test_where_reasoning_comes_on_top_the_worst_case_has_it() -> None:
    grok, other = ({"provider": f"https://api.{host}/v1", "api": "chat"} for host in ("x.ai", "xx.ai"))
    assert max_charged_tokens(grok, 1000) == 131_072 and max_charged_tokens(other, 1000) == 1000
    assert max_charged_tokens(grok | {"api": "responses"}, 1000) == 1000
    beyond = Tariff("https://api.x.ai/v1", lambda: Prices(3, 3, 3, 15))
    assert beyond.max_cost(grok | {"sampling": {"max_tokens": 1000}}, 100, "standard") == pytest.approx(1.96638)


def test_a_price_that_changes_with_the_hour_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        hour_now = 0

        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(2026, 11, 30, cls.hour_now, 30, tzinfo=tz)

    monkeypatch.setattr(prices, "datetime", Clock)
    monkeypatch.setattr(tariff, "PRICES_VALID_S", 0.0)
    bought = Tariff("https://api.deepseek.com", lambda: find("deepseek-v4-pro", "https://api.deepseek.com", {}))
    costs, asked = [], {"provider": "", "api": "chat", "sampling": {"max_tokens": 1000}}
    for Clock.hour_now in (0, 2):
        answer = chat.parse(says("2") | {"usage": {"prompt_tokens": 1000, "completion_tokens": 100}}, 1.0)
        assert bought.max_cost(asked, 1000, "standard") == pytest.approx((1000 * 1.32 + 1000 * 3.96) / 1e6)
        bought.set_cost(None, answer, "standard")
        costs.append(answer["cost_usd"])
    assert costs[1] == pytest.approx(2 * costs[0])


@pytest.mark.parametrize("api", [chat, responses])
def test_what_openrouter_says_it_charged_is_what_was_charged(api: Any) -> None:
    def cost(provider: str, **said: Any) -> float | None:
        tokens = {"prompt_tokens": 1000, "completion_tokens": 100, "input_tokens": 1000, "output_tokens": 100}
        answer = api.parse((says("2") if api is chat else response(text("2"))) | {"usage": {**tokens, **said}}, 1.0)
        Tariff(provider, lambda: Prices(3, 3, 3, 15)).set_cost(None, answer, "standard")
        return answer["cost_usd"]

    router = "https://openrouter.ai/api/v1"
    assert cost(router, cost=0.0031) == 0.0031 and cost(router, cost=0) == 0
    assert cost(router) == cost("https://other.ai/v1", cost=5) == cost(router, cost=0.0001, is_byok=True) == 0.0045


@pytest.mark.parametrize("cached", [{"prompt_tokens_details": {"cached_tokens": 600}}, {"cached_tokens": 600}])
def test_cached_tokens_are_cheaper_wherever_a_server_counts_them(cached: dict[str, Any]) -> None:
    """Moonshot does it beside the details."""
    answer = chat.parse(says("2") | {"usage": {"prompt_tokens": 1000, "completion_tokens": 100, **cached}}, 1.0)
    Tariff("https://api.moonshot.ai/v1", lambda: Prices(3, 1, 3, 15)).set_cost(None, answer, "standard")
    assert answer["cost_usd"] == pytest.approx((400 * 3 + 600 * 1 + 100 * 15) / 1e6)


def test_openai_is_asked_for_the_standard_tier_and_to_store_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenAI's `auto`, which a request without a tier means, can be `priority`. Other servers need not know either."""

    async def ask(base_url: str | None) -> None:
        model = endpoint(base_url, Halt(), None)
        await model.ask(question_for(model), Store(tmp_path).note("a"))
        await model.close()

    with serving(sums.adds) as books:
        monkeypatch.setattr(prices, "OPENAI_URL", books.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "key")
        for base_url in (None, books.base_url):
            asyncio.run(ask(base_url))
    assert [asked.body.get("service_tier") for asked in books.posts] == ["default", None]
    assert [asked.body.get("store") for asked in books.posts] == [False, None], (
        "OpenAI stores the chats of new accounts"
    )


def test_providers_are_told_apart() -> None:
    asked = ("openai", "https://eu.api.openai.com/v1", "https://api.openai.com.x.org/v1", "http://127.0.0.1:1/v1")
    assert [is_openai(provider) for provider in asked] == [True, True, False, False]
    assert full_price_flex("https://api.groq.com/openai/v1") and not full_price_flex("openai")


@pytest.mark.parametrize(("tiers", "paid"), [(["flex"], 0.5), (["default"], 1.0), ([None], 1.0)])
def test_flex_is_half_the_price_where_the_server_says_so(
    asks: Callable[..., Done], project: Path, tiers: list[str], paid: float
) -> None:
    def teacher(asked: Asked) -> Any:
        assert asked.body["service_tier"] == "flex"
        return sums.adds(asked) | {"service_tier": tiers[0]}

    with serving(teacher) as books:
        assert asks(books, runtime__tier="flex").returncode == 0
    report = jsonl.read_json(project / "reports/rollouts.json", "rollouts_report")
    assert report["cost_usd"] == pytest.approx(20 * COST * paid)


def test_flex_without_room_falls_back_only_if_told_to(asks: Callable[..., Done], project: Path) -> None:
    def full(asked: Asked) -> Any:
        if asked.body.get("service_tier") == "flex":
            return (
                429,
                {"error": {"message": "Resource Unavailable", "code": "resource_unavailable"}},
                {"retry-after": "0.01"},
            )
        return sums.adds(asked)

    with serving(full) as books:
        assert asks(books, runtime__tier="flex_or_standard", teacher__n=2).returncode == 0
        tried = [asked.body.get("service_tier") for asked in books.posts].count("flex")
        assert 3 <= tried <= 2 * 3, "and the next questions go without"
        done = asks(books, runtime__tier="flex", teacher__n=3)
        assert done.returncode == 0 and "no flex capacity" in done.stdout


def test_responses_are_priced_by_what_the_server_counted(asks: Callable[..., Done], project: Path) -> None:
    with serving(lambda asked: response(text("Answer: 1"))) as books:
        own = {"scripted": {"input": 10, "cached": 1, "output": 100}}
        assert asks(books, teacher__api="responses", runtime__prices=own, teacher__n=1).returncode == 0
    report = jsonl.read_json(project / "reports/rollouts.json", "rollouts_report")
    assert report["cost_usd"] == pytest.approx((60 * 10 + 40 * 1 + 50 * 100) / 1e6)
