"""What libraries say while a model is loaded, and no user can do anything about."""

import logging
import warnings


def quiet() -> None:
    """Keeps it off the terminal: a bar for each file, a warning that peft 0.21 and TRL 1.16 cause, since they still
    ask a model for an attribute under its old name, and bitsandbytes' that a CPU misses kernels of a model hub."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
