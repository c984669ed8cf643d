"""world: a hub in this process with people, repositories and a clock that the test sets; asked over its real routes."""

from __future__ import annotations

import atexit
import base64
import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from asking import Answer, ask_now
from hubs import Clock, hub_over, new_database
from served import people
from xorbs import File, shard

from modelcommons.hub import names, tickets
from modelcommons.hub.actions import accounts, lifecycle, repos, uploads
from modelcommons.hub.actions.repos import Opened
from modelcommons.hub.app import Hub
from modelcommons.hub.permissions import Ability, Principal
from modelcommons.hub.settings import Settings
from modelcommons.hub.stores import Stores, open_stores


@dataclass
class World:
    """ada rules the organisation guild, ben may write in it, cleo may read; dan is in none; root rules the hub."""

    app: Hub
    tokens: dict[str, str]
    clock: Clock

    @property
    def stores(self) -> Stores:
        stores: Stores = self.app.state.stores
        return stores

    def ask(self, who: str, method: str, path: str, body: Any = None, **options: Any) -> Answer:
        """`who` is a person's name; nobody where it is empty."""
        return ask_now(self.app, method, path, body, token=self.tokens[who] if who else "", **options)

    def get(self, who: str, path: str) -> Any:
        return self._good(self.ask(who, "GET", path))

    def post(self, who: str, path: str, body: Any = None) -> Any:
        return self._good(self.ask(who, "POST", path, body))

    def _good(self, answer: Answer) -> Any:
        assert answer.status == 200, (answer.status, answer.body[:500])
        return answer.json() if answer.body else None

    def repo(self, name: str, *, private: bool = False, kind: names.Kind = "model") -> str:
        """A new repository of its owner: `ada/news`; for an organisation ada makes it."""
        owner, _, short = name.partition("/")
        who = self.principal("ada" if owner == "guild" else owner)
        lifecycle.create(self.stores, who, names.repo_id(kind, owner, short), private=private)
        return f"/api/{kind}s/{name}"

    def principal(self, who: str) -> Principal:
        return accounts.of_token(self.stores, self.tokens[who], "bearer")

    def commit(
        self, who: str, repo: str, files: dict[str, bytes | None], *, revision: str = "main", query: str = ""
    ) -> Any:
        """Files and their bytes; None deletes one."""
        lines: list[dict[str, Any]] = [{"key": "header", "value": {"summary": "a commit", "description": ""}}]
        for path, data in files.items():
            if data is None:
                lines.append({"key": "deletedFile", "value": {"path": path}})
            else:
                content = base64.b64encode(data).decode()
                lines.append({"key": "file", "value": {"path": path, "content": content, "encoding": "base64"}})
        body = "\n".join(json.dumps(line) for line in lines).encode()
        headers = [("content-type", "application/x-ndjson")]
        return self._good(self.ask(who, "POST", f"{repo}/commit/{revision}{query}", body, headers=headers))

    def opened(self, who: str, repo: str, ability: Ability = "write") -> Opened:
        kind, owner, name = repo.removeprefix("/api/").replace("s/", "/", 1).split("/")
        found = next(one for one in names.KINDS if one == kind)
        return repos.open_repo(self.stores, self.principal(who), names.repo_id(found, owner, name), ability)

    def upload(self, who: str, repo: str, data: bytes) -> str:
        """By LFS; the sha256."""
        stores, sha256 = self.stores, hashlib.sha256(data).hexdigest()
        asked = [uploads.Asked(sha256, len(data))]
        [answer] = uploads.batch_upload(stores, self.opened(who, repo), asked, multipart=False)
        if answer.upload:
            ticket = tickets.read(stores.secret, answer.upload, self.clock())
            with uploads.incoming_file(stores, ticket) as incoming:
                incoming.write(data)
                uploads.keep_file(stores, ticket, incoming)
        return sha256

    def upload_xet(self, who: str, repo: str, file: File) -> str:
        """By Xet: every xorb, then the shard; the sha256."""
        stores, opened = self.stores, self.opened(who, repo)
        ticket = tickets.read(stores.secret, uploads.ticket(stores, opened, "xet-write", "write", 3600), self.clock())
        for xorb in {xorb for xorb, _, _ in file.pieces}:
            with uploads.XorbUpload(stores, ticket, xorb.name) as upload:
                upload.write(xorb.body())
                upload.keep()
        uploads.keep_shard(stores, ticket, io.BytesIO(shard([file])))
        return file.sha256

    def point(self, who: str, repo: str, path: str, sha256: str, size: int, revision: str = "main") -> Answer:
        """A commit of a pointer to a large file."""
        lines = [
            {"key": "header", "value": {"summary": f"Add {path}", "description": ""}},
            {"key": "lfsFile", "value": {"path": path, "algo": "sha256", "oid": sha256, "size": size}},
        ]
        body = "\n".join(json.dumps(line) for line in lines).encode()
        headers = [("content-type", "application/x-ndjson")]
        return self.ask(who, "POST", f"{repo}/commit/{revision}", body, headers=headers)

    def large(self, who: str, repo: str, path: str, data: bytes | File) -> str:
        """A large file, by LFS or by Xet, with its commit."""
        if isinstance(data, bytes):
            sha256, size = self.upload(who, repo, data), len(data)
        else:
            sha256, size = self.upload_xet(who, repo, data), len(data.data)
        self._good(self.point(who, repo, path, sha256, size))
        return sha256


@cache
def template() -> tuple[Path, dict[str, str]]:
    """A folder with the people in it, made once in a process, and their tokens; copying it is quicker."""
    folder = Path(tempfile.mkdtemp(prefix="commons-world-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder, people(Settings(folder=folder))


@contextmanager
def world(folder: Path, *, sqlite: bool = False, **given: Any) -> Iterator[World]:
    """Args: sqlite: whatever database the other tests are on."""
    with nullcontext("") if sqlite else new_database() as database:
        clock = Clock()
        settings = Settings(folder=folder, database=database, **given)
        if database:
            tokens = people(settings)
        else:
            source, tokens = template()
            shutil.copytree(source, folder)
        stores = open_stores(settings, clock)
        try:
            yield World(hub_over(stores), tokens, clock)
        finally:
            stores.database.close()
