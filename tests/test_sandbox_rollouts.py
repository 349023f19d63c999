"""Rollouts in sandboxes, in real containers: what they are worth, what a death costs, and that nothing is left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sums
from container_engine import IMAGE
from sandbox_box import *  # noqa: F403
from sandbox_box import HERE, SLEEPS, TOOLS, containers, ran
from stage_process import Running, until
from teacher_server import Asked, calls, says, serving

from distill.records import jsonl, schema
from distill.tools.sandbox import owner


class Proxy:
    """A socket at `path` behind which the engine at `host` answers until `close`."""

    def __init__(self, host: str, path: str):
        self.path, self._host, self._open = path, host.removeprefix("unix://"), list[socket.socket]()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(path)
        self._listening.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        Path(self.path).unlink(missing_ok=True)
        for one in [self._listening, *self._open]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, far = self._listening.accept()[0], socket.socket(socket.AF_UNIX)
                far.connect(self._host)
                self._open += [near, far]
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=ends, daemon=True).start()

    def _copy(self, source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                to.sendall(data)
            to.shutdown(socket.SHUT_WR)


def solves(asked: Asked) -> Any:
    """A teacher that has Python add, then answers with what that said."""
    last = asked.body["messages"][-1]
    if last["role"] == "tool":
        return says(f"Answer: {last['content']}")
    n = sums.number(asked.body)
    code = f"r = {n} + 1" if n != 7 else "import os, signal; os.kill(1, signal.SIGKILL); import time; time.sleep(9)"
    return calls((f"c{n}", "run", json.dumps({"code": code})))


def make(project: Path, numbers: list[int], **row: Any) -> None:
    sums.make(project, 0)
    (project / "tools.py").write_text(TOOLS)
    with open(project / "data/seed/sums.jsonl", "w") as file:
        for n in numbers:
            user = {"role": "user", "content": f"what is {n} + 1?"}
            asked = {"messages": [user], "docker": "local/py", "split": "train", "metadata": {"expected_answer": n + 1}}
            file.write(json.dumps({**asked, **row}) + "\n")


def stage(project: Path, name: str, timeout: float = 600, **environment: str) -> Any:
    return Running(project, name, **environment).wait(timeout)


def rollouts(project: Path) -> list[dict[str, Any]]:
    found = [jsonl.read_json(path, "rollout") for path in (project / "rollouts").iterdir()]
    return sorted(found, key=lambda rollout: rollout["messages"][0]["content"])


def test_rollouts_in_sandboxes(client: Any, project: Path, host: str) -> None:
    make(project, [1, 2])
    with serving(solves) as server:
        sums.set_params(project, teacher__base_url=server.base_url)
        assert stage(project, "prompts").returncode == 0
        done = stage(project, "teacher_rollouts")
        assert done.returncode == 0, done.stderr
        first, second = rollouts(project)
        assert [r["messages"][-1]["content"] for r in (first, second)] == ["Answer: 2", "Answer: 3"]
        assert first["docker"]["image"] == "local/py" and not schema.faults("rollout", first)
        assert client.images.get(first["docker"]["id"]).labels["distill.content"]
        assert not containers(client) and len(server.posts) == 4
        before = {path.name: path.read_bytes() for path in (project / "rollouts").iterdir()}

        done = stage(project, "teacher_rollouts", DOCKER_HOST="unix:///no/such/engine.sock")
        assert done.returncode == 0, "what was bought needs no engine"
        assert {path.name: path.read_bytes() for path in (project / "rollouts").iterdir()} == before

        (project / "Dockerfile.py").write_text(SLEEPS + "ENV NEW=1\n")
        done = stage(project, "teacher_rollouts", DOCKER_HOST="unix:///no/such/engine.sock")
        assert done.returncode == 1 and "no container engine answers" in done.stderr, (
            "another image may say another thing"
        )
        assert stage(project, "teacher_rollouts").returncode == 0 and len(server.posts) == 4
        assert rollouts(project)[0]["versions"]["tools"] != first["versions"]["tools"]


def test_rows_that_differ_only_in_their_environment_have_results_of_their_own(client: Any, project: Path) -> None:
    """The question is one, and is asked once; what the tool says in each environment is another."""

    def teacher(asked: Asked) -> Any:
        last = asked.body["messages"][-1]
        looks = calls(("c", "run", json.dumps({"code": "import os; r = os.environ['TASK']"})))
        return says(f"Answer: {last['content']}") if last["role"] == "tool" else looks

    with serving(teacher) as server:
        for task in "ab":
            make(project, [1], docker_env={"TASK": task})
            sums.set_params(project, teacher__base_url=server.base_url)
            assert stage(project, "prompts").returncode == 0
            done = stage(project, "teacher_rollouts")
            assert done.returncode == 0, done.stderr
            assert [one["messages"][-1]["content"] for one in rollouts(project)] == [f"Answer: {task}"]
        assert len(server.posts) == 3


def test_a_container_that_dies_costs_its_rollout(client: Any, project: Path) -> None:
    make(project, [1, 7])
    with serving(solves) as server:
        sums.set_params(project, teacher__base_url=server.base_url)
        assert stage(project, "prompts").returncode == 0
        # SIGKILL of process 1 does nothing from inside, so the container's command is one that a tool can end.
        (project / "Dockerfile.py").write_text(
            f'FROM {IMAGE}\nCMD ["python3", "-c", "import os, time\\nwhile not os.path.exists(\'/tmp/end\'): time.sleep(0.05)"]\n'
        )
        (project / "tools.py").write_text(
            TOOLS.replace(
                "exec(code, names)",
                "exec(code.replace(\"os.kill(1, signal.SIGKILL)\", \"open('/tmp/end', 'w')\"), names)",
            )
        )
        done = stage(project, "teacher_rollouts")
    assert done.returncode == 0, done.stderr
    fine, lost = rollouts(project)
    assert fine["status"] == "completed" and fine["messages"][-1]["content"] == "Answer: 2"
    assert (lost["status"], lost["stop_reason"]) == ("failed", "tool_failure")
    assert "the container of 'local/py' ended with exit code 0" in lost["error"]["message"]


def test_an_engine_that_dies_stops_the_run(client: Any, project: Path, host: str, tmp_path: Path) -> None:
    """The engine dies behind a proxy that hangs up: the one of the tests is needed by others."""
    make(project, [1, 2])
    proxy = Proxy(host, str(tmp_path / "engine.sock"))

    def teacher(asked: Asked) -> Any:
        if asked.body["messages"][-1]["role"] == "user":
            proxy.close()
        return solves(asked)

    with serving(teacher) as server, proxy:
        sums.set_params(project, teacher__base_url=server.base_url)
        assert stage(project, "prompts").returncode == 0
        done = stage(project, "teacher_rollouts", DOCKER_HOST=f"unix://{proxy.path}")
        assert done.returncode == 1 and "the container engine does not answer any more" in done.stderr
        assert not (project / "rollouts").exists() and len(server.posts) == 2
        assert stage(project, "teacher_rollouts").returncode == 0 and len(server.posts) == 4, "and it went on"
    assert [rollout["status"] for rollout in rollouts(project)] == ["completed", "completed"]


def test_rows_that_can_have_no_sandbox_are_refused_before_anything_is_asked(project: Path) -> None:
    make(project, [1])
    with serving(solves) as server:
        sums.set_params(project, teacher__base_url=server.base_url)
        assert stage(project, "prompts").returncode == 0
        done = stage(project, "teacher_rollouts", DOCKER_HOST="unix:///no/such/engine.sock")
        assert done.returncode == 1 and "sums.jsonl:1: /docker: no container engine answers" in done.stderr
        make(project, [1, 2], docker="local/../../x")
        done = stage(project, "prompts")
        assert done.returncode == 1 and all(f"sums.jsonl:{n}: /docker: 'local/../../x'" in done.stderr for n in (1, 2))
        make(project, [1, 2], docker="local/none")
        assert stage(project, "prompts").returncode == 0
        done = stage(project, "teacher_rollouts")
        assert all(
            f"sums.jsonl:{n}: /docker: 'local/none': Dockerfile.none: there is no" in done.stderr for n in (1, 2)
        )
        make(project, [1], docker=None)
        assert stage(project, "prompts").returncode == 0
        done = stage(project, "teacher_rollouts")
        assert "sums.jsonl:1: the tool 'run' runs only in a sandbox, and this row has none" in done.stderr
        assert not server.posts


@pytest.fixture
def busy(project: Path) -> Iterator[Callable[[], "subprocess.Popen[str]"]]:
    """Starts the stage with a tool that sleeps in a sandbox."""
    make(project, [1])
    started = []
    sleeps = calls(("c", "run", json.dumps({"code": "import time; time.sleep(600)"})))
    with serving(lambda asked: sleeps) as server:
        sums.set_params(project, teacher__base_url=server.base_url, agent__tool_timeout_s=600)
        assert stage(project, "prompts").returncode == 0

        def start() -> "subprocess.Popen[str]":
            command = [sys.executable, "-m", "stages.teacher_rollouts"]
            environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
            process = subprocess.Popen(command, cwd=project, env=environment, text=True, stdout=subprocess.PIPE)
            started.append(process)
            return process

        yield start
        for process in started:
            process.kill()
            process.wait()


def test_ctrl_c_leaves_no_container(client: Any, busy: Callable[[], "subprocess.Popen[str]"]) -> None:
    """Nor does it stand still: pressed twice, and by somebody who does not stop pressing."""
    for presses, pause_s in ((2, 0.5), (100_000, 0.005)):
        process = busy()
        until(lambda: [box for box in containers(client) if box["State"] == "running"])
        time.sleep(1)
        for _ in range(presses):
            process.send_signal(signal.SIGINT)
            time.sleep(pause_s)
            if process.poll() is not None:
                break
        process.wait(600)
        assert process.returncode and not containers(client)


def test_the_next_start_removes_what_a_kill_left_behind(
    client: Any, project: Path, busy: Callable[[], "subprocess.Popen[str]"]
) -> None:
    killed, living = busy(), None
    until(lambda: [box for box in containers(client) if box["State"] == "running"])
    killed.kill()
    killed.wait()
    (orphan,) = containers(client)
    living = busy()
    until(lambda: orphan["Id"] not in [box["Id"] for box in containers(client)] and containers(client))
    theirs = {box["Labels"][owner.OWNER] for box in containers(client)}
    assert len(theirs) == 1
    assert ran("r = 1") == ["1"], "a third run"
    assert {box["Labels"][owner.OWNER] for box in containers(client)} == theirs, "which leaves the living alone"
    living.send_signal(signal.SIGINT)
    time.sleep(0.5)
    living.send_signal(signal.SIGINT)
    living.wait()
