"""The browser example through the real Playwright MCP server and a real Chromium, asked for by a scripted teacher."""

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from loaded_module import module
from npm_packages import installed
from stage_process import Running
from teacher_server import Asked, calls, says, serving

from distill.project.params import parse
from distill.tools import toolbox
from distill.tools.source import SessionLost

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples/browser"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
VISITS = """<title>Visits</title><p id="told"></p><script>
const visits = Number(localStorage.visits || 0) + 1, cookie = /n=(\\d+)/.exec(document.cookie);
localStorage.visits = visits;
document.cookie = `n=${Number(cookie ? cookie[1] : 0) + 1}; max-age=3600`;
document.getElementById("told").textContent = `visit ${visits}, ${document.cookie}`;
</script>"""
HEAVY = "<title>Heavy</title><table>" + ("<tr>" + "<td>cell</td>" * 8 + "</tr>") * 600 + "</table>"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as `make browser-example` makes it, with pages of the tests beside those of the register."""
    if not any(map(shutil.which, BROWSERS)):
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    packages = installed(EXAMPLE)
    folder = tmp_path_factory.mktemp("browser")
    module(ROOT / "examples/workspace.py").make("browser", folder)
    (folder / "browser/node_modules").symlink_to(packages / "node_modules")
    (folder / "browser/site/visits.html").write_text(VISITS)
    (folder / "browser/site/heavy.html").write_text(HEAVY)
    return folder


@pytest.fixture
def here(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workspace as the current folder, with the `python` of the tests."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.chdir(workspace)
    return workspace


def in_browser(work: Callable[[toolbox.Toolbox], Any], url: str | None = None) -> Any:
    """What `work` makes of the example's toolbox; with `url`, of a server that listens there."""
    params = parse(Path("params.yaml").read_text())
    server = params["tools"]["mcp"]["browser"]
    if url:
        del server["command"], server["args"]
        server["url"] = url

    async def run() -> Any:
        async with toolbox.opened(params, [{"source": "seed:1"}]) as box:
            return await work(box)

    return asyncio.run(run())


async def goes(session: Any, page: str) -> str:
    return await does(session, "browser_navigate", url=f"http://trials.example/{page}")


async def does(session: Any, name: str, **arguments: str) -> str:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return (await session.call({"id": "c", "type": "function", "function": function})).content


def running(name: str) -> list[psutil.Process]:
    """The processes below this one whose program is called so."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it may be gone by now
            if name in Path((process.cmdline() or [""])[0]).name:
                found.append(process)
    return found


@contextmanager
def listening(folder: Path) -> Iterator[str]:
    """The example's server over HTTP: its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen([sys.executable, "-m", "browser.server", "--port", str(port)], cwd=folder) as process:
        try:
            end = time.monotonic() + 300
            while socket.socket().connect_ex(("127.0.0.1", port)):
                assert process.poll() is None and time.monotonic() < end, "the browser's server did not start"
                time.sleep(0.05)
            yield f"localhost:{port}"
        finally:
            process.terminate()


# With a teacher


def conversation(asked: Asked) -> tuple[str, list[str]]:
    """What the user asks last, and what the tools have said since."""
    messages = asked.body["messages"]
    start = max(place for place, message in enumerate(messages) if message["role"] == "user")
    return messages[start]["content"], [told["content"] for told in messages[start:] if told["role"] == "tool"]


def looks_up(asked: Asked) -> dict[str, Any]:
    """A teacher who opens the trial, finds the link to its sponsor on the page, follows it, and reads the city."""
    question, told = conversation(asked)
    trial = re.search(r"LT-\d+", question)
    assert trial
    if not told:
        return calls(("c1", "browser_navigate", json.dumps({"url": f"http://trials.example/{trial[0]}.html"})))
    if len(told) == 1:
        ref = re.search(r'text: "Sponsor:"\n.*\[ref=(\w+)\]', told[0])
        assert ref, told[0]
        return calls(("c2", "browser_click", json.dumps({"target": ref[1]})))
    city = re.search(r'"City: (.*)"', told[1])
    assert city, told[1]
    return says(f"Answer: {city[1]}")


def rollouts(folder: Path, reply: Callable[[Asked], Any], *rows: int, **runtime: Any) -> list[dict[str, Any]]:
    """What the stage writes about these rows of the seed, in their order, with a teacher who replies so."""
    seed = (EXAMPLE / "seed.jsonl").read_text().splitlines()
    (folder / "data/seed/browser.jsonl").write_text("".join(seed[row] + "\n" for row in rows))
    settings = (folder / "params.yaml").read_text()
    params = parse(settings) | {"model": "scripted"}
    params["runtime"] |= {"unknown_price": "allow", **runtime}
    try:
        with serving(reply) as books:
            params["teacher"]["base_url"] = books.base_url
            (folder / "params.yaml").write_text(json.dumps(params))
            runs(folder, "prompts", "teacher_rollouts")
    finally:
        (folder / "params.yaml").write_text(settings)
    ids = [json.loads(line)["id"] for line in (folder / "data/prompts.jsonl").read_text().splitlines()]
    found = [json.loads(path.read_text()) for path in (folder / "rollouts").glob("*.json")]
    return sorted(found, key=lambda rollout: ids.index(rollout["prompt_id"]))


def runs(folder: Path, *stages: str) -> None:
    for stage in stages:
        done = Running(folder, stage).wait()
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_teacher_reads_a_page_clicks_and_answers(here: Path) -> None:
    both = rollouts(here, looks_up, 10, 13)
    assert [rollout["stop_reason"] for rollout in both] == ["final_answer"] * 2
    page, sponsor = [message["content"] for message in both[0]["messages"] if message["role"] == "tool"]
    assert 'listitem [ref=e4]: "Drug: verolimab"' in page and 'listitem [ref=f1e4]: "City: Tromsø"' in sponsor
    assert both[0]["messages"][-1]["content"] == "Answer: Tromsø"
    assert both[1]["messages"][-1]["content"] == "Answer: Brisbane"
    for noise in (".yml", "Console", "output/"):
        assert noise not in page + sponsor
    assert [tool["function"]["name"] for tool in both[0]["tools"]] == [
        "browser_click",
        "browser_navigate",
        "browser_type",
    ]
    runs(here, "convert", "filter")
    kept = [json.loads(line) for line in (here / "data/train.jsonl").read_text().splitlines()]
    assert [row["outcome"]["answer"] for row in kept] == ["Tromsø", "Brisbane"]


def test_calls_of_one_turn_wait_for_each_other(here: Path) -> None:
    trials = ["LT-1042", "LT-1057", "LT-1063", "LT-1078"]

    def all_at_once(asked: Asked) -> dict[str, Any]:
        if conversation(asked)[1]:
            return says("Answer: none")
        urls = [json.dumps({"url": f"http://trials.example/{trial}.html"}) for trial in trials]
        return calls(*((f"c{place}", "browser_navigate", url) for place, url in enumerate(urls)))

    (rollout,) = rollouts(here, all_at_once, 0)
    told = [message["content"] for message in rollout["messages"] if message["role"] == "tool"]
    assert [re.findall(r"Page URL: .*/(LT-\d+).html", page) for page in told] == [[trial] for trial in trials]


@pytest.mark.parametrize("program", ["node", "chrom"])
def test_a_crash_costs_its_own_rollout_at_most(here: Path, program: str) -> None:
    struck: list[str] = []

    def strikes(asked: Asked) -> dict[str, Any]:
        question, told = conversation(asked)
        if told and not struck:
            for process in running(program):
                process.kill()
                struck.append(question)
        return says("Answer: it broke") if told and told[-1].startswith("error: ") else looks_up(asked)

    first, second = rollouts(here, strikes, 10, 13, api_concurrency=1)
    assert set(struck) == {first["messages"][1]["content"]}
    # Without its server a rollout is played again; without its browser, Playwright's server says so to the teacher.
    assert first["messages"][-1]["content"] == ("Answer: Tromsø" if program == "node" else "Answer: it broke")
    assert second["messages"][-1]["content"] == "Answer: Brisbane"


# Without


@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_rollouts_share_neither_cookies_nor_storage(here: Path, transport: str) -> None:
    async def both(box: toolbox.Toolbox) -> list[list[str]]:
        both_are_there = asyncio.Barrier(2)

        async def visits() -> list[str]:
            async with box.open({}) as session:
                first = await goes(session, "visits.html")
                await both_are_there.wait()
                return [first, await goes(session, "visits.html")]

        return list(await asyncio.gather(visits(), visits()))

    if transport == "stdio":
        found = in_browser(both)
    else:
        with listening(here) as url:
            found = in_browser(both, url)
    for first, second in found:
        assert "visit 1, n=1" in first and "visit 2, n=2" in second


def test_a_heavy_page_is_cut_and_the_rollout_goes_on(here: Path) -> None:
    async def work(box: toolbox.Toolbox) -> list[str]:
        async with box.open({}) as session:
            return [await goes(session, "heavy.html"), await goes(session, "LT-1042.html")]

    heavy, after = in_browser(work)
    cut = re.search(r"\n\[cut: the first 6000 of (\d+) characters\]$", heavy)
    assert cut and int(cut[1]) > 150_000 and len(heavy) < 6100
    assert "verolimab" in after


def test_nothing_but_the_site_is_reached(here: Path) -> None:
    came = []
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        def wait() -> None:
            while True:
                try:
                    came.append(other.accept()[1])
                except OSError:
                    return

        threading.Thread(target=wait, daemon=True).start()
        address = f"http://127.0.0.1:{port}/"
        (here / "browser/site/out.html").write_text(
            f'<p>Out</p><img src="{address}"><iframe src="{address}"></iframe><script src="http://localhost:{port}/">'
            f'</script><script>fetch("{address}"); new WebSocket("ws://127.0.0.1:{port}/"); '
            f'new Worker(URL.createObjectURL(new Blob([`fetch("{address}")`])))</script>'
        )

        async def work(box: toolbox.Toolbox) -> list[str]:
            async with box.open({}) as session:
                return [
                    await goes(session, "out.html"),
                    await does(session, "browser_navigate", url=address),
                    await does(session, "browser_navigate", url="file:///etc/passwd"),
                ]

        page, directly, file = in_browser(work)
        other.shutdown(socket.SHUT_RDWR)
    assert "Out" in page and not came
    assert directly.startswith("error: net::ERR_") and file.startswith("error: ")


def test_no_process_and_no_file_is_left(here: Path) -> None:
    async def work(box: toolbox.Toolbox) -> Path:
        async with box.open({}) as session:
            await goes(session, "index.html")
            (node,) = running("node")
            assert running("chrom")
            return Path(node.cmdline()[-1]).parent

    folder = in_browser(work)
    assert folder.name.startswith("browser-") and not folder.exists()
    assert not running("node") and not running("chrom")


def test_what_the_machine_lacks_is_said(here: Path, tmp_path: Path) -> None:
    told = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "browser.server", "--install"]
    done = subprocess.run(command, env=told, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.search(r"error: Node.js 20 or newer is needed, and it is missing; .*apt-get install nodejs", done.stderr)
    assert "error: npm is missing" in done.stderr and "apt-get install chromium" in done.stderr


# The example


def test_the_files_are_what_their_script_makes_and_the_browser_says(here: Path) -> None:
    make = module(EXAMPLE / "make.py")
    assert {path.name: path.read_text() for path in (EXAMPLE / "site").iterdir()} == make.pages()
    names = ("seed.jsonl", "demonstrations.jsonl")
    kept = [[json.loads(line) for line in (EXAMPLE / name).read_text().splitlines()] for name in names]
    assert kept == [make.questions(), asyncio.run(make.demonstrations())]


def test_the_server_is_pinned_by_name_version_and_hash_only() -> None:
    lock = json.loads((EXAMPLE / "package-lock.json").read_text())["packages"]
    (package,) = lock[""]["dependencies"]
    assert lock[f"node_modules/{package}"]["version"] == lock[""]["dependencies"][package]
    assert all(entry.get("integrity") and "resolved" not in entry for name, entry in lock.items() if name)


def test_a_lost_session_is_told_apart_from_a_wrong_call(here: Path) -> None:
    async def work(box: toolbox.Toolbox) -> str:
        async with box.open({}) as session:
            await goes(session, "index.html")
            wrong = await does(session, "browser_click", target="e999")
            for process in running("node"):
                process.kill()
            with pytest.raises(SessionLost, match="MCP server 'browser'"):
                await goes(session, "index.html")
            return wrong

    assert in_browser(work).startswith("error: Ref e999 not found")
