"""Loads the weights of the base that an adapter is trained on."""

import re
from pathlib import Path
from typing import Any

from distill.records.faults import InputError
from distill.records.one_line import one_line
from distill.student.base import MADE_AGAIN, UNFETCHED, Base
from distill.student.device import is_out_of_memory, times_out_of_memory

ADAPTER_WEIGHTS = "adapter_model.safetensors"


def config(directory: Path) -> Any:
    """The transformers config of the model in `directory`. Raises InputError for a kind that transformers does not know, also
    where the folder brings code for it: that is not run, nor is anybody asked whether it shall be."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(directory, trust_remote_code=False)
    except ValueError as error:
        raise InputError(f"params.yaml: /student/path: {directory}: {one_line(error)}") from None


def context(model_config: Any) -> int:
    """Tokens that a model was made for, with scaled rotary positions (YaRN) if its config has them; a number beyond all rows
    where it does not say."""
    text = model_config.get_text_config()
    rope = getattr(text, "rope_parameters", None) or {}
    scaled = (rope.get("factor") or 1) * (rope.get("original_max_position_embeddings") or 0)
    return max(getattr(text, "max_position_embeddings", None) or 2**31, int(scaled))


def open_folder(directory: Path, **how: Any) -> Any:
    """The model in `directory`, of the class that its config.json names; `how` are arguments of from_pretrained.

    So its weights, and those of an adapter, keep the names of the checkpoint, which servers go by: Qwen3.5 and Gemma
    have an image tower beside the language model, which AutoModelForCausalLM may leave out.
    Raises InputError for a model that transformers does not know or cannot load, that writes no text, or some of whose
    weights are not there: transformers would fill them with random numbers.
    """
    import torch
    import transformers
    from safetensors import SafetensorError

    [name] = (config(directory).architectures or ["AutoModelForCausalLM"])[:1]
    kind: Any = getattr(transformers, name, transformers.AutoModelForCausalLM)
    if not getattr(kind, "can_generate", lambda: True)():
        raise InputError(f"params.yaml: /student/path: {directory}/config.json: a {name} writes no text")
    before = times_out_of_memory()
    try:
        model, found = kind.from_pretrained(directory, output_loading_info=True, trust_remote_code=False, **how)
    except RuntimeError as error:
        if is_out_of_memory(error) or times_out_of_memory() == before:
            raise
        # transformers only says that a weight could not be converted.
        raise torch.OutOfMemoryError("CUDA out of memory while weights were converted") from None
    except SafetensorError as error:
        raise InputError(
            f"params.yaml: /student/path: the weights in {directory} cannot be read ({one_line(error)}): {UNFETCHED}"
        ) from None
    except (OSError, ImportError) as error:  # files that are not there; a package for weights in four bits
        raise InputError(f"params.yaml: /student/path: {directory} cannot be loaded: {one_line(error)}") from None
    if missing := sorted(found["missing_keys"]):
        raise InputError(
            f"params.yaml: /student/path: {directory} holds only a part of its model: {len(missing)} weights are missing,"
            f" {missing[0]} first"
        )
    return model


def with_adapter(model: Any, adapter: Path) -> Any:
    """The model under the adapter in a folder. Raises InputError where its weights cannot be read."""
    from peft import PeftModel
    from safetensors import SafetensorError

    if not (file := adapter / ADAPTER_WEIGHTS).is_file():  # peft would ask the hub for a model of the folder's name
        raise InputError(f"{file}: no such file; {MADE_AGAIN}")
    try:
        return PeftModel.from_pretrained(model, str(adapter))
    except SafetensorError as error:
        raise InputError(f"{adapter}: its weights cannot be read ({one_line(error)}); {MADE_AGAIN}") from None


def towers(model: Any) -> str | None:
    """A pattern for the names of all modules outside the language model; None where the model has no others."""
    decoder = model.get_decoder()
    name = next(name for name, module in model.named_modules() if module is decoder)
    return rf"(?!{re.escape(name)}\.).*" if "." in name else None


def load(base: Base, four_bit: bool, device: str) -> Any:
    """The base to be trained. Raises InputError where 4 bits cannot be had, and where it does not fit into memory."""
    from accelerate import PartialState
    from transformers.utils import is_bitsandbytes_available

    if four_bit and not is_bitsandbytes_available():
        raise InputError(
            "params.yaml: /student/qlora_rank: a 4-bit base needs bitsandbytes, which is not installed: run"
            " `make install` on a machine with an NVIDIA card, or train without (null)"
        )
    spread = not four_bit and PartialState().num_processes > 1
    try:
        return open_base(base.directory, four_bit, device, spread)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(
            f"params.yaml: /student/path: {base.name} does not fit into memory{less_memory(four_bit, device)}"
            f" ({one_line(error)})"
        ) from None


def less_memory(four_bit: bool, device: str) -> str:
    """What an error says of 4 bits, where they would help."""
    helps = not four_bit and device != "cpu"
    return "; with student.qlora_rank all but its embeddings and experts takes a quarter of that" if helps else ""


def open_base(directory: Path, four_bit: bool, device: str, spread: bool = False) -> Any:
    """The model of `open_folder` in bf16 on a card, in fp32 on a CPU, or in 4 bits, which needs bitsandbytes: as in QLoRA
    (arXiv 2305.14314), NF4 with the scales quantised as well.

    Weights go to the card tensor by tensor, so that they need not fit into the machine's memory; except where FSDP will
    `spread` them, since its first process loads all of them and distributes them.
    """
    import torch
    from transformers import BitsAndBytesConfig

    dtype = torch.bfloat16 if device == "cuda" else torch.float32  # bf16 is 40 times slower on a CPU without AMX
    how: dict[str, Any] = {"dtype": dtype}
    if not spread:
        how["device_map"] = {"": torch.cuda.current_device() if device == "cuda" else "cpu"}
    if four_bit:
        how["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    model = open_folder(directory, **how)
    module: Any
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):  # bitsandbytes would repack for inference at each evaluation
            module.support_avx512bf16_for_cpu = False
    if spread:
        _make_spreadable(model)
    return model


def _make_spreadable(model: Any) -> None:
    """Takes away what accelerate breaks off at when it spreads a model: names of layers that are not there (Gemma names those
    of towers that it may lack), and buffers among the weights, which it does not hand on from the first process
    (accelerate#3898): Gemma 4 has some."""
    from accelerate.utils import broadcast

    model._no_split_modules &= {type(module).__name__ for module in model.modules()}
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name not in module._non_persistent_buffers_set:
                module.register_buffer(name, broadcast(buffer), persistent=False)
