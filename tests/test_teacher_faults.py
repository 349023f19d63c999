"""A teacher that misbehaves: what is tried again, what is repaired, what fails one rollout, and what ends the run."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sums
import uvloop
from asking import *  # noqa: F403
from asking import once, rollouts
from stage_process import Done, Running
from teacher_server import STALL, Asked, Cut, completion, refused, says, serving

from distill.teacher.api.error_response import LARGEST_ANSWER
from distill.teacher.api.failure_streak import FailureStreak
from distill.teacher.api.http import Http
from distill.teacher.errors import KINDS, error

PASSING = {
    "429 with retry-after": refused(429, "rate_limit_exceeded", retry_after="0.05"),
    "429 with retry-after-ms": refused(429, "rate_limit_exceeded", retry_after_ms="50"),
    "500": (500, b"oops", {"retry-after": "0.01"}),
    "503": refused(503, "server_is_overloaded", retry_after="0"),
    "truncated JSON": (200, b'{"choices": [', {}),
    "an error body with 200": {"error": {"message": "upstream"}},
    "half an emoji, and lists without end": (200, b'{"x": "\\ud83d", "y": ' + b"[" * 10**5 + b"]" * 10**5 + b"}", {}),
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


def test_a_web_page_passes_where_an_api_has_answered_and_ends_the_run_where_none_has(
    asks: Callable[..., Done], project: Path
) -> None:
    page = (200, b"<html>\n<title>Our UI</title>", {"content-type": "text/html"})
    with serving(lambda asked: page if len(books.posts) == 2 else sums.adds(asked)) as books:
        assert asks(books, runtime__api_concurrency=1).returncode == 0 and len(books.posts) == 4 * 2 + 1
    with serving(lambda asked: page) as books:
        done = asks(books, model="other", runtime__api_concurrency=1)
    assert done.returncode == 1 and "(not_found)" in done.stderr and KINDS["not_found"].advice in done.stderr
    assert f"{books.base_url}/chat/completions is no API: it answers with text/html, '<html> <title>" in done.stderr
    assert len(books.posts) == 1


def test_a_call_that_the_server_cannot_read_fails_its_rollout_until_the_next_run(
    asks: Callable[..., Done], project: Path
) -> None:
    words = "The model produced output that does not match the expected peg-native format"
    ill = [True]

    def teacher(asked: Asked) -> Any:
        bad = ill[0] and sums.number(asked.body) == 2
        return (500, {"error": {"code": 500, "message": words}}, {}) if bad else sums.adds(asked)

    with serving(teacher) as books:
        done = asks(books)
        assert done.returncode == 0 and KINDS["call_unreadable"].advice in done.stdout
        assert rollouts(project)[2]["error"]["kind"] == "call_unreadable" and len(books.posts) == 6 + 1
        ill[0] = False
        assert asks(books).returncode == 0 and len(books.posts) == 6 + 1 + 2
    assert rollouts(project)[2]["status"] == "completed"


def test_an_answer_without_end_fails_its_rollout_once_and_an_endless_refusal_is_read_in_part(
    asks: Callable[..., Done], project: Path
) -> None:
    too_much = b" " * (LARGEST_ANSWER + 1)
    wrong = {2: (200, too_much, {}), 3: (400, b"no such voice" + too_much, {})}

    def teacher(asked: Asked) -> Any:
        return wrong.get(sums.number(asked.body)) or sums.adds(asked)

    with serving(teacher) as books:
        done = asks(books, runtime__api_concurrency=1)
        assert done.returncode == 0 and KINDS["answer_too_large"].advice in done.stdout, done.stderr
        assert len(books.posts) == 2 * 2 + 2
        errors = [rollout["error"] for rollout in rollouts(project)]
        assert errors[:2] == [None, None]
        assert (errors[2]["kind"], errors[3]["kind"]) == ("answer_too_large", "bad_request")
        assert "more than 64 MB" in errors[2]["message"] and "HTTP 400: no such voice" in errors[3]["message"]
        wrong.clear()
        assert asks(books).returncode == 0 and len(books.posts) == 2 * 2 + 2 + 2
    assert rollouts(project)[2]["status"] == "completed"


def test_a_key_that_was_not_sent_is_not_called_wrong(asks: Callable[..., Done]) -> None:
    with serving(lambda asked: refused(401, "invalid_api_key", "who are you?")) as books:
        done = asks(books)
    assert done.returncode == 1 and "(no_key): no key was sent" in done.stderr and "who are you?" in done.stderr
    assert "neither the environment nor .env has TEACHER_API_KEY" in done.stderr


def test_what_does_not_pass_fails_its_rollout_and_is_asked_again_by_the_next_run(
    asks: Callable[..., Done], project: Path
) -> None:
    ill = [True]

    def teacher(asked: Asked) -> Any:
        return (500, b"oops", {"retry-after": "0.01"}) if ill[0] and sums.number(asked.body) == 2 else sums.adds(asked)

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


def test_an_outage_in_mid_run_ends_it(asks: Callable[..., Done], project: Path) -> None:
    sums.add_prompts(project, range(4, 60))
    assert Running(project, "prompts").wait().returncode == 0
    ill = [True]

    def teacher(asked: Asked) -> Any:
        out = ill[0] and len(books.posts) > 40
        return (502, b"bad gateway", {"retry-after": "0.01"}) if out else sums.adds(asked)

    with serving(teacher) as books:
        done = asks(books, runtime__api_concurrency=8)
        assert done.returncode == 1 and "(outage)" in done.stderr and "bad gateway" in done.stderr
        assert KINDS["outage"].advice in done.stderr and not (project / "rollouts").exists()
        ill[0] = False
        assert asks(books).returncode == 0
    assert {rollout["status"] for rollout in rollouts(project)} == {"completed"}


def test_what_was_tried_in_vain_before_says_nothing_of_the_server() -> None:
    failures, slow = FailureStreak(), error("timeout", "no answer")
    assert all(failures.count_exhausted(slow, failed_before=True) is slow for _ in range(100))
    assert [failures.count_exhausted(slow, failed_before=False).kind for _ in range(20)] == ["timeout"] * 19 + [
        "outage"
    ]


def test_a_400_is_never_asked_again(asks: Callable[..., Done], project: Path) -> None:
    def teacher(asked: Asked) -> Any:
        told = asked.body["messages"][-1]["role"] == "tool"
        return refused(400, "invalid_value", "what?", "messages[1]") if told else sums.adds(asked)

    with serving(teacher) as books:
        assert asks(books).returncode == 0
        assert len(books.posts) == 4 * 2
        assert asks(books).returncode == 0
        assert len(books.posts) == 4 * 2, "nor by the next run"
    assert {rollout["error"]["kind"] for rollout in rollouts(project)} == {"bad_request"}


def test_a_server_that_refuses_everything_may_be_at_fault_itself(asks: Callable[..., Done], project: Path) -> None:
    """Once it is mended, it is asked for what it refused; and a run of many does not go on against it."""
    ill = [True]

    def teacher(asked: Asked) -> Any:
        return refused(400, "invalid_value", "what?", "messages[1]") if ill[0] else sums.adds(asked)

    with serving(teacher) as books:
        done = asks(books)
        assert done.returncode == 0 and KINDS["all_refused"].advice in done.stdout
        sums.add_prompts(project, range(4, 40))
        assert Running(project, "prompts").wait().returncode == 0
        done = asks(books, runtime__api_concurrency=2)
        assert done.returncode == 1 and "what?" in done.stderr and len(books.posts) < 4 + 15
        ill[0] = False
        assert asks(books).returncode == 0
    assert {rollout["status"] for rollout in rollouts(project)} == {"completed"} and len(rollouts(project)) == 40


def test_what_a_firewall_blocks_is_one_conversation(asks: Callable[..., Done], project: Path) -> None:
    """It answers the others: so the key may use the model. Whoever opens it is asked again."""
    ill, page = [True], (403, b"<html>Request blocked</html>", {"content-type": "text/html"})

    def teacher(asked: Asked) -> Any:
        told = asked.body["messages"][-1]["role"] == "tool"
        return page if ill[0] and told and sums.number(asked.body) == 2 else sums.adds(asked)

    with serving(teacher) as books:
        done = asks(books)
        assert done.returncode == 0 and KINDS["blocked"].advice in done.stdout, done.stderr
        assert "Request blocked" in rollouts(project)[2]["error"]["message"] and len(books.posts) == 4 * 2
        assert asks(books).returncode == 0 and rollouts(project)[2]["error"]["kind"] == "blocked"
        ill[0] = False
        assert asks(books).returncode == 0 and len(books.posts) == 4 * 2 + 2
    assert {rollout["status"] for rollout in rollouts(project)} == {"completed"}


def test_a_key_that_lost_its_right_ends_the_run_though_earlier_answers_are_stored(
    asks: Callable[..., Done], project: Path
) -> None:
    """A few new prompts, a few days later: they counted as blocked, and the run as done. With the right all are asked."""
    ill = [False]
    with serving(lambda asked: refused(403, "no access") if ill[0] else sums.adds(asked)) as books:
        assert asks(books).returncode == 0
        ill[0] = True
        sums.add_prompts(project, range(4, 7))
        assert Running(project, "prompts").wait().returncode == 0
        for _ in range(2):
            done = asks(books)
            assert done.returncode == 1 and KINDS["forbidden"].advice in done.stderr, done.stdout
        sums.add_prompts(project, range(7, 30))
        assert Running(project, "prompts").wait().returncode == 0
        done = asks(books)
        assert done.returncode == 1 and KINDS["forbidden"].advice in done.stderr, done.stdout
        ill[0] = False
        assert asks(books).returncode == 0
    assert {rollout["status"] for rollout in rollouts(project)} == {"completed"} and len(rollouts(project)) == 30


def test_refusals_in_a_row_end_the_run_and_are_forgotten(asks: Callable[..., Done], project: Path) -> None:
    """An account that is shut in mid-run, in words that nobody knows: later all is asked again, and nothing is lost."""
    sums.add_prompts(project, range(4, 30))
    assert Running(project, "prompts").wait().returncode == 0
    ill = [True]

    def teacher(asked: Asked) -> Any:
        return refused(400, None, "not in good standing") if ill[0] and len(books.posts) > 9 else sums.adds(asked)

    with serving(teacher) as books:
        done = asks(books, runtime__api_concurrency=2)
        assert done.returncode == 1 and "not in good standing" in done.stderr and len(books.posts) < 9 + 15
        ill[0] = False
        assert asks(books).returncode == 0
    assert {rollout["status"] for rollout in rollouts(project)} == {"completed"} and len(rollouts(project)) == 30


@pytest.mark.parametrize(
    "reply",
    [
        refused(400, "context_length_exceeded"),
        refused(429, "rate_limit_exceeded", "Request too large for gpt-5 on tokens per min (TPM): Limit 30000"),
    ],
)
def test_what_is_too_long_for_the_server_as_it_is_may_be_asked_again(
    asks: Callable[..., Done], project: Path, reply: Any
) -> None:
    short = [True]

    def teacher(asked: Asked) -> Any:
        return reply if short[0] and sums.number(asked.body) == 2 else sums.adds(asked)

    with serving(teacher) as books:
        assert asks(books).returncode == 0 and len(books.posts) == 6 + 1
        assert rollouts(project)[2]["status"] == "failed"
    port = int(books.base_url.split(":")[2].split("/")[0])
    assert asks(books).returncode == 0, "where the server is gone, what was refused stays so"
    short[0] = False
    with serving(teacher, port=port) as books:
        assert asks(books).returncode == 0 and len(books.posts) == 2
    assert rollouts(project)[2]["status"] == "completed"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "'max_tokens' is too large: 16384. This model's maximum context length is 8192 tokens"),
        (413, "Request too large for model `m` on tokens per minute (TPM): Limit 8000, Requested 16500"),
    ],
)
def test_a_server_to_which_all_is_too_long_ends_the_run(
    asks: Callable[..., Done], project: Path, status: int, words: str
) -> None:
    sums.add_prompts(project, range(4, 30))
    assert Running(project, "prompts").wait().returncode == 0
    with serving(lambda asked: refused(status, None, words)) as books:
        done = asks(books, runtime__api_concurrency=2)
    assert done.returncode == 1 and words in done.stderr and len(books.posts) < 15


def as_text(asked: Asked) -> Any:
    """What `sums.adds` says, from a server that reads no calls."""
    answer = sums.adds(asked)
    message = answer["choices"][0]["message"]
    if message.get("tool_calls"):
        function = message.pop("tool_calls")[0]["function"]
        call = f'{{"name": "{function["name"]}", "arguments": {function["arguments"]}}}'
        message["content"] = f"<tool_call>\n{call}\n</tool_call>"
        answer["choices"][0]["finish_reason"] = "stop"
    return answer


def test_calls_that_come_as_text_are_no_answers_and_asked_again_once_the_server_reads_them(
    asks: Callable[..., Done], project: Path
) -> None:
    ill = [True]
    with serving(lambda asked: as_text(asked) if ill[0] else sums.adds(asked)) as books:
        done = asks(books)
        assert done.returncode == 0 and KINDS["calls_as_text"].advice in done.stdout, done.stderr
        assert "4 of these may pass" in done.stdout and len(books.posts) == 4
        assert {(one["stop_reason"], one["error"]["kind"]) for one in rollouts(project)} == {
            ("api_error", "calls_as_text")
        }
        assert "such as '<tool_call>" in rollouts(project)[0]["error"]["message"]
        ill[0] = False
        assert asks(books).returncode == 0 and len(books.posts) == 4 + 4 * 2
    assert {rollout["status"] for rollout in rollouts(project)} == {"completed"}


def test_a_server_that_reads_no_calls_ends_the_run(asks: Callable[..., Done], project: Path) -> None:
    """Also where every second prompt is answered without a tool."""
    sums.add_prompts(project, range(4, 60))
    assert Running(project, "prompts").wait().returncode == 0

    def teacher(asked: Asked) -> Any:
        return as_text(asked) if sums.number(asked.body) % 2 else says("Answer: 1")

    with serving(teacher) as books:
        done = asks(books, runtime__api_concurrency=2)
    assert done.returncode == 1 and "its server gives tool calls as text" in done.stderr, done.stdout
    assert "--tool-call-parser hermes" in done.stderr and len(books.posts) < 40


def test_what_a_server_that_reads_calls_leaves_as_text_is_the_teachers_answer(
    asks: Callable[..., Done], project: Path
) -> None:
    sums.add_prompts(project, range(4, 30))
    assert Running(project, "prompts").wait().returncode == 0

    def teacher(asked: Asked) -> Any:
        told = asked.body["messages"][-1]["role"] == "tool"
        return as_text(asked) if not told and len(books.posts) > 1 else sums.adds(asked)

    with serving(teacher) as books:
        done = asks(books, runtime__api_concurrency=1)
        assert done.returncode == 0, done.stderr
        paid = len(books.posts)
        assert asks(books).returncode == 0 and len(books.posts) == paid
    assert {rollout["status"] for rollout in rollouts(project)} == {"completed"}


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (refused(401, "invalid_api_key"), "key_refused"),
        (refused(403, "unsupported_country_region_territory"), "forbidden"),
        (refused(404, "model_not_found", "no such model"), "not_found"),
        (refused(429, "insufficient_quota"), "quota"),
        (refused(429, "project_spend_limit_exceeded"), "quota"),
        (refused(400, "Arrearage", "Access denied, please make sure your account is in good standing."), "quota"),
        (refused(429, "rate_limit_exceeded", "requests per day", retry_after="21600"), "long_wait"),
        (refused(400, "unsupported_parameter", "no temperature", "temperature"), "temperature_refused"),
    ],
)
def test_what_no_request_can_mend_ends_the_run_at_once(
    asks: Callable[..., Done], project: Path, reply: Any, kind: str
) -> None:
    with serving(lambda asked: reply) as books:
        done = asks(books, "a-key", runtime__api_concurrency=2)
    assert done.returncode == 1 and f"({kind})" in done.stderr and KINDS[kind].advice in done.stderr
    assert len(books.posts) <= 2 and not (project / "rollouts").exists()


def test_a_path_that_a_server_does_not_have_ends_the_run_also_where_it_says_so_with_200(
    asks: Callable[..., Done],
) -> None:
    with serving(lambda asked: {"error": "Unexpected endpoint or method. (POST /chat/completions)"}) as books:
        done = asks(books, runtime__api_concurrency=1)
    assert done.returncode == 1 and "(not_found)" in done.stderr and len(books.posts) == 1


def test_a_base_url_without_a_path_is_named_where_nothing_is_found(asks: Callable[..., Done], project: Path) -> None:
    with serving(lambda asked: (404, b"404 page not found", {"content-type": "text/plain"})) as books:
        books.base_url = books.base_url.removesuffix("/v1")
        done = asks(books)
    assert done.returncode == 1 and f"(not_found): {books.base_url}: most base_urls end in /v1; HTTP 404" in done.stderr


def test_a_limit_that_has_another_name_at_the_server_gets_it(asks: Callable[..., Done], project: Path) -> None:
    """Azure's reasoning models, whose names are the user's own."""
    words = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."

    def azure(asked: Asked) -> Any:
        return (
            refused(400, "unsupported_parameter", words, "max_tokens")
            if "max_tokens" in asked.body
            else sums.adds(asked)
        )

    with serving(azure) as books:
        assert asks(books, runtime__api_concurrency=1, teacher__max_output_tokens=50).returncode == 0
    assert {rollout["status"] for rollout in rollouts(project)} == {"completed"} and len(books.posts) == 4 * 2 + 1
    assert [asked.body.get("max_completion_tokens") for asked in books.posts] == [None] + [50] * 8


def test_a_reset_that_is_hours_away_or_rubbish_does_not_hold_up_what_is_not_refused(asks: Callable[..., Done]) -> None:
    for reset in ("23h59m", "1.2.3s"):
        headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": reset}
        with serving(lambda asked, told=headers: (200, sums.adds(asked), told)) as books:
            done = asks(books, model=f"resets-in-{reset}", runtime__api_concurrency=1)
        assert done.returncode == 0, done.stderr


def test_an_endpoint_that_cannot_be_reached_ends_the_run(asks: Callable[..., Done], project: Path) -> None:
    with serving(sums.adds) as books:
        pass
    done = asks(books)
    assert done.returncode == 1 and "(unreachable): no connection to" in done.stderr, done.stderr
    assert not (project / "rollouts").exists()


@pytest.mark.parametrize(
    ("proxy", "said"),
    [("{}", "407"), ("http://{}", "407"), ("http://127.0.0.1:99999", "99999"), ("socks5://{}", "set https_proxy")],
)
def test_a_proxy_that_lets_nobody_through_costs_nothing(project: Path, proxy: str, said: str) -> None:
    """The budget has room for four requests at a time, and none has reached the teacher."""
    price = {"scripted": {"input": 1, "output": 10}}
    sums.make(
        project, 20, teacher__base_url="https://example.invalid/v1", runtime__prices=price, runtime__budget_usd=0.8
    )
    assert Running(project, "prompts").wait().returncode == 0
    with serving(sums.adds, gets=lambda asked: (407, b"", {})) as books:
        address = books.base_url.removeprefix("http://").removesuffix("/v1")
        environment = {"no_proxy": "", "NO_PROXY": "", "https_proxy": proxy.format(address), "TEACHER_API_KEY": ""}
        done = Running(project, "teacher_rollouts", **environment).wait()
    assert done.returncode == 1 and "(unreachable)" in done.stderr and said in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://[::1/v1", "is no URL"),
        ("http://localhost:99999/v1", "is no URL"),
        ("https://example.com/v1/chat/completions", "ends before /chat/completions"),
        ("https://example.com/v1/responses/", "ends before /responses"),
    ],
)
def test_a_url_that_cannot_be_one_is_refused(project: Path, url: str, said: str) -> None:
    sums.make(project, 1, teacher__base_url=url)
    assert Running(project, "prompts").wait().returncode == 0
    done = Running(project, "teacher_rollouts").wait()
    assert done.returncode == 1 and f"params.yaml: /teacher/base_url: {said}" in done.stderr.replace(f"{url} ", "")


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_connection_that_waits_for_an_answer_is_kept_alive(run: Any) -> None:
    async def asked(base_url: str) -> tuple[int, int]:
        http = Http(base_url, {}, 5)
        await http.post(
            "/chat/completions", b'{"model": "m", "messages": [{"role": "user", "content": "what is 1 + 1?"}]}'
        )
        [[(connection, _)]] = http._session.connector._conns.values()
        found = connection.transport.get_extra_info("socket")
        kept = found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        await http.close()
        return kept, idle

    with serving(lambda asked: says("2")) as books:
        assert run(asked(books.base_url)) == (1, 60)


@pytest.mark.parametrize("status", [301, 308])
def test_a_redirect_is_told_and_not_followed(asks: Callable[..., Done], status: int) -> None:
    with (
        serving(sums.adds) as elsewhere,
        serving(lambda asked: (status, b"", {"location": elsewhere.base_url})) as books,
    ):
        done = asks(books)
    assert done.returncode == 1 and f"is at {elsewhere.base_url}" in done.stderr and not elsewhere.asked
