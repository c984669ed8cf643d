"""hubs for tests: one in this process, for speed, and real ones in processes of their own, on a loopback port.

Both have the people ada, bob, eve and the administrator root, each with a token that may write, and the organisation
lab: ada is its admin, bob may read. With COMMONS_TEST_POSTGRES (postgresql://user@host:port) all is on PostgreSQL.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
from sqlalchemy import Table, create_engine, func, make_url, select, text
from starlette.datastructures import State

from modelcommons.hub.actions import accounts
from modelcommons.hub.app import Hub, assemble
from modelcommons.hub.metrics import Metrics
from modelcommons.hub.settings import Settings, load
from modelcommons.hub.stores import Stores, open_stores
from modelcommons.hub.wire.frame import Frame

POSTGRES = os.environ.get("COMMONS_TEST_POSTGRES", "")
PEOPLE = ("ada", "bob", "eve", "root")
START_S = 60  # a shared machine may be slow
COMMONS = Path(sys.executable).with_name("commons")


# --- a hub in this process ------------------------------------------------------------------------------------------


class Clock:
    """The time, which a test can set forward."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time


class InProcess(httpx2.BaseTransport):
    """Requests go to an application without a socket; one loop for all of them."""

    def __init__(self, app: Any, client: tuple[str, int]) -> None:
        self.loop = asyncio.new_event_loop()
        self.inner = httpx2.ASGITransport(app=app, client=client)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        return self.loop.run_until_complete(self._answer(request))

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        response = await self.inner.handle_async_request(request)
        content = await response.aread()
        return httpx2.Response(response.status_code, headers=response.headers, content=content, request=request)

    def close(self) -> None:
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


@dataclass
class Site:
    """A hub in this process."""

    app: Hub
    stores: Stores
    tokens: dict[str, str]
    clock: Clock
    closing: ExitStack = field(default_factory=ExitStack)

    def client(self, who: str | None = None, *, address: str = "127.0.0.1", **given: Any) -> httpx2.Client:
        """A client that sends the person's token, from an address; nobody's without a name."""
        headers = {"Authorization": f"Bearer {self.tokens[who]}"} if who else {}
        transport = InProcess(self.app, (address, 50_000))
        made = httpx2.Client(
            transport=transport, base_url="http://localhost:8931", headers=headers | given.pop("headers", {}), **given
        )
        return self.closing.enter_context(made)

    def count(self, *kept: Table) -> tuple[int, ...]:
        """Rows of these tables, blobs, and files that no upload will end."""
        with self.stores.database.reading() as connection:
            rows = [connection.scalar(select(func.count()).select_from(table)) or 0 for table in kept]
        return (*rows, len(list(self.stores.blobs.keys())), len(list(self.stores.blobs.abandoned(1e12))))


@cache
def doors() -> Hub:
    """Made once in a process, as two hundred routes take a while."""
    return assemble(None)  # type: ignore[arg-type]


def hub_over(stores: Stores) -> Hub:
    """A hub with stores and counts of its own; it shares its doors with the others in this process."""
    made = copy(doors())
    made.state = State({"stores": stores, "metrics": Metrics()})
    made.frame = Frame(super(Hub, made).__call__, made.state.metrics)
    return made


def make_news_and_own(client: httpx2.Client) -> None:
    """Two models of the client's person: `news`, which all may read, and `own`, which is private."""
    for more in ({"name": "news"}, {"name": "own", "visibility": "private"}):
        assert client.post("/api/repos/create", json=more).status_code == 200


@dataclass
class Template:
    """A folder, and a database where there is PostgreSQL, with the people in it; copied for each test."""

    folder: Path
    database: str
    tokens: dict[str, str]


@contextmanager
def make_template(folder: Path) -> Iterator[Template]:
    """Makes the people once; copying them is quicker."""
    with new_database() as database:
        stores = open_stores(load({}, folder=folder, database=database))
        for name in PEOPLE:
            accounts.create_user(stores, name, admin=name == "root", email=f"{name}@example.org")
        accounts.create_org(stores, "lab", admin="ada")
        accounts.set_member(stores, "lab", "bob", "read")
        tokens = {name: accounts.create_token(stores, name, "test", "write") for name in PEOPLE}
        stores.database.close()
        yield Template(folder, database, tokens)


@contextmanager
def new_database(like: str = "") -> Iterator[str]:
    """The URL of a new database on the PostgreSQL server; empty, for SQLite, where there is none."""
    if not POSTGRES:
        yield ""
        return
    server = make_url(POSTGRES).set(drivername="postgresql+psycopg", database="postgres")
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    name = f"hub_{secrets.token_hex(8)}"
    copied = f' TEMPLATE "{make_url(like).database}"' if like else ""
    with engine.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"{copied}'))
    try:
        yield make_url(POSTGRES).set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
        engine.dispose()


@contextmanager
def copied(template: Template, folder: Path, **given: Any) -> Iterator[Settings]:
    """The settings of a new hub like the template, in `folder`."""
    shutil.copytree(template.folder, folder, dirs_exist_ok=True)
    with new_database(template.database) as database:
        yield load({}, folder=folder, database=database or None, **given)


@contextmanager
def make_site(template: Template, folder: Path, **given: Any) -> Iterator[Site]:
    """A hub in this process with settings of its own."""
    clock = Clock()
    with copied(template, folder, **given) as settings:
        stores = open_stores(settings, clock)
        made = Site(hub_over(stores), stores, template.tokens, clock)
        try:
            with made.closing:
                yield made
        finally:
            stores.database.close()


# --- hubs in processes of their own ---------------------------------------------------------------------------------


@dataclass
class Running:
    """A hub that answers on a socket."""

    url: str
    port: int
    folder: Path
    tokens: dict[str, str]
    process: subprocess.Popen[str]
    log: Path  # what it wrote to stderr: one JSON object a line
    database: str  # its URL; empty for SQLite in the folder

    def client(self, who: str | None = None, **given: Any) -> httpx2.Client:
        """A client that sends the person's token; close it, or use it in a `with`."""
        headers = {"Authorization": f"Bearer {self.tokens[who]}"} if who else {}
        return httpx2.Client(base_url=self.url, headers=headers | given.pop("headers", {}), timeout=60, **given)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends it, and waits; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(START_S)


@contextmanager
def started(
    settings: Settings,
    tokens: dict[str, str],
    *,
    environment: dict[str, str] | None = None,
    prefix: tuple[str, ...] = (),
) -> Iterator[Running]:
    """A hub with these settings, until the block ends.

    Args:
        prefix: a command that the hub is run by, such as strace.
    """
    log = settings.folder.parent / f"{settings.folder.name}.log"
    command = [*prefix, str(COMMONS), "hub", "serve", "--json"]
    given = {f"COMMONS_HUB_{name.upper()}": str(value) for name, value in _changed(settings).items()}
    with (
        open(log, "ab") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True,
            env={**os.environ, **given, **(environment or {})},
        ) as process,
    ):  # fmt: skip
        assert process.stdout
        line = process.stdout.readline()
        if not line:
            process.wait(START_S)
            raise AssertionError(f"the hub did not start: {log.read_text()}")
        told = json.loads(line)
        if "error" in told:
            raise AssertionError(told)
        running = Running(
            f"http://127.0.0.1:{told['port']}", told["port"], settings.folder, tokens, process, log, settings.database
        )  # fmt: skip
        try:
            yield running
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(START_S)
                except subprocess.TimeoutExpired:
                    process.kill()


def _changed(settings: Settings) -> dict[str, Any]:
    plain = Settings()
    return {
        name: getattr(settings, name)
        for name in Settings.__dataclass_fields__
        if getattr(settings, name) != getattr(plain, name)
    }


Start = Callable[..., Running]
