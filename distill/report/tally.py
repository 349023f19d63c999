"""Counts of all conversations, whether they are in the page or not."""

from collections import Counter
from collections.abc import Container
from typing import Any

Record = dict[str, Any]


class Tally:
    """Counts rollouts, and rows whose rollouts are not at hand; `prompts` are the ids in data/prompts.jsonl."""

    def __init__(self, prompts: Container[str]):
        self._prompts = prompts
        self.rollouts: set[str] = set()
        """The ids of all rollouts."""
        self.prompts: set[str] = set()
        """The ids of all prompts with a conversation."""
        self.asked_prompts: set[str] = set()
        self.total = self.asked = self.imported = 0
        """Numbers of conversations: all, those for training by our teacher, and those for training from elsewhere."""
        self.kept = 0
        """How many of the rollouts are training rows."""
        self.failures: Counter[str] = Counter()
        """How many rollouts failed, by `failure`."""
        self.versions: dict[str, set[str]] = {}
        self.days: set[str] = set()

    def rollout(self, rollout: Record) -> None:
        """Counts a rollout."""
        self.rollouts.add(rollout["id"])
        self.days.add(rollout["created_at"][:10])
        self.made_with(rollout["versions"])
        if kind := failure(rollout):
            self.failures[kind] += 1
        self._conversation(rollout, asked=bool(rollout["versions"]))  # those from elsewhere name none

    def row(self, row: Record) -> None:
        """Counts a row that stands in for its rollout: imported, unless its prompt is one of ours."""
        self._conversation(row, asked=row["prompt_id"] in self._prompts)

    def made_with(self, versions: dict[str, str]) -> None:
        """Adds the versions of tools and libraries; there may be several of each."""
        for name, version in versions.items():
            self.versions.setdefault(name, set()).add(version)

    def _conversation(self, record: Record, asked: bool) -> None:
        self.total += 1
        self.prompts.add(record["prompt_id"])
        if record["split"] != "train":
            return
        if asked:
            self.asked += 1
            self.asked_prompts.add(record["prompt_id"])
        else:
            self.imported += 1


def failure(rollout: Record) -> str | None:
    """Why a rollout failed: the kind of its error, or the stop reason of one without; None where it did not fail."""
    if rollout["status"] != "failed":
        return None
    kind: str = rollout["error"]["kind"] if rollout["error"] else rollout["stop_reason"]
    return kind
