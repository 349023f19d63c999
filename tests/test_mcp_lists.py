"""What MCP servers list: what is offered of it and remembered, and what is refused before anything is asked."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import sums
from mcp_box import *  # noqa: F403
from mcp_box import SECRET, SERVER, STDIO, params, says, with_tools
from stage_process import Running
from teacher_server import serving

from distill.project.params import load as load_params
from distill.project.params import parse
from distill.records import jsonl
from distill.records.faults import InputError
from distill.tools import toolbox
from distill.tools.mcp import mcp_session
from distill.tools.mcp.tool_lists import ToolLists

PERSON = ["-c", "user.name=Me", "-c", "user.email=me@example.com"]


def test_same_names_get_prefixes_and_lists_narrow_the_tools(http: str) -> None:
    async def work(box: toolbox.Toolbox) -> list[str]:
        return [*box.names({}), *(await says(box, ("one_plus", {"a": 1}), ("two_plus", {"a": 2})))]

    one_server, two = (
        STDIO | {"allow": ["p*"], "deny": ["picture"]},
        {"url": f"http://{http}/mcp", "allow": ["plus", "read"]},
    )
    assert with_tools(params(one=one_server, two=two), work) == ["pid", "one_plus", "two_plus", "read", "2", "3"]


def test_what_is_allowed_and_does_not_exist_is_refused(http: str) -> None:
    """Misspelled, or as the model calls it: the teacher would be asked, and paid, without that tool."""

    async def nothing(box: toolbox.Toolbox) -> None:
        raise AssertionError

    with pytest.raises(InputError) as caught:
        with_tools(params(notes={"url": http, "allow": ["p*", "notes_read", "wr1te"]}), nothing)
    first, second = caught.value.faults
    assert first.startswith(
        "params.yaml: /tools/mcp/notes/allow: it has no tool 'notes_read'; it has: break_page, die, "
    )
    assert second.startswith("params.yaml: /tools/mcp/notes/allow: it has no tool 'wr1te'; it has: ")
    with pytest.raises(InputError, match=r"/tools/mcp/s: it has no tools$"):
        with_tools(params(s={"command": sys.executable, "args": ["-c", UNLISTED, "has none"]}), nothing)


def test_allow_and_deny_count_for_what_is_remembered(http: str, tmp_path: Path) -> None:
    lists = ToolLists(tmp_path, "v1")

    async def names(box: toolbox.Toolbox) -> list[str]:
        return box.names({})

    async def ready(box: toolbox.Toolbox) -> list[str]:
        await box.ready([{}])
        return box.names({})

    assert with_tools(params(s={"url": http, "allow": ["plus", "pid"]}), names, lists) == ["pid", "plus"]
    narrower, wider = {"url": http, "allow": ["pid"]}, {"url": http, "allow": ["p*"]}
    for look in (names, ready):
        assert with_tools(params(s=narrower), look, lists) == ["pid"]
        assert with_tools(params(s=wider), look, lists) == ["picture", "pid", "plus"]


def test_what_was_offered_is_offered_again_without_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = ToolLists(tmp_path, "v1")
    monkeypatch.setenv("CHANGED_FILE", str(tmp_path / "changed"))
    server = STDIO | {"env": {"CHANGED": "${CHANGED_FILE}"}}

    async def names(box: toolbox.Toolbox) -> list[str]:
        return box.names({})

    before = with_tools(params(s=server), names, lists)
    assert "plus" in before
    assert with_tools(params(s=server | {"command": "/no/such/program"}), names, lists) == before
    (tmp_path / "changed").touch()
    assert with_tools(params(s=server), names, lists) == before

    async def ready(box: toolbox.Toolbox) -> None:
        await box.ready([{}])

    with pytest.raises(InputError, match=r"tools/mcp/s: its tools changed since .*gone: plus"):
        with_tools(params(s=server), ready, lists)
    anew = ToolLists(tmp_path, "v1", anew=True)
    with pytest.raises(InputError, match="cannot be reached"):
        with_tools(params(s=server | {"command": "/no/such/program"}), names, anew)
    assert with_tools(params(s=server), names, lists) == before, "one that failed has forgotten nothing"
    assert "plus" not in with_tools(params(s=server), names, anew), "what `make tools` does"
    with_tools(params(s=server), ready, lists)


def test_a_fresh_clone_offers_what_was_offered_when_its_answers_were_bought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list is in git. The server has lost a tool since then: the teacher is not asked anew unasked."""
    project = sums.bare(tmp_path)
    sums.make(project, 2, tools__mcp={"s": STDIO | {"env": {"CHANGED": "${CHANGED_FILE}"}}})
    monkeypatch.setenv("CHANGED_FILE", str(tmp_path / "changed"))
    monkeypatch.setenv("DISTILL_STORE", str(tmp_path / "store"))
    assert Running(project, "prompts").wait().returncode == 0
    with serving(sums.adds) as books:
        sums.set_params(project, teacher__base_url=books.base_url)
        done = Running(project, "teacher_rollouts", TEACHER_API_KEY="").wait()
    assert done.returncode == 0, done.stderr
    [offered] = jsonl.read_json(project / "reports/tool_lists.json", "tool_lists").values()
    assert "plus" in {tool["name"] for tool in offered}
    for command in (["init", "-q"], ["add", "-A"], [*PERSON, "commit", "-qm", "two rollouts"]):
        subprocess.run(["git", *command], cwd=project, check=True)
    (tmp_path / "changed").touch()
    (project / "reports/tool_lists.json").unlink()  # DVC removes outputs before it runs a stage
    empty = {"DISTILL_STORE": str(tmp_path / "empty"), "TEACHER_API_KEY": ""}
    done = Running(project, "teacher_rollouts", **empty).wait()
    assert done.returncode == 1 and "its tools changed since" in done.stderr and "gone: plus" in done.stderr


def test_what_is_wrong_is_said_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_TOKEN", SECRET)

    async def nothing(box: toolbox.Toolbox) -> None:
        raise AssertionError

    with pytest.raises(InputError, match=r"params.yaml: /tools/mcp/s: \$\{NOT_SET_ANYWHERE\} is not set"):
        with_tools(params(s=STDIO | {"env": {"A": "${NOT_SET_ANYWHERE}"}}), nothing)
    with pytest.raises(InputError, match=r"MCP server 's' cannot be reached") as caught:
        with_tools(params(s={"url": "http://localhost:9/${TEST_TOKEN}"}, t={"command": "/no/${TEST_TOKEN}"}), nothing)
    assert len(caught.value.faults) == 2 and SECRET not in str(caught.value)
    with pytest.raises(InputError) as caught:
        with_tools(params(mcp_url=["localhost:1", "x/${GONE}"], mcp={"url": "y", "drop": ["("]}), nothing)
    assert caught.value.faults == [
        "params.yaml: /tools/mcp/mcp/drop: '(' is not a valid pattern: missing ): (; see the syntax of RE2",
        "params.yaml: /mcp_url/1: ${GONE} is not set, neither in the environment nor in .env",
        "params.yaml: /mcp_url/0: it is called 'mcp', and so is /tools/mcp/mcp; name both under tools.mcp",
    ]
    addresses = {"a": "http://[::1:8931/mcp", "b": "localhost:89310", "c": "localhost:8931abc"}
    with pytest.raises(InputError) as caught:
        with_tools(params(**addresses), nothing)
    assert [fault.partition(" is not a valid URL: ")[0] for fault in caught.value.faults] == [
        "params.yaml: /tools/mcp/a: 'http://[::1:8931/mcp'",
        "params.yaml: /tools/mcp/b: 'http://localhost:89310/mcp'",
        "params.yaml: /tools/mcp/c: 'http://localhost:8931abc/mcp'",
    ]
    with pytest.raises(InputError, match=r"no luck today"):
        with_tools(params(s={"command": "sh", "args": ["-c", "echo no luck today >&2; exit 1"]}), nothing)


def test_a_server_that_refuses_is_named_with_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_TOKEN", SECRET)

    async def nothing(box: toolbox.Toolbox) -> None:
        raise AssertionError

    with serving(lambda asked: (401, {}, {}), gets=lambda asked: (401, {}, {})) as door:
        address = door.base_url.removesuffix("/v1")
        with pytest.raises(InputError) as caught:
            with_tools(params(s=address + "/mcp?key=${TEST_TOKEN}"), nothing)
    [fault] = caught.value.faults
    assert fault.endswith(f"(HTTP 401 X at {address}/mcp?key=${{TEST_TOKEN}})"), fault


UNLISTED = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    reply = {"error": {"code": -32603, "message": "no list today"}}
    if asked["method"] == "initialize":
        info = {"name": "x", "version": "1"}
        reply = {"result": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}}
    if asked["method"] == "tools/list" and sys.argv[1] != "refuses":
        tools = {"goes on": {"tools": [], "nextCursor": "on"}, "has none": {"tools": []}}
        reply = {"result": tools.get(sys.argv[1], {"tools": [{"name": "a"}]})}
    if "id" in asked and (asked["method"], sys.argv[1]) != ("tools/list", "hangs"):
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **reply}), flush=True)
"""


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("hangs", "did not list its tools within 2 s"),
        ("goes on", "did not list its tools within 2 s"),
        ("refuses", "does not list its tools: MCPError: no list today"),
        ("mumbles", "does not list its tools: ValidationError: .*Field required"),
    ],
)
def test_a_server_that_lists_no_tools_is_named(how: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_session, "LIST_S", 2.0)

    async def nothing(box: toolbox.Toolbox) -> None:
        raise AssertionError

    with pytest.raises(InputError, match=f"params.yaml: /tools/mcp/s: MCP server 's' {said}"):
        with_tools(params(s={"command": sys.executable, "args": ["-c", UNLISTED, how]}), nothing)


def test_a_name_that_a_prefix_makes_too_long_is_refused(http: str) -> None:
    async def nothing(box: toolbox.Toolbox) -> None:
        raise AssertionError

    with pytest.raises(InputError, match=rf"seed:1: the name '{'s' * 60}_plus' has more than 64 characters"):
        with_tools(params(**{"s" * 60: http, "t": http}), nothing)


def test_servers_are_written_as_the_schema_says(tmp_path: Path) -> None:
    good = parse((Path(SERVER).parents[1] / "params.yaml").read_text())
    path = tmp_path / "params.yaml"
    for mcp in ({"a": "localhost:8931"}, {"a": {"url": "http://x/mcp", "headers": {"k": "${V}"}}}, {"a": STDIO}):
        path.write_text(json.dumps(good | {"tools": {**good["tools"], "mcp": mcp}, "mcp_url": ["localhost:8931"]}))
        load_params(path)
    for mcp, said in (
        ({"a": {}}, "/a: needs 'url' or 'command'"),
        ({"a": {"url": "x", "command": "y"}}, "/a: has 'url' and 'command', which exclude each other"),
        ({"a": {"url": "x", "args": []}}, "/a: "),
        ({"a b": "x"}, ': "a b" does not match'),
        ({"a": {"urll": "x"}}, "/a: unknown key 'urll', did you mean 'url'"),
        ({"a": {"url": "x", "isolation": "none"}}, '/a/isolation: "none" is not one of "rollout", "shared"'),
    ):
        path.write_text(json.dumps(good | {"tools": {**good["tools"], "mcp": mcp}}))
        with pytest.raises(InputError) as caught:
            load_params(path)
        assert f": /tools/mcp{said}" in str(caught.value)


def test_the_manuals_servers_are_read_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import re

    import yaml

    from distill.tools.mcp.mcp_server import servers

    root = Path(SERVER).parents[1]
    (block,) = re.findall(r"(?s)```yaml\n(tools:.*?)```", (root / "docs/tools.md").read_text())
    path = tmp_path / "params.yaml"
    whole = parse((root / "params.yaml").read_text())
    path.write_text(json.dumps(whole | yaml.safe_load(block)))  # in place of the whole group `tools`
    monkeypatch.setenv("SEARCH_KEY", "key")
    browser, files, search = servers(load_params(path))
    assert browser.url == "http://localhost:8931/mcp" and browser.isolation == "rollout"
    assert files.allows("read_file") and not files.allows("write_file")
    assert search.isolation == "shared" and search.headers == {"Authorization": "Bearer ${SEARCH_KEY}"}
