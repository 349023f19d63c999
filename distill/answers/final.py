"""Finds where a text states its final answer: on a line `Answer: …`, or in `\\boxed{…}`."""

import re
from collections.abc import Callable

_MARKER = re.compile(
    r"^(?P<open>[\s>#*_-]*)(?:final\s+)?answer[\s*_]*[:\uff1a](?:[*_]+(?=\s|$))?(?P<rest>.*)$", re.IGNORECASE
)
_BULLET = re.compile(r"^[-•]\s+")
_ITEM = re.compile(r"\s*(?:[-*•+]|\d+[.)])\s")
_OPENING = re.compile(r"^([*_`]+)(?=\S)([^*_`]+)\1(?!\w)")  # **5** million
_BLOCK = re.compile(r"[\s*_]*```(?:[\w+-]*[^\S\n]*\n)?(?P<code>[^`]+)```[ *_.]*(?:\n|\Z)")
_WORDS = re.compile(r"\\(?:text|mathrm|mathbf|mbox|boldsymbol|underline|fbox)\w*\s*\{([^{}]*)\}")
_SPACING = re.compile(r"\\(?:[!,;:]|(?:left|right|displaystyle|bf)\b|(?:begin|end)\{\w+\*?\})")
_SPACE = re.compile(r"(?<!\\)\\ |(?<=\d)~(?=\\)")
_ESCAPED = re.compile(r"\\([$%&#_{}])")
_BOXED = "\\boxed{"


def stated(text: str, several_lines: bool, latex: bool, behind_box: Callable[[str], str] | None) -> str | None:
    """The text after the last `Answer:`, else in the last `\\boxed{}`; None where there is neither, empty where nothing
    follows the marker.

    After the marker that is the rest of its line, or the next line that is not empty; with `several_lines` the paragraph
    that follows, or the list, which may begin on that line; of a code block there, what is in it. What a box holds is LaTeX:
    it comes as plain text, unless `latex`, with what `behind_box` takes of the text behind it.
    """
    marked = _marked(text, several_lines)
    boxed = _boxed(marked or text)
    if boxed is None:
        return marked
    content, rest = boxed
    return content if latex else f"{plain(content)} {behind_box(rest) if behind_box else ''}".strip()


def behind(text: str) -> str | None:
    """The whole text after the last `Answer:`, with the rest of its line; None where there is no such line."""
    if (found := _behind_marker(text)) is None:
        return None
    return "\n".join([found[0].lstrip("*_ "), *found[1:]]).strip()


def _marked(text: str, several_lines: bool) -> str | None:
    """The text after the last `Answer:`: one line of it, or a paragraph; None where there is no such line."""
    if (found := _behind_marker(text)) is None:
        return None
    if block := _BLOCK.match("\n".join(found)):
        return block["code"].strip()
    rest = [_bare(part) for part in found]
    stated = [part for part in rest if part]
    begins_list = len(found) > 1 and all(_ITEM.match(line) for line in found[:2])
    if several_lines and (begins_list or not rest[0]):
        return "\n".join(_bare(line) for line in _paragraph(found if begins_list else found[1:]))
    return rest[0] or _BULLET.sub("", stated[0] if stated else "")


def _paragraph(lines: list[str]) -> list[str]:
    """The lines up to an empty one, and what `_goes_on` behind that, but no words that follow the answer."""
    paragraph: list[str] = []
    is_over = False
    for line in lines:
        if not line.strip():
            is_over = bool(paragraph)
        elif is_over and not _goes_on(line, _ITEM.match(paragraph[0]) is not None):
            break
        else:
            paragraph.append(line)
    return paragraph


def _goes_on(line: str, is_list: bool) -> bool:
    """Whether a line behind an empty one belongs to the answer: an item, the heading of more of them, or no sentence."""
    if is_list:
        return _ITEM.match(line) is not None or line.rstrip("*_ ").endswith(":")
    return not line.rstrip("*_ ").endswith((".", "!", "?"))


def _bare(text: str) -> str:
    """A line without the markdown around it or its first words.

    An underscore on one side only, or in backticks, is part of a name.
    """
    bare = _OPENING.sub(r"\2", text.strip()).strip("* ")
    return bare.strip("*_` " if bare[:1] == bare[-1:] == "_" else "*` ")


def _behind_marker(text: str) -> list[str] | None:
    """The rest of the line of the last `Answer:`, and the lines below it; None where there is no such line."""
    lines = text.splitlines()
    for index in range(len(lines) - 1, -1, -1):
        if marker := _MARKER.match(lines[index]):
            rest = marker["rest"].rstrip("_ ") if "_" in marker["open"] else marker["rest"]
            return [rest, *lines[index + 1 :]]
    return None


def unfenced(text: str) -> str:
    """What is in the code block, for a text that is nothing else."""
    block = _BLOCK.fullmatch(text.strip())
    return block["code"].strip() if block else text


def plain(latex: str) -> str:
    """LaTeX without the commands for words, layout and escaped signs: `\\text{5\\,kg}` as `5kg`."""
    words = _WORDS.sub(r"\1", _SPACE.sub(" ", latex)).replace("{,}", ",")
    return _ESCAPED.sub(r"\1", _SPACING.sub("", words))


def _boxed(text: str) -> tuple[str, str] | None:
    """The content of the last `\\boxed{}` whose braces are closed, and the text behind it."""
    start = text.rfind(_BOXED)
    depth = 0
    for place in range(start + len(_BOXED) - 1, len(text)) if start >= 0 else ():
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            content = text[start + len(_BOXED) : place].strip()
            return (content, text[place + 1 :]) if content else None
    return None
