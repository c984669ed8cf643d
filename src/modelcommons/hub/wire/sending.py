"""sending: bodies out and in without holding them: whole files or one range by sendfile, uploads piece by piece."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.concurrency import iterate_in_threadpool, run_in_threadpool
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from modelcommons.errors import BadRequest, OutOfRange, StoreFailed, TooLarge
from modelcommons.hub.blobs import PIECE, Blobs, Content, read_range
from modelcommons.hub.tickets import DOWNLOAD_S
from modelcommons.hub.wire import doors


class ContentResponse(Response):
    """A file of the store: 200, 206, 304 or 416 as the request's headers ask; never compressed.

    Args:
        etag: without quotes; names the bytes, so it is a strong one.
        headers: sent with every one of these answers, and with a redirect.
    """

    def __init__(
        self, content: Content, blobs: Blobs, *, etag: str, headers: Mapping[str, str] | None = None,
        media_type: str = "application/octet-stream",
    ) -> None:  # fmt: skip
        super().__init__(headers=dict(headers or {}), media_type=media_type)
        self.content, self.blobs, self.etag = content, blobs, f'"{etag}"'
        self.headers["Accept-Ranges"] = "bytes"
        if "ETag" not in self.headers:
            self.headers["ETag"] = self.etag

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        is_get = scope["method"] == "GET"
        if self._is_known(asked.get("if-none-match", "")):
            del self.headers["content-length"], self.headers["content-type"]
            self.status_code = 304
            return await self._send(scope, send, None)
        part = self.content
        if is_get and asked.get("if-range", self.etag) == self.etag:
            try:
                bounds = read_range(asked.get("range"), self.content.size)
            except OutOfRange as error:
                return await self._refuse(error, scope, receive, send)
            if bounds:
                start, stop = bounds
                part = self.content.slice(start, stop)
                self.status_code = 206
                self.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{self.content.size}"
        if is_get and (link := await run_in_threadpool(_link, self.content, self.blobs)):
            headers = {name: value for name, value in self.headers.items() if name not in DESCRIBE}
            return await RedirectResponse(link, 302, headers)(scope, receive, send)
        self.headers["Content-Length"] = str(part.size)
        await self._send(scope, send, part if is_get else None)

    def _is_known(self, header: str) -> bool:
        tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
        return self.etag in tags or tags == ["*"]

    async def _refuse(self, error: OutOfRange, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name: value for name, value in self.headers.items() if name not in DESCRIBE}
        headers |= {"Content-Range": f"bytes */{self.content.size}", "X-Error-Message": str(error)}
        await JSONResponse({"error": str(error)}, 416, headers)(scope, receive, send)

    async def _send(self, scope: Scope, send: Send, part: Content | None) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if part is not None:
            await send_content(part, self.blobs, scope, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


DESCRIBE = frozenset({"content-length", "content-type", "content-range", "accept-ranges"})  # say something of the body


def _link(content: Content, blobs: Blobs) -> str | None:
    """Where the store itself gives this content: only where it is one whole object."""
    if len(content.extents) != 1:
        return None
    key, offset, length = content.extents[0]
    link = blobs.link(key, DOWNLOAD_S)
    whole = link and offset == 0 and (key.startswith("files/") or blobs.size(key) == length)
    return link if whole else None


async def send_content(content: Content, blobs: Blobs, scope: Scope, send: Send) -> None:
    """The bytes, by the kernel where they lie on this machine and the server can do it; the end is the caller's."""
    sendfile = scope.get("extensions", {}).get("modelcommons.sendfile")
    for extent in content.extents:
        path = blobs.local(extent.key) if sendfile else None
        if path is None:
            async for piece in iterate_in_threadpool(blobs.read(extent)):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            continue
        try:
            fd = await run_in_threadpool(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise StoreFailed("A stored object is missing. `commons hub fsck` says which.") from error
        try:
            await sendfile(fd, extent.offset, extent.length)
        finally:
            os.close(fd)


class PiecesResponse(Response):
    """Bytes that are made while they are sent, of a known length."""

    def __init__(self, pieces: Iterator[bytes], length: int, *, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status_code=status, headers=dict(headers), media_type="application/octet-stream")
        self.pieces = pieces
        self.headers["Content-Length"] = str(length)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for piece in iterate_in_threadpool(self.pieces):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def address(request: Request) -> str:
    """Where addresses in answers begin: as people reach the hub; or as this request did, where that is not set."""
    settings = doors.stores(request).settings
    host = request.headers.get("host")
    return settings.endpoint if settings.url or not host else f"http://{quote(host, safe=':[]')}"


async def take(request: Request, write: Callable[[bytes], Any], limit: int) -> None:
    """Hands the body to `write`, in a thread, in pieces of about 1 MiB.

    Raises:
        TooLarge: more than `limit` bytes were announced, or came.
        BadRequest: the body ended early.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise TooLarge(f"Expected at most {limit} bytes, got {announced}.")
    pieces: list[bytes] = []
    waiting = total = 0
    writing: asyncio.Task[Any] | None = None  # while one piece is written, the next one comes
    try:
        async for piece in request.stream():
            total += len(piece)
            waiting += len(piece)
            if total > limit:
                raise TooLarge(f"Expected at most {limit} bytes, got more.")
            pieces.append(piece)
            if waiting >= PIECE:
                if writing is not None:
                    await writing
                writing = asyncio.create_task(run_in_threadpool(write, b"".join(pieces)))
                pieces, waiting = [], 0
        if writing is not None:
            await writing
    except ClientDisconnect:
        raise BadRequest("The connection ended before the whole body had come.") from None
    finally:
        if writing is not None and not writing.done():  # nobody may take away what it writes to
            await asyncio.wait([writing])
    if pieces:
        await run_in_threadpool(write, b"".join(pieces))
