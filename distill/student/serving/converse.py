"""A student in conversation: the teacher's agent loop, with the student's turns as it was trained to see them."""

from distill.agent.rollout import Conversation, run
from distill.records.types import Message, Sampling, ToolCall
from distill.student.served_messages import as_said
from distill.teacher.answer import Answer
from distill.teacher.api import chat
from distill.teacher.model import Model
from distill.tools.session import Session


async def converse(
    messages: list[Message], model: Model, sampling: Sampling, session: Session, max_turns: int
) -> Conversation:
    """The conversation that begins with `messages`, with the tools of a session. Raises Fatal."""

    async def ask(before: list[Message]) -> Answer:
        session.start()
        answer = await model.ask(chat.request(model.identity, before, session.schemas, sampling))
        return {**answer, "message": as_said(answer["message"])}

    async def call(calls: list[ToolCall]) -> list[str]:
        return [result.content for result in await session.call_all(calls)]

    return await run(messages, ask, call, max_turns)
