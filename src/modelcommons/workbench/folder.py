"""the run folder: written atomically, resumed by digest.

RUN/
  recipe.yaml          fully resolved
  lock                 one process at a time
  get/ prepare/ tune/ evaluate/ explain/ shrink/    each with done.json, written last
  model/               what publish made: the model folder in the Hugging Face layout
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelcommons.errors import UsageError


def write(path: Path, data: bytes | str) -> None:
    """Replaces `path` in one step: a reader sees the old bytes or the new ones, which survive a power cut."""
    raw = data.encode() if isinstance(data, str) else data
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")  # one name: what a kill leaves is written over by the next run
    with open(part, "wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    sync(path.parent)


def sync(folder: Path) -> None:
    """Makes renames inside `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `folder` in one step, durably, when the block ends well."""
    _mend(folder)
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    try:
        yield part
        _sync(part)
        if folder.exists():
            _exchange(part, folder)
        else:
            part.rename(folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)  # the old one, or what was not finished


def _mend(folder: Path) -> None:
    """What killed runs left beside the folder is put back or removed."""
    kept = folder.with_name(f".{folder.name}.old")
    if kept.exists() and not folder.exists():
        kept.rename(folder)
    for left in (kept, *folder.parent.glob(f".{folder.name}.*.part")):
        shutil.rmtree(left, ignore_errors=True)


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        else:
            sync(path)
    sync(folder)


RENAME_EXCHANGE = 2  # linux/fs.h
AT_FDCWD = -100


def _exchange(new: Path, old: Path) -> None:
    """Swaps two folders in one step; a plain rename cannot replace a folder that is not empty."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename and rename(AT_FDCWD, os.fsencode(new), AT_FDCWD, os.fsencode(old), RENAME_EXCHANGE) == 0:
        return
    # no such call here (other systems, some network file systems): two steps, the old one kept until the new is there
    kept = old.with_name(f".{old.name}.old")
    old.rename(kept)
    new.rename(old)
    kept.rename(new)


class RunFolder:
    """A folder of stages. A stage is finished when its done.json carries the key it was asked with."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def model(self) -> Path:
        """Where `publish` leaves the model folder."""
        return self.path / "model"

    def stage(self, name: str) -> Path:
        """The stage's own folder, made when missing."""
        path = self.path / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def finished(self, name: str, key: str) -> dict[str, Any] | None:
        """What the stage left when it last finished with this `key`; None when it did not."""
        try:
            done = json.loads((self.path / name / "done.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return done["value"] if done.get("key") == key else None

    def restart(self, name: str, key: str) -> Path:
        """The stage's folder, emptied unless it was begun with the same `key` (so that its checkpoints may be used)."""
        path = self.path / name
        begun = path / "key"
        if not (begun.is_file() and begun.read_text() == key):
            for mark in ("done.json", "key"):  # first, so that what a kill leaves here is not taken for whole
                (path / mark).unlink(missing_ok=True)
            shutil.rmtree(path, ignore_errors=True)
            write(begun, key)
        (path / "done.json").unlink(missing_ok=True)
        return path

    def finish(self, name: str, key: str, value: dict[str, Any]) -> None:
        """Marks the stage finished; the last thing it does."""
        write(self.path / name / "done.json", json.dumps({"key": key, "value": value}, indent=1, ensure_ascii=False))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time.

        Raises:
            UsageError: another process is running in this folder.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / "lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"Another process is running in {self.path}. Wait for it, or end it.") from None
            yield
