"""A model hub behind real HTTP: one repository, made of a folder, which may be gated."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


@dataclass
class Hub:
    """Its `url`, the commit that it has now, and the files that were fetched."""

    url: str = ""
    commit: str = "1" * 40
    fetched: list[str] = field(default_factory=list)


@contextmanager
def hub(repository: str, folder: Path, token: str | None = None) -> Iterator[Hub]:
    """Serves the files of `folder` as `repository`, to those only who have the `token`, if there is one."""
    found = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, content, headers = self._answer(unquote(self.path.partition("?")[0]))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_HEAD = do_GET

        def _answer(self, place: str) -> tuple[int, bytes, dict[str, str]]:
            if token and self.headers.get("Authorization") != f"Bearer {token}":
                return 401, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}
            if not place.removeprefix("/api/models").startswith(f"/{repository}/"):
                return 404, b"{}", {"X-Error-Code": "RepoNotFound"}
            if not {"main", found.commit} & set(place.split("/")):
                return 404, b"{}", {"X-Error-Code": "RevisionNotFound"}
            return self._listing(place) if place.startswith("/api/") else self._file(place.rpartition("/")[2])

        def _listing(self, place: str) -> tuple[int, bytes, dict[str, str]]:
            if "/tree/" in place:
                return 200, json.dumps([self._listed(file) for file in self._files()]).encode(), {}
            siblings = [{"rfilename": file.name} for file in self._files()]
            return 200, json.dumps({"id": repository, "sha": found.commit, "siblings": siblings}).encode(), {}

        def _file(self, name: str) -> tuple[int, bytes, dict[str, str]]:
            if not (folder / name).is_file():
                return 404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": found.commit}
            if self.command == "GET":
                found.fetched.append(name)
            content = (folder / name).read_bytes()
            etag = hashlib.sha256(content).hexdigest()
            return 200, content, {"X-Repo-Commit": found.commit, "ETag": f'"{etag}"'}

        def _files(self) -> list[Path]:
            return sorted(file for file in folder.iterdir() if file.is_file())

        def _listed(self, file: Path) -> dict[str, object]:
            digest = hashlib.sha1(file.read_bytes()).hexdigest()
            return {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": digest}

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
