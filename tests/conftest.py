"""What many tests stand on: the project in a temporary folder, with stores and caches of its own."""

import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from stage_process import Done, Running

from distill.machine.cores import spin_little
from distill.machine.locked import locked

# A shell starts background jobs with SIGINT ignored, and children inherit that: Ctrl-C tests would then wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Under `make test` a `make` inside of a test would take itself for a part of that one, and say so in its output, which is
# to be read without warnings of libraries, too. And what is not flushed is not to be seen, as on a user's machine.
for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "PYTHONWARNINGS", "PYTHONUNBUFFERED"):
    os.environ.pop(name, None)

# Servers of the tests are on this machine, where no proxy leads, and what the tests commit is nobody's to sign or check.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(
    filter(None, ("127.0.0.1,localhost", os.environ.get("NO_PROXY") or os.environ.get("no_proxy")))
)
os.environ |= {"GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_0": "commit.gpgsign", "GIT_CONFIG_VALUE_0": "false"}
os.environ |= {"GIT_CONFIG_KEY_1": "core.hooksPath", "GIT_CONFIG_VALUE_1": os.devnull}

# The tests run side by side on fewer cores than they are. llama.cpp sets this itself, but here torch may be loaded first.
spin_little()

settings.register_profile("project", deadline=None, derandomize=True, database=None)
settings.load_profile("project")
sys.path.insert(0, str(Path(__file__).parent))
ROOT = Path(__file__).resolve().parents[1]
LONGEST = [
    "test_paid_in_dvc", "test_experiments", "test_pipeline", "test_train", "test_train_machine", "test_llama_server",
    "test_sandbox_rollouts", "test_sandbox", "test_readme", "test_validate", "test_browser", "test_new", "test_serving",
    "test_mcp_lost", "test_mcp", "test_tool_loop", "test_batch_orders", "test_batch", "test_report_conversations",
    "test_convert", "test_reply", "test_weights", "test_filter_workers", "test_teacher_faults", "test_families",
    "test_responses", "test_hub", "test_kinds_of_base",
]  # fmt: skip
"""Files that take longest: they go first, so that side by side with the others none is left over at the end."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What the tests import stays to the end: looking through it for garbage, again and again, takes nearly half of the
    imports' time and slows down every test of a model."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's store of answers."""
    monkeypatch.setenv("DISTILL_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "dvc-site"))


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment as companies have it: a proxy for everything, here one that does not answer."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project's files: those in git and new ones, nothing that was made by a run, but what Python compiled."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    compiled = [str(path.relative_to(ROOT)) for top in ("distill", "stages") for path in (ROOT / top).rglob("*.pyc")]
    folder = tmp_path_factory.mktemp("pristine") / "project"
    for name in (*listed.stdout.decode().splitlines(), *compiled):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture
def project(pristine: Path, tmp_path: Path) -> Path:
    """A copy of the project's files."""
    subprocess.run(["cp", "-a", pristine, tmp_path / "project"], check=True)
    return tmp_path / "project"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of a tiny Qwen3 and of an adapter for it that knows one conversation."""
    import tiny_qwen3

    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # one for all workers
        place = place.parent
    base, adapter = place / "qwen3/base", place / "qwen3/adapter"
    with locked(place / "qwen3.lock"):
        if not adapter.exists():
            tiny_qwen3.write_adapter(tiny_qwen3.write_base(base), adapter)
    return base, adapter


@pytest.fixture
def run_module(project: Path) -> Callable[..., Done]:
    """Runs `python -m <module>` in the project, in a process that starts with the imports done; the code is this one's, not
    that of the project."""
    return lambda name, *arguments, **environment: Running(project, name, *arguments, **environment).wait()


@pytest.fixture
def run_stage(run_module: Callable[..., Done]) -> Callable[..., Done]:
    """Runs `python -m stages.<name>` in the project."""
    return lambda name, *arguments, **environment: run_module(f"stages.{name}", *arguments, **environment)


@pytest.fixture
def set_param(project: Path) -> Callable[[str, object], None]:
    """Sets one dotted key of the project's params.yaml."""
    import json

    from distill.project.params import parse

    def change(key: str, value: object) -> None:
        path = project / "params.yaml"
        params = parse(path.read_text())
        place = params
        *parents, last = key.split(".")
        for parent in parents:
            place = place[parent]
        place[last] = value
        path.write_text(json.dumps(params))

    return change
