"""run: a program that hurts a hub at many points, one after the other, and says what was lost.

    python -m crash.run kill --sample 100     SIGKILL before a system call
    python -m crash.run power --sample 10     SIGKILL, and all that the disk was not made to keep is gone
    python -m crash.run error --sample 50     a system call fails
    python -m crash.run faults                faults planted in the hub, each of which has to be found by one of these

For every point a copy of the same hub, a process that does one operation on it and is stopped at the point, and another
that opens what is left: fsck finds nothing lost; people see what they saw after the last acknowledged request, or after
the one that was under way, whole; the client sends everything again, and all is as if nothing had happened.

The process is a fork of this one, with the hub's application and no socket (inline.py): 0.2 s a point, where starting
`commons hub serve` under strace takes 3 s and more. It prints one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crash import disks, faults, tracing
from crash.inline import Client, Refused, World, ill, in_one_thread, look, read_once
from crash.operations import OPERATIONS, Operation, small_parts
from crash.tracing import Point, child

from modelcommons.errors import CommonsError
from modelcommons.hub.actions import accounts
from modelcommons.hub.app import Hub, assemble
from modelcommons.hub.logs import LOG
from modelcommons.hub.settings import load
from modelcommons.hub.stores import open_stores

TELLING = ("end", "fsync", "fdatasync")  # points at which the most can be lost; they are tried first


@dataclass
class Base:
    """A hub before an operation, and what people see after each of its requests."""

    operation: Operation
    folder: Path
    worlds: list[World]
    kept: list[str]  # blobs at the end
    commits: list[str]  # that were acknowledged
    points: list[Point]


@dataclass
class Harness:
    """What every run needs."""

    mode: str
    work: Path
    app: Hub
    token: str = ""
    bases: list[Base] = field(default_factory=list)

    def client(self, folder: Path, log: int | None = None, **given: Any) -> Client:
        return Client(self.app, folder, self.token, log, **given)

    # --- what should happen

    def prepare(self, operation: Operation, template: Path) -> Base:
        """Does the operation undisturbed: once to see what people see, once to count its calls."""
        folder = self.work / operation.name
        shutil.copytree(template, folder)

        def before(log: int) -> None:
            client = self.client(folder)
            operation.before(client)
            client.close()

        child(before)
        worlds, kept, commits = child(lambda log: self._seen(operation, self._copy(folder))).value
        trace = self.work / "trace"
        copy = self._copy(folder)
        calls = child(lambda log: self._act(operation, copy, log), trace, paths=True).calls
        points = tracing.error_points(calls) if self.mode == "error" else tracing.kill_points(calls)
        return Base(operation, folder, worlds, kept, commits, points)

    def _seen(self, operation: Operation, folder: Path) -> tuple[list[World], list[str], list[str]]:
        client = self.client(folder)
        worlds = [self._look(operation, client)]
        client.after = lambda: worlds.append(self._look(operation, client))
        operation.act(client)
        assert client.acknowledged == len(worlds) - 1
        return worlds, self._kept(client), client.commits

    def _look(self, operation: Operation, client: Client) -> World:
        after, client.after = client.after, lambda: None
        seen = look(client, operation.repos, operation.digests)
        client.after = after
        return seen

    def _kept(self, client: Client) -> list[str]:
        return sorted(key for key, _, _ in client.stores.blobs.keys())  # noqa: SIM118 - it is no dict

    def _copy(self, folder: Path) -> Path:
        copy = self.work / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        return copy

    # --- what does happen

    def _act(self, operation: Operation, folder: Path, log: int) -> dict[str, Any]:
        """The operation, and where it is refused, all of it again: the hub must go on."""
        try:
            client, told = self.client(folder, log), {}
        except (CommonsError, OSError):  # a hub whose disk fails may not start; then somebody starts it again
            client, told = self.client(folder, log), {"started": "again"}
        try:
            operation.act(client)
        except Refused as refused:
            answer, done = refused.answer, client.acknowledged
            now = self._look(operation, client)
            again = self.client_again(client)
            operation.act(again)
            told = {"status": answer.status, "id": "x-request-id" in answer.headers, "done": done, "world": now}
        return told

    def client_again(self, client: Client) -> Client:
        client.again, client.log = True, None
        return client

    def hurt(self, base: Base, point: Point) -> tuple[int, list[str]]:
        """One point: how many requests were acknowledged, and what is wrong afterwards."""
        if self.mode == "power":
            with disks.cut(self.work, base.folder) as (live, after_cut):
                ended = self._run(base, live, point)
                return ended.acknowledged, self._wrong(base, after_cut(), ended)
        copy = self._copy(base.folder)
        try:
            ended = self._run(base, copy, point)
        except RuntimeError as error:  # no refusal: the operation failed in a way that nobody answers for
            return 0, [str(error)[-1500:]]
        wrong = self._wrong(base, copy, ended)
        # SQLite does not listen to what its fsync of the folder says; open_stores has made its WAL durable before
        if point.error and point.call in TELLING and not ended.value and point.on != str(copy):
            wrong.append("acknowledged although what was written did not come to the disk")
        return ended.acknowledged, wrong

    def _run(self, base: Base, folder: Path, point: Point) -> tracing.Ended:
        trace = None if point.call == "end" else self.work / "trace"
        return child(lambda log: self._act(base.operation, folder, log), trace, point)

    def _wrong(self, base: Base, folder: Path, ended: tracing.Ended) -> list[str]:
        """Opens what is left, in a new process."""
        try:
            return list(child(lambda log: self._examine(base, folder, ended)).value)
        except RuntimeError as error:  # it cannot be opened, or does not take what is sent again
            return [str(error)[-1500:]]

    def _examine(self, base: Base, folder: Path, ended: tracing.Ended) -> list[str]:
        operation, done = base.operation, ended.acknowledged
        client = self.client(folder)
        wrong = ill(client)
        seen = self._look(operation, client)
        refused = ended.value if "status" in (ended.value or {}) else None
        if refused:  # and then sent again by the same process: all is there
            if refused["status"] not in (503, 507) or not refused["id"]:
                wrong.append(f"expected 503 or 507 with a request id, got {refused['status']}")
            before = base.worlds[refused["done"]]
            # gc takes many steps, each of which may be done; a request is done, or it is not
            may = base.worlds[refused["done"] :][:2] if operation.collects else [before]
            if refused["world"] not in may:
                wrong.append(f"refused, and yet: {_unlike(before, refused['world'])}")
            done = len(base.worlds) - 1
        allowed = base.worlds[done : done + 2]
        if seen not in allowed:
            wrong.append(f"after {done} acknowledged: {_unlike(allowed[0], seen)}")
        if self.mode != "error" or operation.collects:
            operation.act(self.client_again(client))
            seen = self._look(operation, client)
            if seen != base.worlds[-1]:
                wrong.append(f"sent again: {_unlike(base.worlds[-1], seen)}")
            wrong += [f"sent again: {one}" for one in ill(client)]
        if operation.collects and self._kept(client) != base.kept:
            wrong.append(f"collected again: {_unlike(base.kept, self._kept(client))}")
        client.close()
        return wrong

    def unexpected(self, base: Base) -> list[str]:
        """What is wrong where nothing was disturbed: bytes that are not what was sent, commits that no history has."""
        seen = [one for one in base.worlds[-1].values() if isinstance(one, dict)]
        refs = [ref for one in seen for ref in one.values() if isinstance(ref, dict)]
        known = {oid for ref in refs for oid in ref["log"]}
        wrong = [f"undisturbed: the acknowledged commit {oid} is lost" for oid in base.commits if oid not in known]
        main = base.worlds[-1]["ada/one"]
        files = main["refs/heads/main"]["files"] if isinstance(main, dict) else {}
        wrong += [
            f"undisturbed: {path} is {files.get(path)}"
            for path, data in base.operation.expected
            if files.get(path) != hashlib.sha256(data).hexdigest()
        ]
        return wrong


def _unlike(expected: Any, got: Any, at: str = "") -> str:
    """The first place where two values differ."""
    if isinstance(expected, dict) and isinstance(got, dict):
        for key in sorted(expected.keys() | got.keys()):
            if expected.get(key) != got.get(key):
                return _unlike(expected.get(key), got.get(key), f"{at} {key}")
    return f"{at}: expected {str(expected)[:300]}, got {str(got)[:300]}".strip()


def template(folder: Path) -> str:
    """A hub with ada in it; her token."""
    stores = open_stores(load({}, folder=folder, log_level="error"))
    accounts.create_user(stores, "ada", admin=True)
    token = accounts.create_token(stores, "ada", "test", "write")
    stores.database.close()
    return token


def chosen(bases: list[Base], sample: int | None, seed: int) -> list[tuple[Base, Point]]:
    """All points, or so many of them, in which the end of every operation always is."""
    points = [(base, one) for base in bases for one in base.points]
    random.Random(seed).shuffle(points)
    if sample is not None:
        points = sorted(points, key=lambda one: one[1].call != "end")[:sample]
    return sorted(points, key=lambda one: one[1].call not in TELLING)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=("kill", "power", "error", "faults"))
    parser.add_argument("--sample", type=int, help="points; all where it is not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[], help="operations, or faults")
    given = parser.parse_args(arguments)
    no_disks = disks.missing() if given.mode in ("power", "faults") else ""
    if reason := tracing.missing() or (no_disks if given.mode == "power" else ""):
        print(json.dumps({"skipped": reason}))
        return 0
    began = time.monotonic()
    LOG.disabled = True  # what the hub says of a failure that we made is no news
    in_one_thread()
    read_once()
    small_parts()
    if given.mode in ("power", "faults") and not no_disks:
        disks.private_mounts()
    # a kill keeps what the kernel was given, so the disk may be memory; a power cut brings a disk of its own
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="commons-crash-", dir=memory if memory.is_dir() else None) as name:
        harness = Harness(given.mode, Path(name), assemble(None))  # type: ignore[arg-type]
        harness.token = template(harness.work / "template")
        planted = {name: one for name, one in faults.FAULTS.items() if not given.only or name in given.only}
        wanted = {one.operation for one in planted.values()} if given.mode == "faults" else set(given.only)
        operations = [one for one in OPERATIONS if not wanted or one.name in wanted]
        for one in operations:
            _warm_up(harness, one)
        if given.mode == "faults":
            told: dict[str, Any] = {}
            for name, one in planted.items():
                told[name] = _plant(harness, one, no_disks)
                print(json.dumps({name: told[name]}), file=sys.stderr, flush=True)  # all of them take a while
        else:
            told = _all(harness, operations, given.sample, given.seed)
    told["seconds"] = round(time.monotonic() - began, 1)
    print(json.dumps(told))
    return 0


def _warm_up(harness: Harness, operation: Operation) -> None:
    """What a first request imports is no business of the children."""
    scratch = harness.work / "scratch"
    shutil.copytree(harness.work / "template", scratch)
    client = harness.client(scratch)
    operation.before(client)
    operation.act(client)
    look(client, operation.repos, operation.digests)
    ill(client)
    client.close()
    shutil.rmtree(scratch)


def _plant(harness: Harness, fault: faults.Fault, no_disks: str) -> dict[str, Any]:
    """In a process of its own: the first points at which something is wrong, and how many were tried."""
    if fault.mode == "power" and no_disks:
        return {"skipped": no_disks}

    def search(log: int) -> dict[str, Any]:
        fault.plant()
        work = Path(tempfile.mkdtemp(dir=harness.work))
        shutil.copytree(harness.work / "template", work / "template")
        inner = Harness(fault.mode, work, harness.app, harness.token)
        return _all(inner, [one for one in OPERATIONS if one.name == fault.operation], None, 0, stop=True)

    said: dict[str, Any] = child(search).value
    return said


def _all(
    harness: Harness, operations: list[Operation], sample: int | None, seed: int, *, stop: bool = False
) -> dict[str, Any]:
    """Args: stop: at the first point where something is wrong."""
    problems: list[str] = []
    for one in operations:
        base = harness.prepare(one, harness.work / "template")
        harness.bases.append(base)
        problems += [f"{one.name}: {each}" for each in harness.unexpected(base)]
    done = acknowledged = bad = 0
    points = chosen(harness.bases, sample, seed)
    for base, point in points:
        if stop and problems:
            break
        num, wrong = harness.hurt(base, point)
        done, acknowledged, bad = done + 1, acknowledged + num, bad + bool(wrong)
        problems += [f"{base.operation.name} at {point}: {one}" for one in wrong]
        if done % 100 == 0:
            print(f"{done} of {len(points)} points, {bad} bad", file=sys.stderr, flush=True)
    by_operation = {base.operation.name: len(base.points) for base in harness.bases}
    return {
        "mode": harness.mode, "points": done, "all_points": sum(by_operation.values()), "by_operation": by_operation,
        "acknowledged": acknowledged, "bad_points": bad, "problems": problems[:60],
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
