"""LFS: uploads that are whole or not there, tickets that fit one lock, and git-lfs itself."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hubs import Running, Site, make_news_and_own

from modelcommons.errors import RepoNotFound, StoreFailed, Unauthorized
from modelcommons.hub import blobs, tables, tickets
from modelcommons.hub.actions import accounts, uploads

SECRET = bytes(32)


# --- tickets --------------------------------------------------------------------------------------------------------


def test_a_ticket_says_what_was_written_on_it() -> None:
    text = tickets.issue(SECRET, expires=100.9, action="x", sha256="0" * 64)
    assert tickets.read(SECRET, text, 99.9) == {"action": "x", "sha256": "0" * 64, "expires": 100}
    assert text.replace(".", "").replace("-", "").replace("_", "").isalnum()


def test_a_ticket_that_was_touched_is_refused() -> None:
    text = tickets.issue(SECRET, expires=100, action="x")
    wrong = ["", ".", "a.b", text[:-2], text + "AA", f"{text}.x", "=" + text, text * 100, "é" + text, "\0" + text]
    wrong += [text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :] for at in range(0, len(text) - 1, 7)]
    for one in wrong:
        with pytest.raises(Unauthorized):
            tickets.read(SECRET, one, 0)
    with pytest.raises(Unauthorized):
        tickets.read(bytes(31) + b"\1", text, 0)
    with pytest.raises(Unauthorized):
        tickets.read(SECRET, text, 100)


# --- the batch ------------------------------------------------------------------------------------------------------


class Client:
    """A person with a repository who speaks LFS."""

    def __init__(self, site: Site, who: str | None, repo: str = "ada/news") -> None:
        self.site, self.repo, self.hub, self.anybody = site, repo, site.client(who), site.client(None)

    def batch(self, operation: str, *objects: tuple[str, int], **more: Any) -> httpx2.Response:
        asked = [{"oid": oid, "size": size} for oid, size in objects]
        body = {"operation": operation, "objects": asked, **more}
        return self.hub.post(f"/{self.repo}.git/info/lfs/objects/batch", json=body)

    def ask(self, operation: str, data: bytes, **more: Any) -> dict[str, Any]:
        answer = self.batch(operation, (hashlib.sha256(data).hexdigest(), len(data)), **more)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()["objects"][0]
        return told

    def href(self, data: bytes) -> str:
        address: str = self.ask("upload", data)["actions"]["upload"]["href"]
        return address

    def put(self, data: bytes) -> httpx2.Response:
        return self.anybody.put(self.href(data), content=data)


@pytest.fixture
def ada(site: Site) -> Client:
    client = Client(site, "ada")
    make_news_and_own(client.hub)
    return client


def left(site: Site) -> tuple[int, ...]:
    """Rows of files, claims and uploads in parts, blobs, and files that no upload will end."""
    return site.count(tables.files, tables.claims, tables.multiparts)


def test_what_is_uploaded_comes_back(ada: Client) -> None:
    for data in (os.urandom(3_000_000), b""):
        told = ada.ask("upload", data)
        assert ada.anybody.put(told["actions"]["upload"]["href"], content=data).status_code == 200
        said = {"oid": told["oid"], "size": told["size"]}
        assert ada.anybody.post(told["actions"]["verify"]["href"], json=said).status_code == 200
        assert ada.ask("upload", data) == {**said, "authenticated": True}
        got = ada.anybody.get(ada.ask("download", data)["actions"]["download"]["href"])
        assert got.content == data
        assert got.headers["ETag"] == f'"{told["oid"]}"'


def test_the_batch_speaks_the_media_type_of_git_lfs(ada: Client) -> None:
    told = {"Accept": "application/vnd.git-lfs+json", "Content-Type": "application/vnd.git-lfs+json"}
    body = b'{"operation":"upload","transfers":["lfs-standalone-file","basic","ssh"],"objects":[],"unknown":1}'
    answer = ada.hub.post("/ada/news.git/info/lfs/objects/batch", content=body, headers=told)
    assert answer.headers["content-type"] == "application/vnd.git-lfs+json"
    assert answer.json() == {"transfer": "basic", "objects": [], "hash_algo": "sha256"}


def test_one_wrong_object_does_not_stop_the_others(ada: Client) -> None:
    good = hashlib.sha256(b"good").hexdigest()
    wrong = [("../../etc/passwd", 4), (good.upper(), 4), (good, -1), (good, 500 * 10**9 + 1), ("0" * 63, 1)]
    answer = ada.batch("upload", *wrong, (good, 4)).json()["objects"]
    assert [one.get("error", {}).get("code") for one in answer] == [422] * 5 + [None]
    assert "upload" in answer[-1]["actions"]
    answer = ada.batch("download", (good, 4)).json()["objects"]
    assert answer[0]["error"] == {"code": 404, "message": "Object does not exist"}


def test_batches_have_limits(ada: Client) -> None:
    assert ada.batch("upload", *[("0" * 64, 1)] * 1000).status_code == 200
    assert ada.batch("upload", *[("0" * 64, 1)] * 1001).status_code == 413
    assert ada.batch("upload", hash_algo="sha1").status_code == 422
    assert ada.batch("delete").status_code == 422


def test_who_may_ask(ada: Client) -> None:
    data = b"some bytes"
    ada.put(data)
    eve, nobody, hidden = Client(ada.site, "eve"), Client(ada.site, None), Client(ada.site, "eve", "ada/own")
    one = (hashlib.sha256(data).hexdigest(), len(data))
    assert "download" in eve.ask("download", data)["actions"]
    assert "download" in nobody.ask("download", data)["actions"]
    assert eve.batch("upload", one, ref={"name": "refs/heads/main"}).status_code == 403
    assert eve.batch("upload", one).status_code == 200  # the bytes of a proposal
    assert eve.batch("upload", one, ref={"name": "refs/pr/1"}).status_code == 200
    assert nobody.batch("upload", one).status_code == 401
    for operation in ("upload", "download"):
        answer = hidden.batch(operation, one)
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "RepoNotFound")


# --- wrong bytes ----------------------------------------------------------------------------------------------------


def test_wrong_bytes_leave_nothing(ada: Client) -> None:
    data = os.urandom(2_500_000)
    for sent in (data[:-1], data + b"x", data[:-1] + bytes([data[-1] ^ 1]), b"", bytes(len(data))):
        answer = ada.anybody.put(ada.href(data), content=sent)
        assert answer.status_code in (413, 422), answer.text
    assert left(ada.site) == (0, 0, 0, 0, 0)
    assert "upload" in ada.ask("upload", data)["actions"]


def test_verify_says_what_is_not_there(ada: Client) -> None:
    data = b"never sent"
    told = ada.ask("upload", data)
    said = {"oid": told["oid"], "size": told["size"]}
    assert ada.anybody.post(told["actions"]["verify"]["href"], json=said).status_code == 404
    assert ada.anybody.put(told["actions"]["upload"]["href"], content=data).status_code == 200
    assert ada.anybody.post(told["actions"]["verify"]["href"], json=said | {"size": 1}).status_code == 404
    assert ada.anybody.post(told["actions"]["verify"]["href"], json=said | {"oid": "0" * 64}).status_code == 404
    assert ada.anybody.post(told["actions"]["verify"]["href"], json=said).status_code == 200


# --- other people's files -------------------------------------------------------------------------------------------


def test_the_digest_of_a_private_file_gives_nobody_anything(ada: Client) -> None:
    """GitLab's workhorse 197: who knew digest and size of a private file could claim and read it."""
    secret = os.urandom(10_000)
    Client(ada.site, "ada", "ada/own").put(secret)
    eve = Client(ada.site, "eve", "eve/mine")
    eve.hub.post("/api/repos/create", json={"name": "mine"})
    known, unknown = eve.ask("upload", secret), eve.ask("upload", os.urandom(10_000))
    assert known.keys() == unknown.keys()
    assert known["actions"].keys() == unknown["actions"].keys()
    said = {"oid": known["oid"], "size": known["size"]}
    assert eve.anybody.post(known["actions"]["verify"]["href"], json=said).status_code == 404
    assert eve.ask("download", secret)["error"]["code"] == 404
    # who has the bytes may have them; they are stored once
    before = left(ada.site)
    assert eve.put(secret).status_code == 200
    assert eve.anybody.get(eve.ask("download", secret)["actions"]["download"]["href"]).content == secret
    assert left(ada.site) == (before[0], before[1] + 1, *before[2:])


def test_a_ticket_opens_one_lock(ada: Client) -> None:
    data, other = b"some bytes", b"other byte"
    ada.put(data)
    up, down = ada.href(other), ada.ask("download", data)["actions"]["download"]["href"]
    assert ada.anybody.get(up).status_code == 401
    assert ada.anybody.put(down, content=data).status_code == 401
    assert ada.anybody.put(up.replace("/objects", "/parts"), content=other).status_code == 401
    assert ada.anybody.put(up.partition("?")[0], content=other).status_code == 401
    assert ada.anybody.put(up, content=data).status_code == 422  # bound to its digest
    # a token of the hub is no ticket
    assert ada.anybody.put(up.partition("?")[0] + f"?ticket={ada.site.tokens['ada']}", content=other).status_code == 401
    ada.site.clock.time += 601
    assert ada.anybody.get(down).status_code == 401
    ada.site.clock.time += 3000
    assert ada.anybody.put(up, content=other).status_code == 401


def test_a_right_that_ends_during_an_upload_ends_the_upload(ada: Client) -> None:
    data = b"some bytes"
    stores = ada.site.stores
    ticket = tickets.read(stores.secret, ada.href(data).partition("=")[2], stores.now())
    with uploads.incoming_file(stores, ticket) as incoming:
        incoming.write(data)
        accounts.revoke_token(stores, "ada", "test")
        with pytest.raises(Unauthorized):
            uploads.keep_file(stores, ticket, incoming)
    assert left(ada.site) == (0, 0, 0, 0, 0)
    assert ada.anybody.put(f"/api/lfs/objects?ticket={'x' * 10}", content=data).status_code == 401


def test_a_new_token_does_not_revive_the_tickets_of_a_revoked_one(ada: Client) -> None:
    """SQLite gives the number of a deleted row away again: the next token made was taken for the one revoked."""
    stores, data = ada.site.stores, b"some bytes"
    token = accounts.create_token(stores, "ada", "leaked", "write")
    thief = ada.site.client(headers={"Authorization": f"Bearer {token}"})
    asked = {"operation": "upload", "objects": [{"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}]}
    answer = thief.post("/ada/own.git/info/lfs/objects/batch", json=asked)
    href = answer.json()["objects"][0]["actions"]["upload"]["href"]
    xet = thief.get("/api/models/ada/own/xet-write-token/main").json()["accessToken"]
    accounts.revoke_token(stores, "ada", "leaked")
    accounts.create_token(stores, "root", "next", "write")
    assert ada.anybody.put(href, content=data).status_code == 401
    put = ada.anybody.post("/v1/shards", content=b"x" * 48, headers={"Authorization": f"Bearer {xet}"})
    assert put.status_code == 401 and left(ada.site) == (0, 0, 0, 0, 0)


def test_a_repository_that_goes_during_an_upload_ends_the_upload(ada: Client) -> None:
    stores, data = ada.site.stores, b"some bytes"
    ticket = tickets.read(stores.secret, ada.href(data).partition("=")[2], stores.now())
    with uploads.incoming_file(stores, ticket) as incoming:
        incoming.write(data)
        assert ada.hub.request("DELETE", "/api/repos/delete", json={"name": "news"}).status_code == 200
        with pytest.raises(RepoNotFound):
            uploads.keep_file(stores, ticket, incoming)
    assert left(ada.site) == (0, 0, 0, 0, 0)


def test_bytes_that_are_collected_before_they_are_entered_are_not_acknowledged(
    ada: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores, data = ada.site.stores, b"some bytes"
    href = ada.href(data)
    check = uploads._enter

    def collected(*given: Any) -> None:
        stores.blobs.remove(blobs.file_key(hashlib.sha256(data).hexdigest()))
        check(*given)

    monkeypatch.setattr(uploads, "_enter", collected)
    assert ada.anybody.put(href, content=data).status_code == 503
    monkeypatch.undo()
    assert left(ada.site) == (0, 0, 0, 0, 0)
    assert ada.anybody.put(href, content=data).status_code == 200


def test_a_store_that_fails_acknowledges_nothing(ada: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: Any) -> None:
        raise OSError(28, "injected")

    monkeypatch.setattr(os, "fsync", fail)
    answer = ada.put(b"some bytes")
    monkeypatch.undo()
    assert answer.status_code == 507
    assert left(ada.site) == (0, 0, 0, 0, 0)
    assert ada.put(b"some bytes").status_code == 200


# --- in parts -------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MULTIPART_FROM", 1000)
    monkeypatch.setattr(uploads, "MIN_PART", 400)


def in_parts(client: Client, data: bytes) -> tuple[dict[str, Any], list[str], int]:
    told = client.ask("upload", data, transfers=["basic", "multipart"])
    header = told["actions"]["upload"]["header"]
    return told, [header[key] for key in sorted(header) if key.isdigit()], int(header["chunk_size"])


def send(client: Client, data: bytes, urls: list[str], size: int) -> list[dict[str, Any]]:
    parts = []
    for number, url in enumerate(urls):
        answer = client.anybody.put(url, content=data[number * size : (number + 1) * size])
        assert answer.status_code == 200, answer.text
        parts.append({"partNumber": number + 1, "etag": answer.headers["ETag"]})
    return parts


@pytest.mark.usefixtures("small_parts")
def test_parts_become_one_file(ada: Client) -> None:
    data = os.urandom(1001)
    told, urls, size = in_parts(ada, data)
    assert (len(urls), size) == (3, 400)
    parts = send(ada, data, urls, size)
    parts = send(ada, data, urls[:1], size) + parts[1:]  # the same part again, as after a lost answer
    body = {"oid": told["oid"], "parts": parts}
    end = told["actions"]["upload"]["href"]
    assert ada.anybody.post(end, json=body | {"parts": parts[:-1]}).status_code == 422
    assert ada.anybody.post(end, json=body | {"oid": "0" * 64}).status_code == 422
    assert ada.anybody.post(end, json=body).status_code == 200
    assert ada.anybody.get(ada.ask("download", data)["actions"]["download"]["href"]).content == data
    assert left(ada.site) == (1, 1, 0, 1, 0)
    assert ada.anybody.put(urls[0], content=data[:400]).status_code == 404


@pytest.mark.usefixtures("small_parts")
def test_parts_that_the_store_does_not_let_go_of_are_no_failure(ada: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is there and acknowledged: never a 5xx of something that was applied."""

    def stuck(*_: object) -> None:
        raise StoreFailed("it does not let go")

    data = os.urandom(1001)
    told, urls, size = in_parts(ada, data)
    body = {"oid": told["oid"], "parts": send(ada, data, urls, size)}
    monkeypatch.setattr(ada.site.stores.blobs, "remove", stuck)
    assert ada.anybody.post(told["actions"]["upload"]["href"], json=body).status_code == 200
    assert ada.anybody.get(ada.ask("download", data)["actions"]["download"]["href"]).content == data
    assert left(ada.site) == (1, 1, 0, 4, 0)  # the file, and three parts for gc


@pytest.mark.usefixtures("small_parts")
def test_parts_that_are_not_the_file_leave_nothing(ada: Client) -> None:
    data = os.urandom(1001)
    told, urls, size = in_parts(ada, data)
    assert ada.anybody.put(urls[0], content=data[:399]).status_code == 422
    assert ada.anybody.put(urls[0], content=data[:401]).status_code == 413
    parts = send(ada, bytes(1001), urls, size)
    end = told["actions"]["upload"]["href"]
    assert ada.anybody.post(end, json={"oid": told["oid"], "parts": parts}).status_code == 422
    assert left(ada.site) == (0, 0, 0, 0, 0)


@pytest.mark.usefixtures("small_parts")
def test_a_part_that_never_came_is_asked_for(ada: Client) -> None:
    data = os.urandom(1001)
    told, urls, size = in_parts(ada, data)
    parts = [*send(ada, data, urls[:2], size), {"partNumber": 3, "etag": "x"}]
    end = told["actions"]["upload"]["href"]
    assert ada.anybody.post(end, json={"oid": told["oid"], "parts": parts}).status_code == 422
    parts = [*parts[:2], {"partNumber": 3, "etag": ada.anybody.put(urls[2], content=data[800:]).headers["ETag"]}]
    assert ada.anybody.post(end, json={"oid": told["oid"], "parts": parts}).status_code == 200


def test_no_client_gets_parts_that_did_not_ask_for_them(ada: Client) -> None:
    assert "header" not in ada.batch("upload", ("0" * 64, 5 << 30)).json()["objects"][0]["actions"]["upload"]
    told = ada.batch("upload", ("0" * 64, 499 * 10**9), transfers=["multipart"]).json()
    header = told["objects"][0]["actions"]["upload"]["header"]
    urls = [key for key in header if key.isdigit()]
    assert told["transfer"] == "multipart"
    assert len(urls) == -(-499 * 10**9 // int(header["chunk_size"])) <= 1000


# --- git-lfs --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("git-lfs"), reason="git-lfs is not installed (Debian: apt-get install git-lfs)")
def test_git_lfs_uploads_and_downloads(server: Running, tmp_path: Path) -> None:
    with server.client("ada") as client:
        assert client.post("/api/repos/create", json={"name": "lfs", "type": "dataset"}).status_code == 200
    folder, data = tmp_path / "clone", os.urandom(5_000_000)
    sha256 = hashlib.sha256(data).hexdigest()
    where = server.url.replace("://", f"://ada:{server.tokens['ada']}@") + "/datasets/ada/lfs.git"
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0", "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}

    def git(*words: str, given: bytes = b"") -> bytes:
        done = subprocess.run(["git", *words], cwd=folder, env=environment, input=given, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    folder.mkdir()
    git("init", "-q")
    git("lfs", "install", "--local")
    git("remote", "add", "origin", where)
    git("config", f"lfs.{where}/info/lfs.locksverify", "false")
    pointer = git("lfs", "clean", given=data)
    git("lfs", "push", "--object-id", "origin", sha256)
    stored = folder / ".git/lfs/objects" / sha256[:2] / sha256[2:4] / sha256
    assert stored.read_bytes() == data
    stored.unlink()
    assert git("lfs", "smudge", given=pointer) == data
