"""xorbs: a small Xet client for tests: cuts bytes into chunks and makes the bodies that the protocol uploads."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import lz4.frame

from modelcommons.hub import xet

Piece = tuple["Xorb", int, int]  # a run of chunks: first, and after the last


@dataclass(frozen=True)
class Xorb:
    """Raw chunks, and what is derived from them, by the plain form of the rules and not by the hub's."""

    raw: tuple[bytes, ...]

    @property
    def chunks(self) -> list[tuple[bytes, int]]:
        return [(xet.chunk_hash(one), len(one)) for one in self.raw]

    @property
    def hash(self) -> bytes:
        return root(self.chunks)

    @property
    def name(self) -> str:
        return xet.text(self.hash)

    def body(self, schemes: Sequence[int] = (0,)) -> bytes:
        return b"".join(packed(one, schemes[at % len(schemes)]) for at, one in enumerate(self.raw))


def cut(data: bytes, size: int = 9000) -> Xorb:
    return Xorb(tuple(data[start : start + size] for start in range(0, len(data), size)))


def packed(raw: bytes, scheme: int) -> bytes:
    grouped = b"".join(raw[place::4] for place in range(4)) if scheme == 2 else raw
    stored = lz4.frame.compress(grouped) if scheme else raw
    return b"\0" + len(stored).to_bytes(3, "little") + bytes([scheme]) + len(raw).to_bytes(3, "little") + stored


def root(nodes: Sequence[tuple[bytes, int]]) -> bytes:
    """The Merkle root over all of a list at once, as docs/xet/hashing.md has it."""
    level = list(nodes)
    while len(level) > 1:
        above, at = [], 0
        while at < len(level):
            rest = level[at:]
            stop = min(9, len(rest))
            if len(rest) > 2:
                cuts = (i + 1 for i in range(2, stop) if struct.unpack("<4Q", rest[i][0])[3] % 4 == 0)
                stop = next(cuts, stop)
            group = rest[: stop if len(rest) > 2 else len(rest)]
            lines = "".join(f"{xet.text(hash)} : {length}\n" for hash, length in group).encode()
            above.append((xet.blake3(lines, key=xet.NODE_KEY).digest(), sum(length for _, length in group)))
            at += len(group)
        level = above
    return level[0][0]


@dataclass
class File:
    """A file of a shard; every field may be made to lie."""

    pieces: list[Piece]

    def __post_init__(self) -> None:
        chunks = [chunk for xorb, start, stop in self.pieces for chunk in xorb.chunks[start:stop]]
        self.data = b"".join(one for xorb, start, stop in self.pieces for one in xorb.raw[start:stop])
        self.hash = xet.blake3(root(chunks), key=bytes(32)).digest() if chunks else bytes(32)
        self.sha256 = hashlib.sha256(self.data).hexdigest()
        self.entries = [
            (xorb.hash, sum(map(len, xorb.raw[start:stop])), start, stop) for xorb, start, stop in self.pieces
        ]
        self.proofs = [
            xet.verification_hash(b"".join(hash for hash, _ in xorb.chunks[start:stop]))
            for xorb, start, stop in self.pieces
        ]

    @property
    def xet_hash(self) -> str:
        return xet.text(self.hash)


def shard(files: Sequence[File], xorbs: Sequence[Xorb] = (), flags: int = 3 << 30) -> bytes:
    """The body of an upload: header, files, xorbs; no footer."""
    records = [struct.pack("<32sQQ", xet.SHARD_TAG, 2, 0)]
    for file in files:
        records.append(struct.pack("<32sII8x", file.hash, flags, len(file.entries)))
        records += [struct.pack("<32sIIII", xorb, 0, length, start, stop) for xorb, length, start, stop in file.entries]
        records += [struct.pack("<32s16x", proof) for proof in file.proofs]
        records.append(struct.pack("<32s16x", xet.from_text(file.sha256)))
    records.append(b"\xff" * 32 + bytes(16))
    for xorb in xorbs:
        records.append(struct.pack("<32sIIII", xorb.hash, 0, len(xorb.raw), sum(map(len, xorb.raw)), 0))
        start = 0
        for hash, length in xorb.chunks:
            records.append(struct.pack("<32sII8x", hash, start, length))
            start += length
    records.append(b"\xff" * 32 + bytes(16))
    return b"".join(records)
