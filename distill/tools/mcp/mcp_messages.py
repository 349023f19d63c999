"""Half a character in a message of an MCP server, such as `\\ud83d`: what remains of an emoji when a server in JavaScript cuts
a text. The SDK drops the whole message, and the call would wait for its time limit.

It imports the SDK, so it is imported where a server is connected.
"""

import json
from contextlib import suppress
from functools import cache
from typing import Any

from mcp.types import jsonrpc_message_adapter as messages


@cache
def accept_half_characters() -> None:
    """Has the SDK read such messages in this process, each half as `?`."""
    validated = messages.validate_json

    def validate_json(data: Any, **options: Any) -> Any:
        try:
            return validated(data, **options)
        except ValueError:
            with suppress(ValueError, RecursionError):
                repaired = json.dumps(json.loads(data), ensure_ascii=False).encode(errors="replace")
                return validated(repaired, **options)
            raise

    messages.validate_json = validate_json  # type: ignore[method-assign]  # all transports of the SDK share this object
