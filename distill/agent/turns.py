"""The turns of one rollout: answers through the store, and tool results that an earlier, interrupted run got.

A conversation is asked again after a crash, in another clone, or when the code changed. Its answers are in the store,
but they are found by the whole conversation, so a tool that says something else the second time (a web page, a clock)
would make the rest be bought again. So results are kept with the answer that called for them, and said again.
"""

from typing import Any

from distill.agent.setting import Setting
from distill.teacher import secrets
from distill.teacher.answer import Answer
from distill.teacher.errors import ApiError
from distill.teacher.request import seed
from distill.tools.session import Session, Told


class Turns:
    """What the agent loop asks (`ask`) and calls (`call`) in one rollout; `keys`, `answers` and `told` (the results of
    the answers' calls) grow with the turns."""

    def __init__(self, setting: Setting, prompt: dict[str, Any], sample: int, session: Session):
        self._teacher, self._session, self._results = setting.teacher, session, setting.results(prompt)
        self.offered = session.schemas
        self._seed, self._sample = seed(prompt["id"], sample), sample
        self._replayed: list[dict[str, Any]] = []
        self._fresh: dict[int, Told] = {}
        self.told: list[list[Told]] = []
        self.keys: list[str] = []
        self.answers: list[Answer] = []
        self.error: ApiError | None = None

    async def ask(self, messages: list[dict[str, Any]]) -> Answer:
        """The next answer. Raises ApiError."""
        try:
            key, answer = await self._teacher.ask(
                messages,
                self.offered,
                seed=self._seed,
                sample=self._sample,
                earlier=self.answers,
                meanwhile=self._session.start,
            )
        except ApiError as error:
            self.error = error
            raise
        self.keys.append(key)
        self.answers.append(answer)
        calls = answer["message"].get("tool_calls") or []
        told = self._results.get(key) if calls else None
        self.told.append(told if told and len(told) == len(calls) else [])
        self._fresh = {}
        return answer

    def request(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        """The canonical request for the next answer."""
        return self._teacher.request(messages, self.offered, self._seed, self.answers)

    def stored(self, messages: list[dict[str, Any]]) -> dict[str, Any] | None:
        """What the store has for the next request, None if nothing that would be used."""
        return self._teacher.stored(self.request(messages), self._sample)

    @property
    def all_keys(self) -> list[str]:
        """The keys of all requests, the one that failed for good included."""
        return self.keys + ([self.error.request] if self.error and self.error.request else [])

    async def call(self, call: dict[str, Any]) -> str:
        """What the tool says, credentials replaced: what it said last time, if that is known. Raises SessionLost."""
        calls = self.answers[-1]["message"]["tool_calls"]
        place = next(place for place, known in enumerate(calls) if known is call)
        if self.told[-1]:
            self._replayed.append(call)
            return self.told[-1][place].content
        told = await self._session.call(call, self._replayed)
        self._fresh[place] = told = told._replace(content=secrets.redact(told.content))
        if len(self._fresh) == len(calls):
            self.told[-1] = [self._fresh[place] for place in range(len(calls))]
            self._results.put(self.keys[-1], self.told[-1])
        return told.content
