"""server: answers on a socket: deadlines for slow clients, files from the kernel, several processes, a calm end."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

from uvicorn import Config, Server
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.supervisors.multiprocess import Multiprocess

from modelcommons.errors import StoreFailed, UsageError
from modelcommons.hub import logs
from modelcommons.hub.settings import Settings
from modelcommons.hub.stores import Stores, open_stores

MAX_HEAD = 64 << 10  # bytes of request line and headers
KEEP_ALIVE_S = 15.0  # how long a connection may wait for its next request
TICK_S = 5.0  # how seldom a connection is looked at
LAST_CALL_S = 1.0  # how long a process that ends listens to who has only just connected
SENDFILE = "modelcommons.sendfile"
OPEN_FILES = 65_536  # connections, and the files that they are sent
HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
# struct tcp_info of linux/tcp.h: tcpi_bytes_acked, 64 bits
ACKED = slice(120, 128)


class Flow(FlowControl):
    """Remembers since when it reads, so that a client is not blamed for a pause of ours."""

    def __init__(self, transport: asyncio.Transport, clock: Callable[[], float]) -> None:
        super().__init__(transport)
        self.clock = clock
        self.reading_since = clock()

    def resume_reading(self) -> None:
        if self.read_paused:
            self.reading_since = self.clock()
        super().resume_reading()


class Refusal(Exception):
    """A request that goes no further than its head."""

    def __init__(self, status: int, words: str) -> None:
        self.status, self.words = status, words


class Connection(HttpToolsProtocol):
    """One client. uvicorn waits for ever for a head, a body, or a reader; this does not.

    Deadlines: `header_s` from the first moment to the end of a head, `idle_s` between two pieces of a body, and
    `idle_s` in which the client takes nothing of what it is sent.
    """

    flow: Flow

    def __init__(self, settings: Settings, **given: Any) -> None:
        super().__init__(**given)
        self.settings = settings

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = Flow(transport, self.loop.time)
        self.head_since: float | None = self.loop.time()
        self.heard = self.loop.time()  # when the last bytes came
        self.in_message = False
        self.head_size = 0  # bytes
        self.refusal: Refusal | None = None
        self.stuck_since: float | None = None  # while there is more to send than the client takes
        self.acked: int | None = None
        self.sending_file = False
        self.ending = False
        self.watch = self.loop.call_later(self.settings.header_s, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self.watch.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The process ends. Whoever connected and has asked nothing yet is still heard: they cannot know."""
        if self.cycle is None and not self.transport.is_closing():
            self.ending = True
            self.loop.call_later(LAST_CALL_S, super().shutdown)
        else:
            super().shutdown()

    # --- deadlines

    def _look(self) -> None:
        """Ends the connection where its time is over; else looks again when it will be."""
        now = self.loop.time()
        due = self._due(now)
        if due is not None and due <= now:
            if self.sending_file:
                # the kernel is told, so that `loop.sendfile` wakes up and cleans up; an abort would leave it waiting
                self.transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            else:
                self.transport.abort()
            return
        self.watch = self.loop.call_later(min(due - now if due is not None else TICK_S, TICK_S) + 0.01, self._look)

    def _due(self, now: float) -> float | None:
        if self.stuck_since is not None:
            acked = acknowledged(self.transport.get_extra_info("socket"))
            if acked != self.acked:
                self.acked, self.stuck_since = acked, now
            return None if acked is None else self.stuck_since + self.settings.idle_s
        if self.flow.read_paused:
            return None
        if self.head_since is not None:
            return max(self.head_since, self.flow.reading_since) + self.settings.header_s
        if self.in_message:
            waits = self.cycle.waiting_for_100_continue and not self.cycle.response_complete
            return None if waits else max(self.heard, self.flow.reading_since) + self.settings.idle_s
        answered = self.cycle is None or self.cycle.response_complete
        return max(self.heard, self.flow.reading_since) + KEEP_ALIVE_S if answered else None

    def pause_writing(self) -> None:
        super().pause_writing()
        self.stuck_since = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.stuck_since = self.loop.time() if self.sending_file else None

    def on_response_complete(self) -> None:
        self.heard = max(self.heard, self.loop.time())
        super().on_response_complete()

    # --- heads

    def data_received(self, data: bytes) -> None:
        self.heard = self.loop.time()
        if not self.in_message and self.head_since is None:
            self.head_since = self.heard
        super().data_received(data)
        if self.head_since is not None and self.refusal is None:
            self.head_size += len(data)
            if self.head_size > MAX_HEAD:
                self.refusal = Refusal(431, f"Expected a head of at most {MAX_HEAD} bytes.")
                self.send_400_response("")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.in_message = True
        self.head_size = 0
        if self.head_since is None:
            self.head_since = self.loop.time()

    def on_headers_complete(self) -> None:
        self.head_since = None
        self.head_size = 0
        if refusal := head_refused(self.url, self.headers, self.parser.get_http_version()):
            self.refusal = refusal
            raise refusal  # the parser stops, and uvicorn calls send_400_response
        super().on_headers_complete()
        if self.ending:
            self.cycle.keep_alive = False
        self.scope["extensions"] = {SENDFILE: partial(self._sendfile, self.cycle)}  # type: ignore[dict-item]

    def on_message_complete(self) -> None:
        self.in_message = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What a client is told whose head cannot be read; after it nothing is read from the connection."""
        refusal = self.refusal or Refusal(400, "Expected a request in HTTP/1.1, and could not read what came.")
        self.refusal = refusal
        self.in_message, self.head_since = False, self.loop.time()  # so long it has to take this answer
        if self.transport.is_closing() or (self.cycle is not None and self.cycle.response_started):
            self.transport.close()
            return
        body = json.dumps({"error": refusal.words}).encode()
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[refusal.status] + head + body)
        self.transport.close()

    # --- files

    async def _sendfile(self, cycle: RequestResponseCycle, file: int, offset: int, count: int) -> None:
        """Sends part of a file, without its bytes coming through this process.

        Args:
            file: an open file descriptor; it stays open.
            offset, count: bytes; both inside the file.

        Raises:
            StoreFailed: the file ends before that; the connection is broken off, so that nobody takes the part for all.
        """
        assert cycle.response_started and not cycle.chunked_encoding and count <= cycle.expected_content_length
        if cycle.disconnected or self.transport.is_closing() or not count:
            return
        self.sending_file, self.stuck_since = True, self.loop.time()
        try:
            with open(file, "rb", buffering=0, closefd=False) as source:
                sent = await self.loop.sendfile(self.transport, source, offset, count)
        except ConnectionError:  # the client has gone
            cycle.disconnected = True
            self.transport.abort()
            return
        finally:
            self.sending_file, self.stuck_since = False, None
        if sent < count:
            self.transport.abort()
            raise StoreFailed("The store has fewer bytes of a file than it should. Run: commons hub fsck.")
        cycle.expected_content_length -= count


def head_refused(url: bytes, headers: list[tuple[bytes, bytes]], version: str) -> Refusal | None:
    """What is wrong with a head that could be parsed; nothing where nothing is."""
    if len(url) + sum(len(name) + len(value) + 4 for name, value in headers) > MAX_HEAD:
        return Refusal(431, f"Expected a head of at most {MAX_HEAD} bytes.")
    names = [name for name, _ in headers]
    if version not in ("1.0", "1.1"):  # the parser takes a line without a version for HTTP/0.9
        return Refusal(400, "Expected a request in HTTP/1.1.")
    # two proxies could each believe another one
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (version == "1.1" and not hosts) or not all(map(HOST.fullmatch, hosts)):
        return Refusal(400, "Expected one Host header, with a name or an address and perhaps a port.")
    if names.count(b"content-length") + names.count(b"transfer-encoding") > 1:
        return Refusal(400, "Expected one Content-Length or one Transfer-Encoding.")
    if any(name == b"transfer-encoding" and value.strip().lower() != b"chunked" for name, value in headers):
        return Refusal(400, "Expected no other Transfer-Encoding than chunked.")
    return None


def acknowledged(connection: socket.socket) -> int | None:
    """How many bytes the other side has confirmed; None on systems that do not tell."""
    if not hasattr(socket, "TCP_INFO"):
        return None
    try:
        return int.from_bytes(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)[ACKED], "little")
    except OSError:
        return 0


# --- processes ------------------------------------------------------------------------------------------------------


def serve(settings: Settings, tell: Callable[[Settings], None]) -> None:
    """Answers until it is told to stop (SIGTERM, Ctrl-C); requests that are under way are finished first.

    Args:
        tell: is called once, when the hub answers, with the port that was taken.

    Raises:
        UsageError: the port is taken, or the hub would be open to others before it has an administrator.
    """
    _allow_many_files()
    shared = settings.workers > 1
    if shared:
        _share_metrics(settings)
    from modelcommons.hub import app  # after _share_metrics, which it depends on

    logs.set_up(settings.log_level)
    stores = open_stores(settings)  # here first, so that what is wrong is told by one process, in words
    try:
        _refuse_strangers(settings, stores)
    finally:
        stores.database.close()
    listening = bind(settings)
    settings = replace(settings, port=listening.getsockname()[1])
    try:
        if shared:
            Workers(_config(partial(work, settings), settings), [listening], lambda: tell(settings)).run()
        else:
            server = Alone(_config(app.make(settings), settings), lambda: tell(settings))
            signal.signal(signal.SIGHUP, server.handle_exit)
            server.run([listening])
    except KeyboardInterrupt:  # uvicorn has ended calmly, and says so
        pass
    finally:
        listening.close()


def _config(app: Any, settings: Settings) -> Config:
    http = cast(type[Connection], partial(Connection, settings))
    return Config(
        app, factory=isinstance(app, partial), loop="asyncio", http=http, ws="none", workers=settings.workers,
        log_config=None, access_log=False, server_header=False, backlog=4096,
        proxy_headers=bool(settings.proxies), forwarded_allow_ips=settings.proxies or None,
        timeout_keep_alive=86_400,  # Connection has its own, which also holds where an answer came before its request
        timeout_graceful_shutdown=max(1, round(settings.stop_s)),
        timeout_worker_healthcheck=60,  # a busy machine is no dead worker
    )  # fmt: skip


class Alone(Server):
    """One process, which says when it answers."""

    def __init__(self, config: Config, tell: Callable[[], None]) -> None:
        super().__init__(config)
        self.tell = tell

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.tell()


class Workers(Multiprocess):
    """Several processes on one socket. One that dies is replaced; SIGHUP replaces them all, one after the other."""

    def __init__(self, config: Config, sockets: list[socket.socket], tell: Callable[[], None]) -> None:
        super().__init__(config, sockets)
        self.tell = tell

    told = False

    def init_processes(self) -> None:
        super().init_processes()
        within = self.config.timeout_worker_healthcheck
        if all(each.wait_until_ready(within, self.should_exit) for each in self.processes):
            self._tell()

    def keep_subprocess_alive(self) -> None:
        """Called twice a second; also says that all answer where that took longer than was waited for."""
        super().keep_subprocess_alive()
        if not self.told and not self.should_exit.is_set() and all(each.is_ready() for each in self.processes):
            self._tell()

    def _tell(self) -> None:
        self.told = True
        self.tell()


def work(settings: Settings) -> Any:
    """The application of one of several processes; it ends when the first process is gone, however that ended."""
    from modelcommons.hub import app

    logs.set_up(settings.log_level)
    first = multiprocessing.parent_process()
    assert first is not None

    def follow() -> None:
        first.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, daemon=True).start()
    return app.make(settings)


def bind(settings: Settings) -> socket.socket:
    """A socket that listens where the settings say. Raises: UsageError: the address is taken, or is none of ours."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio sends small answers at once (TCP_NODELAY) only where a socket says that it is TCP
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise UsageError(
            f"Cannot listen on {settings.host} port {settings.port}: {error.strerror}. Choose another with --port; "
            f"0 takes a free one."
        ) from None
    listening.set_inheritable(True)
    return listening


def _refuse_strangers(settings: Settings, stores: Stores) -> None:
    from modelcommons.hub.actions.accounts import has_admin
    from modelcommons.hub.wire.doors import is_loopback

    if is_loopback(settings.host):
        return
    with stores.database.reading() as connection:
        if not has_admin(connection):
            raise UsageError(
                f"Nobody rules this hub yet, so it listens on this machine only, and not on {settings.host}. "
                f"First: commons hub user add NAME --admin"
            )


def _share_metrics(settings: Settings) -> None:
    """One folder where the processes keep their counts together, empty at each start."""
    folder = settings.folder / "metrics"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    # prometheus_client has no other way to be told, and reads it when it is imported
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)


def _allow_many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
