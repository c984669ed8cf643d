"""database: SQLite or PostgreSQL behind two verbs, `reading` and `writing`; what `writing` has left is durable."""

from __future__ import annotations

import sqlite3
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite

from modelcommons.errors import UsageError

BUSY_MS = 10_000  # how long a writer waits for the one before it
WRITERS = 0x636F6D6D6F6E73  # PostgreSQL: number of the lock that writers share


def wal_is_safe(version: str) -> bool:
    """Whether this SQLite is free of the WAL-reset bug, which loses commits where two connections write.

    Source: sqlite.org/wal.html, "The WAL-Reset Bug": 3.7.0 to 3.51.2, mended in 3.51.3, 3.50.7 and 3.44.6.
    """
    numbers = tuple(int(part) for part in version.split("."))
    return numbers >= (3, 51, 3) or (3, 50, 7) <= numbers < (3, 51) or (3, 44, 6) <= numbers < (3, 45)


def sqlite_library() -> types.ModuleType:
    """Python's own SQLite where it is safe, else pysqlite3, which brings a newer one, where that is installed."""
    if not wal_is_safe(sqlite3.sqlite_version):
        try:
            import pysqlite3
        except ModuleNotFoundError:
            return sqlite3
        return pysqlite3  # type: ignore[no-any-return]
    return sqlite3


class Database:
    """One engine; connections are per thread and short."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A view that does not change while it is used."""
        with self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction: all of it is durable when the block ends, or, where it raises, none of it happened.

        On SQLite the lock is taken at the start, so that a writer waits instead of failing half way.
        """
        with self._transaction("pg_advisory_xact_lock_shared") as connection:
            yield connection

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """As `writing`, and no other `writing` runs beside it, in no process: for taking away what nobody names.

        Whoever writes has read what it builds on inside its own transaction, so it has either ended, and is seen
        here, or begins later, and sees what was taken away.
        """
        with self._transaction("pg_advisory_xact_lock") as connection:
            yield connection

    @contextmanager
    def _transaction(self, lock: str) -> Iterator[Connection]:
        with self.engine.connect().execution_options(writes=True) as connection, connection.begin():
            if not self.is_sqlite:  # there a writer is alone by itself
                connection.exec_driver_sql(f"SELECT {lock}({WRITERS})")
            yield connection

    def close(self) -> None:
        self.engine.dispose()


def connect(url: str, folder: Path) -> Database:
    """The database of a hub: `url` (postgresql://...), or SQLite in `folder` where it is empty."""
    if not url:
        return _sqlite(folder / "hub.sqlite3")
    try:
        parsed = make_url(url)
    except Exception as error:
        raise UsageError(f"Expected a database URL such as postgresql://user@host/name: {error}.") from None
    if parsed.get_backend_name() != "postgresql":
        raise UsageError(f"Expected a PostgreSQL URL, got one for {parsed.get_backend_name()}; empty means SQLite.")
    # every transaction reads one state; synchronous_commit is the server's default, on: acknowledged means flushed
    return Database(
        create_engine(parsed.set(drivername="postgresql+psycopg"), pool_size=10, max_overflow=30, pool_pre_ping=True)
    )


def _sqlite(path: Path) -> Database:
    library = sqlite_library()
    # WAL lets readers go on beside a writer; where SQLite would lose commits in it, the rollback journal does not
    journal = "WAL" if wal_is_safe(library.sqlite_version) else "TRUNCATE"
    engine = create_engine(URL.create("sqlite", database=str(path)), module=library, pool_size=10, max_overflow=30)

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # we say ourselves when a transaction begins
        for pragma in (
            f"busy_timeout={BUSY_MS}", f"journal_mode={journal}", "synchronous=FULL", "foreign_keys=ON",
            "trusted_schema=OFF", "journal_size_limit=67108864",
        ):  # fmt: skip
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return Database(engine)


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Inserts the rows whose key is not there yet; says how many, where there is one row."""
    if connection.dialect.name == "sqlite":
        return connection.execute(sqlite.insert(table).on_conflict_do_nothing(), rows).rowcount
    return connection.execute(postgresql.insert(table).on_conflict_do_nothing(), rows).rowcount
