"""The prefix by which a record marks a failed tool call: its `tool` message begins with it."""

TOOL_ERROR = "error: "
TOO_LATE = TOOL_ERROR + "the tool did not answer within "
"""The same, of a call that was given up at its time limit."""
