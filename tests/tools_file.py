"""A `tools.py` for tests: written into a folder, loaded, and called."""

import asyncio
from pathlib import Path
from typing import Any

from distill.tools.python import python_source

HEAD = """
import dataclasses, datetime, enum, functools, socket
from typing import *
from pydantic import BaseModel, Field
from distill.tools import Context, State, tool

class Color(enum.Enum):
    red = "red"
    blue = "blue"

class Place(BaseModel):
    "A town."
    city: str = Field(description="its name")
    title: str | None = None

class Span(TypedDict):
    start: Annotated[int, Field(ge=1)]
    end: NotRequired[int]

@dataclasses.dataclass
class Box:
    width: int
    depth: int = 2

class Tree(BaseModel):
    value: int
    children: "list[Tree]" = []

"""


def load(folder: Path, text: str) -> python_source.PythonTools:
    path = folder / "tools.py"
    path.write_text(HEAD + text)
    return python_source.PythonTools(path.name, python_source.load(path))


def schema(folder: Path, text: str) -> dict[str, Any]:
    """The parameters of the one tool in `text`."""
    (tool,) = load(folder, text).tools.values()
    return tool.schema["function"]["parameters"]


def call(tools: python_source.PythonTools, name: str, prompt: dict[str, Any] | None = None, **arguments: Any) -> str:
    async def one() -> str:
        async with tools.open(prompt or {}, None) as caller:
            return await caller(name, arguments)

    return asyncio.run(one())
