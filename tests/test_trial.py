"""What `make try` says that the filter would make of a rollout."""

from typing import Any

import pytest
from rollout_records import call, messages, rollout

from distill.commands.trial import outlook
from distill.dataset.checks.context import CheckContext
from distill.records import params

WRONG = {"expected_answer": 1, "answer_type": "number"}
UNREAD = {"kind": "calls_as_text", "where": "teacher", "message": "", "http_status": None, "retryable": False}
FORGOT = [*messages(9)[:2], {"role": "assistant", "content": "", "tool_calls": [call("1", "calculator", '{"a": 1}')]}]
REPAIRED = [*FORGOT, {"role": "tool", "tool_call_id": "1", "content": "error: b is missing"}, *messages(9)[2:]]


@pytest.mark.parametrize(
    ("changes", "modes", "said"),
    [
        ({}, {}, "kept; its answer is right"),
        ({"metadata": {}}, {}, "kept; its answer is not compared with anything here"),
        ({"metadata": WRONG}, {}, "rejected: answer: "),
        ({"metadata": WRONG}, {"answer": "off"}, "kept; its answer is wrong"),
        ({"status": "failed", "stop_reason": "max_turns"}, {}, "left out, since it failed (max_turns)"),
        (
            {"status": "failed", "stop_reason": "api_error", "error": UNREAD},
            {},
            "left out, since it failed (api_error): start the server with the parser",
        ),
        ({"split": "eval"}, {}, "left out, since its prompt is held out; its answer is right"),
        (
            {"messages": REPAIRED},
            {"calls": "mask"},
            "kept, but 1 of its turns are not learned from (calls); its answer is right",
        ),
    ],
)
def test_the_outlook_of_a_rollout(changes: dict[str, Any], modes: dict[str, Any], said: str) -> None:
    chosen = params.load()
    chosen["filter"] |= {"length": "off", "tools_shown": "off", **modes}
    assert outlook(rollout(**changes), chosen, CheckContext()).startswith(said)
