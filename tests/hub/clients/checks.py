"""checks: what the programs of this folder share: who they are, requests by hand, and the loop that runs them.

A program is started by `test_clients.py` as its own process, with an interpreter that has the client but not the hub.
Each of its functions `check_..` is one statement about the hub; the loop runs them all and prints one line of JSON for
each: {"name", "ok", "text"}.
"""

from __future__ import annotations

import functools
import http.client
import inspect
import json
import os
import re
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

ENDPOINT = os.environ["HF_ENDPOINT"]
# name -> token. ada is an admin of the organisation guild, ben may write in it, cleo may read; dan is nobody's
TOKENS: dict[str, str] = json.loads(os.environ["CLIENT_TOKENS"])
WORK = Path(os.environ["CLIENT_FOLDER"])  # empty, and this program's own


class Skip(Exception):
    """This client cannot ask for it."""


def api(who: str = "ada") -> HfApi:
    """The client of a person; `nobody` sends no token at all."""
    return HfApi(token=False if who == "nobody" else TOKENS[who])


def fresh(kind: str = "model", *, number: int = 1, **settings: Any) -> str:
    """A new repository of ada's, named after the check that asks for it."""
    frame: FrameType | None = inspect.currentframe()
    while frame and not frame.f_code.co_name.startswith("check_"):
        frame = frame.f_back
    assert frame
    program = Path(frame.f_code.co_filename).stem
    name = f"{program}-{frame.f_code.co_name.removeprefix('check_')}".replace("_", "-")
    if kind == "space":
        settings.setdefault("space_sdk", "static")
    return api("ada").create_repo(f"ada/{name[:80].rstrip('-')}-{number}", repo_type=kind, **settings).repo_id


@contextmanager
def raises(*kinds: type[Exception], status: int | None = None, says: str = "") -> Iterator[None]:
    """The block has to end in one of these errors, with this status and these words in its message."""
    try:
        yield
    except kinds as error:
        if status is not None:
            answer = getattr(error, "response", None)
            assert answer is not None, f"expected status {status}, got {error!r}"
            assert answer.status_code == status, f"expected status {status}, got {answer.status_code}: {error}"
        assert says.lower() in str(error).lower(), f"expected {says!r} in the message, got: {error}"
        return
    raise AssertionError(f"expected {[kind.__name__ for kind in kinds]}, and nothing was raised")


refused = functools.partial(raises, HfHubHTTPError)


def needs(*methods: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """The check is skipped where this version of the client has no such method."""

    def wrap(check: Callable[[], None]) -> Callable[[], None]:
        missing = [method for method in methods if not hasattr(HfApi, method)]
        if not missing:
            return check

        def skip() -> None:
            raise Skip(f"this version has no {missing[0]}")

        skip.__name__ = check.__name__
        return skip

    return wrap


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]  # names in small letters; the last one where a name is given twice
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    method: str,
    path: str,
    body: Any = None,
    *,
    who: str = "ada",
    headers: dict[str, str] | None = None,
) -> Answer:
    """One request by hand, its path as written; bytes go as they are, anything else as JSON."""
    parts = urlsplit(ENDPOINT)
    sent = {"Authorization": f"Bearer {TOKENS[who]}"} if who != "nobody" else {}
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        sent["Content-Type"] = "application/json"
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
    try:
        connection.request(method, path, body, sent | (headers or {}))
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


@dataclass
class Proxy:
    """What stands between a client and the hub, on loopback, and breaks answers off."""

    after: int  # bytes of one connection's answers
    times: int  # how often that happens; afterwards all passes
    hold: bool = False  # break off by silence, not by an end
    address: str = ""
    heads: list[bytes] = field(default_factory=list)  # of the requests that came through
    over: threading.Event = field(default_factory=threading.Event)

    def ranges(self) -> list[int]:
        """Where the requests that did not begin at the beginning of the file began."""
        found = (re.search(rb"\r\nrange: bytes=(\d+)-", head, re.IGNORECASE) for head in self.heads)
        return [int(one[1]) for one in found if one and int(one[1])]

    def accept(self, listener: socket.socket) -> None:
        parts = urlsplit(ENDPOINT)
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return  # closed
            far = socket.create_connection((str(parts.hostname), parts.port or 80))
            for which, one, other in ((self.ask, near, far), (self.answer, far, near)):
                threading.Thread(target=which, args=(one, other), daemon=True).start()

    def ask(self, near: socket.socket, far: socket.socket) -> None:
        with _ended(near, far):
            while piece := near.recv(1 << 16):
                if b" HTTP/1.1\r\n" in piece:
                    self.heads.append(piece)
                far.sendall(piece)

    def answer(self, far: socket.socket, near: socket.socket) -> None:
        sent = 0
        with _ended(near, far):
            while piece := far.recv(1 << 16):
                sent += len(piece)
                if self.times and sent > self.after:
                    self.times -= 1
                    if self.hold:
                        self.over.wait()
                    return
                near.sendall(piece)


@contextmanager
def _ended(*both: socket.socket) -> Iterator[None]:
    """However one direction ends, the other one does too; orderly, as a server ends that is stopped."""
    try:
        with suppress(OSError):
            yield
    finally:
        for one in both:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def cutting(after: int, times: int, *, hold: bool = False) -> Iterator[Proxy]:
    """A proxy that breaks off `times` answers after so many bytes."""
    proxy = Proxy(after, times, hold)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy.address = f"http://localhost:{listener.getsockname()[1]}"
        threading.Thread(target=proxy.accept, args=(listener,), daemon=True).start()
        try:
            yield proxy
        finally:
            proxy.over.set()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # else `accept` would go on waiting


def until(seen: Callable[[], bool], what: str) -> None:
    """Waits up to a minute."""
    for _ in range(600):
        if seen():
            return
        time.sleep(0.1)
    raise AssertionError(f"this was waited for in vain: {what}")


def main() -> None:
    """Runs every check of the program, in the order in which they are written."""
    for name, check in list(vars(sys.modules["__main__"]).items()):
        if not name.startswith("check_"):
            continue
        try:
            check()
            line = {"name": name, "ok": True, "text": ""}
        except Skip as reason:
            line = {"name": name, "ok": None, "text": str(reason)}
        except Exception:
            line = {"name": name, "ok": False, "text": traceback.format_exc(limit=-6)}
        print(json.dumps(line), flush=True)
