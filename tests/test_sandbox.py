"""Sandboxes, in real containers: what runs inside, what it may not, and what is refused before anything is asked."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from container_engine import IMAGE
from sandbox_box import *  # noqa: F403
from sandbox_box import ROW, SLEEPS, TOOLS, containers, in_box, one, params, ran

from distill.records.faults import InputError
from distill.tools import toolbox
from distill.tools.sandbox import functions, port_tunnel
from distill.tools.source import SessionLost
from distill.tools.toolbox import Toolbox

ALIKE = '''
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Annotated
from pydantic import Field
from distill.tools import tool

@dataclass
class Point:
    x: int

class Unit(Enum):
    KM = "km"

@tool(sandbox=True)
def inside(some: Annotated[list[int], Field(default_factory=list)], n: int = Field(5), unit: Unit = Unit.KM) -> list:
    """Tells what it has."""
    return [some, n, Point(1), unit, date(2026, 1, 2)]

@tool
def outside(some: Annotated[list[int], Field(default_factory=list)], n: int = Field(5), unit: Unit = Unit.KM) -> list:
    """Tells what it has."""
    return [some, n, Point(1), unit, date(2026, 1, 2)]
'''


def test_an_image_is_built_once_per_content(client: Any, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "Dockerfile.copies").write_text(
        f'FROM {IMAGE}\nCOPY note.txt /\nRUN echo built\nCMD ["sleep", "1000"]\n'
    )
    (project / "note.txt").write_text(f"one {project}")
    row = {**ROW, "docker": "local/copies"}
    read = "r = open('/note.txt').read()"
    assert ran(read, row=row) == [f"one {project}"]
    assert "sandbox: building local/copies" in capsys.readouterr().out
    (project / "unused.txt").write_text("new")
    assert ran(read, row=row) == [f"one {project}"]
    assert "building" not in capsys.readouterr().out
    (project / "note.txt").write_text(f"two {project}")
    assert ran(read, row=row) == [f"two {project}"]
    assert "sandbox: building local/copies" in capsys.readouterr().out
    (project / "Dockerfile.copies").write_text(f"FROM {IMAGE}\nRUN ls /nowhere\n")
    with pytest.raises(InputError, match=r"seed:1: /docker: Dockerfile.copies: cannot be built"):
        ran("", row=row)


def test_a_tool_in_a_sandbox(client: Any, project: Path) -> None:
    async def work(box: Toolbox) -> None:
        async with box.open(ROW) as session:
            assert (await one(session, "run", code="r = {'a': [1, None]}")).content == '{"a":[1,null]}'
            assert (await one(session, "run", code="1 / 0")).content == "error: ZeroDivisionError: division by zero"
            undecodable = await one(session, "run", code="raise ValueError('no \\udcff')")
            assert undecodable.content == "error: ValueError: no ?"
            assert (await one(session, "run", code="raise SystemExit(3)")).content == "error: SystemExit: 3"
            dead = await one(session, "run", code="import os; os._exit(3)")
            assert dead.content == "error: its process ended with exit code 3"
            noise = "import os, sys; os.write(1, b'{}\\n' * 100000); sys.stderr.write('x' * 100000); r = 'quiet'"
            assert (await one(session, "run", code=noise)).content == "quiet"
            long = await one(session, "run", code="r = 'x' * 10**7")
            assert long.content.endswith("[cut: the first 1000 of 10000000 characters]")
            kept = "from pathlib import Path; Path('/tmp/kept').write_text('kept')"
            await one(session, "run", code=kept)
            assert (await one(session, "run", code="r = open('/tmp/kept').read()")).content == "kept"
            outside, inside = await one(session, "here"), await one(session, "run", code="import os; r = os.uname()[1]")
            assert outside.content == str(os.getpid()) and inside.content != os.uname()[1]
            (running,) = containers(client)
            assert inside.image == outside.image == client.api.inspect_container(running["Id"])["Image"]

    in_box(work)


def test_what_python_compiles_is_kept_for_the_next_call(client: Any, project: Path) -> None:
    """The image has nothing compiled, and is read-only."""
    look = "import decimal, os, time; r = os.path.getmtime(decimal.__spec__.cached)"
    first, second = ran(look, look)
    assert float(first) == float(second)


def test_a_tool_in_a_sandbox_knows_its_row(client: Any, project: Path) -> None:
    async def work(box: Toolbox) -> None:
        async with box.open(ROW | {"metadata": {"name": "a"}}) as session:
            assert (await one(session, "whose")).content == '["a","b"]'

    in_box(work)


def test_a_tool_in_a_sandbox_does_as_one_outside(client: Any, project: Path) -> None:
    """Python itself does not know what `Field` says; a stand-in for pydantic is in the image."""
    (project / "tools.py").write_text(ALIKE)
    (project / "pydantic.py").write_text("def Field(*default, **more): return default\n")
    (project / "Dockerfile.py").write_text(SLEEPS + "COPY pydantic.py /site/\nENV PYTHONPATH=/site\n")

    async def work(box: Toolbox) -> list[str]:
        async with box.open(ROW) as session:
            return [(await one(session, name)).content for name in ("inside", "outside")]

    assert in_box(work) == ['[[],5,{"x":1},"km","2026-01-02"]'] * 2


def test_the_time_limit_ends_the_process_inside(client: Any, project: Path) -> None:
    state = (
        "r = [line.split()[1] for line in open('/proc/' + open('/tmp/stuck').read() + '/status') if 'State' in line][0]"
    )

    async def work(box: Toolbox) -> None:
        async with box.open(ROW) as session:
            assert (await one(session, "stuck")).content == "error: the tool did not answer within 1 s"
            for _ in range(100):
                found = (await one(session, "run", code=state)).content
                if found == "Z" or "No such file" in found:
                    return
            raise AssertionError(f"it still runs: {found}")

    in_box(work)


def test_a_slow_start_is_not_told_to_the_model(client: Any, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of a tool is for its function: a busy machine is slow to start Python, whatever the model wrote."""
    inside = "import os, time\nif not os.path.exists('tools.py'):\n    time.sleep(3)\n"
    quick = "@tool(sandbox=True, timeout=2)\ndef run("
    (project / "tools.py").write_text(inside + TOOLS.replace("@tool(sandbox=True)\ndef run(", quick))
    assert ran("r = 1") == ["1"]

    async def lost(box: Toolbox) -> None:
        monkeypatch.setattr(functions, "LOADING_S", 1)
        async with box.open(ROW) as session:
            await one(session, "run", code="r = 1")

    with pytest.raises(SessionLost, match=r"tools.py was not loaded within 1 s"):
        in_box(lost)


def test_what_a_container_may_not(client: Any, project: Path) -> None:
    async def look(box: Toolbox) -> dict[str, Any]:
        async with box.open(ROW) as session:
            await one(session, "run", code="")
            (running,) = containers(client)
            return client.api.inspect_container(running["Id"])

    settings = params(memory="64m", cpus=0.5, pids=32)
    host = in_box(look, settings=settings)["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (64 * 2**20, 500_000_000, 32)
    assert host["ReadonlyRootfs"] and host["NetworkMode"] == "none" and "no-new-privileges" in host["SecurityOpt"]
    memory, root, volume, tmp, reach, interfaces, caps, forks = ran(
        "r = len(bytearray(2**30))",
        "open('/etc/x', 'w')",
        "r = open('/scratch/x', 'w').write('x')",
        "import os\ntry:\n    open('/tmp/x', 'wb').write(bytes(33 * 2**20))\nfinally:\n    os.remove('/tmp/x')",
        "import socket; socket.create_connection(('192.0.2.1', 80), 5)",
        "import os; r = os.listdir('/sys/class/net')",
        "r = [line.split()[1] for line in open('/proc/self/status') if line.startswith(('CapEff', 'CapBnd', 'NoNewPrivs'))]",
        "import os, time\nfor _ in range(64):\n    if not os.fork():\n        time.sleep(60)",
        settings=settings,
    )
    assert memory == "error: its process was killed, most likely because memory ran out"
    assert "BlockingIOError" in forks and "Read-only file system" in root and volume == "1"
    assert "No space left" in tmp and "unreachable" in reach and json.loads(interfaces) == ["lo"]
    assert json.loads(caps) == ["0" * 16, "0" * 16, "1"]


def test_a_network_has_to_be_asked_for(client: Any, project: Path) -> None:
    look = "import os; r = len(os.listdir('/sys/class/net'))"
    assert ran(look) == ["1"]
    assert ran(look, row={**ROW, "docker_network": "bridge"}) == ["2"]
    assert ran(look, settings=params(network="bridge")) == ["2"]
    assert ran(look, row={**ROW, "docker_network": "none"}, settings=params(network="bridge")) == ["1"]


def test_the_environment_is_the_rows(client: Any, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_API_KEY", "not-for-containers")
    row = {**ROW, "docker_env": {"MINE": "yes"}}
    (told,) = ran("import os; r = [os.environ.get('MINE'), os.environ.get('TEACHER_API_KEY')]", row=row)
    assert json.loads(told) == ["yes", None]


def test_a_server_at_localhost_is_the_one_inside(client: Any, project: Path) -> None:
    """The image has no network, and the server takes only requests that say localhost:8931."""
    rows = [{**ROW, "docker": "local/mcp", "docker_env": {"WHERE": where}, "id": where} for where in ("a", "b")]

    async def work(box: Toolbox) -> None:
        assert sorted(box.names(rows[0])) == ["die", "here", "read", "run", "stuck", "whose", "write"]
        async with box.open(rows[0]) as first, box.open(rows[1]) as second:
            assert (await one(first, "write", text="one")).content == "one in a"
            assert (await one(second, "read")).content == " in b", "a container of its own"
            assert (await one(first, "read")).content == "one in a"
            with pytest.raises(SessionLost, match="MCP server 'm'"):
                await one(first, "die")
            with pytest.raises(SessionLost):
                await one(first, "read")
            assert (await one(second, "write", text="two")).content == "two in b", "the other one lives"

    in_box(work, rows[0], params({"m": "localhost:8931"}))


def test_an_image_needs_only_what_its_rows_may_use(client: Any, project: Path) -> None:
    (project / "Dockerfile.nothing").write_text(f'FROM {IMAGE}\nRUN rm /usr/bin/python3\nCMD ["sleep", "1000"]\n')
    used = {"local/nothing": ["here"], "local/py": ["run", "here"], "local/mcp": ["read"]}
    rows = [{**ROW, "docker": docker, "tools": tools} for docker, tools in used.items()]
    rows.append({**rows[0], "tools": []})

    async def offered() -> list[list[str]]:
        async with toolbox.opened(params({"m": "localhost:8931"}), rows) as box:
            await box.ready(rows)
            return [[schema["function"]["name"] for schema in box.offered(row).schemas] for row in rows]

    assert asyncio.run(offered()) == [["here"], ["here", "run"], ["read"], []]


def test_what_cannot_work_is_said_before_anything_is_asked(
    client: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "Dockerfile.bare").write_text('FROM scratch\nCOPY tiny_mcp.py /\nCMD ["/tiny_mcp.py"]\n')
    (project / "Dockerfile.ends").write_text(f'FROM {IMAGE}\nCMD ["sh", "-c", "echo my work is done; exit 4"]\n')
    (project / "Dockerfile.nothing").write_text(f'FROM {IMAGE}\nRUN rm /usr/bin/python3\nCMD ["sleep", "1000"]\n')
    expected = {
        "local/bare": "seed:1: /docker: tools of tools.py cannot run in there: the container of 'local/bare' cannot be started",
        "local/ends": "the container of 'local/ends' ended with exit code 4: my work is done; its command must run",
        "local/nothing": "seed:1: /docker: tools of tools.py cannot run in there: the image has no python3, which",
    }
    for docker, said in expected.items():
        with pytest.raises(InputError) as caught:
            ran("", row={**ROW, "docker": docker})
        assert said in str(caught.value)
    (project / "tools.py").write_text("import jsonschema_rs\n" + TOOLS)
    with pytest.raises(
        InputError, match=r"cannot run in there: ModuleNotFoundError: No module named 'jsonschema_rs'; inst"
    ):
        ran("")
    (project / "tools.py").write_text("")
    monkeypatch.setattr(port_tunnel, "WAIT_S", 1)
    mcp = params({"m": "localhost:8931"})
    # On a busy machine Podman may lose what a program said that has ended already, and says so.
    why = r"seed:1: params.yaml: /tools/mcp/m: .*(nothing listens on port 8931|attach: read: connection reset)"
    with pytest.raises(InputError, match=why):
        in_box(lambda box: asyncio.sleep(0), settings=mcp)


def test_where_no_engine_answers_rows_with_docker_are_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/engine.sock")
    with pytest.raises(InputError, match=r"seed:1: /docker: no container engine answers at unix:///no/such"):
        ran("")
