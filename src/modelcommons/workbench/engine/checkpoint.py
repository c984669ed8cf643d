"""checkpoints: written so that a kill at any moment leaves a good one, read so that a damaged one is never used.

A checkpoint is a folder `step-<n>`: tensors.safetensors, state.json, and manifest.json (sha256 of both) written last.
It is made under another name, flushed to disk, then renamed; the two newest good ones are kept. No pickle anywhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

KEEP = 2


@dataclass(frozen=True, slots=True)
class Checkpoint:
    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


def write(folder: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Adds a checkpoint and removes those before the last two."""
    part = folder / f".step-{step}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    files = {
        "tensors.safetensors": save(_apart(tensors)),
        "state.json": json.dumps(state).encode(),
    }
    for name, data in {**files, "manifest.json": json.dumps(_digests(files)).encode()}.items():
        _write(part / name, data)
    _sync(part)
    target = folder / f"step-{step}"
    shutil.rmtree(target, ignore_errors=True)  # a damaged one of the same step
    part.rename(target)
    _sync(folder)
    for old in _newest_first(folder)[KEEP:]:
        shutil.rmtree(old, ignore_errors=True)


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor in a place of its own: tied weights, such as an embedding that is the last layer too, share one."""
    found: dict[int, Tensor] = {}
    for tensor in tensors.values():
        found.setdefault(tensor.data_ptr(), tensor)
    return {
        name: tensor.detach().contiguous() if found[tensor.data_ptr()] is tensor else tensor.detach().clone()
        for name, tensor in tensors.items()
    }


def newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint whose digests hold; None when there is none."""
    for path in _newest_first(folder):
        try:
            manifest = json.loads((path / "manifest.json").read_bytes())
            files = {name: (path / name).read_bytes() for name in ("tensors.safetensors", "state.json")}
        except (OSError, ValueError):
            continue
        if manifest == _digests(files):
            step = int(path.name.removeprefix("step-"))
            return Checkpoint(step, load(files["tensors.safetensors"]), json.loads(files["state.json"]))
    return None


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")), reverse=True)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
