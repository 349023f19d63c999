"""Files and batches as OpenAI has them, behind tests/teacher_server.py; a test says what becomes of each request."""

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import openai_types
from teacher_server import Asked


class Batches:
    """`answer(body)` is a completion, `(status, body)`, or None for a request that the batch does not get to.

    `polls`: looks at a batch before it is over. `fail_first`: an error code with which the first batch fails. `most`:
    requests that may wait in line.
    """

    def __init__(
        self, answer: Callable[[dict[str, Any]], Any], polls: int = 1, fail_first: str | None = None, most: int = 50_000
    ):
        self._answer, self._polls, self._fail_first, self._most = answer, polls, fail_first, most
        self.files: dict[str, list[dict[str, Any]]] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.ordered: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.forgotten: set[str] = set()
        self.held = False

    def post(self, asked: Asked) -> Any:
        if asked.path == "/v1/files":
            assert b'name="purpose"\r\n\r\nbatch' in asked.raw
            lines = re.findall(rb'^\{"custom_id".*\}$', asked.raw, re.MULTILINE)
            self.files[f"file-{len(self.files)}"] = [json.loads(line) for line in lines]
            for line in self.files[f"file-{len(self.files) - 1}"]:
                openai_types.check(line["url"], line["body"])
            return {"id": f"file-{len(self.files) - 1}"}
        assert asked.path == "/v1/batches" and asked.body["completion_window"] == "24h"
        batch = {"id": f"batch-{len(self.batches)}", "status": "validating", "polls": 0, **asked.body}
        self.batches[batch["id"]] = batch
        self.ordered.update(line["custom_id"] for line in self.files[batch["input_file_id"]])
        return batch

    def get(self, asked: Asked) -> Any:
        path = asked.path.split("?")[0]
        if asked.method == "DELETE":
            self.forgotten.add(path.rsplit("/", 1)[1])
            return {"deleted": True}
        if path == "/v1/batches":
            return {"data": list(self.batches.values())}
        if path.endswith("/content"):
            if path.split("/")[3] in self.forgotten:
                return 404, {"error": {"message": "No such File object"}}, {}
            return 200, b"".join(json.dumps(line).encode() + b"\n" for line in self.files[path.split("/")[3]]), {}
        if path.startswith("/v1/batches/"):
            batch = self.batches.get(path.rsplit("/", 1)[1])
            return self._look(batch) if batch else (404, {}, {})
        return 404, {}, {}

    def _look(self, batch: dict[str, Any]) -> Any:
        batch["polls"] += 1
        if batch["status"] != "validating":
            return batch
        if self.held or batch["polls"] <= self._polls:
            return {**batch, "status": "in_progress"}
        if self._fail_first:
            code, self._fail_first = self._fail_first, None
            batch |= {"status": "failed", "errors": {"data": [{"code": code, "message": "so it is"}]}}
            return batch
        if len(self.files[batch["input_file_id"]]) > self._most:
            code = "token_limit_exceeded"
            batch |= {"status": "failed", "errors": {"data": [{"code": code, "message": "too many in line"}]}}
            return batch
        good, bad, late = [], [], False
        for line in self.files[batch["input_file_id"]]:
            found = self._answer(line["body"])
            if found is None:
                late = True
                continue
            status, body = found if isinstance(found, tuple) else (200, found)
            self.answered[line["custom_id"]] += status == 200
            (good if status == 200 else bad).append(
                {"custom_id": line["custom_id"], "response": {"status_code": status, "body": body}, "error": None}
            )
        for name, lines in (("output_file_id", good), ("error_file_id", bad)):
            if lines:
                batch[name] = f"file-{len(self.files)}"
                self.files[batch[name]] = lines[::-1]  # the order is not kept
        batch["status"] = "expired" if late else "completed"
        return batch
