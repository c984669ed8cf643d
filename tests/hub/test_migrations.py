"""migrations: they make what tables.py says; interrupted they go on; several at once do it once; never back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from hubs import new_database
from sqlalchemy import inspect, text

from modelcommons.errors import UsageError
from modelcommons.hub import migrations, sealing
from modelcommons.hub.database import Database, connect, wal_is_safe
from modelcommons.hub.tables import metadata

SECRET = bytes(range(32))


@contextmanager
def empty(folder: Path) -> Iterator[Database]:
    with new_database() as url:
        database = connect(url, folder)
        try:
            yield database
        finally:
            database.close()


def differences(database: Database) -> list[Any]:
    """How the tables in the database differ from tables.py."""
    with database.reading() as connection:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))


def test_the_migrations_make_what_the_tables_say(tmp_path: Path) -> None:
    with empty(tmp_path) as database:
        assert differences(database)
        migrations.upgrade(database, SECRET)
        assert differences(database) == []
        migrations.upgrade(database, SECRET)
        assert differences(database) == []


def test_an_interrupted_migration_leaves_nothing_and_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Operations.create_table
    calls = 0

    def stops(*arguments: Any, **given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 7:
            raise KeyboardInterrupt
        return made(*arguments, **given)

    with empty(tmp_path) as database:
        monkeypatch.setattr(Operations, "create_table", stops)
        with pytest.raises(KeyboardInterrupt):
            migrations.upgrade(database, SECRET)
        with database.reading() as connection:
            assert inspect(connection).get_table_names() == []
        migrations.upgrade(database, SECRET)
        assert differences(database) == []


def test_several_processes_that_start_at_once_migrate_once(tmp_path: Path) -> None:
    with empty(tmp_path) as database:
        url = "" if database.is_sqlite else database.engine.url.render_as_string(hide_password=False)
        others = [database, *(connect(url, tmp_path) for _ in range(3))]
        barrier, failures = threading.Barrier(4), []

        def go(one: Database) -> None:
            barrier.wait()
            try:
                migrations.upgrade(one, SECRET)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=go, args=(one,)) for one in others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for one in others[1:]:
            one.close()
        assert not failures and differences(database) == []


def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    with empty(tmp_path) as database:
        migrations.upgrade(database, SECRET)
        with database.writing() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(UsageError, match="newer version"):
            migrations.upgrade(database, SECRET)


def test_there_is_no_way_back(tmp_path: Path) -> None:
    with empty(tmp_path) as database:
        migrations.upgrade(database, SECRET)
        with database.writing() as connection:
            config = Config(attributes={"connection": connection})
            config.set_main_option("script_location", str(Path(migrations.__file__).parent))
            with pytest.raises(UsageError, match="never taken back"):
                command.downgrade(config, "base")
        assert differences(database) == []


def to_revision(database: Database, revision: str) -> None:
    with database.making_tables() as connection:
        config = Config(attributes={"connection": connection, "secret": SECRET})
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        command.upgrade(config, revision)


def test_secrets_of_webhooks_that_were_plain_are_sealed_and_leave_no_trace(tmp_path: Path) -> None:
    """0002: in the tables, and on SQLite in no page of its files."""
    with empty(tmp_path) as database:
        to_revision(database, "0001")
        secrets = {f"{number:024d}": f"plain-secret-{number:04d}" for number in range(300)} | {"none": None}
        with database.making_tables() as connection:
            connection.execute(text(
                "INSERT INTO accounts (id, kind, name, key, fullname, admin, suspended, created) "
                "VALUES (1, 'user', 'ada', 'ada', '', false, false, 0)"
            ))  # fmt: skip
            for id, secret in secrets.items():
                connection.execute(
                    text(
                        "INSERT INTO webhooks (id, user_id, url, watched, domains, secret, disabled, day, sent, "
                        "created) VALUES (:id, 1, 'http://hook.test/', '[]', '[]', :secret, false, 0, 0, 0)"
                    ),
                    {"id": id, "secret": secret},
                )
            connection.execute(text(
                "INSERT INTO deliveries (webhook_id, payload, tries, due, created) VALUES ('none', '{}', 0, 0, 0)"
            ))  # fmt: skip
        migrations.upgrade(database, SECRET)
        with database.reading() as connection:
            sealed = {row.id: row.sealed for row in connection.execute(text("SELECT id, sealed FROM webhooks"))}
            assert connection.execute(text("SELECT count(*) FROM deliveries")).scalar() == 1
        for id, secret in secrets.items():
            opened = sealed[id] and sealing.unseal(SECRET, sealed[id], label=f"webhook {id}")
            assert opened == secret
        files = list(tmp_path.glob("hub.sqlite3*"))
        assert bool(files) is database.is_sqlite
        assert not [path for path in files if b"plain-secret" in path.read_bytes()]


def test_the_revisions_are_one_line(tmp_path: Path) -> None:
    folder = Path(migrations.__file__).parent / "versions"
    names = sorted(path.stem for path in folder.glob("[0-9]*.py"))
    assert [name[:4] for name in names] == [f"{number:04d}" for number in range(1, len(names) + 1)]


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ("3.40.1", False), ("3.44.5", False), ("3.44.6", True), ("3.45.0", False), ("3.50.6", False), ("3.50.7", True),
        ("3.51.2", False), ("3.51.3", True), ("3.53.4", True),
    ],
)  # fmt: skip
def test_a_sqlite_that_loses_commits_in_wal_is_known(version: str, safe: bool) -> None:
    assert wal_is_safe(version) is safe


def test_sqlite_is_set_so_that_what_is_acknowledged_is_on_the_disk(tmp_path: Path) -> None:
    database = connect("", tmp_path)
    with database.reading() as connection:
        told = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")}
        version = str(connection.exec_driver_sql("SELECT sqlite_version()").scalar())
    database.close()
    assert told == {"journal_mode": "wal" if wal_is_safe(version) else "truncate", "synchronous": 2}
