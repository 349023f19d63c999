"""The throttle: how many requests are under way, against servers that refuse, say when, or say nothing."""

import asyncio
from collections.abc import Callable
from typing import Any

from distill.teacher.errors import Fatal, Transient, error
from distill.teacher.halt import Halt
from distill.teacher.throttle import Throttle


def simulated(
    limits: Callable[[int], bool], requests: int, ceiling: int = 512, **ceilings: int
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
                    async with throttle.place(1000):
                        if limits(throttle.in_flight):
                            refusals += 1
                            raise error("rate_limit", "slow down", retry_after_s=0.01)
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


def test_a_refusal_stops_everyone_until_the_server_says() -> None:
    async def main() -> float:
        throttle = Throttle(8, Halt())
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with throttle.place(1):
                raise error("rate_limit", "wait", retry_after_s=0.2)
        except Transient:
            pass
        async with throttle.place(1):
            return loop.time() - started

    assert 0.19 < asyncio.run(main()) < 20


def test_nothing_is_sent_when_the_headers_say_that_nothing_remains() -> None:
    async def main() -> float:
        throttle = Throttle(8, Halt())
        loop = asyncio.get_running_loop()
        started = loop.time()
        throttle.seen({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "150ms"})
        async with throttle.place(1):
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
            async with throttle.place(1):
                await asyncio.sleep(0.1)

        waiting = [asyncio.create_task(hold()) for _ in range(50)]
        await asyncio.sleep(0.02)
        halt.stop(Fatal("quota", "empty"))
        return await asyncio.gather(*waiting, return_exceptions=True)

    ends = asyncio.run(main())
    assert ends[0] is None and all(isinstance(end, Fatal) for end in ends[1:])
