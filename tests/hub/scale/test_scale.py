"""scale: two hubs share a database and a bucket; one is killed under load, and nothing acknowledged is lost.

Run by `make test-scale`, which starts PostgreSQL and an S3 server of Debian's.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import secrets
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from hubs import COMMONS, POSTGRES, Running, Template, copied, started

S3 = os.environ.get("COMMONS_TEST_S3", "")
WRITERS = 6
BEFORE = 30  # commits acknowledged when one hub is killed
AFTER = 30  # and after that
LARGE = 6 << 20  # bytes: more than one part of an S3 upload

pytestmark = pytest.mark.skipif(not (S3 and POSTGRES), reason="needs PostgreSQL and S3: make test-scale")


@dataclass
class Pair:
    one: Running
    other: Running
    bucket: dict[str, str]  # settings
    database: str


@pytest.fixture
def pair(template: Template, tmp_path: Path) -> Iterator[Pair]:
    bucket = {
        "bucket": f"s3://{os.environ['COMMONS_TEST_BUCKET']}/{secrets.token_hex(8)}",
        "s3_endpoint": S3,
        "s3_key_id": os.environ["COMMONS_TEST_S3_KEY_ID"],
        "s3_secret": os.environ["COMMONS_TEST_S3_SECRET"],
        "secret": secrets.token_hex(32),
    }
    with copied(template, tmp_path / "one", port=0, **bucket) as settings, ExitStack() as closing:
        one = closing.enter_context(started(settings, template.tokens))
        other = closing.enter_context(started(replace(settings, folder=tmp_path / "other"), template.tokens))
        yield Pair(one, other, bucket, settings.database)


@dataclass
class Load:
    """Writers, each with a hub it prefers; it goes to the other one where its own does not answer."""

    pair: Pair
    repo: str
    wanted: int
    kept: dict[str, str] = field(default_factory=dict)  # path -> SHA-256, of what was acknowledged
    enough: threading.Event = field(default_factory=threading.Event)  # as many as are wanted before the kill
    over: threading.Event = field(default_factory=threading.Event)
    wrong: list[str] = field(default_factory=list)

    def write(self, writer: int) -> None:
        rng = random.Random(writer)
        hubs = [self.pair.one, self.pair.other][:: 1 if writer % 2 else -1]
        number = 0
        while not self.over.is_set():
            number += 1
            path = f"{writer}/{number}.bin"
            data = rng.randbytes(LARGE if number % 4 == 0 else 2000)
            try:
                self.put(hubs[0], path, data)
            except httpx2.TransportError:  # it was killed: what it did not acknowledge counts for nothing
                hubs.reverse()
                continue
            except AssertionError as error:
                self.wrong.append(str(error))
                return
            self.kept[path] = hashlib.sha256(data).hexdigest()
            if len(self.kept) >= self.wanted:
                self.enough.set()

    def put(self, hub: Running, path: str, data: bytes) -> None:
        """One file by LFS, and the commit that names it; a small one beside it."""
        oid, size = hashlib.sha256(data).hexdigest(), len(data)
        with hub.client("ada") as client:
            objects = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": oid, "size": size}]}
            batch = client.post(f"/{self.repo}.git/info/lfs/objects/batch", json=objects)
            assert batch.status_code == 200, batch.text
            where = urlsplit(batch.json()["objects"][0]["actions"]["upload"]["href"])
            sent = client.put(f"{where.path}?{where.query}", content=data)
            assert sent.status_code == 200, sent.text
            small = {"path": f"{path}.txt", "content": base64.b64encode(oid.encode()).decode(), "encoding": "base64"}
            lines = [
                {"key": "header", "value": {"summary": path, "description": ""}},
                {"key": "lfsFile", "value": {"path": path, "algo": "sha256", "oid": oid, "size": size}},
                {"key": "file", "value": small},
            ]
            body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
            done = client.post(
                f"/api/models/{self.repo}/commit/main", content=body, headers={"Content-Type": "application/x-ndjson"}
            )
            assert done.status_code == 200, done.text


def test_one_hub_of_two_is_killed_under_load_and_nothing_acknowledged_is_lost(pair: Pair) -> None:
    with pair.one.client("ada") as client:
        assert client.post("/api/repos/create", json={"name": "news", "type": "model"}).status_code == 200
    load = Load(pair, "ada/news", BEFORE)
    writers = [threading.Thread(target=load.write, args=(number,)) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    assert load.enough.wait(300), load.wrong
    assert pair.one.stop(signal.SIGKILL) == -signal.SIGKILL
    load.wanted = len(load.kept) + AFTER
    load.enough.clear()
    assert load.enough.wait(300), load.wrong
    load.over.set()
    for writer in writers:
        writer.join(120)
    assert not load.wrong
    assert len(load.kept) >= BEFORE + AFTER
    with pair.other.client("ada", follow_redirects=True) as client:
        listed = whole_tree(client, load.repo)
        for path, sha256 in load.kept.items():
            assert listed.get(path) == sha256
            assert hashlib.sha256(client.get(f"/{load.repo}/resolve/main/{path}").content).hexdigest() == sha256
            assert client.get(f"/{load.repo}/resolve/main/{path}.txt").text == sha256
    checked = subprocess.run(
        [str(COMMONS), "hub", "fsck", "--json"], capture_output=True, text=True, check=False,
        env=os.environ | settings(pair),
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr


def whole_tree(client: httpx2.Client, repo: str) -> dict[str, str]:
    """path -> SHA-256 of every large file of main."""
    found: dict[str, str] = {}
    address: str | None = f"/api/models/{repo}/tree/main?recursive=true&limit=1000"
    while address:
        answer = client.get(address)
        assert answer.status_code == 200, answer.text
        found.update((one["path"], one["lfs"]["oid"]) for one in answer.json() if "lfs" in one)
        address = answer.links.get("next", {}).get("url")
    return found


def settings(pair: Pair) -> dict[str, str]:
    given = {**pair.bucket, "database": pair.database, "folder": str(pair.other.folder)}
    return {f"COMMONS_HUB_{name.upper()}": value for name, value in given.items()}
