"""What can go wrong with a request: a closed list of kinds, each with one of four fates and advice for a person.

retry: the request is sent again, as often as distill/teacher/api/retry.py allows; then the rollout fails. repair: it is sent
again without what the server refused. fail: the rollout ends and the run goes on; later runs do not send the request
again, unless the failure depends on how the server is set up (SET_UP). stop: the run ends, since every other request
would fail, too.
"""

from typing import Literal, NamedTuple

from distill.project import credentials

MESSAGE_CHARS = 1000
"""Longer messages are cut: a server's may be a whole page."""


class Kind(NamedTuple):
    """What happens after an error of this kind, and what a person can do about it."""

    fate: Literal["retry", "repair", "fail", "stop"]
    advice: str


KINDS = {
    "rate_limit": Kind("retry", "lower runtime.api_concurrency or set runtime.requests_per_minute, and run again"),
    "overloaded": Kind("retry", "the server has too much to do: run again later"),
    "flex_busy": Kind("retry", "no flex capacity: run again later, or set runtime.tier to flex_or_standard"),
    "server": Kind("retry", "the server fails: run again later"),
    "timeout": Kind("retry", "raise runtime.timeout_s, or the limit of the proxy that gave up, or run again later"),
    "unreachable": Kind("stop", "check the network and teacher.base_url, and run again"),
    "connection": Kind("retry", "check the network and teacher.base_url, and run again"),
    "broken_answer": Kind("retry", "the server's reply is no valid answer: check the endpoint, and run again"),
    "limit_refused": Kind("repair", "the model wants its limit as max_completion_tokens: asked again so"),
    "summary_refused": Kind("repair", "the organisation gets no reasoning summaries: asked again without"),
    "reasoning_refused": Kind("repair", "the model gives no encrypted reasoning: asked again without"),
    "tool_session": Kind("retry", "a tool server or sandbox was lost: see the rollout's error, and run again"),
    "echo_refused": Kind("repair", "the server takes no reasoning of earlier turns: asked again without"),
    "echo_missed": Kind("repair", "the server wants a thought in every earlier turn: asked again with empty ones"),
    "thoughts_refused": Kind("repair", "the server cannot read its thoughts of earlier turns: asked again without"),
    "all_refused": Kind("retry", "the server has refused every conversation so far: see its words, and run again"),
    "bad_request": Kind("fail", "the server refuses this conversation; its words are in the rollout's error"),
    "content_policy": Kind("fail", "the provider's policy refuses this prompt: change or remove it"),
    "blocked": Kind(
        "fail", "a filter or a firewall before the model refuses this prompt: see its words, and run again"
    ),
    "context_full": Kind(
        "fail",
        "shorten the prompt, offer it fewer tools (`tools` of its row, `allow` of a server), or lower agent.tool_output_chars, "
        "agent.max_turns or teacher.max_output_tokens",
    ),
    "request_too_large": Kind(
        "fail",
        "lower teacher.max_output_tokens, which counts, or agent.tool_output_chars, shorten the prompt, or get more tokens "
        "per minute at the provider",
    ),
    "calls_as_text": Kind(
        "fail",
        "start the server with the parser of its model's tool calls (vLLM: --enable-auto-tool-choice --tool-call-parser "
        "hermes, or another), and run again",
    ),
    "answer_too_large": Kind("fail", "the server does not end its answers: see to it, and run again"),
    "call_unreadable": Kind(
        "fail",
        "the model began a tool call, and its server could not read the rest: see its words, change its chat template or "
        "the temperature, and run again",
    ),
    "no_key": Kind("stop", "put the key into .env (see .env.example) or the environment"),
    "key_refused": Kind("stop", "check the key in .env or the environment"),
    "forbidden": Kind("stop", "the key may not use this model: check the project's settings at the provider"),
    "not_found": Kind("stop", "check model and teacher.base_url, and teacher.api (responses or chat)"),
    "quota": Kind("stop", "add credit or raise the limit at the provider, and run again"),
    "parameter_refused": Kind("stop", "change what the server names, in params.yaml or where the server is started"),
    "outage": Kind("stop", "the server is out of order, or too slow for runtime.timeout_s: run again later"),
    "temperature_refused": Kind("stop", "set teacher.temperature to null, or to what the server names"),
    "long_wait": Kind("stop", "a daily limit is reached: run again later"),
    "budget": Kind("stop", "raise runtime.budget_usd, and run again to go on"),
    "unknown_price": Kind("stop", "give the price in runtime.prices, or set runtime.unknown_price to allow"),
    "batch_failed": Kind("stop", "see the provider's list of batches"),
    "ordered": Kind("stop", "collect what was ordered before, and run again"),
    "embedded_server": Kind("stop", "see the message of llama.cpp"),
    "interrupted": Kind("stop", "run again to go on"),
    "orphaned": Kind("stop", "run again to go on"),
}

REPAIRS = {
    "limit_refused": "max_tokens",
    "summary_refused": "summary",
    "reasoning_refused": "reasoning",
    "echo_refused": "echo",
    "echo_missed": "silence",
    "thoughts_refused": "thoughts",
}
"""What requests leave out after a refusal of fate repair, in the words of the adapters' `body`."""
SET_UP = {"blocked", "context_full", "request_too_large", "calls_as_text", "call_unreadable", "answer_too_large"}
"""Failures that a change to the server or the account may end, so the next run sends the request again."""


class ApiError(Exception):
    """A request that got no usable answer. `maybe_billed`: the server may have finished and charged it.

    `message` may quote a server: credentials in it are replaced here, before it is cut, so that no part of one remains.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        http_status: int | None = None,
        retry_after_s: float | None = None,
        maybe_billed: bool = False,
    ):
        self.message = credentials.redact(message)[:MESSAGE_CHARS]
        super().__init__(self.message)
        self.kind = kind
        self.http_status = http_status
        self.retry_after_s = retry_after_s
        self.maybe_billed = maybe_billed
        self.request: str | None = None  # the key of the request that failed, once it is known


class Transient(ApiError):
    """Fate retry: rate limits, overload, a broken connection."""


class Fatal(ApiError):
    """Fate stop: the run ends; the answers that it has are stored."""

    def of(self, who: str) -> str:
        """The words for a person; `who` was asked, and is named unless the run was stopped from outside."""
        stopped = self.kind in ("interrupted", "orphaned")
        return self.message if stopped else f"{who} cannot go on ({self.kind}): {self.message}"


def repairs(temperature_optional: bool) -> dict[str, str]:
    """What requests leave out, by the kind of the refusal; also the temperature, for a caller that can do without."""
    return REPAIRS | ({"temperature_refused": "temperature"} if temperature_optional else {})


def is_final(kind: str) -> bool:
    """Whether a conversation that ended with this kind need not be tried again in later runs."""
    return KINDS[kind].fate == "fail" and kind not in SET_UP


def error(kind: str, message: str, **details: object) -> ApiError:
    """The exception of a kind; its class is that of the kind's fate, if that has one of its own."""
    exception = {"retry": Transient, "stop": Fatal}.get(KINDS[kind].fate, ApiError)
    return exception(kind, message, **details)  # type: ignore[arg-type]
