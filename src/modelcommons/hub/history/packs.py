"""packs: git's format for many objects at once: written from rows as they are, read with limits.

Source: git-scm.com/docs/gitformat-pack.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from typing import IO

from sqlalchemy import Connection, select

from modelcommons.errors import StoreFailed, Unprocessable
from modelcommons.hub.history import objects
from modelcommons.hub.history.objects import BLOB, COMMIT, TAG, TREE
from modelcommons.hub.history.quarantine import Quarantine
from modelcommons.hub.tables import git_objects

OFFSET_DELTA, ID_DELTA = 6, 7

MAX_OBJECTS = 200_000  # of one push; each has its place in memory
MAX_TOTAL = 2 << 30  # bytes of its objects, unpacked
MAX_SIZE = {COMMIT: 1 << 20, TREE: 4 << 20, BLOB: 10 << 20, TAG: 1 << 20}  # bytes of one object
MAX_DELTA = 16 << 20  # bytes of one delta
CHUNK = 16 << 10  # bytes read at once
RECENT = 16 << 20  # bytes of objects kept at hand for the deltas on them
AT_ONCE = 4 << 20  # bytes of rows read in one go


# --- writing --------------------------------------------------------------------------------------------------------


def head(num_objects: int) -> bytes:
    return b"PACK\0\0\0\2" + num_objects.to_bytes(4, "big")


def groups(connection: Connection, repo_id: int, oids: list[str]) -> list[list[str]]:
    """The ids in groups whose objects together are about `AT_ONCE`."""
    found: list[list[str]] = []
    total = AT_ONCE
    for some in objects.batches(oids):
        sizes = connection.execute(
            select(git_objects.c.oid, git_objects.c.size).where(
                git_objects.c.repo_id == repo_id, git_objects.c.oid.in_(some)
            )
        )
        for oid, size in sizes:
            if total >= AT_ONCE or len(found[-1]) == objects.BATCH:
                found.append([])
                total = 0
            found[-1].append(oid)
            total += size
    return found


def entries(connection: Connection, repo_id: int, oids: list[str]) -> bytes:
    """One group of objects as a pack holds them: a row's bytes are already what git wants after its header."""
    rows = connection.execute(
        select(git_objects.c.type, git_objects.c.size, git_objects.c.packed).where(
            git_objects.c.repo_id == repo_id, git_objects.c.oid.in_(oids)
        )
    ).all()
    if len(rows) != len(oids):
        raise StoreFailed("The hub's store lacks objects that a commit names. `commons hub fsck` tells more.")
    return b"".join(_entry_head(kind, size) + packed for kind, size, packed in rows)


def _entry_head(kind: int, size: int) -> bytes:
    byte, size = kind << 4 | size & 15, size >> 4
    out = bytearray()
    while size:
        out.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    out.append(byte)
    return bytes(out)


# --- reading --------------------------------------------------------------------------------------------------------


class Unpacker:
    """Reads a stranger's pack into a quarantine; every id is computed, nothing is believed."""

    def __init__(
        self, pack: IO[bytes], quarantine: Quarantine, base: Callable[[str], tuple[int, bytes] | None]
    ) -> None:
        """
        Args:
            pack: from where its bytes begin; it can be read again.
            base: an object that the repository has already, for packs whose deltas are on such.
        """
        self._pack = pack
        self._start = pack.tell()
        self._quarantine = quarantine
        self._base = base
        self._at: dict[int, str] = {}  # offset -> id
        self._waiting: dict[int | str, list[int]] = defaultdict(list)  # offset or id of the base -> offsets of deltas
        self._recent: OrderedDict[str, bytes] = OrderedDict()
        self._recent_bytes = 0
        self._total = 0
        self.too_large: dict[str, int] = {}  # id -> bytes, of files that must go by LFS

    def run(self) -> None:
        """Raises: Unprocessable: it is damaged, has too much in it, or builds on objects that are not here."""
        self._check_sum()
        reader = _Reader(self._pack, self._start)
        if reader.take(8) != b"PACK\0\0\0\2":
            raise Unprocessable("Expected a pack of version 2.")
        num_objects = int.from_bytes(reader.take(4), "big")
        if num_objects > MAX_OBJECTS:
            raise Unprocessable(
                f"Expected at most {MAX_OBJECTS:,} objects in a push, got {num_objects:,}. Push in parts."
            )
        for _ in range(num_objects):
            self._one(reader)
        if reader.offset != self._end:
            raise Unprocessable("The pack goes on after its last object.")
        if any(self._waiting.values()):
            raise Unprocessable("The pack has changes to objects that this repository does not have.")

    def _check_sum(self) -> None:
        digest = hashlib.sha1(usedforsecurity=False)
        self._pack.seek(self._start)
        held = b""
        while piece := self._pack.read(1 << 20):
            held += piece
            digest.update(held[:-20])
            held = held[-20:]
        self._end = self._pack.tell() - 20
        if len(held) < 20 or digest.digest() != held:
            raise Unprocessable("The pack is damaged: its checksum is wrong. Push again.")

    def _one(self, reader: _Reader) -> None:
        offset = reader.offset
        kind, size = reader.head()
        if kind in MAX_SIZE:
            self._plain(reader, offset, kind, size)
        elif kind == OFFSET_DELTA:
            base: int | str = offset - reader.distance()
            self._delta(reader, offset, size, base)
        elif kind == ID_DELTA:
            self._delta(reader, offset, size, reader.take(20).hex())
        else:
            raise Unprocessable(f"The pack has an object of the unknown type {kind}.")

    def _plain(self, reader: _Reader, offset: int, kind: int, size: int) -> None:
        self._count(size)
        if size <= MAX_SIZE[kind]:
            self._found(offset, kind, reader.inflate(size))
        elif kind == BLOB:
            # it is not kept; its id is, to say later which file it is
            digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
            for piece in reader.pieces(size):
                digest.update(piece)
            self.too_large[digest.hexdigest()] = size
        else:
            raise Unprocessable(f"The pack has a {objects.WORDS[kind].decode()} of {size:,} bytes, which is too large.")

    def _delta(self, reader: _Reader, offset: int, size: int, base: int | str) -> None:
        if size > MAX_DELTA:
            raise Unprocessable(f"The pack has a change of {size:,} bytes to a file. Track large files with git-lfs.")
        delta = reader.inflate(size)
        self._count(size)
        found = self._lookup(base)
        if found is None:
            self._waiting[base].append(offset)
        else:
            self._found(offset, *self._applied(found, delta))

    def _lookup(self, base: int | str) -> tuple[int, bytes] | None:
        oid = self._at.get(base) if isinstance(base, int) else base
        if oid is None:
            return None
        place = self._quarantine.places.get(oid)
        if place is None:
            return self._base(oid)
        data = self._recent.get(oid)
        return place.type, self._quarantine.read(oid) if data is None else data

    def _applied(self, base: tuple[int, bytes], delta: bytes) -> tuple[int, bytes]:
        kind, data = base
        made = apply_delta(data, delta, MAX_SIZE[kind])
        self._count(len(made))
        return kind, made

    def _found(self, offset: int, kind: int, data: bytes) -> None:
        """Keeps an object, and what waited for it, and what waited for that."""
        stack = [(offset, kind, data)]
        while stack:
            offset, kind, data = stack.pop()
            oid = self._quarantine.put(kind, data)
            self._at[offset] = oid
            self._keep_at_hand(oid, data)
            for waiting in self._waiting.pop(offset, []) + self._waiting.pop(oid, []):
                reader = _Reader(self._pack, waiting)
                kind_of_delta, size = reader.head()
                reader.distance() if kind_of_delta == OFFSET_DELTA else reader.take(20)
                below = apply_delta(data, reader.inflate(size), MAX_SIZE[kind])
                self._count(len(below))
                stack.append((waiting, kind, below))

    def _keep_at_hand(self, oid: str, data: bytes) -> None:
        if oid not in self._recent and len(data) < RECENT:
            self._recent[oid] = data
            self._recent_bytes += len(data)
            while self._recent_bytes > RECENT:
                self._recent_bytes -= len(self._recent.popitem(last=False)[1])

    def _count(self, size: int) -> None:
        self._total += size
        if self._total > MAX_TOTAL:
            raise Unprocessable(f"Expected at most {MAX_TOTAL:,} bytes in a push, unpacked. Push in parts.")


class _Reader:
    """One pass over a pack, object after object."""

    def __init__(self, pack: IO[bytes], offset: int) -> None:
        self._pack = pack
        self._pack.seek(offset)
        self._read_to = offset
        self._held = b""

    @property
    def offset(self) -> int:
        return self._read_to - len(self._held)

    def _more(self) -> None:
        self._pack.seek(self._read_to)  # deltas are read in between
        piece = self._pack.read(CHUNK)
        if not piece:
            raise Unprocessable("The pack ends before its last object does.")
        self._read_to += len(piece)
        self._held += piece

    def take(self, num_bytes: int) -> bytes:
        while len(self._held) < num_bytes:
            self._more()
        taken, self._held = self._held[:num_bytes], self._held[num_bytes:]
        return taken

    def head(self) -> tuple[int, int]:
        """Type and unpacked size of the object that follows."""
        byte = self.take(1)[0]
        kind, size, shift = byte >> 4 & 7, byte & 15, 4
        while byte & 0x80:
            byte = self.take(1)[0]
            size |= (byte & 0x7F) << shift
            shift += 7
            if shift > 60:
                raise Unprocessable("The pack has an object of impossible size.")
        return kind, size

    def distance(self) -> int:
        """How far back the base of a delta lies."""
        byte = self.take(1)[0]
        value = byte & 0x7F
        while byte & 0x80:
            byte = self.take(1)[0]
            value = (value + 1 << 7) | byte & 0x7F
            if value >> 60:
                raise Unprocessable("The pack has an object at an impossible place.")
        return value

    def inflate(self, size: int) -> bytes:
        return b"".join(self.pieces(size))

    def pieces(self, size: int) -> Iterator[bytes]:
        """The content of one object, which must have exactly `size` bytes."""
        engine = zlib.decompressobj()
        done = 0
        while not engine.eof:
            if not self._held:
                self._more()
            try:
                piece = engine.decompress(self._held, CHUNK * 4)
            except zlib.error:
                raise Unprocessable("The pack is damaged: an object does not unpack. Push again.") from None
            self._held = engine.unused_data if engine.eof else engine.unconsumed_tail
            done += len(piece)
            if done > size:
                break
            yield piece
        if done != size:
            raise Unprocessable("The pack has an object of another size than it says.")


def apply_delta(base: bytes, delta: bytes, limit: int) -> bytes:
    """What a delta makes of its base.

    Source: git-scm.com/docs/gitformat-pack, "Deltified representation".

    Raises:
        Unprocessable: it is damaged, or makes more than `limit` bytes.
    """
    size_before, at = _number(delta, 0)
    size_after, at = _number(delta, at)
    if size_before != len(base):
        raise Unprocessable("The pack has a change to another version than it says.")
    if size_after > limit:
        raise Unprocessable(f"The pack has a file of {size_after:,} bytes. Track large files with git-lfs.")
    parts: list[bytes] = []
    done = 0
    try:
        while at < len(delta):
            code = delta[at]
            at += 1
            if code & 0x80:  # copy from the base: which of seven bytes follow is in the bits
                start = size = 0
                for bit in range(4):
                    if code >> bit & 1:
                        start |= delta[at] << 8 * bit
                        at += 1
                for bit in range(3):
                    if code >> 4 + bit & 1:
                        size |= delta[at] << 8 * bit
                        at += 1
                part = base[start : start + (size or 0x10000)]
                if len(part) != (size or 0x10000):
                    raise IndexError
            else:  # new bytes
                part = delta[at : at + code]
                at += code
                if not code or len(part) != code:
                    raise IndexError
            parts.append(part)
            done += len(part)
            if done > size_after:
                raise IndexError
    except IndexError:
        raise Unprocessable("The pack is damaged: a change does not fit its base. Push again.") from None
    if done != size_after:
        raise Unprocessable("The pack is damaged: a change makes another size than it says. Push again.")
    return b"".join(parts)


def _number(delta: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(delta) or shift > 60:
            raise Unprocessable("The pack is damaged: a change ends too early. Push again.")
        byte = delta[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at
