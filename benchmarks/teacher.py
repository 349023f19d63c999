"""How much it costs to buy rollouts: `python -m benchmarks.teacher [NAME …]`, or all.

Each number is taken from the real stage in a process of its own, against a server that answers after a fixed time.
`ideal` is rollouts x turns x latency / concurrency. Wall time runs from the first request to the end of the stage; CPU
time is all of the process, imports included. Exits 1 when a goal is missed.

Projects lie in TMPDIR and are removed at the end of everything: ext4 walks around the places of files that were deleted
a moment ago, which can cost more than all that is measured here.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import yaml

from distill.project.params import parse

ROOT = Path(__file__).resolve().parents[1]
TURNS, LATENCY_S = 3, 0.2
INSPECT = ROOT / ".peers/inspect/bin/python"
TOOL = '@tool\ndef {name}(a: int, b: int = 0) -> int:\n    """{words}"""\n    return a + b\n'


class Run(NamedTuple):
    """A process: its wall time in s, CPU seconds, peak memory in MB; and the server's books."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    served: dict[str, Any]


@contextmanager
def serving(latency_s: float, turns: int = TURNS) -> Iterator[str]:
    """The origin of a latency server on a free port."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, str(ROOT / "benchmarks/latency_server.py"), str(port), str(latency_s), str(turns)]
    with subprocess.Popen(command) as server:
        try:
            for _ in range(200):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def project(folder: Path, count: int, origin: str, realistic: bool, runtime: dict[str, Any]) -> None:
    """A project with `count` prompts; `realistic`: 25 tools and 20 messages, 50 kB a request."""
    (folder / "data").mkdir()
    for name in ("distill", "stages", "schemas"):
        (folder / name).symlink_to(ROOT / name)
    names = ["add", *(f"other_{n}" for n in range(24 if realistic else 0))]
    words = "Adds two numbers. " * (50 if realistic else 1)
    (folder / "tools.py").write_text(
        "\n".join(["from distill.tools import tool\n", *(TOOL.format(name=name, words=words) for name in names)])
    )
    roles = ("user", "assistant") * (9 if realistic else 0)
    talk = [{"role": role, "content": "word " * 200} for role in roles]
    with open(folder / "data/prompts.jsonl", "wb") as file:
        for n in range(count):
            ends = {"role": "system", "content": "Add."}, {"role": "user", "content": f"what is {n} + 1?"}
            row = {
                "id": f"{n:016x}",
                "split": "train",
                "source": f"s.jsonl:{n + 1}",
                "messages": [ends[0], *talk, ends[1]],
            }
            file.write(orjson.dumps(row | {"metadata": {"expected_answer": n + 1}}) + b"\n")
    params = parse((ROOT / "params.yaml").read_text())
    params["model"] = "benchmark"
    params["teacher"] |= {"n": None, "base_url": f"{origin}/v1", "demonstrations": None, "max_output_tokens": 100}
    params["runtime"] |= {"budget_usd": 1000, "prices": {"benchmark": {"input": 1, "output": 2}}, **runtime}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


class Bench:
    """A folder for projects, and the goals that were missed. `line` prints a number beside its goal."""

    def __init__(self, folder: Path):
        self._folder = folder
        self.missed = 0

    @contextmanager
    def ready(self, count: int, latency_s: float = LATENCY_S, **options: Any) -> Iterator[tuple[Path, str]]:
        """A project and a running server."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        with serving(latency_s, options.pop("turns", TURNS)) as origin:
            project(folder, count, origin, options.pop("realistic", False), options)
            yield folder, origin

    def line(self, name: str, value: float, unit: str, goal: float) -> None:
        self.missed += value > goal
        print(f"  {name:<36}{value:>9.2f} {unit:<16} goal {goal:g}{'   MISSED' if value > goal else ''}", flush=True)


def ended(process: "subprocess.Popen[bytes]", origin: str, started: float) -> Run:
    """Waits for a process; fails with what it said when it failed."""
    assert process.stdout
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    now = time.time()
    process.returncode = status
    if status:
        raise SystemExit(f"failed: {said.decode()[-2000:]}")
    with urllib.request.urlopen(f"{origin}/stats") as answer:
        served = json.load(answer)
    return Run(now - max(served["first"], started), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, served)


def run(folder: Path, origin: str, *command: str, **environment: str) -> Run:
    """Runs the teacher stage, or another command."""
    told = {**os.environ, "DISTILL_STORE": str(folder / "store"), **environment}
    command = command if command and command[0].startswith("/") else ("-m", "stages.teacher_rollouts", *command)
    words = command if command[0].startswith("/") else (sys.executable, *command)
    started = time.time()
    return ended(
        subprocess.Popen(words, cwd=folder, env=told, stdout=subprocess.PIPE, stderr=subprocess.STDOUT), origin, started
    )


def rollouts(bench: Bench) -> None:
    """500 rollouts of 3 turns, 200 ms an answer, 64 at a time"""
    with bench.ready(500, api_concurrency=64) as (folder, origin):
        done = run(folder, origin)
        sent = {f"chatcmpl-{n}": moment for n, moment in done.served["sent"].items()}
        files = [*(folder / "store").glob("??/*.json")]
        windows = [
            path.stat().st_ctime - sent[orjson.loads(path.read_bytes())["answer"]["response_id"]] for path in files
        ]
    bench.line("wall time", done.wall_s / (500 * TURNS * LATENCY_S / 64), "x ideal", 1.25)
    bench.line("CPU", done.cpu_s / 500 * 1000, "ms per rollout", 6)
    bench.line("peak memory", done.peak_mb, "MB", 120)
    hundredths = statistics.quantiles(windows, n=100)
    print(
        f"  last byte sent to file in the store: median {hundredths[49] * 1000:.1f} ms, 99 % within "
        f"{hundredths[98] * 1000:.1f} ms, longest {max(windows) * 1000:.1f} ms ({len(windows)} answers)"
    )


def realistic(bench: Bench) -> None:
    """The same with 25 tools and 20 messages, 50 kB a request"""
    with bench.ready(500, realistic=True, api_concurrency=64) as (folder, origin):
        done = run(folder, origin)
    bench.line("wall time", done.wall_s / (500 * TURNS * LATENCY_S / 64), "x ideal", 1.25)
    bench.line("CPU", done.cpu_s / 500 * 1000, "ms per rollout", 6)


def wide(bench: Bench) -> None:
    """4000 rollouts of 3 turns, 200 ms an answer, 512 at a time"""
    with bench.ready(4000, api_concurrency=512) as (folder, origin):
        done = run(folder, origin)
    bench.line("wall time", done.wall_s / (4000 * TURNS * LATENCY_S / 512), "x ideal", 1.6)
    bench.line("CPU", done.cpu_s / 4000 * 1000, "ms per rollout", 6)


def waiting(bench: Bench) -> None:
    """10,000 rollouts that all wait for their first answer, which takes 5 s"""
    with bench.ready(10_000, latency_s=5.0, turns=1, api_concurrency=10_000, timeout_s=600) as (folder, origin):
        done = run(folder, origin)
    print(f"  requests at the server at once: {done.served['most_in_flight']}")
    bench.line("peak memory", done.peak_mb, "MB", 1500)


def planning(bench: Bench) -> None:
    """What is missing of 33,400 rollouts with 100,200 stored answers; then a run of which nothing is missing"""
    with bench.ready(33_400, latency_s=0.0, api_concurrency=64) as (folder, origin):
        bought = run(folder, origin)
        started = time.time()
        planned = run(folder, origin, "--plan")
        bench.line("plan, wall", time.time() - started, "s", 3)
        bench.line("plan, peak memory", planned.peak_mb, "MB", 300)
        again = run(folder, origin)
        bench.line("requests of a second run", again.served["count"] - bought.served["count"], "", 0)
    print(
        f"  (buying them took {bought.cpu_s:.0f} CPU s, {bought.peak_mb:.0f} MB; the second run {again.cpu_s:.0f} CPU s)"
    )


def inspect(bench: Bench) -> None:
    """CPU per rollout beside inspect-ai's tool loop: same server, same machine, one after the other"""
    if not INSPECT.exists():
        raise SystemExit(f"{INSPECT} is missing: make bench-teacher installs it")
    with bench.ready(500, api_concurrency=64) as (folder, origin):
        ours = run(folder, origin)
    with bench.ready(1) as (folder, origin):
        peer = str(ROOT / "benchmarks/inspect_peer.py")
        theirs = run(folder, origin, str(INSPECT), peer, f"{origin}/v1", "500", "64", OPENAI_API_KEY="none")
    ideal = 500 * TURNS * LATENCY_S / 64
    for who, it in (("inspect-ai", theirs), ("ours", ours)):
        print(
            f"  {who}: {it.cpu_s / 500 * 1000:.1f} CPU ms per rollout, {it.wall_s / ideal:.2f} x ideal, {it.peak_mb:.0f} MB"
        )
    assert theirs.served["count"] == ours.served["count"] == 500 * TURNS
    bench.line("our CPU of theirs", ours.cpu_s / theirs.cpu_s, "", 0.1)


ALL = {bench.__name__: bench for bench in (rollouts, realistic, wide, waiting, planning, inspect)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ALL))
    chosen = parser.parse_args().names or list(ALL)
    folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
    bench = Bench(folder)
    try:
        for name in chosen:
            print(f"{name}: {ALL[name].__doc__}", flush=True)
            ALL[name](bench)
    finally:
        shutil.rmtree(folder)
    sys.exit(1 if bench.missed else 0)


if __name__ == "__main__":
    main()
