"""Packs several sequences into one, so that their common beginning is computed once.

Rows of one task begin alike: the same system text and the same tools, half of a short row. A batch becomes one
sequence, the common beginning followed by the rest of each row, and a mask lets each rest see the beginning and
itself only. Positions are those of the single rows, so losses and gradients are those of the separate rows; there is
no padding. That pays where rows are short and arithmetic is slow: on a CPU. On a card, rows simply follow each other
(`concatenate`), and attention keeps them apart: it is computed row by row (`attend_row_by_row`), or goes by the
positions (`keep_apart`).
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

from distill.project.terminal import say
from distill.records.one_line import one_line
from distill.student.render import IGNORED

Batch = dict[str, Any]
Collate = Callable[[list[dict[str, list[int]]]], Batch]
FULL, SLIDING = {"full_attention", "attention"}, {"sliding_attention"}
STATEFUL_PREFIXES = ("mamba_", "linear_", "conv_", "ssm_", "recurrent_")
"""Prefixes of config fields that only recurrent and state-space models have."""
ROW_BY_ROW = "row_by_row"
"""The name by which transformers knows the function `_row_by_row`."""
TRIED = 33
"""Tokens of which `can_tile` computes the loss."""


def layout(config: Any) -> Literal["shared", "apart", "alone"]:
    """How rows may share a sequence, by the model's transformers config.

    shared: a mask of our own keeps rows apart (`pack`). apart: positions do (`concatenate`, `keep_apart`), since a mask
    of our own would replace that of sliding windows. alone: nothing does, since layers carry a state from row to row, or
    the model is not of those whose attention is transformers' own, which takes any mask.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    text = config.get_text_config()
    model: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(text), None)
    if not model or model._is_stateful or not model._supports_attention_backend:
        return "alone"
    settings = text.to_dict()
    kinds = set(settings.get("layer_types") or settings.get("layers_block_type") or [])
    if not kinds <= FULL | SLIDING or any(name.startswith(STATEFUL_PREFIXES) for name in settings):
        return "alone"
    windows = settings.get("sliding_window") and settings.get("use_sliding_window", True)
    return "apart" if kinds & SLIDING or (windows and not kinds) else "shared"


def collator(config: Any, device: str) -> Collate:
    """How rows become a batch on a device (cpu or cuda); models whose `layout` is alone take one row at a time."""
    return pack if device == "cpu" and layout(config) == "shared" else concatenate


def pack(rows: list[dict[str, list[int]]]) -> Batch:
    """A batch of {input_ids, labels} as model inputs of batch size one, T tokens in all.

    input_ids and position_ids are (1, T); attention_mask is boolean (1, 1, T, T); shift_labels is (1, T) and says
    what each position has to predict. `labels` is the same once more: transformers' Trainer looks for that name.
    """
    import torch

    shared = common_context(rows)
    first = rows[0]["input_ids"][:shared]
    ids, positions, targets, document = list(first), list(range(shared)), [IGNORED] * shared, [0] * shared
    for number, row in enumerate(rows, start=1):
        rest = len(row["input_ids"]) - shared
        ids += row["input_ids"][shared:]
        positions += range(shared, shared + rest)
        targets += [*row["labels"][shared + 1 :], IGNORED]
        document += [number] * rest
    owner = torch.tensor(document)
    visible = (owner[:, None] == owner[None, :]) | (owner[None, :] == 0)
    shifted = torch.tensor([targets])
    return {
        "input_ids": torch.tensor([ids]),
        "position_ids": torch.tensor([positions]),
        "attention_mask": visible.tril()[None, None],
        "shift_labels": shifted,
        "labels": shifted,
    }


def concatenate(rows: list[dict[str, list[int]]]) -> Batch:
    """A batch as one sequence of whole rows, as `pack` gives it but without a mask: a position 0 begins a new row."""
    import torch

    shifted = torch.tensor([[label for row in rows for label in [*row["labels"][1:], IGNORED]]])
    return {
        "input_ids": torch.tensor([[token for row in rows for token in row["input_ids"]]]),
        "position_ids": torch.tensor([[place for row in rows for place in range(len(row["input_ids"]))]]),
        "shift_labels": shifted,
        "labels": shifted,
    }


def attend_row_by_row(model: Any) -> None:
    """Lets a model that takes batches of `concatenate` attend row by row, where it has torch's attention.

    A mask costs a card as much as the rest of the model: torch's flash attention takes none, so every token is multiplied
    with those of all rows, and each layer keeps a copy of the mask for the backward pass (128 MB at 8192 tokens).
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if layout(model.config) != "alone" and model.config._attn_implementation == "sdpa":
        AttentionInterface.register(ROW_BY_ROW, _row_by_row)
        AttentionMaskInterface.register(ROW_BY_ROW, sdpa_mask)
        model.set_attn_implementation(ROW_BY_ROW)


def _row_by_row(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, rows: list[slice] | None = None, **how: Any
) -> tuple[Any, None]:
    """Attention as transformers calls it, within each of the rows, which are at such places. By the whole mask where the
    model does not hand them on (Nemotron)."""
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if rows is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **how)
    window = getattr(module.config, "sliding_window", None)
    parts = []
    for row in rows:
        longer = window is not None and row.stop - row.start > window  # else its window slides over nothing
        mask = attention_mask[:, :, row, row] if longer else None
        within = query[:, :, row], key[:, :, row], value[:, :, row]
        parts.append(sdpa_attention_forward(module, *within, mask, **how)[0])
    return torch.cat(parts, dim=1), None


def keep_apart(model: Any, inputs: Batch) -> Batch:
    """`inputs` of `concatenate`, on the model's device, with the masks that keep their rows apart, and with `rows`, their
    places, if it attends row by row.

    Most models of transformers make masks from the positions; gpt-oss and some others do not, and rows would see each
    other. A single row needs no mask.
    """
    import torch
    from transformers.masking_utils import create_masks_for_generate

    positions = inputs["position_ids"]
    begins = (positions[0] == 0).nonzero().flatten().tolist()
    if "attention_mask" in inputs or len(begins) == 1:
        return inputs
    # Only the shape of the embeddings is used.
    embedded = torch.empty(*positions.shape, 0, dtype=model.dtype, device=positions.device)
    inputs = inputs | {"attention_mask": create_masks_for_generate(model.config, embedded, None, None, positions)}
    if model.config._attn_implementation != ROW_BY_ROW:
        return inputs
    return inputs | {"rows": [slice(*places) for places in pairwise([*begins, positions.shape[1]])]}


def can_tile(model: Any) -> bool:
    """Whether TRL's output matrix (`add_fused_lm_head`), which the model has, gives the model's own loss where it is; says so
    where not. TRL knows how most families scale their logits, not all (Aya Vision, granite within LLaVA-NeXT). On a card
    it is made of Triton's kernels, which need a C compiler and Python's headers there, and a card that is not too old.
    """
    import torch
    from trl.kernels import ChunkedLogProbFunction

    row = {"input_ids": [*range(TRIED)], "labels": [*range(TRIED)]}
    device, training = next(model.parameters()).device, model.training
    batch = {name: values.to(device) for name, values in concatenate([row]).items()}
    model.eval()
    try:
        # In the precision of a card's training, and backward: each of the kernels is compiled by itself.
        square = torch.zeros(16, 16, device=device, dtype=torch.bfloat16, requires_grad=True)
        ChunkedLogProbFunction.apply(square, square, None, batch["input_ids"][0, :16], 1.0, 16)[0].sum().backward()
        with torch.no_grad():
            tiled, own = (summed_loss(model, batch, tiled)[0] for tiled in (True, False))
        if not torch.isclose(tiled, own, rtol=0.01):
            raise ValueError(f"TRL's tiles have a loss of {tiled / TRIED:.2f}, and the model of {own / TRIED:.2f}")
    except Exception as error:  # each of compiler, driver and Triton raises something else
        say(f"all logits are computed at once, which takes more memory: {one_line(error)}")
        return False
    finally:
        model.train(training)
    return True


def summed_loss(model: Any, batch: Batch, tiled: bool) -> tuple[Any, int]:
    """The sum of a model's losses at the learned positions of a batch on its device, and their number.

    `tiled`: TRL's output matrix (`add_fused_lm_head`), which `model` then has, computes the logits in tiles of 256 MB, and
    again in the backward pass. At once, those of 8192 learned tokens and 152k words take 15 GB. On a CPU TRL's
    computes at all positions.
    """
    import torch
    from accelerate.utils import extract_model_from_parallel

    inputs = dict(batch)
    shifted = inputs.pop("shift_labels")
    del inputs["labels"]
    learned = (shifted[0] != IGNORED).nonzero().flatten()
    inputs = keep_apart(extract_model_from_parallel(model), inputs)
    if tiled:
        return -model(**inputs, shift_labels=shifted, fused_lm_head=True).log_probs.sum(), len(learned)
    logits = model(**inputs, use_cache=False, logits_to_keep=learned).logits[0].float()
    return torch.nn.functional.cross_entropy(logits, shifted[0][learned], reduction="sum"), len(learned)


def common_context(rows: list[dict[str, list[int]]]) -> int:
    """The number of tokens that all rows begin with and none of them learns, less one.

    That one stays with each row, to predict the row's next token, which may be learned and differ between rows.
    """
    shared = 0
    for column in zip(*(row["input_ids"] for row in rows), strict=False):
        if len(set(column)) > 1 or any(row["labels"][shared] != IGNORED for row in rows):
            break
        shared += 1
    return max(shared - 1, 0)
