"""cutting: a real server under load, whose power is cut, or that is killed at a system call, again and again.

    python -m crash.cutting power --times 5
    python -m crash.cutting kill --times 5

Power: the server has disks of its own. It is stopped (SIGSTOP), its disks are copied as they are, and it goes on; the
copy is what a machine finds after a power cut. Kill: strace is attached to the server while it answers, and kills it at
the so-many-th call of one of its threads; then it is started again. What is left is asked the same as in run.py: fsck
finds nothing lost, and everything that a client had been told before is there byte for byte. It prints one JSON object.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from crash import disks, tracing
from crash.inline import Client, ill, in_one_thread, read_once
from crash.run import template
from crash.tracing import child
from hubs import started

from modelcommons.hub.app import assemble
from modelcommons.hub.settings import load

WRITERS = 3
WRITING = threading.Event()  # while it is set they go on
WRITING.set()
KILLED_AT = ("write", "pwrite64", "fsync", "rename", "openat")  # calls that never stop coming
LARGE_B = (1, 400_000)  # bytes
KNOWN = 5  # commits of each client that are downloaded again although they were there after an earlier cut


@dataclass
class Writer(threading.Thread):
    """A client that commits small and large files to a repository of its own, and writes down what it was told."""

    url: str
    token: str
    repo: str
    seed: int
    stopping: threading.Event
    told: list[tuple[str, str, str]] = field(default_factory=list)  # commit, path, sha256
    failed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        draw = random.Random(self.seed)
        headers = {"Authorization": f"Bearer {self.token}"}
        try:
            with httpx2.Client(base_url=self.url, headers=headers, timeout=120) as client:
                _ok(client.post("/api/repos/create", json={"name": self.repo, "type": "model"}))
                number = 0
                while not self.stopping.is_set():
                    WRITING.wait()
                    number += 1
                    self._write(client, draw, number)
        except Exception as error:  # of a thread; the main one raises it
            self.failed.append(repr(error))

    def _write(self, client: httpx2.Client, draw: random.Random, number: int) -> None:
        data = draw.randbytes(draw.randint(*LARGE_B))
        digest = hashlib.sha256(data).hexdigest()
        path = f"{number % 40}.bin"
        if large := number % 2 == 0:
            asked = {"operation": "upload", "objects": [{"oid": digest, "size": len(data)}], "ref": {"name": "main"}}
            answer = _ok(client.post(f"/ada/{self.repo}.git/info/lfs/objects/batch", json=asked)).json()
            href = answer["objects"][0]["actions"]["upload"]["href"]
            _ok(client.put("/" + href.split("/", 3)[3], content=data))
        else:
            data = data[:3000]
            digest = hashlib.sha256(data).hexdigest()
        value = (
            {"path": path, "algo": "sha256", "oid": digest, "size": len(data)}
            if large
            else {"path": path, "content": base64.b64encode(data).decode(), "encoding": "base64"}
        )
        lines = [{"key": "header", "value": {"summary": str(number)}}]
        lines.append({"key": "lfsFile" if large else "file", "value": value})
        body = "\n".join(json.dumps(line) for line in lines)
        done = _ok(client.post(f"/api/models/ada/{self.repo}/commit/main", content=body))
        self.told.append((done.json()["commitOid"], path, digest))


def _ok(response: httpx2.Response) -> httpx2.Response:
    if response.status_code >= 300:
        raise RuntimeError(f"{response.request.url}: {response.status_code} {response.text[:200]}")
    return response


@dataclass
class Cutter:
    """Takes the disks away from below a server, and looks at what is on them."""

    work: Path
    token: str
    app: Any
    images: tuple[Path, Path] = (Path(), Path())  # of rows and of blobs
    acknowledged: set[str] = field(default_factory=set)  # commits that clients were told of
    problems: list[str] = field(default_factory=list)

    def look(self, folder: Path, told: dict[str, list[tuple[str, str, str]]], when: str) -> None:
        wrong = child(lambda log: self._examine(folder, told)).value
        self.acknowledged |= {oid for commits in told.values() for oid, _, _ in commits}
        self.problems += [f"{when}: {one}" for one in wrong]

    def cut(self, server: int, writers: list[Writer], number: int) -> None:
        os.kill(server, signal.SIGSTOP)
        try:
            copies = disks.copied(self.images, self.work, "cut")
            # what was answered before the server was stopped is durable before it was; what comes in now is of that
            told = {writer.repo: list(writer.told) for writer in writers}
        finally:
            os.kill(server, signal.SIGCONT)
        WRITING.clear()  # so that the disks do not fill up while we look
        try:
            with disks.both(self.work, "cut", copies) as folder:
                self.look(folder, told, f"cut {number}")
        finally:
            WRITING.set()

    def _examine(self, folder: Path, told: dict[str, list[tuple[str, str, str]]]) -> list[str]:
        """All commits are asked for, fsck reads all bytes; what is new is downloaded, and some of the rest."""
        draw = random.Random(len(self.acknowledged))
        client = Client(self.app, folder, self.token)
        wrong = ill(client)
        for name, commits in told.items():
            log = self._log(client, f"ada/{name}")
            wrong += [f"{name}: the acknowledged commit {oid} is lost" for oid, _, _ in commits if oid not in log]
            known = [one for one in commits if one[0] in self.acknowledged]
            new = [one for one in commits if one[0] not in self.acknowledged]
            for oid, path, digest in new + draw.sample(known, min(len(known), KNOWN)):
                got = client.read(f"/ada/{name}/resolve/{oid}/{path}")
                if hashlib.sha256(got.body).hexdigest() != digest:
                    wrong.append(f"{name}: {path} of {oid} is {got.status}, {len(got.body)} bytes that were not sent")
        client.close()
        return wrong

    def _log(self, client: Client, rid: str) -> set[str]:
        found: set[str] = set()
        page = 0
        while some := client.read(f"/api/models/{rid}/commits/main?p={page}&limit=100"):
            commits = some.json() if some.status == 200 else []
            found |= {one["id"] for one in commits}
            if len(commits) < 100:
                break
            page += 1
        return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=("power", "kill"))
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    if reason := disks.missing() if given.mode == "power" else tracing.missing():
        print(json.dumps({"skipped": reason}))
        return 0
    began = time.monotonic()
    if given.mode == "power":
        disks.private_mounts()
    in_one_thread()
    read_once()
    with tempfile.TemporaryDirectory(prefix="commons-cut-") as name:
        work = Path(name)
        hub = work / "template"
        cutter = Cutter(work, template(hub), assemble(None))  # type: ignore[arg-type]
        if given.mode == "power":
            cutter.images = disks.fill(work, hub, (96, 512))
            with disks.both(work, "hub", cutter.images) as folder:
                _cut(cutter, folder, given.times, given.seed)
        else:
            _kill(cutter, hub, given.times, given.seed)
    print(json.dumps({
        "mode": given.mode, "times": given.times, "acknowledged": len(cutter.acknowledged),
        "problems": cutter.problems[:60], "seconds": round(time.monotonic() - began, 1),
    }))  # fmt: skip
    return 0


def _kill(cutter: Cutter, folder: Path, times: int, seed: int) -> None:
    """Each time the server starts on what the one before it left; the old writers' repositories are asked for too."""
    draw = random.Random(seed)
    told: dict[str, list[tuple[str, str, str]]] = {}
    settings = load({}, folder=folder, port=0)
    for number in range(times):
        point = tracing.Point(draw.choice(KILLED_AT), draw.randint(1, 40))
        stopping = threading.Event()
        with started(settings, {"ada": cutter.token}) as running:
            names = [f"r{number}-{at}" for at in range(WRITERS)]
            writers = [Writer(running.url, cutter.token, name, hash(name), stopping) for name in names]
            tracer = tracing.attach(running.process.pid, cutter.work / "trace", point)
            for writer in writers:
                writer.start()
            running.process.wait(300)  # by strace; a call that never comes so often is a mistake of this harness
            stopping.set()
            for writer in writers:
                writer.join(60)
            tracer.wait(60)
            assert tracer.stderr
            tracer.stderr.close()
        told |= {writer.repo: list(writer.told) for writer in writers}
        cutter.look(folder, told, f"killed at {point}")


def _cut(cutter: Cutter, folder: Path, cuts: int, seed: int) -> None:
    draw, stopping = random.Random(seed), threading.Event()
    settings = load({}, folder=folder, port=0)
    with started(settings, {"ada": cutter.token}) as running:
        writers = [Writer(running.url, cutter.token, f"r{at}", seed * 100 + at, stopping) for at in range(WRITERS)]
        for writer in writers:
            writer.start()
        try:
            for number in range(1, cuts + 1):
                before = sum(len(one.told) for one in writers)
                # at no moment in particular, after something was acknowledged since the last cut
                while sum(len(one.told) for one in writers) < before + 5 and not any(one.failed for one in writers):
                    time.sleep(0.02)
                time.sleep(draw.random() * 0.2)
                if failed := [each for one in writers for each in one.failed]:
                    raise RuntimeError(failed[0])
                cutter.cut(running.process.pid, writers, number)
        finally:
            stopping.set()
            for writer in writers:
                writer.join(60)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
