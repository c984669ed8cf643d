"""frame: what every request has: a number, a line in the log, a place in the counts; and the path as it was sent."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelcommons.errors import HubError
from modelcommons.hub.logs import LOG
from modelcommons.hub.metrics import Metrics
from modelcommons.hub.wire import errors

REQUEST_ID = re.compile(r"[A-Za-z0-9._:;=@/+-]{1,128}")
GIT = ("/git-upload-pack", "/git-receive-pack")  # git compresses its questions; wire/git.py sees that they stay small
SENDFILE = "modelcommons.sendfile"  # see server.py
ALWAYS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin"))


class Compressed(HubError):
    """A request body in a form that grows when it is read."""

    status = 415


class Frame:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(reversed(scope["headers"]))  # of several with one name, the first
        # routes see the path as it was sent, so that refs%2Fpr%2F1 is one segment; doors.decoded decodes it, once
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        scope["path"] = raw.decode("ascii", "replace")
        scope["request_id"] = request_id(headers)
        seen = _Seen(scope, receive, send)
        packed = headers.get(b"content-encoding", b"identity").lower() != b"identity"
        if packed and not scope["path"].endswith(GIT):
            refused = errors.response(Compressed("Expected a body without Content-Encoding. Send it as it is."))
            await refused(scope, seen.receive, seen.send)
        else:
            try:
                await self.app(scope, seen.receive, seen.send)
            except ClientDisconnect:
                LOG.debug("gone", extra={"data": {"id": scope["request_id"]}})
            except Exception as error:
                LOG.error("mistake", exc_info=error, extra={"data": {"id": scope["request_id"]}})
                if seen.status and not seen.complete:
                    raise  # the answer has begun: the connection must end, so that it cannot be taken for a whole one
        self._note(scope, seen)

    def _note(self, scope: Scope, seen: _Seen) -> None:
        seconds = time.perf_counter() - seen.began
        route = getattr(scope.get("route"), "path", "") or "none"
        status = seen.status or 499  # the client went before the answer
        self.metrics.count(scope["method"], route, status, seconds, seen.bytes_in, seen.bytes_out)
        who = scope.get("state", {}).get("who")
        line = {
            "id": scope["request_id"], "method": scope["method"], "path": scope["path"][:600], "status": status,
            "seconds": round(seconds, 4), "bytes_in": seen.bytes_in, "bytes_out": seen.bytes_out,
            "user": who.name if who is not None else "",
        }  # fmt: skip
        LOG.info("request", extra={"data": line})


class _Seen:
    """Receive and send of one request, counted."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.began = time.perf_counter()
        self.status = 0
        self.complete = False
        self.bytes_in = self.bytes_out = 0
        self.number = scope["request_id"].encode()
        self._receive, self._send = receive, send
        extensions = scope.get("extensions", {})
        if SENDFILE in extensions:
            scope["extensions"] = {**extensions, SENDFILE: self._counted(extensions[SENDFILE])}

    async def receive(self) -> Message:
        message = await self._receive()
        self.bytes_in += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), (b"x-request-id", self.number), *ALWAYS]}
        else:
            self.bytes_out += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
        await self._send(message)

    def _counted(self, sendfile: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[None]]:
        async def counted(file: int, offset: int, count: int) -> None:
            await sendfile(file, offset, count)
            self.bytes_out += count

        return counted


def request_id(headers: dict[bytes, bytes]) -> str:
    """The client's own number where it is plain and short (huggingface_hub expects it back), else one of ours."""
    for name in (b"x-request-id", b"x-amzn-trace-id"):
        text = headers.get(name, b"").decode("latin-1")
        if REQUEST_ID.fullmatch(text):
            return text
    return secrets.token_hex(16)
