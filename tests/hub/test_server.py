"""server: what comes over a real socket: malformed, smuggled, slow; files from the kernel; the end of a process."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hubs import START_S, Running, Site, Start
from uvicorn import Config, Server

from modelcommons.errors import StoreFailed, UsageError
from modelcommons.hub import server as serving
from modelcommons.hub.settings import Settings, load

OK = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


def talk(port: int, data: bytes, *, more: bytes = b"") -> bytes:
    """Everything that comes back until the other side ends."""
    with socket.create_connection(("127.0.0.1", port), 30) as line:
        line.sendall(data)
        answer = b""
        try:
            while piece := line.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass
        return answer


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


# --- heads ----------------------------------------------------------------------------------------------------------

POST = b"POST /login HTTP/1.1\r\nHost: x\r\n"
MALFORMED = {
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "the same length twice": POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": POST + b"Content-Length: 3, 3\r\n\r\nabc",
    "length and chunks": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "two encodings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "gzip, chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "an unknown encoding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a negative length": POST + b"Content-Length: -3\r\n\r\n",
    "a length with a sign": POST + b"Content-Length: +3\r\n\r\nabc",
    "a length in hexadecimal": POST + b"Content-Length: 0x3\r\n\r\nabc",
    "a blank before the colon": POST + b"Content-Length : 3\r\n\r\nabc",
    "a folded header": b"GET /health HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    "bare line feeds": b"GET /health HTTP/1.1\nHost: x\n\n",
    "one bare line feed": b"GET /health HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
    "a bare carriage return": b"GET /health HTTP/1.1\r\nHost: x\rA: b\r\n\r\n",
    "a NUL in a value": b"GET /health HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
    "a NUL in the path": b"GET /hea\0lth HTTP/1.1\r\nHost: x\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "an unknown method": b"FETCH /health HTTP/1.1\r\nHost: x\r\n\r\n",
    "another version": b"GET /health HTTP/9.1\r\nHost: x\r\n\r\n",
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,
    "a bad chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    "a chunk with a sign": POST + b"Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_refused_and_what_follows_is_not_read(server: Running, name: str) -> None:
    answer = talk(server.port, MALFORMED[name] + OK)
    assert status(answer) == 400, answer[:300]
    assert answer.count(b"HTTP/1.1 ") == 1, "a second answer would mean that a request was smuggled"


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 5_000_000,  # without an end
    ],
    ids=["value", "path", "many", "endless"],
)
def test_a_head_over_64_kib_is_refused(server: Running, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 30) as line:
        try:
            line.sendall(head)
            answer = line.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            answer = b""
    assert status(answer) in (431, 0), "told, or cut off while it was still sending"
    assert status(talk(server.port, b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")) == 200


def test_a_head_of_60_kib_is_read(server: Running) -> None:
    head = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\nA: " + b"a" * 60_000 + b"\r\n\r\n"
    assert status(talk(server.port, head)) == 200


def test_requests_in_a_row_are_answered_in_order(server: Running) -> None:
    last = b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = talk(server.port, OK + OK + last)
    assert [int(each.split(b" ", 1)[0]) for each in answer.split(b"HTTP/1.1 ")[1:]] == [200, 200, 404]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_compressed_body_is_refused(server: Running, encoding: str) -> None:
    with server.client("ada") as client:
        told = client.post("/api/repos/create", content=b"x", headers={"Content-Encoding": encoding})
    assert told.status_code == 415


def test_a_body_over_the_limit_is_refused(server: Running) -> None:
    with server.client("ada") as client:
        assert client.post("/api/repos/create", json={"name": "x" * 2_000_000}).status_code == 413


def test_it_asks_for_a_body_that_waits_to_be_asked(server: Running) -> None:
    body = b'{"name": "ada", "password": "wrong wrong"}'
    head = POST + b"Content-Type: application/json\r\nExpect: 100-continue\r\nConnection: close\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 30) as line:
        line.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body))
        assert line.recv(1000).startswith(b"HTTP/1.1 100 Continue")
        line.sendall(body)
        assert line.recv(1000).startswith(b"HTTP/1.1 401")


# --- slow clients ---------------------------------------------------------------------------------------------------


def ends(line: socket.socket) -> bool:
    """Whether the other side ends the connection, with or without a word; a socket's timeout where it does not."""
    try:
        while line.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


def test_half_open_connections_are_closed_while_others_are_served(start: Start) -> None:
    hub = start(header_s=1.0, idle_s=2.0)
    beginnings = [b"", b"GET /hea", b"GET /health HTTP/1.1\r\nHost: x\r\n", OK + b"GET /"]
    lines = [socket.create_connection(("127.0.0.1", hub.port), START_S) for _ in range(200)]
    for number, line in enumerate(lines):
        line.sendall(beginnings[number % len(beginnings)])
    with hub.client("ada") as client:
        assert client.get("/api/whoami-v2").status_code == 200
    assert all(map(ends, lines))
    for line in lines:
        line.close()


def test_a_body_that_stops_is_given_up(start: Start) -> None:
    hub = start(header_s=1.0, idle_s=1.0)
    for path in (b"/login", b"/nowhere"):  # one that waits for the body, and one that answers before it
        with socket.create_connection(("127.0.0.1", hub.port), START_S) as line:
            line.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc" % path)
            assert ends(line)


def test_a_body_that_comes_slowly_but_comes_is_read(start: Start) -> None:
    hub = start(header_s=1.0, idle_s=2.0)
    body = b'{"name": "ada", "password": "wrong wrong"}'
    with socket.create_connection(("127.0.0.1", hub.port), START_S) as line:
        line.sendall(POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
        for place in range(0, len(body), 11):
            time.sleep(1)
            line.sendall(body[place : place + 11])
        assert line.recv(1000).startswith(b"HTTP/1.1 401")


# --- files from the kernel ------------------------------------------------------------------------------------------


class Sends:
    """An application that sends part of a file by `modelcommons.sendfile`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failures: list[BaseException] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        first, _, promised = scope["query_string"].decode().partition("-")
        offset, count = int(first), int(promised)
        file = os.open(self.path, os.O_RDONLY)
        try:
            headers = [(b"content-length", str(count + 4).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"<<", "more_body": True})
            sendfile = scope["extensions"][serving.SENDFILE]
            await sendfile(file, offset, count // 2)
            await sendfile(file, offset + count // 2, count - count // 2)
            await send({"type": "http.response.body", "body": b">>", "more_body": False})
        except BaseException as error:
            self.failures.append(error)
            raise
        finally:
            os.close(file)


@pytest.fixture
def sends(tmp_path: Path) -> Iterator[tuple[Sends, int, bytes]]:
    """A server in a thread of this process, the port, and the file's bytes: 8 MiB, more than sockets buffer."""
    data = hashlib.shake_128(b"file").digest(8 << 20)
    (tmp_path / "file").write_bytes(data)
    app = Sends(tmp_path / "file")
    settings = load({}, folder=tmp_path, header_s=1.0, idle_s=1.0)
    config = serving._config(app, settings)
    server = Server(config)
    listening = serving.bind(load({}, folder=tmp_path, port=0))
    listening.listen()
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield app, listening.getsockname()[1], data
    finally:
        server.should_exit = True
        thread.join(START_S)
        assert not thread.is_alive()


def ask(offset: int, count: int, close: bool = True) -> bytes:
    end = b"Connection: close\r\n" if close else b""
    return b"GET /?%d-%d HTTP/1.1\r\nHost: x\r\n%s\r\n" % (offset, count, end)


def test_a_file_is_sent_whole_and_in_part(sends: tuple[Sends, int, bytes]) -> None:
    _, port, data = sends
    for offset, count in ((0, len(data)), (0, 0), (1, 1), (12_345, 3_000_001), (len(data) - 5, 5)):
        _, _, body = talk(port, ask(offset, count)).partition(b"\r\n\r\n")
        assert body == b"<<" + data[offset : offset + count] + b">>"


def test_the_connection_goes_on_after_a_file(sends: tuple[Sends, int, bytes]) -> None:
    _, port, data = sends
    answer = talk(port, ask(0, 70_000, close=False) + ask(5, 100_000, close=False) + ask(0, 3))
    bodies = [each.partition(b"\r\n\r\n")[2] for each in answer.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert bodies == [b"<<" + data[:70_000] + b">>", b"<<" + data[5:100_005] + b">>", b"<<" + data[:3] + b">>"]


def test_a_file_that_is_too_short_breaks_the_connection(sends: tuple[Sends, int, bytes]) -> None:
    app, port, data = sends
    answer = talk(port, ask(len(data) - 100, 1000, close=False))
    assert len(answer.partition(b"\r\n\r\n")[2]) < 1004, "no client can take the part for the whole"
    assert [type(each) for each in app.failures] == [StoreFailed]


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="the system does not say what a client has taken")
def test_a_client_that_takes_nothing_is_left_and_one_that_takes_slowly_is_not(sends: tuple[Sends, int, bytes]) -> None:
    _, port, data = sends
    with socket.create_connection(("127.0.0.1", port), START_S) as still, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        slow.settimeout(START_S)
        slow.connect(("127.0.0.1", port))
        for line in (still, slow):
            line.sendall(ask(0, len(data), close=True))
        got = b""
        for _ in range(12):  # three times the deadline
            time.sleep(0.25)
            got += slow.recv(65536, socket.MSG_WAITALL)
        while piece := slow.recv(1 << 20):
            got += piece
        assert got.endswith(data[-100:] + b">>")
        received = b""
        try:
            while piece := still.recv(1 << 20):
                received += piece
        except ConnectionResetError:
            pass
        assert len(received) < len(data), "it was left long before"


def test_a_client_that_goes_away_leaves_nothing_behind(sends: tuple[Sends, int, bytes]) -> None:
    app, port, data = sends
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port), 30) as line:
            line.sendall(ask(0, len(data)))
            line.recv(1000)
    assert talk(port, ask(0, 3)).endswith(b"<<" + data[:3] + b">>")
    assert not app.failures


# --- processes ------------------------------------------------------------------------------------------------------


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def workers(hub: Running) -> list[int]:
    """The processes that answer."""
    children = Path(f"/proc/{hub.process.pid}/task/{hub.process.pid}/children").read_text().split()
    return [pid for pid in map(int, children) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + START_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_ends_calmly(start: Start, number: int) -> None:
    """A request that has begun is answered, and the exit code is 0."""
    hub = start()
    body = b'{"name": "ada", "password": "wrong wrong"}'
    with socket.create_connection(("127.0.0.1", hub.port), START_S) as line:
        line.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body[:10])
        with hub.client() as client:
            client.get("/health")  # the head before is read by now
        hub.process.send_signal(number)
        time.sleep(0.5)
        line.sendall(body[10:])
        assert line.recv(1000).startswith(b"HTTP/1.1 401")
    assert hub.process.wait(START_S) == 0


def test_who_has_only_just_connected_is_answered_by_a_process_that_ends(start: Start) -> None:
    hub = start()
    with socket.create_connection(("127.0.0.1", hub.port), 30) as line, hub.client() as client:
        assert client.get("/health").status_code == 200  # so the line that came before it was accepted too
        hub.process.send_signal(signal.SIGTERM)
        # it takes nobody new from now on: refused, or reset where the port closes in the middle of the greeting
        with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
            while True:
                socket.create_connection(("127.0.0.1", hub.port), 30).close()
        line.sendall(OK)
        answer = line.recv(65536)
    assert status(answer) == 200 and b"connection: close" in answer.lower()
    assert hub.process.wait(START_S) == 0


def test_several_processes_replace_the_dead_and_end_together(start: Start) -> None:
    hub = start(workers=2)
    before = workers(hub)
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    until(lambda: len(set(workers(hub)) - {before[0]}) == 2)
    with hub.client("ada") as client:
        assert client.get("/api/whoami-v2").status_code == 200
        counted = client.get("/metrics").text
    assert 'commons_hub_requests_total{method="GET",route="/api/whoami-v2",status="200"} 1.0' in counted
    left = workers(hub)
    hub.process.send_signal(signal.SIGKILL)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left))


class Late:
    """A process that answers, but not in time."""

    def __init__(self) -> None:
        self.ready = False

    def is_alive(self, timeout: float) -> bool:
        return True

    def is_ready(self) -> bool:
        return self.ready


def test_processes_that_take_longer_than_is_waited_for_are_told_of_in_the_end() -> None:
    said: list[str] = []
    hub = object.__new__(serving.Workers)  # its __init__ would take this process's signals
    hub.tell, hub.should_exit, hub.processes = lambda: said.append("answers"), threading.Event(), [Late(), Late()]
    hub.config = Config(app="none", timeout_worker_healthcheck=1)
    hub.keep_subprocess_alive()
    assert said == []
    for each in hub.processes:
        each.ready = True
    for _ in range(3):
        hub.keep_subprocess_alive()
    assert said == ["answers"]


def test_all_processes_are_replaced_while_others_are_served(start: Start) -> None:
    hub = start(workers=2)
    before = set(workers(hub))
    hub.process.send_signal(signal.SIGHUP)
    answers = []
    while before & set(workers(hub)):
        with hub.client() as client:
            answers.append(client.get("/health").status_code)
        time.sleep(0.02)
    assert answers and set(answers) == {200}
    assert hub.stop() == 0


def test_the_log_tells_no_secrets(start: Start) -> None:
    hub = start(log_level="debug")
    with hub.client("ada") as client:
        client.get("/api/whoami-v2?ticket=SECRET-QUERY", headers={"Cookie": "commons=SECRET-COOKIE"})
        client.post("/login", json={"name": "ada", "password": "SECRET-PASSWORD"})
    assert hub.stop() == 0
    told = [line for line in lines(hub.log) if line["event"] == "request"]
    assert [(line["path"], line["status"], line["user"]) for line in told] == [
        ("/api/whoami-v2", 200, "ada"), ("/login", 401, ""),
    ]  # fmt: skip
    text = hub.log.read_text()
    assert "SECRET" not in text and not any(token in text for token in hub.tokens.values())


def test_it_stays_on_this_machine_until_somebody_rules_it(tmp_path: Path) -> None:
    def answers(settings: Settings) -> None:
        raise AssertionError("it listens")

    for host in ("0.0.0.0", "::", "192.0.2.1", "hub.example.org"):
        with pytest.raises(UsageError, match="Nobody rules this hub yet"):
            serving.serve(load({}, folder=tmp_path / "new", host=host, port=0), answers)


def test_a_port_that_is_taken_is_told_in_words(server: Running, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"Cannot listen on 127.0.0.1 port {server.port}"):
        serving.bind(load({}, folder=tmp_path, port=server.port))


# --- what every answer has ------------------------------------------------------------------------------------------


def test_the_request_id_is_the_clients_where_it_is_plain(site: Site) -> None:
    client = site.client()
    for given, sent in (("X-Request-Id", "abc-123"), ("X-Amzn-Trace-Id", "7f9c24e8-3b12"), ("X-Request-Id", "a" * 128)):
        assert client.get("/health", headers={given: sent}).headers["x-request-id"] == sent
    for sent in ("a b", "ä".encode().decode("latin-1"), "a" * 129, '"<>'):
        told = client.get("/health", headers={"X-Request-Id": sent.encode("latin-1")}).headers["x-request-id"]
        assert len(told) == 32 and told != sent


def test_what_is_not_there_is_404_in_json(site: Site) -> None:
    for path in ("/", "/api/nothing", "/api/telemetry/x", "/api/agent-harnesses", "/a/b/c/d/e/f"):
        told = site.client("ada").get(path)
        assert (told.status_code, list(told.json())) == (404, ["error"]), path
    assert site.client().delete("/health").status_code == 405


def test_a_mistake_of_ours_shows_nothing_of_ours(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("SECRET")

    monkeypatch.setattr("modelcommons.hub.actions.accounts.profile", broken)
    told = site.client("ada").get("/api/whoami-v2")
    assert told.status_code == 500 and "SECRET" not in told.text and told.headers["x-request-id"] in told.text


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 507), (errno.EIO, 503), (errno.ENOENT, 500)])
def test_a_disk_that_fails_beside_the_store_is_no_mistake_of_ours(
    site: Site, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    def broken(*_: object) -> None:
        raise OSError(number, "SECRET")

    monkeypatch.setattr("modelcommons.hub.actions.commits.incoming", broken)
    client, lines = site.client("ada"), '{"key": "header", "value": {"summary": "x"}}\n'
    assert client.post("/api/repos/create", json={"name": "new", "type": "model"}).status_code == 200
    told = client.post("/api/models/ada/new/commit/main", content=lines)
    assert told.status_code == status and "SECRET" not in told.text and "x-request-id" in told.headers


def test_health_says_which_part_is_unwell(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert site.client().get("/health").json().items() >= {"database": "ok", "store": "ok"}.items()
    monkeypatch.setattr(type(site.stores.blobs), "has", lambda *_: 1 / 0)
    told = site.client().get("/health")
    assert (told.status_code, told.json()["store"]) == (503, "fails")


def test_counts_are_for_the_machine_and_for_administrators(site: Site) -> None:
    assert site.client().get("/metrics").status_code == 200
    assert site.client(headers={"X-Forwarded-For": "192.0.2.7"}).get("/metrics").status_code == 401
    assert site.client(address="192.0.2.7").get("/metrics").status_code == 401
    assert site.client("ada", address="192.0.2.7").get("/metrics").status_code == 403
    assert site.client("root", address="192.0.2.7").get("/metrics").status_code == 200
