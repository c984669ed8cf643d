"""a folder of pictures larger than memory: found, checked, divided, trained on for some steps and scored, with a limit.

    python benchmarks/larger_than_memory.py                                  (20 GB, another 20 in the cache; 4 GB)
    python benchmarks/larger_than_memory.py --gigabytes 1 --limit 1 --out folder

The limit is on data of the process (RLIMIT_DATA: its heap and private memory; not pages of mapped files, which the
system takes back when it needs them). The pictures and the cache are written into a folder of their own, and removed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import struct
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from measure import Lines, heading
from measure.peers import ours

SIDE = 256  # pixels
AT_ONCE = 5_000  # pictures in one folder
# a bitmap of 24 bits: nothing to unpack, so that what is measured is the way of the bytes
HEAD = b"BM" + struct.pack("<IIIIiiHHIIIIII", 54 + 3 * SIDE**2, 0, 54, 40, SIDE, SIDE, 1, 24, 0, 0, 0, 0, 0, 0)
RECIPE = f"""
task: image-classification
model: {{new: linear}}
data:
  source: pictures
  license: cc0-1.0
  options: {{size: {SIDE}, augment: none}}
  split: {{validation: 0.01, test: 0.01}}
tune: {{epochs: 0.01, batch_size: 16}}
explain: {{examples: 0}}
"""


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--gigabytes", type=float, default=20.0, help="of pictures")
    wanted.add_argument("--limit", type=float, default=4.0, help="gigabytes of memory")
    wanted.add_argument("--out", type=Path, help="folder to write into; the system's temporary one when not given")
    wanted.add_argument("--run", type=Path, help="the run itself, in a process that is limited: one line of JSON")
    given = wanted.parse_args()
    if given.run:
        return run_limited(given.run, given.limit)
    need, free = 2.1 * given.gigabytes, shutil.disk_usage(given.out or tempfile.gettempdir()).free / 1e9
    if free < need:
        return print(f"Expected {need:.0f} GB free for pictures and cache, there are {free:.0f}. Name --out elsewhere.")
    heading()
    with tempfile.TemporaryDirectory(dir=given.out) as name:
        folder = Path(name)
        count = write_pictures(folder / "pictures", int(given.gigabytes * 1e9))
        (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
        begun = time.monotonic()
        told = ours("larger_than_memory", "--run", name, "--limit", str(given.limit))
        size = sum(path.stat().st_size for path in (folder / "cache").rglob("*") if path.is_file()) / 1e9
        print(
            f"\n{count:,} pictures, {given.gigabytes:g} GB, decoded {size:.1f} GB; limit {given.limit:g} GB: "
            f"{(time.monotonic() - begun) / 60:.1f} min, {told['steps']:,} steps, accuracy {told['accuracy']:.3f}\n"
            f"most memory of its own {told['own_mib']:,} MiB, asked for {told['limited_mib']:,} (what is "
            f"limited), with pages of mapped files {told['all_mib']:,}"
        )


def write_pictures(folder: Path, size: int) -> int:
    """Noise around a dark or a bright mean, by class; returns how many."""
    rng, count = np.random.default_rng(0), size // (54 + 3 * SIDE**2)
    for at in range(count):
        bright = at % 2
        path = folder / f"part-{at // AT_ONCE}" / ("bright" if bright else "dark") / f"{at}.bmp"
        if at % AT_ONCE < 2:
            path.parent.mkdir(parents=True)
        noise = np.frombuffer(rng.bytes(3 * SIDE**2), np.uint8) // 2 + 100 * bright
        path.write_bytes(HEAD + noise.astype(np.uint8).tobytes())
    return count


def run_limited(folder: Path, gigabytes: float) -> None:
    """The recipe, in a process that cannot have more memory of its own."""
    limit = int(gigabytes * 1e9)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    os.chdir(folder)
    from modelcommons.workbench.recipe import load
    from modelcommons.workbench.run import run

    most: dict[str, int] = {"RssAnon": 0, "VmRSS": 0, "VmData": 0}
    threading.Thread(target=_watch, args=(most,), daemon=True).start()
    done = run(load(Path("recipe.yaml"), ()), folder / "run", Lines())
    told: dict[str, Any] = {
        "steps": done.tuned.trained[0].fit.steps, "accuracy": done.scored.main.scores[0].value,
        "own_mib": most["RssAnon"] // 1024, "all_mib": most["VmRSS"] // 1024, "limited_mib": most["VmData"] // 1024,
    }  # fmt: skip
    print(json.dumps(told))


def _watch(most: dict[str, int]) -> None:
    while True:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        for name in most:
            most[name] = max(most[name], int(status.split(f"{name}:")[1].split()[0]))
        time.sleep(0.05)


if __name__ == "__main__":
    main()
