"""memory of a hub while it takes 20 uploads at once, of 1 GB each.

    python benchmarks/hub_memory.py [--uploads 20] [--mb 1000] [--workers 1]

The files are made while they are sent, and differ; all uploads go on at the same time, by LFS. What is measured is the
resident memory of all the hub's processes together, looked at 20 times a second.
"""

from __future__ import annotations

import argparse
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from measure import heading
from measure.hub import MIB, Hub, Made, load_average, make, serving, verdict

MOST_MB = 300  # 10^6 bytes


class Watch(threading.Thread):
    """Looks at the hub's memory until it is told to stop."""

    def __init__(self, hub: Hub) -> None:
        super().__init__(daemon=True)
        self.hub, self.over, self.seen = hub, threading.Event(), [hub.memory()]

    def run(self) -> None:
        while not self.over.wait(0.05):
            self.seen.append(self.hub.memory())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--uploads", type=int, default=20)
    parser.add_argument("--mb", type=int, default=1000, help="10^6 bytes of each")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    heading()
    size = options.mb * 10**6
    files = [make(size) for _ in range(options.uploads)]
    digests = [file.sha256() for file in files]
    with serving(free=size * options.uploads, workers=options.workers) as hub:
        repo = hub.create("memory")
        watch = Watch(hub)
        watch.start()
        together = threading.Barrier(options.uploads)

        def upload(file: Made, digest: str) -> None:
            together.wait()
            hub.put(repo, digest, file.size, file.pieces())

        begun = time.perf_counter()
        with ThreadPoolExecutor(options.uploads) as pool:
            list(pool.map(upload, files, digests))
        seconds = time.perf_counter() - begun
        watch.over.set()
        watch.join()
    peak, idle = max(watch.seen), watch.seen[0]
    print(f"{options.uploads} uploads of {options.mb:,} MB · {options.workers} processes answer · {load_average()}")
    print(f"all durable after {seconds:,.1f} s, {options.uploads * options.mb / seconds:,.0f} MB/s together")
    print(f"memory: {idle / 1e6:,.0f} MB before, {peak / 1e6:,.0f} MB at most (n = {len(watch.seen):,} looks)")
    print(f"expected: at most {MOST_MB} MB; it {verdict(peak <= MOST_MB * 10**6)} ({peak / MIB:,.0f} MiB)")


if __name__ == "__main__":
    main()
