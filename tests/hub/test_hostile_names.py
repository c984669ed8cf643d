"""hostile names: 400 paths, names and revisions that lead out or deceive, at every route that takes one.

None is a 5xx, none is taken, and no file outside the hub's folder is so much as opened.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from asking import ask, ask_now

from modelcommons.hub.actions import accounts
from modelcommons.hub.app import Hub, make
from modelcommons.hub.settings import Settings

CANARY = "the canary outside of the store"
LONG = bool(os.environ.get("COMMONS_TEST_LONG"))  # every case at every route; else each route has its quarter of them


# --- the corpus -----------------------------------------------------------------------------------------------------
DEEP = b"x/" * 40 + b"x"  # too deep for a path; a branch may be called so


def _leading_out() -> Iterator[bytes]:
    targets = (b"canary.txt", b"etc/passwd", b"secret", b"hub.sqlite3", b"blobs/x", b"")
    steps = (
        b"../", b"..\\", b"./../", b"a/../../", b"..//", b".../../", b"..\\/", b"a\\..\\..\\", b"\\..\\", b"../.../",
    )  # fmt: skip
    for step in steps:
        for depth in (1, 2, 5, 12):
            yield from (step * depth + target for target in targets)


def _absolute() -> Iterator[bytes]:
    yield from (
        b"/etc/passwd", b"//etc/passwd", b"///", b"/", b"\\", b"\\\\host\\share\\x", b"//host/share/x", b"C:\\x",
        b"C:/x",
        b"C:x", b"c:", b"file:///etc/passwd", b"/proc/self/environ", b"/dev/stdin", b"\\\\?\\C:\\x", b"\\\\.\\pipe\\x",
        b"a:stream", b"a::$DATA", b"x/a:b/c", b"~\\x", b"a|b", b"a<b", b'a"b', b"a*b", b"a?b", b"http://x/y",
    )  # fmt: skip


def _hidden() -> Iterator[bytes]:
    for number in [*range(32), 127]:
        yield b"a" + bytes([number]) + b"b"
    invisible = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad"
    for char in invisible + "\u061c\u180e\u2028\u2029\u0080\u009f\ue000\ufffe\U000e0001\U0010ffff":
        yield f"a{char}b".encode()
        yield f"safe{char}txt.exe".encode()
    for text in ("e\u0301", "n\u0303ot-nfc", "\u212b", "\u1100\u1161", "a\u0308/b"):
        yield text.encode()  # not NFC


def _git_and_devices() -> Iterator[bytes]:
    for name in (
        ".git",
        ".GIT",
        ".Git",
        "git~1",
        "GIT~2",
        ".git ",
        ".git.",
        ".git:x",
        ".git::$INDEX_ALLOCATION",
        ".g\u200cit",
    ):
        yield name.encode()
        yield f"{name}/config".encode()
        yield f"sub/{name}/hooks/post-checkout".encode()
    numbers = [f"{kind}{n}" for kind in ("com", "lpt") for n in "123456789\u00b9\u00b2\u00b3"]
    for name in ["con", "prn", "aux", "nul", "CON", "Nul", *numbers]:
        yield name.encode()
        yield f"{name}.txt".encode()


def _shapes() -> Iterator[bytes]:
    yield from (
        b"", b".", b"..", b"...", b"a/", b"/a", b"a//b", b"a/./b", b"a/.", b"./a", b" a", b"a ", b"a.", b"a /b",
        b"a./b",
        b"a/ b", b"x" * 256, DEEP, b"x" * 100_000, b"a/" * 300 + b"b", "\u20ac".encode() * 90, b"a" * 513,
    )  # fmt: skip


def _not_utf8() -> Iterator[bytes]:
    yield from (
        b"\xff", b"\xc0\xae\xc0\xae/x", b"\xc0\xaf", b"\xe0\x80\xaf", b"a\xed\xa0\x80b", b"\xed\xbf\xbf",
        b"\xf8\x88\x80\x80\x80",
        b"\x80", b"\xc3", b"\xf4\x90\x80\x80", b"\xfe\xfe\xff\xff", b"a\xc0\x80b",
    )  # fmt: skip


PATHS = list(dict.fromkeys([*_leading_out(), *_absolute(), *_hidden(), *_git_and_devices(), *_shapes(), *_not_utf8()]))

# as they stand in an address: decoded once they name nothing; decoded twice, or by some other rule, they would lead out
ADDRESSES = [
    b"%252e%252e%252fcanary.txt", b"%252e%252e/canary.txt", b"..%252fcanary.txt", b"%25252e%25252e%25252fx",
    b"..%c0%afx",
    b"%c0%ae%c0%ae%c0%afx", b"%uff0e%uff0e%u2215x", b"..%u2216x", b"..;/canary.txt", b";/../x", b"%2e%2e;%2fx",
    b"..%00/x",
    b"..%0d%0aX-Evil:%201", b"%0d%0aSet-Cookie:%20a=b", b"a%00.txt", b"%", b"%2", b"%zz", b"%%32%65", b"a%2",
    b"%e2%80%ae",
    b"..%ef%bc%8fx", b"%ef%bc%8e%ef%bc%8e/x", b"..%5c..%5cx", b"%5c%5chost%5cshare", b"%2f%2fhost%2fx",
    b"%2fetc%2fpasswd",
    b"%2e", b"%2e%2e", b"%2e/", b"a%2f..%2f..%2fx", b".%2e/.%2e/x", b"#..", b"%23/../x", b"{{7*7}}",
    b"${jndi:ldap://x}",
    b"'%20OR%201=1--", b"%27;DROP%20TABLE%20repos;--", b"*", b"(", b"[a-z]{999999}",
]  # fmt: skip

NAMES = [
    b"", b".", b"..", b"...", b"-a", b"a-", b".a", b"a.", b"_a", b"a_", b"a--b", b"a..b", b"a b", b"a/b", b"a\\b",
    b"a%b",
    b"a.git", b"A.GIT", b"x.ipynb", b"con", b"NUL", b"com1", b"lpt9.txt", b"x" * 97, b"x" * 10_000,
    "caf\u00e9".encode(),
    "\u0430da".encode(), "ad\u0430".encode(), "\u2160".encode(), "a\u200bb".encode(), b"a\x00b", b"a\nb", b"a\x7fb",
    b"\xff",
    b"a:b", b"a@b", b"a?b", b"a#b", b"a&b", b"a'b", b'a"b', b"a;b", b"a|b", b"a<b>", b"a,b", b"a+b", b"a=b", b"a~b",
    b"a!b",
    b"../a", b"..\\a", b"%2e%2e", b"a$b", b"{a}", b"[a]", b"*",
]  # fmt: skip

REVISIONS = [
    b"", b".", b"..", b"a..b", b"a/", b"/a", b"a//b", b"a/.b", b".a", b"a.", b"a.lock", b"a.lock/b", b"a b", b"a~1",
    b"a^", b"a:b",
    b"a?b", b"a*b", b"a[b", b"a\\b", b"@", b"@{-1}", b"a@{1}", b"HEAD", b"head", b"refs/heads", b"refs/heads/",
    b"refs/pr/0",
    b"refs/pr/01", b"refs/pr/-1", b"refs/pr/1e3", b"refs/pr/99999999999", b"refs/stash", b"refs/notes/x",
    b"refs/heads/../tags/x",
    b"main^{tree}", b"main:README.md", b"../../main", b"-main", b"--upload-pack=x", b"x" * 129, b"x" * 100_000,
    b"a\x00b", b"a\nb",
    b"a\x7f", b"\xff", "a\u202eb".encode(), "n\u0303".encode(), b"'; DROP TABLE refs; --",
]  # fmt: skip


def test_the_corpus_is_as_large_as_we_say() -> None:
    assert len(PATHS) + len(ADDRESSES) + len(NAMES) + len(REVISIONS) >= 400
    assert len({*PATHS}) == len(PATHS)


# --- the hub --------------------------------------------------------------------------------------------------------

opened: list[str] = []  # every path that Python code opens, makes, moves or removes while `watching`
watching = [False]
EVENTS = {"open", "os.listdir", "os.scandir", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink",
          "os.truncate", "os.chmod", "shutil.copyfile", "shutil.rmtree"}  # fmt: skip


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if watching[0] and event in EVENTS:
        opened.extend(str(path) for path in arguments[:2] if isinstance(path, str | bytes | Path))


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, str, Path]]:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "canary.txt").write_text(CANARY)
    app = make(Settings(folder=outside / "hub"))
    accounts.create_user(app.state.stores, "ada")
    token = accounts.create_token(app.state.stores, "ada", "t", "write")
    for kind in ("model", "dataset"):
        assert ask_now(app, "POST", "/api/repos/create", {"name": "here", "type": kind}, token=token).status == 200
    sys.addaudithook(_hook)
    yield app, token, outside
    app.state.stores.database.close()


def part(cases: list[bytes], route: str) -> list[bytes]:
    """The cases for one route: all of them, or a quarter, another one for each route."""
    first = zlib.crc32(route.encode()) % 4
    return cases if LONG else cases[first::4]


def _commit(operation: dict[str, object], key: str) -> bytes:
    header = {"key": "header", "value": {"summary": "x", "description": ""}}
    return b"".join(json.dumps(line).encode() + b"\n" for line in (header, {"key": key, "value": operation}))


def _text(case: bytes) -> str:
    """The case in a body: what is no UTF-8 becomes lone surrogates, which JSON can carry."""
    return case.decode("utf-8", "surrogateescape")


def run(hub: tuple[Hub, str, Path], requests: Iterator[tuple[str, bytes, bytes | None, str]]) -> list[str]:
    """What was not refused, of `method, path, body, content type`."""
    app, token, outside = hub
    before = {str(path) for path in outside.rglob("*") if (outside / "hub") not in path.parents}
    opened.clear()

    async def all_of_them() -> list[str]:
        wrong = []
        for method, path, body, kind in requests:
            headers = [("Content-Type", kind)] if body is not None else []
            answer = await ask(app, method, path, body, token=token, headers=headers)
            refused = 400 <= answer.status < 500 and CANARY.encode() not in answer.body
            if not refused:
                wrong.append(f"{method} {path[:200]!r} {(body or b'')[:200]!r}: {answer.status} {answer.body[:150]!r}")
            if any("\n" in value or "\r" in value for value in answer.headers.values()):
                wrong.append(f"{method} {path[:200]!r}: a header was split")
        return wrong

    watching[0] = True
    try:
        wrong = asyncio.run(all_of_them())
    finally:
        watching[0] = False
    assert {str(path) for path in outside.rglob("*") if (outside / "hub") not in path.parents} == before
    allowed = (
        str(outside / "hub"),
        sys.prefix,
        sys.base_prefix,
        "/usr/",
        "/proc/",
        "/dev/",
        str(Path(__file__).parents[2]),
    )
    assert not [path for path in opened if path.startswith("/") and not path.startswith(allowed)]
    return wrong[:40]


# --- addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "route"),
    [
        ("GET", "/ada/here/resolve/main/{}"), ("HEAD", "/ada/here/resolve/main/{}"),
        ("GET", "/datasets/ada/here/resolve/main/{}"), ("GET", "/api/models/ada/here/tree/main/{}"),
        ("GET", "/api/datasets/ada/here/tree/main/{}?recursive=true&expand=true"),
    ],
)  # fmt: skip
def test_paths_in_addresses(hub: tuple[Hub, str, Path], method: str, route: str) -> None:
    head, _, tail = route.partition("{}")

    def requests() -> Iterator[tuple[str, bytes, bytes | None, str]]:
        for case in part(PATHS, method + route):
            if "tree" in route and case.rstrip(b"/") in (b"", b"."):
                continue  # the root is a folder
            for safe in ("/", ""):
                yield method, head.encode() + quote(case, safe=safe).encode() + tail.encode(), None, ""
        for case in part(ADDRESSES, method + route):
            yield method, head.encode() + case + tail.encode(), None, ""

    assert not run(hub, requests())


@pytest.mark.parametrize(
    ("method", "route", "body"),
    [
        ("GET", "/api/models/{}/here", None), ("GET", "/api/models/ada/{}", None), ("GET", "/ada/{}/resolve/main/x",
        None),
        ("GET", "/{}/here/resolve/main/x", None), ("GET", "/api/datasets/ada/{}/tree/main", None),
        ("GET", "/ada/{}.git/info/refs?service=git-upload-pack", None), ("GET", "/api/users/{}/overview", None),
        ("POST", "/{}/here.git/info/lfs/objects/batch", {"operation": "download", "objects": []}),
        ("GET", "/api/collections/{}", None), ("GET", "/api/organizations/{}/members", None),
        ("DELETE", "/api/settings/webhooks/{}", None),
    ],
)  # fmt: skip
def test_names_in_addresses(hub: tuple[Hub, str, Path], method: str, route: str, body: object) -> None:
    head, _, tail = route.partition("{}")

    def requests() -> Iterator[tuple[str, bytes, bytes | None, str]]:
        sent = None if body is None else json.dumps(body).encode()
        for case in part([*NAMES, *PATHS[::4]], method + route):
            if case.rstrip(b"/") in (b"", b"..", b".") and "webhooks" in route and method == "GET":
                continue
            yield method, head.encode() + quote(case, safe="").encode() + tail.encode(), sent, "application/json"
        for case in part(ADDRESSES, method + route):
            yield method, head.encode() + case + tail.encode(), sent, "application/json"

    assert not run(hub, requests())


@pytest.mark.parametrize(
    ("method", "route", "body"),
    [
        ("GET", "/api/models/ada/here/revision/{}", None), ("GET", "/ada/here/resolve/{}/.gitattributes", None),
        ("GET", "/api/models/ada/here/tree/{}", None), ("GET", "/api/models/ada/here/commits/{}", None),
        ("POST", "/api/models/ada/here/paths-info/{}", {"paths": ["x"]}), ("POST", "/api/models/ada/here/branch/{}",
        {}),
        ("DELETE", "/api/models/ada/here/branch/{}", None), ("POST", "/api/models/ada/here/tag/{}", {"tag": "ok"}),
        ("DELETE", "/api/models/ada/here/tag/{}", None), ("POST", "/api/models/ada/here/super-squash/{}",
        {"message": "x"}),
        ("POST", "/api/models/ada/here/preupload/{}", {"files": [{"path": "a", "size": 1, "sample": ""}]}),
        ("POST", "/api/models/ada/here/commit/{}", None),
    ],
)  # fmt: skip
def test_revisions_in_addresses(hub: tuple[Hub, str, Path], method: str, route: str, body: object) -> None:
    head, _, tail = route.partition("{}")

    def requests() -> Iterator[tuple[str, bytes, bytes | None, str]]:
        sent = None if body is None else json.dumps(body).encode()
        kind = "application/json"
        if "/commit/" in route:
            sent, kind = _commit({"path": "a", "content": "", "encoding": "base64"}, "file"), "application/x-ndjson"
        for case in part([*REVISIONS, *PATHS[::5]], method + route):
            if (route.endswith("/tree/{}") and case.rstrip(b"/") == b"") or case == DEEP:
                continue
            yield method, head.encode() + quote(case, safe="").encode() + tail.encode(), sent, kind
        for case in part(ADDRESSES, method + route):
            yield method, head.encode() + case + tail.encode(), sent, kind

    assert not run(hub, requests())


# --- bodies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["file", "lfsFile", "deletedFile", "deletedFolder"])
def test_paths_in_a_commit(hub: tuple[Hub, str, Path], key: str) -> None:
    def requests() -> Iterator[tuple[str, bytes, bytes | None, str]]:
        for case in PATHS if key == "file" else part(PATHS, key):
            operation: dict[str, object] = {"path": _text(case)}
            if key == "file":
                operation |= {"content": base64.b64encode(b"x").decode(), "encoding": "base64"}
            elif key == "lfsFile":
                operation |= {"algo": "sha256", "oid": "0" * 64, "size": 1}
            yield "POST", b"/api/models/ada/here/commit/main", _commit(operation, key), "application/x-ndjson"

    assert not run(hub, requests())


def test_paths_in_preupload(hub: tuple[Hub, str, Path]) -> None:
    def requests() -> Iterator[tuple[str, bytes, bytes | None, str]]:
        for case in part(PATHS, "preupload"):
            body = json.dumps({"files": [{"path": _text(case), "size": 1, "sample": "AA=="}]}).encode()
            yield "POST", b"/api/models/ada/here/preupload/main", body, "application/json"

    assert not run(hub, requests())


def test_paths_info_leaves_out_what_cannot_be(hub: tuple[Hub, str, Path]) -> None:
    """Missing paths are left out of this answer; hostile ones are missing, or the request is refused."""
    app, token, _ = hub

    async def found() -> list[object]:
        wrong: list[object] = []
        for case in part(PATHS, "paths-info"):
            for body, kind in (
                (json.dumps({"paths": [_text(case)]}).encode(), "application/json"),
                (b"paths=" + quote(case, safe="").encode(), "application/x-www-form-urlencoded"),
            ):
                path = "/api/models/ada/here/paths-info/main"
                answer = await ask(app, "POST", path, body, token=token, headers=[("Content-Type", kind)])
                if answer.status >= 500 or (answer.status == 200 and answer.json()):
                    wrong.append((case, kind, answer))
        return wrong

    assert not asyncio.run(found())


@pytest.mark.parametrize("where", ["name", "organization", "move to", "move from"])
def test_names_in_bodies(hub: tuple[Hub, str, Path], where: str) -> None:
    def requests() -> Iterator[tuple[str, bytes, bytes | None, str]]:
        for case in part([*NAMES, *PATHS[::3]], where):
            text = _text(case)
            if where.startswith("move"):
                other = {"fromRepo": "ada/here", "toRepo": f"ada/{text}"}
                if where == "move from":
                    other = {"fromRepo": f"ada/{text}", "toRepo": "ada/there"}
                yield "POST", b"/api/repos/move", json.dumps({**other, "type": "model"}).encode(), "application/json"
                continue
            if where == "organization" and not text:
                continue  # none: one's own
            body = {"name": "new", "organization": "ada", "type": "model", where: text}
            yield "POST", b"/api/repos/create", json.dumps(body).encode(), "application/json"

    assert not run(hub, requests())


def test_branches_and_tags_by_body(hub: tuple[Hub, str, Path]) -> None:
    def requests() -> Iterator[tuple[str, bytes, bytes | None, str]]:
        for case in [*REVISIONS, *PATHS[::4]]:
            text = _text(case)
            yield "POST", b"/api/models/ada/here/tag/main", json.dumps({"tag": text}).encode(), "application/json"
            if text:
                body = json.dumps({"startingPoint": text}).encode()
                yield "POST", b"/api/models/ada/here/branch/fresh", body, "application/json"

    assert not run(hub, requests())


def test_nothing_was_done(hub: tuple[Hub, str, Path]) -> None:
    """After all that: one commit, one branch, no tag."""
    app, token, _ = hub
    assert len(ask_now(app, "GET", "/api/models/ada/here/commits/main", token=token).json()) == 1
    refs = ask_now(app, "GET", "/api/models/ada/here/refs", token=token).json()
    assert ([one["name"] for one in refs["branches"]], refs["tags"]) == (["main"], [])
    assert [one["id"] for one in ask_now(app, "GET", "/api/models", token=token).json()] == ["ada/here"]


def test_two_paths_that_some_systems_take_for_one_are_refused(hub: tuple[Hub, str, Path]) -> None:
    app, token, _ = hub
    first = {"path": "Data/\u00c4.txt", "content": "", "encoding": "base64"}
    url, kind = "/api/datasets/ada/here/commit/main", [("Content-Type", "application/x-ndjson")]
    assert ask_now(app, "POST", url, _commit(first, "file"), token=token, headers=kind).status == 200
    for twin in (
        "data/\u00c4.txt",
        "Data/\u00e4.txt",
        "DATA/x",
        "Data/\u00c4.TXT",
        "Data/A\u0308.txt",
        "Data",
        "Data/\u00c4.txt/x",
    ):
        answer = ask_now(app, "POST", url, _commit({**first, "path": twin}, "file"), token=token, headers=kind)
        assert 400 <= answer.status < 500, (twin, answer)
