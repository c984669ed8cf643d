"""inline: the hub's application in one thread of this process, so that its system calls come in one order.

The doors, the actions and the stores are those of `commons hub serve`; only the socket and the pool of threads are not
there. So a system call has a number that is the same in every run, and a run takes a tenth of a second.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio.to_thread
from sqlalchemy import Engine

from modelcommons.errors import HubError
from modelcommons.hub import migrations
from modelcommons.hub.actions import fsck, gc
from modelcommons.hub.app import Hub
from modelcommons.hub.settings import load
from modelcommons.hub.stores import Stores, open_stores

NOW = 1_900_000_000.0  # the hub's clock; behind it lies all that the tests write, as old as gc could wish
PIECE = 400_000  # bytes of a body that come at once
DAY_S = 86_400

World = dict[str, Any]  # what people see of a hub; see `look`


def in_one_thread() -> None:
    """What would be done in a pool of threads is done at once."""

    async def run_sync(call: Callable[..., Any], *given: Any, **options: Any) -> Any:
        return call(*given)

    anyio.to_thread.run_sync = run_sync  # type: ignore[assignment]


def read_once() -> None:
    """What is the same in every process, the list of migrations, is read by the first one only."""
    migrations.ScriptDirectory = functools.cache(migrations.ScriptDirectory)  # type: ignore[assignment,misc]


def _compile_once(app: Hub, engine: Engine) -> None:
    """A statement that was compiled before, here or in the process that this one was forked from, is not again.

    SQLAlchemy keeps them per engine and dialect; without this a third of a process's life goes there.
    """
    if not hasattr(app.state, "compiled"):
        engine._compiled_cache.capacity = 5000  # type: ignore[union-attr]
        app.state.compiled = engine.dialect, engine._compiled_cache
    engine.dialect, engine._compiled_cache = app.state.compiled


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]  # names in small letters
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Refused(Exception):
    """The hub said no; the client goes no further."""

    def __init__(self, what: str, answer: Answer) -> None:
        super().__init__(f"{what}: {answer.status} {answer.body[:200]!r}")
        self.answer = answer


@dataclass
class Client:
    """A client of a hub in this process, who writes down what was acknowledged the moment it is.

    `log` is a pipe: what is in it outlives this process. `writev` says it, which is no call of the hub.
    """

    app: Hub
    folder: Path
    token: str
    log: int | None = None
    again: bool = False  # the requests were sent before: what is gone already may be gone
    after: Callable[[], None] = lambda: None  # called when a request is done
    acknowledged: int = 0
    commits: list[str] = field(default_factory=list)  # that were acknowledged
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    time: float = NOW

    def __post_init__(self) -> None:
        self.stores: Stores = open_stores(load({}, folder=self.folder, log_level="error"), lambda: self.time)
        self.app.state.stores = self.stores
        _compile_once(self.app, self.stores.database.engine)

    def close(self) -> None:
        self.stores.database.close()
        self.loop.close()

    def ask(self, method: str, path: str, body: Any = None, *, may: tuple[int, ...] = (), bearer: str = "") -> Answer:
        """One request whose answer is 2xx, or one of `may` where it was sent before.

        Raises:
            Refused: it is another.
        """
        answer = self._ask(method, path, body, bearer or self.token, counts=True)
        if answer.status >= 300 and not (self.again and answer.status in may):
            raise Refused(f"{method} {path}", answer)
        self.after()
        return answer

    def read(self, path: str, body: Any = None) -> Answer:
        """What is no write is not counted."""
        return self._ask("POST" if body is not None else "GET", path, body, self.token, counts=False)

    def collect(self, days: float) -> None:
        """A run of gc so many days later."""
        self.time = NOW + (days + 100 * self.again) * DAY_S  # by then the lease of one that was killed is over
        try:
            gc.collect(self.stores)
        except HubError as error:
            headers = {"x-request-id": "none"}  # gc is a command; nobody asked by the wire
            raise Refused("gc", Answer(error.status, headers, str(error).encode())) from error
        finally:
            self.time = NOW
        self._acknowledge()
        self.after()

    def _acknowledge(self) -> None:
        self.acknowledged += 1
        if self.log is not None:
            os.writev(self.log, [b"+"])

    def _ask(self, method: str, path: str, body: Any, token: str, *, counts: bool) -> Answer:
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        return self.loop.run_until_complete(self._send(method, path, body, token, counts))

    async def _send(self, method: str, path: str, body: bytes | None, token: str, counts: bool) -> Answer:
        raw, _, query = path.encode("latin-1").partition(b"?")
        headers = [(b"host", b"localhost:8931"), (b"authorization", f"Bearer {token}".encode())]
        if body is not None:
            headers += [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
            # the same request has the same key, however often it comes
            headers.append((b"idempotency-key", hashlib.sha256(raw + body).hexdigest().encode()))
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": raw.decode("latin-1"), "raw_path": raw, "query_string": query, "root_path": "", "headers": headers,
            "client": ("127.0.0.1", 1), "server": ("localhost", 8931), "extensions": {}, "state": {},
        }  # fmt: skip
        whole = body or b""
        pieces = [whole[at : at + PIECE] for at in range(0, len(whole), PIECE)] or [b""]
        start: dict[str, Any] = {}
        got: list[bytes] = []

        async def receive() -> dict[str, Any]:
            if not pieces:
                await asyncio.sleep(3600)  # the client stays, and sends nothing more
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                if counts and message["status"] < 300:
                    self._acknowledge()
            else:
                got.append(message.get("body", b""))

        try:
            await self.app(scope, receive, send)
        except Exception:  # an answer that was begun and cannot go on: a socket would be closed here
            if not start:
                raise
        told = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in start["headers"]}
        return Answer(start["status"], told, b"".join(got))


def look(client: Client, repos: tuple[str, ...], large: tuple[str, ...]) -> World:
    """What a person sees: refs, histories, the digest of every byte, and which large files may be downloaded.

    Args:
        repos: ada/one ..; those that are not there are part of what is seen.
        large: SHA-256 of large files that the operation sends.
    """
    return {rid: _repository(client, rid, large) for rid in repos}


def _repository(client: Client, rid: str, large: tuple[str, ...]) -> Any:
    refs = client.read(f"/api/models/{rid}/refs")
    if refs.status != 200:
        return f"{refs.status} {refs.headers.get('location', '')}"
    seen: World = {"claims": _claims(client, rid, large)}
    for one in refs.json()["branches"] + refs.json()["tags"]:
        at = one["targetCommit"]
        log = client.read(f"/api/models/{rid}/commits/{at}").json()
        tree = client.read(f"/api/models/{rid}/tree/{at}?recursive=true").json()
        files = {each["path"]: _digest(client, rid, at, each) for each in tree if each["type"] == "file"}
        seen[one["ref"]] = {"log": [each["id"] for each in log], "files": files}
    return seen


def _claims(client: Client, rid: str, large: tuple[str, ...]) -> list[str]:
    asked = {"operation": "download", "objects": [{"oid": one, "size": 1} for one in large]}
    objects = client.read(f"/{rid}.git/info/lfs/objects/batch", asked).json()["objects"]
    return [each["oid"][:12] for each in objects if "actions" in each]


def _digest(client: Client, rid: str, at: str, entry: Any) -> str:
    got = client.read(f"/{rid}/resolve/{at}/{entry['path']}")
    if got.status != 200 or len(got.body) != entry["size"]:
        return f"{got.status}: {len(got.body)} of {entry['size']} bytes"
    return hashlib.sha256(got.body).hexdigest()


def ill(client: Client) -> list[str]:
    """What is wrong inside: what fsck calls lost, and blobs that are not what their names say, used or not."""
    found = [f"{one.problem}: {one.thing}: {one.detail}" for one in fsck.check(client.stores).lost]
    for path in sorted((client.folder / "blobs" / "files").glob("*/*")):
        if hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
            found.append(f"half a file lies under its final name: {path.name[:12]}")
    return found
