"""What the tool loop adds to the waits: `python -m benchmarks.tools`.

1,000 rollouts, 64 at a time, of four answers (200 ms each) and three calls of a Python tool (10 ms each), in the real
stage against a real server. Since 64 equal rollouts end together, no loop can take less than 16 rounds of 830 ms; that is
the ideal. The loop's time runs from the first request to the last answer. Exits 1 when a goal is missed.
"""

import json
import math
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.teacher import Bench, Run, run

ROLLOUTS, PLACES, ANSWERS, ANSWER_S, CALL_S = 1000, 64, 4, 0.2, 0.01
IDEAL_S = math.ceil(ROLLOUTS / PLACES) * (ANSWERS * ANSWER_S + (ANSWERS - 1) * CALL_S)
TOOL = '''
import asyncio
import time

from distill.tools import tool


@tool
{function}(a: int, b: int) -> int:
    """Adds two numbers."""
    {sleep}({seconds})
    return a + b
'''


def measured(bench: Bench, function: str, sleep: str, seconds: float) -> Run:
    """A run with a tool that sleeps."""
    with bench.ready(ROLLOUTS, latency_s=ANSWER_S, turns=ANSWERS, api_concurrency=PLACES) as (folder, origin):
        (folder / "tools.py").write_text(TOOL.format(function=function, sleep=sleep, seconds=seconds))
        done = run(folder, origin)
        report = json.loads((folder / "reports/rollouts.json").read_text())
    tool = report["tools"]["add"]
    assert (report["completed"], tool["calls"], tool["errors"]) == (ROLLOUTS, ROLLOUTS * (ANSWERS - 1), 0)
    print(f"  a call took {tool['p50_ms']:.1f} ms (half of them), {tool['p95_ms']:.1f} ms (95 %)")
    return done


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
    bench = Bench(folder)
    try:
        for name, function, sleep in (
            ("a plain tool that blocks", "def add", "time.sleep"),
            ("an async tool", "async def add", "await asyncio.sleep"),
        ):
            print(f"{name}:", flush=True)
            done = measured(bench, function, sleep, CALL_S)
            loop_s = max(done.served["sent"].values()) - done.served["first"]
            bench.line("the loop's time", loop_s / IDEAL_S, "x ideal", 1.05)
            bench.line("CPU, imports included", done.cpu_s / ROLLOUTS * 1000, "ms per rollout", 6)
    finally:
        shutil.rmtree(folder)
    sys.exit(1 if bench.missed else 0)


if __name__ == "__main__":
    main()
