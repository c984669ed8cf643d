"""CPU seconds of `commons --help`, beside a bare Python and the help of another command line, in turn.

python benchmarks/help.py

CPU seconds are user and system time of the process and its children; the machine's other work moves them little.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from pathlib import Path

from measure import heading

RUNS = 20
BIN = Path(sys.executable).parent
COMMANDS = {
    "commons --help": [str(BIN / "commons"), "--help"],
    "python -c pass": [sys.executable, "-c", "pass"],
    "hf --help": [str(BIN / "hf"), "--help"],
}
MOST = 0.25  # seconds that `commons --help` may take


def cpu_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    heading()
    known = {name: command for name, command in COMMANDS.items() if Path(command[0]).exists()}
    for command in known.values():  # the first time, files are read from disk and bytecode is written
        cpu_seconds(command)
    taken: dict[str, list[float]] = {name: [] for name in known}
    for _ in range(RUNS):
        for name, command in known.items():
            taken[name].append(cpu_seconds(command))
    for name, seconds in taken.items():
        middle = statistics.median(seconds)
        print(f"{name:<15} {middle:.3f} s CPU (median; {min(seconds):.3f} to {max(seconds):.3f}, n = {RUNS})")
    ours = statistics.median(taken["commons --help"])
    print(f"expected: at most {MOST} s CPU for `commons --help`; it {'holds' if ours <= MOST else 'does not hold'}")


if __name__ == "__main__":
    main()
