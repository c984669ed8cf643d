"""gc: takes what nobody names, after its grace, and nothing else, whatever people do between any two of its steps."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, select
from world import World, world
from xorbs import File, cut

from modelcommons.errors import BadRequest, CommonsError, StoreFailed, UsageError
from modelcommons.hub import blobs, history, tables
from modelcommons.hub.actions import fsck, gc, lifecycle
from modelcommons.hub.actions.gc import DAY_S
from modelcommons.hub.database import Database

GRACE = 14 * DAY_S


@pytest.fixture
def at(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "hub") as made:
        # files on disk have the time of the machine, so the hub must, to begin with
        made.clock.time = time.time()
        yield made


def pass_time(at: World, seconds: float) -> None:
    """For what lies on the disk too: its times are the machine's, and stay behind."""
    at.clock.time += seconds


def count(at: World, table: Any) -> int:
    with at.stores.database.reading() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def stored(at: World) -> set[str]:
    return {key for key, _, _ in at.stores.blobs.keys()}  # noqa: SIM118 - it is no dict


def test_what_is_named_stays_for_ever(at: World) -> None:
    repo = at.repo("ada/news")
    at.large("ada", repo, "a.bin", b"large" * 1000)
    at.large("ada", repo, "b.bin", File([(cut(b"x" * 20_000, 5_000), 0, 4)]))
    at.commit("dan", repo, {"c.txt": b"proposed"}, query="?create_pr=1")
    before = count(at, tables.git_objects), count(at, tables.claims), stored(at)
    for _ in range(4):
        pass_time(at, 2 * GRACE)
        done = gc.collect(at.stores)
        assert not +done.removed and not +done.condemned
    assert (count(at, tables.git_objects), count(at, tables.claims), stored(at)) == before
    assert fsck.check(at.stores).findings == []


def test_a_branch_that_went_is_taken_with_its_large_file_after_one_grace(at: World) -> None:
    repo = at.repo("ada/news")
    at.post("ada", f"{repo}/branch/side", {})
    sha256 = at.upload("ada", repo, b"large" * 1000)
    file = File([(cut(b"y" * 20_000, 5_000), 0, 4)])
    at.upload_xet("ada", repo, file)
    assert at.point("ada", repo, "a.bin", sha256, 5000, "side").status == 200
    assert at.point("ada", repo, "b.bin", file.sha256, 20_000, "side").status == 200
    assert at.ask("ada", "DELETE", f"{repo}/branch/side").status == 200
    pass_time(at, GRACE)
    noted = gc.collect(at.stores)  # old as they are, they were named until now, as far as gc knows
    assert not +noted.removed and +noted.condemned == {"git": 6, "claim": 2, "file": 2, "xorb": 1}
    pass_time(at, GRACE - 60)
    assert not +gc.collect(at.stores).removed
    pass_time(at, 61)
    done = gc.collect(at.stores)
    assert +done.removed == {"git": 6, "claim": 2, "file": 2, "blob": 1} and done.num_bytes == 5000
    pass_time(at, gc.XORB_S - GRACE)  # clients remember xorbs for three weeks
    done = gc.collect(at.stores)
    assert +done.removed == {"xorb": 1, "blob": 1} and done.num_bytes == 20_000
    assert stored(at) == set() and count(at, tables.condemned) == 0
    assert fsck.check(at.stores).findings == []


def test_what_is_named_again_in_time_stays(at: World) -> None:
    repo = at.repo("ada/news")
    oid = at.commit("ada", repo, {"a.txt": b"a"})["commitOid"]
    at.post("ada", f"{repo}/branch/side", {"startingPoint": oid})
    at.post("ada", f"{repo}/super-squash/main", {"message": "all in one"})
    assert at.ask("ada", "DELETE", f"{repo}/branch/side").status == 200
    assert gc.collect(at.stores).condemned["git"] > 0
    pass_time(at, GRACE - 60)
    at.post("ada", f"{repo}/branch/again", {"startingPoint": oid})
    pass_time(at, 2 * GRACE)
    assert not +gc.collect(at.stores).removed
    assert at.get("ada", f"{repo}/revision/again")["sha"] == oid
    # and its grace begins anew
    assert at.ask("ada", "DELETE", f"{repo}/branch/again").status == 200
    assert not +gc.collect(at.stores).removed


def test_a_file_that_is_sent_again_stays(at: World) -> None:
    """Its claim is old and nobody names it; then somebody is told that it is here, and is about to commit."""
    repo = at.repo("ada/news")
    sha256 = at.upload("ada", repo, b"large" * 1000)
    pass_time(at, GRACE)
    gc.collect(at.stores)
    pass_time(at, GRACE)
    assert at.upload("ada", repo, b"large" * 1000) == sha256  # the answer: it is here
    gc.collect(at.stores)
    assert at.point("ada", repo, "a.bin", sha256, 5000).status == 200
    assert at.ask("ada", "GET", "/ada/news/resolve/main/a.bin").body == b"large" * 1000


def test_a_deleted_repository_leaves_nothing_in_the_end(at: World) -> None:
    repo = at.repo("ada/news")
    at.large("ada", repo, "a.bin", b"large" * 1000)
    lifecycle.delete_repo(at.stores, at.opened("ada", repo, "admin"))
    for _ in range(2):
        gc.collect(at.stores)
        pass_time(at, GRACE)
    gc.collect(at.stores)
    assert stored(at) == set() and count(at, tables.files) == 0 and count(at, tables.condemned) == 0


def test_uploads_that_never_ended_go_after_a_day(at: World) -> None:
    folder = at.stores.settings.folder / "blobs"
    (folder / "incoming" / "ff").write_bytes(b"half")
    part = folder / "parts" / ("ab" * 16)
    part.mkdir(parents=True)
    (part / "00001").write_bytes(b"part")
    gc.collect(at.stores)
    assert (folder / "incoming" / "ff").exists() and (part / "00001").exists()
    pass_time(at, DAY_S + 60)
    gc.collect(at.stores)
    assert not (folder / "incoming" / "ff").exists() and not part.exists()


def test_an_answer_that_waits_to_be_asked_for_again_is_forgotten_after_the_grace(at: World) -> None:
    repo = at.repo("ada/news")

    def commit(key: str) -> str:
        lines = [
            {"key": "header", "value": {"summary": "a commit", "description": ""}},
            {"key": "file", "value": {"path": "a.txt", "content": "YQ==", "encoding": "base64"}},
        ]
        body = "\n".join(json.dumps(line) for line in lines).encode()
        headers = [("content-type", "application/x-ndjson"), ("idempotency-key", key)]
        answer = at.ask("ada", "POST", f"{repo}/commit/main", body, headers=headers)
        assert answer.status == 200, answer
        return str(answer.json()["commitOid"])

    first = commit("first")
    pass_time(at, GRACE - 60)
    commit("second")
    gc.collect(at.stores)
    assert count(at, tables.answered) == 2 and commit("first") == first
    pass_time(at, 120)
    gc.collect(at.stores, dry_run=True)
    assert count(at, tables.answered) == 2
    gc.collect(at.stores)
    with at.stores.database.reading() as connection:
        assert [key.partition(":")[2] for key in connection.scalars(select(tables.answered.c.key))] == ["second"]


def test_marks_of_transactions_that_ended_long_ago_go(at: World) -> None:
    now = at.stores.now()
    rows = [{"id": name, "number": 1, "written": when} for name, when in (("old", now - GRACE), ("new", now - 60))]
    with at.stores.database.writing() as connection:
        connection.execute(insert(tables.marks), rows)
    gc.collect(at.stores)
    with at.stores.database.reading() as connection:
        kept = set(connection.scalars(select(tables.marks.c.id)))
    assert "new" in kept and "old" not in kept


def test_what_is_asked_first_is_not_done(at: World) -> None:
    repo = at.repo("ada/news")
    at.upload("ada", repo, b"large" * 1000)
    (at.stores.settings.folder / "blobs" / "incoming" / "ff").write_bytes(b"half")
    asked = gc.collect(at.stores, dry_run=True)
    assert asked.condemned["claim"] == 1 and count(at, tables.condemned) == 0
    gc.collect(at.stores)
    pass_time(at, GRACE)
    before = stored(at), count(at, tables.claims), count(at, tables.condemned)
    asked = gc.collect(at.stores, dry_run=True)
    assert asked.removed["claim"] == 1 and asked.removed["upload"] == 1
    assert (stored(at), count(at, tables.claims), count(at, tables.condemned)) == before
    assert gc.collect(at.stores).removed["claim"] == 1


def test_a_grace_of_nothing_is_refused(tmp_path: Path) -> None:
    for days in (0.0, -1.0, 0.04, float("nan")):
        with world(tmp_path / str(days), grace_days=days) as at, pytest.raises(UsageError, match="hour"):
            gc.collect(at.stores)


def test_a_damaged_repository_is_left_alone(at: World) -> None:
    repo = at.repo("ada/news")
    at.post("ada", f"{repo}/branch/side", {})
    at.commit("ada", repo, {"a.txt": b"a"}, revision="side")
    at.ask("ada", "DELETE", f"{repo}/branch/side")
    gc.collect(at.stores)
    pass_time(at, GRACE)
    repo_id = at.opened("ada", repo).repo.id
    with at.stores.database.writing() as connection:
        tree = history.commit(connection, repo_id, history.resolve(connection, repo_id, "main")).tree
        connection.execute(tables.git_objects.delete().where(tables.git_objects.c.oid == tree))
    done = gc.collect(at.stores)
    assert not done.removed["git"] and "fsck" in done.spared[0]


# --- beside people --------------------------------------------------------------------------------------------------


class Player:
    """Somebody who does things between gc's steps, and knows what was acknowledged."""

    def __init__(self, at: World, rng: random.Random) -> None:
        self.at, self.rng = at, rng
        self.repo = at.repo("ada/news")
        self.branches: dict[str, dict[str, bytes]] = {"main": {}}  # branch -> path -> bytes, as acknowledged
        self.busy = False
        self.num_moves = 0
        self.uploaded: list[tuple[str, bytes]] = []
        self.pool = [rng.randbytes(2000) for _ in range(4)]
        self.files = [File([(cut(rng.randbytes(6000), 2000), 0, 3)]) for _ in range(3)]

    def move(self) -> None:
        """One thing, or nothing while it is in the middle of one already."""
        if self.busy:
            return
        self.busy = True
        self.num_moves += 1
        try:
            moves: list[Callable[[], None]] = [
                self.upload, self.upload, self.commit_large, self.commit_large, self.commit_small, self.branch,
                self.drop, self.squash, self.wait,
            ]  # fmt: skip
            self.rng.choice(moves)()
        finally:
            self.busy = False

    def upload(self) -> None:
        # gc may have taken the bytes before their row was written: then nothing is acknowledged
        with suppress(StoreFailed, BadRequest):
            if self.rng.random() < 0.5:
                data = self.rng.choice(self.pool)
                self.uploaded.append((self.at.upload("ada", self.repo, data), data))
            else:
                file = self.rng.choice(self.files)
                self.uploaded.append((self.at.upload_xet("ada", self.repo, file), file.data))

    def commit_large(self) -> None:
        if not self.uploaded:
            return
        sha256, data = self.uploaded.pop(self.rng.randrange(len(self.uploaded)))
        branch, path = self.rng.choice(list(self.branches)), f"{self.rng.randrange(4)}.bin"
        answer = self.at.point("ada", self.repo, path, sha256, len(data), branch)
        if answer.status == 200:  # else it was too late: gc had taken what was uploaded long ago
            self.branches[branch][path] = data
        assert answer.status < 500

    def commit_small(self) -> None:
        branch, path = self.rng.choice(list(self.branches)), f"{self.rng.randrange(4)}.txt"
        data = self.rng.choice((b"one", b"two", b"three"))
        self.at.commit("ada", self.repo, {path: data}, revision=branch)
        self.branches[branch][path] = data

    def branch(self) -> None:
        start, name = self.rng.choice(list(self.branches)), f"b{self.rng.randrange(3)}"
        answer = self.at.ask("ada", "POST", f"{self.repo}/branch/{name}", {"startingPoint": start})
        if answer.status == 200:
            self.branches[name] = dict(self.branches[start])

    def drop(self) -> None:
        if names := [name for name in self.branches if name != "main"]:
            name = self.rng.choice(names)
            assert self.at.ask("ada", "DELETE", f"{self.repo}/branch/{name}").status == 200
            del self.branches[name]

    def squash(self) -> None:
        branch = self.rng.choice(list(self.branches))
        self.at.post("ada", f"{self.repo}/super-squash/{branch}", {"message": "one"})

    def wait(self) -> None:
        self.at.clock.time += self.rng.choice((60, 3600, DAY_S, 10 * DAY_S))

    def check(self) -> None:
        """Everything that was acknowledged is there, to the byte."""
        assert fsck.check(self.at.stores).lost == []
        for branch, files in self.branches.items():
            for path, data in files.items():
                answer = self.at.ask("ada", "GET", f"/ada/news/resolve/{branch}/{path}")
                assert answer.status == 200 and answer.body == data, (branch, path, answer.status)


def interleaved(player: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    """People do something before every transaction of gc, and between the bytes of an upload and its rows, gc runs."""
    alone = Database.alone

    @contextmanager
    def then_alone(self: Database) -> Iterator[Connection]:
        for _ in range(player.rng.randrange(3)):
            player.move()
        with alone(self) as connection:
            yield connection

    monkeypatch.setattr(Database, "alone", then_alone)
    incoming = type(player.at.stores.blobs.incoming(blobs.file_key("0" * 64)))
    keep = incoming.keep
    inside: list[bool] = []

    def keep_then_gc(self: Any) -> None:
        keep(self)
        if not inside and player.rng.random() < 0.3:
            inside.append(True)
            player.at.clock.time += player.rng.choice((0, GRACE, 22 * DAY_S))
            with suppress(CommonsError):  # one is running already
                gc.collect(player.at.stores)
            inside.clear()

    monkeypatch.setattr(incoming, "keep", keep_then_gc)


@pytest.mark.parametrize("seed", range(int(os.environ.get("COMMONS_TEST_GC_SEEDS", "6"))))
def test_nothing_acknowledged_is_taken_whatever_happens_in_between(
    at: World, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    player = Player(at, random.Random(seed))
    interleaved(player, monkeypatch)
    for _ in range(12):
        for _ in range(player.rng.randrange(4)):
            player.move()
        gc.collect(at.stores)
        at.clock.time += player.rng.choice((60, DAY_S, GRACE, 22 * DAY_S))
    assert player.num_moves > 20
    player.check()


@pytest.mark.parametrize("planted", [False, True])
def test_what_comes_back_at_the_last_moment_stays(at: World, monkeypatch: pytest.MonkeyPatch, planted: bool) -> None:
    """And a gc that does not ask again, inside the transaction, what it saw before it, is seen to lose it."""
    repo = at.repo("ada/news")
    oid = at.commit("ada", repo, {"a.txt": b"a"})["commitOid"]
    at.post("ada", f"{repo}/super-squash/main", {"message": "one"})
    gc.collect(at.stores)
    at.clock.time += GRACE
    alone, done = Database.alone, []

    @contextmanager
    def then_alone(self: Database) -> Iterator[Connection]:
        if not done:
            done.append(True)
            at.post("ada", f"{repo}/branch/back", {"startingPoint": oid})
        with alone(self) as connection:
            yield connection

    monkeypatch.setattr(Database, "alone", then_alone)
    if planted:
        monkeypatch.setattr(gc.reach.Graph, "signature", None)
        monkeypatch.setattr(gc.reach, "signature", lambda connection, repo_id: None)
    gc.collect(at.stores)
    assert done and bool(fsck.check(at.stores).lost) == planted
