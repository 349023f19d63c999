"""An index of the finished rollouts and their answers, so that a plan over a hundred thousand need not replay them.

It has a line per rollout in the store: its key and the keys of its answers. It is only an index: a reader still checks
that each answer is in the store, and a rollout without a line is simply replayed.
"""

import os

from distill.agent.setting import Setting

KEY_LENGTH = 64


class Finished:
    """The index of one setting (teacher, tools, agent)."""

    def __init__(self, setting: Setting):
        self._path = setting.teacher.store.root / "finished" / f"{setting.asked_id}-{setting.tools_version}.txt"
        self._file: int | None = None
        self._keys: dict[str, str] = {}
        if self._path.is_file():
            for line in self._path.read_text(encoding="ascii", errors="replace").splitlines():
                if len(line) > KEY_LENGTH and (len(line) + 1) % (KEY_LENGTH + 1) == 0:  # a torn line is skipped
                    self._keys[line[:KEY_LENGTH]] = line[KEY_LENGTH + 1 :]

    def answers(self, rollout_key: str) -> list[str]:
        """The keys of the answers of a finished rollout; empty when it is not in the index."""
        return self._keys.get(rollout_key, "").split()

    def add(self, rollout_key: str, answers: list[str]) -> None:
        """Adds a finished rollout."""
        line = " ".join(answers)
        if self._keys.get(rollout_key) == line or not answers:
            return
        self._keys[rollout_key] = line
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        # One write, so that lines of several processes do not mix.
        os.write(self._file, f"{rollout_key} {line}\n".encode())
