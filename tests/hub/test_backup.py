"""backup: made while people write, it has everything acknowledged before it began; a damaged one makes no hub."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hubs import hub_over, new_database
from world import World, world
from xorbs import File, cut

from modelcommons.errors import CommonsError, Conflict, DoesNotHold, FormatError, UsageError
from modelcommons.hub.actions import backup, fsck, gc, leases
from modelcommons.hub.settings import Settings
from modelcommons.hub.stores import open_stores

MODEL = random.Random(1).randbytes(60_000)
FILE = File([(cut(random.Random(2).randbytes(40_000), 7_000), 0, 5)])


@pytest.fixture
def at(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "hub") as made:
        repo = made.repo("ada/news", private=True)
        made.commit("ada", repo, {"a.txt": b"first"})
        made.large("ada", repo, "model.bin", MODEL)
        made.large("ada", repo, "rows.bin", FILE)
        yield made


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Settings]:
    """Where a hub can be restored to."""
    with new_database() as database:
        yield Settings(folder=tmp_path / "restored", database=database)


def read(settings: Settings, at: World, path: str) -> bytes:
    stores = open_stores(settings, at.clock)
    try:
        where = path if path.startswith("/") else f"/ada/news/resolve/main/{path}"
        return World(hub_over(stores), at.tokens, at.clock).ask("ada", "GET", where).body
    finally:
        stores.database.close()


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_a_hub_comes_back_whole(at: World, empty: Settings, tmp_path: Path, form: str) -> None:
    path = tmp_path / "kept"
    made = (backup.backup if form == "folder" else backup.export)(at.stores, path)
    assert made.num_blobs == 2 and made.num_bytes == 100_000 and made.linked == (form == "folder")
    assert path.is_dir() == (form == "folder")
    for one in [path, *path.rglob("*")] if path.is_dir() else [path]:
        assert one.is_dir() or one.stat().st_mode & 0o077 == 0 or "blobs" in one.parts or one.name == "manifest.json"
    report = backup.restore(path, empty)
    assert report.findings == [] and report.num_bytes > 100_000
    assert read(empty, at, "a.txt") == b"first"
    assert read(empty, at, "model.bin") == MODEL and read(empty, at, "rows.bin") == FILE.data
    assert sorted(one.name for one in tmp_path.iterdir() if one.name.startswith(".")) == []


def test_a_hub_that_came_back_signs_webhooks_as_before(at: World, empty: Settings, tmp_path: Path) -> None:
    watched = {"url": "http://hook.test/", "watched": [{"type": "user", "name": "ada"}], "secret": "correct-horse"}
    id = at.post("ada", "/api/settings/webhooks", watched)["webhook"]["id"]
    backup.backup(at.stores, tmp_path / "kept")
    assert b"correct-horse" not in b"".join(one.read_bytes() for one in (tmp_path / "kept").glob("*") if one.is_file())
    with pytest.raises(UsageError, match="COMMONS_HUB_SECRET"):
        backup.restore(tmp_path / "kept", replace(empty, secret="ab" * 32))
    assert not empty.folder.exists()
    backup.restore(tmp_path / "kept", empty)
    told = json.loads(read(empty, at, f"/api/settings/webhooks/{id}"))
    assert told["webhook"]["secret"] == "correct-horse"


def test_what_was_acknowledged_before_is_in_it_though_people_go_on(at: World, empty: Settings, tmp_path: Path) -> None:
    acknowledged: list[int] = []
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            number = len(acknowledged)
            at.large("ada", "/api/models/ada/news", f"{number}.bin", f"number {number}".encode() * 300)
            acknowledged.append(number)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        while len(acknowledged) < 3:
            assert thread.is_alive()
            stop.wait(0.01)
        before = len(acknowledged)
        backup.backup(at.stores, tmp_path / "kept")
    finally:
        stop.set()
        thread.join()
    report = backup.restore(tmp_path / "kept", empty)
    assert report.lost == []
    for number in range(before):
        assert read(empty, at, f"{number}.bin") == f"number {number}".encode() * 300


def test_nothing_is_overwritten(at: World, empty: Settings, tmp_path: Path) -> None:
    backup.backup(at.stores, tmp_path / "kept")
    for make_one in (backup.backup, backup.export):
        with pytest.raises(UsageError, match="already"):
            make_one(at.stores, tmp_path / "kept")
        with pytest.raises(UsageError, match="is there"):
            make_one(at.stores, tmp_path / "no" / "folder")
    empty.folder.mkdir()
    (empty.folder / "mine").write_text("mine")
    with pytest.raises(UsageError, match="empty"):
        backup.restore(tmp_path / "kept", empty)
    assert [one.name for one in empty.folder.iterdir()] == ["mine"]


def damage_flip(folder: Path) -> None:
    path = next(one for one in (folder / "blobs").rglob("*") if one.is_file())
    data = path.read_bytes()
    path.unlink()  # it is a link to the hub's own
    path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])


def damage_missing_blob(folder: Path) -> None:
    next(one for one in (folder / "blobs").rglob("*") if one.is_file()).unlink()


def damage_database(folder: Path) -> None:
    path = next(folder.glob("hub.*"))
    path.write_bytes(path.read_bytes()[:-1])


def damage_secret(folder: Path) -> None:
    (folder / "secret").write_bytes(bytes(32))


def damage_no_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def damage_version(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))


def damage_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("[]")


DAMAGES = [
    damage_flip, damage_missing_blob, damage_database, damage_secret, damage_no_manifest, damage_version,
    damage_manifest,
]  # fmt: skip


def test_a_damaged_backup_makes_no_hub(at: World, tmp_path: Path) -> None:
    backup.backup(at.stores, tmp_path / "kept")
    for damage in DAMAGES:
        shutil.copytree(tmp_path / "kept", tmp_path / "damaged")
        damage(tmp_path / "damaged")
        with new_database() as database:
            target = Settings(folder=tmp_path / "restored", database=database)
            with pytest.raises((FormatError, DoesNotHold)):
                backup.restore(tmp_path / "damaged", target)
        assert not target.folder.exists(), damage.__name__
        shutil.rmtree(tmp_path / "damaged")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["hub", "kept"]
    assert fsck.check(at.stores).findings == []


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "blobs/../../evil", "blobs/files/ab/x", "hub.sqlite3/x", "evil", "blobs/files/ab"]
)
def test_an_archive_with_other_members_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo(name)
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    with pytest.raises(FormatError):
        backup.restore(path, Settings(folder=tmp_path / "restored"))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["evil.tar"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_an_archive_with_links_or_devices_is_refused(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("manifest.json")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(FormatError):
        backup.restore(path, Settings(folder=tmp_path / "restored"))


def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.tar").write_bytes(os.urandom(2000))
    (tmp_path / "folder").mkdir()
    for name in ("cut.tar", "folder", "nothing"):
        with pytest.raises(CommonsError):
            backup.restore(tmp_path / name, Settings(folder=tmp_path / "restored"))
    assert not (tmp_path / "restored").exists()


def test_gc_and_backup_wait_for_each_other(at: World, tmp_path: Path) -> None:
    assert leases.take(at.stores, "gc", "somebody", 60)
    with pytest.raises(Conflict):
        backup.backup(at.stores, tmp_path / "kept")
    with pytest.raises(Conflict):
        gc.collect(at.stores)
    assert not (tmp_path / "kept").exists()
    leases.give_back(at.stores, "gc", "somebody")
    seen: list[Any] = []

    def tell(line: str) -> None:
        with pytest.raises(Conflict):
            gc.collect(at.stores)
        seen.append(line)

    backup.backup(at.stores, tmp_path / "kept", tell=tell)
    assert seen
    gc.collect(at.stores)
