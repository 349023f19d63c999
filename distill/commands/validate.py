"""`make validate`: checks everything that a person writes, without running any of it, and reports all faults at once."""

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
from distill.agent import dvc_deps, selection
from distill.agent.tools_version import tools_version
from distill.answers import judge
from distill.dataset import rollouts
from distill.dataset.checks import calls, final_answer, paired
from distill.dataset.checks.context import CheckContext
from distill.dataset.held_out import of_files
from distill.dataset.prompts import prepare, seed_rows, unused_answers
from distill.project import dvc_files, params, stage
from distill.project.terminal import plain, say
from distill.records import jsonl, schema
from distill.records.faults import Faults, InputError
from distill.records.types import Params, Prompt
from distill.student import base
from distill.student.serving.reply import refuse_unlearnable, unreadable_calls
from distill.student.tokenizer import bundled_templates, load_tokenizer, template_text
from distill.teacher.asked import asked_teacher
from distill.teacher.demonstrations import read_demonstrations
from distill.teacher.open_model import check_model
from distill.teacher.store import Store
from distill.tools import toolbox
from distill.tools.mcp import mcp_server
from distill.tools.mcp.tool_lists import NotListed, StoredLists, committed_lists
from distill.tools.python import python_source

MOST_WARNINGS = 3
"""About metadata that look like an expected answer; more are not printed."""


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
    """params.yaml fits its schema, and the teacher and the judge that it names can be asked."""
    settings = params.load()
    _all_of(Faults(), lambda: check_model(asked_teacher(settings)), lambda: judge.check(settings))
    return "params.yaml"


def check_prompts() -> str:
    """Every seed row is a prompt, and the tools it names are in tools.py."""
    faults = Faults()
    rows = seed_rows("data/seed", faults)
    settings, own_tools = _all_of(faults, params.load, lambda: python_source.load("tools.py"))
    lists = StoredLists(Store().root, tools_version(settings), committed_lists())
    servers, tools = _all_of(faults, lambda: mcp_server.servers(settings), lambda: toolbox.load(settings, lists=lists))
    seeds = [{**row, "source": source} for source, row in rows]
    prompts, *_ = _all_of(
        faults,
        lambda: prepare(rows, settings["prompts"]["eval_fraction"], has_judge=settings["judge"]["model"] is not None),
        lambda: _check_tools(tools, seeds),
        lambda: dvc_deps.check_servers(servers),
        dvc_deps.check_tools,
    )
    faults.check()
    if all(prompt["split"] == "eval" for prompt in prompts) and not _imported():
        raise InputError(
            f"data/seed: all {len(prompts)} prompts are held out, and data/imported/ holds no conversation: give those to "
            'learn from "split": "train"'
        )
    selection.wanted(prompts, settings)
    for warning in unused_answers(rows)[:MOST_WARNINGS]:
        say(f"warning: {warning}")
    if servers:
        return f"{len(prompts)} prompts, {len(own_tools)} tools, {len(servers)} MCP servers"
    return f"{len(prompts)} prompts, {len({name for prompt in prompts for name in tools.names(prompt)})} tools"


def _all_of(faults: Faults, *steps: Callable[[], Any]) -> list[Any]:
    """The results of all steps. If one fails, raises InputError with `faults` and the faults of all steps."""
    results = []
    for step in steps:
        with faults.collect():
            results.append(step())
    if len(results) < len(steps):
        faults.check()
    return results


def _check_tools(tools: toolbox.Toolbox, prompts: list[Prompt]) -> None:
    """The prompts can have their sandboxes and tools. MCP servers are not started: if the list of one is not stored, names of
    tools are not checked."""
    tools.sandboxes.check(prompts)
    dvc_deps.check_sandboxes(prompts)
    with suppress(NotListed):
        asyncio.run(tools.prepare(prompts))


def check_own_checks() -> str:
    """checks.py can be loaded, and its functions take a row."""
    return f"{len(own_checks.load('checks.py'))} checks of your own"


def check_demonstrations() -> str:
    """The teacher's demonstrations are finished conversations that pass the filter's checks, and dvc.yaml lists the file."""
    settings = params.load()
    name = settings["teacher"]["demonstrations"]
    count = len(read_demonstrations(name))
    tools = [tool.schema for tool in python_source.load("tools.py").values()]
    # The tools of MCP servers are not known here.
    checks = [paired, final_answer] + ([calls] if tools and not mcp_server.servers(settings) else [])
    faults = Faults()
    for line, row in jsonl.read_numbered(name, "demonstration") if name else ():
        for check in checks:
            if fault := check.check(row | {"tools": tools}, CheckContext()):
                faults.add(f"{name}:{line}: {fault.detail}")
    with faults.collect():
        why = "teacher.demonstrations in params.yaml names"
        dvc_deps.check([name] if name else [], ("teacher_rollouts",), why)
    faults.check()
    return f"{count} messages of demonstrations"


def check_imported() -> str:
    """The files in data/imported/ hold conversations."""
    return f"{_imported()} imported conversations"


def _imported() -> int:
    folder = Path("data/imported")
    return sum(1 for _ in rollouts.read(folder)) if folder.is_dir() else 0


def check_benchmarks() -> str:
    """The files of filter.decontaminate_against hold prompts, and dvc.yaml lists them for the filter."""
    names = params.load()["filter"]["decontaminate_against"]
    benchmark_prompts = of_files(names)
    dvc_deps.check(names, ("filter",), "filter.decontaminate_against in params.yaml names")
    return f"{len(benchmark_prompts)} prompts of benchmarks"


def check_student() -> str:
    """`student.path` and `student.template` name a model and a template that can be read, its calls too where there are
    tools, and dvc.yaml lists those that are the project's own. Of a model that is not here the filter says it."""
    settings = params.load()
    path, template = settings["student"]["path"], settings["student"]["template"]
    faults = Faults()
    with faults.collect():
        base.check(path)
    if Path(path).exists() and not Path(path).is_absolute() and ".." not in Path(path).parts:
        with faults.collect():
            dvc_deps.check([path], ("filter", "sft_train", "evaluate"), "student.path in params.yaml names")
    if template and template not in bundled_templates():
        with faults.collect():
            if "tools" not in template_text(template):
                print(
                    f"warning: {template} (student.template) never mentions `tools`: rows with tools will be rejected"
                )
            dvc_deps.check([template], ("filter", "sft_train"), "student.template in params.yaml names")
    faults.check()
    if Path(path).expanduser().exists():
        tokenizer = load_tokenizer(path, template)
        refuse_unlearnable(tokenizer)
        unreadable = unreadable_calls(tokenizer, settings["runtime"]["student_url"])
        if unreadable and _has_tools(settings):
            raise InputError(unreadable)
    return f"student {path}"


def _has_tools(settings: Params) -> bool:
    """Whether a prompt is offered tools. What is wrong with prompts and tools is `check_prompts`' to say."""
    with suppress(InputError):
        offered = settings["tools"]["mcp"] or settings["mcp_url"] or python_source.load("tools.py")
        return bool(offered) and any(row.get("tools") != [] for _, row in seed_rows("data/seed", Faults()))
    return False


def check_pipeline() -> str:
    """DVC accepts dvc.yaml, and every file that it depends on exists."""
    listed = subprocess.run([sys.executable, "-m", "dvc", "stage", "list"], capture_output=True, text=True, check=False)
    if listed.returncode:
        said = listed.stderr.partition("To suppress this check see")[0]  # for programmers: how to allow duplicate keys
        raise InputError(f"dvc.yaml: {said.strip()}")
    if missing := dvc_files.missing():
        raise InputError(f"dvc.yaml: /stages/{stage}/deps: there is no {dep}; {_advice(dep)}" for stage, dep in missing)
    return f"dvc.yaml with {len(listed.stdout.splitlines())} stages"


def _advice(dep: str) -> str:
    """What to do about a file that is missing."""
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
        sys.exit(f"error:\n{plain(str(error))}")


if __name__ == "__main__":
    stage.no_options(__doc__)
    with stage.ending():
        main()
