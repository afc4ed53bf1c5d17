"""The endpoints of the Hugging Face Hub that `hf://` names use, for tests: run it with a folder, it prints its address.

The folder holds ORG/NAME/REVISION/files. A commit goes to the revision main. Requests without the token "right" cannot
see repositories called private.
"""

from __future__ import annotations

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Hub(ThreadingHTTPServer):
    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        """ORG/NAME/resolve/REVISION/FILE, or api/models/ORG/NAME/revision/REVISION: the files with their sizes"""
        listed = self.path.startswith("/api/models/")
        path = self.path.partition("?")[0].removeprefix("/api/models").strip("/")
        org, name, _, revision, file = [*path.split("/", 4), "revision", "main", ""][:5]
        repository = self.server.folder / org / name
        if not repository.is_dir() or (name == "private" and not self._is_allowed()):
            return self._reply(404 if self._is_allowed() else 401, b"", {"X-Error-Code": "RepoNotFound"})
        commits = {commit(path): path for path in repository.iterdir()}
        found = commits.get(revision, repository / revision)
        if not found.is_dir():
            return self._reply(404, b"", {"X-Error-Code": "RevisionNotFound"})
        if listed:
            files = [{"rfilename": path.name, "size": path.stat().st_size} for path in found.iterdir()]
            return self._json({"id": f"{org}/{name}", "sha": commit(found), "siblings": files})
        if not (found / file).is_file():
            return self._reply(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit(found)})
        data = (found / file).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        return self._reply(200, data, {"ETag": f'"{digest}"', "X-Repo-Commit": commit(found)})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self._is_allowed():
            return self._reply(401, b"{}")
        if self.path == "/api/repos/create":
            about = json.loads(body)
            (self.server.folder / about["organization"] / about["name"] / "main").mkdir(parents=True, exist_ok=True)
            return self._json({"url": f"{self.server.url}/{about['organization']}/{about['name']}"})
        if self.path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        _, _, _, org, name, action, _ = self.path.split("/")
        folder = self.server.folder / org / name / "main"
        if action == "preupload":
            files = [file["path"] for file in json.loads(body)["files"]]
            regular = {"uploadMode": "regular", "shouldIgnore": False}
            return self._json({"files": [{"path": path, **regular} for path in files]})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                (folder / line["value"]["path"]).write_bytes(base64.b64decode(line["value"]["content"]))
        url = f"{self.server.url}/{org}/{name}/commit/{commit(folder)}"
        return self._json({"commitUrl": url, "commitOid": commit(folder), "success": True})

    def log_message(self, *_: Any) -> None:
        pass

    def _is_allowed(self) -> bool:
        return self.headers.get("Authorization") == "Bearer right"

    def _json(self, value: Any) -> None:
        self._reply(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _reply(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def commit(folder: Path) -> str:
    """A hash of the files of a revision."""
    digest = hashlib.sha1()
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
