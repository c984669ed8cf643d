"""migrations: brings the database of any version of the hub up to this one; never back."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from modelcommons.errors import UsageError
from modelcommons.hub.database import Database

LOCK = 0x6D6F64656C  # of PostgreSQL's advisory locks; any number that nobody else uses


def upgrade(database: Database, secret: bytes) -> None:
    """Makes every table as this version wants it; of several processes one does it, and the others wait.

    All of it is one transaction, in which both databases make tables too: interrupted, nothing of it has happened, and
    the next start does it again.

    Args:
        secret: the hub's, for what is sealed with it.

    Raises:
        UsageError: a newer version of the hub wrote this database.
    """
    script = ScriptDirectory(str(Path(__file__).parent))
    with database.reading() as connection:
        if _current(connection) == script.get_current_head():
            return
    with database.making_tables() as connection:
        if not database.is_sqlite:  # SQLite's writer is alone already
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        current = _current(connection)
        if current is not None and current not in {each.revision for each in script.walk_revisions()}:
            raise UsageError(
                f"This database was written by a newer version of the hub (its tables are {current[:40]}). "
                f"Install that version; there is no way back but a backup."
            )
        config = Config(attributes={"connection": connection, "secret": secret})
        config.set_main_option("script_location", str(Path(__file__).parent))
        command.upgrade(config, "head")
    if config.attributes.get("leaves_no_trace"):  # a revision took something out that must not be found any more
        database.rewrite()


def _current(connection: Connection) -> str | None:
    """The revision that the tables have; nothing for an empty database."""
    return MigrationContext.configure(connection).get_current_revision()


def refuse_downgrade() -> None:
    """What `downgrade` of every revision does."""
    raise UsageError("A database is never taken back to an older version: that would lose what is in it. Use a backup.")
