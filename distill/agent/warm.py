"""Fills the store with the answers in the project's history.

Every rollout record has the answers it was made from, so a fresh clone needs neither a key nor money for what somebody
else has bought.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import orjson
import yaml

from distill.agent.record import outcomes
from distill.agent.tool_results import ToolResults
from distill.project import dvc_files
from distill.project.committed import commits_of, folder_in_git, of_revision
from distill.records.counted import counted
from distill.records.one_line import one_line
from distill.records.types import Rollout
from distill.teacher.store import Store

FOLDER = "rollouts"
SHORT = 7
"""Characters of a commit in what the user reads."""
BRANCHES = ("HEAD", "MERGE_HEAD")
"""Where git may have answers that the dvc.lock here has not: behind the last commit and, during a merge, behind the one that
is merged."""
MOST = 10
"""Commits of each that are looked at. Where branches meet, be it by merges or by a rebase, one side's dvc.lock is kept, and
those of the others are one or some commits back."""

NOWHERE = "not on this machine, nor in a DVC remote"


def warm(store: Store) -> str | None:
    """Puts the answers of the rollouts of dvc.lock, here and in the last commits that changed it, into the store; each
    version once.

    They come from DVC's cache or remote, without `dvc pull`. Returns a line for the user, None when there is nothing to
    report. Rollouts that cannot be read are not an error: the teacher is asked instead. `DISTILL_WARM=0`: nothing is put.
    """
    if os.environ.get("DISTILL_WARM") == "0":
        return None
    reports: list[str] = []
    unreadable: dict[str, list[str]] = {}
    results: dict[str, ToolResults] = {}
    seen: set[str] = set()
    markers: list[Path] = []
    no_remote: str | None = None  # why it does not answer, once that is known: each version would wait minutes for it
    for commit, version in _versions():
        name = commit[:SHORT] if commit else "dvc.lock"
        marker = store.root / "warmed" / version
        if marker.exists():
            continue
        try:
            count = sum(
                _put(store, results, rollout) for rollout in _rollouts(commit, version, seen, no_remote is None)
            )
        except Exception as error:  # whatever DVC, git or a remote raises: the answers are then bought
            from dvc.exceptions import DvcException

            why = _unreadable(error)
            if why == NOWHERE:
                why = no_remote or NOWHERE
            # Not of a record that is damaged, nor of a commit with a dvc.yaml that is none.
            elif not isinstance(error, (ValueError, KeyError, TypeError, DvcException)):
                no_remote = why
            unreadable.setdefault(why, []).append(name)
            continue
        markers.append(marker)
        if count:
            reports.append(f"{counted(count, 'answer')} found behind {FOLDER}/ of {name}")
    if reports:
        os.sync()  # the answers before the marks that they are there
    for marker in markers:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    for why, names in unreadable.items():
        reports.append(f"{FOLDER}/ of {', '.join(names)}: {why}; the teacher is asked for what is only in there")
    return "; ".join(reports) or None


def _versions() -> Iterator[tuple[str | None, str]]:
    """(commit, hash of the folder of rollouts): of dvc.lock here (commit None), then of those in git that differ."""
    if not Path(".dvc").is_dir():
        return
    seen: set[str] = set()
    commits = dict.fromkeys(commit for branch in BRANCHES for commit in commits_of(branch, "dvc.lock", MOST))
    committed = ((commit, of_revision(commit, "dvc.lock")) for commit in commits)
    for commit, text in ((None, dvc_files.read(dvc_files.LOCK)), *committed):
        with suppress(yaml.YAMLError):  # somebody committed the marks of a conflict
            version = dvc_files.output_hash(text, FOLDER)
            if version and version not in seen:
                seen.add(version)
                yield commit, version


def _rollouts(commit: str | None, version: str, seen: set[str], remote: bool) -> Iterator[Rollout]:
    """The rollouts of a version in files that are not among `seen`, the hashes of those read before, where these are added.
    `remote`: whether to ask a remote for a version that the cache lacks."""
    from dvc.repo import Repo

    here = os.getcwd()
    repo = Repo(here)
    if not (remote and repo.config["remote"]) and not repo.cache.local.exists(version):
        raise FileNotFoundError  # as DVC would, which reads all of the project at the commit before
    from dvc.api import DVCFileSystem

    if commit:  # then DVC begins at the root of the git repository, of which the project may be a folder
        files, folder = DVCFileSystem(here, rev=commit, subrepos=True), f"{folder_in_git()}{FOLDER}"
    else:  # without what lies in the folder: that may be another version, whose shards have the same names
        files, folder = repo.datafs.fs, FOLDER
    for path, about in sorted(files.find(folder, detail=True).items()):
        if about["md5"] in seen:
            continue
        with files.open(path, "rb") as file:
            content = file.read()
        yield from map(orjson.loads, content.splitlines() if path.endswith(".jsonl") else [content])
        seen.add(about["md5"])


def _unreadable(error: BaseException) -> str:
    """Why rollouts of git's history cannot be read. The reason is the cause at the end of DVC's chain of errors."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, FileNotFoundError):
        return NOWHERE
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
