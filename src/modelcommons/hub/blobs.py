"""blobs: bytes under the name that their content gives them, on disk or in S3; what is kept is durable."""

from __future__ import annotations

import ctypes
import hashlib
import os
import queue
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self
from urllib.parse import urlsplit

from modelcommons.errors import OutOfRange, StoreFailed, UsageError, store_failed
from modelcommons.hub.names import SHA256
from modelcommons.hub.settings import Settings

if TYPE_CHECKING:
    from obstore.store import S3Store

PIECE = 1 << 20  # bytes that are read or sent at once
ROOMS = ("files", "xorbs")  # keys are <room>/<two digits>/<64 digits>
AHEAD = 16 << 20  # bytes that may wait in memory before the disk is asked to begin
PARTS = "parts"  # keys are parts/<32 digits>/<number>: pieces of an upload that is not complete
MIN_PART = 5 << 20  # bytes; S3 takes no smaller part but the last
MAX_PARTS = 9_000  # S3 takes 10,000
RANGE = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})")


class Extent(NamedTuple):
    """A run of bytes in one blob."""

    key: str
    offset: int  # bytes
    length: int  # bytes


@dataclass(frozen=True, slots=True)
class Content:
    """What a file is made of, in order; the lengths of the extents add up to `size`."""

    size: int  # bytes
    extents: tuple[Extent, ...]

    def slice(self, start: int, stop: int) -> Content:
        """Bytes `start` up to, and without, `stop`."""
        kept, position = [], 0
        for extent in self.extents:
            low, high = max(start, position), min(stop, position + extent.length)
            if low < high:
                kept.append(Extent(extent.key, extent.offset + low - position, high - low))
            position += extent.length
        return Content(sum(extent.length for extent in kept), tuple(kept))


def read_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last of a `Range` header; None: the whole body is the answer.

    What is not one range of bytes is no error: a server may always send all (RFC 9110, 14.2). Several ranges at once
    are nothing that a client of a hub needs.

    Raises:
        OutOfRange: it begins past the end.
    """
    match = RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.group() == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        raise OutOfRange(f"Expected a range that begins before the end, at {size} bytes.", size=size)
    return start, stop


class Incoming(Protocol):
    """Bytes on their way in, under a key; nobody sees them before `keep`, and without it they leave nothing."""

    size: int  # bytes written so far

    def write(self, data: bytes | memoryview) -> None:
        """Raises: StoreFull or StoreFailed."""

    def sha256(self) -> str:
        """Of what was written so far; only where `hashed` was asked for."""

    def keep(self) -> None:
        """Durable, and under its key, when it returns.

        Raises:
            StoreFull, StoreFailed: it is not there, and what was written is gone; nothing may be acknowledged.
        """

    def discard(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Discards what was not kept."""


class Blobs(Protocol):
    """A store of bytes; every key is made by `file_key`, `xorb_key` or `part_key`, never of a stranger's text."""

    def incoming(self, key: str, *, size: int | None = None, hashed: bool = True) -> Incoming:
        """Args: size: bytes that will come, where it is known; hashed: whether `sha256` will be asked."""

    def has(self, key: str) -> bool: ...

    def size(self, key: str) -> int | None:
        """Bytes; None where there is none of that key."""

    def remove(self, key: str) -> None:
        """Nothing happens where there is none."""

    def keys(self) -> Iterator[tuple[str, int, float]]:
        """Key, bytes and time of the last write, in Unix seconds, of everything kept; parts too."""

    def abandoned(self, before: float) -> Iterator[tuple[str, int]]:
        """Names and bytes of uploads that never ended and were last written before that time, for gc."""

    def forget(self, name: str) -> None:
        """Removes what `abandoned` named."""

    def read(self, extent: Extent) -> Iterator[bytes]:
        """In pieces of at most 1 MiB.

        Raises:
            StoreFailed: the blob is missing or too short.
        """

    def local(self, key: str) -> Path | None:
        """Where it lies on this machine, for sendfile; None where it does not."""

    def link(self, key: str, seconds: int) -> str | None:
        """A URL that lets anybody who has it read the blob for so long; None where the store has no such thing."""


def file_key(sha256: str) -> str:
    return f"files/{_digest(sha256)[:2]}/{sha256}"


def xorb_key(hash: str) -> str:
    return f"xorbs/{_digest(hash)[:2]}/{hash}"


def part_key(upload: str, number: int) -> str:
    assert len(upload) == 32 and upload.isalnum() and upload.isascii() and number > 0
    return f"{PARTS}/{upload}/{number:05d}"


def _digest(text: str) -> str:
    """The gate: nothing but 64 hexadecimal digits becomes the name of a blob."""
    assert SHA256.fullmatch(text), f"expected 64 hexadecimal digits, got {text[:80]!r}"
    return text


def open_blobs(settings: Settings) -> Blobs:
    """The store that the settings name: an S3 bucket, or the folder `blobs` in the hub's folder."""
    return _s3(settings) if settings.bucket else LocalBlobs(settings.folder / "blobs")


# --- on disk --------------------------------------------------------------------------------------------------------


class LocalBlobs:
    """Files in folders; `incoming/` is on the same file system, so that a blob appears by one rename."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._durable: set[Path] = set()  # folders of which this process has seen to it that no power cut takes them
        for room in (*ROOMS, PARTS, "incoming"):
            (folder / room).mkdir(parents=True, exist_ok=True)
        _sync_folder(folder)
        _sync_folder(folder.parent)

    def place(self, key: str) -> Path:
        """Where the blob is to lie, in a folder that is durable: without its folder a blob would be lost too.

        A folder that is there may have been made by another process a moment ago, so that it is there does not do.
        """
        path = self._path(key)
        if path.parent not in self._durable:
            path.parent.mkdir(exist_ok=True)
            _sync_folder(path.parent.parent)
            if not key.startswith(PARTS):  # those come and go
                self._durable.add(path.parent)
        return path

    def incoming(self, key: str, *, size: int | None = None, hashed: bool = True) -> Incoming:
        return _LocalIncoming(self, key, hashed)

    def has(self, key: str) -> bool:
        return self._path(key).is_file()

    def size(self, key: str) -> int | None:
        with _in_words(), suppress(FileNotFoundError):
            return self._path(key).stat().st_size
        return None

    def remove(self, key: str) -> None:
        path = self._path(key)
        with _in_words(), suppress(FileNotFoundError):
            path.unlink()
        if key.startswith(PARTS):
            with suppress(OSError):  # other parts are there still, or somebody else removed the folder
                path.parent.rmdir()

    def keys(self) -> Iterator[tuple[str, int, float]]:
        with _in_words():
            for room in (*ROOMS, PARTS):
                for folder in sorted((self.folder / room).iterdir()):
                    try:
                        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
                    except FileNotFoundError:  # parts that were put together while we looked
                        continue
                    for entry in entries:
                        with suppress(FileNotFoundError):
                            status = entry.stat()
                            yield f"{room}/{folder.name}/{entry.name}", status.st_size, status.st_mtime

    def abandoned(self, before: float) -> Iterator[tuple[str, int]]:
        with _in_words():
            for path in sorted((self.folder / "incoming").iterdir()):
                with suppress(FileNotFoundError):
                    status = path.stat()
                    if status.st_mtime < before:
                        yield path.name, status.st_size

    def forget(self, name: str) -> None:
        assert name.isalnum(), name
        with _in_words(), suppress(FileNotFoundError):
            (self.folder / "incoming" / name).unlink()

    def read(self, extent: Extent) -> Iterator[bytes]:
        with _in_words(), open(self._path(extent.key), "rb", buffering=0) as file:
            file.seek(extent.offset)
            left = extent.length
            while left:
                piece = file.read(min(PIECE, left))
                if not piece:
                    raise StoreFailed(f"A stored object ended {left} bytes early. `commons hub fsck` says which.")
                left -= len(piece)
                yield piece

    def local(self, key: str) -> Path | None:
        return self._path(key)

    def link(self, key: str, seconds: int) -> str | None:
        return None

    def _path(self, key: str) -> Path:
        room, *rest = key.split("/")
        assert room in (*ROOMS, PARTS) and len(rest) == 2 and all(part.isalnum() for part in rest), key
        return self.folder.joinpath(room, *rest)


class _LocalIncoming:
    """A file in `incoming/` under a random name."""

    def __init__(self, store: LocalBlobs, key: str, hashed: bool) -> None:
        self.size = 0
        self._store, self._key = store, key
        self._path = store.folder / "incoming" / secrets.token_hex(16)
        self._digest = hashlib.sha256() if hashed else None
        self._begun = 0  # bytes that the kernel was asked to begin to write
        try:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise store_failed(error) from error

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        if self._digest:
            self._digest.update(view)
        try:
            while view:
                done = os.write(self._fd, view)  # may take less than all of it
                self.size += done
                view = view[done:]
            if self.size - self._begun >= AHEAD:
                _begin_to_write(self._fd, self._begun, self.size - self._begun)
                self._begun = self.size
        except OSError as error:
            self.discard()
            raise store_failed(error) from error

    def sha256(self) -> str:
        assert self._digest, "this upload is not hashed"
        return self._digest.hexdigest()

    def keep(self) -> None:
        try:
            # an error of fsync is final: the kernel may have dropped the bytes, and a second fsync would not say so
            os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1
            target = self._store.place(self._key)
            os.replace(self._path, target)  # over the same bytes, where they are there already
            _sync_folder(target.parent)
        except OSError as error:
            self.discard()
            raise store_failed(error) from error

    def discard(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        with suppress(OSError):
            self._path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.discard()


def _begin_to_write(fd: int, offset: int, length: int) -> None:
    """Asks the kernel to write these bytes now, so that fsync has less to wait for; promises nothing.

    Source: sync_file_range(2); its flag 2 is SYNC_FILE_RANGE_WRITE. Errors are those that fsync tells of later.
    """
    call = getattr(ctypes.CDLL(None), "sync_file_range", None)  # Linux only
    if call:
        call(ctypes.c_int(fd), ctypes.c_int64(offset), ctypes.c_int64(length), ctypes.c_uint(2))


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _in_words() -> Iterator[None]:
    """What the system refuses, as one of our errors."""
    try:
        yield
    except OSError as error:
        raise store_failed(error) from error


# --- in S3 ----------------------------------------------------------------------------------------------------------


class S3Blobs:
    """Objects in a bucket, below a prefix; an object appears when its upload is complete, never before."""

    def __init__(self, store: S3Store) -> None:
        self.store = store

    def incoming(self, key: str, *, size: int | None = None, hashed: bool = True) -> Incoming:
        return _S3Incoming(self.store, key, max(MIN_PART, (size or 0) // MAX_PARTS), hashed)

    def has(self, key: str) -> bool:
        return self.size(key) is not None

    def size(self, key: str) -> int | None:
        import obstore

        try:
            return obstore.head(self.store, key)["size"]
        except FileNotFoundError:
            return None
        except obstore.exceptions.BaseError as error:
            raise _refused(error) from error

    def remove(self, key: str) -> None:
        import obstore

        try:
            obstore.delete(self.store, key)
        except FileNotFoundError:
            return
        except obstore.exceptions.BaseError as error:
            raise _refused(error) from error

    def keys(self) -> Iterator[tuple[str, int, float]]:
        import obstore

        try:
            for room in (*ROOMS, PARTS):
                for page in obstore.list(self.store, room, chunk_size=1000):
                    for one in page:
                        yield one["path"], one["size"], one["last_modified"].timestamp()
        except obstore.exceptions.BaseError as error:
            raise _refused(error) from error

    def abandoned(self, before: float) -> Iterator[tuple[str, int]]:
        # a multipart upload that never ended is no object; the bucket's own rule for them removes it
        return iter(())

    def forget(self, name: str) -> None:
        raise AssertionError("a bucket has no uploads that never ended")

    def read(self, extent: Extent) -> Iterator[bytes]:
        import obstore

        # whole ranges of some MiB, not one stream: a client that reads slowly does not hold a connection to S3
        position, end = extent.offset, extent.offset + extent.length
        try:
            while position < end:
                stop = min(end, position + 4 * PIECE)
                got = memoryview(obstore.get_range(self.store, extent.key, start=position, end=stop))
                if len(got) != stop - position:
                    raise StoreFailed("A stored object is too short. `commons hub fsck` says which.")
                for start in range(0, len(got), PIECE):
                    yield bytes(got[start : start + PIECE])
                position = stop
        except (FileNotFoundError, obstore.exceptions.BaseError) as error:
            raise _refused(error) from error

    def local(self, key: str) -> Path | None:
        return None

    def link(self, key: str, seconds: int) -> str | None:
        import obstore

        return obstore.sign(self.store, "GET", key, timedelta(seconds=seconds))


class _S3Incoming:
    """What fits in one part goes as one object; more goes as a multipart upload while it still arrives.

    Memory: the part that fills, one that waits, and two that are sent.
    """

    def __init__(self, store: S3Store, key: str, part: int, hashed: bool) -> None:
        self.size = 0
        self._store, self._key, self._part = store, key, part
        self._digest = hashlib.sha256() if hashed else None
        self._buffer = bytearray()
        self._parts: queue.Queue[bytes | None] = queue.Queue(maxsize=1)
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._cancelled = False

    def write(self, data: bytes | memoryview) -> None:
        if self._digest:
            self._digest.update(data)
        self._buffer += data
        self.size += len(data)
        while len(self._buffer) > self._part:
            self._put(bytes(self._buffer[: self._part]))
            del self._buffer[: self._part]

    def sha256(self) -> str:
        assert self._digest, "this upload is not hashed"
        return self._digest.hexdigest()

    def keep(self) -> None:
        import obstore

        if self._thread is None:
            try:
                obstore.put(self._store, self._key, bytes(self._buffer), use_multipart=False)
            except (obstore.exceptions.BaseError, OSError) as error:
                raise _refused(error) from error
            return
        self._put(bytes(self._buffer))
        self._end()
        if self._error:
            raise _refused(self._error) from self._error

    def discard(self) -> None:
        self._cancelled = True
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.discard()

    def _put(self, part: bytes) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._send, name="s3-upload", daemon=True)
            self._thread.start()
        while True:
            if self._error:
                raise _refused(self._error) from self._error
            with suppress(queue.Full):  # look whether the upload has failed meanwhile
                self._parts.put(part, timeout=1)
                return

    def _send(self) -> None:
        import obstore

        try:
            obstore.put(
                self._store, self._key, self._given(), use_multipart=True, chunk_size=self._part, max_concurrency=2
            )
        except Exception as error:  # handed over to the thread that writes
            self._error = error

    def _given(self) -> Iterator[bytes]:
        while (part := self._parts.get()) is not None:
            yield part
        if self._cancelled:
            raise ConnectionAbortedError("the upload was given up")  # so that obstore does not complete it

    def _end(self) -> None:
        if self._thread is None:
            return
        while self._thread.is_alive():
            with suppress(queue.Full):
                self._parts.put(None, timeout=0.1)
                break
        self._thread.join()
        self._thread = None


def _s3(settings: Settings) -> S3Blobs:
    from obstore.store import S3Store

    parts = urlsplit(settings.bucket)
    if parts.scheme != "s3" or not parts.netloc:
        raise UsageError(f"Expected a bucket such as s3://name/prefix, got {settings.bucket!r}.")
    given: dict[str, Any] = {"region": settings.s3_region}
    if settings.s3_endpoint:
        given |= {"endpoint": settings.s3_endpoint, "virtual_hosted_style_request": False}
    if settings.s3_key_id:
        given |= {"access_key_id": settings.s3_key_id, "secret_access_key": settings.s3_secret}
    plain = settings.s3_endpoint.startswith("http://")
    return S3Blobs(
        S3Store(parts.netloc, prefix=parts.path.strip("/") or None, client_options={"allow_http": plain}, **given)
    )


def _refused(error: Exception) -> StoreFailed:
    """The text of the store stays in our log: it may name buckets and keys."""
    return StoreFailed("The hub's store did not take or give the bytes; nothing was stored. Send the request again.")
