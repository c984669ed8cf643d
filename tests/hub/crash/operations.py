"""operations: what people do to a hub, each a list of requests with what comes before and what must be there after."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import xorbs
from crash.inline import Client

from modelcommons.hub.actions import uploads

README = b"---\nlicense: mit\ntags: [crash]\n---\n# one\n"
LARGE = random.Random(1).randbytes(1_300_000)  # more than one write
PARTED = random.Random(2).randbytes(900_000)
CHUNKED = random.Random(3).randbytes(500_000)
PART = 400_000  # bytes


@dataclass(frozen=True)
class Operation:
    """What is done to a hub that `before` has made; its last state may not depend on how often `act` was tried."""

    name: str
    before: Callable[[Client], None]
    act: Callable[[Client], None]
    repos: tuple[str, ...] = ("ada/one",)
    large: tuple[bytes, ...] = ()
    expected: tuple[tuple[str, bytes], ...] = ()  # path -> bytes on main of ada/one at the end
    collects: bool = False  # at the end, the store has these blobs and no others

    @property
    def digests(self) -> tuple[str, ...]:
        return tuple(_sha256(one) for one in self.large)


def small_parts() -> None:
    """Uploads in parts begin at 4 GiB; no test of a thousand runs can send that."""
    uploads.MULTIPART_FROM, uploads.MIN_PART = PART, PART  # type: ignore[misc]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _line(key: str, **value: Any) -> str:
    return json.dumps({"key": key, "value": value})


def commit(client: Client, summary: str, *lines: str, branch: str = "main", rid: str = "ada/one") -> str:
    body = "\n".join([_line("header", summary=summary), *lines]).encode()
    oid: str = client.ask("POST", f"/api/models/{rid}/commit/{branch}", body).json()["commitOid"]
    client.commits.append(oid)
    return oid


def small(path: str, data: bytes) -> str:
    return _line("file", path=path, content=base64.b64encode(data).decode(), encoding="base64")


def big(path: str, data: bytes) -> str:
    return _line("lfsFile", path=path, algo="sha256", oid=_sha256(data), size=len(data))


def _create(client: Client, name: str = "one") -> None:
    client.ask("POST", "/api/repos/create", {"name": name, "type": "model"}, may=(409,))


def _with_a_file(client: Client) -> None:
    _create(client)
    commit(client, "first", small("README.md", README))


def batch(client: Client, data: bytes, rid: str = "ada/one", *, multipart: bool = False) -> dict[str, Any]:
    asked = {
        "operation": "upload", "transfers": ["multipart" if multipart else "basic"], "ref": {"name": "main"},
        "objects": [{"oid": _sha256(data), "size": len(data)}],
    }  # fmt: skip
    answer = client.ask("POST", f"/{rid}.git/info/lfs/objects/batch", asked).json()["objects"][0]
    found: dict[str, Any] = answer.get("actions", {})  # none: the bytes are there
    return found


def _local(href: str) -> str:
    return "/" + href.split("/", 3)[3]


def put(client: Client, data: bytes, rid: str = "ada/one") -> None:
    actions = batch(client, data, rid)
    if actions:
        client.ask("PUT", _local(actions["upload"]["href"]), data)
        client.ask("POST", _local(actions["verify"]["href"]), {"oid": _sha256(data), "size": len(data)})


def _with_two_files(client: Client) -> None:
    _create(client)
    commit(client, "first", small("README.md", README), small("a/b/c.json", b'{"x": 1}'))


def _commit_small(client: Client) -> None:
    """The second commit would be taken without the first one too; what that brought must not go."""
    commit(client, "second", small("README.md", README + b"more\n"), small("a/e/f.json", b'{"x": 2}'))
    commit(client, "third", small("a/d.txt", b"d" * 5000), _line("deletedFile", path="a/b/c.json"))


def _lfs(client: Client) -> None:
    put(client, LARGE)
    commit(client, "large", big("model.bin", LARGE))


def _parts(client: Client) -> None:
    upload = batch(client, PARTED, multipart=True).get("upload")
    if upload:
        done = []
        for number, href in sorted((int(key), href) for key, href in upload["header"].items() if key.isdecimal()):
            part = PARTED[(number - 1) * PART : number * PART]
            etag = client.ask("PUT", _local(href), part).headers["etag"]
            done.append({"partNumber": number, "etag": etag.strip('"')})
        client.ask("POST", _local(upload["href"]), {"oid": _sha256(PARTED), "parts": done})
    commit(client, "parted", big("parted.bin", PARTED))


def _xet(client: Client, data: bytes = CHUNKED) -> None:
    token = client.read("/api/models/ada/one/xet-write-token/main").json()["accessToken"]
    xorb = xorbs.cut(data, 60_000)
    file = xorbs.File([(xorb, 0, len(xorb.raw))])
    client.ask("POST", f"/v1/xorbs/default/{xorb.name}", xorb.body(), bearer=token)
    client.ask("POST", "/v1/shards", xorbs.shard([file], [xorb]), bearer=token)
    commit(client, "chunked", big("chunked.bin", data))


def _branched(client: Client) -> None:
    _with_a_file(client)
    client.ask("POST", "/api/models/ada/one/branch/side", {})
    commit(client, "aside", small("side.txt", b"side"), branch="side")
    client.ask("POST", "/api/models/ada/one/tag/main", {"tag": "v1", "message": "first"})


def _refs(client: Client) -> None:
    client.ask("POST", "/api/models/ada/one/branch/new", {}, may=(409,))
    client.ask("POST", "/api/models/ada/one/tag/main", {"tag": "v2"}, may=(409,))
    client.ask("DELETE", "/api/models/ada/one/branch/side", may=(404,))
    client.ask("DELETE", "/api/models/ada/one/tag/v1", may=(404,))


def _two_repos(client: Client) -> None:
    _branched(client)
    _lfs(client)
    _create(client, "two")
    put(client, LARGE, "ada/two")
    commit(client, "large", big("model.bin", LARGE), rid="ada/two")


def _delete_repo(client: Client) -> None:
    client.ask("DELETE", "/api/repos/delete", {"name": "one", "type": "model"}, may=(404,))


def _move(client: Client) -> None:
    body = {"fromRepo": "ada/one", "toRepo": "ada/moved", "type": "model"}
    client.ask("POST", "/api/repos/move", body, may=(307, 400, 404, 409))


def _squash(client: Client) -> None:
    client.ask("POST", "/api/models/ada/one/super-squash/main", {"message": "all of it"})


def _waste(client: Client) -> None:
    """A branch with a large file, a xorb, a part and a temporary file of which nobody needs any more, beside others."""
    _branched(client)
    _lfs(client)
    put(client, PARTED)
    commit(client, "parted", big("parted.bin", PARTED), branch="side")
    _xet(client)
    _xet(client, CHUNKED[::-1])
    commit(client, "less", _line("deletedFile", path="chunked.bin"))
    client.ask("DELETE", "/api/models/ada/one/branch/side")
    client.ask("POST", "/api/models/ada/one/super-squash/main", {"message": "all of it"})
    incoming = client.folder / "blobs" / "incoming"
    (incoming / ("0" * 32)).write_bytes(b"half")


def _gc(client: Client) -> None:
    for days in (0, 15, 37, 60):
        client.collect(days)


def _fresh(client: Client) -> None:
    _create(client)


def _make(client: Client) -> None:
    _create(client, "two")
    commit(client, "first", small("README.md", README), rid="ada/two")


OPERATIONS = (
    Operation("create", _fresh, _make, ("ada/one", "ada/two")),
    Operation(
        "commit", _with_two_files, _commit_small,
        expected=(("README.md", README + b"more\n"), ("a/d.txt", b"d" * 5000), ("a/e/f.json", b'{"x": 2}')),
    ),
    Operation("lfs", _with_a_file, _lfs, large=(LARGE,), expected=(("README.md", README), ("model.bin", LARGE))),
    Operation("parts", _with_a_file, _parts, large=(PARTED,), expected=(("parted.bin", PARTED),)),
    Operation("xet", _with_a_file, _xet, large=(CHUNKED,), expected=(("chunked.bin", CHUNKED),)),
    Operation("refs", _branched, _refs, expected=(("README.md", README),)),
    Operation("delete", _two_repos, _delete_repo, ("ada/one", "ada/two"), (LARGE,)),
    Operation("move", _two_repos, _move, ("ada/one", "ada/moved", "ada/two"), (LARGE,)),
    Operation("squash", _two_repos, _squash, large=(LARGE,), expected=(("model.bin", LARGE),)),
    Operation(
        "gc", _waste, _gc, large=(LARGE, PARTED, CHUNKED), expected=(("model.bin", LARGE),), collects=True,
    ),
)  # fmt: skip
