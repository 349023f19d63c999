"""A turn that is forced to be a call begins with the tokens with which a trained one would."""

from typing import Any

import pytest
from conversations import conversations, serving
from families import AS_CODE, AT_ONCE, FAMILIES, TYPED_BY_SCHEMA, bundled, own, write_tokenizer
from hypothesis import HealthCheck, given, settings

from distill.student.served_messages import tools_as_served
from distill.student.serving.calls import properties
from distill.student.serving.forced_call import may_follow, openings
from distill.student.serving.reply import form
from distill.student.tokenizer import read_tokenizer


@pytest.mark.parametrize(("kind", "family"), [*FAMILIES, *((own, name) for name in TYPED_BY_SCHEMA + AS_CODE)])
def test_the_opening_is_that_of_every_call(kind, family, tmp_path_factory):
    tokenizer = read_tokenizer(write_tokenizer(tmp_path_factory.mktemp("tokenizer"), family), kind(family))
    reader = form(tokenizer)
    seen = []

    @given(conversations(2 if kind is bundled else AT_ONCE.get(family, 2)))
    @settings(max_examples=20, suppress_health_check=list(HealthCheck))
    def compare(conversation: dict[str, Any]) -> None:
        messages, tools = serving(conversation["messages"]), tools_as_served(conversation["tools"])
        for place, message in enumerate(messages):
            if not (calls := message.get("tool_calls")):
                continue
            before, name, given = messages[:place], calls[0]["function"]["name"], calls[0]["function"]["arguments"]
            known = dict.fromkeys(list(properties(name, tools))[: len(given)], "x")
            call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": known | given}}
            silent = {"role": "assistant", "content": "", "tool_calls": [call, *calls[1:]]}
            prompt, whole = tokenizer.text(before, tools, True), tokenizer.text([*before, silent], tools, False)
            if not whole.startswith(prompt):  # Gemma 4, after a turn with text and a call: not trained on either
                with pytest.raises(ValueError, match="begins no call"):
                    openings(tokenizer, before, tools, [name])
                continue
            trained = tokenizer.encode(whole[len(prompt) :])
            every = openings(tokenizer, before, tools, [tool["function"]["name"] for tool in tools])
            [one] = openings(tokenizer, before, tools, [name])
            assert one in every and one == trained[: len(one)] and name in tokenizer.decode(one)
            assert reader.read(tokenizer.decode(trained), tools)["tool_calls"][0]["function"]["name"] == name
            for length, token in enumerate(one):
                assert token in may_follow(every, one[:length]) and may_follow([one], one[:length]) == {token}
            assert may_follow(every, trained) == set()
            seen.append(name)

    compare()
    assert seen


def test_a_name_may_begin_another():
    short, long = [1, 2, 3], [1, 2, 3, 4, 5]
    assert may_follow([short, long, [1, 7]], [1]) == {2, 7}
    assert may_follow([short, long], [1, 2]) == {3}
    assert may_follow([short, long], [1, 2, 3]) == set(), "either may go on from here"
    assert may_follow([[1, 2, 4], long], [1, 2, 3]) == {4}
    assert may_follow([], []) == set()
