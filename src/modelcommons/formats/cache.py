"""where derived files live: the platform's cache folder. Nothing in it is the only copy of anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs


def cache_folder(name: str) -> Path:
    """The folder `name` in the cache, made when missing, readable by its owner only (data may be private)."""
    root = platformdirs.user_cache_path("modelcommons", appauthor=False)
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    root.chmod(0o700)
    return folder


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path` in one step when the block ends well, and is removed when it does not."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
