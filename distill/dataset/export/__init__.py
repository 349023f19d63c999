"""Training rows in the formats of others: OpenAI's fine-tuning files, ShareGPT, a Hugging Face dataset with a card, tokens.

A format is one module with a pure function `export(row, ...)`; it raises NotRepresentable where the format cannot hold the
row. Such rows are left out and counted, never changed in silence.
"""


class NotRepresentable(Exception):
    """Why a format cannot hold a row."""
