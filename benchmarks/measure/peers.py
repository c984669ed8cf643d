"""peers: programs that others would use instead, in an environment of their own; each prints one line of JSON."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parents[1] / "peers"
PYTHON = HERE.parents[1] / ".peers/bin/python"


def peer(program: str, *arguments: str, threads: int | None = None) -> dict[str, Any]:
    """What `benchmarks/peers/<program>.py` printed in its last line; what it says on the way goes to the error stream.

    Raises: SystemExit: the environment is not there, or the program failed.
    """
    if not PYTHON.exists():
        sys.exit("What this is compared with is not installed: run `make .peers/ready`, or leave the comparison out.")
    return _answer([PYTHON, HERE / f"{program}.py", *arguments], threads)


def ours(program: str, *arguments: str, threads: int | None = None) -> dict[str, Any]:
    """What `benchmarks/<program>.py` printed in its last line, run in a process of its own as `peer` is.

    Raises: SystemExit: it failed.
    """
    return _answer([sys.executable, HERE.parent / f"{program}.py", *arguments], threads)


def now() -> np.ndarray:
    """Seconds by the clock and of the processor."""
    return np.array([time.perf_counter(), time.process_time()])


def words(parts: Sequence[str], runs: Sequence[dict[str, Any]]) -> str:
    """Seconds of each part (median, least and most) by the clock and of the processor, and memory."""
    times = []
    for part in parts:
        clock, processor = (spread([run[part][at] for run in runs]) for at in (0, 1))
        times.append(f"{part} {clock} s, of the processor {processor}")
    memory = f"peak {max(run['peak_mib'] for run in runs):,} MiB, {runs[0]['before_mib']:,} before fitting"
    return " · ".join([*times, memory])


def ratios(part: str, own: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]]) -> str:
    """How many times as fast ours is, round by round."""
    clock, processor = (spread([b[part][at] / a[part][at] for a, b in zip(own, other, strict=True)]) for at in (0, 1))
    return f"{part}: {clock} times as fast by the clock, {processor} by the processor"


def spread(values: Sequence[float]) -> str:
    """`1.2 [1.1, 1.5]`: median, least and most."""
    return f"{statistics.median(values):.3g} [{min(values):.3g}, {max(values):.3g}]"


def _answer(command: list[str | Path], threads: int | None) -> dict[str, Any]:
    environ = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{Path(command[1]).name} ended with {done.returncode}; what it said stands above.")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
