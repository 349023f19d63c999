"""What an MCP server answers, as the text of a tool message."""

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import Any

import orjson
import re2

ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def text(result: Any, drop: Sequence[str] = ()) -> str:
    """The parts of a CallToolResult, one below the other; of pictures and sound a placeholder with size and hash.

    Terminal colours and what the patterns `drop` match are left out. Structured content counts when there is no other.
    """
    parts = [_part(part) for part in result.content]
    if not any(parts) and result.structured_content is not None:
        parts = [orjson.dumps(result.structured_content).decode()]
    said = "\n".join(parts)
    if "\x1b" in said:
        said = ANSI.sub("", said)
    for pattern in drop:
        said = re2.sub(pattern, "", said)
    return said


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
    """What stands in a conversation for base64 `data`: the same bytes give the same words."""
    content = base64.b64decode(data)
    return f"[{kind}: {mime_type}, {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()[:16]}]"
