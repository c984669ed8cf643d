"""trees: what a commit holds: one entry, a listing, a count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sqlalchemy import Connection

from modelcommons.errors import EntryNotFound
from modelcommons.hub.history import objects
from modelcommons.hub.history.objects import FOLDER, Entry, Pointer


@dataclass(frozen=True, slots=True)
class Node:
    """A file or a folder at its path in one commit."""

    path: str
    kind: Literal["file", "directory"]
    oid: str  # git's: of the file's content, or of the pointer that stands for it
    size: int  # bytes of the file itself; a folder has 0
    lfs: Pointer | None
    mode: int


class Weight(NamedTuple):
    """What a tree holds, folders in it included."""

    num_files: int
    size: int  # bytes of the files themselves, large ones too


def find(connection: Connection, repo_id: int, commit: str, path: str) -> Entry | None:
    """Mode and id at a path; the empty path is the root."""
    found = Entry(FOLDER, objects.commit(connection, repo_id, commit).tree)
    for part in path.split("/") if path else ():
        if found.mode != FOLDER:
            return None
        below = objects.tree(connection, repo_id, found.oid).get(part)
        if below is None:
            return None
        found = below
    return found


def entry(connection: Connection, repo_id: int, commit: str, path: str) -> Node | None:
    """The file or folder at a path; None where there is none."""
    found = find(connection, repo_id, commit, path)
    return None if found is None else _nodes(connection, repo_id, [(path, found)])[0]


def listing(
    connection: Connection, repo_id: int, commit: str, folder: str = "", recursive: bool = False
) -> Iterator[Node]:
    """What a folder holds, in git's order; with `recursive` each folder is followed by what it holds.

    Raises:
        EntryNotFound: there is no such folder. Raised by the call itself, not by the first step.
    """
    found = find(connection, repo_id, commit, folder)
    if found is None or found.mode != FOLDER:
        raise EntryNotFound(f"{folder} does not exist on this revision.")
    return _walk(connection, repo_id, found.oid, f"{folder}/" if folder else "", recursive)


def _walk(connection: Connection, repo_id: int, tree: str, prefix: str, recursive: bool) -> Iterator[Node]:
    for node in _level(connection, repo_id, tree, prefix):
        yield node
        if recursive and node.kind == "directory":
            yield from _walk(connection, repo_id, node.oid, f"{node.path}/", recursive)


def _level(connection: Connection, repo_id: int, tree: str, prefix: str) -> list[Node]:
    """One folder where it hangs; of a large repository a commit changes few, and the others are remembered."""
    kept = objects.cache(connection)
    key = ("level", repo_id, f"{tree} {prefix}")
    found: list[Node] | None = kept.get(key)
    if found is None:
        lines = [(prefix + name, one) for name, one in objects.tree(connection, repo_id, tree).items()]
        found = _nodes(connection, repo_id, lines)
        kept.put(key, found, 200 + (300 + len(prefix)) * len(found))
    return found


def _nodes(connection: Connection, repo_id: int, lines: list[tuple[str, Entry]]) -> list[Node]:
    metas = objects.metas(connection, repo_id, (one.oid for _, one in lines if one.mode != FOLDER))
    nodes = []
    for path, one in lines:
        if one.mode == FOLDER:
            nodes.append(Node(path, "directory", one.oid, 0, None, one.mode))
        else:
            meta = metas.get(one.oid)
            if meta is None:
                objects.read(connection, repo_id, one.oid, objects.BLOB)  # raises what a damaged store raises
                raise AssertionError("a blob that can be read has a size")
            nodes.append(Node(path, "file", one.oid, meta.size, meta.lfs, one.mode))
    return nodes


def weigh(connection: Connection, repo_id: int, tree: str) -> Weight:
    """Files and bytes of a tree; a file at two paths counts twice. Subtrees that were weighed before cost nothing."""
    kept = objects.cache(connection)
    found: Weight | None = kept.get(("weight", repo_id, tree))
    if found is None:
        entries = objects.tree(connection, repo_id, tree).values()
        metas = objects.metas(connection, repo_id, (one.oid for one in entries if one.mode != FOLDER))
        files = [metas[one.oid].size for one in entries if one.mode != FOLDER]
        folders = [weigh(connection, repo_id, one.oid) for one in entries if one.mode == FOLDER]
        found = Weight(
            len(files) + sum(one.num_files for one in folders), sum(files) + sum(one.size for one in folders)
        )
        kept.put(("weight", repo_id, tree), found, 300)
    return found


def count(connection: Connection, repo_id: int, tree: str) -> int:
    """Files of a tree, without looking at any."""
    kept = objects.cache(connection)
    found: int | None = kept.get(("count", repo_id, tree))
    if found is None:
        found = sum(
            count(connection, repo_id, one.oid) if one.mode == FOLDER else 1
            for one in objects.tree(connection, repo_id, tree).values()
        )
        kept.put(("count", repo_id, tree), found, 250)
    return found
