"""peers: programs that others would use instead, in an environment of their own; each prints one line of JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

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


def _answer(command: list[str | Path], threads: int | None) -> dict[str, Any]:
    environ = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{Path(command[1]).name} ended with {done.returncode}; what it said stands above.")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
