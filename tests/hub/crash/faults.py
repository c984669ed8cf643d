"""faults: ways in which a hub could lose what it acknowledged, planted from outside; the harness must find them all.

Each replaces a function of the hub in the process that is hurt; the hub's own code knows nothing of it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, event, select, update

from modelcommons.errors import store_failed
from modelcommons.hub import blobs, database, history, tables
from modelcommons.hub.actions import uploads
from modelcommons.hub.blobs import _LocalIncoming
from modelcommons.hub.database import Database


@dataclass(frozen=True)
class Fault:
    """Args: mode: how it is found: kill, power or error; operation: in which."""

    plant: Callable[[], None]
    mode: str
    operation: str


def _keep(first: Callable[[int], None], folder: Callable[[Any], None], last: Callable[[int], None]) -> Any:
    """`keep` with these steps before the rename, after it, and at the end; errors are taken as ever."""

    def keep(self: Any) -> None:
        try:
            first(self._fd)
            target = self._store.place(self._key)
            os.replace(self._path, target)
            folder(target.parent)
            last(self._fd)
            os.close(self._fd)
            self._fd = -1
        except OSError as error:
            self.discard()
            raise store_failed(error) from error

    return keep


def _nothing(given: Any) -> None:
    """A step that is left out."""


def _file_not_synced() -> None:
    _LocalIncoming.keep = _keep(_nothing, blobs._sync_folder, _nothing)  # type: ignore[method-assign]


def _renamed_before_synced() -> None:
    _LocalIncoming.keep = _keep(_nothing, blobs._sync_folder, os.fsync)  # type: ignore[method-assign]


def _folder_not_synced() -> None:
    blobs._sync_folder = _nothing


def _fsync_error_ignored() -> None:
    def careless(fd: int) -> None:
        with suppress(OSError):
            os.fsync(fd)

    _LocalIncoming.keep = _keep(careless, blobs._sync_folder, _nothing)  # type: ignore[method-assign]


def _synchronous(mode: str) -> Callable[[], None]:
    """SQLite without its fsync at each commit."""

    def plant() -> None:
        made = database._sqlite

        def sqlite(path: Any) -> Database:
            found = made(path)

            @event.listens_for(found.engine, "connect")
            def _set_up(connection: Any, record: Any) -> None:
                connection.execute(f"PRAGMA synchronous={mode}")

            return found

        database._sqlite = sqlite

    return plant


def _acknowledged_before_commit() -> None:
    """A transaction is committed when the next one begins, or at the end; the answer does not wait for it."""
    begin, read, close = Database._transaction, Database.reading, Database.close
    waiting: list[contextlib.ExitStack] = []

    def finish() -> None:
        while waiting:
            waiting.pop().close()

    @contextlib.contextmanager
    def transaction(self: Database, lock: str) -> Iterator[Connection]:
        finish()
        with contextlib.ExitStack() as stack:
            yield stack.enter_context(begin(self, lock))
            waiting.append(stack.pop_all())

    @contextlib.contextmanager
    def reading(self: Database) -> Iterator[Connection]:
        finish()
        with read(self) as connection:
            yield connection

    def closing(self: Database) -> None:
        finish()
        close(self)

    Database._transaction, Database.reading = transaction, reading  # type: ignore[method-assign]
    Database.close = closing  # type: ignore[method-assign]


def _bytes_after_transaction() -> None:
    def keep_file(stores: Any, ticket: Any, incoming: Any) -> None:
        uploads._compare(ticket["sha256"], ticket["size"], incoming)
        uploads._still_there = lambda *given: None
        with stores.database.writing() as connection:
            uploads._enter(stores, connection, ticket)
        incoming.keep()

    uploads.keep_file = keep_file


def _claim_before_bytes() -> None:
    incoming_file = uploads.incoming_file

    def early(stores: Any, ticket: Any) -> Any:
        uploads._still_there = lambda *given: None
        with stores.database.writing() as connection:
            uploads._enter(stores, connection, ticket)
        return incoming_file(stores, ticket)

    uploads.incoming_file = early


def _half_a_file_under_its_name() -> None:
    """The bytes are written where they will lie, without a rename."""
    begin = _LocalIncoming.__init__

    def start(self: Any, store: Any, key: str, hashed: bool) -> None:
        begin(self, store, key, hashed)
        os.replace(self._path, store.place(key))
        self._path = store.place(key)

    def keep(self: Any) -> None:
        os.fsync(self._fd)
        blobs._sync_folder(self._path.parent)
        os.close(self._fd)
        self._fd = -1
        self._path = self._store.folder / "incoming" / "none"

    _LocalIncoming.__init__, _LocalIncoming.keep = start, keep  # type: ignore[method-assign]


def _moved_without_compare() -> None:
    """A head that was read before somebody else's commit, and a ref that moves whatever it was."""
    known: dict[tuple[int, str], str | None] = {}
    read = history.ref

    def ref(connection: Connection, repo_id: int, name: str) -> str | None:
        return known.setdefault((repo_id, name), read(connection, repo_id, name))

    def move_ref(connection: Connection, repo_id: int, name: str, old: str | None, new: str | None) -> bool:
        refs = tables.refs
        here = (refs.c.repo_id == repo_id, refs.c.name == name)
        if connection.scalar(select(refs.c.oid).where(*here)) is None or new is None:
            return moved(connection, repo_id, name, old, new)
        connection.execute(update(refs).where(*here).values(oid=new))
        return True

    moved = history.move_ref
    history.ref, history.move_ref = ref, move_ref  # type: ignore[assignment]


def _ref_before_objects() -> None:
    """The ref moves in a transaction of its own, before the one that brings the objects."""
    from modelcommons.hub.actions import commits

    write = commits._write

    def early(stores: Any, connection: Any, opened: Any, revision: str, *rest: Any) -> Any:
        made = write(stores, connection, opened, revision, *rest)
        here = tables.git_objects.c.oid == made.oid
        rows = connection.execute(select(tables.git_objects).where(here)).mappings().all()
        connection.execute(tables.git_objects.delete().where(here))
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        database.insert_new(connection, tables.git_objects, [dict(row) for row in rows])
        return made

    commits._write = early


FAULTS = {
    "a file's fsync removed": Fault(_file_not_synced, "power", "lfs"),
    "a folder's fsync removed": Fault(_folder_not_synced, "power", "lfs"),
    "renamed before fsync": Fault(_renamed_before_synced, "power", "lfs"),
    "SQLite synchronous=OFF": Fault(_synchronous("OFF"), "power", "commit"),
    "SQLite synchronous=NORMAL": Fault(_synchronous("NORMAL"), "power", "commit"),
    "acknowledged before the transaction commits": Fault(_acknowledged_before_commit, "kill", "lfs"),
    "bytes written after the transaction": Fault(_bytes_after_transaction, "kill", "lfs"),
    "claimed before the bytes came": Fault(_claim_before_bytes, "kill", "lfs"),
    "half a file under its final name": Fault(_half_a_file_under_its_name, "kill", "lfs"),
    "ref moved before its objects are there": Fault(_ref_before_objects, "kill", "commit"),
    "ref moved without compare-and-swap": Fault(_moved_without_compare, "kill", "commit"),
    "an error of fsync ignored": Fault(_fsync_error_ignored, "error", "lfs"),
}
