"""tracing: children of this process, watched by strace, which counts their calls, kills them at one, or fails one."""

from __future__ import annotations

import ctypes
import os
import pickle
import re
import shutil
import signal
import subprocess
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# every call by which a hub changes a disk; writev is how a client writes down what was acknowledged
WATCHED = (
    "openat,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,ftruncate,mkdir,"
    "sync_file_range,writev"
)  # fmt: skip
ERRORS = {  # what a disk may answer
    "write": ("EIO", "ENOSPC"), "pwrite64": ("EIO", "ENOSPC"), "openat": ("EIO", "ENOSPC", "EMFILE"),
    "fsync": ("EIO",), "fdatasync": ("EIO",), "rename": ("EIO", "ENOSPC"), "mkdir": ("ENOSPC",), "ftruncate": ("EIO",),
    "unlink": ("EIO",),
}  # fmt: skip
CALL = re.compile(r"^(?:\d+ +)?(\w+)\((?:\d+<([^>\n]*)>)?", re.M)
ANY = ctypes.c_ulong(-1)  # prctl(2): PR_SET_PTRACER_ANY
PR_SET_PTRACER = 0x59616D61


@dataclass(frozen=True)
class Point:
    """The so-many-th call of a name; none: the end, when all is acknowledged and nothing was closed."""

    call: str = "end"
    number: int = 0
    error: str = ""  # empty: the process is killed
    on: str = ""  # the path of the open file that the call is given, where it is given one

    def __str__(self) -> str:
        return f"{self.call} {self.number} {self.error}".strip()

    @property
    def injection(self) -> list[str]:
        if self.call == "end":
            return []
        what = f"error={self.error}" if self.error else "signal=SIGKILL"
        return ["-e", f"inject={self.call}:{what}:when={self.number}"]


@dataclass(frozen=True)
class Ended:
    """How a child ended."""

    value: Any  # what its work returned; None where it was killed
    acknowledged: int
    killed: bool
    calls: list[tuple[str, str]]  # name, and path of the open file that it is given, in their order


def missing() -> str:
    """Why nothing can be traced here; empty where it can."""
    if shutil.which("strace") is None:
        return "needs strace"
    try:
        child(lambda log: True, Path(os.devnull))
    except RuntimeError as error:
        return f"needs to be allowed to trace its own processes: {error}"
    return ""


def child(
    work: Callable[[int], Any], trace: Path | None = None, point: Point | None = None, *, paths: bool = False
) -> Ended:
    """Runs `work` in a fork of this process; it is given a pipe for what is acknowledged.

    Args:
        trace: where strace writes; none: it is not traced.
        paths: it writes the paths of open files too.

    Raises:
        RuntimeError: the work failed, with what it said.
    """
    log_out, log_in = os.pipe()
    result_out, result_in = os.pipe()
    go_out, go_in = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(go_in)
        _work(work, go_out, log_in, result_in)
    for one in (log_in, result_in, go_out):
        os.close(one)
    try:
        tracer = attach(pid, trace, point or Point(), paths=paths) if trace else None
    except RuntimeError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for one in (go_in, log_out, result_out):
            os.close(one)
        raise
    os.write(go_in, b"g")
    os.close(go_in)
    with os.fdopen(result_out, "rb") as results, os.fdopen(log_out, "rb") as log:
        result, acknowledged = results.read(), len(log.read())
    _, status = os.waitpid(pid, 0)
    if tracer:
        tracer.wait(60)
        assert tracer.stderr
        tracer.stderr.close()
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if not killed and not result:
        raise RuntimeError(f"a child ended with {status} and said nothing")
    worked, value = pickle.loads(result) if result and not killed else (True, None)
    if not worked:
        raise RuntimeError(value)
    calls = CALL.findall(trace.read_text(errors="replace")) if trace else []
    return Ended(value, acknowledged, killed, calls)


def _work(work: Callable[[int], Any], go: int, log: int, result: int) -> None:
    """The child's life; it ends as by a kill: nothing is flushed, nothing closed."""
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANY, 0, 0, 0)  # where only ancestors may trace, our sibling may
    os.read(go, 1)
    try:
        said = pickle.dumps((True, work(log)))
    except BaseException:
        said = pickle.dumps((False, traceback.format_exc()))
    while said:
        said = said[os.writev(result, [said]) :]
    os._exit(0)


def attach(pid: int, trace: Path, point: Point, *, paths: bool = False) -> subprocess.Popen[bytes]:
    """strace beside a process; it counts the calls of each thread from here on."""
    command = ["strace", "-f", "-o", str(trace), "-s", "0", "-e", f"trace={WATCHED}", *point.injection, "-p", str(pid)]
    command += ["-y"] if paths else []
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert tracer.stderr
    line = tracer.stderr.readline()
    if b"attached" not in line:
        tracer.communicate()
        raise RuntimeError(line.decode(errors="replace").strip())
    return tracer


def kill_points(calls: list[tuple[str, str]]) -> list[Point]:
    """Before every call, and at the end."""
    return [*_numbered(calls), Point()]


def error_points(calls: list[tuple[str, str]]) -> list[Point]:
    """Every call that can fail, with every error it may have."""
    return [replace(point, error=error) for point in _numbered(calls) for error in ERRORS.get(point.call, ())]


def _numbered(calls: list[tuple[str, str]]) -> list[Point]:
    times: Counter[str] = Counter()
    points = []
    for call, path in calls:
        times[call] += 1
        points.append(Point(call, times[call], on=path))
    return points
