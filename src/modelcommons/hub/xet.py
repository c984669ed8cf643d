"""xet: the formats of the Xet protocol, v1: hashes, xorbs (chunks of many files) and shards (files as runs of chunks).

Source: huggingface.co/docs/xet (hashing, xorb, shard). Here a hash is 32 bytes; `text` says how it is printed.
A xorb is kept without its chunk headers and without compression, chunk after chunk: a file that was uploaded in order
is then one run of bytes per xorb. Headers are put back for clients that read xorbs (`framed`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, NamedTuple

import lz4.frame  # type: ignore[import-untyped]  # has no type information
from blake3 import blake3

from modelcommons.errors import BadRequest
from modelcommons.hub.names import SHA256

MAX_CHUNK = 128 << 10  # bytes
MAX_CHUNKS = 8192  # in a xorb
MAX_XORB = 64 << 20  # bytes, raw
MAX_SHARD = 64 << 20  # bytes
MAX_TERMS = 1 << 18  # in a file; a client that avoids fragments needs one for each 512 KiB at most
HEADER = 8  # bytes before each chunk: version, stored length (3), scheme, raw length (3)
MAX_XORB_BODY = MAX_XORB + MAX_CHUNKS * (HEADER + 48) + 4096  # a body with headers, and with an old client's footer
RECORD = 48  # bytes; everything in a shard is made of these

DATA_KEY = bytes.fromhex("6697f5775b9550de3135cbaca597181c9de421109beb2b58b4d0b04b93adf229")
NODE_KEY = bytes.fromhex("017ec5c7a5472996fd946666b48a02e65ddd536f37c76dd2f86352e64a53713f")
VERIFICATION_KEY = bytes.fromhex("7f1857d6ce56ed66127ff913e7a5c3f3a4cd26d5b5db49e64124987f28fb94c3")
FILE_KEY = bytes(32)

SHARD_TAG = b"HFRepoMetaData\0" + bytes.fromhex("556967456a7b815783a5bdd95ccdd14aa9")
BOOKEND = b"\xff" * 32
WITH_VERIFICATION = 1 << 31
WITH_METADATA = 1 << 30

CHUNK = struct.Struct("<32sI")  # pack_chunks: hash, raw length
TERM = struct.Struct("<32sIIII")  # pack_terms: xorb, first chunk, chunk after the last, offset, length
SHARD_HEADER = struct.Struct("<32sQQ")
FILE_HEADER = struct.Struct("<32sII8x")
ENTRY = struct.Struct("<32s4xIII")
VERIFICATION = struct.Struct("<32s16x")


class Chunk(NamedTuple):
    hash: bytes
    length: int  # bytes, raw


class Term(NamedTuple):
    """A run of chunks of one xorb, and where their bytes lie in it."""

    xorb: bytes
    start: int  # first chunk
    stop: int  # chunk after the last
    offset: int  # bytes
    length: int  # bytes


class Wanted(NamedTuple):
    """A term as a shard has it, not yet checked."""

    xorb: bytes
    start: int
    stop: int
    length: int
    verification: bytes


@dataclass(frozen=True, slots=True)
class ShardFile:
    hash: bytes
    sha256: bytes
    terms: tuple[Wanted, ...]


# --- hashes ---------------------------------------------------------------------------------------------------------


def text(hash: bytes) -> str:
    """As the protocol prints a hash: four little-endian numbers of 64 bits, 16 hexadecimal digits each."""
    return struct.pack(">4Q", *struct.unpack("<4Q", hash)).hex()


def from_text(printed: str) -> bytes:
    """Raises: BadRequest: it is no printed hash."""
    if not SHA256.fullmatch(printed):
        raise BadRequest(f"Expected a hash of 64 hexadecimal digits, got {printed[:80]!r}.")
    return struct.pack("<4Q", *struct.unpack(">4Q", bytes.fromhex(printed)))


def chunk_hash(data: bytes | memoryview) -> bytes:
    return blake3(data, key=DATA_KEY).digest()


def verification_hash(hashes: bytes) -> bytes:
    """Args: hashes: those of all chunks of a term, one after the other."""
    return blake3(hashes, key=VERIFICATION_KEY).digest()


class Tree:
    """The Merkle tree over chunks that come one by one; it keeps nine nodes of each level, however large the file.

    A group of children ends with the third or a later node whose hash is 0 modulo 4, or with the ninth.
    """

    def __init__(self) -> None:
        self._levels: list[list[Chunk]] = []
        self._passed: list[bool] = []  # whether the level has handed a node on to the one above

    def add(self, node: Chunk, level: int = 0) -> None:
        if level == len(self._levels):
            self._levels.append([])
            self._passed.append(False)
        waiting = self._levels[level]
        waiting.append(node)
        # the last 64 bits decide, little-endian: their lowest two bits are those of byte 24
        if len(waiting) == 9 or (len(waiting) > 2 and node.hash[24] & 3 == 0):
            self._merge(level)

    def root(self) -> bytes:
        """Of all that was added; nothing may be added after. No chunk at all: zeros."""
        level = 0
        while level < len(self._levels):
            waiting = self._levels[level]
            if not self._passed[level] and len(waiting) == 1:
                return waiting[0].hash
            if waiting:
                self._merge(level)
            level += 1
        return bytes(32)

    def _merge(self, level: int) -> None:
        waiting = self._levels[level]
        lines = "".join(f"{text(node.hash)} : {node.length}\n" for node in waiting)
        merged = Chunk(blake3(lines.encode(), key=NODE_KEY).digest(), sum(node.length for node in waiting))
        waiting.clear()
        self._passed[level] = True
        self.add(merged, level + 1)


def file_hash(tree: Tree) -> bytes:
    """No chunk at all: zeros."""
    root = tree.root()
    return blake3(root, key=FILE_KEY).digest() if any(root) else root


# --- xorbs ----------------------------------------------------------------------------------------------------------


class XorbReader:
    """Takes the body of an upload piece by piece and gives the raw bytes of its chunks; keeps one chunk at most."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.size = 0  # raw bytes
        self._tree = Tree()
        self._rest = b""
        self._ended = False  # an old client's footer has begun; nothing in it is needed

    def feed(self, data: bytes) -> Iterator[bytes | memoryview]:
        """Raises: BadRequest: no xorb, or one beyond its limits; refused before its bytes are unpacked."""
        if self._ended:
            return
        data = self._rest + data
        view, position = memoryview(data), 0  # chunks that are not compressed are handed on without a copy
        while len(data) - position >= HEADER:
            if data[position] != 0:
                self._ended = True
                break
            stored = int.from_bytes(data[position + 1 : position + 4], "little")
            scheme = data[position + 4]
            length = int.from_bytes(data[position + 5 : position + 8], "little")
            self._check(stored, scheme, length)
            start, end = position + HEADER, position + HEADER + stored
            if len(data) < end:
                break
            raw = _unpacked(view[start:end], scheme, length)
            chunk = Chunk(chunk_hash(raw), length)
            self.chunks.append(chunk)
            self._tree.add(chunk)
            self.size += length
            position = end
            yield raw
        self._rest = data[position:]

    def hash(self) -> bytes:
        """The xorb's own, from its chunks.

        Raises:
            BadRequest: it is empty, or ends in the middle of a chunk.
        """
        if not self._ended and self._rest:
            raise BadRequest("Expected a whole xorb, got one that ends in the middle of a chunk.")
        if not self.chunks:
            raise BadRequest("Expected a xorb with at least one chunk, got an empty one.")
        return self._tree.root()

    def _check(self, stored: int, scheme: int, length: int) -> None:
        if scheme not in UNPACK:
            raise BadRequest(f"Expected a chunk with compression 0, 1 or 2, got {scheme}.")
        # what LZ4 cannot make smaller is sent as it is; a frame's own bytes are allowed for
        if not 0 < length <= MAX_CHUNK or not 0 < stored <= MAX_CHUNK + 1024:
            raise BadRequest(f"Expected a chunk of at most {MAX_CHUNK} bytes, got {max(length, stored)}.")
        if len(self.chunks) == MAX_CHUNKS or self.size + length > MAX_XORB:
            raise BadRequest(f"Expected a xorb of at most {MAX_CHUNKS} chunks and {MAX_XORB} bytes.")


def _plain(data: memoryview, length: int) -> memoryview:
    return data


def _lz4(data: memoryview, length: int) -> bytes:
    reader = lz4.frame.LZ4FrameDecompressor()
    raw: bytes = reader.decompress(data, max_length=length + 1)  # one more, to see that there is no more
    if not reader.eof or reader.unused_data:
        raise RuntimeError("not one whole frame")
    return raw


def _grouped(data: memoryview, length: int) -> bytes:
    """LZ4 over the first bytes of every four, then the second ones, ..."""
    grouped = _lz4(data, length)
    raw, start = bytearray(len(grouped)), 0
    for place in range(4):
        stop = start + (len(grouped) - place + 3) // 4
        raw[place::4] = grouped[start:stop]
        start = stop
    return bytes(raw)


UNPACK: dict[int, Callable[[memoryview, int], bytes | memoryview]] = {0: _plain, 1: _lz4, 2: _grouped}


def _unpacked(data: memoryview, scheme: int, length: int) -> bytes | memoryview:
    try:
        raw = UNPACK[scheme](data, length)
    except RuntimeError as error:  # lz4 raises nothing better
        raise BadRequest(f"Expected a chunk packed with LZ4: {error}.") from None
    if len(raw) != length:
        raise BadRequest(f"Expected a chunk of {length} bytes, got {len(raw)}.")
    return raw


def framed_offset(chunks: list[Chunk], index: int) -> int:
    """Where chunk `index` begins in the xorb with its headers, as clients address it."""
    return sum(chunk.length for chunk in chunks[:index]) + HEADER * index


def frame(chunk: Chunk) -> bytes:
    """The header that stands before an uncompressed chunk."""
    length = chunk.length.to_bytes(3, "little")
    return b"\0" + length + b"\0" + length


def framed(chunks: list[Chunk], pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The bytes of `chunks`, which come in pieces of any size, with their headers, as one chunk or more at a time."""
    rest = bytearray()
    waiting = iter(chunks)
    chunk = next(waiting, None)
    for piece in pieces:
        rest += piece
        ready, position = bytearray(), 0
        while chunk is not None and len(rest) - position >= chunk.length:
            ready += frame(chunk)
            ready += memoryview(rest)[position : position + chunk.length]
            position += chunk.length
            chunk = next(waiting, None)
        del rest[:position]
        if ready:
            yield bytes(ready)


def pack_chunks(chunks: list[Chunk]) -> bytes:
    """For the table `xorbs`: 36 bytes for each chunk."""
    return b"".join(CHUNK.pack(*chunk) for chunk in chunks)


def unpack_chunks(packed: bytes) -> list[Chunk]:
    return [Chunk._make(one) for one in CHUNK.iter_unpack(packed)]


def pack_terms(terms: list[Term]) -> bytes:
    """For the table `files`: 48 bytes for each term."""
    return b"".join(TERM.pack(*term) for term in terms)


def unpack_terms(packed: bytes) -> list[Term]:
    return [Term._make(one) for one in TERM.iter_unpack(packed)]


# --- shards ---------------------------------------------------------------------------------------------------------


def read_shard(stream: IO[bytes]) -> Iterator[ShardFile]:
    """The files of an uploaded shard; what it says about xorbs is read over: the hub has derived that itself.

    Raises:
        BadRequest: no shard of version 2, or a file without verification hashes or without its SHA-256.
    """
    tag, version, _ = SHARD_HEADER.unpack(_record(stream))
    if tag != SHARD_TAG or version != 2:
        raise BadRequest("Expected a shard of version 2, got something else.")
    while True:
        hash, flags, count = FILE_HEADER.unpack(_record(stream))
        if hash == BOOKEND:
            break
        if count > MAX_TERMS:
            raise BadRequest(f"Expected a file of at most {MAX_TERMS} terms, got {count}.")
        if not flags & WITH_VERIFICATION or not flags & WITH_METADATA:
            raise BadRequest("Expected verification hashes and a SHA-256 with every file of a shard.")
        entries = [ENTRY.unpack(_record(stream)) for _ in range(count)]
        hashes = [VERIFICATION.unpack(_record(stream))[0] for _ in range(count)]
        (sha256,) = VERIFICATION.unpack(_record(stream))
        terms = tuple(
            Wanted(xorb, start, stop, length, verification)
            for (xorb, length, start, stop), verification in zip(entries, hashes, strict=True)
        )
        # the SHA-256 is stored as hashes are, so it is printed as they are
        yield ShardFile(hash, bytes.fromhex(text(sha256)), terms)
    while True:
        hash, _, count = FILE_HEADER.unpack(_record(stream))
        if hash == BOOKEND:
            return
        for _ in range(count):
            _record(stream)


def _record(stream: IO[bytes]) -> bytes:
    record = stream.read(RECORD)
    if len(record) != RECORD:
        raise BadRequest("Expected a whole shard, got one that ends early.")
    return record
