"""The functions under `@tool(sandbox=True)`: offered to rows with `docker`, and run inside of the row's container.

Their file is sent along with each call, so the image needs nothing of ours but python3, and what the file imports. Each
call is a process of its own: what is to last from one call to the next has to be in a file.
"""

import inspect
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from distill.records.faults import InputError
from distill.tools.python_source import PythonTools
from distill.tools.python_tool import Tool
from distill.tools.sandbox import runner
from distill.tools.sandbox.container import Box
from distill.tools.sandbox.exec import Exec
from distill.tools.sandbox.sandboxes import Sandboxes
from distill.tools.source import Caller, Offer, SessionLost, ToolError
from distill.tools.threads import in_thread

RUN = ["python3", "-c", "import json, sys; exec(json.loads(sys.stdin.buffer.readline()))"]
RUNNER = json.dumps(inspect.getsource(runner)).encode() + b"\n"
LOADING_S = 30.0
NOT_THERE = (126, 127)
KILLED = (137, None)
"""Exit codes of a process that may have gone with its container."""
ENDING_S = 2.0


class SandboxTools:
    """`tools` are those that run in a sandbox; `file` is where they are written. `timeout_s` is for those that have no
    time limit of their own."""

    stateful = True
    prefix = None

    def __init__(self, file: Path, tools: dict[str, Tool], timeout_s: float, sandboxes: Sandboxes):
        self.origin, self.tools, self._timeout_s = file.name, tools, timeout_s
        self._plain, self._sandboxes = PythonTools(file.name, tools), sandboxes
        self._source = file.read_text(encoding="utf-8") if tools else ""

    def group(self, prompt: dict[str, Any]) -> bool:
        """Rows with a sandbox get them, others do not."""
        return bool(prompt.get("docker"))

    async def offers(self, prompt: dict[str, Any]) -> list[Offer]:
        """The tools in the order of the file."""
        return await self._plain.offers(prompt) if prompt.get("docker") else []

    @asynccontextmanager
    async def open(self, prompt: dict[str, Any], sandbox: Box) -> AsyncIterator[Caller]:
        """The tools in the rollout's sandbox."""
        yield _Calls(self, prompt, sandbox)

    async def ready(self, prompts: list[dict[str, Any]]) -> None:
        """Loads the file in a sandbox of each image. Raises InputError where that does not work."""
        faults = []
        for prompt in self._sandboxes.one_of_each(prompts) if self.tools else []:
            try:
                async with self._sandboxes.open(prompt) as box:
                    await self.run(box, prompt, None, {})
            except (SessionLost, ToolError) as error:
                faults.append(f"{prompt['source']}: /docker: tools of {self.origin} cannot run in there: {error}")
        if faults:
            raise InputError(faults)

    async def close(self) -> None:
        """There is nothing to close."""

    async def run(self, box: Box, prompt: dict[str, Any], name: str | None, arguments: dict[str, Any]) -> Any:
        """What the function returns; without a name, what functions there are. Raises ToolError and SessionLost."""
        limit = LOADING_S if name is None else self.tools[name].timeout_s or self._timeout_s
        context = {key: prompt.get(of, or_else) for key, of, or_else in _CONTEXT}
        job = {"source": self._source, "file": self.origin, "name": name, "arguments": arguments}
        line = json.dumps({**job, "context": context, "timeout_s": limit}).encode() + b"\n"
        program = box.exec(RUN)
        try:
            said = await in_thread(_answer, {"program": program, "line": line, "box": box})
        finally:
            program.close()
        answer = json.loads(said)
        if "error" in answer:
            raise ToolError(answer["error"])
        return answer["result"]


_CONTEXT: tuple[tuple[str, str, Any], ...] = (
    ("metadata", "metadata", {}),
    ("prompt_id", "id", ""),
    ("sample", "sample", 0),
)


class _Calls:
    """The tools as one rollout calls them."""

    def __init__(self, source: SandboxTools, prompt: dict[str, Any], box: Box):
        self._source, self._prompt, self._box = source, prompt, box

    async def call(self, name: str, arguments: dict[str, Any]) -> Any:
        """What the function returns."""
        return await self._source.run(self._box, self._prompt, name, arguments)


def _answer(program: Exec, line: bytes, box: Box) -> bytes:
    """The answer of the runner; blocks."""
    from docker.errors import DockerException

    error: Exception | None = None
    said = None
    try:
        program.start()
        program.write(RUNNER + line)
        said = program.line()
    except (DockerException, OSError) as raised:
        error = raised
    if said and said.startswith(b"{"):
        return said
    code = None if error else program.exit_code
    gone = box.end(ENDING_S if code in KILLED else 0.0)
    if gone:
        raise SessionLost(gone)
    why = " ".join(f"{(said or b'').decode(errors='replace')} {program.said} {error or ''}".split())
    if "not found" in why or "no such file" in why.lower() or code in NOT_THERE:
        raise ToolError(f"the image has no python3, which @tool(sandbox=True) needs: {why}")
    raise ToolError(f"its process ended with exit code {code}: {why}" if code else why or "its process is gone")
