"""`make validate`: everything a person writes, checked without running anything. All faults in one go."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from distill import checks as own_checks
from distill.agent import dvc_deps, dvc_files
from distill.agent.tools_version import tools_version
from distill.dataset import rollouts
from distill.dataset.checks import calls, final_answer, paired
from distill.dataset.checks.context import CheckContext
from distill.dataset.held_out import of_files
from distill.dataset.prompts import prepare, seed_rows, unused_answers
from distill.records import jsonl, params, schema, stage
from distill.records.faults import Faults, InputError
from distill.records.types import Prompt
from distill.student import base
from distill.student.tokenizer import template_file
from distill.teacher.demonstrations import read_demonstrations
from distill.teacher.store import Store
from distill.tools import mcp_server, python_source, toolbox
from distill.tools.tool_lists import ToolLists, committed_lists

MOST_WARNINGS = 3


def check_schemas() -> str:
    """Every file in schemas/ is a JSON Schema of draft 2020-12."""
    faults = []
    paths = sorted(Path("schemas").glob("*.schema.json"))
    for path in paths:
        try:
            Draft202012Validator.check_schema(schema.load(path.name.removesuffix(".schema.json")))
        except SchemaError as error:
            faults.append(f"{path}: /{'/'.join(map(str, error.absolute_path))}: {error.message}")
    if faults:
        raise InputError(faults)
    return f"{len(paths)} schemas"


def check_params() -> str:
    """params.yaml fits its schema."""
    params.load()
    return "params.yaml"


def check_prompts() -> str:
    """Every seed row is a prompt, and the tools it names are in tools.py."""
    faults = Faults()
    rows = seed_rows("data/seed", faults)
    chosen, own = _each(faults, params.load, lambda: python_source.load("tools.py"))
    lists = _Remembered(Store().root, tools_version(chosen), committed_lists())
    servers, tools = _each(faults, lambda: mcp_server.servers(chosen), lambda: toolbox.load(chosen, lists=lists))
    asked = [{**row, "source": source} for source, row in rows]
    prompts, *_ = _each(
        faults,
        lambda: prepare(rows, chosen["prompts"]["eval_fraction"], has_judge=chosen["judge"]["model"] is not None),
        lambda: _check_tools(tools, asked),
        lambda: dvc_deps.check_servers(servers),
        dvc_deps.check_tools,
    )
    faults.check()
    if all(prompt["split"] == "eval" for prompt in prompts) and not _imported():
        raise InputError(
            f'data/seed: all {len(prompts)} prompts are held out: give those to learn from "split": "train"'
        )
    for warning in unused_answers(rows)[:MOST_WARNINGS]:
        print(f"warning: {warning}")
    if servers:
        return f"{len(prompts)} prompts, {len(own.tools)} tools, {len(servers)} MCP servers"
    return f"{len(prompts)} prompts, {len({name for prompt in prompts for name in tools.names(prompt)})} tools"


def _each(faults: Faults, *steps: Callable[[], Any]) -> list[Any]:
    """What the steps give. Raises InputError with `faults` and those of all of them, where one fails."""
    given = []
    for step in steps:
        with faults.collect():
            given.append(step())
    if len(given) < len(steps):
        faults.check()
    return given


class _NeverAsked(Exception):
    """It is not known what an MCP server offers."""


class _Remembered(ToolLists):
    """What MCP servers offered before; for one that was never asked, `get` raises _NeverAsked."""

    def get(self, origin: str, group: Any) -> list[dict[str, Any]]:
        tools = super().get(origin, group)
        if tools is None:
            raise _NeverAsked
        return tools


def _check_tools(tools: toolbox.Toolbox, asked: list[Prompt]) -> None:
    """The rows can have their sandboxes and tools. MCP servers are not started: where one was never asked, no name can
    be judged."""
    tools.refuse(asked)
    dvc_deps.check_sandboxes(asked)
    with suppress(_NeverAsked):
        asyncio.run(tools.prepare(asked))


def check_own_checks() -> str:
    """checks.py can be loaded, and its functions take a row."""
    return f"{len(own_checks.load('checks.py'))} checks of your own"


def check_demonstrations() -> str:
    """The teacher's demonstrations are finished conversations, as the filter would have them, and DVC knows of them."""
    chosen = params.load()
    name = chosen["teacher"]["demonstrations"]
    count = len(read_demonstrations(name))
    tools = [tool.schema for tool in python_source.load("tools.py").tools.values()]
    # What MCP servers offer is not known here.
    known = [paired, final_answer] + ([calls] if tools and not mcp_server.servers(chosen) else [])
    faults = Faults()
    for line, row in jsonl.read_numbered(name, "demonstration") if name else ():
        for check in known:
            if fault := check.check(row | {"tools": tools}, CheckContext()):
                faults.add(f"{name}:{line}: {fault.detail}")
    with faults.collect():
        why = "teacher.demonstrations in params.yaml names"
        dvc_deps.check([name] if name else [], ("teacher_rollouts",), why)
    faults.check()
    return f"{count} messages of demonstrations"


def check_imported() -> str:
    """What lies in data/imported/ are conversations."""
    return f"{_imported()} imported conversations"


def _imported() -> int:
    folder = Path("data/imported")
    return sum(1 for _ in rollouts.read(folder)) if folder.is_dir() else 0


def check_benchmarks() -> str:
    """The files of filter.decontaminate_against hold prompts, and DVC knows that the filter depends on them."""
    names = params.load()["filter"]["decontaminate_against"]
    exams = of_files(names)
    dvc_deps.check(names, ("filter",), "filter.decontaminate_against in params.yaml names")
    return f"{len(exams)} prompts of benchmarks"


def check_student() -> str:
    """`student.path` and `student.template` name something."""
    student = params.load()["student"]
    base.check(student["path"])
    if student["template"]:
        template_file(student["template"])
    return f"student {student['path']}"


def check_pipeline() -> str:
    """dvc.yaml is one that DVC accepts, and all that it depends on is there."""
    listed = subprocess.run([sys.executable, "-m", "dvc", "stage", "list"], capture_output=True, text=True, check=False)
    if listed.returncode:
        raise InputError(f"dvc.yaml: {listed.stderr.strip()}")
    lost = dvc_files.missing(Path("dvc.yaml").read_text(encoding="utf-8"), Path())
    if lost:
        raise InputError(f"dvc.yaml: /stages/{stage}/deps: there is no {dep}; {_way_back(dep)}" for stage, dep in lost)
    return f"dvc.yaml with {len(listed.stdout.splitlines())} stages"


def _way_back(dep: str) -> str:
    if Path(f"{dep}.dvc").exists():
        return "dvc pull fetches it"
    return "an empty file will do" if dep.endswith(".py") else "add it, or take it off the list"


def main() -> None:
    """Runs every check; prints what is valid and exits with 1 after naming all that is not."""
    faults = Faults()
    checks: list[Callable[[], str]] = [
        check_schemas,
        check_params,
        check_prompts,
        check_own_checks,
        check_imported,
        check_benchmarks,
        check_demonstrations,
        check_student,
        check_pipeline,
    ]
    for check in checks:
        with faults.collect():
            print(f"valid: {check()}")
    try:
        faults.check()
    except InputError as error:
        sys.exit(f"error:\n{error}")


if __name__ == "__main__":
    with stage.ending():
        main()
