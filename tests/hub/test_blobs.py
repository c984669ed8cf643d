"""blobs: what is kept is durable and whole, what is not kept leaves nothing; on disk and in an object store."""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import obstore.store
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelcommons.errors import OutOfRange, StoreFailed, StoreFull, UsageError
from modelcommons.hub import blobs
from modelcommons.hub.blobs import Blobs, Content, Extent, LocalBlobs, S3Blobs
from modelcommons.hub.settings import Settings

SOME = hashlib.sha256(b"some").hexdigest()
KEY = blobs.file_key(SOME)


@pytest.fixture(params=["disk", "objects"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    # the same client code as for S3, over a store in memory
    return LocalBlobs(tmp_path / "blobs") if request.param == "disk" else S3Blobs(obstore.store.MemoryStore())  # type: ignore[arg-type]


def keep(store: Blobs, key: str, *pieces: bytes, **given: Any) -> str:
    with store.incoming(key, **given) as incoming:
        for piece in pieces:
            incoming.write(piece)
        incoming.keep()
        return incoming.sha256() if given.get("hashed", True) else ""


def whole(store: Blobs, key: str) -> bytes:
    size = store.size(key)
    assert size is not None
    return b"".join(store.read(Extent(key, 0, size)))


def test_what_is_kept_is_there(store: Blobs) -> None:
    assert not store.has(KEY)
    assert store.size(KEY) is None
    data = os.urandom(3_000_000)
    digest = keep(store, KEY, data[:10], b"", memoryview(data)[10:])
    assert digest == hashlib.sha256(data).hexdigest()
    assert whole(store, KEY) == data
    pieces = list(store.read(Extent(KEY, 1000, 2_500_000)))
    assert b"".join(pieces) == data[1000:2_501_000]
    assert max(map(len, pieces)) <= 1 << 20
    ((key, size, written),) = store.keys()
    assert (key, size) == (KEY, 3_000_000)
    assert abs(written - os.stat(__file__).st_atime) < 1e9
    store.remove(KEY)
    store.remove(KEY)
    assert not store.has(KEY)


def test_what_is_not_kept_leaves_nothing(store: Blobs) -> None:
    for data in (b"", b"a little", bytes(12 << 20)):
        with store.incoming(KEY) as incoming:
            incoming.write(data)
        with suppress(ZeroDivisionError), store.incoming(KEY) as incoming:
            incoming.write(data)
            raise ZeroDivisionError
    assert not store.has(KEY)
    assert list(store.keys()) == []
    assert list(store.abandoned(1e12)) == []


@pytest.mark.parametrize("size", [0, 1, blobs.MIN_PART - 1, blobs.MIN_PART, blobs.MIN_PART + 1, 3 * blobs.MIN_PART])
def test_every_size_of_upload_is_whole(store: Blobs, size: int) -> None:
    data = os.urandom(size)
    keep(store, KEY, *(data[at : at + 700_001] for at in range(0, size, 700_001)), hashed=False)
    assert whole(store, KEY) == data


def test_the_same_bytes_again_change_nothing(store: Blobs) -> None:
    keep(store, KEY, b"some")
    keep(store, KEY, b"some")
    assert whole(store, KEY) == b"some"
    assert len(list(store.keys())) == 1


def test_a_missing_or_short_blob_is_an_error_and_no_short_answer(store: Blobs) -> None:
    with pytest.raises(StoreFailed):
        list(store.read(Extent(KEY, 0, 4)))
    keep(store, KEY, b"some")
    with pytest.raises(StoreFailed):
        list(store.read(Extent(KEY, 2, 4)))


def test_parts_have_keys_of_their_own(store: Blobs) -> None:
    keys = [blobs.part_key("a" * 32, number) for number in (1, 2)]
    for key in keys:
        keep(store, key, key.encode())
    assert {key for key, _, _ in list(store.keys())} == set(keys)
    for key in keys:
        store.remove(key)
    assert list(store.keys()) == []


@pytest.mark.parametrize(
    "text", ["", "../" * 20 + "etc/passwd", "A" * 64, "0" * 63, "0" * 65, "0" * 63 + "/", "é" * 64]
)
def test_only_digests_become_keys(text: str) -> None:
    for make in (blobs.file_key, blobs.xorb_key):
        with pytest.raises(AssertionError):
            make(text)


# --- on disk --------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "blobs")


def test_the_order_is_bytes_then_name_then_folder(disk: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut at any moment finds either no name, or a name with all its bytes."""
    told: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(fd: int) -> None:
        target = os.readlink(f"/proc/self/fd/{fd}")
        told.append("folder" if os.path.isdir(target) else f"bytes {os.fstat(fd).st_size}")
        sync(fd)

    def replaced(old: Path, new: Path) -> None:
        told.append("name")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    keep(disk, KEY, b"so", b"me")
    assert told == ["bytes 4", "folder", "name", "folder"]  # the folder's name, then the blob's in it
    told.clear()
    keep(disk, KEY, b"some")
    assert told == ["bytes 4", "name", "folder"]
    told.clear()
    keep(disk, blobs.part_key("b" * 32, 1), b"some")
    assert told == ["bytes 4", "folder", "name", "folder"]


def test_a_folder_that_another_process_made_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been made a moment ago; a power cut would take it, and the blob of ours in it."""
    store = LocalBlobs(tmp_path / "blobs")
    (store.folder / KEY).parent.mkdir()
    synced: list[Path] = []
    monkeypatch.setattr(blobs, "_sync_folder", synced.append)
    keep(store, KEY, b"some")
    assert synced == [store.folder / "files", store.folder / "files" / SOME[:2]]
    LocalBlobs(tmp_path / "new" / "blobs")
    assert synced[2:] == [tmp_path / "new" / "blobs", tmp_path / "new"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_an_error_of_the_disk_is_final(
    disk: LocalBlobs, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def fail(*given: Any) -> None:
        raise OSError(number, "injected")

    expected = StoreFailed if number == errno.EIO else StoreFull
    with pytest.raises(expected), monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        keep(disk, KEY, b"some")
    assert not disk.has(KEY)
    assert list(disk.abandoned(1e12)) == []
    keep(disk, KEY, b"some")  # nothing is wedged
    assert whole(disk, KEY) == b"some"


def test_an_error_of_the_last_fsync_is_told(disk: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blob may have its name; but nobody was told that it is durable."""

    def fail(folder: Path) -> None:
        raise OSError(errno.EIO, "injected")

    monkeypatch.setattr(blobs, "_sync_folder", fail)
    with pytest.raises(StoreFailed):
        keep(disk, KEY, b"some")


def test_a_short_write_is_no_short_blob(disk: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
    data = os.urandom(1000)
    assert keep(disk, KEY, data) == hashlib.sha256(data).hexdigest()
    assert whole(disk, KEY) == data


def test_what_was_abandoned_is_found_and_forgotten(disk: LocalBlobs) -> None:
    incoming = disk.incoming(KEY)
    incoming.write(b"half")
    assert list(disk.abandoned(0)) == []
    ((name, size),) = disk.abandoned(1e12)
    assert size == 4
    disk.forget(name)
    disk.forget(name)
    assert list(disk.abandoned(1e12)) == []
    incoming.discard()


def test_a_damaged_blob_is_mended_by_the_same_bytes(disk: LocalBlobs) -> None:
    keep(disk, KEY, b"some")
    disk.local(KEY).write_bytes(b"sXme")
    keep(disk, KEY, b"some")
    assert whole(disk, KEY) == b"some"


# --- in an object store ---------------------------------------------------------------------------------------------


def test_an_upload_that_the_store_breaks_off_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    store = S3Blobs(obstore.store.MemoryStore())  # type: ignore[arg-type]

    def fail(*given: Any, **more: Any) -> None:
        raise obstore.exceptions.GenericError("injected")

    monkeypatch.setattr(obstore, "put", fail)
    for size in (10, 4 * blobs.MIN_PART):
        with pytest.raises(StoreFailed):
            keep(store, KEY, *([bytes(1 << 20)] * (size >> 20) or [b"some"]))
    monkeypatch.undo()
    assert not store.has(KEY)


def test_an_upload_given_up_is_not_completed_over_a_good_one() -> None:
    store = S3Blobs(obstore.store.MemoryStore())  # type: ignore[arg-type]
    keep(store, KEY, b"good")
    with store.incoming(KEY) as incoming:
        incoming.write(bytes(4 * blobs.MIN_PART))
    assert whole(store, KEY) == b"good"


def test_large_files_fit_into_the_parts_that_s3_allows() -> None:
    incoming = S3Blobs(obstore.store.MemoryStore()).incoming(KEY, size=500 * 10**9)  # type: ignore[arg-type]
    assert 500 * 10**9 / incoming._part < 10_000  # type: ignore[attr-defined]
    incoming.discard()


def test_the_settings_choose_the_store(tmp_path: Path) -> None:
    assert isinstance(blobs.open_blobs(Settings(folder=tmp_path)), LocalBlobs)
    given = {"bucket": "s3://bucket/a/b", "s3_endpoint": "http://127.0.0.1:1", "s3_key_id": "k", "s3_secret": "s"}
    store = blobs.open_blobs(Settings(folder=tmp_path, **given))  # type: ignore[arg-type]
    assert isinstance(store, S3Blobs)
    assert store.local(KEY) is None
    link = store.link(KEY, 60)
    assert link and link.startswith(f"http://127.0.0.1:1/bucket/a/b/{KEY}?")
    assert "X-Amz-Expires=60" in link
    with pytest.raises(UsageError):
        blobs.open_blobs(Settings(folder=tmp_path, bucket="bucket"))


# --- content --------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 50), max_size=8), st.data())
@settings(max_examples=200, deadline=None)
def test_a_slice_of_content_is_a_slice_of_its_bytes(lengths: list[int], data: st.DataObject) -> None:
    source = {str(number): os.urandom(200) for number in range(3)}
    extents = tuple(
        Extent(data.draw(st.sampled_from(sorted(source))), data.draw(st.integers(0, 100)), length) for length in lengths
    )
    content = Content(sum(lengths), extents)

    def made(of: Content) -> bytes:
        return b"".join(source[one.key][one.offset : one.offset + one.length] for one in of.extents)

    start = data.draw(st.integers(0, content.size))
    stop = data.draw(st.integers(start, content.size))
    part = content.slice(start, stop)
    assert made(part) == made(content)[start:stop]
    assert part.size == stop - start


@pytest.mark.parametrize(
    ("header", "bounds"),
    [
        (None, None), ("", None), ("bytes=0-9", (0, 10)), ("bytes=0-0", (0, 1)), ("bytes=90-", (90, 100)),
        ("bytes=99-5000", (99, 100)), ("bytes=-1", (99, 100)), ("bytes=-1000", (0, 100)), (" bytes=1-2 ", (1, 3)),
        ("bytes=-", None), ("bytes=5-4", None), ("bytes=0-1,5-6", None), ("lines=1-2", None), ("bytes=a-b", None),
        ("bytes=0x1-2", None), ("bytes=1-2;", None), ("bytes=" + "9" * 30 + "-", None), ("bytes=٣-٤", None),
        ("bytes=0-" + "9" * 19, (0, 100)),
    ],
)  # fmt: skip
def test_ranges(header: str | None, bounds: tuple[int, int] | None) -> None:
    assert blobs.read_range(header, 100) == bounds


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=100-", 100), ("bytes=100-200", 100), ("bytes=-0", 9), ("bytes=0-", 0)]
)
def test_ranges_past_the_end(header: str, size: int) -> None:
    with pytest.raises(OutOfRange):
        blobs.read_range(header, size)
