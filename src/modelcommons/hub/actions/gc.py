"""gc: takes away what nobody has named for the grace; safe beside everything that people do meanwhile.

Two steps, and time between them. What nobody names is *condemned*: it is written down, and since when that is known.
What has been condemned for the whole grace, and is still named by nobody, is removed, in a transaction beside which
nobody else writes (`Database.alone`), after it was asked again there. So a writer who built on it has either committed,
and is seen, or begins after, and finds it gone, and fails before anything was acknowledged.

What only condemned things name is condemned with them, so that a branch, its commits, their large files and their bytes
have one grace together. It is removed only after what names it: nothing ever names what is not there.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, exists, literal, select

from modelcommons.errors import Conflict, UsageError
from modelcommons.hub import blobs, tables
from modelcommons.hub.actions import leases, reach
from modelcommons.hub.database import insert_new
from modelcommons.hub.stores import Stores

HOUR_S, DAY_S = 3_600, 86_400
XORB_S = 21 * DAY_S  # clients remember for three weeks which xorbs there are, and do not send those again
LEFT_S = DAY_S  # an upload that was not written to for so long has ended; tickets for parts live as long
LEASE_S = 300
TRIES = 3  # at a repository in which people write while we look
MANY = 500  # values in one statement
BLOBS = 50  # that are removed in one transaction, for which others wait

condemned, claims, files, xorbs = tables.condemned, tables.claims, tables.files, tables.xorbs
attachments = tables.attachments


@dataclass(slots=True)
class Collected:
    """What was done, or, where it was only asked, what would be done first; kind -> how many."""

    condemned: Counter[str] = field(default_factory=Counter)  # known to be unnamed since now
    removed: Counter[str] = field(default_factory=Counter)
    num_bytes: int = 0  # of blobs and unended uploads that were removed
    spared: list[str] = field(default_factory=list)  # repositories that were left alone, and why


@dataclass(frozen=True, slots=True)
class Run:
    """One run of gc."""

    stores: Stores
    holder: str
    now: float
    grace_s: float
    dry: bool
    done: Collected

    def changing(self) -> AbstractContextManager[Connection]:
        """Where something is removed; where it is only asked what would be, others may go on writing."""
        database = self.stores.database
        return database.reading() if self.dry else database.alone()

    def change(self, connection: Connection, statement: Any) -> None:
        if not self.dry:
            connection.execute(statement)

    def go_on(self) -> None:
        """Raises: Conflict: another process does this by now."""
        if not leases.take(self.stores, "gc", self.holder, LEASE_S):
            raise Conflict("Another gc or backup has taken over. Run gc again later.")


def collect(stores: Stores, *, dry_run: bool = False) -> Collected:
    """One run: condemns, and removes what was condemned a grace ago.

    Raises:
        UsageError: the grace is shorter than an hour.
        Conflict: another gc, or a backup, is running.
    """
    grace_s = stores.settings.grace_days * DAY_S
    if not grace_s >= HOUR_S:
        raise UsageError(
            f"Expected a grace of an hour at least (grace_days={1 / 24:.3f}), got {stores.settings.grace_days} days: "
            "what is being uploaded must not be taken."
        )
    run = Run(stores, secrets.token_hex(16), stores.now(), grace_s, dry_run, Collected())
    if not leases.take(stores, "gc", run.holder, LEASE_S):
        raise Conflict("Another gc or a backup is running. Run gc again later.")
    try:
        for repo_id in _repositories(stores):
            run.go_on()
            _repository(run, repo_id)
        _forget_gone(run)
        for step in _steps(run):
            run.go_on()
            _rows(run, step)
        _blobs(run)
        _unended(run)
    finally:
        leases.give_back(stores, "gc", run.holder)
    return run.done


def _repositories(stores: Stores) -> list[int]:
    with stores.database.reading() as connection:
        return list(connection.scalars(select(tables.repos.c.id).order_by(tables.repos.c.id)))


# --- in one repository ----------------------------------------------------------------------------------------------


def _repository(run: Run, repo_id: int) -> None:
    """Git objects that no ref leads to, then claims that no pointer needs."""
    for _ in range(TRIES):
        with run.stores.database.reading() as connection:
            graph = reach.read(connection, repo_id, everything=False)
            known = _condemned(connection, "git", repo_id) | _condemned(connection, "claim", repo_id)
            unclaimed = _claims(connection, repo_id).keys() - _needed(graph, graph.types)
        reached = graph.reached(graph.refs.values())
        if graph.damaged or not reached <= graph.types.keys():
            run.done.spared.append(f"repository {repo_id}: damaged; run commons hub fsck")
            return
        if not known and not unclaimed and reached == graph.types.keys():
            return  # nothing to do, and nothing to remember
        with run.changing() as connection:
            if reach.signature(connection, repo_id) == graph.signature:
                _take(run, connection, repo_id, graph, reached)
                return
    run.done.spared.append(f"repository {repo_id}: people write to it all the time")


def _take(run: Run, connection: Connection, repo_id: int, graph: reach.Graph, reached: set[str]) -> None:
    """In a transaction of its own, with the repository as the graph has it."""
    # what was written lately keeps alive what it names: somebody may be about to name it
    young = [oid for oid, created in graph.created.items() if created > run.now - run.grace_s]
    kept = graph.reached([*graph.refs.values(), *young])
    gone = _due(run, connection, "git", repo_id, graph.types.keys() - reached, run.grace_s) - kept
    for some in _lists(gone):
        table = tables.git_objects
        run.change(connection, delete(table).where(table.c.repo_id == repo_id, table.c.oid.in_(some)))
    _settle(run, connection, "git", repo_id, gone)
    held = _claims(connection, repo_id)
    due = _due(run, connection, "claim", repo_id, held.keys() - _needed(graph, reached), run.grace_s)
    due -= _needed(graph, graph.types.keys() - gone)
    dropped = {sha256 for sha256 in due if held[sha256] <= run.now - run.grace_s}
    for some in _lists(dropped):
        run.change(connection, delete(claims).where(claims.c.repo_id == repo_id, claims.c.sha256.in_(some)))
    _settle(run, connection, "claim", repo_id, dropped)


def _claims(connection: Connection, repo_id: int) -> dict[str, float]:
    """SHA-256 -> when it was last claimed."""
    rows = connection.execute(select(claims.c.sha256, claims.c.created).where(claims.c.repo_id == repo_id))
    return {row.sha256: row.created for row in rows}


def _needed(graph: reach.Graph, oids: Collection[str]) -> set[str]:
    """The large files for which there is a pointer among these objects."""
    return {pointer.sha256 for oid, pointer in graph.pointers.items() if oid in oids}


def _forget_gone(run: Run) -> None:
    """A repository that was deleted took its objects along, and its number may be used again; old answers and marks."""
    here = exists().where(tables.repos.c.id == condemned.c.repo_id)
    with run.changing() as connection:
        run.change(connection, delete(condemned).where(condemned.c.repo_id != 0, ~here))
        old = run.now - run.grace_s
        run.change(connection, delete(tables.answered).where(tables.answered.c.created <= old))
        run.change(connection, delete(tables.marks).where(tables.marks.c.written <= old))


# --- rows that belong to no repository ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """One kind of row. All conditions are on its table."""

    kind: str
    table: Table
    key: Any
    unnamed: ColumnElement[bool]  # named by nothing that is not condemned itself
    free: ColumnElement[bool]  # named by nothing at all, and not written lately
    grace_s: float


def _steps(run: Run) -> Iterator[Step]:
    """In this order: what names before what is named."""
    grace_s, before = run.grace_s, run.now - run.grace_s
    shown = exists().where(tables.attached.c.attachment_id == attachments.c.id)
    old = attachments.c.created <= before
    yield Step("attachment", attachments, attachments.c.id, ~shown, and_(~shown, old), grace_s)
    claim, attachment = claims.c.sha256 == files.c.sha256, attachments.c.sha256 == files.c.sha256
    unnamed = and_(
        ~exists().where(claim, ~_is_condemned("claim", claims.c.repo_id, claims.c.sha256)),
        ~exists().where(attachment, ~_is_condemned("attachment", literal(0), attachments.c.id)),
    )
    free = and_(~exists().where(claim), ~exists().where(attachment), files.c.created <= before)
    yield Step("file", files, files.c.sha256, unnamed, free, grace_s)
    need, xorb_s = tables.file_xorbs.c.hash == xorbs.c.hash, max(grace_s, XORB_S)
    unnamed = ~exists().where(need, ~_is_condemned("file", literal(0), tables.file_xorbs.c.sha256))
    free = and_(~exists().where(need), xorbs.c.named <= run.now - xorb_s)
    yield Step("xorb", xorbs, xorbs.c.hash, unnamed, free, xorb_s)


def _is_condemned(kind: str, repo_id: ColumnElement[Any], name: ColumnElement[Any]) -> ColumnElement[bool]:
    return exists().where(condemned.c.kind == kind, condemned.c.repo_id == repo_id, condemned.c.name == name)


def _rows(run: Run, step: Step) -> None:
    with run.changing() as connection:
        found = set(connection.scalars(select(step.key).where(step.unnamed)))
        gone: set[str] = set()
        for some in _lists(_due(run, connection, step.kind, 0, found, step.grace_s)):
            gone |= set(connection.scalars(select(step.key).where(step.key.in_(some), step.free)))
        for some in _lists(gone):
            run.change(connection, delete(step.table).where(step.key.in_(some)))
        _settle(run, connection, step.kind, 0, gone)


# --- what is written down about them --------------------------------------------------------------------------------


def _condemned(connection: Connection, kind: str, repo_id: int) -> dict[str, float]:
    """Name -> since when it is known that nobody names it."""
    rows = connection.execute(
        select(condemned.c.name, condemned.c.since).where(condemned.c.kind == kind, condemned.c.repo_id == repo_id)
    )
    return {row.name: row.since for row in rows}


def _due(run: Run, connection: Connection, kind: str, repo_id: int, unnamed: set[str], grace_s: float) -> set[str]:
    """Writes down what nobody names now, forgets what somebody names again, and gives what had its grace."""
    known = _condemned(connection, kind, repo_id)
    for some in _lists(known.keys() - unnamed):
        run.change(connection, _rows_of(kind, repo_id, some))
    new = sorted(unnamed - known.keys())
    run.done.condemned[kind] += len(new)
    if new and not run.dry:
        rows = [{"kind": kind, "repo_id": repo_id, "name": name, "since": run.now} for name in new]
        for start in range(0, len(rows), MANY):
            insert_new(connection, condemned, rows[start : start + MANY])
    return {name for name in unnamed & known.keys() if known[name] <= run.now - grace_s}


def _settle(run: Run, connection: Connection, kind: str, repo_id: int, gone: set[str]) -> None:
    run.done.removed[kind] += len(gone)
    for some in _lists(gone):
        run.change(connection, _rows_of(kind, repo_id, some))


def _rows_of(kind: str, repo_id: int, some: Sequence[str]) -> Any:
    here = (condemned.c.kind == kind, condemned.c.repo_id == repo_id, condemned.c.name.in_(some))
    return delete(condemned).where(*here)


def _lists(values: Iterable[str]) -> Iterator[list[str]]:
    some = sorted(values)
    for start in range(0, len(some), MANY):
        yield some[start : start + MANY]


# --- bytes ----------------------------------------------------------------------------------------------------------


def _blobs(run: Run) -> None:
    """Blobs without rows whose last write is a grace ago; an upload of the same bytes writes them again."""
    old: list[tuple[str, int]] = []
    for key, size, written in run.stores.blobs.keys():  # noqa: SIM118 - it is no dict
        grace_s = LEFT_S if key.startswith(blobs.PARTS) else run.grace_s
        if written <= run.now - grace_s:
            old.append((key, size))
        if len(old) == BLOBS:
            _remove_unnamed(run, old)
            old = []
    _remove_unnamed(run, old)


def _remove_unnamed(run: Run, keys: Sequence[tuple[str, int]]) -> None:
    # most blobs have rows, and it takes no lock to see that
    with run.stores.database.reading() as connection:
        suspects = _unnamed(connection, keys)
    if not suspects:
        return
    run.go_on()
    with run.changing() as connection:
        for key, size in _unnamed(connection, suspects):
            if not run.dry:
                run.stores.blobs.remove(key)
            run.done.removed["blob"] += 1
            run.done.num_bytes += size


def _unnamed(connection: Connection, keys: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Of these blobs those that no row names."""
    names = [key.split("/") for key, _ in keys]
    whole = [parts[2] for parts in names if parts[0] == "files"]
    packed = [parts[2] for parts in names if parts[0] == "xorbs"]
    pieces = {parts[1] for parts in names if parts[0] == blobs.PARTS}
    kept = {("files", one) for one in connection.scalars(
        select(files.c.sha256).where(files.c.sha256.in_(whole), files.c.terms.is_(None))
    )}  # fmt: skip
    kept |= {("xorbs", one) for one in connection.scalars(select(xorbs.c.hash).where(xorbs.c.hash.in_(packed)))}
    parts = tables.multiparts
    kept |= {(blobs.PARTS, one) for one in connection.scalars(select(parts.c.id).where(parts.c.id.in_(pieces)))}
    return [
        (key, size)
        for (key, size), (room, folder, *rest) in zip(keys, names, strict=True)
        if (room, folder if room == blobs.PARTS else rest[0]) not in kept
    ]


def _unended(run: Run) -> None:
    """Uploads that stopped half way: nobody can go on with them after a day."""
    parts = tables.multiparts
    old = parts.c.created <= run.now - 2 * LEFT_S
    with run.changing() as connection:
        ids = list(connection.scalars(select(parts.c.id).where(old)))
        run.change(connection, delete(parts).where(old))
        run.done.removed["multipart"] += len(ids)
    for name, size in run.stores.blobs.abandoned(run.now - LEFT_S):
        if not run.dry:
            run.stores.blobs.forget(name)
        run.done.removed["upload"] += 1
        run.done.num_bytes += size
