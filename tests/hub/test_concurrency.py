"""concurrency: 32 writers, 50 commits each, one branch, real sockets, two processes that answer; nothing is lost.

On SQLite; on PostgreSQL where COMMONS_TEST_POSTGRES says where it is.
"""

from __future__ import annotations

import base64
import http.client
import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from served import Served, serve

WRITERS = 32
COMMITS = 50


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("hub") / "hub", workers=2) as served:
        yield served
        assert "Traceback" not in served.log(), served.log()[-5000:]


@dataclass
class Line:
    """One connection that stays open, as a client's does."""

    hub: Served
    token: str = ""
    connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", self.hub.port, timeout=120)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        sent = {"Authorization": f"Bearer {self.token or self.hub.tokens['ada']}", **headers}
        if body is not None and not isinstance(body, bytes):
            body, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        self.connection.request(method, path, body, sent)
        answer = self.connection.getresponse()
        said, told = answer.read(), {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, json.loads(said) if "json" in told.get("content-type", "") else said, told

    def commit(self, repo: str, path: str, text: str, *, parent: str | None = None, **headers: str) -> tuple[int, Any]:
        header = {"summary": text, "description": "", **({"parentCommit": parent} if parent else {})}
        file = {"path": path, "content": base64.b64encode(text.encode()).decode(), "encoding": "base64"}
        lines = ({"key": "header", "value": header}, {"key": "file", "value": file})
        body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        headers = {"Content-Type": "application/x-ndjson", **headers}
        status, said, _ = self.ask("POST", f"/api/models/{repo}/commit/main", body, **headers)
        return status, said

    def create(self, name: str) -> str:
        status, said, _ = self.ask("POST", "/api/repos/create", {"name": name, "type": "model"})
        assert status == 200, said
        return f"ada/{name}"

    def head(self, repo: str) -> str:
        return str(self.ask("GET", f"/api/models/{repo}?expand=sha")[1]["sha"])

    def history(self, repo: str) -> list[dict[str, Any]]:
        """Every commit that main's head leads to, newest first."""
        found: list[dict[str, Any]] = []
        page = 0
        while True:
            _, said, _ = self.ask("GET", f"/api/models/{repo}/commits/main?limit=100&p={page}")
            found += said
            page += 1
            if not said:
                return found

    def text(self, repo: str, path: str, revision: str = "main") -> str:
        status, said, _ = self.ask("GET", f"/{repo}/resolve/{revision}/{path}")
        assert status == 200, (path, said)
        return bytes(said).decode()


def test_two_processes_answer(hub: Served) -> None:
    assert hub.processes() >= 2


def test_thirty_two_writers_on_one_branch(hub: Served) -> None:
    """Each commits to a file of its own and to one that all share, by turns with a parent and without.

    With a parent: 200, or 412 when somebody was quicker. Without: always 200. What was acknowledged is in the history,
    and nothing else is.
    """
    repo = Line(hub).create("race")
    outcomes: Counter[tuple[bool, int]] = Counter()
    acknowledged: dict[str, tuple[str, str]] = {}  # commit -> path, text
    lock = threading.Lock()
    barrier = threading.Barrier(WRITERS)

    def write(writer: int) -> str:
        line = Line(hub)
        barrier.wait()
        last = ""
        for number in range(COMMITS):
            with_parent = number % 2 == 0
            path = "shared.txt" if number % 5 == 0 else f"own/{writer}.txt"
            text = f"writer {writer} number {number}"
            parent = line.head(repo) if with_parent else None
            status, said = line.commit(repo, path, text, parent=parent)
            with lock:
                outcomes[with_parent, status] += 1
                if status == 200:
                    acknowledged[said["commitOid"]] = (path, text)
            if status == 200 and path != "shared.txt":
                last = text
        return last

    with ThreadPoolExecutor(WRITERS) as pool:
        lasts = list(pool.map(write, range(WRITERS)))

    assert set(outcomes) <= {(True, 200), (True, 412), (False, 200)}, outcomes
    assert outcomes[False, 200] == WRITERS * COMMITS // 2
    assert outcomes[True, 200] > 0 and outcomes[True, 412] > 0, outcomes
    line = Line(hub)
    history = line.history(repo)
    titles = {one["id"]: one["title"] for one in history}
    assert len(history) == len(titles) == len(acknowledged) + 1
    assert {oid: text for oid, (_, text) in acknowledged.items()} == {
        oid: title for oid, title in titles.items() if title != "initial commit"
    }
    for writer, last in enumerate(lasts):
        assert line.text(repo, f"own/{writer}.txt") == last
    newest_shared = next(one["title"] for one in history if acknowledged.get(one["id"], ("",))[0] == "shared.txt")
    assert line.text(repo, "shared.txt") == newest_shared
    for one in history[:: len(history) // 20]:
        if one["id"] in acknowledged:
            path, text = acknowledged[one["id"]]
            assert line.text(repo, path, one["id"]) == text


def test_a_retry_with_the_same_key_is_one_commit(hub: Served) -> None:
    repo = Line(hub).create("retry")
    key = {"Idempotency-Key": "the-same"}

    def once(_: int) -> tuple[int, Any]:
        return Line(hub).commit(repo, "a.txt", "once", **key)

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(once, range(8)))
    assert {status for status, _ in said} == {200}, said
    assert len({answer["commitOid"] for _, answer in said}) == 1
    assert len(Line(hub).history(repo)) == 2


def test_one_of_many_creators_wins(hub: Served) -> None:
    def create(_: int) -> int:
        return Line(hub).ask("POST", "/api/repos/create", {"name": "one-of-many", "type": "model"})[0]

    with ThreadPoolExecutor(16) as pool:
        assert sorted(pool.map(create, range(16))) == [200] + [409] * 15


@pytest.mark.parametrize("what", ["branch", "tag"])
def test_one_of_many_branches_wins(hub: Served, what: str) -> None:
    repo = Line(hub).create(f"one-{what}")
    path, body = (
        (f"/api/models/{repo}/branch/b", {}) if what == "branch" else (f"/api/models/{repo}/tag/main", {"tag": "t"})
    )

    with ThreadPoolExecutor(16) as pool:
        said = sorted(pool.map(lambda _: Line(hub).ask("POST", path, body)[0], range(16)))
    assert said[0] in (200, 201) and said[1:] == [409] * 15, said


def test_discussions_are_numbered_without_a_gap(hub: Served) -> None:
    repo = Line(hub).create("talk")

    def talk(number: int) -> int:
        body = {"title": f"t{number}", "description": "d", "pullRequest": number % 2 == 0}
        status, said, _ = Line(hub).ask("POST", f"/api/models/{repo}/discussions", body)
        assert status in (200, 201), said
        return int(said["num"])

    with ThreadPoolExecutor(16) as pool:
        assert sorted(pool.map(talk, range(32))) == list(range(1, 33))


def test_likes_are_counted_once_for_each_person(hub: Served) -> None:
    repo = Line(hub).create("liked")
    people = [hub.tokens[name] for name in ("ada", "ben", "cleo", "dan")] * 8

    def like(token: str) -> int:
        return Line(hub, token).ask("POST", f"/api/models/{repo}/like", {})[0]

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(like, people)) == {200}
    assert Line(hub).ask("GET", f"/api/models/{repo}?expand=likes")[1]["likes"] == 4


def test_a_repository_that_is_deleted_while_many_write(hub: Served) -> None:
    """After the 200 of the delete nothing is written; a writer is told that it is not there."""
    repo = Line(hub).create("doomed")
    gone = threading.Event()
    late: list[int] = []
    odd: list[Any] = []

    def write(writer: int) -> None:
        line = Line(hub)
        for number in range(20):
            was_gone = gone.is_set()
            status, said = line.commit(repo, f"{writer}.txt", f"{number}")
            if status not in (200, 404):
                odd.append((status, said))
            if was_gone and status == 200:
                late.append(writer)

    with ThreadPoolExecutor(9) as pool:
        going = [pool.submit(write, writer) for writer in range(8)]
        status, said, _ = Line(hub).ask("DELETE", "/api/repos/delete", {"name": "doomed", "type": "model"})
        gone.set()
        for one in going:
            one.result()
    assert status == 200, said
    assert not late and not odd
    assert Line(hub).ask("GET", f"/api/models/{repo}")[0] == 404


def test_a_move_while_many_write(hub: Served) -> None:
    """Every writer is answered 200 or sent on by 307; what was acknowledged is at the new address."""
    repo = Line(hub).create("before-move")
    acknowledged: list[str] = []
    odd: list[Any] = []

    def write(writer: int) -> None:
        line = Line(hub)
        for number in range(20):
            status, said = line.commit(repo, f"{writer}-{number}.txt", f"{writer}-{number}")
            if status == 200:
                acknowledged.append(f"{writer}-{number}.txt")
            elif status != 307:
                odd.append((status, said))

    with ThreadPoolExecutor(9) as pool:
        going = [pool.submit(write, writer) for writer in range(8)]
        body = {"fromRepo": repo, "toRepo": "guild/after-move", "type": "model"}
        status, said, _ = Line(hub).ask("POST", "/api/repos/move", body)
        for one in going:
            one.result()
    assert status == 200, said
    assert not odd
    _, files, _ = Line(hub).ask("GET", "/api/models/guild/after-move/tree/main?recursive=true&limit=1000")
    assert {one["path"] for one in files} == {*acknowledged, ".gitattributes"}
