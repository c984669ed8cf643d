"""fsck: reads everything again and says what is damaged, missing, or named by nobody."""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, select
from sqlalchemy.exc import DBAPIError

from modelcommons.errors import CommonsError, StoreFailed
from modelcommons.hub import blobs, tables, xet
from modelcommons.hub.actions import reach, uploads
from modelcommons.hub.blobs import Extent
from modelcommons.hub.history.objects import COMMIT, TAG, WORDS
from modelcommons.hub.names import SHA256
from modelcommons.hub.stores import Stores

# damaged: it is not what its name says; missing: something names it and it is not there; unused: nothing names it,
# which costs space and loses nothing: gc takes it once its grace has passed
Problem = Literal["damaged", "missing", "unused"]
Tell = Callable[[str], None]

LEFT_S = 86_400  # an upload that was not written to for so long has ended
files, xorbs, claims = tables.files, tables.xorbs, tables.claims


@dataclass(frozen=True, slots=True)
class Finding:
    problem: Problem
    thing: str  # commit 1a2b.. in model/ada/news
    detail: str


@dataclass(slots=True)
class Report:
    findings: list[Finding] = field(default_factory=list)
    num_objects: int = 0  # git objects, files and xorbs that were looked at
    num_bytes: int = 0  # that were read and hashed
    seconds: float = 0.0

    @property
    def lost(self) -> list[Finding]:
        return [one for one in self.findings if one.problem != "unused"]

    @property
    def unused(self) -> list[Finding]:
        return [one for one in self.findings if one.problem == "unused"]

    def add(self, problem: Problem, thing: str, detail: str) -> None:
        self.findings.append(Finding(problem, thing, detail))


def check(stores: Stores, *, content: bool = True, tell: Tell = lambda line: None) -> Report:
    """Looks at everything; may run beside a hub that serves.

    Args:
        content: read and hash the bytes of large files too; without it, only their sizes are compared.
    """
    began, report = time.monotonic(), Report()
    # blobs are listed before rows are read: what is uploaded meanwhile has its row by then
    keys = {key for key, _, _ in stores.blobs.keys()}  # noqa: SIM118 - it is no dict
    tell("the database")
    with _readable(report, "the database"):
        _database(stores, report)
    for repo_id, name in _repositories(stores):
        tell(name)
        with _readable(report, name), stores.database.reading() as connection:
            _repository(connection, report, repo_id, name)
    tell(f"{len(keys):,} blobs")
    with _readable(report, "the tables of xorbs and files"):
        _xorbs(stores, report, content)
        _files(stores, report, content)
        _blobs(stores, report, keys)
    report.seconds = time.monotonic() - began
    return report


@contextmanager
def _readable(report: Report, thing: str) -> Iterator[None]:
    """A database that is damaged itself ends one part of the work, not all of it."""
    try:
        yield
    except (StoreFailed, DBAPIError) as error:
        report.add("damaged", thing, f"the database cannot read its rows: {error.__cause__ or error}"[:500])


# --- the database ---------------------------------------------------------------------------------------------------


def _database(stores: Stores, report: Report) -> None:
    """What the database itself knows of being damaged; PostgreSQL checks its pages whenever it reads them."""
    if not stores.database.is_sqlite:
        return
    with stores.database.reading() as connection:
        for (line,) in connection.exec_driver_sql("PRAGMA integrity_check(100)"):
            if line != "ok":
                report.add("damaged", "the database", str(line))
        for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
            report.add("missing", f"a row of {row[2]}", f"named by row {row[1]} of {row[0]}")


# --- repositories ---------------------------------------------------------------------------------------------------


def _repositories(stores: Stores) -> list[tuple[int, str]]:
    repos, people = tables.repos, tables.accounts
    with stores.database.reading() as connection:
        rows = connection.execute(
            select(repos.c.id, repos.c.kind, people.c.name.label("owner"), repos.c.name)
            .join(people, people.c.id == repos.c.owner_id)
            .order_by(repos.c.id)
        )
        return [(row.id, f"{row.kind}/{row.owner}/{row.name}") for row in rows]


def _repository(connection: Connection, report: Report, repo_id: int, name: str) -> None:
    if connection.scalar(select(tables.repos.c.id).where(tables.repos.c.id == repo_id)) is None:
        return  # deleted since it was listed
    graph = reach.read(connection, repo_id)
    report.num_objects += len(graph.types)
    report.num_bytes += graph.size
    for oid, detail in graph.damaged.items():
        report.add("damaged", f"{_word(graph.types[oid])} {oid} in {name}", detail)
    _refs(connection, report, graph, repo_id, name)
    reached = graph.reached(graph.refs.values())
    wanted = {(one, kind): oid for oid in reached for one, kind in graph.names.get(oid, ())}
    for (oid, kind), by in sorted(wanted.items()):
        if oid not in graph.types:
            report.add("missing", f"{_word(kind)} {oid} in {name}", f"named by {_word(graph.types[by])} {by}")
        elif graph.types[oid] != kind:
            report.add("damaged", f"{_word(kind)} {oid} in {name}", f"is a {_word(graph.types[oid])}")
    for oid in sorted(graph.types.keys() - reached - graph.damaged.keys()):
        report.add("unused", f"{_word(graph.types[oid])} {oid} in {name}", "no branch, tag or proposal leads to it")
    _pointers(connection, report, graph, reached, repo_id, name)


def _refs(connection: Connection, report: Report, graph: reach.Graph, repo_id: int, name: str) -> None:
    for ref, oid in sorted(graph.refs.items()):
        if oid not in graph.types:
            report.add("missing", f"commit {oid} in {name}", f"named by {ref}")
        elif graph.types[oid] not in (COMMIT, TAG):
            report.add("damaged", f"{ref} of {name}", f"leads to a {_word(graph.types[oid])}")
    if "refs/heads/main" not in graph.refs:
        report.add("missing", f"refs/heads/main of {name}", "every repository has it")
    table = tables.discussions
    rows = connection.execute(select(table.c.num, table.c.pull_request).where(table.c.repo_id == repo_id))
    for row in rows:
        if row.pull_request and f"refs/pr/{row.num}" not in graph.refs:
            report.add("missing", f"refs/pr/{row.num} of {name}", "a proposal has it")


def _pointers(
    connection: Connection, report: Report, graph: reach.Graph, reached: set[str], repo_id: int, name: str
) -> None:
    """Every pointer leads to a file of the right size that this repository may read."""
    rows = connection.execute(
        select(claims.c.sha256, files.c.size)
        .outerjoin(files, files.c.sha256 == claims.c.sha256)
        .where(claims.c.repo_id == repo_id)
    )
    held = {row.sha256: row.size for row in rows}
    for oid, pointer in sorted(graph.pointers.items()):
        if oid not in reached:
            continue
        thing = f"file {pointer.sha256} in {name}"
        if pointer.sha256 not in held:
            report.add("missing", thing, f"named by the pointer {oid}, and the repository has no claim on it")
        elif held[pointer.sha256] != pointer.size:
            report.add("damaged", thing, f"has {held[pointer.sha256]} bytes; the pointer {oid} says {pointer.size}")
    for sha256 in sorted(held.keys() - {pointer.sha256 for pointer in graph.pointers.values()}):
        report.add("unused", f"claim on {sha256} by {name}", "no commit names the file")


def _word(kind: int) -> str:
    return WORDS[kind].decode() if kind in WORDS else "object"


# --- bytes ----------------------------------------------------------------------------------------------------------


def _xorbs(stores: Stores, report: Report, content: bool) -> None:
    with stores.database.reading() as connection:
        used = set(connection.scalars(select(tables.file_xorbs.c.hash).distinct()))
    for hash in _names(stores, xorbs.c.hash):
        with stores.database.reading() as connection:
            row = connection.execute(select(xorbs).where(xorbs.c.hash == hash)).first()
        if row is None:  # gc took it meanwhile
            continue
        report.num_objects += 1
        problem = _xorb(stores, report, row, content)
        if problem and _there(stores, xorbs.c.hash, hash):
            report.add(*problem)
        if hash not in used:
            report.add("unused", f"xorb {hash}", "no file needs it")


def _xorb(stores: Stores, report: Report, row: Row[Any], content: bool) -> tuple[Problem, str, str] | None:
    thing = f"xorb {row.hash}"
    try:
        key, chunks = blobs.xorb_key(row.hash), xet.unpack_chunks(row.chunks)
        hash = xet.from_text(row.hash)
    except (AssertionError, CommonsError, ValueError, struct.error):
        return "damaged", thing, "its row cannot be read"
    tree = xet.Tree()
    for chunk in chunks:
        tree.add(chunk)
    if tree.root() != hash or sum(chunk.length for chunk in chunks) != row.size:
        return "damaged", thing, "its row lists other chunks than its name says"
    if (problem := _size(stores, key, row.size, thing)) or not content:
        return problem
    position = 0
    for number, chunk in enumerate(chunks):
        try:
            data = b"".join(stores.blobs.read(Extent(key, position, chunk.length)))
        except CommonsError as error:
            return "damaged", thing, str(error)
        report.num_bytes += len(data)
        if xet.chunk_hash(data) != chunk.hash:
            return "damaged", thing, f"chunk {number} at byte {position} has other bytes than its hash says"
        position += chunk.length
    return None


def _files(stores: Stores, report: Report, content: bool) -> None:
    with stores.database.reading() as connection:
        used = set(connection.scalars(select(claims.c.sha256).distinct()))
        used |= set(connection.scalars(select(tables.attachments.c.sha256).distinct()))
    for sha256 in _names(stores, files.c.sha256):
        with stores.database.reading() as connection:
            row = connection.execute(select(files).where(files.c.sha256 == sha256)).first()
            if row is None:
                continue
            problem = _terms(connection, row)
        report.num_objects += 1
        problem = problem or _file(stores, report, row, content)
        if problem and _there(stores, files.c.sha256, sha256):
            report.add(*problem)
        if sha256 not in used:
            report.add("unused", f"file {sha256}", "no repository has a claim on it")


def _terms(connection: Connection, row: Row[Any]) -> tuple[Problem, str, str] | None:
    """A file in pieces: each lies where its xorb's row says, and together they have the file's Xet hash."""
    thing = f"file {row.sha256}"
    if row.terms is None:
        return ("damaged", thing, "has a Xet hash and no terms") if row.xet_hash else None
    try:
        terms = xet.unpack_terms(row.terms)
    except (ValueError, struct.error):
        return "damaged", thing, "its row cannot be read"
    named = {xet.text(term.xorb) for term in terms}
    listed = set(connection.scalars(select(tables.file_xorbs.c.hash).where(tables.file_xorbs.c.sha256 == row.sha256)))
    if lacking := named - listed:
        return "missing", thing, f"does not say that it needs xorb {min(lacking)}, so gc could take that"
    tree, size = xet.Tree(), 0
    for term in terms:
        packed = connection.scalar(select(xorbs.c.chunks).where(xorbs.c.hash == xet.text(term.xorb)))
        if packed is None:
            return "missing", f"xorb {xet.text(term.xorb)}", f"named by file {row.sha256}"
        try:
            chunks = xet.unpack_chunks(packed)
        except (ValueError, struct.error):
            return "damaged", f"xorb {xet.text(term.xorb)}", "its row cannot be read"
        before = sum(chunk.length for chunk in chunks[: term.start])
        length = sum(chunk.length for chunk in chunks[term.start : term.stop])
        if not term.start < term.stop <= len(chunks) or (before, length) != (term.offset, term.length):
            return "damaged", thing, f"names chunks that xorb {xet.text(term.xorb)} does not have"
        for chunk in chunks[term.start : term.stop]:
            tree.add(chunk)
        size += length
    if size != row.size or xet.text(xet.file_hash(tree)) != row.xet_hash:
        return "damaged", thing, "its terms give another size or Xet hash than its row says"
    return None


def _file(stores: Stores, report: Report, row: Row[Any], content: bool) -> tuple[Problem, str, str] | None:
    thing = f"file {row.sha256}"
    if not SHA256.fullmatch(row.sha256):
        return "damaged", thing, "its name is no SHA-256"
    if row.terms is None:
        extents: Iterable[Extent] = (Extent(blobs.file_key(row.sha256), 0, row.size),)
        if problem := _size(stores, blobs.file_key(row.sha256), row.size, thing):
            return problem
    else:
        with stores.database.reading() as connection:
            extents = uploads.content_of(connection, row.sha256).extents
    if not content:
        return None
    digest = hashlib.sha256()
    try:
        for extent in extents:
            for piece in stores.blobs.read(extent):
                digest.update(piece)
                report.num_bytes += len(piece)
    except CommonsError as error:
        return "damaged", thing, str(error)
    return (
        None if digest.hexdigest() == row.sha256 else ("damaged", thing, f"its bytes are those of {digest.hexdigest()}")
    )


def _size(stores: Stores, key: str, size: int, thing: str) -> tuple[Problem, str, str] | None:
    there = stores.blobs.size(key)
    if there is None:
        return "missing", thing, "its row is there, and its blob is not"
    return None if there == size else ("damaged", thing, f"its blob has {there} bytes; its row says {size}")


def _names(stores: Stores, column: Any) -> Iterator[str]:
    """A column in order, in pages, so that no transaction stays open while bytes are read."""
    last = ""
    while True:
        with stores.database.reading() as connection:
            some = connection.scalars(select(column).where(column > last).order_by(column).limit(1_000)).all()
        if not some:
            return
        yield from some
        last = some[-1]


def _there(stores: Stores, column: Any, name: str) -> bool:
    """Whether a row is still there; gc may take it while we read."""
    with stores.database.reading() as connection:
        return bool(connection.scalar(select(func.count()).where(column == name)))


def _blobs(stores: Stores, report: Report, keys: set[str]) -> None:
    """Blobs without rows, and uploads that never ended."""
    with stores.database.reading() as connection:
        named = {
            f"files/{one[:2]}/{one}"
            for one in connection.scalars(select(files.c.sha256).where(files.c.terms.is_(None)))
        }
        named |= {f"xorbs/{one[:2]}/{one}" for one in connection.scalars(select(xorbs.c.hash))}
        uploading = set(connection.scalars(select(tables.multiparts.c.id)))
    for key in sorted(keys - named):
        if key.split("/")[1] in uploading and key.startswith(blobs.PARTS):
            continue
        if stores.blobs.size(key) is not None:
            report.add("unused", f"blob {key}", "no row names it")
    for name, _ in stores.blobs.abandoned(stores.now() - LEFT_S):
        report.add("unused", f"upload {name}", "it never ended")
