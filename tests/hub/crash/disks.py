"""disks: file systems in files, mounted by loop, which can be copied as they are when the power goes.

What a process wrote lies in memory until the kernel or an fsync brings it to the disk. A copy of the file below a
mounted file system has only what came that far: it is the disk of a machine whose power was cut.

The blobs have a disk of their own: on one disk, an fsync of the database would bring everything else to it as well, and
would hide that another fsync is missing.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

CLONE_NEWNS = 0x00020000
MB = 1 << 20
# nothing comes to the disk by itself while we look: the journal is not written every five seconds
OPTIONS = "loop,commit=300,noatime"


def missing() -> str:
    """Why no power can be cut here; empty where it can."""
    if os.geteuid() != 0:
        return "needs root: it mounts file systems"
    for command in ("mkfs.ext4", "mount", "umount", "losetup", "unshare"):
        if shutil.which(command) is None:
            return f"needs {command}"
    script = 'cd "$(mktemp -d)" && truncate -s 8M i && mkfs.ext4 -qF i && mkdir m && mount -o loop i m && umount m'
    tried = subprocess.run(["unshare", "-m", "sh", "-c", f"{script} && rm -r i m && rmdir $PWD"], capture_output=True)
    return f"needs to be allowed to mount a file: {tried.stderr.decode().strip()}" if tried.returncode else ""


def private_mounts() -> None:
    """From here on this process and its children mount for themselves; when they end, nothing is left mounted."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    _run("mount", "--make-rprivate", "/")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[None]:
    place.mkdir(exist_ok=True)
    _run("mount", "-o", OPTIONS, str(image), str(place))
    try:
        yield
    finally:
        _run("umount", "-l", str(place))


def make(image: Path, megabytes: int) -> None:
    with open(image, "wb") as file:
        file.truncate(megabytes * MB)
    _run("mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image))


@contextmanager
def both(folder: Path, name: str, images: tuple[Path, Path]) -> Iterator[Path]:
    """A hub's folder on one disk, with `blobs` on the other."""
    place = folder / name
    with ExitStack() as closing:
        closing.enter_context(mounted(images[0], place))
        closing.enter_context(mounted(images[1], place / "blobs"))
        yield place


def fill(folder: Path, hub: Path, sizes: tuple[int, int] = (24, 32)) -> tuple[Path, Path]:
    """Two disks that hold a copy of a hub's folder, all of it durable."""
    images = (folder / "rows.img", folder / "blobs.img")
    for image, megabytes in zip(images, sizes, strict=True):
        make(image, megabytes)
    with both(folder, "filling", images) as place:
        shutil.copytree(hub, place, dirs_exist_ok=True)
        (place / "blobs" / "lost+found").rmdir()
        (place / "lost+found").rmdir()
        os.sync()
    return images


def copied(images: tuple[Path, Path], folder: Path, name: str) -> tuple[Path, Path]:
    """The disks as they are this moment; whoever writes to them must be stopped."""
    copies = (folder / f"{name}-rows.img", folder / f"{name}-blobs.img")
    for image, copy in zip(images, copies, strict=True):
        _run("cp", "--sparse=always", str(image), str(copy))
    return copies


@contextmanager
def cut(folder: Path, hub: Path) -> Iterator[tuple[Path, Callable[[], Path]]]:
    """A copy of the hub on disks, and a verb that cuts their power and gives what is there afterwards."""
    full = (folder / f"{hub.name}-full-rows.img", folder / f"{hub.name}-full-blobs.img")
    if not full[0].exists():
        copied(fill(folder, hub), folder, f"{hub.name}-full")
    images = copied(full, folder, "live")
    with ExitStack() as closing:
        live = closing.enter_context(both(folder, "live", images))

        def after() -> Path:
            return closing.enter_context(both(folder, "cut", copied(images, folder, "cut")))

        yield live, after
