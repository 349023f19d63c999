"""How fast a model has answered lately."""

from collections import deque

WINDOW_S = 30.0
WINDOW_ANSWERS = 8
WINDOW_TIMES = 4
"""The least that the speed is reckoned from: seconds, answers, and times at which some came, since those of a batch come
all at once."""
APART_S = 0.2


class Speed:
    """Answers and tokens per second over the latest half a minute, or longer where little has come in it."""

    def __init__(self, started: float):
        self._noted: deque[tuple[float, int, int]] = deque([(started, 0, 0)])

    def note(self, now: float, answers: int, tokens: int) -> None:
        """Notes how many there are by now; often is fine."""
        at, before, _ = self._noted[-1]
        if answers == before or now - at < APART_S:
            return
        self._noted.append((now, answers, tokens))
        while len(self._noted) > WINDOW_TIMES + 1 and self._is_enough(now, answers):
            self._noted.popleft()

    def _is_enough(self, now: float, answers: int) -> bool:
        """Whether what came after the second note is enough."""
        at, before, _ = self._noted[1]
        return now - at >= WINDOW_S and answers - before >= WINDOW_ANSWERS

    def per_second(self, now: float, answers: int, tokens: int) -> tuple[float, float]:
        """(answers, tokens) per second until `now`, when there are so many."""
        at, answers_before, tokens_before = self._noted[0]
        seconds = max(now - at, 1e-9)
        return (answers - answers_before) / seconds, (tokens - tokens_before) / seconds
