"""`make` takes a Python for which every pinned package has a wheel, and says so where there is none."""

import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from distill.agent import tools_version


@pytest.fixture
def old_python(tmp_path: Path) -> Path:
    """A folder for PATH, with the `python3` of Ubuntu 22.04 as far as make asks it, and an empty project beside it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "sed", "touch"):
        (folder / name).symlink_to(str(shutil.which(name)))
    (folder / "python3").write_text("#!/bin/sh\n[ $1 = --version ] && echo Python 3.10.12\n")
    (folder / "python3").chmod(0o755)
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks/uv.lock").touch()
    shutil.copy(ROOT / "Makefile", tmp_path)
    return folder


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    start = [str(shutil.which("make")), ".venv/bin/uv", *arguments]
    told = {"PATH": str(folder), "PIP_NO_INDEX": "1"}
    return subprocess.run(start, cwd=folder.parent, env=told, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("named", [True, False], ids=["by the user", "on the path"])
def test_an_old_python_is_refused_before_anything_is_made(old_python: Path, named: bool) -> None:
    name = str(old_python / "python3") if named else "python3"
    said = make(old_python, *([f"PYTHON={name}"] if named else []))
    assert said.returncode
    assert f"error: Python 3.11 to 3.14 is needed, and {name} is Python 3.10.12;" in said.stdout
    assert not (old_python.parent / ".venv").exists()


@pytest.mark.parametrize("named", [True, False], ids=["by the user", "on the path"])
def test_a_newer_one_is_taken(old_python: Path, named: bool) -> None:
    if not named:
        (old_python / "python3.11").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (old_python / "python3.11").chmod(0o755)
    make(old_python, *([f"PYTHON={sys.executable}"] if named else []))
    found = subprocess.run(
        [old_python.parent / ".venv/bin/python", "--version"], capture_output=True, text=True, check=True
    )
    assert found.stdout.split()[1] == sys.version.split()[0]


@pytest.mark.parametrize("reachable", [True, False], ids=["PyTorch's index", "a mirror of PyPI alone"])
@pytest.mark.parametrize("driver", ["new", "old"])
def test_a_machine_with_a_driver_gets_torch_for_it(old_python: Path, reachable: bool, driver: str) -> None:
    """The second build is for the newest CUDA, and uv takes the one for CPUs where the driver is too old for all others."""
    project, bin_ = old_python.parent, old_python.parent / ".venv/bin"
    bin_.mkdir(parents=True)
    index = "exit 0" if reachable else 'case "$*" in *--torch-backend*) exit 2; esac'
    for program, script in {
        old_python / "nvidia-smi": "exit 0",
        bin_ / "uv": f'echo uv "$@"\n{index}',
        bin_ / "python": "exit 0" if driver == "new" else "exit 1",
    }.items():
        program.write_text(f"#!/bin/bash\n{script}\n")
        program.chmod(0o755)
    for file in ("base.lock", "train.lock", "gpu.lock", "torch.txt"):
        (project / "locks" / file).touch()
    start = [str(shutil.which("make")), ".venv/.train"]
    done = subprocess.run(
        start, cwd=project, env={"PATH": str(old_python)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    torchs = [line for line in done.stdout.splitlines() if line.endswith("locks/torch.txt")]
    assert ["--torch-backend auto" in line for line in torchs] == ([True] if reachable else [True, False])
    assert ("torch cannot use the card, so that all runs on the CPU" in done.stdout) == (driver == "old")


def test_a_python_without_the_packages_says_what_to_do() -> None:
    """As `.venv/bin/dvc` starts a stage where the environment is not active."""
    start = [sys.executable, "-S", "-m", "stages.prompts"]
    done = subprocess.run(start, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "does not have the project's packages: type `. .venv/bin/activate`" in done.stderr


PYTHONS = ("python3.11", "python3.12", "python3.13", "python3.14")


def test_the_same_tools_are_the_same_under_every_python() -> None:
    """Else another one runs all tools again, and what they then say has to be answered, and paid for, again."""
    others = Path("~/.pyenv/versions").expanduser().glob("3.1[1-4].*/bin/python")
    pythons = [sys.executable, *filter(None, map(shutil.which, PYTHONS)), *map(str, others)]
    code = b"def f(): # new\n  return []\nclass A: a = ', type_params'"
    asked = f"import ast, sys\n{inspect.getsource(tools_version._code)}\nprint(_code({code!r}))"
    runs = [subprocess.run([python, "-c", asked], capture_output=True, text=True, check=False) for python in pythons]
    assert runs[0].returncode == 0, runs[0].stderr
    assert {run.stdout.strip() for run in runs if run.returncode == 0} == {
        "Module(body=[FunctionDef(name='f', args=arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[],"
        " defaults=[]), body=[Return(value=List(elts=[], ctx=Load()))], decorator_list=[]), ClassDef(name='A', bases=[],"
        " keywords=[], body=[Assign(targets=[Name(id='a', ctx=Store())], value=Constant(value=', type_params'))],"
        " decorator_list=[])], type_ignores=[])"
    }
