"""database: SQLite or PostgreSQL behind two verbs, `reading` and `writing`; what `writing` has left is durable."""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import URL, Connection, Engine, ExceptionContext, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection

from modelcommons.errors import HubError, StoreFailed, StoreFull, UsageError

BUSY_MS = 30_000  # how long a writer waits for the one before it
THREADS = 40  # that answer in one process
UNWELL = frozenset({
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOTADB,
})  # fmt: skip
ASK_S = 10  # how long a server that was lost may take until it says what became of a transaction
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


class Mark:
    """What a transaction of PostgreSQL leaves behind, so that whoever has not heard of its end can look for it.

    A row of the table `marks`, with a number that goes up; one transaction at a time has it. PostgreSQL's own numbers
    would not do: a server that dies gives out again those that were in its memory only, and `pg_xact_status` then tells
    of somebody else's transaction.
    """

    LEAVE = (
        "INSERT INTO marks (id, number, written) VALUES (%s, %s, %s) "
        "ON CONFLICT (id) DO UPDATE SET number = excluded.number, written = excluded.written "
        "RETURNING {lock}({writers})"
    )
    FIND = (
        "INSERT INTO marks (id, number, written) VALUES (%s, 0, %s) "
        "ON CONFLICT (id) DO UPDATE SET number = marks.number RETURNING number"
    )

    def __init__(self) -> None:
        self.id, self.number = secrets.token_hex(16), 0

    def leave(self, connection: Connection, lock: str) -> None:
        """The first statement of a transaction; it takes the lock that writers share, or one has alone, as well."""
        self.number += 1
        told = self.LEAVE.format(lock=lock, writers=WRITERS)
        connection.exec_driver_sql(told, (self.id, self.number, time.time())).one()

    def is_there(self, connection: Connection) -> bool:
        """Whether the last transaction has left it; it writes, as a SELECT would not wait for one that has not ended.

        Raises:
            OperationalError: it has not ended within a second.
        """
        connection.exec_driver_sql("SET LOCAL lock_timeout = '1s'")
        found: int = connection.exec_driver_sql(self.FIND, (self.id, time.time())).scalar_one()
        return found == self.number


class Database:
    """One engine; connections are per thread and short."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._turn = threading.Lock()  # SQLite: who waits here does not poll there
        self._marks: list[Mark] = []  # PostgreSQL: of transactions that have ended

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A view that does not change while it is used."""
        options = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with _failures(), self.engine.connect().execution_options(**options) as connection:
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
    def making_tables(self) -> Iterator[Connection]:
        """As `writing`, before there are any; whoever starts next sees whether it was done."""
        with _failures(), self._begun() as connection:
            yield connection

    @contextmanager
    def _transaction(self, lock: str) -> Iterator[Connection]:
        if self.is_sqlite:  # there a writer is alone by itself
            with _failures(), self._begun() as connection:
                yield connection
            return
        mark, ready = self._free_mark(), False
        try:
            with _failures(), self._begun() as connection:
                mark.leave(connection, lock)
                yield connection
                ready = True
        except StoreFailed:
            # the server was lost between COMMIT and its answer: only it knows
            if not (ready and self._is_done(mark)):
                raise  # and the mark is left alone, since whoever holds it may have yet to end
        except BaseException:
            self._marks.append(mark)
            raise
        self._marks.append(mark)

    def _free_mark(self) -> Mark:
        try:
            return self._marks.pop()
        except IndexError:
            return Mark()

    @contextmanager
    def _begun(self) -> Iterator[Connection]:
        with (
            self._waiting(),
            self.engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    def _is_done(self, mark: Mark) -> bool:
        """Whether a transaction of PostgreSQL was committed; waits for a server that starts again.

        Raises:
            StoreFailed: nobody can say.
        """
        until = time.monotonic() + ASK_S
        while time.monotonic() < until:
            try:
                with self.engine.begin() as connection:
                    return mark.is_there(connection)
            except (DBAPIError, NoConnection):
                time.sleep(0.2)
        raise StoreFailed(
            "The hub's database did not answer at the very end: the request may have been done or not. "
            "Look before you send it again."
        )

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """On SQLite one writer of this process at a time asks for the lock, in the order in which they came."""
        if not self.is_sqlite:
            yield
            return
        if not self._turn.acquire(timeout=BUSY_MS / 1000):
            raise StoreFailed("The database was busy for too long; nothing was done. Send the request again.")
        try:
            yield
        finally:
            self._turn.release()

    def rewrite(self) -> None:
        """On SQLite, writes the file anew: what is deleted stays legible in its free pages, and in its log, until then.

        PostgreSQL does the like by itself, with time (autovacuum).
        """
        if not self.is_sqlite:
            return
        with _failures(), self._waiting(), self.engine.connect() as connection:
            plain = connection.connection.cursor()  # neither may stand in a transaction
            plain.execute("VACUUM")
            plain.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            plain.close()

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
    # synchronous_commit is the server's default, on: acknowledged means flushed
    # its connections are few, and dear to it: a quarter stays open
    pool = {"pool_size": THREADS // 4, "max_overflow": THREADS - THREADS // 4, "pool_pre_ping": True}
    return Database(_engine(parsed.set(drivername="postgresql+psycopg"), **pool))


def _engine(url: URL, **given: Any) -> Engine:
    # hide_parameters: what people sent must not get into a log with an error
    return create_engine(
        url, hide_parameters=True, json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads, **given,
    )  # fmt: skip


@contextmanager
def _failures() -> Iterator[None]:
    """What a database that is full, busy or gone says, in our words; a mistake in our SQL stays what it is."""
    try:
        yield
    except DBAPIError as error:
        if (ours := failure(error)) is None:
            raise
        raise ours from error
    except NoConnection as error:
        raise StoreFailed("The hub is too busy; nothing was done. Send the request again.") from error


def failure(error: DBAPIError) -> HubError | None:
    """The answer to a failure of the database itself; None where the statement is at fault."""
    code, state = getattr(error.orig, "sqlite_errorcode", None), getattr(error.orig, "sqlstate", None)
    if (code is not None and code & 0xFF == sqlite3.SQLITE_FULL) or state == "53100":  # PostgreSQL: disk_full
        return StoreFull("The hub's database has no room left; nothing was done. Tell its operator.")
    unwell = code & 0xFF in UNWELL if code is not None else isinstance(error, OperationalError)
    if unwell or error.connection_invalidated:
        return StoreFailed("The hub's database did not answer; nothing was done. Send the request again.")
    return None


def _sqlite(path: Path) -> Database:
    library = sqlite_library()
    # WAL lets readers go on beside a writer; where SQLite would lose commits in it, the rollback journal does not
    journal = "WAL" if wal_is_safe(library.sqlite_version) else "TRUNCATE"
    # all stay open: a connection is a file, and setting one up takes longer than most questions
    url = URL.create("sqlite", database=str(path))
    engine = _engine(url, module=library, pool_size=THREADS, max_overflow=0, pool_use_lifo=True)

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # we say ourselves when a transaction begins
        connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        _set_journal(connection, journal)
        for pragma in ("synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF", "journal_size_limit=67108864"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    @event.listens_for(engine, "handle_error")
    def _close_read_only(context: ExceptionContext) -> None:
        # where a file cannot be opened for writing, as with too many open files, SQLite opens it for reading and says
        # nothing; such a connection would refuse every write for as long as it is kept
        code = getattr(context.original_exception, "sqlite_errorcode", None)
        if code is not None and code & 0xFF == sqlite3.SQLITE_READONLY:
            context.is_disconnect, context.invalidate_pool_on_disconnect = True, False

    return Database(engine)


def _set_journal(connection: Any, mode: str) -> None:
    """Sets the journal's mode; SQLite does not wait for its timeout there, so processes that start at once collide."""
    until = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            connection.execute(f"PRAGMA journal_mode={mode}")
            return
        except Exception as error:  # of either library
            if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(0.01)


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Inserts the rows whose key is not there yet; says how many, where one row was given."""
    # a driver counts what one statement did, not what many did; and SQLAlchemy forgets it for INSERT unless asked
    given = rows[0] if len(rows) == 1 else rows
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    insert = dialect.insert(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
    return connection.execute(insert, given).rowcount
