"""a hub of one page: enough of the Hugging Face protocol for the unmodified client to upload, list and download models
and to read data sets.

Real HTTP on loopback, commits with compare-and-swap, one token. Every file travels inside the commit (`regular`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_right"
READ_ONLY = "hf_reader"


@dataclass
class Repo:
    private: bool
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=lambda: [("0" * 40, {})])

    @property
    def head(self) -> tuple[str, dict[str, bytes]]:
        return self.commits[-1]


@dataclass
class SmallHub:
    """What the hub holds, and what was asked of it; `fail` makes one step answer with a status instead."""

    repos: dict[str, Repo] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    fail: dict[str, int] = field(default_factory=dict)  # create, commit, ... -> status
    url: str = ""

    def commit(self, repo: Repo, lines: list[dict[str, Any]]) -> str | None:
        """The new commit; None when the branch moved."""
        header = lines[0]["value"]
        if header.get("parentCommit") not in (None, repo.head[0]):
            return None
        files = dict(repo.head[1])
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                del files[value["path"]]
        oid = hashlib.sha1(repr((repo.head[0], sorted(files.items()))).encode()).hexdigest()
        repo.commits.append((oid, files))
        return oid


class Handler(BaseHTTPRequestHandler):
    hub: SmallHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if token not in (TOKEN, READ_ONLY):
            return self._refuse(401, "Invalid credentials in Authorization header")
        if path == "/api/repos/create":
            return self._create(json.loads(body), token)
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", path)
        if not found or found[1] not in self.hub.repos:
            return self._refuse(404, "Repository not found", "RepoNotFound")
        if token == READ_ONLY:
            return self._refuse(403, "Forbidden: you need write access")
        repo = self.hub.repos[found[1]]
        self.hub.asked.append(found[2])
        if found[2] in self.hub.fail:
            return self._refuse(self.hub.fail[found[2]], "as the test wants it")
        if found[2] == "preupload":
            return self._json({"files": [self._travel(repo, file) for file in json.loads(body)["files"]]})
        oid = self.hub.commit(repo, [json.loads(line) for line in body.decode().splitlines()])
        if oid is None:
            return self._refuse(412, "The branch was updated since you opened this page. Please refresh and try again.")
        return self._json({"commitUrl": f"{self.hub.url}/{found[1]}/commit/{oid}", "commitOid": oid})

    def _create(self, asked: dict[str, Any], token: str) -> None:
        self.hub.asked.append("create")
        if "create" in self.hub.fail:
            return self._refuse(self.hub.fail["create"], "as the test wants it")
        name = f"{asked.get('organization') or 'ada'}/{asked['name']}"
        if name in self.hub.repos:
            return self._json({"url": f"{self.hub.url}/{name}", "error": "You already created this model repo"}, 409)
        if token == READ_ONLY:
            return self._refuse(403, "Forbidden: you need write access")
        private = asked.get("visibility", "private" if asked.get("private") else "public") == "private"
        self.hub.repos[name] = Repo(private)
        return self._json({"url": f"{self.hub.url}/{name}"})

    def _travel(self, repo: Repo, file: dict[str, Any]) -> dict[str, Any]:
        here = repo.head[1].get(file["path"])
        known = {"oid": hashlib.sha1(b"blob %d\0" % len(here) + here).hexdigest()} if here is not None else {}
        return {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, **known}

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        info = re.fullmatch(r"/api/(?:models|datasets)/([^/]+/[^/]+?)(?:/revision/([^/]+))?", path)
        tree = re.fullmatch(r"/api/(?:models|datasets)/([^/]+/[^/]+)/tree/([^/]+)", path)
        file = re.fullmatch(r"/(?:datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        found = info or tree or file
        if not found or found[1] not in self.hub.repos:
            return self._refuse(404, "Repository not found", "RepoNotFound")
        repo, revision = self.hub.repos[found[1]], found[2] or "main"
        self.hub.asked.append(f"file {found[3]}" if file else "read")
        commits = {"main": repo.head} | {commit[0]: commit for commit in repo.commits}
        if revision not in commits:
            return self._refuse(404, "Revision not found", "RevisionNotFound")
        oid, files = commits[revision]
        if info:
            siblings = [{"rfilename": name} for name in files]
            return self._json({"id": found[1], "sha": oid, "siblings": siblings, "private": True})
        if tree:
            shas = {name: hashlib.sha1(b"blob %d\0" % len(raw) + raw).hexdigest() for name, raw in files.items()}
            return self._json(
                [{"type": "file", "path": name, "size": len(raw), "oid": shas[name]} for name, raw in files.items()]
            )
        if file is None or file[3] not in files:
            return self._refuse(404, "Entry not found", "EntryNotFound", {"X-Repo-Commit": oid})
        raw = files[file[3]]
        headers = {"X-Repo-Commit": oid, "ETag": f'"{hashlib.sha1(raw).hexdigest()}"'}
        return self._send(200, raw, "application/octet-stream", headers)

    do_HEAD = do_GET

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), "application/json", {})

    def _refuse(self, status: int, message: str, code: str = "", headers: dict[str, str] | None = None) -> None:
        named = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self._send(status, json.dumps({"error": message}).encode(), "application/json", named | (headers or {}))

    def _send(self, status: int, raw: bytes, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(raw)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def _chunks(self) -> bytes:
        whole = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole


@contextmanager
def small_hub() -> Iterator[SmallHub]:
    """A hub that listens on loopback while the block runs."""
    hub = SmallHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneHandler", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
