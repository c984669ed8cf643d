"""CPU seconds of `commons --help`, beside a bare Python and the help of another command line, in turn; and the time
that `import modelcommons` takes, as Python counts it.

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
IMPORTED = 10  # times


def cpu_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def import_ms() -> dict[str, list[float]]:
    """Milliseconds of `import modelcommons`, and of each module that it imports, with what these import."""
    found: dict[str, list[float]] = {}
    for _ in range(IMPORTED):
        command = [sys.executable, "-X", "importtime", "-c", "import modelcommons"]
        said = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=True).stderr
        rows = [line.split("|") for line in said.splitlines() if line.startswith("import time:")]
        last = next(at for at, row in enumerate(rows) if row[-1].strip() == "site")
        for row in rows[last + 1 :]:
            if row[-1][:1] == " " and len(row[-1]) - len(row[-1].lstrip()) <= 3 and row[1].strip().isdigit():
                found.setdefault(row[-1].strip(), []).append(int(row[1]) / 1000)
    return found


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
    print(f"expected: at most {MOST} s CPU for `commons --help`; it {'holds' if ours <= MOST else 'does not hold'}\n")
    for name, milliseconds in sorted(import_ms().items(), key=lambda each: -statistics.median(each[1])):
        middle, low, high = statistics.median(milliseconds), min(milliseconds), max(milliseconds)
        print(f"import {name:<13} {middle:5.1f} ms (median; {low:.1f} to {high:.1f}, n = {len(milliseconds)})")


if __name__ == "__main__":
    main()
