"""A student in memory: its base with the adapter, which is on or off. Needs torch, transformers and peft."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from distill.project.terminal import say
from distill.student.base_weights import context, open_base, with_adapter
from distill.student.device import find_device, free_memory, is_out_of_memory
from distill.student.quiet import quiet
from distill.student.render import TokenSequence
from distill.student.serving.forced_call import may_follow
from distill.student.training.packing import can_tile, collator, common_context, layout, summed_loss

TOGETHER = {"cpu": 4, "cuda": 1}
"""Rows whose loss is computed together, so that their common beginning is computed once, which pays on a CPU."""
TOKENS_TOGETHER = 2048
"""Tokens of such rows behind their common beginning: every one of them is compared with all others, so rows that differ
early and are long are faster one after the other."""

Over = Callable[[list[int]], bool]
"""Whether an answer ends after these tokens of it."""


class Loaded:
    """A base and its adapter: `directory` holds the base in safetensors, `adapter` what sft_train wrote.

    In the precision of the training, but on a card in 4 bits only where the base does not fit in 16. `context`: tokens of a
    prompt and its answer, at most.
    """

    def __init__(self, directory: Path, adapter: Path):
        quiet()  # before bitsandbytes is imported, which warns at once
        import torch
        from transformers import GenerationConfig
        from transformers.utils import is_bitsandbytes_available

        self.device = find_device()
        model = None
        try:
            model = open_base(directory, False, self.device)
        except torch.OutOfMemoryError:
            if not is_bitsandbytes_available():
                raise
        if model is None:  # not in the `except`, whose traceback would keep what was loaded of it alive
            say("the base does not fit on the card in 16 bits: it is loaded in 4")
            free_memory()
            model = open_base(directory, True, self.device)
        # Else its own would fill in settings that we leave open, such as a repetition penalty.
        model.generation_config = GenerationConfig()
        if self.device == "cuda":
            from trl.trainer.utils import add_fused_lm_head

            add_fused_lm_head(model)  # for `loss`; nothing else uses it
        self.context: int = context(model.config)
        self.model: Any = with_adapter(model, adapter).eval()
        self.tiled = self.device == "cuda" and can_tile(self.model)

    def generate(
        self,
        prompts: Sequence[list[int]],
        stops: Sequence[int],
        longest: int,
        adapted: bool,
        temperature: float,
        top_p: float = 1.0,
        begins: Sequence[list[list[int]]] = (),
        over: Sequence[Over] = (),
        seeds: Sequence[int | None] = (),
    ) -> list[list[int] | None]:
        """The tokens of the answer to each prompt: at most `longest`, with the stop when one was reached; None where the
        card's memory does not hold the conversation.

        Likeliest tokens at temperature 0, else drawn from the likeliest that have `top_p` of the probability. `begins` has
        for each prompt the token lists with one of which its answer has to begin; an empty list leaves it free. `over`
        has for each prompt a function that is called after each token; where it returns True, the answer ends. For the same
        prompts and `seeds` the same is drawn.
        A batch that does not fit into the card's memory is halved and generated again.
        """
        import torch
        from transformers import GenerationConfig

        settings = GenerationConfig(
            max_new_tokens=longest,
            do_sample=temperature > 0,
            temperature=temperature or None,
            top_p=top_p if temperature else None,
            top_k=0 if temperature else None,  # else transformers would sample from the 50 likeliest
            eos_token_id=list(stops),
            pad_token_id=min(stops),
        )
        if temperature and seeds and seeds[0] is not None:  # transformers draws for all prompts from one stream
            torch.manual_seed(seeds[0])
        with torch.no_grad(), self._adapter(adapted):
            return self._generate(prompts, begins, over, settings)

    def _generate(
        self, prompts: Sequence[list[int]], begins: Sequence[list[list[int]]], over: Sequence[Over], settings: Any
    ) -> list[list[int] | None]:
        """As `generate`, with transformers' GenerationConfig `settings`."""
        try:
            return [*self._at_once(prompts, begins, over, settings)]
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        free_memory()
        if len(prompts) == 1:
            return [None]
        half = len(prompts) // 2
        parts = (slice(half), slice(half, None))
        return [
            answer for part in parts for answer in self._generate(prompts[part], begins[part], over[part], settings)
        ]

    def _at_once(
        self, prompts: Sequence[list[int]], begins: Sequence[list[list[int]]], over: Sequence[Over], settings: Any
    ) -> list[list[int]]:
        import torch

        width, padding = max(map(len, prompts)), settings.pad_token_id
        ids = torch.tensor([[padding] * (width - len(prompt)) + prompt for prompt in prompts])
        seen = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])

        def force_beginning(ids: Any, scores: Any) -> Any:
            for row, openings in enumerate(begins):
                if allowed := list(may_follow(openings, ids[row, width:].tolist())):
                    only = torch.full_like(scores[row], -torch.inf)
                    only[allowed] = scores[row, allowed]
                    scores[row] = only
            return scores

        def ended(ids: Any, scores: Any, **_: Any) -> Any:
            rows = ids[:, width:].tolist()
            return torch.tensor([ends(row) for ends, row in zip(over, rows, strict=True)], device=ids.device)

        whole = self.model.generate(
            input_ids=ids.to(self.device),
            attention_mask=seen.to(self.device),
            generation_config=settings,
            logits_processor=[force_beginning] if any(begins) else None,
            stopping_criteria=[ended] if over else None,
        )
        return [_up_to_stop(row, set(settings.eos_token_id)) for row in whole[:, width:].tolist()]

    def loss(self, sequences: Sequence[TokenSequence], adapted: bool) -> float:
        """Mean negative log-likelihood, in nats, of the learned tokens of rendered rows."""
        import torch

        total, count = 0.0, 0
        rows = sorted((vars(sequence) for sequence in sequences), key=lambda row: row["input_ids"])
        collate, alone = collator(self.model.config, self.device), layout(self.model.config) == "alone"
        for together in _together(rows, 1 if alone else TOGETHER[self.device]):
            batch = collate(together)
            batch = {name: values.to(self.device) for name, values in batch.items()}
            with torch.no_grad(), self._adapter(adapted):
                part, learned = summed_loss(self.model, batch, self.tiled)
            total, count = total + part.item(), count + learned
        return total / count

    def close(self) -> None:
        """Nothing to do: its memory is freed with it."""

    def _adapter(self, on: bool) -> Any:
        return nullcontext() if on else self.model.disable_adapter()


def _together(rows: list[dict[str, Any]], most: int) -> Iterator[list[dict[str, Any]]]:
    """The rows in batches of `most`, of fewer where these would have more than TOKENS_TOGETHER."""
    batch: list[dict[str, Any]] = []
    for row in rows:
        wider = [*batch, row]
        shared = common_context(wider)
        tokens = sum(len(other["input_ids"]) - shared for other in wider)
        if batch and (len(batch) == most or tokens > TOKENS_TOGETHER):
            yield batch
            batch = []
        batch.append(row)
    yield batch


def _up_to_stop(ids: list[int], stops: set[int]) -> list[int]:
    end = next((place for place, id_ in enumerate(ids) if id_ in stops), None)
    return ids if end is None else ids[: end + 1]
