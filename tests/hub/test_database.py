"""database: what a connection that goes wrong leaves behind."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from modelcommons.errors import StoreFailed
from modelcommons.hub.database import connect, sqlite_library


def test_a_file_that_could_not_be_opened_for_writing_once_is_written_again(tmp_path: Path) -> None:
    """SQLite then opens it for reading, and never tries again: too many open files for a moment are enough."""
    database = connect("", tmp_path)
    with database.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE things (name)")
    database.close()
    opened: list[Any] = []

    @event.listens_for(database.engine, "do_connect")
    def _only_reading(*given: Any) -> Any:
        if opened:
            return None  # as ever
        opened.append(sqlite_library().connect(f"file:{tmp_path}/hub.sqlite3?mode=ro", uri=True))
        return opened[0]

    with pytest.raises(StoreFailed), database.writing() as connection:
        connection.exec_driver_sql("INSERT INTO things VALUES ('lost')")
    with database.writing() as connection:
        connection.exec_driver_sql("INSERT INTO things VALUES ('one')")
    with database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM things").scalar() == 1
    database.close()


def test_a_process_that_starts_while_another_sets_up_the_file_waits(tmp_path: Path) -> None:
    """SQLite's own waiting does not cover the change of a journal's mode: it says at once that the file is locked."""
    first = sqlite_library().connect(tmp_path / "hub.sqlite3", isolation_level=None, check_same_thread=False)
    first.execute("CREATE TABLE things (name)")
    first.execute("BEGIN IMMEDIATE")
    threading.Timer(0.2, lambda: first.execute("COMMIT")).start()
    database = connect("", tmp_path)
    with database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM things").scalar() == 0
    database.close()
    first.close()
