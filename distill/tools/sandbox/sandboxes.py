"""The sandboxes of a run: an image for each row with `docker`, and a container of it for each rollout.

A container is removed with its rollout, at the latest at the end of the process; if the process was killed, by the next
run (owner.py).
"""

import asyncio
import atexit
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import Any

from distill.machine.lease import Lease
from distill.records.faults import Faults, InputError
from distill.records.ids import content_id
from distill.records.paths import cache_dir
from distill.records.types import Prompt
from distill.tools.python.threads import in_thread
from distill.tools.sandbox import engine, image, name, owner
from distill.tools.sandbox.container import ContainerLimits, Sandbox
from distill.tools.source import SessionLost


class Sandboxes:
    """`tools` are the names of the tools that run only in a sandbox."""

    def __init__(self, limits: ContainerLimits, tools: tuple[str, ...] = ()):
        self._limits, self._tools = limits, tools
        self._contents: dict[str, str] = {}
        self._images: dict[str, str] = {}
        self._open: set[Sandbox] = set()
        self._client: Any = None
        self._lock = asyncio.Lock()

    def content(self, docker: str) -> str:
        """What determines the image (see image.content), as it was when this run first looked."""
        if docker not in self._contents:
            self._contents[docker] = image.content(docker)
        return self._contents[docker]

    def version(self, prompt: Prompt) -> str | None:
        """A hash of everything about a row's sandbox that its tools depend on; their results also depend on its `docker_env`
        (agent/setting.py). None without one."""
        if not prompt.get("docker"):
            return None
        return content_id([self.content(prompt["docker"]), asdict(self._limits), prompt.get("docker_network")])

    def tools(self, prompt: Prompt) -> list[str]:
        """The tools that run only in a sandbox and that a row may use."""
        names = prompt.get("tools")
        return [tool for tool in self._tools if names is None or tool in names]

    def first_of_each_image(self, prompts: list[Prompt]) -> list[Prompt]:
        """The first prompt of each image."""
        return list({prompt["docker"]: prompt for prompt in reversed(prompts) if prompt.get("docker")}.values())[::-1]

    def check(self, prompts: list[Prompt]) -> None:
        """Raises InputError with every fault of the rows' `docker`, as `file:line: /docker: …`; the engine is not asked."""
        faults = Faults()
        for prompt in prompts:
            docker, sandboxed = prompt.get("docker"), self.tools(prompt)
            if docker is None and sandboxed:
                faults.add(
                    f"{prompt['source']}: the tool '{sandboxed[0]}' runs only in a sandbox, and this row has none; "
                    'give it "docker", or list under "tools" what it may use'
                )
            invalid = docker and name.fault(docker)
            if invalid:
                faults.add(f"{prompt['source']}: /docker: {invalid}")
            elif docker:
                with faults.collect(f"{prompt['source']}: /docker: '{docker}': "):
                    self.content(docker)
        faults.check()

    async def ready(self, prompts: list[Prompt]) -> None:
        """Builds or fetches the images of these prompts. Raises InputError with every fault."""
        faults = Faults()
        for prompt in self.first_of_each_image(prompts):
            with faults.collect(f"{prompt['source']}: /docker: "):
                await self._image(prompt["docker"])
        faults.check()

    @asynccontextmanager
    async def open(self, prompt: Prompt) -> AsyncIterator[Sandbox]:
        """The sandbox of one rollout of this prompt. Raises SessionLost when it cannot be made."""
        try:
            image_id = await self._image(prompt["docker"])
        except InputError as error:
            raise SessionLost(str(error)) from None
        limits = replace(self._limits, network=prompt.get("docker_network") or self._limits.network)
        sandbox = Sandbox(self._client, prompt["docker"], image_id, prompt.get("docker_env") or {}, limits)
        self._open.add(sandbox)
        try:
            await in_thread(sandbox.start)
            yield sandbox
        finally:
            await asyncio.shield(in_thread(self._remove, sandbox))

    async def check_engine(self) -> None:
        """Raises InputError when the engine that this run uses does not answer any more."""
        if self._client and not await in_thread(engine.answers, self._client):
            raise InputError(
                "the container engine does not answer any more; every answer that was paid for is kept: "
                f"{engine.ADVICE}, and run again to go on"
            )

    async def close(self) -> None:
        """Removes what is left, and disconnects from the engine."""
        await in_thread(self._remove_all)
        if self._client:
            await in_thread(self._client.close)

    async def _image(self, docker: str) -> str:
        async with self._lock:
            if self._client is None:
                self._client = await in_thread(engine.connect)
                atexit.register(self._at_exit)
                for container in await in_thread(owner.reap, self._client):
                    print(f"sandbox: {container} was left behind by a run that was killed, and is removed", flush=True)
            if docker not in self._images:
                async with Lease(str(cache_dir() / "sandbox"), content_id(self.content(docker), length=64)):
                    self._images[docker] = await in_thread(image.ensure, self._client, docker)
            return self._images[docker]

    def _remove(self, sandbox: Sandbox) -> None:
        sandbox.remove()
        self._open.discard(sandbox)

    def _remove_all(self) -> None:
        for sandbox in list(self._open):
            self._remove(sandbox)

    def _at_exit(self) -> None:
        # A KeyboardInterrupt in the main thread may leave a queue of the SDK locked (bugs.python.org/issue29988), and this
        # process would wait for it for ever. Everywhere else the SDK is used in other threads, which get no interrupt.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._remove_all()
