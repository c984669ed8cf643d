"""asking: one request to an app in this process, its path exactly as written; no client repairs anything on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

App = Callable[[dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]  # names in small letters
    body: bytes

    @property
    def code(self) -> str:
        """What the client chooses its exception by."""
        return self.headers.get("x-error-code", "")

    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    app: App,
    method: str,
    path: str | bytes,
    body: Any = None,
    *,
    headers: Iterable[tuple[str, str]] = (),
    token: str = "",
) -> Answer:
    """One request and its answer.

    Args:
        path: as on the wire, percent-encoded, with the query after `?`.
        body: bytes as they are; anything else as JSON.
    """
    raw, _, query = (path.encode("latin-1") if isinstance(path, str) else path).partition(b"?")
    sent = {b"host": b"localhost:8931", **{name.lower().encode(): value.encode("latin-1") for name, value in headers}}
    if token:
        sent[b"authorization"] = f"Bearer {token}".encode()
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        sent.setdefault(b"content-type", b"application/json")
    if body is not None:
        sent[b"content-length"] = str(len(body)).encode()
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": raw.decode("latin-1"), "raw_path": raw, "query_string": query, "root_path": "",
        "headers": list(sent.items()), "client": ("127.0.0.1", 1), "server": ("localhost", 8931), "extensions": {},
        "state": {},
    }  # fmt: skip
    incoming = iter([{"type": "http.request", "body": body or b"", "more_body": False}])
    start: dict[str, Any] = {}
    pieces: list[bytes] = []

    async def receive() -> dict[str, Any]:
        message = next(incoming, None)
        if message is None:
            await asyncio.sleep(3600)  # the client stays, and sends nothing more
        return message or {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            pieces.append(message.get("body", b""))

    await app(scope, receive, send)
    told = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in start["headers"]}
    return Answer(start["status"], told, b"".join(pieces))


def ask_now(app: App, method: str, path: str | bytes, body: Any = None, **options: Any) -> Answer:
    """As `ask`, from a test that is no coroutine."""
    return asyncio.run(ask(app, method, path, body, **options))
