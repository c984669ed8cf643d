"""reach: what the git objects of one repository name, and what can be reached from where; for fsck and gc."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from modelcommons.hub.history import objects
from modelcommons.hub.history.objects import BLOB, COMMIT, FOLDER, POINTER_BYTES, TREE, Pointer
from modelcommons.hub.names import OID
from modelcommons.hub.tables import git_objects, refs

MODULE = 0o160000  # a commit of another repository: nothing that this one has
AT_ONCE = 200  # rows
MAX_OBJECT = 256 << 20  # bytes of one object that are unpacked; no body of a commit may be larger


@dataclass(slots=True)
class Graph:
    """The objects of a repository as they were at one moment."""

    refs: dict[str, str] = field(default_factory=dict)  # name -> oid
    types: dict[str, int] = field(default_factory=dict)  # oid -> type
    created: dict[str, float] = field(default_factory=dict)
    names: dict[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)  # oid -> what it names: oid, type
    pointers: dict[str, Pointer] = field(default_factory=dict)  # blob -> the large file that it stands for
    damaged: dict[str, str] = field(default_factory=dict)  # oid -> what is wrong
    size: int = 0  # bytes unpacked

    def reached(self, roots: Iterable[str]) -> set[str]:
        """Everything that can be reached, whether it is there or not."""
        found: set[str] = set()
        waiting = list(roots)
        while waiting:
            oid = waiting.pop()
            if oid not in found:
                found.add(oid)
                waiting.extend(name for name, _ in self.names.get(oid, ()))
        return found

    @property
    def signature(self) -> tuple[tuple[tuple[str, str], ...], int]:
        """What `signature` says while nothing has changed."""
        return tuple(sorted(self.refs.items())), len(self.types)


def signature(connection: Connection, repo_id: int) -> tuple[tuple[tuple[str, str], ...], int]:
    """Changes with every ref that moves and every object that is written."""
    found = connection.execute(select(refs.c.name, refs.c.oid).where(refs.c.repo_id == repo_id))
    pairs = tuple(sorted((row.name, row.oid) for row in found))
    count = connection.scalar(select(func.count()).where(git_objects.c.repo_id == repo_id)) or 0
    return pairs, count


def read(connection: Connection, repo_id: int, *, everything: bool = True) -> Graph:
    """Reads a repository's objects.

    Args:
        everything: hash every object again; without it, files that cannot be pointers are not unpacked.
    """
    graph = Graph()
    found = connection.execute(select(refs.c.name, refs.c.oid).where(refs.c.repo_id == repo_id))
    graph.refs = {row.name: row.oid for row in found}
    for oid, kind, size, created in _heads(connection, repo_id):
        graph.types[oid], graph.created[oid] = kind, created
        if kind not in objects.WORDS or not OID.fullmatch(oid) or not 0 <= size <= MAX_OBJECT:
            graph.damaged[oid] = f"type {kind} and size {size} cannot be"
    for oid, kind, size, packed in _bodies(connection, repo_id, everything):
        if oid not in graph.damaged:
            _look(graph, oid, kind, size, packed)
    return graph


def _heads(connection: Connection, repo_id: int) -> Iterator[tuple[str, int, int, float]]:
    columns = (git_objects.c.oid, git_objects.c.type, git_objects.c.size, git_objects.c.created)
    query = select(*columns).where(git_objects.c.repo_id == repo_id)
    for row in connection.execute(query):
        yield row.oid, row.type, row.size, row.created


def _bodies(connection: Connection, repo_id: int, everything: bool) -> Iterator[tuple[str, int, int, bytes]]:
    """In pages, so that neither all rows nor a cursor over them is held."""
    last = ""
    while True:
        query = (
            select(git_objects.c.oid, git_objects.c.type, git_objects.c.size, git_objects.c.packed)
            .where(git_objects.c.repo_id == repo_id, git_objects.c.oid > last)
            .order_by(git_objects.c.oid)
            .limit(AT_ONCE)
        )
        if not everything:
            query = query.where((git_objects.c.type != BLOB) | (git_objects.c.size <= POINTER_BYTES))
        rows = connection.execute(query).all()
        if not rows:
            return
        for row in rows:
            yield row.oid, row.type, row.size, row.packed
        last = rows[-1].oid


def _look(graph: Graph, oid: str, kind: int, size: int, packed: bytes) -> None:
    data = _unpacked(packed, size)
    if data is None:
        graph.damaged[oid] = "it does not unpack to the size that it should have"
        return
    graph.size += len(data)
    if (real := objects.object_id(kind, data)) != oid:
        graph.damaged[oid] = f"its content is that of {real}"
        return
    try:
        match kind:
            case objects.COMMIT:
                read = objects.read_commit(oid, data)
                graph.names[oid] = ((read.tree, TREE), *((parent, COMMIT) for parent in read.parents))
            case objects.TREE:
                entries = objects.read_tree(data).values()
                graph.names[oid] = tuple(
                    (one.oid, TREE if one.mode == FOLDER else BLOB) for one in entries if one.mode != MODULE
                )
            case objects.TAG:
                graph.names[oid] = (objects.read_tag(data),)
            case objects.BLOB:
                if pointer := objects.pointer(data):
                    graph.pointers[oid] = pointer
    except ValueError as error:
        graph.damaged[oid] = str(error)


def _unpacked(packed: bytes, size: int) -> bytes | None:
    """None where it does not give exactly so many bytes; never unpacks more."""
    unpacking = zlib.decompressobj()
    try:
        data = unpacking.decompress(packed, size + 1)
    except zlib.error:
        return None
    return data if len(data) == size and unpacking.eof and not unpacking.unused_data else None
