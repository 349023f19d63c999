"""The embedded server, with real weights: it answers, tells its callers apart, switches adapters, and stops."""

import asyncio
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import sums
from conftest import ROOT
from rollout_records import call
from stage_process import Running

from distill.records.faults import InputError
from distill.student.tokenizer import load_tokenizer
from distill.teacher.api import chat
from distill.teacher.api.error_response import error_from_response
from distill.teacher.embedded.gguf_model import local_model
from distill.teacher.embedded.llama_server import healthy, serve
from distill.teacher.embedded.weights import find
from distill.tools.python.python_source import load

QUESTION = [{"role": "user", "content": "Name three rivers in Europe."}]
PROJECT = Path(__file__).parent.parent


def test_a_machine_without_openmp_is_told_before_anything_is_asked(tmp_path):
    (tmp_path / "libgomp.so.1").touch()
    lacking = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "distill.commands.models"],
        cwd=PROJECT,
        env=lacking,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error: llama.cpp cannot be loaded: " in done.stderr and "apt-get install libgomp1" in done.stderr


@pytest.fixture(scope="module")
def smol() -> Path:
    return fetched("local/smollm2-135m-instruct")


def fetched(model: str) -> Path:
    try:
        return find(model)[0]
    except InputError as error:
        pytest.skip(f"the weights are neither cached nor to be had: {error}")


def post(endpoint, **body) -> dict:
    """One chat completion, as any OpenAI client asks for it."""
    request = urllib.request.Request(
        f"{endpoint.base_url}/chat/completions",
        json.dumps({"temperature": 0, "max_tokens": 16, **body}).encode(),
        {"Authorization": f"Bearer {endpoint.api_key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)["choices"][0]["message"]


def adapter(path: Path) -> Path:
    """A LoRA that changes what SmolLM2-135M says: random numbers on the queries of its 30 layers."""
    import numpy
    from gguf import GGUFWriter

    random = numpy.random.default_rng(0)
    writer = GGUFWriter(str(path), "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    for layer in range(30):
        name = f"blk.{layer}.attn_q.weight.lora"
        writer.add_tensor(f"{name}_a", random.normal(scale=0.05, size=(4, 576)).astype(numpy.float32))
        writer.add_tensor(f"{name}_b", random.normal(scale=0.5, size=(576, 4)).astype(numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_it_answers_its_owner_only_and_leaves_no_server(smol, capfd):
    with serve(smol, slots=1, context=512) as endpoint:
        assert endpoint.base_url.startswith("http://127.0.0.1:")
        assert "1." in post(endpoint, messages=QUESTION)["content"]
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(endpoint._replace(api_key="guess"), messages=QUESTION)
        assert refused.value.code == 401
    with pytest.raises(urllib.error.URLError):
        post(endpoint, messages=QUESTION)
    assert capfd.readouterr() == ("", "")


def test_a_server_that_is_not_asked_anything_ends_on_a_busy_machine(smol):
    """One that is stopped a moment before it takes questions would never end: of 40 such starts one in most runs."""
    starts = f"""
from pathlib import Path
from distill.teacher.embedded.llama_server import serve
for _ in range(12):
    with serve(Path({str(smol)!r}), slots=1, context=256):
        pass
"""
    side_by_side = [subprocess.Popen([sys.executable, "-c", starts], cwd=ROOT) for _ in range(4)]
    try:
        assert [one.wait(timeout=240) for one in side_by_side] == [0] * 4
    finally:
        for one in side_by_side:
            one.kill()


def test_no_proxy_stands_between(smol, proxy):
    with serve(smol, slots=1, context=256) as endpoint:
        assert healthy(endpoint.base_url.removesuffix("/v1"))
    assert not healthy(endpoint.base_url.removesuffix("/v1"))


def test_one_server_is_base_and_student(smol, tmp_path):
    pytest.importorskip("gguf")
    with serve(smol, slots=1, context=512) as endpoint:
        alone = post(endpoint, messages=QUESTION)
    with serve(smol, slots=1, context=512, adapters=[adapter(tmp_path / "lora.gguf")]) as endpoint:
        student = post(endpoint, messages=QUESTION)
        base = post(endpoint, messages=QUESTION, lora=[{"id": 0, "scale": 0.0}])
        student_again = post(endpoint, messages=QUESTION, lora=[{"id": 0, "scale": 1.0}])
    assert base == alone
    assert student == student_again != base


def test_the_teacher_calls_a_tool_through_the_template():
    model = "local/qwen2.5-coder-0.5b-instruct"
    first = json.loads((PROJECT / "data/seed/shop.jsonl").read_text().splitlines()[0])
    shown = [
        message
        for line in (PROJECT / "data/demonstrations.jsonl").read_text().splitlines()
        for message in json.loads(line)["messages"]
    ]
    asked = [first["messages"][0], *shown, *first["messages"][1:]]
    tools = [tool.schema for tool in load(PROJECT / "tools.py").values()]
    with serve(fetched(model), slots=1, context=2048, template=find(model)[1].template) as endpoint:
        message = post(endpoint, messages=asked, tools=tools, max_tokens=64)
    function = message["tool_calls"][0]["function"]
    assert function["name"] == "lookup_item"
    assert json.loads(function["arguments"]) == {"sku": first["metadata"]["items"][0], "field": "price"}


def test_a_student_of_its_kind_calls_as_it_does():
    """Its own template has `<tool_call>`, which it never learned."""
    model = "local/qwen2.5-coder-0.5b-instruct"
    fetched(model)
    assert load_tokenizer(model).template == find(model)[1].template.read_text()


def test_a_call_that_llama_cpp_cannot_read_is_read_here():
    """Without demonstrations the small teacher writes calls as Python has dicts."""
    name = "local/qwen2.5-coder-0.5b-instruct"
    seed = (PROJECT / "template/data/seed/prompts.jsonl").read_text().splitlines()
    tools = [tool.schema for tool in load(PROJECT / "template/tools.py").values()]
    unread = []
    with serve(fetched(name), slots=1, context=2048, template=find(name)[1].template) as endpoint:
        for asked in [json.loads(line)["messages"] for line in seed]:
            try:
                post(endpoint, messages=asked, tools=tools, max_tokens=64)
            except urllib.error.HTTPError as error:
                assert error_from_response(error.code, {}, error.read()).kind == "call_unreadable"
                unread.append(asked)
                break

    # Another processor rounds otherwise, so that one question or the other may get a call that can be read.
    model = local_model(name, slots=1)

    async def ask() -> dict:
        asked = chat.request(model.identity, unread[0], tools, {"temperature": 0, "max_tokens": 64})
        try:
            return await model.ask(asked)
        finally:
            await model.close()

    read = asyncio.run(ask())
    [call] = read["message"]["tool_calls"]
    assert read["finish_reason"] == "tool_calls" and call["id"] == "call_1"
    assert call["function"]["name"] in [tool["function"]["name"] for tool in tools]


def test_its_responses_api_makes_a_teacher_too(tmp_path):
    """Demonstrations included: it wants the type of each item, where OpenAI takes messages without one."""
    project, name = sums.bare(tmp_path), "local/qwen2.5-coder-0.5b-instruct"
    settings = {"teacher__api": "responses", "teacher__demonstrations": "shown.jsonl", "agent__max_turns": 2}
    sums.make(project, 4, model="a-gguf", **settings)
    shown = [
        {"role": "user", "content": "what is 41 + 1?"},
        {"role": "assistant", "content": "I add.", "tool_calls": [call("c", "add", '{"a": 41, "b": 1}')]},
        {"role": "tool", "tool_call_id": "c", "content": "42"},
        {"role": "assistant", "content": "Answer: 42"},
    ]
    (project / "shown.jsonl").write_text(json.dumps({"messages": shown}) + "\n")
    assert Running(project, "prompts").wait().returncode == 0
    with serve(fetched(name), slots=1, context=2048, template=find(name)[1].template) as endpoint:
        sums.set_params(project, teacher__base_url=endpoint.base_url, teacher__max_output_tokens=64)
        done = Running(project, "teacher_rollouts", TEACHER_API_KEY=endpoint.api_key).wait()
    assert done.returncode == 0, done.stderr
    rollouts = [json.loads(path.read_text()) for path in (project / "rollouts").iterdir()]
    # Which of them calls the tool, and which ends within its tokens and turns, is the small model's choice, and another
    # processor's rounding can change it: what the API may not do is to refuse one.
    assert [rollout["error"] for rollout in rollouts if rollout["error"]] == []
    assert any(message["role"] == "tool" for rollout in rollouts for message in rollout["messages"])


def test_a_broken_model_or_adapter_is_refused_with_llamas_reason(smol, tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(smol.read_bytes()[:5_000_000])
    with pytest.raises(InputError, match="broken.gguf: llama.cpp cannot serve it: .*corrupted or incomplete"):
        with serve(broken, slots=1, context=512):
            pass
    with pytest.raises(InputError, match="expect general.type to be 'adapter'"):
        with serve(smol, slots=1, context=512, adapters=[smol]):
            pass
    with pytest.raises(InputError, match="gone.gguf: llama.cpp cannot serve it: failed to open"):
        with serve(tmp_path / "gone.gguf", slots=1, context=512):
            pass
