"""objects: git's commits, trees and files as rows; a row's id is the digest that git itself gives it."""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from dulwich.objects import parse_tree
from sqlalchemy import Connection, bindparam, case, select

from modelcommons.errors import EntryNotFound, StoreFailed
from modelcommons.hub.database import insert_new
from modelcommons.hub.names import OID, SHA256
from modelcommons.hub.tables import git_objects

COMMIT, TREE, BLOB, TAG = 1, 2, 3, 4  # as git numbers them in its packs
WORDS: Final = {COMMIT: b"commit", TREE: b"tree", BLOB: b"blob", TAG: b"tag"}

FOLDER, FILE, PROGRAM, LINK = 0o040000, 0o100644, 0o100755, 0o120000  # the modes of git that we keep
MODULE = 0o160000  # and the one that we do not: a commit of another repository

CACHE_BYTES = 48 << 20  # per process; what is in it is content-addressed and never changes
BATCH = 500  # ids in one statement

POINTER_HEAD = b"version https://git-lfs.github.com/spec/v1\n"
POINTER_BYTES = 1024  # git-lfs takes nothing longer for a pointer

# made once: they are asked at nearly every request
HERE = (git_objects.c.repo_id == bindparam("repo"), git_objects.c.oid == bindparam("object"))
OBJECT = select(git_objects.c.packed, git_objects.c.size).where(*HERE, git_objects.c.type == bindparam("kind"))
TYPE = select(git_objects.c.type).where(*HERE)


class Pointer(NamedTuple):
    """What git keeps in place of a large file."""

    sha256: str
    size: int  # bytes

    def data(self) -> bytes:
        return POINTER_HEAD + f"oid sha256:{self.sha256}\nsize {self.size}\n".encode()


class Blob(NamedTuple):
    """A small file whose row the caller writes itself, in the same transaction."""

    oid: str
    size: int  # bytes


class Entry(NamedTuple):
    """One line of a tree."""

    mode: int
    oid: str


class Meta(NamedTuple):
    """What a listing tells of a file without its bytes."""

    size: int  # bytes of the file itself, not of its pointer
    lfs: Pointer | None


class Packed(NamedTuple):
    """An object as its row has it."""

    oid: str
    type: int
    size: int  # bytes before packing
    data: bytes  # zlib of the content


@dataclass(frozen=True, slots=True)
class Commit:
    oid: str
    tree: str
    parents: tuple[str, ...]
    author: str
    email: str
    date: float  # Unix seconds, when it was committed
    title: str
    message: str  # what follows the title


class Cache:
    """The objects used last, up to a weight in bytes; safe between threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._weight = 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int, str], tuple[Any, int]] = OrderedDict()

    def get(self, key: tuple[str, int, str]) -> Any:
        """None where it is not kept."""
        with self._lock:
            if (found := self._kept.get(key)) is None:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def put(self, key: tuple[str, int, str], value: Any, weight: int) -> None:
        with self._lock:
            if key in self._kept or weight > self._limit // 4:
                return
            self._kept[key] = (value, weight)
            self._weight += weight
            while self._weight > self._limit:
                self._weight -= self._kept.popitem(last=False)[1][1]


def cache(connection: Connection) -> Cache:
    """The engine's own cache: no state of the module, and none that two hubs in one process share."""
    options = connection.engine.get_execution_options()
    if "git_objects" not in options:
        connection.engine.update_execution_options(git_objects=Cache(CACHE_BYTES))
        options = connection.engine.get_execution_options()
    found = options["git_objects"]
    assert isinstance(found, Cache)
    return found


# --- bytes <-> values -----------------------------------------------------------------------------------------------


def object_id(kind: int, data: bytes | memoryview) -> str:
    """git's id: SHA-1 of type, length and content."""
    digest = hashlib.sha1(b"%s %d\0" % (WORDS[kind], len(data)), usedforsecurity=False)
    digest.update(data)
    return digest.hexdigest()


def pack(kind: int, data: bytes, level: int = 1) -> Packed:
    return Packed(object_id(kind, data), kind, len(data), zlib.compress(data, level))


def pointer(data: bytes) -> Pointer | None:
    """The pointer that these bytes are; none where they are anything else.

    Source: github.com/git-lfs/git-lfs/blob/main/docs/spec.md. Keys are sorted after `version`; the extension lines
    that it allows name no bytes of their own.
    """
    if len(data) > POINTER_BYTES or not data.startswith(POINTER_HEAD):
        return None
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError:
        return None
    keys = dict(line.partition(" ")[::2] for line in lines)
    sha256, size = keys.get("oid", "").removeprefix("sha256:"), keys.get("size", "")
    if not SHA256.fullmatch(sha256) or not size.isascii() or not size.isdigit() or len(size) > 15:
        return None
    return Pointer(sha256, int(size))


def in_order(entries: dict[str, Entry]) -> dict[str, Entry]:
    """The same in git's order: a folder sorts as if its name ended in a slash."""

    def key(item: tuple[str, Entry]) -> bytes:
        return item[0].encode() + (b"/" if item[1].mode == FOLDER else b"")

    return dict(sorted(entries.items(), key=key))


def tree_bytes(entries: dict[str, Entry]) -> bytes:
    """A tree as git writes it."""
    lines = [b"%o %s\0" % (one.mode, name.encode()) + bytes.fromhex(one.oid) for name, one in in_order(entries).items()]
    return b"".join(lines)


def read_tree(data: bytes) -> dict[str, Entry]:
    """Raises: ValueError: it is no tree, or a name in it is not UTF-8."""
    try:
        return {
            name.decode(): Entry(mode, oid.decode()) for name, mode, oid in parse_tree(data, sha_len=20, strict=True)
        }
    except Exception as error:  # dulwich's own, and what its Rust half raises
        raise ValueError(f"not a tree: {error}") from None


def commit_bytes(tree: str, parents: Sequence[str], *, author: str, email: str, message: str, date: float) -> bytes:
    """A commit as git writes it; author and committer are one, and the time is in UTC."""
    person = f"{_plain(author) or 'unknown'} <{_plain(email)}> {int(date)} +0000"
    lines = [f"tree {tree}", *(f"parent {one}" for one in parents), f"author {person}", f"committer {person}"]
    text = message.replace("\0", "").replace("\r\n", "\n").strip("\n")
    return ("\n".join(lines) + "\n\n" + text + "\n").encode(errors="replace")


def _plain(text: str) -> str:
    """git's own rule for names and addresses: no angle brackets, no line ends."""
    return "".join(char for char in text if char not in "<>\n\r\0").strip()


def read_commit(oid: str, data: bytes) -> Commit:
    """Raises: ValueError: it is no commit."""
    head, _, body = data.partition(b"\n\n")
    tree, parents, author, email, date = "", [], "", "", 0.0
    for line in head.decode(errors="replace").split("\n"):
        word, _, rest = line.partition(" ")
        if word == "tree" and not tree:
            tree = rest
        elif word == "parent":
            parents.append(rest)
        elif word == "author":
            author, email, _ = _person(rest)
        elif word == "committer":
            date = _person(rest)[2]
            break  # signatures and other headers follow; we keep their bytes and read none of them
    if not OID.fullmatch(tree) or not all(OID.fullmatch(one) for one in parents):
        raise ValueError("not a commit: it has no tree, or a parent that is no id")
    title, _, message = body.decode(errors="replace").strip("\n").partition("\n")
    return Commit(oid, tree, tuple(parents), author, email, date, title, message.strip("\n"))


def _person(text: str) -> tuple[str, str, float]:
    name, _, rest = text.partition("<")
    email, _, when = rest.partition(">")
    seconds = when.split()[0] if when.split() else ""
    return name.strip(), email, float(seconds) if seconds.isascii() and seconds.isdigit() and len(seconds) < 12 else 0.0


def tag_bytes(commit: str, tag: str, *, author: str, email: str, message: str, date: float) -> bytes:
    """An annotated tag as git writes it."""
    person = f"{_plain(author) or 'unknown'} <{_plain(email)}> {int(date)} +0000"
    text = message.replace("\0", "").strip("\n")
    return f"object {commit}\ntype commit\ntag {tag}\ntagger {person}\n\n{text}\n".encode(errors="replace")


def read_tag(data: bytes) -> tuple[str, int]:
    """What an annotated tag points at: id and type.

    Raises:
        ValueError: it is no tag.
    """
    lines = data.split(b"\n", 3)
    types = {word: kind for kind, word in WORDS.items()}
    if len(lines) < 3 or not lines[0].startswith(b"object ") or not lines[1].startswith(b"type "):
        raise ValueError("not a tag: it begins with neither object nor type")
    oid, kind = lines[0][7:].decode(errors="replace"), types.get(lines[1][5:])
    if not OID.fullmatch(oid) or kind is None:
        raise ValueError("not a tag: it points at nothing")
    return oid, kind


# --- rows -----------------------------------------------------------------------------------------------------------


def put(connection: Connection, repo_id: int, objects: Iterable[Packed], now: float) -> None:
    """Writes the rows that are not there yet, a few megabytes at a time."""
    rows: list[dict[str, Any]] = []
    weight = 0
    for oid, kind, size, data in objects:
        rows.append({"repo_id": repo_id, "oid": oid, "type": kind, "size": size, "packed": data, "created": now})
        weight += len(data)
        if weight > 4 << 20 or len(rows) >= BATCH:
            insert_new(connection, git_objects, rows)
            rows, weight = [], 0
    if rows:
        insert_new(connection, git_objects, rows)


def types(connection: Connection, repo_id: int, oids: Iterable[str]) -> dict[str, int]:
    """Of these ids those that the repository has, and what each is. Asks the database, never the cache."""
    found: dict[str, int] = {}
    for some in batches(oids):
        rows = connection.execute(
            select(git_objects.c.oid, git_objects.c.type).where(
                git_objects.c.repo_id == repo_id, git_objects.c.oid.in_(some)
            )
        )
        found.update((oid, kind) for oid, kind in rows)
    return found


def type_of(connection: Connection, repo_id: int, oid: str) -> int | None:
    """What one object is; None where the repository has none of that id."""
    found: int | None = connection.execute(TYPE, {"repo": repo_id, "object": oid}).scalar_one_or_none()
    return found


def batches(oids: Iterable[str]) -> Iterator[list[str]]:
    some: list[str] = []
    for oid in oids:
        some.append(oid)
        if len(some) == BATCH:
            yield some
            some = []
    if some:
        yield some


def read(connection: Connection, repo_id: int, oid: str, kind: int) -> bytes:
    """The content of an object that another one names.

    Raises:
        StoreFailed: it is not there, is of another type, or does not unpack: the store is damaged.
    """
    row = connection.execute(OBJECT, {"repo": repo_id, "object": oid, "kind": kind}).one_or_none()
    if row is None:
        raise StoreFailed(f"The hub's store lacks the {WORDS[kind].decode()} {oid}. `commons hub fsck` tells more.")
    return unpack(oid, row.size, row.packed)


def unpack(oid: str, size: int, packed: bytes) -> bytes:
    """Raises: StoreFailed: the row does not hold what it says."""
    try:
        data = zlib.decompress(packed)
    except zlib.error:
        data = b""
    if len(data) != size:
        raise StoreFailed(f"The hub's store has damaged the object {oid}. `commons hub fsck` tells more.")
    return data


def content(connection: Connection, repo_id: int, oid: str) -> bytes:
    """The bytes of a small file.

    Raises:
        EntryNotFound: the repository has no file of that id.
    """
    row = connection.execute(OBJECT, {"repo": repo_id, "object": oid, "kind": BLOB}).one_or_none()
    if row is None:
        raise EntryNotFound(f"The repository has no file of the id {oid}.")
    return unpack(oid, row.size, row.packed)


def tree(connection: Connection, repo_id: int, oid: str) -> dict[str, Entry]:
    """What a folder holds, in git's order. Shared between callers: do not change it."""
    kept = cache(connection)
    found: dict[str, Entry] | None = kept.get(("tree", repo_id, oid))
    if found is None:
        found = read_tree(read(connection, repo_id, oid, TREE))
        remember_tree(connection, repo_id, oid, found)
    return found


def remember_tree(connection: Connection, repo_id: int, oid: str, entries: dict[str, Entry]) -> None:
    """`entries` in git's order. That it is remembered says nothing of whether it is there: `types` asks that."""
    cache(connection).put(("tree", repo_id, oid), entries, 200 + 300 * len(entries))


def commit(connection: Connection, repo_id: int, oid: str) -> Commit:
    kept = cache(connection)
    found: Commit | None = kept.get(("commit", repo_id, oid))
    if found is None:
        data = read(connection, repo_id, oid, COMMIT)
        found = read_commit(oid, data)
        kept.put(("commit", repo_id, oid), found, 600 + 2 * len(data))
    return found


# made once: to put it together takes longer than to ask it
METAS = select(
    git_objects.c.oid, git_objects.c.size,
    case((git_objects.c.size <= POINTER_BYTES, git_objects.c.packed), else_=None).label("packed"),
).where(
    git_objects.c.repo_id == bindparam("repo_id"), git_objects.c.type == BLOB,
    git_objects.c.oid.in_(bindparam("oids", expanding=True)),
)  # fmt: skip


def metas(connection: Connection, repo_id: int, oids: Iterable[str]) -> dict[str, Meta]:
    """Size and pointer of many files at once; one that is not there is left out."""
    kept = cache(connection)
    found: dict[str, Meta] = {}
    unknown: dict[str, None] = {}
    for oid in oids:
        if (known := kept.get(("meta", repo_id, oid))) is not None:
            found[oid] = known
        else:
            unknown[oid] = None
    for some in batches(unknown):
        for oid, size, packed in connection.execute(METAS, {"repo_id": repo_id, "oids": list(some)}):
            lfs = pointer(unpack(oid, size, packed)) if packed is not None else None
            found[oid] = Meta(lfs.size if lfs else size, lfs)
            kept.put(("meta", repo_id, oid), found[oid], 400)
    return found
