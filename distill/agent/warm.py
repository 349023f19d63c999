"""Fills the store with the answers in the project's history.

Every rollout record has the answers it was made from, so a fresh clone needs neither a key nor money for what somebody
else has bought.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import orjson

from distill.agent.record import outcomes
from distill.agent.tool_results import ToolResults
from distill.records import dvc_files
from distill.records.committed import commit_of, folder_in_git, of_revision
from distill.records.counted import counted
from distill.records.one_line import one_line
from distill.records.types import Rollout
from distill.teacher.store import Store

FOLDER = "rollouts"
COMMITTED = ("HEAD", "MERGE_HEAD", "HEAD^2")
"""Where git may have answers that the dvc.lock here has not: in the last commit and, during a merge and after it, in the one
that was merged, since the dvc.lock of only one side can be kept."""


def warm(store: Store, root: Path | str = ".") -> str | None:
    """Puts the answers of the rollouts of dvc.lock, here and in COMMITTED, into the store; each version once.

    They come from DVC's cache or remote, without `dvc pull`. Returns a line for the user, None when there is nothing to
    report. Rollouts that cannot be read are not an error: the teacher is asked instead. `DISTILL_WARM=0`: nothing is put.
    """
    if os.environ.get("DISTILL_WARM") == "0":
        return None
    root = Path(root)
    reports = []
    results: dict[str, ToolResults] = {}
    for revision, version in _versions(root):
        where = f"{FOLDER}/ of {revision or 'dvc.lock'}"
        marker = store.root / "warmed" / version
        if marker.exists():
            continue
        try:
            count = sum(_put(store, results, rollout) for rollout in _rollouts(root, revision))
        except Exception as error:  # whatever DVC, git or a remote raises: the answers are then bought
            reports.append(f"{where} {_unreadable(error)}: the teacher is asked instead")
            continue
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        if count:
            reports.append(f"{counted(count, 'answer')} found behind {where}")
    return "; ".join(reports) or None


def _versions(root: Path) -> Iterator[tuple[str | None, str]]:
    """(git revision, hash of the folder of rollouts): of dvc.lock here (revision None), then of those in git that differ."""
    if not (root / ".dvc").is_dir():
        return
    here = (root / "dvc.lock").read_text(encoding="utf-8") if (root / "dvc.lock").is_file() else ""
    seen: set[str] = set()
    committed = ((revision, of_revision(root, revision, "dvc.lock")) for revision in COMMITTED)
    for revision, text in ((None, here), *committed):
        version = dvc_files.output_hash(text, FOLDER)
        if version and version not in seen:
            seen.add(version)
            yield revision, version


def _rollouts(root: Path, revision: str | None) -> Iterator[Rollout]:
    from dvc.api import DVCFileSystem

    # With a revision DVC begins at the root of the git repository, of which the project may be a folder.
    files = DVCFileSystem(str(root.resolve()), rev=revision and commit_of(root, revision), subrepos=True)
    folder = f"{folder_in_git(root)}{FOLDER}" if revision else FOLDER
    for path in sorted(files.find(folder)):
        with files.open(path, "rb") as file:
            content = file.read()
        yield from map(orjson.loads, content.splitlines() if path.endswith(".jsonl") else [content])


def _unreadable(error: BaseException) -> str:
    """Why rollouts of git's history cannot be read. The reason is the cause at the end of DVC's chain of errors."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, FileNotFoundError):
        return "is not on this machine, nor in a DVC remote"
    return f"cannot be read ({one_line(error)})"


def _put(store: Store, results: dict[str, ToolResults], rollout: Rollout) -> int:
    """Puts into the store what it lacks of a record; returns how many answers that were."""
    count = 0
    version, row = rollout["versions"].get("tools", "unknown"), rollout["versions"].get("row")
    tool_results = results.setdefault(version, ToolResults(store.root, version))
    for outcome in outcomes(rollout):
        entry = store.entry(outcome.key)
        if outcome.answer and "answer" not in entry:  # a failure that the store remembers may have passed elsewhere
            store.put(outcome.key, outcome.answer, durable=False)
            count += 1
        elif outcome.failure and not entry:
            store.put_failure(outcome.key, outcome.failure)
        if outcome.tool_results and tool_results.get(outcome.key, row) is None:
            tool_results.put(outcome.key, row, outcome.tool_results)
    return count
