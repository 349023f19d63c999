"""What records and their parts are called in signatures; the JSON Schemas say what is in them."""

from typing import Any

Params = dict[str, Any]
"""The settings of params.yaml (schemas/params.schema.json)."""
Prompt = dict[str, Any]
"""A prepared prompt (schemas/prepared_prompt.schema.json)."""
Rollout = dict[str, Any]
"""What a teacher did for one prompt and sample (schemas/rollout.schema.json)."""
Row = dict[str, Any]
"""A training row (schemas/row.schema.json)."""
Message = dict[str, Any]
"""A message of a conversation, as OpenAI's chat API has it (schemas/conversation.schema.json)."""
ToolCall = dict[str, Any]
"""A call in a message of the assistant: `{id, type, function: {name, arguments}}`, the arguments as text."""
ToolSchema = dict[str, Any]
"""A tool as a model is shown it: `{type, function: {name, description, parameters}}`."""
Metadata = dict[str, Any]
"""What a prompt has beside its messages: the expected answer, its type, and keys of the user's own."""
Request = dict[str, Any]
"""What is asked of a model, in canonical form; it is the key of its answer (distill/teacher/api/chat.py)."""
Sampling = dict[str, Any]
"""How a model is to sample, as part of a request: temperature, limit of the answer, effort, seed."""
