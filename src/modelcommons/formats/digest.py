"""digests: SHA-256 of bytes, files, folders and lists of ids (receipts.md, "What is hashed")."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from modelcommons.formats.canonical import canonical

PIECE = 1 << 17  # bytes; larger ones come from the system anew each time


def sha256(data: bytes) -> str:
    """64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: Path) -> str:
    """Digest of a file's bytes, in constant memory."""
    return _read(path)[1]


def _read(path: str | Path) -> tuple[int, str]:
    """Bytes of a file, and their digest."""
    size, digest = 0, hashlib.sha256()
    with open(path, "rb", buffering=0) as file:  # hashlib.file_digest makes a large buffer for each small file
        while some := file.read(PIECE):
            size += len(some)
            digest.update(some)
    return size, digest.hexdigest()


def tree_sha256(files: Iterable[tuple[str, int, str]]) -> str:
    """Digest of a set of files, names bound: of the canonical list of (path, size in bytes, sha256), by path bytes."""
    listed = sorted(files, key=lambda entry: entry[0].encode())
    return sha256(canonical([{"path": path, "size": size, "sha256": digest} for path, size, digest in listed]))


def folder_sha256(folder: Path, paths: Iterable[str]) -> str:
    """Tree digest of the files at `paths` (relative, forward slashes) inside `folder`."""
    within = os.fspath(folder)
    return tree_sha256((path, *_read(os.path.join(within, path))) for path in paths)


def ids_sha256(ids: Iterable[str]) -> str:
    """Digest of an ordered list of ids, in constant memory: each id in UTF-8 behind its length in bytes, in order."""
    digest, rest = hashlib.sha256(), iter(ids)
    while some := [id.encode() for id in islice(rest, 10_000)]:
        digest.update(b"".join([len(raw).to_bytes(8, "big") + raw for raw in some]))
    return digest.hexdigest()
