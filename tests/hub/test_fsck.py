"""fsck: hundreds of damages, planted one by one, each found and called by its name; a sound hub is called sound."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from world import World, world
from xorbs import File, cut

from modelcommons.hub import xet
from modelcommons.hub.actions import fsck
from modelcommons.hub.actions.fsck import Report
from modelcommons.hub.database import sqlite_library
from modelcommons.hub.history import objects

SEEDS = 300
PLAIN: Any = sqlite_library()


def filled(at: World) -> None:
    """A hub with something of everything."""
    rng = random.Random(7)
    repo, other = at.repo("ada/news"), at.repo("guild/rows", kind="dataset", private=True)
    at.commit("ada", repo, {"README.md": b"# News\n", "a/b/c.txt": b"deep\n", "config.json": b"{}"})
    at.commit("ada", repo, {"a/b/c.txt": b"deeper\n", "config.json": None})
    at.large("ada", repo, "model.safetensors", rng.randbytes(70_000))
    at.large("ben", other, "same.bin", rng.randbytes(30_000))
    first, second = cut(rng.randbytes(50_000), 8_000), cut(rng.randbytes(40_000), 9_000)
    at.large("ben", other, "data.parquet", File([(first, 0, 6), (second, 1, 4), (first, 2, 3)]))
    at.large("ada", repo, "other.bin", File([(second, 0, 5)]))
    at.large("ada", repo, "empty.bin", b"")
    at.commit("dan", repo, {"new.txt": b"proposed"}, query="?create_pr=1")
    at.post("ada", f"{repo}/tag/main", {"tag": "v1", "message": "first"})


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("fsck") / "hub", sqlite=True) as made:
        filled(made)
        yield made


@pytest.fixture
def database(at: World) -> Iterator[Any]:
    """The database without the rules that a healthy one keeps; as it was again when the test ends."""
    live, before = PLAIN.connect(at.stores.settings.folder / "hub.sqlite3"), PLAIN.connect(":memory:")
    live.backup(before)
    live.isolation_level = None
    live.execute("PRAGMA foreign_keys=OFF")
    yield live
    before.backup(live)
    live.close()
    before.close()


def problems(report: Report) -> set[str]:
    return {one.problem for one in report.findings}


def test_a_sound_hub_is_sound(at: World) -> None:
    report = fsck.check(at.stores)
    assert report.findings == []
    assert report.num_objects > 30 and report.num_bytes > 250_000


def test_a_hub_with_nothing_in_it_is_sound(tmp_path: Path) -> None:
    with world(tmp_path / "hub") as empty:
        assert fsck.check(empty.stores).findings == []


# --- damaged blobs --------------------------------------------------------------------------------------------------


def flip(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


BLOB_DAMAGES: dict[str, Callable[[bytes, random.Random], bytes | None]] = {
    "flip a bit": flip,
    "truncate": lambda data, rng: data[: rng.randrange(len(data))],
    "zero 4 KiB": lambda data, rng: bytes(min(4096, len(data))) + data[4096:],
    "append": lambda data, rng: data + rng.randbytes(rng.randrange(1, 100)),
    "empty": lambda data, rng: b"",
    "other bytes": lambda data, rng: rng.randbytes(len(data)),
    "move by one": lambda data, rng: data[1:] + data[:1],
    "remove": lambda data, rng: None,
}


def blob_paths(at: World) -> list[Path]:
    folder = at.stores.settings.folder / "blobs"
    return sorted(path for room in ("files", "xorbs") for path in (folder / room).rglob("*") if path.is_file())


def test_every_damaged_blob_is_found(at: World) -> None:
    paths = [path for path in blob_paths(at) if path.stat().st_size]
    assert len(paths) >= 4
    for seed in range(SEEDS // 4):
        rng = random.Random(seed)
        path, (name, damage) = rng.choice(paths), rng.choice(sorted(BLOB_DAMAGES.items()))
        before = path.read_bytes()
        after = damage(before, rng)
        if after is None:
            path.unlink()
        else:
            path.write_bytes(after)
        report = fsck.check(at.stores)
        path.write_bytes(before)
        assert ("missing" if after is None else "damaged") in problems(report), (seed, name)
        assert any(path.name in one.thing for one in report.lost), (seed, name)


def test_two_blobs_in_each_others_place_are_found(at: World) -> None:
    first, second = [path for path in blob_paths(at) if path.parent.parent.name == "files"][:2]
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)
    report = fsck.check(at.stores)
    first.write_bytes(a)
    second.write_bytes(b)
    assert {one.thing for one in report.lost} == {f"file {first.name}", f"file {second.name}"}


def test_sizes_alone_are_quick_to_compare(at: World) -> None:
    path = next(path for path in blob_paths(at) if path.stat().st_size)
    before = path.read_bytes()
    path.write_bytes(before[:-1])
    report = fsck.check(at.stores, content=False)
    path.write_bytes(before)
    assert problems(report) == {"damaged"} and report.num_bytes < 10_000


# --- damaged rows ---------------------------------------------------------------------------------------------------

ONE = "WHERE rowid = (SELECT rowid FROM {table} {where} ORDER BY random() LIMIT 1)"


def changed(table: str, change: str, where: str = "") -> str:
    return f"UPDATE {table} SET {change} {ONE.format(table=table, where=where)}"


def gone(table: str, where: str = "") -> str:
    return f"DELETE FROM {table} {ONE.format(table=table, where=where)}"


ROW_DAMAGES = {
    "git object gone": gone("git_objects"),
    "git object empty": changed("git_objects", "packed = x''"),
    "git object no zlib": changed("git_objects", "packed = x'00ff00ff'"),
    "git object cut": changed("git_objects", "packed = substr(packed, 1, length(packed) - 3)"),
    "git object with more": changed("git_objects", "packed = packed || x'00'"),
    "git object of another size": changed("git_objects", "size = size + 1"),
    "git object of absurd size": changed("git_objects", "size = -1"),
    "git object of another type": changed("git_objects", "type = type % 3 + 1"),
    "git object of no type": changed("git_objects", "type = 9"),
    "git object under another id": changed("git_objects", "oid = substr(oid, 2) || substr(oid, 1, 1)"),
    "ref to nothing": changed("refs", "oid = '0123456789012345678901234567890123456789'"),
    "ref to no id": changed("refs", "oid = ''"),
    "ref to a tree": changed("refs", "oid = (SELECT oid FROM git_objects WHERE type = 2 AND repo_id = refs.repo_id)"),
    "no main": gone("refs", "WHERE name = 'refs/heads/main'"),
    "no proposal": gone("refs", "WHERE name LIKE 'refs/pr/%'"),
    "file gone": gone("files"),
    "file of another size": changed("files", "size = size + 1"),
    "file under another name": changed("files", "sha256 = substr(sha256, 2) || substr(sha256, 1, 1)"),
    "file of no name": changed("files", "sha256 = 'x'"),
    "claim gone": gone("claims"),
    "terms gone": changed("files", "terms = NULL", "WHERE terms IS NOT NULL"),
    "terms cut": changed("files", "terms = substr(terms, 1, length(terms) - 1)", "WHERE terms IS NOT NULL"),
    "terms without one": changed("files", "terms = substr(terms, 49)", "WHERE length(terms) > 48"),
    "terms of zeros": changed("files", "terms = zeroblob(length(terms))", "WHERE terms IS NOT NULL"),
    "terms for a plain file": changed("files", "terms = x''", "WHERE terms IS NULL"),
    "other Xet hash": changed("files", "xet_hash = substr(xet_hash, 2) || 'a'", "WHERE terms IS NOT NULL"),
    "Xet hash for a plain file": changed("files", f"xet_hash = '{'ab' * 32}'", "WHERE terms IS NULL"),
    "xorb gone": gone("xorbs"),
    "xorb of another size": changed("xorbs", "size = size - 1"),
    "xorb with fewer chunks": changed("xorbs", "chunks = substr(chunks, 37)"),
    "xorb with no list": changed("xorbs", "chunks = x'00'"),
    "xorb under another name": changed("xorbs", "hash = substr(hash, 2) || substr(hash, 1, 1)"),
    "need forgotten": gone("file_xorbs"),
    "repository gone, its rows left": gone("repos"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROW_DAMAGES)
def test_every_damaged_row_is_found(at: World, database: Any, name: str) -> None:
    before: Any = PLAIN.connect(":memory:")
    database.backup(before)
    for _ in range(SEEDS * 3 // 4 // len(ROW_DAMAGES)):
        num_changed = database.execute(ROW_DAMAGES[name]).rowcount
        assert num_changed == 1, name
        report = fsck.check(at.stores)
        before.backup(database)
        assert report.lost, name
    before.close()


def test_a_damaged_page_of_the_database_is_found(tmp_path: Path) -> None:
    with world(tmp_path / "hub", sqlite=True) as at:
        at.repo("ada/news")
        folder = at.stores.settings.folder
    live: Any = PLAIN.connect(folder / "hub.sqlite3")
    live.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (root,) = live.execute("SELECT rootpage FROM sqlite_master WHERE name = 'ix_refs_oid'").fetchone()
    (page,) = live.execute("PRAGMA page_size").fetchone()
    live.close()
    with open(folder / "hub.sqlite3", "r+b") as file:
        file.seek((root - 1) * page)
        file.write(b"\x0a\0\0\0\0" + bytes(page - 5))
    from modelcommons.hub.settings import Settings
    from modelcommons.hub.stores import open_stores

    stores = open_stores(Settings(folder=folder))
    report = fsck.check(stores)
    stores.database.close()
    assert any(one.thing == "the database" for one in report.lost)


# --- what nobody needs ----------------------------------------------------------------------------------------------


def test_what_nobody_names_is_said_and_is_no_loss(at: World, database: Any) -> None:
    folder = at.stores.settings.folder / "blobs"
    sha256, oid = "ab" * 32, objects.object_id(objects.BLOB, b"nobody's")
    blob, left = folder / "files" / "ab" / sha256, folder / "incoming" / "ff"
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(b"x")
    left.write_bytes(b"half")
    long_ago = at.clock() - 2 * fsck.LEFT_S
    os.utime(left, (long_ago, long_ago))
    packed = objects.pack(objects.BLOB, b"nobody's")
    now = at.clock()
    database.execute("INSERT INTO git_objects VALUES (1, ?, 3, ?, ?, ?)", (oid, packed.size, packed.data, now))
    file = File([(cut(b"unneeded" * 100, 300), 0, 3)])
    [xorb] = {xorb for xorb, _, _ in file.pieces}
    stored = folder / "xorbs" / xorb.name[:2] / xorb.name
    stored.parent.mkdir(parents=True, exist_ok=True)
    stored.write_bytes(b"".join(xorb.raw))
    chunks = xet.pack_chunks([xet.Chunk(*one) for one in xorb.chunks])
    database.execute("INSERT INTO xorbs VALUES (?, 800, ?, ?, ?)", (xorb.name, chunks, now, now))
    database.execute("INSERT INTO claims SELECT 2, sha256, 0 FROM claims WHERE repo_id = 1 LIMIT 1")
    report = fsck.check(at.stores)
    for path in (blob, left, stored):
        path.unlink()
    assert report.lost == []
    things = " ".join(one.thing for one in report.unused)
    for wanted in (sha256, oid, xorb.name, "upload ff", "claim on"):
        assert wanted in things, wanted
    assert len(report.unused) == 5


def test_a_multipart_upload_that_goes_on_is_no_finding(at: World, database: Any) -> None:
    folder = at.stores.settings.folder / "blobs" / "parts" / ("ab" * 16)
    folder.mkdir(parents=True)
    (folder / "00001").write_bytes(b"part")
    assert problems(fsck.check(at.stores)) == {"unused"}
    database.execute("INSERT INTO multiparts VALUES (?, 1, ?, 4, '{}', ?)", ("ab" * 16, "cd" * 32, at.clock()))
    assert fsck.check(at.stores).findings == []
    (folder / "00001").unlink()
    folder.rmdir()
