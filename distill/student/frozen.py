"""The base that an adapter is trained on: loaded, and never changed."""

from typing import Any

from distill.records.faults import InputError
from distill.student.base import Base


def load(base: Base, four_bit: bool, device: str) -> Any:
    """The base in bf16 on a card, in fp32 on a CPU, or in 4 bits. Raises InputError where 4 bits cannot be had."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import is_bitsandbytes_available, is_flash_attn_2_available

    dtype = torch.bfloat16 if device == "cuda" else torch.float32  # bf16 is 40 times slower on a CPU without AMX
    how: dict[str, Any] = {"dtype": dtype}
    if device == "cuda" and is_flash_attn_2_available():
        how["attn_implementation"] = "flash_attention_2"
    if four_bit:
        if not is_bitsandbytes_available():
            raise InputError(
                "params.yaml: /student/qlora_rank: a 4-bit base needs bitsandbytes, which is not installed: run"
                " `make install` on a machine with an NVIDIA card, or train without (null)"
            )
        from transformers import BitsAndBytesConfig

        how["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
        )
        how["device_map"] = {"": torch.cuda.current_device() if device == "cuda" else "cpu"}
    model: Any = AutoModelForCausalLM.from_pretrained(base.directory, **how)
    module: Any
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):  # bitsandbytes would repack for inference at each evaluation
            module.support_avx512bf16_for_cpu = False
    return model
