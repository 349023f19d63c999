"""Converts the result of an MCP tool to the text of a tool message."""

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import Any

import orjson
import re2

ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def text(result: Any, drop: Sequence[str]) -> str:
    """The parts of a CallToolResult on lines of their own; for images and audio a placeholder with size and hash.

    Terminal colours, and whatever the patterns `drop` match, are removed. Structured content is used if there is no other.
    """
    parts = [_part(part) for part in result.content]
    if not any(parts) and result.structured_content is not None:
        parts = [orjson.dumps(result.structured_content).decode()]
    content = "\n".join(parts)
    if "\x1b" in content:
        content = ANSI.sub("", content)
    for pattern in drop:
        content = re2.sub(pattern, "", content)
    return content


def _part(part: Any) -> str:
    if part.type == "text":
        return part.text
    if part.type in ("image", "audio"):
        return placeholder(part.type, part.mime_type, part.data)
    if part.type == "resource_link":
        return f"[link: {part.name} {part.uri}]"
    resource = part.resource
    if hasattr(resource, "text"):
        return resource.text
    return placeholder("file", resource.mime_type or "unknown type", resource.blob)


def placeholder(kind: str, mime_type: str, data: str) -> str:
    """The text that replaces base64 `data` in a conversation: the same for the same bytes.

    Some servers send a whole data URL, or leave out the padding.
    """
    content = base64.b64decode(data.rpartition(",")[2] + "==")
    return f"[{kind}: {mime_type}, {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()[:16]}]"
