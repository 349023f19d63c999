"""The sandboxes of a run: which image each row gets, and a container of it for each rollout that needs one.

Always removed: with the rollout; at the end of the process, whatever ended the rollout; and, when the process was
killed, by whoever starts next (owner.py).
"""

import asyncio
import atexit
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from distill.records.faults import InputError
from distill.records.ids import content_id
from distill.records.lease import Lease
from distill.records.paths import cache_dir
from distill.tools.sandbox import engine, image, name, owner
from distill.tools.sandbox.container import Box, Limits
from distill.tools.source import SessionLost
from distill.tools.threads import in_thread


class Sandboxes:
    """`root` has the Dockerfiles; `tools` are the names of those that run in a sandbox only."""

    def __init__(self, limits: Limits, root: Path, tools: tuple[str, ...] = ()):
        self._limits, self._root, self._tools = limits, root, tools
        self._contents: dict[str, str] = {}
        self._images: dict[str, str] = {}
        self._boxes: set[Box] = set()
        self._client: Any = None
        self._one = asyncio.Lock()

    def content(self, docker: str) -> str:
        """What the image is made of (see image.content), as it was when this run first looked."""
        if docker not in self._contents:
            self._contents[docker] = image.content(docker, self._root)
        return self._contents[docker]

    def version(self, prompt: dict[str, Any]) -> str | None:
        """A hash of what the results of a row's tools depend on, because they ran in its sandbox; None without one."""
        if not prompt.get("docker"):
            return None
        return content_id([self.content(prompt["docker"]), asdict(self._limits), prompt.get("docker_network")])

    def one_of_each(self, prompts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The first prompt of each image."""
        return list({prompt["docker"]: prompt for prompt in reversed(prompts) if prompt.get("docker")}.values())[::-1]

    def faults(self, prompts: list[dict[str, Any]]) -> list[str]:
        """What is wrong with the rows' `docker`, without asking the engine: as `file:line: …`, and `Dockerfile.x:line: …`."""
        found = []
        for prompt in prompts:
            docker, wanted = prompt.get("docker"), prompt.get("tools")
            boxed = [tool for tool in self._tools if wanted is None or tool in wanted]
            if docker is None and boxed:
                found.append(
                    f"{prompt['source']}: the tool '{boxed[0]}' runs in a sandbox only, and this row has none: "
                    'give it "docker", or list under "tools" what it may use'
                )
            problem = docker and name.fault(docker)
            if problem:
                found.append(f"{prompt['source']}: /docker: {problem}")
            elif docker:
                try:
                    self.content(docker)
                except InputError as error:
                    found += [f"{prompt['source']}: /docker: '{docker}': {fault}" for fault in error.faults]
        return found

    async def ready(self, prompts: list[dict[str, Any]]) -> None:
        """Builds or fetches the images of these prompts. Raises InputError with every fault."""
        faults = []
        for prompt in self.one_of_each(prompts):
            try:
                await self._image(prompt["docker"])
            except InputError as error:
                faults += [f"{prompt['source']}: /docker: {fault}" for fault in error.faults]
        if faults:
            raise InputError(dict.fromkeys(faults))

    @asynccontextmanager
    async def open(self, prompt: dict[str, Any]) -> AsyncIterator[Box]:
        """The sandbox of a rollout of this prompt. Raises SessionLost when there can be none."""
        try:
            found = await self._image(prompt["docker"])
        except InputError as error:
            raise SessionLost(str(error)) from None
        limits = replace(self._limits, network=prompt.get("docker_network") or self._limits.network)
        box = Box(self._client, prompt["docker"], found, prompt.get("docker_env") or {}, limits)
        self._boxes.add(box)
        try:
            await in_thread(box.start, {})
            yield box
        finally:
            await asyncio.shield(in_thread(self._remove, {"box": box}))

    async def close(self) -> None:
        """Removes what is left, and parts with the engine."""
        await in_thread(self._part, {})

    async def _image(self, docker: str) -> str:
        async with self._one:
            if self._client is None:
                self._client = await in_thread(engine.connect, {})
                atexit.register(self._at_exit)
                for gone in await in_thread(owner.reap, {"client": self._client}):
                    print(f"sandbox: {gone} was left behind by a run that was killed, and is removed", flush=True)
            if docker not in self._images:
                async with Lease(str(cache_dir() / "sandbox"), content_id(self.content(docker), length=64)):
                    asked = {"client": self._client, "docker": docker, "root": self._root}
                    self._images[docker] = await in_thread(image.ensure, asked)
            return self._images[docker]

    def _remove(self, box: Box) -> None:
        box.remove()
        self._boxes.discard(box)

    def _remove_all(self) -> None:
        for box in list(self._boxes):
            self._remove(box)

    def _part(self) -> None:
        self._remove_all()
        if self._client:
            self._client.close()

    def _at_exit(self) -> None:
        # A KeyboardInterrupt in the main thread may leave a queue of the SDK's locked (bugs.python.org/issue29988), and
        # then this process would wait for it for ever. Elsewhere the SDK is used in other threads, which get none.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._remove_all()
