"""A teacher that misbehaves: what is tried again, what is repaired, what fails one rollout, and what ends the run."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sums
from stage_process import Done, Running
from teacher_server import STALL, Asked, Books, Cut, calls, completion, refused, says, serving

from distill.records import jsonl
from distill.teacher.errors import KINDS, Fatal, Transient, error
from distill.teacher.halt import Halt
from distill.teacher.refusal import refused as classified
from distill.teacher.throttle import Throttle
from distill.teacher.waits import duration_s, retry_after_s, used_up_s


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return sums.bare(tmp_path)


@pytest.fixture
def asks(project: Path) -> Callable[..., Done]:
    """A project of four prompts; asks the teacher behind a server."""
    sums.make(project, 4)
    assert Running(project, "prompts").wait().returncode == 0

    def run(books: Books, **params: Any) -> Done:
        sums.set_params(project, teacher__base_url=books.base_url, **params)
        return Running(project, "teacher_rollouts", TEACHER_API_KEY="").wait()

    return run


def rollouts(project: Path) -> list[dict[str, Any]]:
    return sorted(
        (jsonl.read_json(path, "rollout") for path in (project / "rollouts").iterdir()),
        key=lambda rollout: rollout["messages"][1]["content"],
    )


def once(*faults: Any) -> Callable[[Asked], Any]:
    """A teacher that first goes wrong in these ways, one after the other, and is well from then on."""
    coming = iter(faults)

    def teacher(asked: Asked) -> Any:
        found = next(coming, None)
        return sums.adds(asked) if found is None else found

    return teacher


PASSING = {
    "429 with retry-after": refused(429, "rate_limit_exceeded", retry_after="0.05"),
    "429 with retry-after-ms": refused(429, "rate_limit_exceeded", retry_after_ms="50"),
    "500": (500, b"oops", {"retry-after": "0"}),
    "503": refused(503, "server_is_overloaded", retry_after="0"),
    "truncated JSON": (200, b'{"choices": [', {}),
    "an error body with 200": {"error": {"message": "upstream"}},
    "HTML with 200": (200, b"<html>", {"content-type": "text/html"}),
    "no choices": {"id": "x", "choices": []},
    "a number for content": completion({"role": "assistant", "content": 5}, "stop"),
    "reset in mid-body": Cut(says("Answer: 1"), 40),
    "reset before a byte": Cut(says("Answer: 1"), 0),
    "stall": STALL,
}


def test_what_may_pass_is_asked_again(asks: Callable[..., Done], project: Path) -> None:
    sums.add_prompts(project, range(4, len(PASSING)))
    assert Running(project, "prompts").wait().returncode == 0
    with serving(once(*PASSING.values())) as books:
        done = asks(books, runtime__timeout_s=1.5, runtime__api_concurrency=100)
    assert done.returncode == 0, done.stderr
    assert [rollout["status"] for rollout in rollouts(project)] == ["completed"] * len(PASSING)
    assert len(books.posts) == 3 * len(PASSING)
    attempts = [call["attempts"] for rollout in rollouts(project) for call in rollout["calls"]]
    assert sorted(attempts) == [1] * len(PASSING) + [2] * len(PASSING)


def test_what_does_not_pass_fails_its_rollout_and_is_asked_again_by_the_next_run(
    asks: Callable[..., Done], project: Path
) -> None:
    ill = [True]

    def teacher(asked: Asked) -> Any:
        return (500, b"oops", {"retry-after": "0"}) if ill[0] and sums.number(asked.body) == 2 else sums.adds(asked)

    with serving(teacher) as books:
        done = asks(books)
        assert done.returncode == 0 and "the server fails: run again later" in done.stdout
        assert "1 of these may pass; to DVC the stage is done, so type: dvc repro -f -s teacher_rollouts" in done.stdout
        bad = rollouts(project)[2]
        assert (bad["stop_reason"], bad["error"]["kind"], bad["error"]["http_status"]) == ("api_error", "server", 500)
        assert bad["error"]["retryable"] and len(books.posts) == 6 + 6
        ill[0] = False
        assert asks(books).returncode == 0 and len(books.posts) == 6 + 6 + 2
    assert rollouts(project)[2]["status"] == "completed"


def test_a_400_is_never_asked_again(asks: Callable[..., Done], project: Path) -> None:
    with serving(lambda asked: refused(400, "invalid_value", "what?", "messages[1]")) as books:
        assert asks(books).returncode == 0
        assert len(books.posts) == 4
        assert asks(books).returncode == 0
        assert len(books.posts) == 4, "nor by the next run"
    assert {rollout["error"]["kind"] for rollout in rollouts(project)} == {"bad_request"}


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (refused(401, "invalid_api_key"), "key_refused"),
        (refused(403, "unsupported_country_region_territory"), "forbidden"),
        (refused(404, "model_not_found", "no such model"), "not_found"),
        (refused(429, "insufficient_quota"), "quota"),
        (refused(429, "project_spend_limit_exceeded"), "quota"),
        (refused(429, "rate_limit_exceeded", "requests per day", retry_after="21600"), "long_wait"),
        (refused(400, "unsupported_parameter", "no temperature", "temperature"), "parameter_refused"),
    ],
)
def test_what_no_request_can_mend_ends_the_run_at_once(
    asks: Callable[..., Done], project: Path, reply: Any, kind: str
) -> None:
    with serving(lambda asked: reply) as books:
        done = asks(books, runtime__api_concurrency=2)
    assert done.returncode == 1 and f"({kind})" in done.stderr and KINDS[kind].advice in done.stderr
    assert len(books.posts) <= 2 and not (project / "rollouts").exists()


ODD = {
    "equal ids": calls(("x", "add", '{"a": 1, "b": 1}'), ("x", "add", '{"a": 2, "b": 2}')),
    "no id": calls(("", "add", '{"a": 1, "b": 1}')),
    "arguments as an object": completion(
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "x", "type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 1}}}],
        },
        "tool_calls",
    ),
    "broken arguments": calls(("x", "add", '{"a": 1,')),
    "a list for arguments": calls(("x", "add", "[1]")),
    "an unknown tool": calls(("x", "functions.add with spaces", "{}")),
    "a tool without a name": calls(("x", "", "{}")),
}


def test_odd_calls_are_answered_and_the_next_request_is_sound(asks: Callable[..., Done], project: Path) -> None:
    sums.add_prompts(project, range(4, len(ODD)))
    assert Running(project, "prompts").wait().returncode == 0
    odd = list(ODD.values())

    def teacher(asked: Asked) -> Any:
        return says("Answer: 2") if asked.body["messages"][-1]["role"] == "tool" else odd[sums.number(asked.body)]

    with serving(teacher) as books:
        done = asks(books)
    assert done.returncode == 0, done.stderr
    for rollout in rollouts(project):
        talk = rollout["messages"]
        ids = [call["id"] for call in talk[2]["tool_calls"]]
        assert len(set(ids)) == len(ids)
        assert [message["tool_call_id"] for message in talk if message["role"] == "tool"] == ids
    for asked in (asked for asked in books.posts if asked.body["messages"][-1]["role"] == "tool"):
        for call in asked.body["messages"][2]["tool_calls"]:
            assert isinstance(json.loads(call["function"]["arguments"]), dict)
            assert call["function"]["name"].replace("_", "").isalnum() or call["function"]["name"] == "_"


def test_an_empty_answer_is_kept_as_it_is(asks: Callable[..., Done], project: Path) -> None:
    with serving(lambda asked: completion({"role": "assistant", "content": None}, "stop")) as books:
        assert asks(books).returncode == 0
    assert rollouts(project)[0]["messages"][-1] == {"role": "assistant", "content": ""}


def test_open_reasoning_is_recorded_and_sent_back(asks: Callable[..., Done], project: Path) -> None:
    def thinker(asked: Asked) -> Any:
        answer = sums.adds(asked)
        answer["choices"][0]["message"]["reasoning_content"] = "hm"
        return answer

    with serving(thinker) as books:
        assert asks(books).returncode == 0
    assert all(
        message["reasoning_content"] == "hm"
        for message in rollouts(project)[0]["messages"]
        if message["role"] == "assistant"
    )
    assert (
        next(asked for asked in books.posts if len(asked.body["messages"]) == 4).body["messages"][2][
            "reasoning_content"
        ]
        == "hm"
    )


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (
            400,
            {
                "error": {
                    "code": 400,
                    "type": "BadRequestError",
                    "message": "This model's maximum context length is 8192",
                }
            },
            "context_full",
        ),
        (400, {"object": "error", "message": "nope", "param": None}, "bad_request"),
        (400, {"error": "just words"}, "bad_request"),
        (400, {"error": {"code": "content_policy_violation"}}, "content_policy"),
        (
            400,
            {
                "error": {
                    "message": "Function tools with reasoning_effort are not supported for gpt-5.6 in /v1/chat/completions. "
                    "Please use /v1/responses or set reasoning_effort to 'none'"
                }
            },
            "parameter_refused",
        ),
        (429, {"error": {"type": "insufficient_quota", "code": "credit_balance_exhausted"}}, "quota"),
        (429, {"error": {"code": "slow_down"}}, "rate_limit"),
        (429, {"error": {"code": "resource_unavailable", "message": "Resource Unavailable"}}, "flex_busy"),
        (
            429,
            {"error": {"code": "rate_limit_exceeded", "message": "Request too large for gpt-5 on tokens per min"}},
            "bad_request",
        ),
        (
            400,
            {"message": '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'},
            "parameter_refused",
        ),
        (403, {"error": {"message": "Your input was flagged", "code": 403}}, "content_policy"),
        (502, b"<html>", "server"),
        (529, b"", "overloaded"),
        (413, b"too large", "bad_request"),
    ],
)
def test_refusals_are_told_apart(status: int, content: Any, kind: str) -> None:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    found = classified(status, {}, data)
    assert found.kind == kind and found.kind in KINDS and found.http_status == status


def test_the_fates_are_types() -> None:
    assert {KINDS[kind].fate for kind in KINDS} == {"retry", "repair", "fail", "stop"}
    assert isinstance(error("rate_limit", ""), Transient) and isinstance(error("quota", ""), Fatal)


def test_durations_as_servers_write_them() -> None:
    assert [duration_s(text) for text in ("120ms", "6m0s", "1h2m3s", "1s", "")] == [0.12, 360, 3723, 1, 0]
    assert [duration_s(text) for text in ("12.5", "1.2.3s", "1790000000", "soon", "5 s", "nan")] == [
        12.5,
        0,
        0,
        0,
        0,
        0,
    ]


def test_a_refusal_without_retry_after_waits_for_what_is_used_up() -> None:
    reset = {"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}
    assert retry_after_s(reset | {"x-ratelimit-remaining-requests": "0", "x-ratelimit-remaining-tokens": "9"}) == 1
    assert retry_after_s(reset | {"x-ratelimit-remaining-tokens": "0", "retry-after": "2"}) == 2
    assert retry_after_s(reset) is None and used_up_s(reset) == 0
    day = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "23h59m"}
    assert classified(429, day, b"{}").kind == "long_wait"
    assert classified(500, {"retry-after": "86400"}, b"{}").kind == "long_wait"


def test_a_reset_that_is_hours_away_or_rubbish_does_not_hold_up_what_is_not_refused(asks: Callable[..., Done]) -> None:
    for reset in ("23h59m", "1.2.3s"):
        headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": reset}
        with serving(lambda asked, told=headers: (200, sums.adds(asked), told)) as books:
            done = asks(books, model=f"resets-in-{reset}", runtime__api_concurrency=1)
        assert done.returncode == 0, done.stderr


def changed(**more: Any) -> Callable[[Any], None]:
    return lambda answer: answer.update(more)


def in_choice(**more: Any) -> Callable[[Any], None]:
    return lambda answer: answer["choices"][0].update(more)


def in_message(**more: Any) -> Callable[[Any], None]:
    return lambda answer: answer["choices"][0]["message"].update(more)


UNTYPED: dict[str, tuple[Callable[[Any], None], str]] = {
    "a number for an id": (changed(id=5), "final_answer"),
    "a number for a model": (changed(model=7), "final_answer"),
    "no reason": (lambda answer: answer["choices"][0].pop("finish_reason"), "final_answer"),
    "a number for a reason": (in_choice(finish_reason=3), "final_answer"),
    "an object for a refusal": (in_message(refusal={"why": "no"}), "refused"),
    "a number for a call's id": (
        in_message(tool_calls=[{"id": 3, "function": {"name": "add", "arguments": "{}"}}]),
        "max_turns",
    ),
    "fewer than no tokens": (changed(usage={"prompt_tokens": -5, "completion_tokens": -7}), "final_answer"),
    "no usage": (changed(usage=None), "final_answer"),
    "length in other words": (in_choice(finish_reason="model_length"), "truncated"),
    "half an emoji": (in_message(content="Answer: 1 \ud83d"), "final_answer"),
}


@pytest.mark.parametrize("name", UNTYPED)
def test_what_was_paid_for_can_be_recorded_whatever_its_types(
    asks: Callable[..., Done], project: Path, name: str
) -> None:
    change, stop_reason = UNTYPED[name]

    def careless(asked: Asked) -> Any:
        answer = says("Answer: 1")
        change(answer)
        return 200, json.dumps(answer).encode(), {}

    with serving(careless) as books:
        done = asks(books, agent__max_turns=1)
    assert done.returncode == 0, done.stderr
    assert {rollout["stop_reason"] for rollout in rollouts(project)} == {stop_reason} and len(books.posts) == 4


def test_an_answer_that_broke_off_is_no_answer(asks: Callable[..., Done], project: Path) -> None:
    broken = completion({"role": "assistant", "content": "Answ"}, "error")
    with serving(once(broken)) as books:
        assert asks(books).returncode == 0
    assert {rollout["messages"][-1]["content"] for rollout in rollouts(project)} == {
        f"Answer: {n + 1}" for n in range(4)
    }


def test_an_endpoint_that_cannot_be_reached_ends_the_run(asks: Callable[..., Done], project: Path) -> None:
    with serving(sums.adds) as books:
        pass
    done = asks(books)
    assert done.returncode == 1 and "(unreachable): no connection to" in done.stderr, done.stderr
    assert not (project / "rollouts").exists()


@pytest.mark.parametrize("status", [301, 308])
def test_a_redirect_is_told_and_not_followed(asks: Callable[..., Done], status: int) -> None:
    with (
        serving(sums.adds) as elsewhere,
        serving(lambda asked: (status, b"", {"location": elsewhere.base_url})) as books,
    ):
        done = asks(books)
    assert done.returncode == 1 and f"is at {elsewhere.base_url}" in done.stderr and not elsewhere.asked


# The throttle, against a clock that is not this machine's


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
    throttle, seconds, _ = simulated(lambda in_flight: False, 4000)
    assert throttle.limit == 512 and seconds < 4000 * 0.02 / 64


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

    assert 0.19 < asyncio.run(main()) < 1


def test_nothing_is_sent_when_the_headers_say_that_nothing_remains() -> None:
    async def main() -> float:
        throttle = Throttle(8, Halt())
        loop = asyncio.get_running_loop()
        started = loop.time()
        throttle.seen({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "150ms"})
        async with throttle.place(1):
            return loop.time() - started

    assert 0.14 < asyncio.run(main()) < 1


def test_ceilings_space_the_requests_out() -> None:
    _, seconds, _ = simulated(lambda in_flight: False, 10, per_minute=1200)
    assert 0.4 < seconds < 1.5
    _, seconds, _ = simulated(lambda in_flight: False, 10, tokens_per_minute=1_200_000)
    assert 0.4 < seconds < 1.5


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
