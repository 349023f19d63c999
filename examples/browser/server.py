"""The browser as an MCP server: `python -m browser.server`, one process with a Chromium of its own per rollout.

It serves site/ on a free loopback port and starts Playwright's MCP server over it. Chromium knows http://trials.example
as that port and no other name or address, so a rollout can reach nothing else, and prompts need no port.
`--install` fetches what package-lock.json names; `--port 8931` speaks HTTP in place of standard input and output: one
Chromium, with a context of its own for each session.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
HOST = "trials.example"
MCP = HERE / "node_modules/@playwright/mcp/cli.js"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OLDEST_NODE = 20
ARGUMENTS = (
    # Chromium's own errands to its maker's hosts; the rules below would refuse them, one by one.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
)


def missing(installing: bool = False) -> list[str]:
    """What this machine lacks, each with what to do."""
    faults = []
    node = shutil.which("node")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout if node else ""
    number = re.match(r"v(\d+)", version)
    if number is None or int(number[1]) < OLDEST_NODE:
        have = f"version {version.strip()[1:]} is too old" if number else "it is missing"
        faults.append(f"Node.js {OLDEST_NODE} or newer is needed, and {have}; on Debian 13: apt-get install nodejs npm")
    if installing and shutil.which("npm") is None:
        faults.append("npm is missing; on Debian: apt-get install npm")
    if browser() is None:
        faults.append("Chromium is missing; on Debian: apt-get install chromium")
    if not installing and not MCP.is_file():
        faults.append("Playwright's MCP server is not installed; type: python -m browser.server --install")
    return faults


def browser() -> str | None:
    """The path of the machine's Chromium."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def install() -> None:
    """Installs exactly what package-lock.json names, without a browser of Playwright's own."""
    told = {**os.environ, "PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD": "1"}
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(command, cwd=HERE, env=told, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: npm cannot install what {HERE.name}/package-lock.json names: {done.stderr.strip()[-600:]}")


class Pages(SimpleHTTPRequestHandler):
    """The files of site/. Nothing may be cached: a page is asked for as often as it is looked at."""

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def site() -> Iterator[int]:
    """site/ on a free loopback port, which is given."""
    listener = ThreadingHTTPServer(("127.0.0.1", 0), partial(Pages, directory=str(HERE / "site")))
    listener.daemon_threads = True
    threading.Thread(target=listener.serve_forever, args=(0.1,), daemon=True).start()
    try:
        yield listener.server_port
    finally:
        listener.server_close()


def settings(site_port: int, folder: Path, port: int | None) -> dict[str, Any]:
    """Playwright's configuration: what it writes stays in `folder`."""
    rules = f"MAP {HOST} 127.0.0.1:{site_port}, MAP * ~NOTFOUND"
    return {
        "browser": {
            "browserName": "chromium",
            "isolated": True,
            "launchOptions": {
                "headless": True,
                "executablePath": browser(),
                "chromiumSandbox": os.geteuid() != 0,  # Chromium refuses to have one as root
                "args": [*ARGUMENTS, f"--host-resolver-rules={rules}"],
            },
        },
        "network": {"allowedOrigins": [f"http://{HOST}"]},
        "outputDir": str(folder / "output"),
        "codegen": "none",
        "webmcp": False,
        "imageResponses": "omit",
        **({"server": {"port": port}} if port else {}),
    }


def serve(port: int | None) -> int:
    """Runs Playwright's server until it ends, on standard input and output unless there is a port."""
    with site() as site_port, tempfile.TemporaryDirectory(prefix="browser-") as folder:
        config = Path(folder) / "config.json"
        config.write_text(json.dumps(settings(site_port, Path(folder), port)))
        told = {**os.environ, "PLAYWRIGHT_MCP_PING_TIMEOUT_MS": "0", "NO_COLOR": "1", "FORCE_COLOR": "0"}
        with subprocess.Popen(["node", str(MCP), "--config", str(config)], env=told, cwd=folder) as process:
            try:
                return process.wait()
            finally:
                process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m browser.server", description=__doc__)
    parser.add_argument("--install", action="store_true", help="fetch Playwright's MCP server")
    parser.add_argument("--port", type=int, help="speak HTTP there, on loopback")
    options = parser.parse_args()
    faults = missing(options.install)
    if faults:
        sys.exit("\n".join(f"error: {fault}" for fault in faults))
    if options.install:
        install()
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sys.exit(serve(options.port))


if __name__ == "__main__":
    main()
