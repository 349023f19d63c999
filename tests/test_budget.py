"""Money: prices, the budget that cannot be passed, the plan that buys nothing, and the commands around them."""

import asyncio
import os
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sums
from asking import *  # noqa: F403
from stage_process import Done, Running, until
from teacher_server import Asked, Books, calls, completion, refused, response, says, serving, text

from distill.project.params import load as load_params
from distill.records import jsonl
from distill.records.types import Request
from distill.teacher import store
from distill.teacher.api import chat, responses
from distill.teacher.api.http import Http
from distill.teacher.asked import asked_teacher
from distill.teacher.cost import prices, tariff
from distill.teacher.cost.prices import Prices, find, full_price_flex, is_openai
from distill.teacher.cost.tariff import Tariff, max_charged_tokens
from distill.teacher.errors import Fatal, Transient
from distill.teacher.halt import Halt
from distill.teacher.open_model import open_model
from distill.teacher.store import Store
from distill.teacher.teacher import Teacher

PRICE = {"scripted": {"input": 100, "output": 1000}}
"""USD per million tokens; an answer of the scripted teacher (11 in, 7 out) costs 0.0081."""
COST = 0.0081


@pytest.fixture
def asks(project: Path) -> Callable[..., Done]:
    """A project of ten prompts at that price; asks the teacher behind a server."""
    sums.make(project, 10, runtime__unknown_price="refuse", runtime__prices=PRICE, teacher__max_output_tokens=50)
    assert Running(project, "prompts").wait().returncode == 0

    def run(books: Books, *arguments: str, what: str = "teacher_rollouts", **params: Any) -> Done:
        sums.set_params(project, teacher__base_url=books.base_url, **params)
        return Running(project, what, *arguments, TEACHER_API_KEY="").wait()

    return run


def usage(**tokens: int) -> Any:
    return {"input_tokens": 0, "output_tokens": 0, "cached_tokens": 0, "reasoning_tokens": 0, **tokens}


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


@pytest.mark.parametrize("concurrency", [1, 16])
def test_the_budget_is_never_passed_and_the_next_run_goes_on(
    asks: Callable[..., Done], project: Path, concurrency: int
) -> None:
    """Each answer costs 0.0081 and may cost 0.13 (its bytes as tokens): ten prompts, two turns, and 0.5 dollars a run."""
    dear = {"scripted": {"input": 100, "output": 1000}}
    with serving(sums.adds, latency_s=0.02) as books:
        runs, spent = 0, []
        while True:
            before = len(books.answered)
            done = asks(books, runtime__budget_usd=0.2, runtime__prices=dear, runtime__api_concurrency=concurrency)
            spent.append((len(books.answered) - before) * COST)
            runs += 1
            if done.returncode == 0:
                break
            assert "(budget)" in done.stderr and "raise runtime.budget_usd" in done.stderr, done.stderr
            assert not (project / "rollouts").exists() and runs < 10
        assert all(dollars <= 0.2 for dollars in spent) and runs > 1
        assert max(books.times_paid.values()) == 1 and len(books.answered) == 20
    report = jsonl.read_json(project / "reports/rollouts.json", "rollouts_report")
    assert report["cost_usd"] == pytest.approx(20 * COST)


def test_an_answer_that_may_have_been_billed_counts_as_its_worst_case(asks: Callable[..., Done]) -> None:
    with serving(lambda asked: (200, b'{"choices"', {})) as books:
        done = asks(books, runtime__budget_usd=0.1, runtime__api_concurrency=1)
    assert done.returncode == 1 and "(budget)" in done.stderr and len(books.posts) <= 2


@pytest.mark.parametrize("status", [408, 504, 524])
def test_behind_a_proxy_that_gives_up_an_answer_may_have_been_billed(asks: Callable[..., Done], status: int) -> None:
    with serving(lambda asked: (status, b"<html>Gateway time-out", {"retry-after": "0.01"})) as books:
        done = asks(books, runtime__budget_usd=0.12, runtime__api_concurrency=1)
    assert done.returncode == 1 and "(budget)" in done.stderr and len(books.posts) == 1


def test_to_look_for_an_answer_costs_nothing() -> None:
    async def failed(base_url: str, ask: str, *data: bytes) -> bool:
        http = Http(base_url, {}, 5)
        try:
            with pytest.raises(Transient) as caught:
                await getattr(http, ask)("/chat/completions", *data)
            return caught.value.maybe_billed
        finally:
            await http.close()

    given_up = (504, b"", {})
    body = b'{"model": "m", "messages": [{"role": "user", "content": "what is 1 + 1?"}]}'
    with serving(lambda asked: given_up, gets=lambda asked: given_up) as books:
        assert asyncio.run(failed(books.base_url, "post", body))
        assert not asyncio.run(failed(books.base_url, "get"))


def test_a_question_that_a_proxy_gives_up_is_asked_twice(asks: Callable[..., Done], project: Path) -> None:
    def slow(asked: Asked) -> Any:
        given_up = (504, b"<html>Gateway time-out", {"retry-after": "0.01"})
        return given_up if sums.number(asked.body) == 2 else sums.adds(asked)

    with serving(slow) as books:
        assert asks(books, runtime__budget_usd=None).returncode == 0
    assert [sums.number(asked.body) for asked in books.posts].count(2) == 2
    errors = [jsonl.read_json(path, "rollout")["error"] for path in (project / "rollouts").iterdir()]
    assert [error["kind"] for error in errors if error] == ["timeout"]


@pytest.mark.parametrize(
    "error",
    [
        {"message": "Provider returned error", "code": 429, "metadata": {"raw": "rate-limited upstream"}},
        {"message": "try again", "code": "internal"},
        "try again",
    ],
)
def test_a_refusal_that_comes_as_a_success_is_not_billed(asks: Callable[..., Done], project: Path, error: Any) -> None:
    """OpenRouter's, where its provider has too much to do; the budget has room for one request at a time."""
    busy = iter(range(8))

    def passing(asked: Asked) -> Any:
        return {"error": error, "user_id": "u"} if next(busy, None) is not None else sums.adds(asked)

    with serving(passing) as books:
        assert asks(books, runtime__budget_usd=0.5).returncode == 0
    assert sum(
        call["attempts"] > 1
        for path in (project / "rollouts").iterdir()
        for call in jsonl.read_json(path, "rollout")["calls"]
    )


def test_a_server_that_counts_no_tokens_is_as_dear_as_can_be(asks: Callable[..., Done]) -> None:
    with serving(lambda asked: sums.adds(asked) | {"usage": None}) as books:
        done = asks(books, runtime__budget_usd=0.2)
    assert done.returncode == 1 and "(budget)" in done.stderr and len(books.posts) <= 2


def test_a_server_without_a_flex_tier_cannot_pass_the_budget(asks: Callable[..., Done]) -> None:
    """Every answer costs 0.09 at the standard price, and may be charged at that."""

    def dear(asked: Asked) -> Any:
        return sums.adds(asked) | {"usage": {"prompt_tokens": 400, "completion_tokens": 50}}

    with serving(dear) as books:
        done = asks(books, runtime__tier="flex", runtime__budget_usd=0.3)
    assert done.returncode == 1 and "(budget)" in done.stderr and 0 < len(books.posts) * 0.09 <= 0.3


def test_a_server_that_charges_for_more_than_was_asked_for_ends_the_run(asks: Callable[..., Done]) -> None:
    """As xAI's chat does: each answer costs 1.2 in place of the 0.06 that it may. Those that were under way are kept."""

    def endless(asked: Asked) -> Any:
        return says("Answer: 1") | {"usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 1211}}

    with serving(endless, latency_s=0.3) as books:
        done = asks(books, runtime__budget_usd=1, teacher__n=2)
        assert done.returncode == 1 and "(budget)" in done.stderr and "more than runtime.budget_usd" in done.stderr
        done = asks(books, runtime__budget_usd=2, runtime__api_concurrency=1, teacher__n=4)
        assert done.returncode == 1 and len(books.answered) == 3, "the second may be as long as the first"
    assert max(books.times_paid.values()) == 1


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


def endpoint(base_url: str | None, halt: Halt, budget_usd: float | None) -> Any:
    """A model of which every answer may cost a dollar and more, asked in this process."""
    params = load_params(sums.ROOT / "params.yaml") | {"model": "gpt-4o"}
    params["teacher"] |= {"base_url": base_url, "api": "chat"}
    params["runtime"] |= {"prices": {"gpt-4o": {"input": 0, "output": 1_000_000}}, "budget_usd": budget_usd}
    return open_model(asked_teacher(params), halt, Store(), with_tools=False)


def question_for(model: Any) -> Request:
    return model.api.request(model.identity, [{"role": "user", "content": "what is 1 + 1?"}], [], {"max_tokens": 8}, [])


def test_who_waits_for_money_when_the_run_is_stopped_does_not_spend_it(tmp_path: Path) -> None:
    async def two(base_url: str) -> list[Any]:
        halt = Halt()
        model = endpoint(base_url, halt, 10)
        asking = [asyncio.create_task(model.ask(question_for(model), Store(tmp_path).note("a"))) for _ in range(2)]
        await asyncio.to_thread(until, lambda: books.posts)
        await asyncio.sleep(0.05)
        halt.stop(Fatal("interrupted", "stopped"))
        ends = await asyncio.gather(*asking, return_exceptions=True)
        await model.close()
        return ends

    cheap = says("Answer: 2") | {"usage": {"prompt_tokens": 11, "completion_tokens": 1}}
    with serving(lambda asked: cheap, latency_s=0.3) as books:
        ends = asyncio.run(two(books.base_url))
    assert len(books.posts) == 1 and isinstance(ends[1], Fatal) and ends[0]["message"]["content"] == "Answer: 2"


def test_what_the_headers_of_an_answer_say_is_heeded(tmp_path: Path) -> None:
    async def two(base_url: str) -> None:
        model = endpoint(base_url, Halt(), None)
        for _ in range(2):
            await model.ask(question_for(model), Store(tmp_path).note("a"))
        await model.close()

    told = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "400ms"}
    with serving(lambda asked: (200, says("Answer: 2"), told)) as books:
        asyncio.run(two(books.base_url))
    first, second = (at for at, _ in books.answered)
    assert second - first > 0.35


def test_a_plan_tells_what_is_missing_and_asks_nothing(asks: Callable[..., Done], project: Path) -> None:
    with serving(sums.adds) as books:
        done = asks(books, "--plan")
        assert done.returncode == 0, done.stderr
        assert "10 rollouts wanted, 0 of them in the store, 10 missing" in done.stdout and "a guess" in done.stdout
        assert asks(books, teacher__n=4).returncode == 0
        change = ("--plan", "-S", "teacher.n=10", "-S", "runtime.budget_usd=3")
        said = asks(books, *change).stdout + asks(books, *change, "-S", "runtime.tier=flex").stdout
        assert "4 of them in the store, 6 missing" in said and "about 12 answers" in said
        assert "as in 4 stored rollouts" in said and "runtime.budget_usd 3" in said
        numbers = {
            tier: (float(expected), float(worst))
            for tier, expected, worst in re.findall(
                r"^(standard|flex) +([\d.]+) +([\d.,]+)", said.replace(",", ""), re.MULTILINE
            )
        }
        assert numbers["standard"][0] == pytest.approx(12 * COST, abs=1e-4) and numbers["standard"][1] > 1
        assert numbers["flex"][0] == pytest.approx(6 * COST, abs=1e-4)
        at_openai = ("teacher.base_url=null", "model=gpt-5.2", "teacher.temperature=null")
        said = asks(books, "--plan", *(word for setting in at_openai for word in ("-S", setting))).stdout
        assert re.search(r"(?m)^flex .*\nbatch .*\(not for prompts with tools\)$", said)
        assert "nothing to buy" in asks(books, "--plan", "-S", "teacher.n=4").stdout
        assert len(books.asked) - len(books.posts) == 1 and len(books.posts) == 8, "the plans asked nothing"
    assert (project / "rollouts").exists() and not re.search("(?m)^  n: 10", (project / "params.yaml").read_text())


@pytest.mark.parametrize("row", ["no tools.py", "tools: []"])
def test_at_worst_a_prompt_without_tools_takes_one_full_answer(
    asks: Callable[..., Done], project: Path, row: str
) -> None:
    if row == "tools: []":
        seed = project / "data/seed/sums.jsonl"
        seed.write_text(seed.read_text().replace('{"messages"', '{"tools": [], "messages"'))
        assert Running(project, "prompts").wait().returncode == 0
    else:
        (project / "tools.py").unlink()
    with serving(sums.adds) as books:
        said = asks(books, "--plan").stdout
    expected, worst = map(float, re.search(r"(?m)^standard +([\d.]+) +([\d.]+)$", said).groups())  # type: ignore[union-attr]
    assert expected > 0 and worst == pytest.approx(10 * 50 * 1000 / 1e6, rel=0.4), "50 tokens out, and few in"


def test_a_plan_without_stored_rollouts_goes_by_the_last_run_and_says_what_changed(
    asks: Callable[..., Done], project: Path
) -> None:
    with serving(sums.adds) as books:
        assert asks(books, teacher__n=4).returncode == 0
        stored = asks(books, "--plan", "-S", "teacher.n=10").stdout
        assert "since the last run" not in stored
        tools = (project / "tools.py").read_text()
        (project / "tools.py").write_text(tools.replace("Adds two numbers", "Adds numbers"))
        said = asks(books, "--plan").stdout
        assert "4 rollouts wanted, 0 of them in the store, 4 missing\n" in said
        assert "since the last run changed: the tools; so its answers are not to the same questions\n" in said
        assert "about 8 answers to buy, each with 11 tokens in (0 cached) and 7 out (as in the last run)" in said
        (project / "tools.py").write_text(tools)
        said = asks(books, "--plan", "-S", "teacher.max_output_tokens=49").stdout
        assert "changed: the sampling;" in said
        assert "(a guess, " in asks(books, "--plan", "-S", "model=other").stdout
        seed = project / "data/seed/sums.jsonl"
        seed.write_text(seed.read_text().replace("Add.", "Add numbers."))
        assert Running(project, "prompts").wait().returncode == 0
        assert "changed: the prompts;" in asks(books, "--plan").stdout


def test_a_plan_after_a_change_of_the_tools_goes_by_the_last_run(asks: Callable[..., Done], project: Path) -> None:
    """What is finished then are the rollouts without calls, which are short; and few answers have to be bought."""

    def teacher(asked: Asked) -> Any:
        return says("Answer: 1") if sums.number(asked.body) == 0 else sums.adds(asked)

    with serving(teacher) as books:
        assert asks(books).returncode == 0
        tools = project / "tools.py"
        tools.write_text(tools.read_text().replace("return a + b", "return a + b if a != 7 else 0"))
        said = asks(books, "--plan").stdout
        assert (
            "10 rollouts wanted, 1 of them in the store, 9 missing\nsince the last run changed: what the tools " in said
        )
        assert (
            "; so 9 rollouts will call the tools again, and only answers behind results that differ are bought\n"
            in said
        )
        assert "0 to 9 answers to buy, each with 11 tokens in (0 cached) and 7 out (as in the last run)" in said
        bought = len(books.posts)
        assert "teacher_rollouts: 1 answer bought" in asks(books).stdout and len(books.posts) == bought + 1


@pytest.mark.parametrize("known", [False, True])
def test_no_more_is_expected_than_at_worst(asks: Callable[..., Done], known: bool) -> None:
    """Also where the answers of the last run had more tokens than one may have now."""
    with serving(sums.adds) as books:
        if known:
            assert asks(books, teacher__n=4).returncode == 0
        limits = ("teacher.max_output_tokens=3", "agent.max_turns=2", "agent.tool_output_chars=4")
        said = asks(books, "--plan", *(word for limit in limits for word in ("-S", limit))).stdout
    assert ("as in the last run" if known else "a guess") in said and " and 3 out (" in said
    expected, worst = map(float, re.search(r"(?m)^standard +([\d.]+) +([\d.]+)$", said).groups())  # type: ignore[union-attr]
    assert expected <= worst + 0.005, "which is rounded"


def test_a_plan_for_this_machine_speaks_of_no_money() -> None:
    from distill.agent.estimate import estimate
    from distill.agent.last_run import NOTHING
    from distill.agent.plan import Missing, Plan, Typical
    from distill.teacher.cost.prices import FREE

    found = Plan(1, [Missing({}, 0, 0, 400, True)], Typical(2, 100, 0, 30), "as in 1 stored rollout", 0, True)
    said = estimate(found, {"model": "local/small"}, FREE, 128, NOTHING)
    assert "about 2 answers to buy" in said and said.endswith("they cost only time")


def test_the_answers_of_a_plan_are_rounded_once_not_for_each_rollout() -> None:
    from distill.agent.plan import Missing, Plan, Typical

    asked, begun = Missing({}, 0, 0, 400, True), Missing({}, 0, 1, 400, True, to_call=True)
    found = Plan(0, [asked] * 1000 + [begun] * 100, Typical(1.45, 100, 0, 30), "as in the last run", 0, True)
    assert (found.answers, found.surely) == (1550, 1450)


def test_a_plan_refuses_a_parameter_that_is_not_there(asks: Callable[..., Done]) -> None:
    with serving(sums.adds) as books:
        done = asks(books, "--plan", "-S", "teacher.m=4", "-S", "teacher.n=x")
    assert done.returncode == 1 and "no key 'teacher.m'" in done.stderr and "/teacher/n" in done.stderr
    assert asks(books, "-S", "teacher.n=4").returncode == 2


def test_a_trial_shows_conversations_and_its_answers_are_kept(asks: Callable[..., Done], project: Path) -> None:
    with serving(sums.adds) as books:
        done = asks(books, what="distill.commands.trial", filter__length="off", filter__tools_shown="off")
        assert done.returncode == 0, done.stderr
        assert len(books.posts) == 4 and not (project / "rollouts").exists()
        assert re.search(r"calls\n +add\(\{\"a\": \d, \"b\": 1\}\)", done.stdout) and re.search(
            r"add →\n +\d", done.stdout
        )
        assert "assistant\n      Answer: " in done.stdout and "expected" in done.stdout
        assert len(re.findall(r"(?m)^  \w{16}: kept; its answer is right$", done.stdout)) == 2
        assert asks(books).returncode == 0 and len(books.posts) == 20


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


def test_a_warning_tells_of_a_model_that_will_be_switched_off(asks: Callable[..., Done]) -> None:
    from datetime import timedelta

    last = (datetime.now(UTC) + timedelta(days=19)).date().isoformat()
    listed = {"data": [{"id": "scripted", "shutdown_date": last}, {"id": "other"}]}
    with serving(sums.adds, latency_s=0.1, gets=lambda asked: listed) as books:
        assert f"scripted shuts down on {last}, in 19 days" in asks(books, teacher__n=1).stdout


def test_progress_and_the_last_lines_tell_money_and_advice(asks: Callable[..., Done]) -> None:
    def teacher(asked: Asked) -> Any:
        if sums.number(asked.body) == 1:
            return completion({"role": "assistant", "content": "half"}, "length")
        return calls(("x", "add", "{}")) if sums.number(asked.body) == 2 else sums.adds(asked)

    with serving(teacher) as books:
        said = asks(books).stdout
    assert re.search(r"10/10 done, 2 failed, \d+ tokens/s, 23 answers, \$0.\d+ spent of \$10, 0 of 64 in flight", said)
    assert re.search(r"8 of 10 rollouts completed, .* tool calls \(6 failed\)", said)
    assert re.search(r"1  truncated +raise teacher.max_output_tokens", said)
    assert re.search(r"1  max_turns +see in rollouts/ what keeps", said)


@pytest.mark.parametrize("module", ["stages.teacher_rollouts", "distill.commands.trial"])
def test_on_a_terminal_one_line_is_kept_and_nothing_runs_into_it(
    asks: Callable[..., Done], project: Path, module: str
) -> None:
    """On one of 60 columns, with a warning and conversations in between, and an end that comes early."""
    import subprocess
    import sys

    def broke(asked: Asked) -> Any:
        return sums.adds(asked) if len(books.posts) < 6 else refused(429, "insufficient_quota")

    listed = {"data": [{"id": "scripted", "shutdown_date": datetime.now(UTC).date().isoformat()}]}
    ours, theirs = os.openpty()
    with serving(broke, latency_s=0.3, gets=lambda asked: listed) as books:
        sums.set_params(project, teacher__base_url=books.base_url, runtime__api_concurrency=1)
        environment = {**os.environ, "PYTHONPATH": str(sums.ROOT), "TEACHER_API_KEY": "", "COLUMNS": "60"}
        command = [sys.executable, "-m", module]
        with subprocess.Popen(command, cwd=project, env=environment, stdout=theirs, stderr=subprocess.PIPE):
            os.close(theirs)
            said = b""
            try:
                while part := os.read(ours, 65536):
                    said += part
            except OSError:  # Linux's end of a terminal
                pass
    os.close(ours)
    # What stands on each line in the end: what was written after it was last wiped.
    lines = [line.split("\r\x1b[K") for line in said.decode().replace("\r\n", "\n").split("\n")]
    states = [state for line in lines for state in line if " done, " in state]
    assert len(states) > 2 and all(re.fullmatch(r"\d+/\d+ done, [^─]*", state) for state in states), said
    assert max(map(len, states)) < 60
    shown = [line[-1] for line in lines]
    assert any(line.startswith("warning: scripted shuts down") for line in shown)
    assert any(line.startswith("── ") for line in shown) == (module == "distill.commands.trial")
    end = next(place for place, line in enumerate(shown) if re.match(r"teacher_rollouts: \d answers bought", line))
    assert re.match(r"\d+/\d+ done", shown[end - 1])


def test_nothing_is_bought_that_a_full_disk_could_not_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(base_url: str) -> None:
        halt = Halt()
        model = endpoint(base_url, halt, None)
        teacher = Teacher(model, Store(tmp_path / "here"), {"max_tokens": 9}, [], halt)
        question = [{"role": "user", "content": "what is 1 + 1?"}]
        try:
            await teacher.ask(question, [], seed=0, sample=0, earlier=[])
        finally:
            await model.close()

    with serving(sums.adds) as books:
        asyncio.run(ask(books.base_url))
        assert len(books.posts) == 1
        monkeypatch.setattr(store, "MIN_FREE_BYTES", 1 << 60)
        asyncio.run(ask(books.base_url))
        shutil.rmtree(tmp_path / "here")
        with pytest.raises(OSError, match=r"No space left on device: fewer than \d+ MB are free"):
            asyncio.run(ask(books.base_url))
        assert len(books.posts) == 1


def test_responses_are_priced_by_what_the_server_counted(asks: Callable[..., Done], project: Path) -> None:
    with serving(lambda asked: response(text("Answer: 1"))) as books:
        own = {"scripted": {"input": 10, "cached": 1, "output": 100}}
        assert asks(books, teacher__api="responses", runtime__prices=own, teacher__n=1).returncode == 0
    report = jsonl.read_json(project / "reports/rollouts.json", "rollouts_report")
    assert report["cost_usd"] == pytest.approx((60 * 10 + 40 * 1 + 50 * 100) / 1e6)
