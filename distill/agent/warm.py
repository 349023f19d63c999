"""Answers that are already in the project's history: every rollout record holds those it was made of, so a fresh clone
needs neither a key nor money for what somebody else has bought.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from distill.agent import dvc_files
from distill.agent.record import known
from distill.agent.tool_results import ToolResults
from distill.records.committed import of_head
from distill.teacher.store import Store

FOLDER = "rollouts"


def warm(store: Store, root: Path | str = ".") -> str | None:
    """Puts the answers behind the rollouts of dvc.lock, here and in git HEAD, into the store; each version once.

    They come from DVC's cache or remote, without `dvc pull`. Returns a line for the user, None when there is nothing to
    tell; that they cannot be had is no error.
    """
    root = Path(root)
    told = []
    results: dict[str, ToolResults] = {}
    for revision, version in _versions(root):
        where = f"{FOLDER}/ of {revision or 'dvc.lock'}"
        marker = store.root / "warmed" / version
        if marker.exists():
            continue
        try:
            count = sum(_put(store, results, rollout) for rollout in _rollouts(root, revision))
        except Exception as error:  # whatever DVC, git or a remote raises: then the answers are bought
            told.append(f"{where} {_why_not(error)}: the teacher is asked instead")
            continue
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        told.append(f"{count} answers found behind {where}")
    return "; ".join(told) or None


def _versions(root: Path) -> Iterator[tuple[str | None, str]]:
    """(git revision, hash of the folder of rollouts): of the lock file here (None), then of HEAD's if it is another one."""
    if not (root / ".dvc").is_dir():
        return
    here = (root / "dvc.lock").read_text(encoding="utf-8") if (root / "dvc.lock").is_file() else ""
    seen: set[str] = set()
    for revision, text in ((None, here), ("HEAD", of_head(root, "dvc.lock"))):
        version = dvc_files.output_hash(text, FOLDER)
        if version and version not in seen:
            seen.add(version)
            yield revision, version


def _rollouts(root: Path, revision: str | None) -> Iterator[dict[str, Any]]:
    from dvc.api import DVCFileSystem

    files = DVCFileSystem(str(root.resolve()), rev=revision)
    for path in sorted(files.find(FOLDER)):
        with files.open(path, "rb") as file:
            content = file.read()
        yield from map(orjson.loads, content.splitlines() if path.endswith(".jsonl") else [content])


def _why_not(error: BaseException) -> str:
    """Why rollouts that are in git's history cannot be read. DVC tells it only as the cause of its own error."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, FileNotFoundError):
        return "is not on this machine, nor in a DVC remote"
    return f"cannot be read ({str(error).splitlines()[0] if str(error) else type(error).__name__})"


def _put(store: Store, results: dict[str, ToolResults], rollout: dict[str, Any]) -> int:
    """Puts what a record knows and the store does not; returns how many answers that were."""
    count = 0
    version = rollout["versions"].get("tools", "unknown")
    said = results.setdefault(version, ToolResults(store.root, version)).of(rollout["versions"].get("row"))
    for request in known(rollout):
        entry = store.entry(request.key)
        if request.answer and "answer" not in entry:  # a failure that the store remembers may have passed elsewhere
            store.put(request.key, None, request.answer, durable=False)
            count += 1
        elif request.failure and not entry:
            store.put_failure(request.key, request.failure)
        if request.results and said.get(request.key) is None:
            said.put(request.key, request.results)
    return count
