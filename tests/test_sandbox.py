"""Sandboxes, in real containers: what runs inside, what it may not, and that nothing is left behind."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import container_engine
import pytest
import sums
from container_engine import IMAGE
from stage_process import Running, until
from teacher_server import Asked, calls, says, serving

from distill.records import jsonl, schema
from distill.records.faults import InputError
from distill.tools import toolbox
from distill.tools.sandbox import functions, owner, port_tunnel
from distill.tools.session import ToolResult
from distill.tools.source import SessionLost
from distill.tools.toolbox import Toolbox

HERE = Path(__file__).parent
TOOLS = '''
import os, time
from pathlib import Path
from distill.tools import Context, tool

@tool(sandbox=True)
def run(code: str) -> object:
    """Runs Python code and gives what it leaves in `r`.

    Args:
        code: The code.
    """
    print('{"result": "noise"}')
    names = {}
    exec(code, names)
    return names.get("r")

@tool(sandbox=True, timeout=1)
async def stuck() -> str:
    """Never ends."""
    Path("/tmp/stuck").write_text(str(os.getpid()))
    while True:
        time.sleep(1)

@tool(sandbox=True)
def whose(context: Context | None = None) -> object:
    """Says whose it is."""
    return {context.metadata["name"], "b"} if context else None

@tool
def here() -> int:
    """Runs outside."""
    return os.getpid()
'''
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
SLEEPS = f'FROM {IMAGE}\nVOLUME /scratch\nCMD ["sleep", "1000"]\n'
SERVES = f'FROM {IMAGE}\nCOPY tiny_mcp.py /srv/\nCMD ["python3", "/srv/tiny_mcp.py", "8931"]\n'
ROW = {"source": "seed:1", "docker": "local/py", "metadata": {}, "id": "x"}


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    with container_engine.running() as found:
        yield found


@pytest.fixture
def client(host: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The engine, also for the code under test. No test leaves a container behind."""
    import docker

    monkeypatch.setenv("DOCKER_HOST", host)
    client = docker.DockerClient(base_url=host, timeout=120)
    yield client
    assert not containers(client)
    client.close()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the images `local/py` and `local/mcp`, in which the test stands."""
    project = sums.bare(tmp_path)
    (project / "tools.py").write_text(TOOLS)
    (project / "tiny_mcp.py").write_bytes((HERE / "tiny_mcp.py").read_bytes())
    (project / "Dockerfile.py").write_text(SLEEPS)
    (project / "Dockerfile.mcp").write_text(SERVES)
    monkeypatch.chdir(project)
    return project


def containers(client: Any) -> list[dict[str, Any]]:
    return client.api.containers(all=True, filters={"label": owner.OWNER})


def params(mcp: dict[str, Any] | None = None, **sandbox: Any) -> dict[str, Any]:
    return {
        "agent": {"tool_timeout_s": 60, "tool_output_chars": 1000},
        "runtime": {"tool_sessions": 4},
        "tools": {"mcp": mcp or {}, "sandbox": sandbox},
        "mcp_url": None,
    }


def in_box(work: Callable[[Toolbox], Any], row: dict[str, Any] = ROW, settings: dict[str, Any] | None = None) -> Any:
    async def opened() -> Any:
        async with toolbox.opened(settings or params(), [row]) as box:
            await box.ready([row])
            return await work(box)

    return asyncio.run(opened())


async def one(session: Any, name: str, **arguments: Any) -> ToolResult:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return await session.call({"id": "c", "type": "function", "function": function})


def ran(*codes: str, row: dict[str, Any] = ROW, settings: dict[str, Any] | None = None) -> list[str]:
    """What `run` says to each code, all in one sandbox."""

    async def work(box: Toolbox) -> list[str]:
        async with box.open(row) as session:
            return [(await one(session, "run", code=code)).content for code in codes]

    return in_box(work, row, settings)


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


# The stages


class Proxy:
    """A socket at `path` behind which the engine at `host` answers until `close`."""

    def __init__(self, host: str, path: str):
        self.path, self._host, self._open = path, host.removeprefix("unix://"), list[socket.socket]()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(path)
        self._listening.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        Path(self.path).unlink(missing_ok=True)
        for one in [self._listening, *self._open]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, far = self._listening.accept()[0], socket.socket(socket.AF_UNIX)
                far.connect(self._host)
                self._open += [near, far]
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=ends, daemon=True).start()

    def _copy(self, source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                to.sendall(data)
            to.shutdown(socket.SHUT_WR)


def solves(asked: Asked) -> Any:
    """A teacher that has Python add, then answers with what that said."""
    last = asked.body["messages"][-1]
    if last["role"] == "tool":
        return says(f"Answer: {last['content']}")
    n = sums.number(asked.body)
    code = f"r = {n} + 1" if n != 7 else "import os, signal; os.kill(1, signal.SIGKILL); import time; time.sleep(9)"
    return calls((f"c{n}", "run", json.dumps({"code": code})))


def make(project: Path, numbers: list[int], **row: Any) -> None:
    sums.make(project, 0)
    (project / "tools.py").write_text(TOOLS)
    with open(project / "data/seed/sums.jsonl", "w") as file:
        for n in numbers:
            user = {"role": "user", "content": f"what is {n} + 1?"}
            asked = {"messages": [user], "docker": "local/py", "split": "train", "metadata": {"expected_answer": n + 1}}
            file.write(json.dumps({**asked, **row}) + "\n")


def stage(project: Path, name: str, timeout: float = 600, **environment: str) -> Any:
    return Running(project, name, **environment).wait(timeout)


def rollouts(project: Path) -> list[dict[str, Any]]:
    found = [jsonl.read_json(path, "rollout") for path in (project / "rollouts").iterdir()]
    return sorted(found, key=lambda rollout: rollout["messages"][0]["content"])


def test_rollouts_in_sandboxes(client: Any, project: Path, host: str) -> None:
    make(project, [1, 2])
    with serving(solves) as server:
        sums.set_params(project, teacher__base_url=server.base_url)
        assert stage(project, "prompts").returncode == 0
        done = stage(project, "teacher_rollouts")
        assert done.returncode == 0, done.stderr
        first, second = rollouts(project)
        assert [r["messages"][-1]["content"] for r in (first, second)] == ["Answer: 2", "Answer: 3"]
        assert first["docker"]["image"] == "local/py" and not schema.faults("rollout", first)
        assert client.images.get(first["docker"]["id"]).labels["distill.content"]
        assert not containers(client) and len(server.posts) == 4
        before = {path.name: path.read_bytes() for path in (project / "rollouts").iterdir()}

        done = stage(project, "teacher_rollouts", DOCKER_HOST="unix:///no/such/engine.sock")
        assert done.returncode == 0, "what was bought needs no engine"
        assert {path.name: path.read_bytes() for path in (project / "rollouts").iterdir()} == before

        (project / "Dockerfile.py").write_text(SLEEPS + "ENV NEW=1\n")
        done = stage(project, "teacher_rollouts", DOCKER_HOST="unix:///no/such/engine.sock")
        assert done.returncode == 1 and "no container engine answers" in done.stderr, (
            "another image may say another thing"
        )
        assert stage(project, "teacher_rollouts").returncode == 0 and len(server.posts) == 4
        assert rollouts(project)[0]["versions"]["tools"] != first["versions"]["tools"]


def test_rows_that_differ_only_in_their_environment_have_results_of_their_own(client: Any, project: Path) -> None:
    """The question is one, and is asked once; what the tool says in each environment is another."""

    def teacher(asked: Asked) -> Any:
        last = asked.body["messages"][-1]
        looks = calls(("c", "run", json.dumps({"code": "import os; r = os.environ['TASK']"})))
        return says(f"Answer: {last['content']}") if last["role"] == "tool" else looks

    with serving(teacher) as server:
        for task in "ab":
            make(project, [1], docker_env={"TASK": task})
            sums.set_params(project, teacher__base_url=server.base_url)
            assert stage(project, "prompts").returncode == 0
            done = stage(project, "teacher_rollouts")
            assert done.returncode == 0, done.stderr
            assert [one["messages"][-1]["content"] for one in rollouts(project)] == [f"Answer: {task}"]
        assert len(server.posts) == 3


def test_a_container_that_dies_costs_its_rollout(client: Any, project: Path) -> None:
    make(project, [1, 7])
    with serving(solves) as server:
        sums.set_params(project, teacher__base_url=server.base_url)
        assert stage(project, "prompts").returncode == 0
        # SIGKILL of process 1 does nothing from inside, so the container's command is one that a tool can end.
        (project / "Dockerfile.py").write_text(
            f'FROM {IMAGE}\nCMD ["python3", "-c", "import os, time\\nwhile not os.path.exists(\'/tmp/end\'): time.sleep(0.05)"]\n'
        )
        (project / "tools.py").write_text(
            TOOLS.replace(
                "exec(code, names)",
                "exec(code.replace(\"os.kill(1, signal.SIGKILL)\", \"open('/tmp/end', 'w')\"), names)",
            )
        )
        done = stage(project, "teacher_rollouts")
    assert done.returncode == 0, done.stderr
    fine, lost = rollouts(project)
    assert fine["status"] == "completed" and fine["messages"][-1]["content"] == "Answer: 2"
    assert (lost["status"], lost["stop_reason"]) == ("failed", "tool_failure")
    assert "the container of 'local/py' ended with exit code 0" in lost["error"]["message"]


def test_an_engine_that_dies_stops_the_run(client: Any, project: Path, host: str, tmp_path: Path) -> None:
    """The engine dies behind a proxy that hangs up: the one of the tests is needed by others."""
    make(project, [1, 2])
    proxy = Proxy(host, str(tmp_path / "engine.sock"))

    def teacher(asked: Asked) -> Any:
        if asked.body["messages"][-1]["role"] == "user":
            proxy.close()
        return solves(asked)

    with serving(teacher) as server, proxy:
        sums.set_params(project, teacher__base_url=server.base_url)
        assert stage(project, "prompts").returncode == 0
        done = stage(project, "teacher_rollouts", DOCKER_HOST=f"unix://{proxy.path}")
        assert done.returncode == 1 and "the container engine does not answer any more" in done.stderr
        assert not (project / "rollouts").exists() and len(server.posts) == 2
        assert stage(project, "teacher_rollouts").returncode == 0 and len(server.posts) == 4, "and it went on"
    assert [rollout["status"] for rollout in rollouts(project)] == ["completed", "completed"]


def test_rows_that_can_have_no_sandbox_are_refused_before_anything_is_asked(project: Path) -> None:
    make(project, [1])
    with serving(solves) as server:
        sums.set_params(project, teacher__base_url=server.base_url)
        assert stage(project, "prompts").returncode == 0
        done = stage(project, "teacher_rollouts", DOCKER_HOST="unix:///no/such/engine.sock")
        assert done.returncode == 1 and "sums.jsonl:1: /docker: no container engine answers" in done.stderr
        make(project, [1, 2], docker="local/../../x")
        done = stage(project, "prompts")
        assert done.returncode == 1 and all(f"sums.jsonl:{n}: /docker: 'local/../../x'" in done.stderr for n in (1, 2))
        make(project, [1, 2], docker="local/none")
        assert stage(project, "prompts").returncode == 0
        done = stage(project, "teacher_rollouts")
        assert all(
            f"sums.jsonl:{n}: /docker: 'local/none': Dockerfile.none: there is no" in done.stderr for n in (1, 2)
        )
        make(project, [1], docker=None)
        assert stage(project, "prompts").returncode == 0
        done = stage(project, "teacher_rollouts")
        assert "sums.jsonl:1: the tool 'run' runs only in a sandbox, and this row has none" in done.stderr
        assert not server.posts


# What is left behind


@pytest.fixture
def busy(project: Path) -> Iterator[Callable[[], "subprocess.Popen[str]"]]:
    """Starts the stage with a tool that sleeps in a sandbox."""
    make(project, [1])
    started = []
    sleeps = calls(("c", "run", json.dumps({"code": "import time; time.sleep(600)"})))
    with serving(lambda asked: sleeps) as server:
        sums.set_params(project, teacher__base_url=server.base_url, agent__tool_timeout_s=600)
        assert stage(project, "prompts").returncode == 0

        def start() -> "subprocess.Popen[str]":
            command = [sys.executable, "-m", "stages.teacher_rollouts"]
            environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
            process = subprocess.Popen(command, cwd=project, env=environment, text=True, stdout=subprocess.PIPE)
            started.append(process)
            return process

        yield start
        for process in started:
            process.kill()
            process.wait()


def test_ctrl_c_leaves_no_container(client: Any, busy: Callable[[], "subprocess.Popen[str]"]) -> None:
    """Nor does it stand still: pressed twice, and by somebody who does not stop pressing."""
    for presses, pause_s in ((2, 0.5), (100_000, 0.005)):
        process = busy()
        until(lambda: [box for box in containers(client) if box["State"] == "running"])
        time.sleep(1)
        for _ in range(presses):
            process.send_signal(signal.SIGINT)
            time.sleep(pause_s)
            if process.poll() is not None:
                break
        process.wait(600)
        assert process.returncode and not containers(client)


def test_the_next_start_removes_what_a_kill_left_behind(
    client: Any, project: Path, busy: Callable[[], "subprocess.Popen[str]"]
) -> None:
    killed, living = busy(), None
    until(lambda: [box for box in containers(client) if box["State"] == "running"])
    killed.kill()
    killed.wait()
    (orphan,) = containers(client)
    living = busy()
    until(lambda: orphan["Id"] not in [box["Id"] for box in containers(client)] and containers(client))
    theirs = {box["Labels"][owner.OWNER] for box in containers(client)}
    assert len(theirs) == 1
    assert ran("r = 1") == ["1"], "a third run"
    assert {box["Labels"][owner.OWNER] for box in containers(client)} == theirs, "which leaves the living alone"
    living.send_signal(signal.SIGINT)
    time.sleep(0.5)
    living.send_signal(signal.SIGINT)
    living.wait()
