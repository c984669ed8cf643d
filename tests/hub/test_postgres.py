"""postgres: its server dies or its answers are lost, and nobody is told what is not so.

Run by `make test-postgres`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psutil
import pytest
from hubs import POSTGRES, Running, Settings, Template, copied, started
from served import people
from sqlalchemy import Connection, make_url

from modelcommons.errors import StoreFailed
from modelcommons.hub import database
from modelcommons.hub.database import Database, connect
from modelcommons.hub.settings import load
from modelcommons.hub.stores import open_stores

ON_POSTGRES = Path(__file__).parent / "scale" / "on-postgres"
WRITERS = 4
ENOUGH = 15  # commits acknowledged before the server is killed, and as many after it
CRASHES = 5  # of a server that writes its memory down just before
PATIENCE_S = 120

pytestmark = pytest.mark.skipif(not POSTGRES, reason="needs PostgreSQL: make test-postgres")


# --- an answer is lost ----------------------------------------------------------------------------------------------


@dataclass
class Line:
    """What lies between the hub and the server, and can be cut while a COMMIT is on its way."""

    server: tuple[str, int]
    cut: str = ""  # `before` the server has it, or `after` it has answered
    open: bool = True  # whether it can be used again afterwards
    port: int = 0
    threads: list[threading.Thread] = field(default_factory=list)

    def accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return  # closed
            if not self.open:
                near.close()
                continue
            far = socket.create_connection(self.server)
            last = threading.Event()  # a COMMIT is with the server, and what it says to it is not passed on
            for which, one, other in ((self.ask, near, far), (self.answer, far, near)):
                self.start(which, one, other, last)

    def start(self, what: Callable[..., None], *given: object) -> None:
        self.threads.append(threading.Thread(target=what, args=given))
        self.threads[-1].start()

    def ask(self, near: socket.socket, far: socket.socket, last: threading.Event) -> None:
        with _ended(near, far):
            while piece := near.recv(1 << 16):
                if self.cut and b"COMMIT" in piece:
                    how, self.cut = self.cut, ""
                    if how == "before":
                        return
                    last.set()
                far.sendall(piece)

    def answer(self, far: socket.socket, near: socket.socket, last: threading.Event) -> None:
        with _ended(far, near):
            while piece := far.recv(1 << 16):
                if last.is_set():
                    return
                near.sendall(piece)


@contextmanager
def _ended(read: socket.socket, written: socket.socket) -> Iterator[None]:
    """However one direction ends, the other one does too."""
    with read:
        try:
            with suppress(OSError):
                yield
        finally:
            for one in (read, written):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def line() -> Iterator[Line]:
    server = make_url(POSTGRES)
    made = Line((str(server.host), server.port or 5432))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made.port = listener.getsockname()[1]
        made.start(made.accept, listener)
        yield made
        listener.shutdown(socket.SHUT_RDWR)
        for thread in made.threads:
            thread.join(PATIENCE_S)


@pytest.fixture
def far(template: Template, tmp_path: Path, line: Line) -> Iterator[Database]:
    """A database at the other end of the line, with a table of numbers."""
    with copied(template, tmp_path / "hub") as settings:
        url = make_url(settings.database).set(port=line.port).render_as_string(hide_password=False)
        made = connect(url, settings.folder)
        with made.writing() as connection:
            connection.exec_driver_sql("CREATE TABLE numbers (number INTEGER)")
        yield made
        made.close()


def write(connection: Connection, number: int) -> None:
    connection.exec_driver_sql(f"INSERT INTO numbers VALUES ({number})")


def numbers(far: Database) -> list[int]:
    with far.reading() as connection:
        return list(connection.exec_driver_sql("SELECT number FROM numbers ORDER BY number").scalars())


def test_what_was_done_is_done_though_the_answer_was_lost(far: Database, line: Line) -> None:
    line.cut = "after"
    with far.writing() as connection:
        write(connection, 1)
    assert not line.cut, "nothing was cut"
    assert numbers(far) == [1]


def test_what_was_not_done_is_said_to_be_not_done(far: Database, line: Line) -> None:
    line.cut = "before"
    with pytest.raises(StoreFailed, match="nothing was done"), far.writing() as connection:
        write(connection, 1)
    assert numbers(far) == []


def test_what_nobody_can_know_is_said_to_be_unknown(far: Database, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "ASK_S", 0.5)
    with pytest.raises(StoreFailed, match="may have been done or not"), far.writing() as connection:
        write(connection, 1)
        line.cut, line.open = "after", False
    line.open = True
    assert numbers(far) == [1]


# --- the server dies ------------------------------------------------------------------------------------------------


@dataclass
class Server:
    """A PostgreSQL of this test's own, which it may kill."""

    url: str
    folder: Path

    def kill(self) -> None:
        """The postmaster, then all that it left; as if the machine's memory had run out."""
        postmaster = psutil.Process(int((self.folder / "data" / "postmaster.pid").read_text().splitlines()[0]))
        left = postmaster.children(recursive=True)
        postmaster.kill()
        for one in left:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs([postmaster, *left], PATIENCE_S)

    def start(self) -> None:
        subprocess.run([self.folder / "start"], check=True, timeout=PATIENCE_S)


@pytest.fixture
def server() -> Iterator[Server]:
    tell = 'echo "$COMMONS_TEST_POSTGRES $COMMONS_TEST_POSTGRES_FOLDER"; cat'
    environment = {name: value for name, value in os.environ.items() if name != "ON_POSTGRES"}  # with fsync
    with subprocess.Popen(
        [ON_POSTGRES, "sh", "-c", tell], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin and process.stdout
        url, folder = process.stdout.readline().split()
        yield Server(f"{url}/postgres", Path(folder))
        process.stdin.close()  # ends `cat`, and with it the server


def test_the_number_of_a_lost_transaction_may_be_given_out_again(server: Server, tmp_path: Path) -> None:
    """What a server had in memory it forgets with it, numbers of transactions too; another then bears ours."""
    with closing(open_stores(load({}, folder=tmp_path / "hub", database=server.url)).database) as far:
        with far.writing() as connection:
            connection.exec_driver_sql("CREATE TABLE numbers (number INTEGER)")
        for _ in range(CRASHES):
            with pytest.raises(StoreFailed, match="nothing was done"), far.writing() as connection:
                write(connection, 1)
                ours, given = number_of(connection), 0
                server.kill()
                server.start()
                while given < ours:
                    with far.engine.begin() as another:
                        write(another, 2)
                        given = number_of(another)
            assert 1 not in numbers(far)
            if given == ours:
                break
        else:
            pytest.fail("the server forgot nothing")


def number_of(connection: Connection) -> int:
    return int(connection.exec_driver_sql("SELECT pg_current_xact_id()::text").scalar_one())


@dataclass
class Writing:
    """Writers that go on whatever happens; what they were told."""

    hub: Running
    done: dict[str, bytes] = field(default_factory=dict)  # path -> content, of what was acknowledged
    refused: dict[str, str] = field(default_factory=dict)  # path -> the sentence of a 503
    wrong: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def write(self, writer: int) -> None:
        number = 0
        with self.hub.client("ada") as client:
            while not self.over.is_set():
                number += 1
                path, data = f"{writer}/{number}.txt", f"{writer} wrote {number}\n".encode()
                try:
                    answer = client.post(
                        f"/api/models/ada/kept-{writer}/commit/main", content=commit(path, data),
                        headers={"Content-Type": "application/x-ndjson"},
                    )  # fmt: skip
                except httpx2.TransportError as error:
                    self.wrong.append(f"{path}: {error!r}")
                    return
                match answer.status_code:
                    case 200:
                        self.done[path] = data
                    case 503:
                        self.refused[path] = answer.json()["error"]
                        time.sleep(0.05)
                    case _:
                        self.wrong.append(f"{path}: {answer.status_code} {answer.text}")
                        return

    def until(self, seen: int) -> None:
        """Waits until so many are acknowledged."""
        for _ in range(PATIENCE_S * 20):
            if len(self.done) >= seen or self.wrong:
                break
            time.sleep(0.05)
        assert not self.wrong and len(self.done) >= seen, (self.wrong, len(self.done), self.refused)


def commit(path: str, data: bytes) -> bytes:
    content = base64.b64encode(data).decode()
    lines = [
        {"key": "header", "value": {"summary": path, "description": ""}},
        {"key": "file", "value": {"path": path, "content": content, "encoding": "base64"}},
    ]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def test_the_server_is_killed_and_started_again_under_a_hub_that_goes_on(server: Server, tmp_path: Path) -> None:
    settings: Settings = load({}, folder=tmp_path / "hub", port=0, database=server.url, workers=2)
    with started(settings, people(settings)) as hub, hub.client("ada") as client, hub.client() as nobody:
        for writer in range(WRITERS):
            made = client.post("/api/repos/create", json={"name": f"kept-{writer}", "type": "model"})
            assert made.status_code == 200, made.text
        writing = Writing(hub)
        writers = [threading.Thread(target=writing.write, args=(number,)) for number in range(WRITERS)]
        for one in writers:
            one.start()
        try:
            writing.until(ENOUGH)
            server.kill()
            for path in ("/api/models/ada/kept-0", "/api/models", "/ada/kept-0/resolve/main/.gitattributes"):
                answer = nobody.get(path)
                assert answer.status_code == 503, (path, answer.text)
                assert "database did not answer" in answer.json()["error"], answer.text
            assert client.get("/api/whoami-v2").status_code == 503
            health = nobody.get("/health")
            assert (health.status_code, health.json()["database"]) == (503, "fails"), health.text
            before = len(writing.done)
            server.start()
            writing.until(before + ENOUGH)
        finally:
            writing.over.set()
            for one in writers:
                one.join(PATIENCE_S)
        assert not writing.wrong
        assert writing.refused, "nobody wrote while the server was away"
        there: dict[str, str] = {}
        for writer in range(WRITERS):
            listed = client.get(f"/api/models/ada/kept-{writer}/tree/main?recursive=true&limit=1000")
            assert listed.status_code == 200, listed.text
            there |= {one["path"]: one["oid"] for one in listed.json() if one["type"] == "file"}
        for path, data in writing.done.items():
            assert there.get(path) == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(), f"{path} is lost"
        done_though = [path for path, told in writing.refused.items() if "nothing was done" in told and path in there]
        assert not done_though, "these were said to be not done"
        assert nobody.get("/health").status_code == 200
        assert hub.stop(signal.SIGTERM) == 0
        assert "Traceback" not in "".join(line for line in hub.log.read_text().splitlines() if '"mistake"' in line)
