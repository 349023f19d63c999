"""How a record says that a tool call failed: its `tool` message begins with these characters."""

TOOL_ERROR = "error: "
