"""speed of uploading a file to a hub, by Xet with huggingface_hub and by LFS, beside SHA-256 of the same bytes.

    python benchmarks/hub_upload.py [--mb 1000] [--rounds 5] [--workers 1]

Each round makes new random bytes, so that nothing is known to the hub, and takes the three in turn: SHA-256 on one
core, the upload of the file by `HfApi.upload_file` (all it does: hash, cut, pack, send, commit) in a process of its
own, and one LFS PUT by a client that hashes nothing. Both end when the hub says that the bytes are durable. Client and
hub share the machine.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from measure import heading
from measure.hub import MIB, Hub, load_average, middle, serving, verdict

LEAST = 150  # MB/s, by either way
UPLOAD = """
import sys, time
from huggingface_hub import HfApi
api = HfApi()
api.repo_info(sys.argv[1])
begun = time.perf_counter()
api.upload_file(path_or_fileobj=sys.argv[2], path_in_repo=sys.argv[3], repo_id=sys.argv[1])
print("took", time.perf_counter() - begun)
"""


def write(path: Path, size: int) -> None:
    """Random bytes, which no packing makes smaller."""
    with open(path, "wb") as file:
        for start in range(0, size, MIB):
            file.write(os.urandom(min(MIB, size - start)))


def pieces(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while piece := file.read(MIB):
            yield piece


def hash_it(path: Path) -> tuple[float, str]:
    """Seconds, and the SHA-256."""
    begun = time.perf_counter()
    digest = hashlib.sha256()
    for piece in pieces(path):
        digest.update(piece)
    return time.perf_counter() - begun, digest.hexdigest()


def by_xet(hub: Hub, repo: str, path: Path, name: str, home: str) -> float:
    """Seconds that the stock client takes."""
    environment = os.environ | {
        "HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token, "HF_HOME": home, "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }  # fmt: skip
    command = [sys.executable, "-c", UPLOAD, repo, str(path), name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"huggingface_hub could not upload: {done.stderr[-2000:]}")
    return float(done.stdout.rpartition("took ")[2])


def by_lfs(hub: Hub, repo: str, path: Path, name: str, digest: str) -> float:
    """Seconds from the batch to the commit."""
    size = path.stat().st_size
    begun = time.perf_counter()
    hub.put(repo, digest, size, pieces(path))
    hub.commit(repo, ("lfsFile", {"path": name, "algo": "sha256", "oid": digest, "size": size}))
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mb", type=int, default=1000, help="10^6 bytes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    heading()
    size = options.mb * 10**6
    with (
        serving(free=2 * size * options.rounds, workers=options.workers) as hub,
        tempfile.TemporaryDirectory(prefix="commons-bench-") as place,
    ):
        xet, lfs, path = hub.create("xet"), hub.create("lfs"), Path(place, "made")
        print(f"{options.mb:,} MB · {options.workers} processes answer · {load_average()}\n", flush=True)
        speeds: dict[str, list[float]] = {"sha256": [], "Xet": [], "LFS": []}
        for number in range(options.rounds):
            name = f"{number}.bin"
            write(path, size)
            seconds, digest = hash_it(path)
            speeds["sha256"].append(options.mb / seconds)
            speeds["Xet"].append(options.mb / by_xet(hub, xet, path, name, f"{place}/home"))
            write(path, size)
            _, digest = hash_it(path)
            speeds["LFS"].append(options.mb / by_lfs(hub, lfs, path, name, digest))
        peak = hub.memory()
    for way, some in speeds.items():
        print(f"{way:<8} {middle(some, 'MB/s')}")
    for way in ("Xet", "LFS"):
        ratios = [one / other for one, other in zip(speeds[way], speeds["sha256"], strict=True)]
        holds = statistics.median(speeds[way]) >= LEAST
        print(f"{way} {middle(ratios, 'of sha256', 2)}; expected: at least {LEAST} MB/s; it {verdict(holds)}")
    print(f"the hub's processes hold {peak / MIB:,.0f} MiB at the end")


if __name__ == "__main__":
    main()
