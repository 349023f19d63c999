"""What clients of OpenAI's API send, as a student takes it: text. What would make the answer another kind is refused."""

from typing import Any

UNSUPPORTED = ("logprobs", "functions", "function_call")
NUMBERS = {"temperature": (int, float), "max_tokens": (int,), "max_completion_tokens": (int,)}


def plain(body: Any) -> dict[str, Any]:
    """The body of a chat completion with every content as one text and `developer` as `system`, which templates know;
    without tools where `tool_choice` is none, and with `stop` as a list.

    Raises ValueError that names the first field in which the body asks for what cannot be done here.
    """
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
        raise ValueError("messages: a list of messages is needed")
    for name in UNSUPPORTED:
        if body.get(name):
            raise ValueError(f"{name}: not known here; vLLM knows it")
    if body.get("n") not in (None, 1):
        raise ValueError("n: one answer at a time")
    if (body.get("response_format") or {"type": "text"}) != {"type": "text"}:
        raise ValueError("response_format: the student writes text; vLLM can hold it to a form")
    for name, kinds in NUMBERS.items():
        if body.get(name) is not None and not (isinstance(body[name], kinds) and body[name] >= 0):
            raise ValueError(f"{name}: a number is needed that is not negative")
    stop = body.get("stop") or []
    stop = [stop] if isinstance(stop, str) else stop
    if not isinstance(stop, list) or not all(isinstance(text, str) and text for text in stop):
        raise ValueError("stop: a text, or a list of texts, none of them empty")
    choice = body.get("tool_choice") or "auto"
    if choice not in ("auto", "none"):
        raise ValueError("tool_choice: auto or none; a call cannot be forced here")
    tools = body.get("tools") if choice == "auto" else None
    return body | {"stop": stop, "tools": tools, "messages": [_message(*one) for one in enumerate(body["messages"])]}


def _message(place: int, message: Any) -> dict[str, Any]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise ValueError(f"messages/{place}: an object with a role is needed")
    role = "system" if message["role"] == "developer" else message["role"]
    return message | {"role": role, "content": _text(message.get("content"), f"messages/{place}/content")}


def _text(content: Any, where: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    parts = content if isinstance(content, list) else [content]
    for part in parts:
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            raise ValueError(f"{where}: the student reads text only")
    return "".join(part["text"] for part in parts)
