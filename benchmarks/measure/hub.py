"""hub: a hub in processes of its own over a temporary folder, and the plainest client of it."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from modelcommons.hub.actions import accounts
from modelcommons.hub.permissions import Principal
from modelcommons.hub.settings import load
from modelcommons.hub.stores import Stores, open_stores

MIB = 1 << 20
WAIT_S = 600  # for one answer
COMMONS = Path(sys.executable).with_name("commons")


@dataclass(frozen=True)
class Hub:
    """A hub that answers, with the person ada on it."""

    port: int
    folder: Path
    token: str
    pid: int

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"  # as the hub calls itself; clients compare

    def ask(self, method: str, address: str, body: Any = None, kind: str = "application/json") -> Any:
        """One request on a connection of its own; what the answer says, which must be a good one.

        Args:
            body: a value that becomes JSON, bytes, or pieces of bytes together with their length.
        """
        parts = urlsplit(address)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        if isinstance(body, tuple):
            body, headers["Content-Length"] = body[0], str(body[1])
        elif body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        try:
            connection.request(method, f"{parts.path}?{parts.query}" if parts.query else parts.path, body, headers)
            answer = connection.getresponse()
            said = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            sys.exit(f"{method} {parts.path} answered {answer.status}: {said[:500]!r}")
        return json.loads(said) if said[:1] in (b"{", b"[") else said

    def create(self, name: str) -> str:
        self.ask("POST", "/api/repos/create", {"name": name, "type": "model"})
        return f"ada/{name}"

    def put(self, repo: str, sha256: str, size: int, pieces: Iterable[bytes]) -> None:
        """Uploads one file by LFS: a batch, the bytes in one request, and the batch's check."""
        actions = self.upload_actions(repo, sha256, size)
        self.ask("PUT", actions["upload"]["href"], (pieces, size), "application/octet-stream")
        self.ask("POST", actions["verify"]["href"], {"oid": sha256, "size": size})

    def upload_actions(self, repo: str, sha256: str, size: int) -> dict[str, Any]:
        """What the batch API of git-lfs says is to be done for one file."""
        objects = [{"oid": sha256, "size": size}]
        batch = {"operation": "upload", "transfers": ["basic"], "objects": objects, "hash_algo": "sha256"}
        said = self.ask("POST", f"/{repo}.git/info/lfs/objects/batch", batch)
        return dict(said["objects"][0]["actions"])

    def commit(self, repo: str, *lines: tuple[str, dict[str, Any]]) -> None:
        """Args: lines: ("file", ..), ("lfsFile", ..) as hub clients send them."""
        values = [{"key": "header", "value": {"summary": "Add files", "description": ""}}]
        values += [{"key": key, "value": value} for key, value in lines]
        body = b"".join(json.dumps(value).encode() + b"\n" for value in values)
        self.ask("POST", f"/api/models/{repo}/commit/main", body, "application/x-ndjson")

    def processes(self) -> list[int]:
        """The hub's process, and those that it started."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]

    def memory(self) -> int:
        """Resident bytes of all its processes together; pages that they share are counted once for each."""
        pages = 0
        for pid in self.processes():
            try:
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            except FileNotFoundError:  # it ended while we looked
                continue
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def serving(
    *, free: int = 0, prepare: Callable[[Stores, Principal], None] | None = None, **settings: Any
) -> Iterator[Hub]:
    """`commons hub serve` on a free port of loopback; all of it is gone when the block ends.

    Args:
        free: bytes that will be written; without twice as much room nothing begins.
        prepare: what is to be done in ada's name before it answers.
    """
    with tempfile.TemporaryDirectory(prefix="commons-bench-") as name:
        if (there := shutil.disk_usage(name).free) < 2 * free:
            sys.exit(f"Expected {2 * free / 1e9:,.0f} GB of free disk, got {there / 1e9:,.0f} GB. Set TMPDIR.")
        folder = Path(name, "hub")
        stores = open_stores(load({}, folder=folder))
        accounts.create_user(stores, "ada", admin=True)
        token = accounts.create_token(stores, "ada", "bench", "write")
        if prepare:
            prepare(stores, accounts.of_token(stores, token, "bearer"))
        stores.database.close()
        given = {f"COMMONS_HUB_{key.upper()}": str(value) for key, value in settings.items()}
        given |= {"COMMONS_HUB_FOLDER": str(folder), "COMMONS_HUB_PORT": "0"}
        command = [str(COMMONS), "hub", "serve", "--json", "--quiet"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | given) as process:
            try:
                assert process.stdout
                told = json.loads(process.stdout.readline())
                yield Hub(told["port"], folder, token, process.pid)
            finally:
                process.terminate()


@dataclass(frozen=True)
class Made:
    """A file that exists only while it is sent: one random MiB over and over, each time under another number."""

    seed: bytes
    size: int  # bytes

    def pieces(self) -> Iterator[bytes]:
        for start in range(0, self.size, MIB):
            piece = (start.to_bytes(8, "big") + self.seed)[:MIB]
            yield piece[: self.size - start]

    def sha256(self) -> str:
        digest = hashlib.sha256()
        for piece in self.pieces():
            digest.update(piece)
        return digest.hexdigest()


def make(size: int) -> Made:
    """A file that no hub has seen."""
    return Made(os.urandom(MIB), size)


def middle(values: Sequence[float], unit: str, digits: int = 0) -> str:
    """`212 MB/s (median; 198 to 221, n = 5)`."""
    low, high = min(values), max(values)
    return (
        f"{statistics.median(values):,.{digits}f} {unit} (median; {low:,.{digits}f} to {high:,.{digits}f}, "
        f"n = {len(values)})"
    )


def load_average() -> str:
    """What else the machine was doing, which moves every figure here."""
    return f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def verdict(holds: bool) -> str:
    return "holds" if holds else "does not hold"
