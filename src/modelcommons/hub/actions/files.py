"""files: what a commit holds, where the bytes of one file are, and how a file is to be sent."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from sqlalchemy import Connection, select, update

from modelcommons.errors import BadRequest, EntryNotFound, FormatError
from modelcommons.formats import safetensors
from modelcommons.hub import history, names, patterns, tables
from modelcommons.hub.actions import card, contents, uploads
from modelcommons.hub.actions.repos import Opened, open_repo
from modelcommons.hub.blobs import Content
from modelcommons.hub.history.objects import cache
from modelcommons.hub.stores import Stores

MAX_PAGE = 1000  # entries of a folder in one answer
MAX_EXPANDED = 100  # where each has the commit that changed it last
MAX_PATHS = 1000  # in one paths-info
MAX_PREUPLOAD = 256  # files in one question how to send them
MAX_LOOKED_AT = 200  # files of a repository whose first bytes are read to label it
HEAD = 4096  # bytes that are looked at
BATCH = 500


class Absent(EntryNotFound):
    """No file of that path; knows the commit, which clients keep so that they need not ask again."""

    def __init__(self, path: str, commit: str, message: str = "") -> None:
        super().__init__(message or f"{path} does not exist on this revision.")
        self.commit = commit


@dataclass(frozen=True, slots=True)
class Found:
    """A file of a commit."""

    commit: str
    node: history.Node
    content: Content | bytes
    xet_hash: str | None

    @property
    def etag(self) -> str:
        """What names the content: its SHA-256 where it is large, git's id where it is small."""
        return self.node.lfs.sha256 if self.node.lfs else self.node.oid


@dataclass(frozen=True, slots=True)
class Shown:
    """An entry of a folder, with what was asked beside it."""

    node: history.Node
    xet_hash: str | None = None
    last_commit: history.Commit | None = None
    runs_code: bool | None = None  # whether a loader might run code from it; None: nobody looked


@dataclass(frozen=True, slots=True)
class TreePage:
    commit: str
    shown: list[Shown]
    rest: int | None  # entries of this commit that come before the next page; None: this is the last


@dataclass(frozen=True, slots=True)
class Sample:
    """A file that somebody is going to send."""

    path: str
    size: int  # bytes
    start: bytes  # at most 512


@dataclass(frozen=True, slots=True)
class Advice:
    path: str
    mode: Literal["lfs", "regular"]
    ignore: bool
    oid: str | None  # what is at the path now; the client sends nothing where it has the same


def resolve(stores: Stores, opened: Opened, revision: str, path: str) -> Found:
    """The file at a path.

    Raises:
        RevisionNotFound: no such revision.
        Absent: no file there, or its bytes were never given to this repository.
    """
    assert opened.allows("content")
    repo_id = opened.repo.id
    with stores.database.reading() as connection:
        commit = history.resolve(connection, repo_id, revision)
        node = history.entry(connection, repo_id, commit, path)
        if node is None or node.kind != "file":
            raise Absent(path, commit)
        try:
            content = contents.content(connection, repo_id, node)
        except EntryNotFound as error:
            raise Absent(path, commit, str(error)) from None
        hashes = _xet_hashes(connection, repo_id, [node])
        return Found(commit, node, content, _hash(hashes, node))


def tree(
    stores: Stores, opened: Opened, revision: str, folder: str, *, recursive: bool, expand: bool, limit: int, skip: int
) -> TreePage:
    """A page of what a folder holds.

    Raises:
        RevisionNotFound: no such revision.
        Absent: no such folder.
    """
    assert opened.allows("see")
    repo_id = opened.repo.id
    size = max(1, min(limit, MAX_EXPANDED if expand else MAX_PAGE))
    with stores.database.reading() as connection:
        commit = history.resolve(connection, repo_id, revision)
        try:
            nodes = history.listing(connection, repo_id, commit, folder, recursive)
        except EntryNotFound as error:
            raise Absent(folder, commit, str(error)) from None
        page = list(itertools.islice(nodes, skip, skip + size + 1))
        shown = _shown(stores, connection, repo_id, commit, page[:size], expand=expand)
    return TreePage(commit, shown, skip + size if len(page) > size else None)


def paths_info(stores: Stores, opened: Opened, revision: str, paths: Iterable[str], *, expand: bool) -> list[Shown]:
    """Those of the paths that are there, in the order asked.

    Raises:
        RevisionNotFound: no such revision.
        BadRequest: too many paths.
    """
    assert opened.allows("see")
    repo_id = opened.repo.id
    asked = list(dict.fromkeys(names.folder(path) for path in paths))
    if len(asked) > MAX_PATHS:
        raise BadRequest(f"Expected at most {MAX_PATHS:,} paths, got {len(asked):,}.")
    with stores.database.reading() as connection:
        commit = history.resolve(connection, repo_id, revision)
        found = (history.entry(connection, repo_id, commit, path) for path in asked if path)
        nodes = [node for node in found if node is not None]
        return _shown(stores, connection, repo_id, commit, nodes, expand=expand)


def _shown(
    stores: Stores, connection: Connection, repo_id: int, commit: str, nodes: Sequence[history.Node], *, expand: bool
) -> list[Shown]:
    hashes = _xet_hashes(connection, repo_id, nodes)
    if not expand:
        return [Shown(node, _hash(hashes, node)) for node in nodes]
    last = history.last_commits(connection, repo_id, commit, [node.path for node in nodes])
    return [
        Shown(node, _hash(hashes, node), last.get(node.path), runs_code(stores, connection, repo_id, node))
        for node in nodes
    ]


def runs_code(stores: Stores, connection: Connection, repo_id: int, node: history.Node) -> bool | None:
    """Whether a loader might run code from a file, by its name and its first bytes; None where they are not here.

    What a content says never changes, so it is asked once.
    """
    if node.kind != "file":
        return None
    kept, name = cache(connection), node.path.rpartition("/")[2]
    key = (f"runs code {name.rpartition('.')[2].lower()}", repo_id, node.oid)
    found: bool | None = kept.get(key)
    if found is None:
        try:
            held = contents.content(connection, repo_id, node)
            start = b"".join(contents.pieces(stores.blobs, held, 0, min(node.size, HEAD)))
        except EntryNotFound:
            return True if safetensors.may_run_code(name, b"") else None
        found = safetensors.may_run_code(name, start)
        kept.put(key, found, 300)
    return found


def dangers(stores: Stores, opened: Opened, nodes: Sequence[history.Node]) -> tuple[list[str], bool]:
    """Paths of files from which a loader might run code, and whether the bytes of all files were looked at."""
    with stores.database.reading() as connection:
        near = [node.path for node in nodes[:MAX_LOOKED_AT] if runs_code(stores, connection, opened.repo.id, node)]
    far = [node.path for node in nodes[MAX_LOOKED_AT:] if safetensors.may_run_code(node.path, b"")]
    return near + far, len(nodes) <= MAX_LOOKED_AT


def _hash(hashes: Mapping[str, str], node: history.Node) -> str | None:
    return hashes.get(node.lfs.sha256) if node.lfs else None


def _xet_hashes(connection: Connection, repo_id: int, nodes: Iterable[history.Node]) -> dict[str, str]:
    """Of the large files that this repository was given and that came by Xet: SHA-256 -> Xet hash."""
    return uploads.xet_hashes(connection, repo_id, [node.lfs.sha256 for node in nodes if node.lfs is not None])


# --- weights --------------------------------------------------------------------------------------------------------


def safetensors_metadata(stores: Stores, opened: Opened, path: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What an index on main says, without its map, and the header of every shard that it names, as JSON.

    Raises:
        Absent: the index, or a shard, is not there.
        BadRequest: it is no index, or one of the shards is no safetensors file.
    """
    assert opened.allows("content")
    repo_id = opened.repo.id
    with stores.database.reading() as connection:
        commit = history.resolve(connection, repo_id, history.MAIN)
        index = _index(connection, repo_id, commit, path)
        folder = path.rpartition("/")[0]
        shards = sorted({name for name in index["weight_map"].values() if isinstance(name, str)})[: card.MAX_SHARDS]
        nodes = []
        for name in shards:
            full = names.path(f"{folder}/{name}" if folder else name)
            node = history.entry(connection, repo_id, commit, full)
            if node is None or node.kind != "file":
                raise Absent(full, commit)
            nodes.append(node)
        try:
            raw = card.headers(stores, connection, repo_id, nodes)
            return {key: index[key] for key in index if key != "weight_map"}, dict(zip(shards, raw, strict=True))
        except FormatError as error:
            raise BadRequest(str(error)) from None


def _index(connection: Connection, repo_id: int, commit: str, path: str) -> dict[str, Any]:
    node = history.entry(connection, repo_id, commit, path)
    if node is None or node.kind != "file":
        raise Absent(path, commit)
    try:
        found = None if node.lfs else orjson.loads(history.content(connection, repo_id, node.oid))
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("weight_map"), dict):
        raise BadRequest(f"{path} is no index of safetensors files.")
    return found


# --- before an upload -----------------------------------------------------------------------------------------------


def preupload(
    stores: Stores, opened: Opened, revision: str, samples: Sequence[Sample], *, git_ignore: str = "", proposes: bool
) -> list[Advice]:
    """How each file is to be sent: as a large file, or inside the commit.

    Args:
        proposes: what is sent becomes a proposal, for which nobody needs the role write.

    Raises:
        RevisionNotFound: no such revision.
        Forbidden: the person may not write here.
        BadRequest: too many files.
    """
    if len(samples) > MAX_PREUPLOAD:
        raise BadRequest(f"Expected at most {MAX_PREUPLOAD} files, got {len(samples)}.")
    if not proposes and not opened.allows("write"):
        open_repo(stores, opened.who, opened.repo.rid, "write")
    for sample in samples:
        names.path(sample.path)
    repo_id = opened.repo.id
    with stores.database.reading() as connection:
        commit = history.resolve(connection, repo_id, revision)
        rules = _large(connection, repo_id, commit)
        ignored = patterns.ignored(git_ignore)
        there = [history.entry(connection, repo_id, commit, sample.path) for sample in samples]
        claimed = uploads.claimed(connection, repo_id, [node.lfs.sha256 for node in there if node and node.lfs])
    return [
        Advice(
            sample.path,
            "lfs" if _is_large(sample, rules, stores.settings.regular_bytes) else "regular",
            ignored.has(sample.path),
            _there(node, claimed),
        )
        for sample, node in zip(samples, there, strict=True)
    ]


def _large(connection: Connection, repo_id: int, commit: str) -> patterns.Large:
    node = history.entry(connection, repo_id, commit, ".gitattributes")
    if node is None or node.kind != "file" or node.lfs is not None or node.size > patterns.MAX_BYTES:
        return patterns.large("")
    return patterns.large(history.content(connection, repo_id, node.oid).decode(errors="replace"))


def _is_large(sample: Sample, rules: patterns.Large, regular_bytes: int) -> bool:
    if sample.size == 0 or sample.path == ".gitattributes":
        return False  # git-lfs keeps no empty file, and git must be able to read its own rules
    return rules.has(sample.path) or sample.size > regular_bytes or _is_binary(sample)


def _is_binary(sample: Sample) -> bool:
    """As git: a zero byte; and bytes that are no UTF-8, but for a character that the sample cut off."""
    if b"\0" in sample.start:
        return True
    try:
        sample.start.decode()
    except UnicodeDecodeError as error:
        cut_off = sample.size > len(sample.start) and error.start >= len(sample.start) - 3
        return not cut_off or "unexpected end" not in error.reason
    return False


def _there(node: history.Node | None, claimed: set[str]) -> str | None:
    if node is None or node.kind != "file":
        return None
    if node.lfs is None:
        return node.oid
    return node.lfs.sha256 if node.lfs.sha256 in claimed else None


# --- counting -------------------------------------------------------------------------------------------------------


def flush_downloads(stores: Stores) -> None:
    """Writes what was counted in memory; only fetches of the file that stands for a repository count."""
    taken = stores.downloads.take()
    if not taken:
        return
    with stores.database.writing() as connection:
        fetched = sorted({repo_id for repo_id, _ in taken})
        for start in range(0, len(fetched), BATCH):
            some = tables.repos.c.id.in_(fetched[start : start + BATCH])
            for row in connection.execute(select(tables.repos.c.id, tables.repos.c.details).where(some)).all():
                if number := taken.get((row.id, row.details.get("counted"))):
                    more = {"downloads": tables.repos.c.downloads + number}
                    connection.execute(update(tables.repos).where(tables.repos.c.id == row.id).values(more))
