"""The files that tools read: seen as they are opened, and named where dvc.yaml does not list them."""

import sqlite3
from pathlib import Path

import pytest
import sums
import tools_file
from stage_process import Done, Running
from teacher_server import serving
from validated import in_git, validate

from distill.tools.python.files_read import files_read, watched

READERS = """
import asyncio, os, sqlite3
from pathlib import Path
import helper_of_tools

HERE = Path(__file__).parent
GREETING = (HERE / "data/greeting.txt").read_text()

@tool
def plain(file: str) -> str:
    "Reads."
    return (HERE / "data" / file).read_text()

@tool
async def later(file: str) -> str:
    "Reads later, and in another thread."
    return await asyncio.to_thread((HERE / "data" / file).read_text)

@tool
def low_level() -> int:
    "Reads without open()."
    file = os.open(HERE / "data/low.txt", os.O_RDONLY)
    os.close(file)
    return 1

@tool
def query() -> list:
    "Asks two databases."
    other = sqlite3.connect(f"file:{HERE}/data/other.db?mode=ro", uri=True)
    return sqlite3.connect(HERE / "data/shop.db").execute("select 1").fetchall()

@tool
def writes() -> str:
    "Makes a file, and reads it."
    (HERE / "data/made.txt").write_text("made")
    return (HERE / "data/made.txt").read_text()

@tool
def foreign() -> list[str]:
    "Reads what is nobody's data."
    import distill.machine.lease
    return [Path(name).read_text() for name in ("/etc/hostname", HERE / ".secret")] + [str(os.listdir(HERE))]
"""


def test_every_way_to_read_is_seen_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    data = tmp_path / "data"
    data.mkdir()
    for name in ("greeting", "plain", "later", "low", "unread"):
        (data / f"{name}.txt").write_text(name)
    for name in ("shop", "other"):
        with sqlite3.connect(data / f"{name}.db") as database:
            database.execute("create table t (a)")
    (tmp_path / ".secret").write_text("hidden")
    (tmp_path / "helper_of_tools.py").write_text("")
    tools = tools_file.load(tmp_path, READERS)
    as_loaded = ["data/greeting.txt", "helper_of_tools.py", "tools.py"]
    assert files_read(tmp_path) == as_loaded
    assert [tools_file.call(tools, name, file=f"{name}.txt") for name in ("plain", "later")] == ["plain", "later"]
    for name in ("low_level", "query", "writes", "foreign"):
        tools_file.call(tools, name)
    (data / "unread.txt").read_text()
    names = ("plain.txt", "later.txt", "low.txt", "shop.db", "other.db")
    assert files_read(tmp_path) == sorted([*as_loaded, *(f"data/{name}" for name in names)])


WANDERERS = """
import asyncio, contextlib, os, subprocess, sys

os.chdir(os.path.dirname(__file__))

@tool
def walks() -> str:
    "Goes elsewhere."
    os.chdir("elsewhere")

@tool
async def strolls() -> str:
    "Goes elsewhere, in another thread."
    with contextlib.chdir("elsewhere"):
        await asyncio.sleep(0)

@tool
def sends() -> str:
    "Lets others go there."
    show = [sys.executable, "-c", "import os; print(os.path.basename(os.getcwd()))"]
    sent = subprocess.run(show, cwd="elsewhere", capture_output=True, text=True)
    old = subprocess.run(show, preexec_fn=lambda: os.chdir("elsewhere"), capture_output=True, text=True)
    return sent.stdout + old.stdout
"""


def test_a_tool_stays_in_the_folder_that_all_rollouts_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From another one the run could not write what it has bought, and other rollouts' tools would find nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    tools = tools_file.load(tmp_path, WANDERERS)
    for name in ("walks", "strolls"):
        with pytest.raises(RuntimeError, match="cannot change the working folder"):
            tools_file.call(tools, name)
        assert Path.cwd() == tmp_path
    assert tools_file.call(tools, "sends") == "elsewhere\nelsewhere\n"


def test_a_module_is_seen_when_it_is_compiled_already(tmp_path: Path) -> None:
    project = sums.bare(tmp_path)
    sums.make(project, 1)
    (project / "my_words.py").write_text("WORD = 'a'\n")
    (project / "tools.py").write_text(
        f"import sys; sys.path.insert(0, {str(project)!r})\nimport my_words\n{sums.TOOLS}"
    )
    for _ in range(2):
        assert "reads my_words.py, which" in bought(project).stdout


def bought(project: Path) -> Done:
    """The teacher's stage, as it asks a scripted teacher."""
    assert Running(project, "prompts").wait().returncode == 0
    with serving(sums.adds) as books:
        sums.set_params(project, teacher__base_url=books.base_url)
        done = Running(project, "teacher_rollouts", TEACHER_API_KEY="").wait()
    assert done.returncode == 0, done.stderr
    return done


def test_a_run_names_what_its_tools_read_and_dvc_does_not_know(tmp_path: Path) -> None:
    project = sums.bare(tmp_path)
    sums.make(project, 2)
    (project / "data/orders").mkdir()
    for n in range(2):
        (project / f"data/orders/{n}.json").write_text("1")
    read = "    int(open(f'data/orders/{a}.json').read())\n    open('data/prompts.jsonl').close()\n    return a + b"
    (project / "tools.py").write_text(sums.TOOLS.replace("    return a + b", read))
    said = bought(project).stdout
    them = "under deps of teacher_rollouts and evaluate: add them there, or DVC does not see a change\n"
    assert said.endswith(
        f"warning: tools.py reads data/orders/0.json and data/orders/1.json, which dvc.yaml does not have {them}"
    )
    text = (project / "dvc.yaml").read_text()
    (project / "dvc.yaml").write_text(text.replace("    - data/shop/catalogue.json\n", "    - data/orders\n", 1))
    said = bought(project).stdout
    assert "under deps of evaluate: add them there" in said
    (project / "dvc.yaml").write_text(text.replace("    - data/shop/catalogue.json\n", "    - data/orders\n"))
    assert "warning" not in bought(project).stdout


def test_validate_refuses_what_tools_py_reads_as_it_is_loaded_and_dvc_does_not_know(project: Path) -> None:
    (project / "data/kinds.txt").write_text("a b")
    with (project / "tools.py").open("a") as tools:
        tools.write("\n\nKINDS = open('data/kinds.txt').read().split()\n")
    done = validate(in_git(project))
    assert done.returncode == 1
    for stage in ("teacher_rollouts", "evaluate"):
        assert (
            f"dvc.yaml: /stages/{stage}/deps: add data/kinds.txt, which tools.py reads: DVC would not see it change"
            in done.stderr
        )
    text = (project / "dvc.yaml").read_text()
    (project / "dvc.yaml").write_text(
        text.replace("    - data/shop/catalogue.json\n", "    - data/shop/catalogue.json\n    - data/kinds.txt\n")
    )
    done = validate(project)
    assert done.returncode == 0, done.stderr


def test_what_was_looked_for_and_is_not_there_was_not_read(tmp_path: Path) -> None:
    """Python looks for compiled code before it reads a module; where it may not write any, there never is."""
    (tmp_path / "module.py").write_text("x = 1")
    with watched(), pytest.raises(FileNotFoundError):
        (tmp_path / "__pycache__/module.cpython-311.pyc").read_bytes()
    assert files_read(tmp_path) == []
