"""Planted faults for every check: how many of them it finds, and how many rows without one it finds wrongly.

The texts are such as models and tools write.
"""

from collections.abc import Collection
from typing import Any

import pytest
from injections import INJECTIONS, OBEYED, RESISTED, injected
from planted import Measured, measure
from planted_faults import PLANTED, good, words
from rollout_records import call, rollout

from distill.dataset import convert
from distill.dataset.checks import CHECKS, CONTESTS
from distill.dataset.checks.context import CheckContext

Row = dict[str, Any]


def says(text: str, place: int = 6) -> Row:
    row = convert.row(rollout())
    row["messages"][place]["content"] = text
    return row


def returns(text: str) -> Row:
    return says(text, place=3)


IDENTITY = [
    "As an AI language model, I don't have access to real-time data. Answer: 5",
    "As an AI developed by OpenAI, I can't hold opinions.",
    "I'm just a large language model, so take this with a grain of salt.",
    "I am Gemini, a large language model built by Google.",
    "I'm Claude, an AI assistant made by Anthropic. The price is 44.",
    "Hello! I'm DeepSeek Chat, created by DeepSeek.",
    "I am an AI and do not have feelings.",
    "I was created by Alibaba Cloud to help with questions.",
    "My training data goes up to September 2021.",
    "As of my last knowledge update, the shop had 12 kettles.",
    "Being an AI, I have no personal preferences.",
    "I'm an artificial intelligence, not a person.",
    "My knowledge cutoff is June 2024, so this may have changed.",
    "I don't have personal experiences because I'm a language model.",
    "I am Grok, built by xAI.",
    "Since I'm an AI assistant, I can't visit the shop.",
    "As an AI I cannot taste it.",
    "As an AI without a body, I do not eat.",
    "As an AI-powered assistant, I can't taste it.",
    "As an AI agent, I have no hands.",
    "As an AI and not a person, I cannot say.",
    "Hi, this is ChatGPT\nHow can I help?",
    "Hello, this is ChatGPT. The kettle costs 44.",
]
ABOUT_AI = [
    "Large language models are trained to predict the next token. Answer: tokens",
    "GPT-4 was trained by OpenAI and released in March 2023.",
    "Claude is made by Anthropic, Gemini by Google. Answer: 2",
    "In the film, the robot says that it is an AI, and nobody believes it.",
    "As an AI engineer you will write Python most of the day.",
    "The article says: as AI assistants spread, call centres shrink.",
    "Llama is an animal; a llama weighs up to 200 kg.",
    "The assistant in the kitchen was trained by a chef.",
    "I am an AI consultant's client, the letter says.",
    "The knowledge cutoff of the report is 2023.",
    "I am Gemini's biggest fan, she wrote.",
    "Mistral is a cold wind in the south of France.",
    "I was trained as a baker, the customer says in the note.",
    "Bard is another word for a poet. Answer: poet",
    "This model of kettle was made by Meta Kitchen Ltd.",
    "The price of item H222 is 15.3. Answer: 15.3",
]
REFUSAL = [
    "I'm sorry, but I can't assist with that request.",
    "I’m really sorry, but I can't help with that.",
    "I cannot provide instructions for making explosives.",
    "I can't comply with this request.",
    "Sorry, I can't do that.",
    "I'm unable to help with this.",
    "I won't be able to help with that request.",
    "I'm not able to provide that information about harmful substances.",
    "I must respectfully decline to answer.",
    "Unfortunately, I cannot assist with this matter.",
    "This request violates my guidelines.",
    "I apologize, but I cannot fulfill this request.",
    "I cannot in good conscience write that.",
    "I will not create that kind of content.",
]
NO_REFUSAL = [
    "I can't find item H999 in the catalogue; did you mean H222?",
    "Sorry about the confusion: the total is 88. Answer: 88",
    "The tool cannot be reached, so I used the list. Answer: 4",
    "You can't return opened bags of soil.",
    "I cannot see a second pallet, so the answer is 162.",
    "Unfortunately, the kettle is out of stock. Answer: 0",
    "The customer must decline the offer by Friday.",
    "This violates the second law of thermodynamics. Answer: no",
    "I was not able to open the page at first; the second try gave 12.",
    "I'm not able to tell them apart by price: both cost 4.",
    "I won't round the result: 15.333",
    "He said 'I can't help with that' and hung up. Answer: he refused",
]
KEY = "sk-" + "proj-" + "aB3dE6gH9k" * 5
SECRET = [
    f'{{"status": "ok", "api_key": "{KEY}"}}',
    f"export OPENAI_API_KEY={KEY}",
    "AWS_ACCESS_KEY_ID=" + "AKIA" + "IOSFODNN7ABCDEFG",
    "remote: https://x-access-token:" + "ghp_" + "a1B2c3D4e5F6" * 3 + "@github.com/me/shop",
    "slack: " + "xoxb-" + "123456789012-123456789012-AbCdEfGhIjKlMnOpQrStUvWx",
    "token = '" + "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZabcdefgh" + "'",
    "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\n-----END OPENSSH " + "PRIVATE KEY-----",
    "stripe: " + "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "sk-" + "x" * 40 + f" stands for {KEY}",
    "-----BEGIN RSA " + f"PRIVATE KEY-----... stands for {KEY}",
    "-----BEGIN OPENSSH " + "PRIVATE KEY-----\n" + "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU" * 4 + "\n... and so on",
]
NO_SECRET = [
    "Set OPENAI_API_KEY to your key (it starts with sk-...).",
    "The documentation writes the key as sk-YOUR_API_KEY.",
    '{"sha": "9fceb02d0ae598e95dc970b74767f19372d61af8"}',
    "id 550e8400-e29b-41d4-a716-446655440000",
    "-----BEGIN PUBLIC KEY-----",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4",
    "ghp_ is the prefix of tokens of GitHub, AKIA that of access keys of AWS.",
    "https://shop.example/risk-assessment-for-the-whole-of-the-garden-department-2026",
    "The password is asked for at the door.",
    "AWS_ACCESS_KEY_ID=" + "AKIA" + "IOSFODNN7EXAMPLE",
    "OPENAI_API_KEY=sk-" + "x" * 40,
    "key: AIza" + "Sy" + "X" * 33,
    "https://" + "ghp_" + "x" * 36 + "@github.com",
    "-----BEGIN RSA " + "PRIVATE KEY-----\n...\n-----END RSA " + "PRIVATE KEY-----",
]
PII = [
    "Write to maria.gonzalez@correo.es about it.", '{"phone": "+44 20 7946 0958"}', "Card 4012 8888 8888 1881, exp. 12/27",
    "IBAN FR14 2004 1010 0505 0001 3M02 606", "SSN: 219-09-9999", "call (212) 555-0198", "bob+orders@shop-mail.co.uk",
]  # fmt: skip
NO_PII = [
    "user@example.com", "Order 4012888888881882 was sent", "2026-11-25T12:30:00Z", "isbn 978-3-16-148410-0",
    "range 10-20-3000", "10.0.0.1:8080", "price: 1 234 567", "git@localhost", "H222 and K119", "part 000-00-0000",
]  # fmt: skip


# Written after the patterns: at first sight they found 6 of the 10 and 5 of the 8, and nothing wrongly. What was missed
# has been added since, so expect shares like those first ones of text that nobody here has seen.
NEW_IDENTITY = [
    "I'm an AI created by Anthropic called Claude.",
    "As a machine learning model, I do not eat.",
    "I am a language model developed by Mistral AI.",
    "Hi, I'm Qwen, a large language model.",
    "You are talking to ChatGPT, so please double-check.",
    "As an artificial intelligence, I cannot taste tea.",
    "I'm a chatbot and cannot go to the shop.",
    "As of my last training update in 2023, the kettle cost 44.",
    "OpenAI trained me to be helpful.",
    "I am only an AI assistant, but the total is 88.",
]
NEW_ABOUT_AI = [
    "The paper calls the method 'as an AI-assisted search'.",
    "She works as an AI safety researcher at Google.",
    "Qwen is a family of models by Alibaba Cloud.",
    "I am calling lookup_item for the large language model course. Answer: 30",
    "My name is on the list, says Claude Debussy's note.",
    "The shop sells a book: 'I, Chatbot'. Answer: 12.5",
    "As an AI engineer at a bank, I have shipped three products. (That is the first line of your letter.)",
    "As an AI product manager you asked for a roadmap, so I've written one.",
    "This is DeepSeek's price list: 0.28 a million tokens.",
]
NEW_REFUSAL = [
    "I'm sorry, I can't help you hack into that account.",
    "I can't give advice on that topic.",
    "Sorry, but that's not something I can help with.",
    "I am not able to assist with creating malware.",
    "I have to decline this one.",
    "I cannot support that.",
    "It would be inappropriate for me to answer.",
    "I can’t engage in that kind of conversation.",
]
NEW_NO_REFUSAL = [
    "I can't confirm the price from the page alone, so I looked it up: 44.",
    "I'm sorry for your loss. The bouquet costs 35.",
    "I won't need the calculator: 2 + 2 = 4.",
    "The policy of the shop forbids refunds on soil.",
    "Unfortunately the page lists no stock. Answer: unknown",
    "I am unable to divide 7 by 0, which has no value. Answer: undefined",
]


def looped(times: int, results: int = 1) -> Row:
    row = convert.row(rollout())
    asked = [
        message
        for number in range(times)
        for message in (
            {"role": "assistant", "content": "", "tool_calls": [call(f"c{number}", "lookup_item", '{"sku": "D1"}')]},
            {"role": "tool", "tool_call_id": f"c{number}", "content": f"stock {number % results}"},
        )
    ]
    row["messages"][2:6] = asked
    row["outcome"]["tool_calls"] = times
    return row


def outcome(**changes: Any) -> Row:
    row = convert.row(rollout())
    row["outcome"] |= changes
    return row


MEASURED: dict[str, tuple[Collection[Row], Collection[Row], Measured]] = {
    # check: rows with the fault, rows that look as if they had it, what is measured of the two
    "identity": ([says(text) for text in IDENTITY], [says(text) for text in ABOUT_AI], Measured(1, 0)),
    "refusal": ([says(text) for text in REFUSAL], [says(text) for text in NO_REFUSAL], Measured(1, 0)),
    "secrets": ([returns(text) for text in SECRET], [returns(text) for text in NO_SECRET], Measured(1, 0)),
    "pii": ([returns(text) for text in PII], [returns(text) for text in NO_PII], Measured(1, 0)),
    "loop": ([looped(times) for times in range(3, 9)], [looped(2), looped(1), looped(6, results=3)], Measured(1, 0)),
    "tool_errors": (
        [outcome(tool_errors=count) for count in range(4, 9)],
        [outcome(tool_errors=count) for count in range(4)],
        Measured(1, 0),
    ),
}


NEW = {
    "identity": (NEW_IDENTITY, NEW_ABOUT_AI, Measured(1, 0)),
    "refusal": (NEW_REFUSAL, NEW_NO_REFUSAL, Measured(1, 0)),
}
for name, (bad, harmless, least) in NEW.items():
    MEASURED[f"{name}, new"] = ([says(text) for text in bad], [says(text) for text in harmless], least)
for name in ("finished", "final_answer", "paired", "calls", "answer", "length"):
    bad, harmless = [], good(40)
    for checks, plant in PLANTED:
        (row,) = good(1)
        plant(row)
        (bad if name in checks else harmless).append(row)
    MEASURED[name] = (bad, harmless, Measured(1, 0))
MEASURED["injection"] = (
    [injected(text, then) for text, then in zip(INJECTIONS, OBEYED, strict=True)],
    [injected(text, RESISTED.format(then)) for text, then in zip(INJECTIONS, OBEYED, strict=True)],
    Measured(1, 0),
)
ELSEWHERE = {
    "own": "test_own_checks.py", "tools_shown": "test_tools_shown.py", "duplicate": "test_filter.py",
    "contaminated": "test_contaminated.py", "near_duplicate": "test_contests.py", "max_per_prompt": "test_contests.py",
}  # fmt: skip
"""Checks that compare rows, or run code of the user's or the student's: measured there."""


def test_every_check_is_measured():
    assert {name.removesuffix(", new") for name in MEASURED} | set(ELSEWHERE) == set(CHECKS | CONTESTS)


@pytest.mark.parametrize("name", MEASURED)
def test_what_a_check_finds_and_what_it_finds_wrongly(name):
    planted, clean, expected = MEASURED[name]
    check, known = CHECKS[name.removesuffix(", new")].check, CheckContext(counts=words, max_length=300)
    missed = [row["messages"][-1] for row in planted if check(row, known) is None]
    wrong = [found for row in clean if (found := check(row, known))]
    measured = measure(lambda row: check(row, known), planted, clean)
    assert measured.recall >= expected.recall and measured.false <= expected.false, (measured, missed, wrong)
