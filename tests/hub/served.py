"""served: a hub as its own process on a real socket, with people in it; for tests that are its clients."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelcommons.hub.actions import accounts
from modelcommons.hub.app import open_stores
from modelcommons.hub.permissions import Scope
from modelcommons.hub.settings import Settings

COMMONS = [sys.executable, "-c", "from modelcommons.cli import main; main()"]
READY_S = 60.0  # how long a start may take on a busy machine
END_S = 30.0


@dataclass
class Served:
    """A hub that answers."""

    url: str
    port: int
    folder: Path
    tokens: dict[str, str]
    process: subprocess.Popen[bytes]

    def log(self) -> str:
        return (self.folder.parent / f"{self.folder.name}.log").read_text(errors="replace")


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
def serve(folder: Path, **settings: object) -> Iterator[Served]:
    """`commons hub serve` over an empty folder; ended by SIGTERM when the block ends."""
    port = free_port()
    tokens = people(Settings(folder=folder, database=str(settings.get("database", ""))))
    given = {"folder": folder, "port": port, **settings}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COMMONS_HUB_", "HF_"))}
    environment |= {f"COMMONS_HUB_{name.upper()}": str(value) for name, value in given.items()}
    with open(folder.parent / f"{folder.name}.log", "wb") as log:
        process = subprocess.Popen([*COMMONS, "hub", "serve"], env=environment, stdout=log, stderr=subprocess.STDOUT)
    served = Served(f"http://localhost:{port}", port, folder, tokens, process)
    try:
        wait_until_ready(served)
        yield served
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the hub did not end within {END_S} s of SIGTERM:\n{served.log()[-3000:]}") from None


def wait_until_ready(served: Served) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        if served.process.poll() is not None:
            raise AssertionError(f"the hub ended at once:\n{served.log()[-3000:]}")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise AssertionError(f"the hub was not ready after {READY_S} s:\n{served.log()[-3000:]}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
