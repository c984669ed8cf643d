"""world: a hub in this process with people, repositories and a clock that the test sets; asked over its real routes."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asking import Answer, ask_now
from hubs import Clock, new_database
from served import people
from sqlalchemy import select

from modelcommons.hub import blobs, names, tables
from modelcommons.hub.actions import accounts, lifecycle, uploads
from modelcommons.hub.app import Hub, make
from modelcommons.hub.database import insert_new
from modelcommons.hub.permissions import Principal
from modelcommons.hub.settings import Settings
from modelcommons.hub.stores import Stores
from modelcommons.hub.tables import files


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

    def large(self, who: str, repo: str, path: str, data: bytes) -> str:
        """A large file: its bytes in the store, its claim, its pointer in a commit; its sha256."""
        sha256 = keep(self.stores, data)
        kind, name = repo.split("/")[2].removesuffix("s"), repo.split("/", 3)[3]
        with self.stores.database.writing() as connection:
            uploads.claim(connection, repo_id(self.stores, kind, name), sha256, self.clock())
        lines = [
            {"key": "header", "value": {"summary": "a large file", "description": ""}},
            {"key": "lfsFile", "value": {"path": path, "algo": "sha256", "oid": sha256, "size": len(data)}},
        ]
        body = "\n".join(json.dumps(line) for line in lines).encode()
        headers = [("content-type", "application/x-ndjson")]
        self._good(self.ask(who, "POST", f"{repo}/commit/main", body, headers=headers))
        return sha256


def keep(stores: Stores, data: bytes) -> str:
    """Bytes in the store with their row, as an upload leaves them; the sha256."""
    sha256 = hashlib.sha256(data).hexdigest()
    with stores.blobs.incoming(blobs.file_key(sha256), size=len(data)) as incoming:
        incoming.write(data)
        incoming.keep()
    with stores.database.writing() as connection:
        insert_new(connection, files, [{"sha256": sha256, "size": len(data), "created": stores.now()}])
    return sha256


def repo_id(stores: Stores, kind: str, name: str) -> int:
    owner, _, short = name.partition("/")
    with stores.database.reading() as connection:
        found = connection.execute(
            select(tables.repos.c.id)
            .join(tables.accounts, tables.accounts.c.id == tables.repos.c.owner_id)
            .where(tables.repos.c.kind == kind, tables.accounts.c.name == owner, tables.repos.c.name == short)
        ).scalar_one()
    return int(found)


@contextmanager
def world(folder: Path, **given: Any) -> Iterator[World]:
    with new_database() as database:
        clock = Clock()
        settings = Settings(folder=folder, database=database, **given)
        tokens = people(settings)
        app = make(settings, clock)
        try:
            yield World(app, tokens, clock)
        finally:
            app.state.stores.database.close()
