"""sending: the right bytes under the right headers, from any store; uploads that end early leave nothing."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore.store
import pytest
from hubs import Running

from modelcommons.errors import StoreFailed
from modelcommons.hub import blobs
from modelcommons.hub.blobs import Blobs, Content, Extent, LocalBlobs, S3Blobs
from modelcommons.hub.wire.sending import ContentResponse, PiecesResponse

DATA = os.urandom(3_000_000)
KEYS = [blobs.file_key(f"{number:064x}") for number in range(3)]
CONTENT = Content(3_000_000, tuple(Extent(key, 7, 1_000_000) for key in KEYS))  # three runs in the middle of blobs


@pytest.fixture(params=["disk", "sendfile", "objects"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def store(kind: str, tmp_path: Path) -> Iterator[Blobs]:
    made: Blobs = Linkless(obstore.store.MemoryStore()) if kind == "objects" else LocalBlobs(tmp_path / "blobs")
    for number, key in enumerate(KEYS):
        with made.incoming(key, hashed=False) as incoming:
            incoming.write(b"before." + DATA[number * 1_000_000 : (number + 1) * 1_000_000] + b"after")
            incoming.keep()
    yield made


class Linkless(S3Blobs):
    """An object store in memory has no addresses of its own."""

    def link(self, key: str, seconds: int) -> str | None:
        return None


def ask(
    response: Any, method: str = "GET", sendfile: bool = False, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body that a server would send."""
    sent: list[dict[str, Any]] = []
    body = bytearray()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        body.extend(message.get("body", b""))

    async def by_kernel(fd: int, offset: int, count: int) -> None:
        got = os.pread(fd, count, offset)
        assert len(got) == count
        body.extend(got)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "headers": raw, "extensions": {}}
    if sendfile:
        scope["extensions"] = {"modelcommons.sendfile": by_kernel}
    asyncio.run(response(scope, None, send))
    assert sent[0]["type"] == "http.response.start"
    assert sent[-1].get("more_body", False) is False
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], told, bytes(body)


@pytest.fixture
def get(store: Blobs, kind: str) -> Any:
    def go(method: str = "GET", content: Content = CONTENT, **headers: str) -> tuple[int, dict[str, str], bytes]:
        response = ContentResponse(content, store, etag="abc", headers={"X-Repo-Commit": "c"})
        return ask(response, method, kind == "sendfile", **headers)

    return go


def test_the_whole(get: Any) -> None:
    status, headers, body = get()
    assert (status, body) == (200, DATA)
    assert headers["content-length"] == "3000000"
    assert headers["etag"] == '"abc"'
    assert headers["accept-ranges"] == "bytes"
    assert headers["x-repo-commit"] == "c"
    assert "content-encoding" not in headers


def test_head_has_the_headers_of_get_and_no_body(get: Any) -> None:
    _, expected, _ = get()
    assert get("HEAD") == (200, expected, b"")
    # a range is for GET only (RFC 9110, 14.2)
    assert get("HEAD", range="bytes=0-9") == (200, expected, b"")


@pytest.mark.parametrize(
    ("range", "start", "stop"),
    [
        ("bytes=0-0", 0, 1), ("bytes=10-", 10, 3_000_000), ("bytes=-10", 2_999_990, 3_000_000),
        ("bytes=999999-1000000", 999_999, 1_000_001), ("bytes=999990-2000010", 999_990, 2_000_011),
        ("bytes=2999999-9999999", 2_999_999, 3_000_000),
    ],
)  # fmt: skip
def test_a_range(get: Any, range: str, start: int, stop: int) -> None:
    status, headers, body = get(range=range)
    assert (status, body) == (206, DATA[start:stop])
    assert headers["content-range"] == f"bytes {start}-{stop - 1}/3000000"
    assert headers["content-length"] == str(stop - start)


@pytest.mark.parametrize("range", ["bytes=0-1,5-6", "bytes=5-1", "rows=1-2", "bytes=" + ",".join(["0-1"] * 2000)])
def test_what_is_not_one_range_is_answered_with_all(get: Any, range: str) -> None:
    status, headers, body = get(range=range)
    assert (status, len(body)) == (200, 3_000_000)
    assert "content-range" not in headers


def test_past_the_end(get: Any) -> None:
    status, headers, body = get(range="bytes=3000000-")
    assert status == 416
    assert headers["content-range"] == "bytes */3000000"
    assert headers["content-length"] == str(len(body))
    assert headers["x-repo-commit"] == "c"


def test_a_range_of_another_version_is_answered_with_all(get: Any) -> None:
    assert get(range="bytes=0-9", if_range='"abc"')[0] == 206
    for other in ('"abd"', 'W/"abc"', "Tue, 24 Nov 2026 00:00:00 GMT"):
        assert get(range="bytes=0-9", if_range=other)[0] == 200


def test_what_the_client_has_is_not_sent_again(get: Any) -> None:
    for known in ('"abc"', '"x", W/"abc"', "*"):
        status, headers, body = get(if_none_match=known, range="bytes=0-9")
        assert (status, body) == (304, b"")
        assert headers["etag"] == '"abc"'
        assert "content-length" not in headers
    assert get(if_none_match='"abd"')[0] == 200


def test_the_empty_file(get: Any) -> None:
    status, headers, body = get(content=Content(0, ()))
    assert (status, headers["content-length"], body) == (200, "0", b"")
    assert get(content=Content(0, ()), range="bytes=0-")[0] == 416


def test_a_missing_blob_breaks_the_answer_off(get: Any, store: Blobs) -> None:
    store.remove(KEYS[1])
    with pytest.raises(StoreFailed):
        get()


class Linked(Linkless):
    def link(self, key: str, seconds: int) -> str | None:
        return f"https://store.example/{key}?signed"


def test_a_whole_object_is_fetched_from_its_store() -> None:
    store = Linked(obstore.store.MemoryStore())  # type: ignore[arg-type]
    file, xorb = KEYS[0], blobs.xorb_key("1" * 64)
    for key in (file, xorb):
        with store.incoming(key) as incoming:
            incoming.write(b"0123456789")
            incoming.keep()

    def get(extent: Extent, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        linked = {"X-Linked-Size": "10", "X-Linked-Etag": '"abc"'}
        content = Content(extent.length, (extent,))
        return ask(ContentResponse(content, store, etag="abc", headers=linked), method, **headers)

    for key in (file, xorb):
        status, headers, _ = get(Extent(key, 0, 10), range="bytes=1-2")
        assert (status, headers["location"]) == (302, f"https://store.example/{key}?signed")
        assert (headers["x-linked-size"], headers["x-linked-etag"]) == ("10", '"abc"')
        assert headers["content-length"] == "0"
        status, headers, _ = get(Extent(key, 0, 10), "HEAD")
        assert (status, headers["content-length"]) == (200, "10")
    # part of a xorb: a link would give the bytes of other files too
    assert get(Extent(xorb, 0, 9))[0::2] == (200, b"012345678")
    assert get(Extent(xorb, 1, 9))[0::2] == (200, b"123456789")


def test_pieces_are_sent_as_they_are_made() -> None:
    response = PiecesResponse(iter([b"ab", b"c"]), 3, status=206, headers={"Content-Range": "bytes 0-2/*"})
    status, headers, body = ask(response)
    assert (status, headers["content-length"], headers["content-range"], body) == (206, "3", "bytes 0-2/*", b"abc")


# --- on a socket ----------------------------------------------------------------------------------------------------


def test_a_download_can_be_taken_up_in_the_middle(server: Running) -> None:
    """Kept, hashed, and sent by the kernel: the way that files take."""
    data = os.urandom(9_000_000)
    with server.client("ada") as client:
        href = upload_address(server, "resumed", data)
        assert client.put(href, content=data, headers={"Authorization": ""}).status_code == 200
        body = {"operation": "download", "objects": [{"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}]}
        told = client.post("/ada/resumed.git/info/lfs/objects/batch", json=body).json()["objects"][0]
        href = told["actions"]["download"]["href"]
        half = client.get(href, headers={"Range": "bytes=0-4999999"}).content
        rest = client.get(href, headers={"Range": "bytes=5000000-"}).content
        assert half + rest == data
        assert client.get(href).content == data
        assert client.head(href).status_code in (200, 405)


def test_a_client_that_hangs_up_leaves_nothing(server: Running) -> None:
    data = os.urandom(4_000_000)
    href = upload_address(server, "broken", data)
    path = href.partition(f":{server.port}")[2]
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        head = f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: {len(data)}\r\n\r\n"
        connection.sendall(head.encode() + data[:3_000_000])
    with server.client("ada") as client:
        assert client.put(href, content=data).status_code == 200  # by now the first one has ended, or will alone
    assert [path.name for path in (server.folder / "blobs" / "incoming").iterdir()] == []


def upload_address(server: Running, name: str, data: bytes) -> str:
    with server.client("ada") as client:
        assert client.post("/api/repos/create", json={"name": name}).status_code == 200
        body = {"operation": "upload", "objects": [{"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}]}
        told = client.post(f"/ada/{name}.git/info/lfs/objects/batch", json=body).json()["objects"][0]
        address: str = told["actions"]["upload"]["href"]
        return address
