"""A project with images, an engine that runs them, and what is called in a container: what several test files stand on."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import container_engine
import pytest
import sums
from container_engine import IMAGE

from distill.tools import toolbox
from distill.tools.sandbox import owner
from distill.tools.session import ToolResult
from distill.tools.toolbox import Toolbox

__all__ = ["client", "host", "project"]

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
