"""`make bench-dataset`: what filtering costs, in CPU time, against a bare `orjson.loads` + `dumps` loop over the same file,
and against datatrove (dataset_peer.py).

The real stage, in a process of its own, over generated rows (dataset_rows.py) in a temporary folder. ROWS=1000000 asks
for another number; 4 GB of disk for a million, twice. No more than the first 20,000 go to datatrove.
"""

import itertools
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from benchmarks.dataset_rows import write
from distill.project import params
from distill.records import jsonl

ROOT = Path(__file__).resolve().parents[1]
BARE = "import orjson, sys\nfor line in open(sys.argv[1], 'rb'): orjson.dumps(orjson.loads(line))"
PEER = ROOT / ".peers/datatrove/bin/python"
PLAIN = {"length": "off", "tools_shown": "off", "own": "off"}
"""All default checks but those that tokenise."""
BESIDE_PEER, TOKENISED = 20_000, 10_000
"""Rows, at most."""


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory(prefix="distill-bench-") as name:
        folder = Path(name)
        (folder / "data").mkdir()
        source = folder / "data/converted.jsonl"
        if len(sys.argv) > 2:
            source.symlink_to(Path(sys.argv[2]).resolve())
        else:
            write(source, count)
        _held_out(folder / "data/prompts.jsonl")
        print(f"{count} rows, {source.stat().st_size / count:.0f} bytes each")
        loop = ["-c", BARE, str(source)]
        bare = min(_cpu(loop, folder)[0] for _ in range(2)) - _cpu(["-c", "import orjson"], folder)[0]
        start = _cpu(["-c", "import distill.dataset.shard_rows, distill.dataset.funnel"], folder)[0]
        print(f"bare loop: {bare / count * 1e6:.1f} us a row")
        one = _told("1 worker", _filter(folder, 1, PLAIN), count, bare, start)
        two = _told("2 workers", _filter(folder, 2, PLAIN), count, bare, start)
        print(
            f"2 workers: {one / two:.2f} x as fast as one (goal: 1.7), "
            f"where two bare loops at once are {_side_by_side(loop, folder):.2f} x as fast as one after the other"
        )
        near = _filter(folder, 1, PLAIN | {"near_duplicate": "reject"})
        _told("1 worker, near-duplicates too", near, count, bare, start)
        _beside_peer(folder, _head(source, BESIDE_PEER), start)
        _tokenised(folder, _head(source, TOKENISED))


def _side_by_side(arguments: list[str], folder: Path) -> float:
    """What a second core is worth on this machine now: how much faster two processes are at once than by turns."""
    by_turns = sum(_cpu(arguments, folder)[1] for _ in range(2))
    begun = time.monotonic()
    with ThreadPoolExecutor(2) as both:
        list(both.map(lambda _: _cpu(arguments, folder), range(2)))
    return by_turns / (time.monotonic() - begun)


def _head(source: Path, most: int) -> int:
    """Cuts the file after that many rows, and says how many it has."""
    with open(source, "rb") as file:
        head = list(itertools.islice(file, most))
    source.unlink()  # it may be a link to a file of the user's
    source.write_bytes(b"".join(head))
    return len(head)


def _beside_peer(folder: Path, count: int, start: float) -> None:
    """The same rows by both, by turns, and whether the same ones stay."""
    peer = ["-m", "benchmarks.dataset_peer", str(folder)]
    their_start = _cpu(["-c", "import benchmarks.dataset_peer"], folder, PEER)[0]
    ours, theirs = [], []
    for _ in range(3):
        ours.append(_filter(folder, 1, PLAIN)[0] - start)
        shutil.rmtree(folder / "peer", ignore_errors=True)
        theirs.append(_cpu(peer, folder, PEER)[0] - their_start)
    print(
        f"{count} rows: ours {min(ours) / count * 1e6:.0f} us of CPU a row, datatrove {min(theirs) / count * 1e6:.0f}: "
        f"{min(theirs) / min(ours):.1f} x (goal: 5)"
    )
    kept, stayed = _ids(folder / "data/train.jsonl"), _ids(folder / "peer/kept/00000.jsonl")
    print(f"both keep {len(kept & stayed)}, only ours {len(kept - stayed)}, only datatrove {len(stayed - kept)}")


def _ids(path: Path) -> set[str]:
    with open(path, "rb") as file:
        return {orjson.loads(line)["rollout_id"] for line in file}


def _tokenised(folder: Path, count: int) -> None:
    """With the checks that tokenise, and once more with another check changed."""
    for what, changes in (("tokenised", {}), ("again, another check off", {"loop": "off"})):
        cpu, wall, peak = _filter(folder, 2, {"own": "off", **changes})
        print(
            f"{count} rows {what}, 2 workers: {cpu / count * 1e3:.2f} ms of CPU a row, "
            f"{count / wall:.0f} rows/s; {peak:.0f} MB"
        )


def _filter(folder: Path, workers: int, changes: dict[str, Any]) -> tuple[float, float, float]:
    chosen = params.load(ROOT / "params.yaml")
    chosen["filter"] |= changes
    chosen["runtime"]["workers"] = workers
    (folder / "params.yaml").write_bytes(orjson.dumps(chosen))
    return _cpu(["-m", "stages.filter"], folder)


def _told(what: str, measured: tuple[float, float, float], count: int, bare: float, start: float) -> float:
    """Prints what was measured, and gives back the wall seconds."""
    cpu, wall, peak = measured
    print(
        f"{what}: {(cpu - start) / count * 1e6:.1f} us of CPU a row, {bare / (cpu - start):.0%} of the bare loop's speed; "
        f"{wall:.1f} s; {peak:.0f} MB in the largest process",
        flush=True,
    )
    return wall


def _cpu(arguments: list[str], folder: Path, python: Path | str = sys.executable) -> tuple[float, float, float]:
    """CPU seconds of a Python process and its children, wall seconds, and the peak MB of the largest of them."""
    begun, before = time.monotonic(), _children()
    # A process of its own for the measurement, since the peak of children is that of all that ever were.
    script = "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:]); " \
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr); sys.exit(done.returncode)"  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DISTILL_CACHE": str(_cache(folder))}
    done = subprocess.run(
        [sys.executable, "-c", script, str(python), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr)
    return _children() - before, time.monotonic() - begun, int(done.stderr.split()[-1]) / 1024


def _cache(folder: Path) -> Path:
    """A cache with the user's models and counts of its own."""
    from distill.records.paths import cache_dir

    cache = folder / "cache"
    if not cache.exists():
        cache.mkdir()
        for entry in cache_dir().glob("*"):
            if not entry.name.startswith("token_counts"):
                (cache / entry.name).symlink_to(entry)
    return cache


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _held_out(path: Path) -> None:
    """Two hundred prompts of the eval split, so that contamination has something to look for."""
    prompts = (
        {"id": f"{number:016x}", "split": "eval", "source": f"data/seed/a.jsonl:{number + 1}", "metadata": {},
         "messages": [{"role": "user", "content": f"What does crate {number} of the north wharf weigh, and who sent it?"}]}
        for number in range(200)
    )  # fmt: skip
    jsonl.write(path, prompts, "prepared_prompt")


if __name__ == "__main__":
    main()
