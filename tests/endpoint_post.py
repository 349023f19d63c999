"""Requests to llama.cpp's own paths, beside those of OpenAI."""

import json
import urllib.request
from typing import Any

from distill.teacher.embedded.llama_server import Endpoint


def post(endpoint: Endpoint, path: str, **body: Any) -> dict[str, Any]:
    request = urllib.request.Request(
        endpoint.base_url.removesuffix("/v1") + path,
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {endpoint.api_key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)
