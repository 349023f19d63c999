"""The prefix by which a record marks a failed tool call: its `tool` message begins with it."""

TOOL_ERROR = "error: "
