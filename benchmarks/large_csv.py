"""time and memory of reading a large CSV file, row by row and as columns.

    python benchmarks/large_csv.py [size in MB, default 1000]

The file is written into a temporary folder (as is the cache), and read by a process of its own, whose peak is printed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import heading

MOST_MIB = 2048  # that reading may take

READ = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
from modelcommons.formats.tables import read
began = time.perf_counter()
table = read([Path(sys.argv[1])])
first = time.perf_counter() - began
began = time.perf_counter()
table = read([Path(sys.argv[1])])
again = time.perf_counter() - began
rows = table.rows(lambda values, id: (id, values["text"], values["label"]), ["text", "label"])
began = time.perf_counter()
some = np.random.default_rng(0).integers(0, len(rows), 10_000)
assert all(rows[int(i)][1] for i in some)
row = (time.perf_counter() - began) / len(some)
assert np.isfinite(table.numbers("value").values).all() and (table.codes("label") >= 0).all()
assert sum(1 for _ in rows.ids()) == len(rows)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
told = dict(rows=len(table), bad=table.num_bad, first_s=first, again_s=again, row_us=row * 1e6, peak_mib=peak)
print(json.dumps(told))
"""


def write_csv(path: Path, size: int) -> int:
    """Writes at least `size` bytes and returns the number of good rows; every 100,000th row has a field too many."""
    words = ("the", "quick", "brown", "fox,", "jumps", "over", "a", "lazy", "dog;", "敏捷的棕狐", "and", "more", "of")
    num_rows, written = 0, 0
    with path.open("w", encoding="utf-8") as file:
        written += file.write("text,label,value\n")
        while written < size:
            block = "".join(
                f'"{words[i % 13]} {words[i % 7]} {words[i % 11]} {i}",{"spam" if i % 3 else "ham"},{i / 7:.4f}\n'
                for i in range(num_rows, num_rows + 99_999)
            )
            written += len(block.encode())
            file.write(block + "one,two,three,four\n")
            num_rows += 99_999
    return num_rows


def measure(path: Path, cache: Path) -> dict[str, float]:
    """What a fresh process took to read `path`."""
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], env=environment, capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


def main(megabytes: int) -> None:
    heading()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "large.csv")
        num_rows = write_csv(path, megabytes * 10**6)
        found = measure(path, Path(name, "cache"))
        assert found["rows"] == num_rows
        print(f"{path.stat().st_size / 1e6:,.0f} MB, {num_rows:,} rows, {found['bad']} bad lines counted")
        print(f"first reading {found['first_s']:.1f} s, again (from the cache) {found['again_s']:.1f} s")
        print(f"one row {found['row_us']:.0f} us, peak memory {found['peak_mib']:,} MiB")
        holds = "holds" if found["peak_mib"] <= MOST_MIB else "does not hold"
        print(f"expected: a peak of at most {MOST_MIB:,} MiB; it {holds}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
