"""aimock, a fake of OpenAI's API by other people: what passes here does not pass only by our own idea of the API."""

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from npm_packages import installed

HERE = Path(__file__).parent / "aimock"


class Aimock:
    """`base_url` of a running aimock, and what it was asked."""

    def __init__(self, origin: str):
        self._origin = origin
        self.base_url = f"{origin}/v1"

    def journal(self) -> list[dict[str, Any]]:
        """Every request, oldest first."""
        with urllib.request.urlopen(f"{self._origin}/__aimock/journal", timeout=300) as answer:
            found = json.load(answer)
        return found["entries"] if isinstance(found, dict) else found

    def faults(self, **rates: float) -> None:
        """Sets how often requests go wrong, by kind: drop, malformed, disconnect, rateLimit."""
        request = urllib.request.Request(
            f"{self._origin}/__aimock/chaos",
            json.dumps(rates).encode(),
            {"content-type": "application/json"},
            method="POST",
        )
        urllib.request.urlopen(request, timeout=300).close()


@contextmanager
def serving(folder: Path, fixtures: list[dict[str, Any]]) -> Iterator[Aimock]:
    """aimock on a free port with these fixtures; a request that none of them matches is refused."""
    program = installed(HERE) / "node_modules/@copilotkit/aimock/dist/aimock-cli.js"
    (folder / "fixtures.json").write_text(json.dumps({"fixtures": fixtures}))
    (folder / "aimock.json").write_text(json.dumps({"port": 0, "strict": True, "llm": {"fixtures": "./fixtures.json"}}))
    with (
        open(folder / "said.txt", "w") as said,
        subprocess.Popen(["node", program, "-c", "aimock.json"], cwd=folder, stdout=said, stderr=said) as process,
    ):
        try:
            yield Aimock(_origin(folder / "said.txt", process))
        finally:
            process.terminate()


def _origin(said: Path, process: "subprocess.Popen[bytes]") -> str:
    end = time.monotonic() + 300
    while time.monotonic() < end and process.poll() is None:
        for word in said.read_text().split():
            if word.startswith("http://"):
                return word.rstrip("/.,")
        time.sleep(0.05)
    raise AssertionError(f"aimock did not start: {said.read_text()}")
