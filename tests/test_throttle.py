"""The throttle: how many requests are under way, against servers that refuse, say when, or say nothing."""

import asyncio
import contextlib
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from conftest import ROOT

from distill.project.params import load as load_params
from distill.teacher.api import retry, throttle
from distill.teacher.api.throttle import Throttle
from distill.teacher.asked import asked_teacher
from distill.teacher.errors import Fatal, Transient, error
from distill.teacher.halt import Halt
from distill.teacher.open_model import open_model
from distill.teacher.store import Store


def simulated(
    limits: Callable[[int], bool], requests: int, ceiling: int = 512, kind: str = "rate_limit", **ceilings: int
) -> tuple[Throttle, float, int]:
    """Sends `requests` of 0.1 s each through a throttle to a server that refuses when `limits(in flight)`."""
    refusals = 0

    async def main() -> tuple[Throttle, float]:
        nonlocal refusals
        halt = Halt()
        throttle = Throttle(ceiling, halt, **ceilings)
        started = asyncio.get_running_loop().time()

        async def one() -> None:
            nonlocal refusals
            while True:
                try:
                    async with throttle.slot(1000):
                        if limits(throttle.in_flight):
                            refusals += 1
                            raise error(kind, "slow down", retry_after_s=0.01)
                        await asyncio.sleep(0.02)
                    return
                except Transient:
                    await asyncio.sleep(0.01)

        await asyncio.gather(*(one() for _ in range(requests)))
        return throttle, asyncio.get_running_loop().time() - started

    throttle, seconds = asyncio.run(main())
    return throttle, seconds, refusals


def test_the_throttle_finds_what_a_server_takes() -> None:
    throttle, _, refusals = simulated(lambda in_flight: in_flight > 100, 3000)
    assert 40 <= throttle.limit <= 110 and throttle.in_flight == 0
    assert refusals < 600


def test_the_throttle_opens_up_where_nothing_is_refused() -> None:
    throttle, _, _ = simulated(lambda in_flight: False, 4000)
    assert throttle.limit == 512


def test_a_server_that_fails_now_and_then_is_asked_as_often_as_ever() -> None:
    calls = count(1)
    throttle, _, failures = simulated(lambda in_flight: next(calls) % 100 == 0, 6000, kind="overloaded")
    assert failures >= 60 and throttle.limit > 400


def test_a_server_that_says_only_that_it_has_too_much_to_do_is_asked_less() -> None:
    throttle, _, _ = simulated(lambda in_flight: in_flight > 100, 3000, kind="overloaded")
    assert 40 <= throttle.limit <= 120


def test_a_refusal_stops_everyone_until_the_server_says() -> None:
    async def main() -> float:
        throttle = Throttle(8, Halt())
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with throttle.slot(1):
                raise error("rate_limit", "wait", retry_after_s=0.2)
        except Transient:
            pass
        async with throttle.slot(1):
            return loop.time() - started

    assert 0.19 < asyncio.run(main()) < 20


def test_nothing_is_sent_when_the_headers_say_that_nothing_remains() -> None:
    async def main() -> float:
        throttle = Throttle(8, Halt())
        loop = asyncio.get_running_loop()
        started = loop.time()
        throttle.read_headers({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "150ms"})
        async with throttle.slot(1):
            return loop.time() - started

    assert 0.14 < asyncio.run(main()) < 20


def test_ceilings_space_the_requests_out() -> None:
    _, seconds, _ = simulated(lambda in_flight: False, 10, per_minute=1200)
    assert 0.4 < seconds < 20
    _, seconds, _ = simulated(lambda in_flight: False, 10, tokens_per_minute=1_200_000)
    assert 0.4 < seconds < 20


def test_a_stopped_run_lets_nobody_wait() -> None:
    async def main() -> list[Any]:
        halt = Halt()
        throttle = Throttle(1, halt)

        async def hold() -> None:
            async with throttle.slot(1):
                await asyncio.sleep(0.1)

        waiting = [asyncio.create_task(hold()) for _ in range(50)]
        await asyncio.sleep(0.02)
        halt.stop(Fatal("quota", "empty"))
        return await asyncio.gather(*waiting, return_exceptions=True)

    ends = asyncio.run(main())
    assert ends[0] is None and all(isinstance(end, Fatal) for end in ends[1:])


def test_what_takes_too_long_twice_is_not_paid_a_third_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.0)
    asked: list[str] = []

    def failing(kind: str, billed: bool) -> int:
        async def ask() -> Any:
            asked.append(kind)
            raise Transient(kind, "no", maybe_billed=billed)

        asked.clear()
        with pytest.raises(Transient):
            asyncio.run(_until(ask))
        return len(asked)

    async def _until(ask: Callable[[], Any]) -> None:
        await retry.until_answered(ask, Halt())

    assert failing("timeout", True) == 2
    assert failing("timeout", False) == failing("server", True) == retry.ATTEMPTS


def test_a_full_flex_tier_slows_nobody_down_who_may_pay_the_standard_price() -> None:
    params = load_params(ROOT / "params.yaml") | {"model": "gpt-5.2"}
    limits = {}
    for tier in ("flex", "flex_or_standard"):
        params["runtime"]["tier"] = tier
        limits[tier] = asyncio.run(_refused_thrice(params))
    assert limits["flex"] < throttle.FIRST_LIMIT == limits["flex_or_standard"]


async def _refused_thrice(params: dict[str, Any]) -> float:
    model: Any = open_model(asked_teacher(params), Halt(), Store(), with_tools=True)
    for _ in range(3):
        with contextlib.suppress(Transient):
            async with model.throttle.slot(1):
                raise error("flex_busy", "Resource Unavailable")
    return float(model.throttle.limit)
