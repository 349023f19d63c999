"""A student's tokenizer with the chat template that it is trained and served with."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from distill.records.faults import InputError
from distill.records.types import Message, ToolSchema
from distill.student import base, encoding
from distill.student.template import compile_template, with_usual_names, without_clock
from distill.teacher.embedded.weights import EMBEDDED

TEMPLATE = "chat_template.jinja"
TEMPLATES = Path(__file__).parent / "templates"
BUNDLED = {
    "local/smollm2-135m-instruct": "smollm2",  # its own template drops tools and tool calls
    "local/qwen2.5-coder-0.5b-instruct": "qwen2.5-coder",  # its own has tokens that it never learned
    "local/qwen2.5-coder-1.5b-instruct": "qwen2.5-coder",
}


@dataclass(frozen=True)
class Tokenizer:
    """Turns conversations into text, text into ids, and ids into text."""

    template: str
    text: Callable[..., str]
    """(messages, tools, add_generation_prompt) -> the rendered text."""
    encode: Callable[[str], list[int]]
    """Text with special tokens spelt out -> ids; no token is added."""
    decode: Callable[[list[int]], str]
    """Ids -> text with special tokens spelt out."""
    special: frozenset[int]
    stops: frozenset[int]
    """Ids at which a server ends the turn."""


def load_tokenizer(path: str, template: str | None = None) -> Tokenizer:
    """The tokenizer of `student.path` with the template `student.template`: a bundled name or a file; null stands for the
    bundled one where a local student cannot call tools with its own, else for its own.

    Raises InputError when either is missing or broken, or when the tokenizer is that of another model.
    """
    folder = base.find(path, weights=False).directory
    if faults := mismatches(folder):
        raise InputError([f"params.yaml: /student/path: {path}: {fault}" for fault in faults])
    return read_tokenizer(folder, _template_text(path, folder, template))


def read_tokenizer(folder: Path, template: str) -> Tokenizer:
    """The tokenizer in `folder` (a base model or an adapter) with the text of a template."""
    encoder = _encoder(folder)
    encoder.no_truncation()  # the file may have been saved with either
    encoder.no_padding()
    tokens = _named_tokens(folder)
    template = with_usual_names(without_clock(template))
    try:
        compiled = compile_template(template)
    except jinja2.TemplateSyntaxError as error:
        if (folder / "adapter_config.json").is_file():
            raise base.unreadable(folder / TEMPLATE, error) from None
        raise InputError(f"params.yaml: /student/template: line {error.lineno}: {error.message}") from None

    def text(messages: list[Message], tools: list[ToolSchema] | None, add_generation_prompt: bool) -> str:
        return compiled(messages=messages, tools=tools or None, add_generation_prompt=add_generation_prompt, **tokens)

    stops = read_settings(folder / "generation_config.json").get("eos_token_id") or []
    stops = {stops} if isinstance(stops, int) else set(stops)
    if "eos_token" in tokens:
        stops.add(encoder.token_to_id(tokens["eos_token"]))
    added = encoder.get_added_tokens_decoder()
    return Tokenizer(
        template=template,
        text=text,
        encode=encoding.by_pieces(encoder),
        decode=lambda ids: encoder.decode(ids, skip_special_tokens=False),
        special=frozenset(id_ for id_, token in added.items() if token.special),
        stops=frozenset(stops),
    )


def mismatches(folder: Path) -> list[str]:
    """Reasons why the tokenizer in `folder` cannot belong to the model there; none for a pair that fits."""
    encoder = _encoder(folder)
    config = read_settings(folder / "config.json")
    size = config.get("vocab_size") or config.get("text_config", {}).get("vocab_size")
    largest = max(encoder.get_vocab().values(), default=-1)
    faults = []
    if size is not None and largest >= size:
        faults.append(
            f"tokenizer.json numbers its tokens up to {largest}, but config.json has a vocabulary of {size}: the"
            " tokenizer belongs to another model"
        )
    for name, token in _named_tokens(folder).items():
        if encoder.token_to_id(token) is None:
            faults.append(f"tokenizer_config.json: {name} '{token}' is not a token of tokenizer.json")
    ends = read_settings(folder / "generation_config.json").get("eos_token_id") or []
    for id_ in [ends] if isinstance(ends, int) else ends:
        if encoder.id_to_token(id_) is None:
            faults.append(f"generation_config.json: eos_token_id {id_} is not a token of tokenizer.json")
    return faults


def bundled_templates() -> dict[str, Path]:
    """The files of the templates that `student.template` may name: those made for students, and those of embedded teachers."""
    return {file.stem: file for folder in (TEMPLATES, EMBEDDED) for file in folder.glob("*.jinja")}


def template_text(name: str) -> str:
    """The text of `student.template`, a bundled family or a file. Raises InputError when it is neither, or its syntax is
    wrong."""
    bundled = bundled_templates()
    file = bundled.get(name, Path(name))
    if not file.is_file():
        raise InputError(
            f"params.yaml: /student/template: {name}: there is no such file, and bundled are {', '.join(sorted(bundled))}"
        )
    try:
        text = file.read_text(encoding="utf-8")
        compile_template(text)
    except jinja2.TemplateSyntaxError as error:
        raise InputError(f"params.yaml: /student/template: {name}: line {error.lineno}: {error.message}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"params.yaml: /student/template: {name}: is not in UTF-8: {error}") from None
    return text


def template_of(folder: Path) -> str:
    """The text of the template in the folder of a model or an adapter. Raises InputError where it cannot be read."""
    try:
        return (folder / TEMPLATE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise base.unreadable(folder / TEMPLATE, error) from None


def _template_text(path: str, folder: Path, template: str | None) -> str:
    """The text of the template that `load_tokenizer` describes."""
    template = template or BUNDLED.get(path)
    if template is not None:
        return template_text(template)
    if (folder / TEMPLATE).is_file():
        return template_of(folder)
    # The older models that see images have it beside their tokenizer's settings (Mistral Small 3.1, Llama 3.2 Vision).
    settings = (read_settings(folder / name) for name in ("tokenizer_config.json", "chat_template.json"))
    own = next((found["chat_template"] for found in settings if found.get("chat_template")), None)
    if isinstance(own, list):  # several, by name: servers take `tool_use` for requests with tools
        named = {entry["name"]: entry["template"] for entry in own}
        own = named.get("tool_use") or named.get("default")
    if own:
        return own
    raise InputError(f"params.yaml: /student/template: {path} has no chat template of its own; name a file")


def _encoder(folder: Path) -> Any:
    from tokenizers import Tokenizer as Encoder

    file = folder / "tokenizer.json"
    try:
        return Encoder.from_file(str(file))
    except Exception as error:  # the library raises no other
        raise base.unreadable(file, error) from None


def _named_tokens(folder: Path) -> dict[str, str]:
    """The tokens that templates use by name, such as eos_token."""
    config = read_settings(folder / "tokenizer_config.json")
    named = {key: config[key] for key in ("bos_token", "eos_token", "pad_token", "unk_token") if config.get(key)}
    return {key: value["content"] if isinstance(value, dict) else value for key, value in named.items()}


def read_settings(file: Path) -> dict[str, Any]:
    """The settings in a JSON file that not every model has. Raises InputError where it cannot be read."""
    try:
        settings = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        if not isinstance(settings, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError) as error:
        raise base.unreadable(file, error) from None
    return settings
