"""speed of downloading a file from a hub, beside nginx sending the same file from the same disk.

    python benchmarks/hub_download.py [--mb 1000] [--pairs 10] [--workers 1]

The same client reads from both, in pairs, with the one that goes first changing; it counts bytes and looks at none, so
that the server is what is measured. nginx sends by sendfile, as it is installed by Debian, on loopback like the hub.
The first download from each is hashed, and not timed; after it the file is in the page cache for both.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import heading
from measure.hub import MIB, load_average, make, middle, serving, verdict

LEAST = 0.7  # of nginx's speed
CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
{user}
events {{ worker_connections 64; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ root {root}; }}
    }}
}}
"""


@contextmanager
def nginx(folder: Path, root: Path) -> Iterator[int]:
    """Serves the files of `root`; its port."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        sys.exit("Expected nginx, which Debian packages: apt-get install nginx-light.")
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    user = "user root;" if os.getuid() == 0 else ""  # the files are for their owner only
    written = folder / "nginx.conf"
    written.write_text(CONFIGURATION.format(folder=folder, port=port, root=root, user=user))
    with subprocess.Popen([program, "-e", "stderr", "-p", str(folder), "-c", str(written)]) as process:
        try:
            for _ in range(100):
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.1)
            yield port
        finally:
            process.terminate()


def take(port: int, path: str, token: str, digest: str | None = None) -> float:
    """Downloads, and returns the seconds; compares the SHA-256 where one is given."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    into = memoryview(bytearray(MIB))
    begun = time.perf_counter()
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    if answer.status != 200:
        sys.exit(f"{path} answered {answer.status}: {answer.read(500)!r}")
    hashed, left = hashlib.sha256(), answer.length or 0
    while left:
        count = answer.readinto(into)
        if not count:
            sys.exit(f"{path} ended {left} bytes early.")
        left -= count
        if digest:
            hashed.update(into[:count])
    seconds = time.perf_counter() - begun
    connection.close()
    if digest and hashed.hexdigest() != digest:
        sys.exit(f"{path}: expected sha256 {digest}, got {hashed.hexdigest()}.")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mb", type=int, default=1000, help="10^6 bytes")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    heading()
    file = make(options.mb * 10**6)
    digest = file.sha256()
    with serving(free=file.size, workers=options.workers) as hub:
        repo = hub.create("download")
        hub.put(repo, digest, file.size, file.pieces())
        large = {"path": "model.bin", "algo": "sha256", "oid": digest, "size": file.size}
        hub.commit(repo, ("lfsFile", large))
        ours, theirs = f"/{repo}/resolve/main/model.bin", f"/files/{digest[:2]}/{digest}"
        with nginx(hub.folder.parent / "nginx", hub.folder / "blobs") as port:
            sources = {"hub": (hub.port, ours), "nginx": (port, theirs)}
            for place in sources.values():
                take(*place, hub.token, digest)
            print(f"{options.mb:,} MB · {options.workers} processes answer · {load_average()}\n", flush=True)
            speeds: dict[str, list[float]] = {name: [] for name in sources}
            for pair in range(options.pairs):
                for name in sorted(sources, reverse=bool(pair % 2)):
                    speeds[name].append(options.mb / take(*sources[name], hub.token))
    for name, some in speeds.items():
        print(f"{name:<6} {middle(some, 'MB/s')}")
    ratios = [one / other for one, other in zip(speeds["hub"], speeds["nginx"], strict=True)]
    print(f"ratio  {middle(ratios, 'of nginx', 2)}")
    print(f"expected: at least {LEAST} of nginx; it {verdict(statistics.median(ratios) >= LEAST)}")


if __name__ == "__main__":
    main()
