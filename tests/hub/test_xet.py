"""Xet: formats against the plain rules, the endpoints against lies, and all of it against the client everybody has."""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import lz4.frame
import pytest
from hubs import Running, Site, make_news_and_own
from hypothesis import given, settings
from hypothesis import strategies as st
from xorbs import File, Xorb, cut, packed, root, shard

from modelcommons.errors import BadRequest
from modelcommons.hub import tables, xet
from modelcommons.hub.actions import accounts, uploads

# --- formats --------------------------------------------------------------------------------------------------------


def test_a_hash_is_printed_as_four_little_endian_numbers() -> None:
    printed = "07060504030201000f0e0d0c0b0a0908171615141312111f1e1d1c1b1a1918"
    # the documentation's own example has 62 digits: it forgot those of byte 16
    printed = printed[:46] + "10" + printed[46:]
    assert xet.text(bytes(range(32))) == printed
    assert xet.from_text(printed) == bytes(range(32))
    for wrong in ("", printed[:-1], printed.upper(), printed + "0", "g" * 64, "../" + printed[3:]):
        with pytest.raises(BadRequest):
            xet.from_text(wrong)


@given(st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.integers(1, 131072)), min_size=1, max_size=400))
@settings(max_examples=60, deadline=None)
def test_the_tree_that_streams_is_the_tree_of_the_whole_list(nodes: list[tuple[bytes, int]]) -> None:
    tree = xet.Tree()
    for hash, length in nodes:
        tree.add(xet.Chunk(hash, length))
    assert tree.root() == root(nodes)


def test_the_tree_does_not_grow_with_the_file() -> None:
    tree = xet.Tree()
    for number in range(50_000):
        tree.add(xet.Chunk(hashlib.sha256(number.to_bytes(4)).digest(), 65536))
    assert sum(len(level) for level in tree._levels) < 9 * 12


def test_nothing_has_the_hash_of_zeros() -> None:
    assert xet.file_hash(xet.Tree()) == bytes(32)


@given(st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=12), st.integers(1, 4000), st.data())
@settings(max_examples=80, deadline=None)
def test_a_xorb_is_read_in_pieces_of_any_size(raw: list[bytes], step: int, data: st.DataObject) -> None:
    schemes = data.draw(st.lists(st.sampled_from((0, 1, 2)), min_size=1, max_size=3))
    xorb, reader = Xorb(tuple(raw)), xet.XorbReader()
    body = xorb.body(schemes) + data.draw(st.sampled_from((b"", b"XETBLOB\1" + bytes(500))))
    got = [bytes(one) for at in range(0, len(body), step) for one in reader.feed(body[at : at + step])]
    assert got == raw
    assert reader.hash() == xorb.hash
    assert xet.unpack_chunks(xet.pack_chunks(reader.chunks)) == [xet.Chunk(*one) for one in xorb.chunks]
    pieces = iter([b"".join(raw)[at : at + step] for at in range(0, len(b"".join(raw)), step)])
    assert b"".join(xet.framed(reader.chunks, pieces)) == xorb.body()


def read(body: bytes) -> bytes:
    reader = xet.XorbReader()
    for at in range(0, len(body), 1 << 20):
        for _ in reader.feed(body[at : at + (1 << 20)]):
            pass
    return reader.hash()


def header(stored: int, scheme: int, length: int) -> bytes:
    return b"\0" + stored.to_bytes(3, "little") + bytes([scheme]) + length.to_bytes(3, "little")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\0\0",
        header(5, 0, 5) + b"abcd",
        header(5, 0, 4) + b"abcde",
        header(0, 0, 0),
        header(5, 3, 5) + b"abcde",
        header(5, 1, 5) + b"abcde",
        header(5, 0, 6) + b"abcde",
        packed(b"abc" * 100, 1)[:-1] + b"\1",
        packed(b"abc", 0) + packed(b"abc" * 100, 2)[:-1],
        header((128 << 10) + 1, 0, (128 << 10) + 1) + bytes((128 << 10) + 1),
        header(xet.MAX_CHUNK + 2000, 1, 100),
    ],
)
def test_what_is_no_xorb_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        read(body)


def test_the_limits_of_a_xorb_are_exact() -> None:
    largest = packed(bytes(xet.MAX_CHUNK), 1)
    many = packed(b"x", 0)
    assert read(many * xet.MAX_CHUNKS)
    assert read(largest * (xet.MAX_XORB // xet.MAX_CHUNK))
    with pytest.raises(BadRequest):
        read(many * (xet.MAX_CHUNKS + 1))
    with pytest.raises(BadRequest):
        read(largest * (xet.MAX_XORB // xet.MAX_CHUNK) + many)


def test_a_bomb_is_not_unpacked() -> None:
    bomb = lz4.frame.compress(bytes(30_000_000))  # 118 KB
    assert len(bomb) < xet.MAX_CHUNK
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for scheme in (1, 2):
        for said in (1, 1000, xet.MAX_CHUNK):
            with pytest.raises(BadRequest):
                read(header(len(bomb), scheme, said) + bomb)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 25_000  # KiB


def test_a_shard_that_is_cut_anywhere_is_refused() -> None:
    xorb = cut(os.urandom(20_000))
    file = File([(xorb, 0, 3)])
    whole = shard([file], [xorb])
    assert [one.sha256.hex() for one in xet.read_shard(io.BytesIO(whole))] == [file.sha256]
    for length in range(0, len(whole), 16):
        with pytest.raises(BadRequest):
            list(xet.read_shard(io.BytesIO(whole[:length])))


@pytest.mark.parametrize("flags", [0, 1 << 30, 1 << 31])
def test_a_shard_without_proof_or_digest_is_refused(flags: int) -> None:
    with pytest.raises(BadRequest):
        list(xet.read_shard(io.BytesIO(shard([File([(cut(b"abc"), 0, 1)])], flags=flags))))


def test_a_shard_of_another_kind_is_refused() -> None:
    whole = shard([])
    for wrong in (b"X" + whole[1:], whole[:32] + b"\3" + whole[33:]):
        with pytest.raises(BadRequest):
            list(xet.read_shard(io.BytesIO(wrong)))
    endless = whole[:48] + bytes(36) + b"\xff\xff\xff\xff" + bytes(8)
    with pytest.raises(BadRequest, match="terms"):
        list(xet.read_shard(io.BytesIO(endless)))


# --- endpoints ------------------------------------------------------------------------------------------------------


class Client:
    """A person who uploads by Xet, with requests made by hand."""

    def __init__(self, site: Site, who: str, repo: str = "ada/news") -> None:
        self.site, self.repo, self.hub, self.cas = site, repo, site.client(who), site.client(None)

    def token(self, kind: str, rev: str = "main", **query: str) -> httpx2.Response:
        return self.hub.get(f"/api/models/{self.repo}/xet-{kind}-token/{rev}", params=query)

    def sign(self, kind: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(kind).json()['accessToken']}"}

    def put(self, xorb: Xorb, name: str = "", body: bytes | None = None) -> httpx2.Response:
        content = xorb.body() if body is None else body
        address = f"/v1/xorbs/default/{name or xorb.name}"
        return self.cas.post(address, content=content, headers=self.sign("write"))

    def register(self, *files: File) -> httpx2.Response:
        return self.cas.post("/v1/shards", content=shard(files), headers=self.sign("write"))

    def upload(self, data: bytes, size: int = 9000) -> File:
        xorb = cut(data, size)
        assert self.put(xorb).json() == {"was_inserted": True}
        file = File([(xorb, 0, len(xorb.raw))])
        assert self.register(file).json() == {"result": 1}
        return file

    def lfs(self, operation: str, *files: File) -> list[dict[str, Any]]:
        objects = [{"oid": file.sha256, "size": len(file.data)} for file in files]
        body = {"operation": operation, "objects": objects}
        answer = self.hub.post(f"/{self.repo}.git/info/lfs/objects/batch", json=body)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["objects"]
        return found

    def download(self, file: File) -> bytes:
        (told,) = self.lfs("download", file)
        return self.cas.get(told["actions"]["download"]["href"]).content

    def reconstruct(self, file: File, form: str = "v1", **headers: str) -> httpx2.Response:
        return self.cas.get(f"/{form}/reconstructions/{file.xet_hash}", headers=self.sign("read") | headers)


@pytest.fixture
def ada(site: Site) -> Client:
    client = Client(site, "ada")
    make_news_and_own(client.hub)
    return client


def counts(site: Site) -> tuple[int, ...]:
    return site.count(tables.files, tables.claims, tables.file_xorbs)


def test_what_is_uploaded_comes_back(ada: Client) -> None:
    data = os.urandom(100_000)
    file = ada.upload(data)
    assert ada.download(file) == data
    assert ada.lfs("upload", file) == [{"oid": file.sha256, "size": 100_000, "authenticated": True}]


def test_a_file_of_many_runs_comes_back(ada: Client) -> None:
    one, two = cut(os.urandom(90_000)), cut(os.urandom(50_000), 4000)
    ada.put(one)
    ada.put(two)
    file = File([(one, 3, 5), (two, 0, 13), (one, 5, 10), (one, 0, 1), (one, 1, 3), (two, 12, 13)])
    assert ada.register(file).status_code == 200
    assert ada.download(file) == file.data
    with ada.site.stores.database.reading() as connection:
        assert len(uploads.content_of(connection, file.sha256).extents) == 5  # two runs that meet are one


def test_the_empty_file_is_a_file(ada: Client) -> None:
    empty = File([])
    assert ada.register(empty).status_code == 200
    assert ada.download(empty) == b""
    assert ada.reconstruct(empty).json()["terms"] == []


def test_an_upload_with_a_footer_and_compressed_comes_back(ada: Client) -> None:
    data = b"the quick brown fox " * 5000
    xorb = cut(data)
    assert ada.put(xorb, body=xorb.body((1, 2, 0)) + b"XETBLOB\1" + bytes(300)).status_code == 200
    assert ada.register(file := File([(xorb, 0, len(xorb.raw))])).status_code == 200
    assert ada.download(file) == data


def test_a_xorb_under_another_name_leaves_nothing(ada: Client) -> None:
    before = counts(ada.site)
    xorb, other = cut(b"one" * 5000), cut(b"two" * 5000)
    for answer in (
        ada.put(xorb, name=other.name), ada.put(xorb, body=xorb.body()[:-1]), ada.put(xorb, name="f" * 63),
        ada.put(xorb, body=b""), ada.put(xorb, name=".." + "f" * 62),
    ):  # fmt: skip
        assert answer.status_code == 400, answer.text
    assert ada.put(xorb, body=bytes(xet.MAX_XORB_BODY + 1)).status_code == 413
    assert counts(ada.site) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda file, other: file.entries.__setitem__(0, (other.hash, *file.entries[0][1:])),
        lambda file, other: file.proofs.__setitem__(0, bytes(32)),
        lambda file, other: file.entries.__setitem__(0, (*file.entries[0][:3], 99)),
        lambda file, other: file.entries.__setitem__(0, (*file.entries[0][:2], 3, 3)),
        lambda file, other: file.entries.__setitem__(0, (file.entries[0][0], 5, *file.entries[0][2:])),
        lambda file, other: setattr(file, "hash", bytes(31) + b"\1"),
    ],
    ids=["missing xorb", "proof", "past the end", "empty run", "length", "file hash"],
)
def test_a_shard_that_lies_is_refused_in_the_same_words(ada: Client, change: Callable[[File, Xorb], None]) -> None:
    xorb, other = cut(os.urandom(50_000)), cut(os.urandom(50_000))
    ada.put(xorb)
    before = counts(ada.site)
    honest, file = File([(xorb, 0, 2)]), File([(xorb, 0, 6)])
    change(file, other)
    answer = ada.register(honest, file)  # all of a shard, or none of it
    assert answer.status_code == 400
    assert "Expected terms over uploaded xorbs" in answer.json()["error"]
    assert counts(ada.site) == before


def test_a_wrong_sha256_is_refused(ada: Client) -> None:
    xorb = cut(os.urandom(50_000))
    ada.put(xorb)
    before = counts(ada.site)
    file = File([(xorb, 0, 6)])
    file.sha256 = hashlib.sha256(b"another").hexdigest()
    assert ada.register(file).status_code == 400
    # nor after the right one is known
    assert ada.register(File([(xorb, 0, 6)])).status_code == 200
    assert ada.register(file).status_code == 400
    assert counts(ada.site) == (1, 1, 1, *before[3:])


def test_the_name_of_a_xorb_is_not_enough_to_claim_it(ada: Client) -> None:
    """A stranger knows the hash of a private xorb and of its file, but not the hashes of the chunks."""
    own, eve = Client(ada.site, "ada", "ada/own"), Client(ada.site, "eve", "eve/mine")
    eve.hub.post("/api/repos/create", json={"name": "mine"})
    secret = own.upload(os.urandom(60_000))
    guess = File(secret.pieces)
    guess.proofs = [xet.verification_hash(xet.from_text(secret.xet_hash))]
    assert eve.register(guess).status_code == 400
    (told,) = eve.lfs("upload", secret)
    assert "upload" in told["actions"]  # as for any file: nothing says that it is here
    assert eve.lfs("download", secret)[0]["error"]["code"] == 404
    assert eve.reconstruct(secret).status_code == 404
    # with the bytes in their own hands, they may
    assert eve.put(secret.pieces[0][0]).json() == {"was_inserted": True}
    assert eve.register(secret).status_code == 200
    assert eve.download(secret) == secret.data


def test_a_file_known_by_lfs_becomes_readable_by_xet(ada: Client) -> None:
    data = os.urandom(40_000)
    sha256 = hashlib.sha256(data).hexdigest()
    xorb = cut(data)
    file = File([(xorb, 0, len(xorb.raw))])
    href = ada.lfs("upload", file)[0]["actions"]["upload"]["href"]
    assert ada.cas.put(href, content=data).status_code == 200
    assert ada.reconstruct(file).status_code == 404
    ada.upload(data)
    assert ada.download(file) == data
    with ada.site.stores.database.reading() as connection:
        assert uploads.xet_hashes(connection, 1, [sha256, "0" * 64]) == {sha256: file.xet_hash}
        assert uploads.xet_hashes(connection, 2, [sha256]) == {}


# --- tokens


def test_a_token_is_told_twice(ada: Client) -> None:
    for kind in ("read", "write"):
        answer = ada.token(kind, "refs%2Fpr%2F1")
        assert answer.json() == {
            "casUrl": answer.headers["X-Xet-Cas-Url"],
            "accessToken": answer.headers["X-Xet-Access-Token"],
            "exp": int(answer.headers["X-Xet-Token-Expiration"]),
        }
        assert answer.json()["casUrl"] == "http://localhost:8931"


def test_who_gets_a_token(ada: Client) -> None:
    eve, nobody, own = Client(ada.site, "eve"), ada.site.client(None), Client(ada.site, "eve", "ada/own")
    assert eve.token("write").status_code == 403
    assert eve.token("write", create_pr="1").status_code == 200
    assert eve.token("write", "None").status_code == 200
    assert eve.token("read").status_code == 200
    assert nobody.get("/api/models/ada/news/xet-read-token/main").status_code == 200
    assert nobody.get("/api/models/ada/news/xet-write-token/None").status_code == 401
    for kind in ("read", "write"):
        answer = own.token(kind, create_pr="1")
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "RepoNotFound")


def test_a_token_goes_one_way_and_runs_out(ada: Client) -> None:
    file = ada.upload(b"some bytes")
    reading, writing = ada.sign("read"), ada.sign("write")
    where = f"/v1/reconstructions/{file.xet_hash}"
    assert ada.cas.post("/v1/shards", content=shard([file]), headers=reading).status_code == 403
    assert ada.cas.get(where, headers=writing).status_code == 403
    assert ada.cas.get(where).status_code == 401
    assert ada.cas.get(where, headers={"Authorization": f"Bearer {ada.site.tokens['ada']}"}).status_code == 401
    ada.site.clock.time += 601
    assert ada.cas.get(where, headers=reading).status_code == 401
    assert ada.cas.post("/v1/shards", content=shard([file]), headers=writing).status_code == 200
    ada.site.clock.time += 3000
    assert ada.cas.post("/v1/shards", content=shard([file]), headers=writing).status_code == 401


def test_a_revoked_token_ends_what_came_from_it(ada: Client) -> None:
    file = ada.upload(os.urandom(30_000))
    reading, writing = ada.sign("read"), ada.sign("write")
    url = ada.reconstruct(file).json()["fetch_info"][file.pieces[0][0].name][0]["url"]
    accounts.revoke_token(ada.site.stores, "ada", "test")
    before = counts(ada.site)
    assert ada.cas.get(f"/v1/reconstructions/{file.xet_hash}", headers=reading).status_code == 401
    xorb = cut(b"later")
    assert ada.cas.post(f"/v1/xorbs/default/{xorb.name}", content=xorb.body(), headers=writing).status_code == 401
    assert ada.cas.post("/v1/shards", content=shard([file]), headers=writing).status_code == 401
    assert ada.cas.get(url, headers={"Range": "bytes=0-30031"}).status_code == 401
    assert counts(ada.site) == before


# --- reading


def together(client: Client, answer: dict[str, Any]) -> bytes:
    """What a client makes of a reconstruction in the first form."""
    made = b""
    for term in answer["terms"]:
        start, stop = term["range"]["start"], term["range"]["end"]
        fits = [
            one for one in answer["fetch_info"][term["hash"]]
            if one["range"]["start"] <= start and stop <= one["range"]["end"]
        ]  # fmt: skip
        (info,), span = fits, fits[0]["url_range"]
        got = client.cas.get(info["url"], headers={"Range": f"bytes={span['start']}-{span['end']}"})
        assert got.status_code == 206
        assert len(got.content) == span["end"] - span["start"] + 1
        reader = xet.XorbReader()
        chunks = [bytes(one) for one in reader.feed(got.content)]
        assert len(chunks) == info["range"]["end"] - info["range"]["start"]
        run = b"".join(chunks[start - info["range"]["start"] : stop - info["range"]["start"]])
        assert len(run) == term["unpacked_length"]
        made += run
    return made[answer["offset_into_first_range"] :]


def test_a_file_is_put_together_from_any_byte(ada: Client) -> None:
    one, two = cut(os.urandom(50_000)), cut(os.urandom(30_000), 4000)
    ada.put(one)
    ada.put(two)
    file = File([(one, 1, 4), (two, 2, 7), (one, 0, 2)])
    ada.register(file)
    size = len(file.data)
    assert together(ada, ada.reconstruct(file).json()) == file.data
    edges = (0, 1, 8999, 9000, 9001, 26999, 27000, 27001, 46999, 47000, 47001, size - 1)
    for start in edges:
        for stop in edges:
            if start < stop:
                answer = ada.reconstruct(file, Range=f"bytes={start}-{stop - 1}").json()
                assert together(ada, answer)[: stop - start] == file.data[start:stop]
    assert together(ada, ada.reconstruct(file, Range=f"bytes=30000-{size * 2}").json()) == file.data[30000:]
    # a short range fetches one chunk, not the run
    (term,) = ada.reconstruct(file, Range="bytes=9000-9001").json()["terms"]
    assert term["range"] == {"start": 2, "end": 3}


def test_what_a_file_has_twice_is_fetched_once(ada: Client) -> None:
    """hf_xet 1.8 keeps runs by their first chunk: two that overlap make it fail in the middle of a download."""
    xorb = cut(os.urandom(90_000))
    ada.put(xorb)
    file = File([(xorb, 2, 3), (xorb, 2, 4), (xorb, 7, 9), (xorb, 3, 5), (xorb, 0, 1), (xorb, 2, 3)])
    ada.register(file)
    answer = ada.reconstruct(file).json()
    runs = [(one["range"]["start"], one["range"]["end"]) for one in answer["fetch_info"][xorb.name]]
    assert runs == [(0, 1), (2, 5), (7, 9)]
    assert together(ada, answer) == file.data
    for start in range(0, len(file.data), 4500):
        part = ada.reconstruct(file, Range=f"bytes={start}-{start + 20_000}").json()
        assert together(ada, part)[:20_001] == file.data[start : start + 20_001]


def test_past_the_end_is_416(ada: Client) -> None:
    file = ada.upload(b"x" * 1000)
    for form in ("v1", "v2"):
        assert ada.reconstruct(file, form, Range="bytes=1000-").status_code == 416
        assert ada.reconstruct(file, form, Range="bytes=999-").status_code == 200


def test_the_second_form_says_the_same(ada: Client) -> None:
    file = ada.upload(os.urandom(50_000))
    one, two = ada.reconstruct(file, "v1").json(), ada.reconstruct(file, "v2").json()
    assert one["terms"] == two["terms"]
    ((name, [entry]),) = two["xorbs"].items()
    (info,) = one["fetch_info"][name]
    assert entry["ranges"] == [{"chunks": info["range"], "bytes": info["url_range"]}]
    span = info["url_range"]
    got = ada.cas.get(entry["url"], headers={"Range": f"bytes={span['start']}-{span['end']}"})
    assert got.content == file.pieces[0][0].body()


def test_no_byte_of_a_xorb_outside_the_file_is_given(ada: Client) -> None:
    xorb = cut(os.urandom(90_000))
    ada.put(xorb)
    file = File([(xorb, 4, 6)])
    ada.register(file)
    (info,) = ada.reconstruct(file).json()["fetch_info"][xorb.name]
    first, last = info["url_range"]["start"], info["url_range"]["end"]
    assert (first, last) == (4 * 9008, 6 * 9008 - 1)
    allowed = b"".join(packed(one, 0) for one in xorb.raw[4:6])
    for text in (f"bytes={first}-{last}", f"bytes={first}-{last + 1}", f"bytes={first}-"):
        assert ada.cas.get(info["url"], headers={"Range": text}).content == allowed
    wrong = ["", "bytes=0-", f"bytes={first - 1}-{last}", "bytes=0-7", f"bytes={first}-{last - 1}"]
    for text in (*wrong, f"bytes={first}-{last},0-7", "bytes=-9", "lines=1-2"):
        answer = ada.cas.get(info["url"], headers={"Range": text} if text else {})
        assert answer.status_code in (403, 416), (text, answer.status_code)
        assert len(answer.content) < 1000
    touched = info["url"][:-9] + ("B" if info["url"][-9] == "A" else "A") + info["url"][-8:]
    assert ada.cas.get(touched, headers={"Range": f"bytes={first}-{last}"}).status_code == 401


def test_what_is_not_served_is_answered(ada: Client) -> None:
    assert ada.cas.get(f"/v1/chunks/default/{'0' * 64}", headers=ada.sign("read")).status_code == 404
    assert ada.cas.post("/v1/telemetry", json={"any": "thing"}).status_code == 200
    assert ada.cas.post("/v2/shards", content=b"", headers=ada.sign("write")).status_code == 404
    assert ada.cas.post(f"/v1/xorb-grants/default/{'0' * 64}", headers=ada.sign("write")).status_code == 404


# --- the client everybody has

CLIENT = """
import hashlib, json, sys
from pathlib import Path
import hf_xet
from huggingface_hub.file_download import xet_get
from huggingface_hub.utils import build_hf_headers
from huggingface_hub.utils._xet import XetFileData, get_xet_session, xet_headers_without_auth

endpoint, token, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
headers, tokens = build_hf_headers(token=token), f"{endpoint}/api/models/ada/big/xet-%s-token/main"
with get_xet_session().new_upload_commit(
    token_refresh_url=tokens % "write", token_refresh_headers=headers,
    custom_headers=xet_headers_without_auth(headers), progress_callback=None,
) as commit:
    sent = {one: commit.start_upload_file(str(one), sha256=hf_xet.COMPUTE_SHA256) for one in folder.glob("*.bin")}
found = {}
for one, handle in sent.items():
    info = handle.result().xet_info
    to = one.with_suffix(".back")
    data = XetFileData(info.hash, tokens % "read")
    xet_get(incomplete_path=to, xet_file_data=data, headers=headers, expected_size=one.stat().st_size)
    found[one.name] = [info.sha256, hashlib.sha256(to.read_bytes()).hexdigest()]
print(json.dumps(found))
"""


def test_hf_xet_and_the_hub_derive_the_same_hashes(server: Running, tmp_path: Path) -> None:
    """The unmodified client uploads; the hub, which derives every hash, accepts; and it comes back both ways."""
    with server.client("ada") as client:
        assert client.post("/api/repos/create", json={"name": "big"}).status_code == 200
    sizes = {"random": 3_000_000, "floats": 2_000_000, "text": 4_000_000, "byte": 1}
    (tmp_path / "random.bin").write_bytes(os.urandom(sizes["random"]))
    (tmp_path / "floats.bin").write_bytes(
        b"".join((0x3F800000 + i % 5000).to_bytes(4, "little") for i in range(500_000))
    )
    (tmp_path / "text.bin").write_bytes((b"the quick brown fox %d\n" * 200_000)[: sizes["text"]])
    (tmp_path / "byte.bin").write_bytes(b"x")
    (tmp_path / "repeated.bin").write_bytes(b"L" * 2_500_000)  # one chunk, nineteen times
    truth = {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in tmp_path.glob("*.bin")}
    environment = os.environ | {
        "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": server.url, "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip
    command = [sys.executable, "-W", "ignore", "-c", CLIENT, server.url, server.tokens["ada"], str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {name: [sha256, sha256] for name, sha256 in truth.items()}
    objects = [{"oid": sha256, "size": (tmp_path / name).stat().st_size} for name, sha256 in truth.items()]
    with server.client("ada") as client:
        body = {"operation": "download", "objects": objects}
        for told in client.post("/ada/big.git/info/lfs/objects/batch", json=body).json()["objects"]:
            got = httpx2.get(told["actions"]["download"]["href"], headers={"Accept-Encoding": "gzip"})
            assert hashlib.sha256(got.content).hexdigest() == told["oid"]
            assert "content-encoding" not in got.headers
