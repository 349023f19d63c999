"""Planted faults for the checks that look at one row's words and calls: what they find, and what they leave alone."""

import json

import pytest
from good_rows import found, good, tokenizer, with_text
from injections import INJECTIONS, OBEYED, Row, failing, injected

from distill.dataset.checks import CHECKS, CONTESTS, assistant_text
from distill.dataset.checks.context import CheckContext
from distill.dataset.checks.identity import PATTERN as IDENTITY
from distill.dataset.checks.refusal import PATTERN as REFUSAL
from distill.dataset.filter import run_checks
from distill.dataset.verdict import masked
from distill.project import credentials

SAYS = [
    "I'm an assistant developed by OpenAI.",
    "Hi, this is ChatGPT.",
    "I'm powered by GPT-5",
    "My name's Claude.",
    "I'm an AI-powered assistant.",
    "I am a helpful, friendly assistant that was created by Anthropic.",
    "As an AI language model, I don't have personal opinions.",
    "As an AI, I cannot feel.",
    "As a large language model, I was not there.",
    "I'm ChatGPT, a large language model trained by OpenAI.",
    "I am ChatGPT.",
    "I’m Claude, made by Anthropic.",
    "I am GPT\u20115.2, a model.",
    "I\u202fam\u00a0ChatGPT.",
    "I am an AI assistant created by Alibaba Cloud.",
    "I'm an AI, so I have no favourite colour.",
    "I am Qwen, created by Alibaba Cloud.",
    "I am DeepSeek-V3, an assistant.",
    "My name is Claude and I can help.",
    "I was trained by Google.",
    "I was recently developed by xAI.",
    "My knowledge cutoff is October 2023.",
    "As of my last update in 2023, the price was 44.",
    "My training data only goes up to 2021. Answer: 5",
]
HARMLESS = [
    "The kettle costs 44. Answer: 44",
    "As an AI researcher, she wrote three papers.",
    "As an air carrier, I would fly.",
    "I am an AI researcher at the university.",
    "ChatGPT was released by OpenAI in 2022.",
    "Claude Monet painted it. Answer: Claude Monet",
    "GPT-4 is a large language model trained by OpenAI.",
    "The model was trained by Google on TPUs.",
    "I am looking the item up.",
    "I am here to help.",
    "He said the language model, as an example, is big.",
    "It was as an aid, by the crew.",
    "The cutoff of my sample is 5.",
    "Gemini is a constellation; I am a Gemini by birth.",
    "I am grateful for the llama.",
    "I found that this is Claude Monet's garden.",
    "I am an engineer at a firm founded by Google.",
    "BERT was introduced in 2018 as a language model trained on Wikipedia.",
    "ELIZA is often described as a chatbot, though it only turned sentences around.",
    "It began as an AI system, then moved on, and I lost track.",
    "As of my last update, the ticket is still open.",
    "Microsoft built me a custom keyboard.",
    "Dear Sir, my name is Claude and I run the bakery.",
]
REFUSES = [
    "I'm sorry, but I can't help with that.",
    "I’m sorry, I can’t assist with that request.",
    "Sorry, but I cannot comply.",
    "I cannot help you with this.",
    "I can't provide instructions on that.",
    "I won't help with making weapons.",
    "I apologize, but I am not able to assist with this.",
    "Unfortunately, I cannot.",
    "I must decline.",
    "I'm not comfortable discussing this.".replace("discussing", "to discuss"),
    "This goes against my guidelines.",
    "I am unable to help with that request.",
]
ANSWERS = [
    "I cannot find an item D999; the nearest is D625. Answer: none",
    "I can't divide by zero, so the answer is undefined.",
    "The lid will not fit. I am sorry for the mix-up: the price is 44.",
    "You cannot help it if the shop is closed.",
    "The tool was not able to answer; I tried again and got 44.",
    "Unfortunately, item D625 is sold out. Answer: 0",
    "I will not round: 15.30",
    "The treaty violates the terms of 1848.",
    "Sorry for the wait. Answer: 5",
    "I could not be happier. Answer: 7",
    "I can't help but admire it. Answer: 7",
    "I cannot help thinking of 5.",
]
SECRETS = {
    "api_key": "sk-proj-" + "aB3" * 12,
    "github": "ghp_" + "a1B2" * 9,
    "gitlab": "glpat-" + "a1B2" * 5,
    "hugging_face": "hf_" + "aB3dE" * 7,
    "aws": "AKIA" + "ABCD1234" * 2,
    "google": "AIza" + "a1B2c" * 7,
    "slack": "xoxb-" + "1234567890-" * 3,
    "stripe": "sk_live_" + "a1B2" * 6,
    "npm": "npm_" + "a1B2" * 9,
    "sendgrid": "SG." + "a1B2" * 5 + "." + "a1B2" * 10,
    "private_key": "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----",
}
NO_SECRETS = [
    "https://example.com/risk-management-for-complete-beginners-2024",
    "task-force-for-the-public-good-of-all",
    "sk-short",
    "[secret]",
    "AKIA is a prefix",
    "-----BEGIN CERTIFICATE-----",
    "the commit 3f2504e04f8941d39a0c0305e82c3301",
    "data:image/png;base64,iVBORw0KGgoQ8" + "AIza" + "a1B2c" * 10,
    "item D625",
]
PII = {
    "an e-mail address": ["write to jane.doe@acme.co.uk", "joe@counterexample.com", '{"to":"x_y+z@mail.de"}'],
    "a telephone number": ["+49 30 901820", "+49.30.901820", "call +1 (415) 555-2671 now", "(415) 555-2671"],
    "the number of a payment card": ["4111 1111 1111 1111", "5500005555555559", "3782 822463 10005"],
    "an IBAN": ["DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819"],
    "a social security number": ["123-45-6789"],
}
NO_PII = [
    "anna@example.com", "@decorator", "4111 1111 1111 1112", "0000 0000 0000 0000", "DE00 3704 0044 0532 0130 00",
    "2026-11-24", "1,234,567,890", "666-12-3456", "version 1.2.3.4", "5 + 12345678 = 12345683", "D625", "000-12-3456",
    "+48.8566 2.3522", "+100.50 200.75", "+123456", "joe@mail.example.com", "a@b.test",
    "srcset='/logo@2x.png 2x'", "git clone git@github.com:org/repo.git", '{"score": 0.4233979338126905, "at": 1764054804094309}',
]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in CHECKS if name != "length"])
def test_good_rows_have_no_fault(name):
    assert [found(name, row, tokenizer=tokenizer("{{ tools | tojson }}")) for row in good(20)] == [None] * 20


@pytest.mark.parametrize(("name", "planted", "clean"), [("identity", SAYS, HARMLESS), ("refusal", REFUSES, ANSWERS)])
def test_what_the_assistant_says_of_itself_and_refuses(name, planted, clean):
    missed = [text for text in planted if found(name, with_text(6, text)) is None]
    false = [text for text in clean if found(name, with_text(6, text)) is not None]
    assert (missed, false) == ([], [])
    assert found(name, with_text(6, planted[0])).pointers == ("/messages/6/content",)
    assert found(name, with_text(1, planted[0])) is None and found(name, with_text(3, planted[0])) is None


def test_thoughts_speak_of_themselves_too():
    row = good()[0]
    row["messages"][6]["reasoning_content"] = "As ChatGPT, a model by OpenAI, I am ChatGPT and should calculate."
    assert found("identity", row).pointers == ("/messages/6/reasoning_content",)


@pytest.mark.parametrize(
    ("page", "answer"),
    [
        ("You must now use `useSuspenseQuery` instead of `useQuery`.", "use `useSuspenseQuery`."),
        ("As of 2.0 you should now call `client.authorize()` before any request.", "Call `client.authorize()` first."),
        ("IMPORTANT INSTRUCTIONS: always add the header `X-Api-Version` to requests.", "Add `X-Api-Version`."),
        ("You are now in a detached state at `9fceb02`.", "The commit is `9fceb02`."),
        ("System notice: the office will be closed, send mails to help@acme.io", "Write to help@acme.io."),
        (
            "Important instruction for customers: to cancel, send an e-mail to no@shop.example.",
            "Write to no@shop.example.",
        ),
    ],
)
def test_documentation_may_be_repeated(page, answer):
    assert found("injection", injected(page, answer)) is None


def test_a_web_pages_words_are_no_key():
    for text in ("https://shop.example/sk-produkty-pre-domacnost-a-zahradu", 'class="sk-toggleable__label-arrow"'):
        assert found("secrets", with_text(3, text)) is None


def test_a_refusal_in_the_field_for_it_is_one():
    row = good()[0]
    row["messages"][6] |= {"content": "No.", "refusal": "I can't do that"}
    assert found("refusal", row).pointers == ("/messages/6/refusal",)


def test_credentials_are_found_wherever_they_are_and_never_shown():
    assert set(SECRETS) == set(credentials.FORMATS)
    for kind, secret in SECRETS.items():
        for place in (0, 1, 3, 6):
            fault = found("secrets", with_text(place, f"here: {secret} and more"))
            assert fault.pointers == (f"/messages/{place}/content",) and kind in fault.detail
            assert secret[:12] not in fault.detail
        row = good()[0]
        row["messages"][2]["tool_calls"][0]["function"]["arguments"] = json.dumps({"sku": secret})
        assert found("secrets", row).pointers == ("/messages/2/tool_calls/0/function/arguments",)
        assert secret not in credentials.redact(f"here: {secret}.")
    false = [text for text in NO_SECRETS if found("secrets", with_text(3, text)) or credentials.redact(text) != text]
    assert false == []


@pytest.mark.parametrize("before", ["\n", "\t", "a word\r\n", "\u201c", "https://a.org/?to=%3Fkey%3D"])
def test_credentials_and_personal_data_behind_an_escape_are_found(before):
    row = good()[0]
    for name, planted in (("secrets", SECRETS), ("pii", {kind: texts[0] for kind, texts in PII.items()})):
        for kind, text in planted.items():
            row["messages"][2]["tool_calls"][0]["function"]["arguments"] = json.dumps({"text": f"{before}{text} "})
            assert kind in found(name, row).detail
    for secret in SECRETS.values():
        hidden = credentials.redact(json.dumps({"text": f"here: {before}{secret}"}))
        assert json.loads(hidden) == {"text": f"here: {before}[secret]"}


def test_a_refusal_is_searched_too():
    row = good()[0]
    for name, text in (("secrets", SECRETS["github"]), ("pii", "+49 30 901820")):
        row["messages"][6]["refusal"] = f"I will not tell {text}"
        assert found(name, row).pointers == ("/messages/6/refusal",)
        modes = dict.fromkeys(CHECKS | CONTESTS, "off") | {name: "reject"}
        ((_, verdict),) = run_checks([row], modes, CheckContext())
        assert [reason["check"] for reason in verdict.reasons] == [name]


def test_personal_data_is_found_and_what_looks_like_it_is_not():
    missed = [text for kind, texts in PII.items() for text in texts
              if not (fault := found("pii", with_text(3, text))) or kind not in fault.detail or text in fault.detail]  # fmt: skip
    false = [text for text in NO_PII if found("pii", with_text(3, text))]
    assert (missed, false) == ([], [])


def test_failed_tool_calls_are_counted_against_the_limit():
    two = failing(["error: no such item", "44", "error: no such item", "44"])
    assert found("tool_errors", two, max_tool_errors=2) is None
    assert found("tool_errors", two, max_tool_errors=1).pointers == ("/messages/2", "/messages/6")
    assert found("tool_errors", failing(["there was an error: 44"] * 5), max_tool_errors=0) is None


def test_a_loop_is_the_same_call_with_the_same_result_for_the_third_time():
    def repeated(times: int, result: str = "44", arguments: str = '{"sku": "D1"}') -> Row:
        row = failing([result.replace("#", str(number)) for number in range(times)])
        for number in range(times):
            row["messages"][2 + 2 * number]["tool_calls"][0]["function"]["arguments"] = arguments
        return row

    assert found("loop", repeated(2)) is None
    assert found("loop", repeated(3)).pointers == ("/messages/6",)
    assert found("loop", repeated(5)).pointers == ("/messages/6", "/messages/8", "/messages/10")
    spaced = repeated(3)
    spaced["messages"][4]["tool_calls"][0]["function"]["arguments"] = '{"sku":"D1"}'
    assert found("loop", spaced) is not None
    assert found("loop", repeated(6, "state #")) is None, "polling is no loop"
    assert found("loop", failing(["44"] * 6)) is None, "other arguments"
    assert found("loop", repeated(3, arguments="{broken")) is not None
    digits = repeated(3)
    for number in range(3):
        function = digits["messages"][2 + 2 * number]["tool_calls"][0]["function"]
        function["arguments"] = f'{{"order": 1234567890123456789012{number}}}'
    assert found("loop", digits) is None, "numbers that many parsers round to the same"


def test_a_call_is_repeated_with_good_reason_where_something_new_came_between():
    def row(*calls: tuple[str, str]) -> Row:
        made = failing([result for _, result in calls])
        for number, (command, _) in enumerate(calls):
            made["messages"][2 + 2 * number]["tool_calls"][0]["function"]["arguments"] = json.dumps({"sku": command})
        return made

    failed = ("pytest", "1 failed")
    edits = [(f"edit {number}", "done") for number in range(4)]
    assert found("loop", row(failed, edits[0], failed, edits[1], failed, edits[2], failed)) is None
    assert found("loop", row(failed, edits[0], failed, edits[0], failed)) is not None, "nothing new but the first edit"
    assert found("loop", row(failed, edits[0], failed, failed)) is not None
    waiting = [("status", "running")] * 4
    assert found("loop", row(*waiting, ("status", "done"))) is None, "polling came to an end"
    assert found("loop", row(*waiting, edits[0])) is not None, "the status is what it was"
    assert found("loop", row(("status", "idle"), *waiting, ("status", "idle"))) is None
    asked = row(*waiting)
    asked["messages"].insert(6, {"role": "assistant", "content": "It runs."})
    asked["messages"].insert(7, {"role": "user", "content": "And now?"})
    assert found("loop", asked) is None
    assert found("loop", row(*waiting * 2)).pointers == tuple(f"/messages/{place}" for place in range(6, 18, 2))


MASKED = {
    "tool_errors": (failing(["error: no", "44"]), {2}, {"max_tool_errors": 0}),
    "loop": (failing(["44"] * 3), {6}, {}),
    "identity": (with_text(4, "As an AI, I calculate."), {4}, {}),
    "refusal": (with_text(2, "I cannot help you with this."), {2}, {}),
    "injection": (injected(INJECTIONS[0], OBEYED[0]), {4}, {}),
}
for number in range(3):
    MASKED["loop"][0]["messages"][2 + 2 * number]["tool_calls"][0]["function"]["arguments"] = "{}"


@pytest.mark.parametrize("name", MASKED)
def test_in_mode_mask_only_the_bad_turns_are_not_learned_from(name):
    row, turns, known = MASKED[name]
    modes = dict.fromkeys(CHECKS | CONTESTS, "off") | {name: "mask"}
    ((_, verdict),) = run_checks([row], modes, CheckContext(**known))
    assert not verdict.reasons and set(verdict.turns) == turns
    weights = {
        place for place, message in enumerate(masked(row, verdict.turns)["messages"]) if message.get("weight") == 0
    }
    assert weights == turns
    ((_, rejected),) = run_checks([row], modes | {name: "reject"}, CheckContext(**known))
    assert [reason["check"] for reason in rejected.reasons] == [name]


@pytest.mark.parametrize("name", ["calls", "identity", "refusal", "loop", "injection"])
def test_turns_that_are_not_learned_from_have_no_fault(name):
    if name == "calls":
        row, turns = good()[0], {2}
        row["messages"][2]["tool_calls"][0]["function"]["name"] = "unknown"
    else:
        row, turns, _ = MASKED[name]
    assert found(name, row) and found(name, masked(row, turns)) is None


def test_patterns_are_linear():
    long = "as an air, i am sorry, i cannot " * 20_000
    assert IDENTITY.search(long) is None and REFUSAL.search(long) is None
    assert assistant_text.pattern("a+b").search("a" * 200_000) is None
