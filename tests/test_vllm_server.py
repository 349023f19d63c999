"""A student in vLLM: its command line, a `vllm` that takes just that, and its beginning and end."""

import asyncio
import json
import os
import re
import shlex
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from chat_server import calls, says, serving
from conftest import ROOT
from families import bundled, own
from stage_process import until
from tiny_qwen3 import GREEDY, PROMPT, QUESTION, sit

from distill.records import schema
from distill.records.faults import InputError
from distill.student.serving import vllm_server
from distill.student.serving.in_process import InProcess
from distill.student.serving.open_student import open_student, sampling
from distill.student.serving.remote import Served
from distill.student.tokenizer import read_tokenizer
from distill.teacher.api import chat
from distill.teacher.embedded.llama_server import Endpoint
from distill.teacher.errors import Fatal

VLLM = """#!{python}
# Takes vLLM's command line; answers with the right call as `student`, with a wrong one as the base.
import argparse, json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
parser = argparse.ArgumentParser()
for name in ("--served-model-name", "--lora-modules", "--max-lora-rank", "--chat-template", "--tool-call-parser",
             "--reasoning-parser", "--max-model-len", "--generation-config", "--override-generation-config",
             "--chat-template-content-format", "--host", "--port"):
    parser.add_argument(name, required=True)
for flag in ("--enable-lora", "--enable-auto-tool-choice"):
    parser.add_argument(flag, action="store_true", required=True)
parser.add_argument("command")
parser.add_argument("base")
given = parser.parse_args()
open({record!r}, "w").write(repr(vars(given)) + str(os.getpid()).rjust(12))
if given.port == "1":
    sys.exit("no such card")
skus = {{given.lora_modules.split("=")[0]: "G101", given.served_model_name: "G108"}}
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({{}})
    def do_POST(self):
        assert self.headers["Authorization"] == "Bearer " + os.environ["VLLM_API_KEY"]
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        last, message = asked["messages"][-1], {{"role": "assistant", "content": None}}
        if last["role"] == "tool":
            message["content"] = "Answer: " + str(json.loads(last["content"])["stock"] + 2)
        else:
            function = {{"name": "lookup_item", "arguments": json.dumps({{"sku": skus[asked["model"]]}})}}
            message["tool_calls"] = [{{"id": "chatcmpl-tool-1f", "type": "function", "function": function}}]
        self.answer({{"choices": [{{"message": message, "finish_reason": "stop"}}]}})
    def answer(self, content):
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
HTTPServer((given.host, int(given.port)), Handler).serve_forever()
"""


@pytest.fixture
def vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `vllm` on the path; the file where it writes what it was given, and its process id."""
    record, script = tmp_path / "given", tmp_path / "bin/vllm"
    script.parent.mkdir()
    script.write_text(VLLM.format(python=sys.executable, record=str(record)))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    return record


def command_of(trained: tuple[Path, Path], temperature: float = 0) -> list[str]:
    """vLLM's command for a base and an adapter."""
    base, adapter = trained
    tokenizer = read_tokenizer(adapter, (adapter / "chat_template.jinja").read_text())
    return vllm_server.arguments(base, "base", adapter, tokenizer, temperature)


def test_the_manuals_command_is_the_one_that_is_run(trained):
    [line] = re.findall(r"(?m)^vllm serve .*$", (ROOT / "docs/student.md").read_text().replace("\\\n", " "))
    ours = command_of(trained)
    ours = ours[: ours.index("--served-model-name")] + ours[ours.index("--max-model-len") :]
    fixed = [word for word in shlex.split(line) if "models/" not in word and word not in ("Qwen/Qwen3-8B", "32")]
    assert fixed == [word for word in ours if str(trained[0].parent) not in word and word != "16"]
    assert [*{*command_of(trained, 0.6)} - {*command_of(trained)}] == ['{"temperature": 0.6}']


@pytest.mark.parametrize(
    ("free", "share", "count"),
    [
        ([(23.5, 24)], "0.92", 1),
        ([(19, 24)], "0.75", 1),  # a desktop is shown on it
        ([(23.5, 24), (10, 24)], "0.92", 1),
        ([(3.9, 4), (3.9, 4), (3.5, 4)], "0.72", 2),  # its four heads cannot be split among three
        ([(3.9, 4)], "0.72", 1),
    ],
)
def test_vllm_takes_what_is_free_and_as_many_cards_as_the_base_needs(free, share, count, trained, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: len(free))
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda card: tuple(gib * 2**30 for gib in free[card]))
    assert vllm_server.cards(trained[0]) == ["--gpu-memory-utilization", share, "--tensor-parallel-size", str(count)]


@pytest.mark.parametrize(
    ("heads", "pairs", "gib", "free", "told"),
    [
        (64, 8, 131, [(79, 80)] * 7 + [(2, 80)], ("0.92", 2)),  # the last card is another's
        (28, 4, 15.2, [(15.5, 16)] * 8, ("0.90", 2)),  # seven would split 28 heads, but no other part of Qwen2.5 7B
        (28, 4, 40, [(15.5, 16)] * 8, ("0.90", 4)),
        (40, 10, 26, [(15.5, 16)] * 4, ("0.90", 2)),  # ten keys cannot be split among four
        (16, 8, 40, [(23.5, 24), (1.5, 24)], ("0.92", 1)),  # too large for either: vLLM says so
    ],
)
def test_the_base_is_split_among_no_more_cards_than_it_needs(heads, pairs, gib, free, told, tmp_path, monkeypatch):
    config = {"model_type": "qwen2", "num_attention_heads": heads, "num_key_value_heads": pairs}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()
    os.truncate(tmp_path / "model.safetensors", int(gib * 2**30))
    monkeypatch.setattr("torch.cuda.device_count", lambda: len(free))
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda card: tuple(int(gib * 2**30) for gib in free[card]))
    share, count = told
    assert vllm_server.cards(tmp_path) == ["--gpu-memory-utilization", share, "--tensor-parallel-size", str(count)]


def test_a_card_that_is_full_is_told_before_vllm_hears_of_a_negative_share(trained, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda card: (2**29, 24 * 2**30))
    with pytest.raises(InputError, match="0.5 of 24.0 GB are free on the first card: .* CUDA_VISIBLE_DEVICES"):
        vllm_server.cards(trained[0])


@pytest.mark.parametrize("name", ["lora_rank", "qlora_rank"])
def test_no_adapter_is_trained_that_vllm_would_not_serve(name):
    allowed = schema.load("params")["properties"]["student"]["properties"][name]
    assert allowed["maximum"] == vllm_server.RANKS[-1]


@pytest.mark.parametrize(
    ("family", "parsers"),
    [
        ("qwen2_5", ["hermes"]),
        ("qwen3_8", ["qwen3_coder", "--reasoning-parser", "qwen3"]),
        ("qwen3_5_nothink", ["qwen3_coder"]),
        ("llama3_1", ["llama3_json"]),
        ("gemma4_v5", ["gemma4", "--reasoning-parser", "gemma4"]),
        ("lfm2_2_5", ["lfm2"]),
    ],
)
def test_the_template_says_how_calls_and_thoughts_are_read(family, parsers, trained, tmp_path):
    adapter = shutil.copytree(trained[1], tmp_path / "adapter")
    (adapter / "chat_template.jinja").write_text(own(family), encoding="utf-8")
    command = command_of((trained[0], adapter))
    assert command[command.index("--tool-call-parser") + 1 :] == parsers


def test_a_vllm_that_dies_says_why(vllm, trained):
    command = command_of(trained)
    with pytest.raises(Fatal, match="vllm ended with 1:\nno such card"):
        with vllm_server.started(command, 1, threading.Event()):
            pass


def test_a_vllm_that_dies_while_it_serves_says_why(vllm, trained, capsys):
    with vllm_server.started(command_of(trained), 0, threading.Event()):
        process = int(vllm.read_text()[-12:])
        os.kill(process, 9)
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
    assert "vllm ended with -9:" in capsys.readouterr().out


def test_vllm_is_started_asked_and_ended(vllm, trained, monkeypatch):
    """By the evaluation itself, and, as `runtime.student_url`, by the user."""
    command = command_of(trained)
    settings = {"student": {"path": "base"}, "runtime": {"student_url": None}, "evaluate": GREEDY}

    @contextmanager
    def start(port: int, stop: threading.Event) -> Iterator[Endpoint]:
        with vllm_server.started(command, port, stop) as endpoint:
            monkeypatch.setenv("STUDENT_API_KEY", endpoint.api_key)
            settings["runtime"]["student_url"] = endpoint.base_url
            [wrong] = sit(open_student(settings, trained[1]), 0.0, PROMPT)
            assert wrong["correct"] is False
            yield endpoint

    [right] = sit(Served(start, "base"), 1.0, PROMPT)
    given = vllm.read_text()
    for part in ("'tool_call_parser': 'hermes'", "'reasoning_parser': 'qwen3'", "'max_lora_rank': '16'", "student="):
        assert part in given
    assert right["correct"] is True and right["messages"][2]["tool_calls"][0]["id"] == "call_1"
    with pytest.raises(ProcessLookupError):
        os.kill(int(given[-12:]), 0)


@pytest.mark.skipif(not shutil.which("vllm"), reason="vLLM is not installed")
def test_a_real_vllm_serves_base_and_student(trained):
    [right], [wrong] = (
        sit(Served(lambda *where: vllm_server.started(command_of(trained), *where), "base"), scale, PROMPT)
        for scale in (1.0, 0.0)
    )
    assert right["correct"] is True and right["messages"][2]["tool_calls"][0]["id"] == "call_1"
    assert wrong["correct"] is False and wrong["tool_calls"] == wrong["valid_calls"] == 1


def test_thoughts_of_earlier_turns_reach_servers_of_either_name():
    thought = {"role": "assistant", "content": "3", "reasoning_content": "1 + 2"}
    messages = [*QUESTION, thought, {"role": "user", "content": "And 4?"}]

    async def ask(url: str) -> None:
        model = Served.at(url, "base")
        await model.ask(chat.request(model.identity, messages, [], sampling(GREEDY, 1.0)))
        await model.close()

    with serving(lambda body: says("7")) as server:
        asyncio.run(ask(server.base_url))
    assert server.asked[0]["messages"] == [*QUESTION, thought | {"reasoning": "1 + 2"}, messages[-1]]


def as_text(sku: str) -> dict[str, Any]:
    """A call as Qwen3 writes it, which nobody has read."""
    return says(f'<tool_call>\n{{"name": "lookup_item", "arguments": {{"sku": "{sku}"}}}}\n</tool_call>')


def sit_at(url: str, trained: tuple[Path, Path], count: int) -> list[dict[str, Any]]:
    """An exam of `count` prompts at a URL."""
    settings = {"student": {"path": "base"}, "runtime": {"student_url": url}, "evaluate": GREEDY}
    return sit(open_student(settings, trained[1]), 1.0, *(PROMPT | {"id": f"{n:016}"} for n in range(count)))


def test_a_server_that_does_not_read_calls_ends_the_exam(trained):
    """As vLLM does under the wrong --tool-call-parser: the student would seem to call no tools."""
    with serving(lambda body: as_text("G101")) as server:
        with pytest.raises(InputError, match="its server gives tool calls as text, such as '<tool_call>") as ended:
            sit_at(server.base_url, trained, 3)
        assert "--tool-call-parser hermes" in str(ended.value)
        assert [talk["tool_calls"] for talk in sit_at(server.base_url, trained, 2)] == [0, 0]
    with serving(lambda body: says('{"name": "Ada", "arguments": {}}')) as server:
        assert len(sit_at(server.base_url, trained, 4)) == 4


def test_a_server_that_reads_some_calls_is_not_to_blame(trained):
    read = calls(("a", "lookup_item", '{"sku": "G101"}'))
    with serving(lambda body: as_text("G101") if len(server.asked) % 2 else read) as server:
        assert len(sit_at(server.base_url, trained, 6)) == 6


def test_transformers_serves_what_vllm_has_no_parser_for(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr("distill.student.serving.open_student.cuda", lambda: True)
    settings = {"student": {"path": "base"}, "runtime": {"student_url": None}, "evaluate": GREEDY}
    assert isinstance(open_student(settings, trained[1]), Served) and not capsys.readouterr().out
    adapter = shutil.copytree(trained[1], tmp_path / "adapter")
    (adapter / "chat_template.jinja").write_text(bundled("smollm2"))
    assert isinstance(open_student(settings, adapter), InProcess)
    assert "vLLM has no parser for calls as" in capsys.readouterr().out


def test_a_server_that_is_still_starting_ends_with_the_student(tmp_path):
    written = tmp_path / "pid"
    program = f"import os, time; open({str(written)!r}, 'w').write(str(os.getpid())); time.sleep(600)"

    async def leave() -> None:
        model = Served(lambda *where: vllm_server.started([sys.executable, "-c", program], *where), "base")
        asked = asyncio.create_task(model.ask(chat.request(model.identity, QUESTION, [], sampling(GREEDY, 1.0))))
        await asyncio.to_thread(until, lambda: written.exists() and written.read_text())
        asked.cancel()
        await model.close()

    asyncio.run(leave())
    with pytest.raises(ProcessLookupError):
        os.kill(int(written.read_text()), 0)
