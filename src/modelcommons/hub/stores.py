"""stores: what a hub stands on, made once in app.py and handed to every action."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from modelcommons.hub.blobs import Blobs
from modelcommons.hub.database import Database
from modelcommons.hub.downloads import Downloads
from modelcommons.hub.settings import Settings


@dataclass(frozen=True, slots=True)
class Stores:
    """Database, bytes, the secret that signs tickets, and the clock."""

    settings: Settings
    database: Database
    blobs: Blobs
    secret: bytes  # 32 bytes, kept in the folder with mode 0600
    now: Callable[[], float]  # Unix seconds
    downloads: Downloads = field(default_factory=Downloads)  # counted in memory, written now and then
