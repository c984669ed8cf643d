"""demo: three recipes on real data that is already here, published to a hub of one's own, fetched back by the stock
client, and every number checked.

python demo.py
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

NAMES = ("digits", "python-docs", "sunspots")
RUNS = Path("runs")
HUB = RUNS / "demo-hub"
PROGRAMS = Path(sys.executable).parent  # where `commons` and `hf` were installed with this Python


def main() -> None:
    shutil.rmtree(HUB, ignore_errors=True)
    say("commons", "hub", "user", "add", "ada", "--folder", HUB)
    made = ("hub", "token", "add", "ada", "--role", "write", "--folder", HUB, "--json")
    token = json.loads(subprocess.check_output([PROGRAMS / "commons", *map(str, made)]))["token"]
    with hub() as url:
        client = {"HF_ENDPOINT": url, "HF_TOKEN": token, "HF_HOME": str(RUNS.resolve() / "demo-client")}
        print(f"$ export HF_ENDPOINT={url} HF_TOKEN=...", flush=True)
        for name in NAMES:
            show(name, client)


def show(name: str, client: Mapping[str, str]) -> None:
    """One recipe from data to hub and back."""
    fetched = RUNS / "demo-fetched" / name
    shutil.rmtree(fetched, ignore_errors=True)
    print(flush=True)
    run = RUNS / f"demo-{name}"
    say("commons", "run", f"recipes/{name}.yaml", f"publish.repo=ada/{name}", "--folder", run, **client)
    say("hf", "download", f"ada/{name}", "--local-dir", fetched, "--quiet", **client)
    say("commons", "verify", fetched, "--level", "infer")


@contextmanager
def hub() -> Iterator[str]:
    """A hub over one folder, on a free port of this machine only; ended when the block ends."""
    words = ("commons", "hub", "serve", "--folder", HUB, "--port", "0")
    print(f"$ {shlex.join(map(str, words))} &", flush=True)
    command = [PROGRAMS / words[0], *map(str, words[1:]), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()


def say(*words: str | Path, **environment: str) -> None:
    """Prints a command and runs it; ends the demo where it fails."""
    print(f"$ {shlex.join(map(str, words))}", flush=True)
    done = subprocess.run([PROGRAMS / words[0], *map(str, words[1:])], env=os.environ | environment)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
