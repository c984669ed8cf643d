"""stores: what a hub stands on, made once and handed to every action."""

from __future__ import annotations

import os
import re
import secrets
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from modelcommons.errors import UsageError
from modelcommons.hub import migrations
from modelcommons.hub.blobs import Blobs, open_blobs
from modelcommons.hub.database import Database, connect
from modelcommons.hub.downloads import Downloads
from modelcommons.hub.settings import Settings


@dataclass(frozen=True, slots=True)
class Stores:
    """Database, bytes, the secret that signs and seals, and the clock."""

    settings: Settings
    database: Database
    blobs: Blobs
    secret: bytes  # 32 bytes, kept in the folder with mode 0600
    now: Callable[[], float]  # Unix seconds
    downloads: Downloads = field(default_factory=Downloads)  # counted in memory, written now and then


def open_stores(settings: Settings, now: Callable[[], float] = time.time) -> Stores:
    """Database, bytes and secret of a hub, made where they are not there yet."""
    folder = settings.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)  # passwords' hashes and private files lie in it
    secret = _secret(settings)
    database = connect(settings.database, folder)
    migrations.upgrade(database, secret)
    return Stores(settings, database, open_blobs(settings), secret, now)


def _secret(settings: Settings) -> bytes:
    """32 bytes that sign tickets and seal webhooks' secrets: as they were set, or made once and kept in the folder."""
    if settings.secret:
        if not re.fullmatch(r"[0-9a-f]{64}", settings.secret):
            raise UsageError("Expected the setting `secret` to be 64 hexadecimal digits: openssl rand -hex 32.")
        return bytes.fromhex(settings.secret)
    path = settings.folder / "secret"
    if not path.exists():
        _write_once(path, secrets.token_bytes(32))
    if path.stat().st_mode & 0o077:
        raise UsageError(
            f"{path} can be read by others, who could sign tickets with it, and unseal. Run: chmod 600 {path}"
        )
    kept = path.read_bytes()
    if len(kept) != 32:
        raise UsageError(
            f"Expected 32 bytes in {path}, got {len(kept)}. Restore it from a backup; without it, delete it to have a "
            "new one, and let people set the secrets of their webhooks again."
        )
    return kept


def _write_once(path: Path, data: bytes) -> None:
    """Writes a private file whole; where another process was quicker, its file stays."""
    handle, name = tempfile.mkstemp(dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(name, path)
        except FileExistsError:
            return
    finally:
        os.unlink(name)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
