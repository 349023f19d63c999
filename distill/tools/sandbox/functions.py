"""The functions under `@tool(sandbox=True)`: offered to rows with `docker`, and run inside the row's container.

Their file is sent with each call, so the image needs only python3 and what the file imports. Each call is a process of
its own: what must last from one call to the next has to be in a file.
"""

import asyncio
import inspect
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from distill.records.faults import Faults
from distill.records.types import Prompt
from distill.tools.python.python_source import offers, tool_context
from distill.tools.python.python_tool import Tool
from distill.tools.python.threads import in_thread
from distill.tools.sandbox import runner
from distill.tools.sandbox.container import Sandbox
from distill.tools.sandbox.exec import Exec
from distill.tools.sandbox.name import dockerfile_name
from distill.tools.sandbox.sandboxes import Sandboxes
from distill.tools.source import Caller, Offer, SessionLost, Source, ToolError
from distill.tools.told import told

START = """\
import encodings, os, sys
if not os.path.exists(encodings.__spec__.cached or ""):
    sys.pycache_prefix = "/tmp/.pycache"
import json
exec(json.loads(sys.stdin.buffer.readline()))
"""
"""An image whose Python was never compiled cannot keep what it compiles, since only /tmp is writable: it is kept there."""
RUN = ["python3", "-c", START]
RUNNER = json.dumps(inspect.getsource(runner)).encode() + b"\n"
LOADING_S = 60.0
"""How long the file may take to load, which depends on how busy the machine is: a limit of a tool is for its function."""
NOT_FOUND = (126, 127)
"""Exit codes of a shell for a program that it cannot run."""
KILLED = (137, None)
"""Exit codes of a process that may have ended with its container."""
ENDING_S = 2.0
"""How long to wait until the engine knows that a container has ended."""


class SandboxTools(Source):
    """The source of these functions. `tools` are those that run in a sandbox, `file` is where they are defined;
    `timeout_s` is for those without a time limit of their own."""

    stateful = keeps_time = True

    def __init__(self, file: Path, tools: dict[str, Tool], timeout_s: float, sandboxes: Sandboxes):
        self.origin, self.tools, self._timeout_s, self._sandboxes = file.name, tools, timeout_s, sandboxes
        self._source = file.read_text(encoding="utf-8") if tools else ""

    def group(self, prompt: Prompt) -> bool:
        """Whether the row has a sandbox: only such rows are offered these tools."""
        return bool(prompt.get("docker"))

    async def offers(self, prompt: Prompt) -> list[Offer]:
        """The tools in the order of the file."""
        return offers(self.tools) if prompt.get("docker") else []

    @asynccontextmanager
    async def open(self, prompt: Prompt, sandbox: Sandbox) -> AsyncIterator[Caller]:
        """The tools in the rollout's sandbox."""
        yield partial(self.run, sandbox, prompt)

    async def ready(self, prompts: list[Prompt]) -> None:
        """Loads the file in a sandbox of each image of rows that may use one of the tools. Raises InputError where that
        fails."""
        faults = Faults()
        users = [prompt for prompt in prompts if self._sandboxes.tools(prompt)]
        for prompt in self._sandboxes.first_of_each_image(users):
            try:
                async with self._sandboxes.open(prompt) as sandbox:
                    await self.run(sandbox, prompt, None, {})
            except (SessionLost, ToolError) as error:
                where = dockerfile_name(prompt["docker"]) or f"an image that you make of {prompt['docker']}"
                missing = f"; install it in {where}, or import it in the function that uses it"
                advice = missing if "ModuleNotFoundError" in str(error) else ""
                faults.add(f"{prompt['source']}: /docker: tools of {self.origin} cannot run in there: {error}{advice}")
        faults.check()

    async def run(self, sandbox: Sandbox, prompt: Prompt, name: str | None, arguments: dict[str, Any]) -> str:
        """The result of a function as text; without a name, the names of all. Raises ToolError and SessionLost."""
        limit = LOADING_S if name is None else self.tools[name].timeout_s or self._timeout_s
        most = limit + 2 * LOADING_S  # the engine has to start a process first
        job = {
            "source": self._source,
            "file": self.origin,
            "name": name,
            "arguments": {**(self.tools[name].parameters.defaults() if name else {}), **arguments},
            "context": vars(tool_context(prompt)),
            "loading_s": LOADING_S,
            "timeout_s": limit,
        }
        line = json.dumps(job).encode() + b"\n"
        program = sandbox.exec(RUN)
        try:
            async with asyncio.timeout(most):
                return await in_thread(_result, program, line, sandbox)
        except TimeoutError:
            raise SessionLost(f"the container of '{sandbox.name}' did not answer within {most:g} s") from None
        finally:
            program.close()


def _result(program: Exec, job: bytes, sandbox: Sandbox) -> str:
    """The result of a job as text; blocks. Raises ToolError and SessionLost."""
    answer = json.loads(_reply(program, job, sandbox))
    if "lost" in answer:
        raise SessionLost(answer["lost"])
    if "error" in answer:
        raise ToolError(answer["error"])
    return told(answer["result"])


def _reply(program: Exec, job: bytes, sandbox: Sandbox) -> bytes:
    """The runner's reply to a job; blocks."""
    from docker.errors import DockerException

    error: Exception | None = None
    reply = None
    try:
        program.start()
        program.write(RUNNER + job)
        reply = program.line()
    except ValueError as too_long:
        raise ToolError(str(too_long)) from None
    except (DockerException, OSError) as raised:
        error = raised
    if reply and reply.startswith(b"{"):
        return reply
    code = None if error else program.exit_code
    gone = sandbox.end(ENDING_S if code in KILLED else 0.0)
    if gone:
        raise SessionLost(gone)
    reason = " ".join(f"{(reply or b'').decode(errors='replace')} {program.stderr} {error or ''}".split())
    if "not found" in reason or "no such file" in reason.lower() or code in NOT_FOUND:
        raise ToolError(f"the image has no python3, which @tool(sandbox=True) needs: {reason}")
    raise ToolError(f"its process ended with exit code {code}: {reason}" if code else reason or "its process is gone")
