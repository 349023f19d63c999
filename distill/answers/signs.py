"""The signs of print, as a keyboard has them. Models write hyphens and spaces that do not break a line and curled quotation
marks (OpenAI's often), where people who write an expected answer type `-`, a space and `'`."""

DASHES = dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d", "-")
QUOTES = dict.fromkeys("\u2018\u2019\u201b", "'") | dict.fromkeys("\u201c\u201d", '"')
SPACES = dict.fromkeys("\u00a0\u2007\u2009\u200a\u202f", " ")
_INVISIBLE = dict.fromkeys("\u00ad\u200b\u2060\ufeff")
_TYPED = str.maketrans(DASHES | QUOTES | SPACES | _INVISIBLE)


def typed(text: str) -> str:
    """The text with `-` for all short dashes, straight quotation marks and common spaces, without invisible characters."""
    return text.translate(_TYPED)
