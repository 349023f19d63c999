"""OpenAI's Responses API, as the agent loop uses it: reasoning replayed untouched, refusals, limits, background."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sums
from asking import *  # noqa: F403
from asking import rollouts
from stage_process import Done, Running, until
from teacher_server import Asked, Books, function_call, reasoning, refused, response, serving, text

from distill.project.params import load as load_params
from distill.records.faults import InputError
from distill.teacher.api import background as background_module
from distill.teacher.api import provider
from distill.teacher.api.background import POLL_FAILURES
from distill.teacher.api.http import Http
from distill.teacher.asked import asked_teacher
from distill.teacher.errors import ApiError
from distill.teacher.halt import Halt
from distill.teacher.store import Store
from stages import teacher_rollouts

BODY = b'{"model": "gpt-5-pro", "input": "what is 1 + 1?"}'
BLOB = "gAAAAAB" + "x9+/=" * 40 + "é\u2028"


@pytest.fixture
def asks(project: Path) -> Callable[..., Done]:
    """A project of two prompts whose teacher is gpt-5.2 behind the Responses API of a server."""
    sums.make(project, 2, model="gpt-5.2", teacher__api="responses")
    assert Running(project, "prompts").wait().returncode == 0

    def run(books: Books, *arguments: str, **params: Any) -> Done:
        sums.set_params(project, teacher__base_url=books.base_url, **params)
        return Running(project, "teacher_rollouts", *arguments, TEACHER_API_KEY="").wait()

    return run


def thinker(asked: Asked) -> Any:
    """Thinks, says something, calls two tools at once, thinks again, and answers."""
    told = [item for item in asked.body["input"] if item.get("type") == "function_call_output"]
    if told:
        return response(reasoning(BLOB + "2", "done"), text("Answer: ", told[0]["output"]))
    n = sums.number(asked.body)
    return response(
        reasoning(BLOB, "first", "then"),
        text("Let me see."),
        function_call("a", "add", json.dumps({"a": n, "b": 1})),
        function_call("b", "add", '{"a": 2,   "b":2}'),
    )


def test_the_body_and_the_replay_are_what_the_api_wants(asks: Callable[..., Done], project: Path) -> None:
    with serving(thinker) as books:
        done = asks(books, teacher__reasoning_effort="high")
    assert done.returncode == 0, done.stderr
    first, second = (asked.body for asked in books.posts if sums.number(asked.body) == 0)
    assert first["store"] is False and first["include"] == ["reasoning.encrypted_content"]
    assert first["reasoning"] == {"effort": "high", "summary": "auto"} and first["max_output_tokens"] == 16384
    assert "temperature" not in first and "messages" not in first
    assert (
        first["tools"][0]["type"] == "function"
        and first["tools"][0]["name"] == "add"
        and first["tools"][0]["strict"] is True
    )
    sent = thinker(next(asked for asked in books.posts if asked.body == first))["output"]
    assert second["input"][:2] == first["input"] and second["input"][2:6] == sent
    assert [item["type"] for item in first["input"]] == ["message", "message"]
    assert second["input"][6:] == [
        {"type": "function_call_output", "call_id": "a", "output": "1"},
        {"type": "function_call_output", "call_id": "b", "output": "4"},
    ]
    assert {asked.path for asked in books.posts} == {"/v1/responses"}


def test_the_record_has_what_was_said_and_the_items_beside_it(asks: Callable[..., Done], project: Path) -> None:
    with serving(thinker) as books:
        assert asks(books).returncode == 0
    first = rollouts(project)[0]
    assert [message["role"] for message in first["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
        "assistant",
    ]
    assert first["messages"][2]["content"] == "Let me see."
    assert first["messages"][2]["reasoning_content"] == "first\n\nthen"
    assert first["messages"][2]["tool_calls"][1]["function"]["arguments"] == '{"a": 2,   "b":2}'
    assert first["messages"][-1]["content"] == "Answer: \n\n1"
    assert BLOB not in json.dumps(first["messages"], ensure_ascii=False)
    assert first["calls"][0]["items"][0]["encrypted_content"] == BLOB
    assert first["usage"] == {"input_tokens": 200, "output_tokens": 100, "cached_tokens": 80, "reasoning_tokens": 60}


BAD = [
    (response({**text(), "content": [{"type": "refusal", "refusal": "I will not."}]}), "refused"),
    (
        response(text("half an ans"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        "truncated",
    ),
    (response(text("half"), status="incomplete", incomplete_details={"reason": "steered"}), "truncated"),
    (response(status="incomplete", incomplete_details={"reason": "content_filter"}), "refused"),
    (response(status="failed", error={"code": "invalid_prompt", "message": "not allowed"}), "api_error"),
    (response(status="failed", error={"code": "misalignment_policy_violation", "message": "no"}), "api_error"),
    (refused(400, "invalid_prompt"), "api_error"),
]


def test_a_bad_answer_is_data(asks: Callable[..., Done], project: Path) -> None:
    sums.add_prompts(project, range(2, len(BAD) + 1))
    assert Running(project, "prompts").wait().returncode == 0
    replies = dict(enumerate(reply for reply, _ in BAD))
    with serving(lambda asked: replies.get(sums.number(asked.body)) or thinker(asked)) as books:
        done = asks(books)
        assert done.returncode == 0, done.stderr
        assert [rollout["stop_reason"] for rollout in rollouts(project)] == [
            *(reason for _, reason in BAD),
            "final_answer",
        ]
        before, asked = rollouts(project), len(books.posts)
        assert asks(books).returncode == 0
        assert rollouts(project) == before and len(books.posts) == asked, "what was refused for good is not asked again"


def test_extras_that_an_organisation_does_not_have_are_left_out(asks: Callable[..., Done], project: Path) -> None:
    def poor(asked: Asked) -> Any:
        if "summary" in asked.body.get("reasoning", {}):
            return refused(
                400,
                "unsupported_value",
                "Your organization must be verified to generate reasoning summaries",
                "reasoning.summary",
            )
        if "include" in asked.body:
            return refused(400, None, "Encrypted content is not supported with this model", "include")
        return thinker(asked)

    with serving(poor) as books:
        done = asks(books, runtime__api_concurrency=1)
    assert done.returncode == 0, done.stderr
    assert len(books.posts) == 4 + 2, "the first request learns it for all"
    assert [rollout["status"] for rollout in rollouts(project)] == ["completed"] * 2


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (400, "invalid_encrypted_content", "The encrypted content gAAA could not be verified."),
        (404, None, "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false."),
        (400, None, "Item 'rs_1' of type 'reasoning' was provided without its required following item."),
        (400, None, "Item 'fc_1' of type 'function_call' was provided without its required 'reasoning' item: 'rs_1'."),
    ],
)
def test_thoughts_that_the_server_cannot_read_are_left_out(
    asks: Callable[..., Done], project: Path, status: int, code: str | None, words: str
) -> None:
    def forgetful(asked: Asked) -> Any:
        if any(item["type"] == "reasoning" for item in asked.body["input"]):
            return refused(status, code, words, "input")
        assert not any("id" in item for item in asked.body["input"])
        return thinker(asked)

    with serving(forgetful) as books:
        assert asks(books, runtime__api_concurrency=1).returncode == 0
    assert {rollout["status"] for rollout in rollouts(project)} == {"completed"} and len(books.posts) == 4 + 1


@pytest.mark.parametrize(
    ("params", "said"),
    [
        (
            {"teacher__temperature": 0.7, "model": "gpt-5"},
            "/teacher/temperature: gpt-5 takes its own temperature only; set it to null",
        ),
        ({"teacher__temperature": 0.7, "teacher__reasoning_effort": "low"}, "unless reasoning_effort is none or null"),
        (
            {"teacher__reasoning_effort": "minimal", "model": "gpt-5.1"},
            "gpt-5.1 takes none, low, medium, high, not 'minimal'",
        ),
        ({"teacher__reasoning_effort": "low", "model": "gpt-5-pro"}, "gpt-5-pro takes high, not 'low'"),
        ({"teacher__reasoning_effort": "low", "model": "gpt-4o"}, "gpt-4o does not reason"),
        ({"teacher__max_output_tokens": 8}, "the Responses API takes 16 or more"),
        ({"teacher__api": "chat", "model": "gpt-5-pro"}, "served by the Responses API only"),
        ({"teacher__api": "chat", "model": "gpt-5.6-sol"}, "takes tools in chat only with reasoning_effort none"),
        (
            {"teacher__api": "auto", "model": "gpt-9x"},
            "is asked in chat; set teacher.base_url to null to ask OpenAI, or teacher.api to responses if http",
        ),
        ({"runtime__tier": "batch"}, "batch is for prompts without tools"),
    ],
)
def test_known_rules_are_told_before_a_request_is_sent(
    asks: Callable[..., Done], params: dict[str, Any], said: str
) -> None:
    with serving(thinker) as books:
        done = asks(books, **params)
    assert done.returncode == 1 and said in done.stderr and not books.asked


def test_a_rule_that_chat_breaks_names_what_chose_chat(project: Path) -> None:
    sums.make(project, 1, model="gpt-5-pro", teacher__api="chat")
    assert Running(project, "prompts").wait().returncode == 0
    done = Running(project, "teacher_rollouts").wait()
    assert "/teacher/api: gpt-5-pro is served by the Responses API only; set it to auto" in done.stderr


def test_unknown_rules_are_told_in_the_servers_words_and_end_the_run(asks: Callable[..., Done], project: Path) -> None:
    reply = refused(400, "unsupported_value", "Only the default (1) value is supported", "temperature")
    with serving(lambda asked: reply) as books:
        done = asks(books)
    assert done.returncode == 1 and "Only the default (1) value is supported" in done.stderr
    assert len(books.posts) <= 2 and not (project / "rollouts").exists()


class Background:
    """A server that answers in the background."""

    def __init__(self) -> None:
        self.made: dict[str, Any] = {}
        self.polls = 0
        self.held = False
        self.deleted: list[str] = []

    def post(self, asked: Asked) -> Any:
        assert asked.body["background"] is True and asked.body["store"] is True
        name = f"resp_{len(self.made)}"
        self.made[name] = thinker(asked)
        return response(status="queued", id=name)

    def get(self, asked: Asked) -> Any:
        name = asked.path.split("?")[0].rsplit("/", 1)[1]
        if asked.method == "DELETE":
            self.deleted.append(name)
            return {"deleted": True}
        if name not in self.made:
            return 404, {}, {}
        self.polls += 1
        return response(status="in_progress") if self.held or self.polls % 2 else self.made[name]


def test_pro_models_are_asked_in_the_background(asks: Callable[..., Done], project: Path) -> None:
    background = Background()
    with serving(background.post, gets=background.get) as books:
        done = asks(books, model="gpt-5-pro", runtime__prices={"gpt-5-pro": {"input": 15, "output": 120}})
    assert done.returncode == 0, done.stderr
    assert [rollout["status"] for rollout in rollouts(project)] == ["completed"] * 2
    assert sorted(background.deleted) == sorted(background.made), "once they are on our disk"
    assert len(books.posts) == 4 and any("include%5B%5D=reasoning.encrypted" in asked.path for asked in books.asked)
    assert rollouts(project)[0]["cost_usd"] == pytest.approx(2 * (100 * 15 + 50 * 120) / 1e6)


@pytest.mark.parametrize("code", ["rate_limit_exceeded", "server_error"])
def test_a_background_answer_that_failed_unbilled_is_ordered_again(
    asks: Callable[..., Done], project: Path, code: str
) -> None:
    """The budget has room for one order; a failed one that counted no tokens leaves it free."""
    background = Background()

    def get(asked: Asked) -> Any:
        name = asked.path.split("?")[0].rsplit("/", 1)[1]
        if asked.method == "GET" and name == "resp_0":
            error = {"code": code, "message": "Limit 30000, Requested 16500. Please try again in 33s."}
            return response(status="failed", id=name, error=error, usage=None)
        return background.get(asked)

    with serving(background.post, gets=get) as books:
        done = asks(books, **PRO, teacher__n=1, teacher__max_output_tokens=1000, runtime__budget_usd=0.2)
    assert done.returncode == 0, done.stderr
    assert rollouts(project)[0]["status"] == "completed" and len(books.posts) == 2 + 1 and not store_notes()


@pytest.mark.parametrize(("failures", "kind"), [(POLL_FAILURES - 1, None), (POLL_FAILURES, "overloaded")])
def test_looks_at_an_answer_in_the_making_may_fail_for_a_while(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failures: int, kind: str | None
) -> None:
    """Then the rollout gives up, and the note lets a later run look again."""
    monkeypatch.setattr(background_module, "FIRST_POLL_S", 0.001)
    monkeypatch.setattr(background_module, "LONGEST_POLL_S", 0.001)
    ill = iter(range(failures))

    def get(asked: Asked) -> Any:
        return (503, b"", {}) if next(ill, None) is not None else response(text("Answer: 1"), id="resp_0")

    async def asked(base_url: str) -> str | None:
        note = Store(tmp_path / "here").note("a" * 64)
        http = Http(base_url, {}, 5)
        try:
            await background_module.Background(http, "/responses", Halt()).post(BODY, note)
            return None
        except ApiError as error:
            return error.kind
        finally:
            assert note.read() == "resp_0"
            await http.close()

    with serving(lambda asked: response(status="queued", id="resp_0"), gets=get) as books:
        assert asyncio.run(asked(books.base_url)) == kind
    assert len(books.posts) == 1


@pytest.mark.parametrize("run", ["that ordered it", "after a killed one"])
def test_an_answer_that_the_server_does_not_know_yet_is_not_ordered_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: str
) -> None:
    monkeypatch.setattr(background_module, "FIRST_POLL_S", 0.001)
    unknown = iter(range(3))
    note = Store(tmp_path / "here").note("a" * 64)
    if run == "after a killed one":
        note.write("resp_0")

    def get(asked: Asked) -> Any:
        not_yet = refused(404, None, "Response with id 'resp_0' not found.")
        return not_yet if next(unknown, None) is not None else response(text("Answer: 1"), id="resp_0")

    async def asked(base_url: str) -> Any:
        http = Http(base_url, {}, 5)
        try:
            return (await background_module.Background(http, "/responses", Halt()).post(BODY, note)).content
        finally:
            await http.close()

    with serving(lambda asked: response(status="queued", id="resp_0"), gets=get) as books:
        assert asyncio.run(asked(books.base_url))["status"] == "completed"
    assert len(books.posts) == (run == "that ordered it") and note.read() == "resp_0"


def test_ctrl_c_does_not_wait_for_answers_in_the_background(asks: Callable[..., Done], project: Path) -> None:
    background = Background()
    background.held = True
    with serving(background.post, gets=background.get) as books:
        sums.set_params(project, teacher__base_url=books.base_url, **PRO)
        first = Running(project, "teacher_rollouts", TEACHER_API_KEY="")
        until(lambda: background.polls >= 2)
        first.kill(signal.SIGINT)
        assert first.wait().returncode == 1 and len(store_notes()) == 2, "they are still in the making"
        background.held = False
        assert asks(books, **PRO).returncode == 0
    assert len(books.posts) == 4, "two questions of two turns, none ordered again"


def test_what_is_in_the_making_in_the_background_is_not_ordered_in_a_batch(
    asks: Callable[..., Done], project: Path
) -> None:
    background = Background()
    background.held = True
    with serving(background.post, gets=background.get) as books:
        sums.set_params(project, teacher__base_url=books.base_url, **PRO)
        (project / "tools.py").write_text("")
        first = Running(project, "teacher_rollouts", TEACHER_API_KEY="")
        until(lambda: background.polls >= 2)
        first.kill()
        first.wait()
        assert "2 answers were ordered by an earlier run" in asks(books, "--plan", **PRO).stdout
        done = asks(books, runtime__tier="batch", **PRO)
        assert done.returncode == 1 and "collect it with runtime.tier: standard, or delete" in done.stderr
        assert {asked.path for asked in books.posts} == {"/v1/responses"} and len(store_notes()) == 2


def test_only_models_of_openais_are_asked_in_the_background() -> None:
    chosen = load_params(sums.ROOT / "params.yaml")
    chosen["teacher"] |= {"api": "responses", "base_url": "http://localhost:9/v1"}
    for name, wanted in (
        ("gpt-5-pro", True),
        ("google/gemini-2.5-pro", False),
        ("perplexity/sonar-deep-research", False),
    ):
        assert provider.in_background(asked_teacher(chosen | {"model": name})) is wanted


def test_a_response_that_is_not_finished_is_no_answer(asks: Callable[..., Done], project: Path) -> None:
    early = iter([response(status="in_progress")])
    with serving(lambda asked: next(early, None) or thinker(asked)) as books:
        assert asks(books).returncode == 0
    assert [rollout["messages"][-1]["content"] for rollout in rollouts(project)] == ["Answer: \n\n1", "Answer: \n\n2"]
    assert len(books.posts) == 4 + 1


def test_an_error_with_status_200_is_what_it_says(asks: Callable[..., Done]) -> None:
    with serving(lambda asked: {"error": {"code": 402, "message": "Insufficient credits"}}) as books:
        done = asks(books, runtime__api_concurrency=1)
    assert done.returncode == 1 and "(quota)" in done.stderr and "Insufficient credits" in done.stderr
    assert len(books.posts) == 1


def test_a_background_answer_that_was_lost_may_have_been_billed(
    asks: Callable[..., Done], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background_module, "UNKNOWN_S", 0.0)
    monkeypatch.setattr(sys, "argv", ["teacher_rollouts"])
    monkeypatch.setenv("TEACHER_API_KEY", "")
    monkeypatch.chdir(project)
    with serving(lambda asked: response(status="queued", id="resp_0")) as books:
        sums.set_params(project, **PRO, teacher__base_url=books.base_url, teacher__max_output_tokens=1000)
        sums.set_params(project, runtime__budget_usd=0.2)
        with pytest.raises(InputError, match=r"\(budget\)"):
            teacher_rollouts.main(load_params())
    assert len(books.posts) == 1


PRO = {
    "model": "gpt-5-pro",
    "teacher__api": "responses",
    "runtime__prices": {"gpt-5-pro": {"input": 15, "output": 120}},
}


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_killed_run_finds_its_background_answers_again(
    asks: Callable[..., Done], project: Path, forgotten: bool
) -> None:
    """Where the server knows nothing of one, a person decides whether to pay again; of an old one it is no wonder."""
    background = Background()
    background.held = True
    with serving(background.post, gets=background.get) as books:
        sums.set_params(project, teacher__base_url=books.base_url, **PRO)
        first = Running(project, "teacher_rollouts", TEACHER_API_KEY="")
        until(lambda: background.polls >= 4)
        first.kill()
        first.wait()
        assert len(books.posts) == 2
        background.held = False
        if forgotten:
            background.made = {name: answer for name, answer in background.made.items() if name == "resp_0"}
            for note in store_notes():
                os.utime(note, (0, time.time() - background_module.UNKNOWN_S))
            done = asks(books, **PRO)
            assert done.returncode == 1 and "answer resp_1 was ordered, and the server does not know it" in done.stderr
            assert len(books.posts) < 5, "nothing was ordered twice"
            (note,) = (note for note in store_notes() if note.read_text() == "resp_1")
            assert str(note) in done.stderr
            os.utime(note, (0, time.time() - 30 * 86400))
        done = asks(books, **PRO)
        assert done.returncode == 0, done.stderr
    assert [rollout["status"] for rollout in rollouts(project)] == ["completed"] * 2
    assert len(books.posts) == 4 + forgotten
    assert not store_notes()


def store_notes() -> list[Path]:
    return list(Path(os.environ["DISTILL_STORE"]).rglob("*.note"))
