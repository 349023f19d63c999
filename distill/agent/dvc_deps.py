"""Compares what the stages read with what dvc.yaml lists as their deps: DVC sees nothing else change."""

import os
from itertools import pairwise
from pathlib import Path

from distill.project import dvc_files
from distill.records.faults import InputError
from distill.records.types import Prompt
from distill.tools.mcp.mcp_server import McpServer
from distill.tools.python import files_read
from distill.tools.sandbox import dockerfile
from distill.tools.sandbox.name import dockerfile_name

WITH_TOOLS = ("teacher_rollouts", "evaluate")
"""The stages that call tools."""
MOST_NAMED = 5
"""Files in a warning."""


def check(files: list[str], stages: tuple[str, ...], why: str) -> None:
    """Raises InputError where dvc.yaml does not list a file among the deps of a stage, in a sentence with `why`."""
    faults = [
        f"dvc.yaml: /stages/{stage}/deps: add {file}, which {why}: DVC would not see it change"
        for stage in stages
        for file in _unlisted(files, stage)
    ]
    if faults:
        raise InputError(faults)


def check_servers(servers: list[McpServer]) -> None:
    """Raises InputError where DVC does not know the code of an MCP server: files of this project that its command names,
    also behind `-m` or `=`; none of hidden folders, where environments are."""
    files: list[Path] = []
    for server in servers:
        words = [server.command or "", *server.args]
        modules = [f"{name.replace('.', '/')}.py" for before, name in pairwise(words) if before == "-m"]
        files += [Path(word.rpartition("=")[2]) for word in words + modules]
    own = (file for file in files if os.path.isfile(file) and not file.is_absolute())
    shown = [str(file) for file in dict.fromkeys(own) if not any(part.startswith(".") for part in file.parts)]
    check(shown, WITH_TOOLS, "tools.mcp in params.yaml names")


def check_sandboxes(prompts: list[Prompt]) -> None:
    """Raises InputError where DVC does not know a file that the sandbox of a prompt is made of."""
    names = {dockerfile_name(prompt["docker"]): None for prompt in prompts if prompt.get("docker")}
    files = {file: None for name in names if name for file in dockerfile.read(name).files}
    check(list(files), WITH_TOOLS, "a sandbox is made of")


def check_tools() -> None:
    """Raises InputError where DVC does not know a file that tools.py has read in this process, as it was loaded."""
    check(_read_by_tools(), WITH_TOOLS, "tools.py reads")


def unknown_to_dvc() -> str | None:
    """A warning of what tools.py has read in this process and dvc.yaml does not list; None where there is nothing."""
    if not dvc_files.PIPELINE.is_file():
        return None
    stages = {stage: _unlisted(_read_by_tools(), stage) for stage in WITH_TOOLS}
    files = sorted({file for unlisted in stages.values() for file in unlisted})
    if not files:
        return None
    them = " and ".join(stage for stage, unlisted in stages.items() if unlisted)
    return (
        f"warning: tools.py reads {_named(files)}, which dvc.yaml does not have under deps of {them}: "
        f"add {'it' if len(files) == 1 else 'them'} there, or DVC does not see a change"
    )


def _named(files: list[str]) -> str:
    """The files in words; of many only some."""
    more = len(files) - MOST_NAMED
    *first, last = [*files[: MOST_NAMED - 1], f"{more + 1} more"] if more > 0 else files
    return f"{', '.join(first)} and {last}" if first else last


def _unlisted(files: list[str], stage: str) -> list[str]:
    """Those of the files that neither are among the deps of the stage nor in a folder that is."""
    listed = dvc_files.dependencies(stage) if files else []
    return [file for file in files if not any(Path(file).is_relative_to(dep) for dep in listed)]


def _read_by_tools() -> list[str]:
    """The files that tools.py has read, without what a stage makes."""
    files = files_read.files_read(Path())
    made = dvc_files.outputs() if files else []
    return [file for file in files if not any(Path(file).is_relative_to(out) for out in made)]
