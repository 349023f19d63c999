"""Tools: schemas from functions, calls with limits, and errors that a model can read."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from distill.project import credentials
from distill.records.faults import InputError
from distill.records.types import Prompt
from distill.tools import toolbox
from distill.tools.arguments import parse
from distill.tools.python.python_source import PythonTools
from distill.tools.resource import TaskOwned
from distill.tools.sandbox.container import ContainerLimits
from distill.tools.sandbox.sandboxes import Sandboxes
from distill.tools.session import CallLimits
from distill.tools.source import Offer, SessionLost

TOOLS = '''
import asyncio, sqlite3, threading, time
from collections import deque, namedtuple
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from email.message import Message
from enum import Enum
from pathlib import Path
from typing import Literal, NamedTuple
import numpy
import pandas
from pydantic import BaseModel
from distill.tools import tool

class Place(BaseModel):
    city: str
    zip: str | None = None

@tool
def weather(place: Place, unit: Literal["C", "F", "R", "De"] = "C", days: list[int] | None = None) -> dict:
    """Tells the weather.

    Args:
        place: Where.
        unit: Scale of the answer.
    """
    return {"city": place.city, "unit": unit, "days": days}

class Stop(Place):
    near: Place | None = None

@tool
def route(via: Stop | list[Place] | None = None) -> str:
    """Finds a way."""
    return "straight on"

@tool
def distance(to: Place | Stop | None = None) -> int:
    """Measures."""
    return 0

@tool(timeout=0.2)
async def slow() -> str:
    """Takes too long."""
    await asyncio.sleep(30)
    return "done"

@tool(timeout=0.2)
def stuck() -> str:
    """Blocks its thread."""
    time.sleep(30)
    return "done"

@tool
def shout(text: str) -> str:
    """Fails, loudly."""
    raise RuntimeError(text)

@tool
def busy() -> str:
    """Waits for somebody who does not answer."""
    raise TimeoutError("the line is busy")

@tool
async def gives_up() -> str:
    """Has a time limit of its own."""
    return await asyncio.wait_for(asyncio.sleep(30), 0.01)

@tool
def long() -> str:
    """Says a lot."""
    return "x" * 100000

@tool
def keys(before: int, count: int, after: int) -> str:
    """Says keys between other words."""
    return "x" * before + " sk-proj-" * bool(count) + ("A1b2C3d4" * 12 + " sk-proj-") * count + "y" * after

class Here:
    """Says where it became text."""

    def __str__(self):
        return "on the event loop" if threading.current_thread() is threading.main_thread() else "elsewhere"

@tool
def here() -> object:
    """Has no JSON form."""
    return Here()

@tool
async def here_async() -> object:
    """Has no JSON form either."""
    return Here()

@tool
def leaves() -> str:
    """Tries to end the program."""
    raise SystemExit(3)

@tool
def first(wanted: str) -> str:
    """Finds nothing."""
    return next(name for name in ["a", "b"] if name == wanted)

@tool
def undecodable() -> str:
    """Names a file that is not UTF-8."""
    raise ValueError("cannot read \\udcff.txt")

class Silent(Exception):
    def __str__(self):
        raise RuntimeError("no words")

@tool
def silent() -> str:
    """Fails, and fails to say how."""
    raise Silent

@dataclass
class Point:
    x: int

class Pair(NamedTuple):
    first: int

class Unit(Enum):
    KM = "km"

class Length(float):
    pass

class Shop:
    pass

mail = Message()
mail["Subject"] = "Prices"
mail.set_payload("G417 costs 7.")

def breaks_off():
    yield 1
    raise ValueError("no more")

shop = sqlite3.connect(":memory:", check_same_thread=False)
shop.row_factory = sqlite3.Row
items = shop.execute("SELECT 'G417' AS sku, 3 AS stock")

ODD = {
    "set": {"b", "a"},
    "price": {"price": Decimal("1.50")},
    "huge": [2**70, "é", date(2026, 1, 2), Point(1), Unit.KM],
    "name": {"is": "\\udcff"},
    "numpy": {"count": numpy.int64(3), "of": numpy.array([1, 2]), "none": None},
    "leaves": [Path("/x"), timedelta(seconds=3), datetime(2026, 1, 2, 3), Point(1), Unit.KM, Pair(1), Length(2.5)],
    "path": Path("/x"),
    "date": date(2026, 1, 2),
    "key": {(1, 2): 3},
    "lazy": [{"a": 1}.keys(), map(str, [1]), (n for n in [2**70, {2}]), range(2), deque([3]), "é\\n".encode()],
    "rows": items,
    "named": namedtuple("Found", "loc keys")("Rome", 3),
    "mail": {"mail": mail},
    "breaks off": breaks_off(),
    "endless": range(10**12),
    "object": [Shop()],
    "object in text": {(1, 2): Shop()},
    "pandas": pandas.DataFrame({"city": ["Rome", "Oslo", "Rome"], "sold": [1, 2, 3]}).groupby("city")["sold"].sum(),
}

@tool
def odd(kind: str) -> object:
    """Gives what JSON has no word for."""
    return ODD[kind]
'''


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> toolbox.Toolbox:
    path = tmp_path_factory.mktemp("tools") / "tools.py"
    path.write_text(TOOLS)
    return opened(path)


def opened(path: Path) -> toolbox.Toolbox:
    box = toolbox.load(
        {"agent": {"tool_timeout_s": 5, "tool_output_chars": 1000}, "runtime": {"tool_sessions": 4}}, path
    )
    asyncio.run(box.prepare([{}]))
    return box


def call(box: toolbox.Toolbox, name: str, arguments: object) -> str:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)

    async def one() -> str:
        async with box.open({}) as session:
            made = {"id": "c", "type": "function", "function": {"name": name, "arguments": text}}
            return (await session.call(made)).content

    return asyncio.run(one())


def test_the_schema_says_what_the_function_says(box: toolbox.Toolbox) -> None:
    function = box.offered({"tools": ["weather"]}).schemas[0]["function"]
    parameters = function["parameters"]
    assert function["description"] == "Tells the weather."
    assert parameters["required"] == ["place"] and parameters["additionalProperties"] is False
    assert parameters["properties"]["unit"] == {
        "default": "C",
        "description": "Scale of the answer.",
        "enum": ["C", "F", "R", "De"],
        "type": "string",
    }
    assert {"type": "null"} in parameters["properties"]["days"]["anyOf"]
    assert "title" not in json.dumps(parameters)


def test_nested_arguments_arrive_as_what_the_function_expects(box: toolbox.Toolbox) -> None:
    assert json.loads(call(box, "weather", {"place": {"city": "Rome"}, "days": [1]})) == {
        "city": "Rome",
        "unit": "C",
        "days": [1],
    }


def test_a_long_number_arrives_whole(box: toolbox.Toolbox) -> None:
    days = [2**70, -(2**63) - 1, 2**64 - 1]
    assert json.loads(call(box, "weather", {"place": {"city": "Rome"}, "days": days}))["days"] == days
    assert "not valid JSON" in call(box, "weather", f'{{"place": NaN, "days": [{2**70}]}}')
    assert "no tool" not in call(box, "weather", f'{{"days": {"9" * 5000}}}')


@pytest.mark.parametrize(
    ("name", "arguments", "fault"),
    [
        ("wether", "{}", "error: there is no tool 'wether'; the tools are: weather,"),
        ("weather", "{broken", "error: the arguments are not valid JSON"),
        ("weather", "[1]", "error: the arguments must be a JSON object"),
        ("weather", {}, 'error: the arguments do not fit the tool\'s schema: "place" is a required property'),
        ("weather", {"place": {"city": "Rome"}, "unit": "K"}, '/unit: "K" is not one of "C", "F", "R", "De"'),
        ("weather", {"place": {"city": "Rome"}, "zip": 1}, "zip"),
        ("weather", {"place": {"city": "Rome"}, "days": [1, "x"]}, '/days/1: "x" is not of type "integer"'),
        ("weather", {"place": {"city": "Rome"}, "days": "x"}, '/days: "x" is not of type "array" or "null"'),
        ("route", {"via": {"city": "Rome", "near": {"zip": 7}}}, '/via/near/zip: 7 is not of type "string" or "null"'),
        ("route", {"via": [{"town": "Rome"}]}, '/via/0: "city" is a required property'),
        ("distance", {"to": 7}, '/to: 7 is not of type "object" or "null"'),
        ("shout", {"text": "no!"}, "error: RuntimeError: no!"),
        ("leaves", {}, "error: RuntimeError: SystemExit: 3"),
        ("first", {"wanted": "c"}, "error: RuntimeError: StopIteration"),
        ("undecodable", {}, "error: ValueError: cannot read ?.txt"),
        ("silent", {}, "error: Silent"),
        ("busy", {}, "error: TimeoutError: the line is busy"),
        ("gives_up", {}, "error: TimeoutError"),
    ],
)
def test_what_goes_wrong_is_told_to_the_model(box: toolbox.Toolbox, name: str, arguments: object, fault: str) -> None:
    assert fault in call(box, name, arguments)


def test_keys_that_fit_none_of_several_schemas_are_told() -> None:
    """Such schemas come from MCP servers, and with imported conversations."""
    keys = {"propertyNames": {"anyOf": [{"const": "a"}, {"pattern": "^x-"}]}}
    call: Any = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"b": 1}'}}
    _, fault = parse(call, [{"type": "function", "function": {"name": "f", "parameters": keys}}])
    assert fault and '"b" is not valid under any of the schemas' in fault


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("set", '["a","b"]'),
        ("price", '{"price":"1.50"}'),
        ("huge", f'[{2**70}, "é", "2026-01-02", {{"x": 1}}, "km"]'),
        ("name", '{"is": "?"}'),
        ("numpy", '{"count":3,"of":[1,2],"none":null}'),
        ("leaves", '["/x","0:00:03","2026-01-02T03:00:00",{"x":1},"km",[1],2.5]'),
        ("path", "/x"),
        ("date", "2026-01-02"),
        ("key", "{(1, 2): 3}"),
        ("lazy", f'[["a"], ["1"], [{2**70}, [2]], [0, 1], [3], "é\\n"]'),
        ("rows", '[{"sku":"G417","stock":3}]'),
        ("named", '["Rome",3]'),
        ("mail", '{"mail":"Subject: Prices\\n\\nG417 costs 7."}'),
        ("breaks off", "error: RuntimeError: its result broke off: ValueError: no more"),
        ("endless", "error: RuntimeError: its result has more than 1,000,000 items, or no end"),
        (
            "object",
            "error: RuntimeError: its result holds a value of type Shop; return a dict, a list or a text",
        ),
        (
            "object in text",
            "error: RuntimeError: its result holds a value of type dict; return a dict, a list or a text",
        ),
        ("pandas", "city\nOslo    2\nRome    4\nName: sold, dtype: int64"),
    ],
)
def test_a_result_is_the_same_text_in_every_process(box: toolbox.Toolbox, kind: str, told: str) -> None:
    assert call(box, "odd", {"kind": kind}) == told


def test_a_row_may_ask_for_no_tools(box: toolbox.Toolbox) -> None:
    assert box.offered({"tools": []}).schemas == [] and len(box.offered({}).schemas) > 5


def test_a_tool_that_hangs_costs_its_timeout_only(box: toolbox.Toolbox) -> None:
    started = time.monotonic()
    assert call(box, "slow", {}) == "error: the tool did not answer within 0.2 s"
    assert call(box, "stuck", {}) == "error: the tool did not answer within 0.2 s"
    assert time.monotonic() - started < 20  # the blocked thread, 30 s, is left behind


def test_a_long_result_is_cut_and_says_so(box: toolbox.Toolbox) -> None:
    assert call(box, "long", {}).endswith("[cut: the first 1000 of 100000 characters]")


def test_no_half_of_a_key_is_left_where_a_result_is_cut(box: toolbox.Toolbox) -> None:
    said = call(box, "shout", {"text": "." * 940 + " sk-proj-" + "A1b2C3d4" * 6 + "." * 100})
    assert (
        said.startswith("error: RuntimeError: .....") and "[secret]" in said and "sk-" not in said and "A1b" not in said
    )
    assert "sk-" not in call(box, "shout", {"text": "." * 960 + " sk-proj-" + "A1b2C3d4" * 6})


@pytest.mark.parametrize(("before", "count"), [(990, 1), (0, 100), (0, 10_000), (995, 0)])
def test_no_part_of_a_key_is_left_at_the_end_of_what_is_shown(box: toolbox.Toolbox, before: int, count: int) -> None:
    """Not all of a long result is looked through."""
    text = call(box, "keys", {"before": before, "count": count, "after": 2_000_000})
    assert "A1b" not in text and "\n[cut: the first " in text and len(text) < 1100
    assert text.startswith("x" * before)


def test_no_part_of_a_very_long_secret_is_left(box: toolbox.Toolbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a certificate that an MCP server gets by `${NAME}`."""
    secret = "".join(f"{number:05d}" for number in range(6_000))
    monkeypatch.setattr(credentials, "_expanded", set())
    monkeypatch.setenv("CERTIFICATE", secret)
    credentials.expand("${CERTIFICATE}")
    said = call(box, "shout", {"text": "." * 500 + secret + "." * 100_000})
    assert "00000" not in said and "\n[cut: the first " in said
    assert call(box, "long", {}).endswith("[cut: the first 1000 of 100000 characters]"), "what has none is shown"


@pytest.mark.parametrize("name", ["here", "here_async"])
def test_a_result_becomes_text_in_the_thread_of_its_tool(box: toolbox.Toolbox, name: str) -> None:
    """Of a large one it takes seconds, in which the other rollouts go on."""
    assert call(box, name, {}) == "elsewhere"


def test_a_long_result_is_looked_through_as_far_as_it_is_shown(
    box: toolbox.Toolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For credentials, meanwhile all other rollouts wait."""
    looked_at: list[int] = []
    redact = credentials.redact
    monkeypatch.setattr(credentials, "redact", lambda text: (looked_at.append(len(text)), redact(text))[1])
    call(box, "keys", {"before": 2_000_000, "count": 0, "after": 0})
    assert looked_at and max(looked_at) <= 1000 + credentials.longest()


def test_what_is_said_of_lost_tools_holds_no_key() -> None:
    """It becomes part of the record: a client's error quotes the address, a dead container's its last output."""
    key = "sk-" + "proj-" + "aB3dE6gH9k" * 5

    @asynccontextmanager
    async def breaks() -> AsyncIterator[None]:
        raise OSError(f"no connection to https://tools.example/mcp?token={key}")
        yield

    async def use() -> None:
        owner = TaskOwned(breaks())
        try:
            await owner.get()
        finally:
            await owner.close()

    with pytest.raises(SessionLost, match=r"no connection to https://tools\.example/mcp\?token=\[secret\]$"):
        asyncio.run(use())


def test_a_judgement_needs_only_the_schemas(box: toolbox.Toolbox) -> None:
    offered = box.offered({"tools": ["shout"]}).schemas
    good = {"id": "c", "type": "function", "function": {"name": "shout", "arguments": '{"text": "a"}'}}
    assert parse(good, offered) == ({"text": "a"}, None)
    assert "no tool 'weather'" in str(parse(good | {"function": {"name": "weather", "arguments": "{}"}}, offered)[1])


def test_every_fault_of_every_tool_is_named_at_load_time(tmp_path: Path) -> None:
    path = tmp_path / "tools.py"
    path.write_text(
        "from distill.tools import tool\nimport socket\n"
        "@tool\ndef one(x):\n    '''Has no hint.'''\n"
        "@tool\ndef two(x: int):\n    pass\n"
        "@tool\ndef three(*many: int):\n    '''Takes many.'''\n"
        "@tool\ndef four(s: socket.socket):\n    '''Takes a socket.'''\n"
    )
    with pytest.raises(InputError) as caught:
        opened(path)
    faults = caught.value.faults
    assert len(faults) == 4 and all(fault.startswith("tools.py:") for fault in faults)
    assert "tools.py:3: tool 'one': parameter 'x' has no type hint" in faults[0]


def test_no_more_sources_are_asked_at_once_than_may_have_a_session() -> None:
    """Each may open a container, or start a server, to see what it offers."""
    open_now, most = 0, 0

    class Counting(PythonTools):
        async def offers(self, prompt: Prompt) -> list[Offer]:
            nonlocal open_now, most
            open_now += 1
            most = max(most, open_now)
            await asyncio.sleep(0.01)
            open_now -= 1
            return []

    sandboxes = Sandboxes(ContainerLimits())
    box = toolbox.Toolbox([Counting("", {}) for _ in range(9)], CallLimits(1, 1), sandboxes, sessions=3)
    asyncio.run(box.prepare([{}]))
    assert most == 3


def test_a_tool_name_that_does_not_exist_is_refused_before_anything_is_asked(project: Path, run_stage) -> None:  # type: ignore[no-untyped-def]
    (project / "data/seed/mine.jsonl").write_text(
        '{"messages": [{"role": "user", "content": "hi"}], "tools": ["no_such_tool"], "split": "eval"}\n'
    )
    for path in (project / "data/seed").glob("shop*.jsonl"):
        path.unlink()
    assert run_stage("prompts").returncode == 0
    done = run_stage("teacher_rollouts", DISTILL_CACHE=str(project / "empty-cache"))
    assert done.returncode == 1
    assert "data/seed/mine.jsonl:1: /tools: there is no tool 'no_such_tool'; the tools are: " in done.stderr
    assert not (project / "rollouts").exists() and not (project / "empty-cache").exists()


def test_of_hundreds_of_tools_a_model_reads_those_with_a_like_name_only() -> None:
    schema = {"type": "object", "properties": {}}
    offered = [{"type": "function", "function": {"name": f"flight_{n}", "parameters": schema}} for n in range(300)]

    def fault(name: str, count: int) -> str:
        asked = {"id": "c", "type": "function", "function": {"name": name, "arguments": "{}"}}
        return parse(asked, offered[:count])[1] or ""

    assert fault("flight.250", 300) == (
        "there is no tool 'flight.250'; there are 300, such as flight_250, flight_50, flight_25"
    )
    assert fault("%", 300) == "there is no tool '%'; there are 300" and len(fault("%" * 10**5, 300)) < 10**5 + 100
    assert fault("Flight_7", 21) == "there is no tool 'Flight_7'; there are 21, such as flight_7"
    assert fault("9", 21) == "there is no tool '9'; there are 21, such as flight_9, flight_19"
    assert fault("%", 2) == "there is no tool '%'; the tools are: flight_0, flight_1"
