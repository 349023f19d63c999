"""The turns of one rollout: answers through the store, and the tool results of an earlier run.

A rollout is replayed after a crash, in another clone, or when the code changed. Its answers are in the store, but their
key is the whole conversation: a tool that returns something else the second time (a web page, a clock) would force all
later answers to be bought again. So results are stored with the answer that called the tools, and replayed.
"""

from distill.agent.setting import Setting
from distill.records.ids import content_id
from distill.records.types import Message, Prompt, ToolCall
from distill.teacher.answer import Answer
from distill.teacher.errors import ApiError
from distill.tools.session import Session, ToolResult


class Turns:
    """The functions that the agent loop asks (`ask`) and calls (`call`) in one rollout.

    `keys`, `answers` and `tool_results` (those of each answer's calls) grow with the turns. `seed` and `sample` are those of
    all its requests.
    """

    def __init__(self, setting: Setting, prompt: Prompt, sample: int, session: Session):
        self._setting, self._teacher, self._session = setting, setting.teacher, session
        self._results, self._row = setting.results(prompt), setting.row_id(prompt)
        self.offered = session.schemas
        self.seed, self.sample = seed(prompt["id"], sample), sample
        self._replayed: list[ToolCall] = []
        self.tool_results: list[list[ToolResult]] = []
        self.keys: list[str] = []
        self.answers: list[Answer] = []
        self.error: ApiError | None = None

    async def ask(self, messages: list[Message]) -> Answer:
        """The next answer. Raises ApiError."""
        try:
            key, answer = await self._teacher.ask(
                messages,
                self.offered,
                seed=self.seed,
                sample=self.sample,
                earlier=self.answers,
                before_sending=self.before_sending,
            )
        except ApiError as error:
            self.error = error
            raise
        self.keys.append(key)
        self.answers.append(answer)
        calls = answer["message"].get("tool_calls") or []
        stored = self._results.get(key, self._row) if calls else None
        self.tool_results.append(stored if stored and len(stored) == len(calls) else [])
        return answer

    def before_sending(self) -> None:
        """Called before an answer is asked for that is not stored."""
        self._session.start()

    @property
    def all_keys(self) -> list[str]:
        """The keys of all requests, one that failed for good included."""
        return self.keys + ([self.error.request] if self.error and self.error.request else [])

    async def call(self, calls: list[ToolCall]) -> list[str]:
        """The results of the last answer's calls, as stored if they are. Raises SessionLost."""
        if self.tool_results[-1]:
            self._replayed += calls
        else:
            self._setting.calling += 1
            try:
                self.tool_results[-1] = await self._session.call_all(calls, self._replayed)
            finally:
                self._setting.calling -= 1
            self._results.put(self.keys[-1], self._row, self.tool_results[-1])
        return [result.content for result in self.tool_results[-1]]


def seed(prompt_id: str, sample: int) -> int:
    """The sampling seed of a prompt's sample: 31 bits, the same on every machine."""
    return int(content_id([prompt_id, sample]), 16) % 2**31
