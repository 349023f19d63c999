"""Texts that are encoded piece by piece get the ids that the tokenizer gives them as a whole."""

import random
from collections.abc import Callable

import pytest
from tiny_student import TEXT
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers

from distill.student import encoding

SPECIAL = ["<|im_start|>", "<|im_end|>", "<|im_end|>\n", "<call>"]
PARTS = [
    *SPECIAL,
    " ",
    "\n",
    "  ",
    "\n\n",
    "is",
    " the",
    "Price",
    "PRICE",
    "12",
    "é",
    "e\u0301",
    "<|im_",
    "|>",
    "call",
    "日本",
]
TEXTS = ["".join(random.Random(seed).choices(PARTS, k=seed % 40)) for seed in range(400)]


def plain() -> Tokenizer:
    return trained(pre_tokenizers.ByteLevel(add_prefix_space=False))


def prefixed() -> Tokenizer:
    return trained(pre_tokenizers.ByteLevel(add_prefix_space=True))


def composed() -> Tokenizer:
    tokenizer = trained(pre_tokenizers.ByteLevel(add_prefix_space=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.add_tokens([AddedToken("price", normalized=True)])
    return tokenizer


def begins_otherwise() -> Tokenizer:
    return trained(pre_tokenizers.Metaspace(prepend_scheme="first"))


def takes_spaces() -> Tokenizer:
    tokenizer = trained(pre_tokenizers.ByteLevel(add_prefix_space=False))
    tokenizer.add_special_tokens([AddedToken("<|end|>", rstrip=True, normalized=False)])
    return tokenizer


def trained(pre_tokenizer: pre_tokenizers.PreTokenizer) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<unk>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    return tokenizer


@pytest.mark.parametrize("made", [plain, prefixed, composed, begins_otherwise, takes_spaces])
def test_pieces_have_the_ids_of_the_whole(made: Callable[[], Tokenizer]) -> None:
    tokenizer = made()
    encode = encoding.by_pieces(tokenizer)
    for text in [*TEXTS, "<|end|>  is", "is <|end|>\n<|im_end|>"]:
        assert encode(text) == tokenizer.encode(text, add_special_tokens=False).ids, repr(text)


class Counted:
    """A tokenizer that tells what it was asked to encode."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._tokenizer = plain()
        self.get_added_tokens_decoder = self._tokenizer.get_added_tokens_decoder

    def encode(self, text: str, **options: bool):
        self.asked.append(text)
        return self._tokenizer.encode(text, **options)


def test_what_was_encoded_before_is_not_encoded_again() -> None:
    tokenizer = Counted()
    encode = encoding.by_pieces(tokenizer)
    encode("<|im_start|>the tools<|im_end|>\n<|im_start|>one")
    tokenizer.asked.clear()
    ids = encode("<|im_start|>the tools<|im_end|>\n<|im_start|>one<|im_end|>\n<|im_start|>two")
    assert tokenizer.asked == ["two"]
    ids.clear()  # what a caller does with its list is not remembered
    assert encode("<|im_start|>one")


def test_a_long_text_is_not_remembered() -> None:
    tokenizer = Counted()
    encode = encoding.by_pieces(tokenizer)
    encode("is " * encoding.LARGE)
    tokenizer.asked.clear()
    encode("is " * encoding.LARGE)
    assert len(tokenizer.asked) == 1
