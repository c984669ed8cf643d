"""contents: the bytes of one file of a commit, which the repository must have been given itself."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection

from modelcommons.errors import EntryNotFound
from modelcommons.hub import history
from modelcommons.hub.actions import uploads
from modelcommons.hub.blobs import Blobs, Content


def content(connection: Connection, repo_id: int, node: history.Node) -> Content | bytes:
    """A small file's bytes, or where a large one's lie.

    Raises:
        EntryNotFound: it is a pointer to bytes that none of the repository's writers ever sent: whoever knows the
            digest of another repository's file and writes a pointer to it gets nothing.
    """
    if node.lfs is None:
        return history.content(connection, repo_id, node.oid)
    if not uploads.claimed(connection, repo_id, [node.lfs.sha256]):
        raise EntryNotFound(f"The bytes of {node.path} were never uploaded to this repository. Upload the file again.")
    return uploads.content_of(connection, node.lfs.sha256)


def pieces(blobs: Blobs, found: Content | bytes, start: int, stop: int) -> Iterator[bytes]:
    """Bytes `start` up to, and without, `stop`, in pieces."""
    if isinstance(found, bytes):
        yield found[start:stop]
        return
    for extent in found.slice(start, stop).extents:
        yield from blobs.read(extent)
