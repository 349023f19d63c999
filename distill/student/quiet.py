"""Silences library output that a user cannot act on."""

import logging
import warnings


def quiet() -> None:
    """Turns off what is printed while a model is loaded: progress bars for each file, a deprecation warning that peft 0.21
    and TRL 1.16 cause themselves, and bitsandbytes' warning that a CPU misses kernels of a model hub."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
