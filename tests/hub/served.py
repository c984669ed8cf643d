"""served: a hub as its own process with the people that programs are clients for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from hubs import Running, new_database, started

from modelcommons.hub.actions import accounts
from modelcommons.hub.permissions import Scope
from modelcommons.hub.settings import Settings, load
from modelcommons.hub.stores import open_stores


@dataclass(frozen=True)
class Served:
    """A hub that answers."""

    running: Running
    tokens: dict[str, str]

    @property
    def port(self) -> int:
        return self.running.port

    @property
    def url(self) -> str:
        """As the hub calls itself; a client compares addresses with it."""
        return f"http://localhost:{self.port}"

    def log(self) -> str:
        return self.running.log.read_text(errors="replace")

    def is_alive(self) -> bool:
        return self.running.process.poll() is None

    def processes(self) -> int:
        """How many answer, the one that watches over them not counted."""
        return len(psutil.Process(self.running.process.pid).children(recursive=True))


def people(settings: Settings) -> dict[str, str]:
    """ada rules the organisation guild, ben may write in it, cleo may read; dan is in none; root rules the hub.

    Returns:
        name -> token; `reader` is a read token of ada's, `other` a fine-grained one for a repository that is not there.
    """
    stores = open_stores(settings)
    try:
        accounts.create_user(stores, "root", admin=True)
        for name in ("ada", "ben", "cleo", "dan"):
            accounts.create_user(stores, name, email=f"{name}@example.com")
        accounts.create_org(stores, "guild", admin="ada")
        accounts.set_member(stores, "guild", "ben", "write")
        accounts.set_member(stores, "guild", "cleo", "read")
        tokens = {
            name: accounts.create_token(stores, name, "test", "write") for name in ("ada", "ben", "cleo", "dan", "root")
        }
        tokens["reader"] = accounts.create_token(stores, "ada", "reader", "read")
        scope = Scope("model/ada/no-such-repository", "write")
        tokens["other"] = accounts.create_token(stores, "ada", "other", "fine-grained", scopes=[scope])
        return tokens
    finally:
        stores.database.close()


@contextmanager
def serve(folder: Path, **given: Any) -> Iterator[Served]:
    """`commons hub serve` over an empty folder, with an empty database; ended by SIGTERM when the block ends."""
    with new_database() as database:
        settings = load({}, folder=folder, port=0, database=database or None, **given)
        tokens = people(settings)
        with started(settings, tokens) as running:
            yield Served(running, tokens)
            assert running.stop() == 0, running.log.read_text(errors="replace")[-3000:]
