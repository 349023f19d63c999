"""Opens the student with the interface of the teacher, by whatever can serve it here; one server is base and student.

An endpoint of the user's own (`runtime.student_url`), the embedded llama.cpp for `local/<name>` and GGUF files, vLLM
where it is installed beside a CUDA device, else transformers in this process.
"""

import importlib.util
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from distill.project.terminal import say
from distill.records.faults import InputError
from distill.records.types import Params, Sampling, ToolSchema
from distill.student import base, hub
from distill.student.serving.in_process import InProcess
from distill.student.serving.llama_loaded import LlamaLoaded
from distill.student.serving.loaded import Loaded
from distill.student.serving.remote import Served
from distill.student.serving.reply import form
from distill.student.serving.vllm_server import arguments, call_parser, cards, cuda, started
from distill.student.tokenizer import TEMPLATE, Tokenizer, read_tokenizer, template_of
from distill.teacher.api.http import check_url
from distill.teacher.api.unread_calls import UnreadCalls
from distill.teacher.embedded import gguf_model, weights
from distill.teacher.embedded.llama_server import Endpoint
from distill.teacher.model import Model

ADAPTER_GGUF = "adapter.gguf"
UNREAD = 3
"""Calls in the text of a student whose server has parsed none, after which the exam ends."""
NEEDED = ("adapter_config.json", TEMPLATE, "tokenizer.json")


def open_student(params: Params, adapter: Path, slots: int = 1) -> Model:
    """The student of `student.path` with its adapter; `lora` in the sampling turns it on (scale 1) or off (0).

    `slots`: conversations that llama.cpp has side by side. One is as fast on two cores as four, and gives the same answers
    every time; with more, rounding depends on which requests share a batch.

    Nothing is loaded or started before the first request. Raises InputError where the adapter is missing or was trained over
    another base. Where no server here can read the tool calls of its template, requests with tools are refused.
    """
    path, runtime, temperature = params["student"]["path"], params["runtime"], params["evaluate"]["temperature"]
    name = hub.without_revision(path)
    for file in (*NEEDED, ADAPTER_GGUF) if gguf_model.is_local(path) else NEEDED:
        if not (adapter / file).is_file() or not (adapter / file).stat().st_size:
            raise InputError(f"{adapter / file}: no such file, or an empty one; run `make train` first")
    base.check_adapter(adapter, path)
    tokenizer = read_tokenizer(adapter, template_of(adapter))
    if runtime["student_url"]:
        check_url(runtime["student_url"], "/runtime/student_url", "STUDENT_API_KEY")
        return Served.at(runtime["student_url"], name, _unread_calls(tokenizer))
    if gguf_model.is_local(path):
        gguf, _ = weights.find(path)
        context = max(gguf_model.CONTEXT_TOKENS, params["student"]["max_length"])

        def load() -> LlamaLoaded:
            return LlamaLoaded(gguf, adapter / ADAPTER_GGUF, slots, context)

        return InProcess(name, tokenizer, load, places=1, workers=slots, temperature=temperature)

    def folder() -> Path:
        return base.of_adapter(adapter, path).directory

    if importlib.util.find_spec("vllm") and cuda():
        if call_parser(tokenizer):

            def start(*where: Any) -> AbstractContextManager[Endpoint]:
                held = folder()
                return started([*arguments(held, name, adapter, tokenizer, temperature), *cards(held)], *where)

            return Served(start, name)
        say(
            f"vLLM has no parser for calls as {adapter / TEMPLATE} writes them: transformers serves the student, which takes"
            " longer"
        )
    return InProcess(name, tokenizer, lambda: Loaded(folder(), adapter), temperature=temperature)


def _unread_calls(tokenizer: Tokenizer) -> UnreadCalls | None:
    """Watches the answers of a server for calls; None where we cannot read calls of this template."""
    try:
        known_form = form(tokenizer)
    except InputError:
        return None
    if not known_form.calls:  # only the server knows their form
        return None

    def called(text: str, tools: list[ToolSchema]) -> set[str]:
        return {call["function"]["name"] for call in known_form.read(text, tools).get("tool_calls", [])}

    return UnreadCalls(UNREAD, called, call_parser(tokenizer))


def sampling(settings: Params, adapter_scale: float) -> Sampling:
    """How the student is asked by the settings `evaluate` of params.yaml, with the adapter on (1.0) or off (0.0)."""
    lora = [{"id": 0, "scale": adapter_scale}]
    return {"temperature": settings["temperature"], "max_tokens": settings["max_output_tokens"], "lora": lora}
