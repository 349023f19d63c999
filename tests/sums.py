"""A small project to buy rollouts for: prompts `what is N + 1?`, a tool that adds, and a teacher that uses it."""

import json
from pathlib import Path
from typing import Any

import yaml
from teacher_server import Asked, calls, says

from distill.project.params import parse

ROOT = Path(__file__).resolve().parents[1]
TOOLS = '''
from distill.tools import tool

@tool
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b
'''


def bare(folder: Path) -> Path:
    """A folder with the project's params.yaml and dvc.yaml, which is all that the stages need beside their data."""
    project = folder / "project"
    project.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        (project / name).write_bytes((ROOT / name).read_bytes())
    return project


def make(project: Path, count: int, **params: Any) -> None:
    """Puts `count` training prompts and the tool into a project; `params`: dotted keys with `__` for the dot."""
    (project / "data/seed").mkdir(parents=True, exist_ok=True)
    for path in (project / "data/seed").iterdir():
        path.unlink()
    (project / "tools.py").write_text(TOOLS)
    add_prompts(project, range(count))
    settings = {
        "model": "scripted",
        "teacher__n": None,
        "teacher__demonstrations": None,
        "runtime__unknown_price": "allow",
    }
    set_params(project, **{**settings, **params})


def add_prompts(project: Path, numbers: range, name: str = "sums") -> None:
    """Appends prompts to a file of the project's seed."""
    with open(project / f"data/seed/{name}.jsonl", "a") as file:
        for n in numbers:
            prompt = {
                "messages": [{"role": "system", "content": "Add."}, {"role": "user", "content": f"what is {n} + 1?"}]
            }
            file.write(json.dumps(prompt | {"metadata": {"expected_answer": n + 1}, "split": "train"}) + "\n")


def set_params(project: Path, **params: Any) -> None:
    """Changes keys of the project's params.yaml; `__` stands for the dot."""
    path = project / "params.yaml"
    content = parse(path.read_text())
    for key, value in params.items():
        *groups, last = key.split("__")
        place = content
        for group in groups:
            place = place[group]
        place[last] = value
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def number(body: dict[str, Any]) -> int:
    """The N of the prompt in a body of either API."""
    messages = body.get("messages") or body["input"]
    return int(next(m for m in messages if m.get("role") == "user")["content"].split()[2])


def adds(asked: Asked) -> Any:
    """A teacher that calls `add`, then answers with what the tool said."""
    last = asked.body["messages"][-1]
    if last["role"] == "tool":
        return says(f"Answer: {last['content']}")
    n = number(asked.body)
    return calls((f"c{n}", "add", json.dumps({"a": n, "b": 1})))


def counts_to(turns: int):  # type: ignore[no-untyped-def]
    """A teacher that calls `add` until its answer number `turns`."""

    def teacher(asked: Asked) -> Any:
        told = [message for message in asked.body["messages"] if message["role"] == "tool"]
        if len(told) == turns - 1:
            return says(f"Answer: {number(asked.body) + 1}")
        return calls((f"c{len(told)}", "add", json.dumps({"a": number(asked.body), "b": len(told)})))

    return teacher
