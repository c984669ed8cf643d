"""concurrency: 32 writers, 50 commits each, one branch, real sockets, two processes that answer; nothing is lost.

On SQLite; on PostgreSQL where COMMONS_TEST_POSTGRES says where it is.
"""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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


class Line:
    """One connection that stays open, as a client's does; ada's where no token is given."""

    def __init__(self, hub: Served, token: str = "") -> None:
        self.token = token or hub.tokens["ada"]
        self.connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=120)

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        sent = {"Authorization": f"Bearer {self.token}", **headers}
        if body is not None and not isinstance(body, bytes):
            body, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        self.connection.request(method, path, body, sent)
        answer = self.connection.getresponse()
        said = answer.read()
        return answer.status, json.loads(said) if "json" in answer.getheader("content-type", "") else said

    def commit(self, repo: str, path: str, text: str, *, parent: str | None = None, **headers: str) -> tuple[int, Any]:
        header = {"summary": text, "description": "", **({"parentCommit": parent} if parent else {})}
        file = {"path": path, "content": base64.b64encode(text.encode()).decode(), "encoding": "base64"}
        lines = ({"key": "header", "value": header}, {"key": "file", "value": file})
        body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        headers = {"Content-Type": "application/x-ndjson", **headers}
        return self.ask("POST", f"/api/models/{repo}/commit/main", body, **headers)

    def create(self, name: str) -> str:
        status, said = self.ask("POST", "/api/repos/create", {"name": name, "type": "model"})
        assert status == 200, said
        return f"ada/{name}"

    def head(self, repo: str) -> str:
        return str(self.ask("GET", f"/api/models/{repo}?expand=sha")[1]["sha"])

    def history(self, repo: str) -> list[dict[str, Any]]:
        """Every commit that main's head leads to, newest first."""
        found: list[dict[str, Any]] = []
        for page in itertools.count():
            said = self.ask("GET", f"/api/models/{repo}/commits/main?limit=100&p={page}")[1]
            if not said:
                break
            found += said
        return found

    def text(self, repo: str, path: str, revision: str = "main") -> str:
        status, said = self.ask("GET", f"/{repo}/resolve/{revision}/{path}")
        assert status == 200, (path, said)
        return bytes(said).decode()


@pytest.fixture
def line(hub: Served) -> Iterator[Line]:
    with Line(hub) as one:
        yield one


def at_once(hub: Served, number: int, act: Callable[[Line, int], Any]) -> list[Any]:
    """What so many clients, each with its connection, were answered; they begin together."""
    barrier = threading.Barrier(number)

    def run(client: int) -> Any:
        with Line(hub) as one:
            barrier.wait()
            return act(one, client)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))


def test_two_processes_answer(hub: Served) -> None:
    assert hub.processes() >= 2


def test_thirty_two_writers_on_one_branch(hub: Served, line: Line) -> None:
    """Each commits to a file of its own and to one that all share, by turns with a parent and without.

    With a parent: 200, or 412 when somebody was quicker. Without: always 200. What was acknowledged is in the history,
    and nothing else is.
    """
    repo = line.create("race")
    outcomes: Counter[tuple[bool, int]] = Counter()
    acknowledged: dict[str, tuple[str, str]] = {}  # commit -> path, text
    lock = threading.Lock()

    def write(one: Line, writer: int) -> str:
        last = ""
        for number in range(COMMITS):
            with_parent = number % 2 == 0
            path = "shared.txt" if number % 5 == 0 else f"own/{writer}.txt"
            text = f"writer {writer} number {number}"
            status, said = one.commit(repo, path, text, parent=one.head(repo) if with_parent else None)
            with lock:
                outcomes[with_parent, status] += 1
                if status == 200:
                    acknowledged[said["commitOid"]] = (path, text)
            if status == 200 and path != "shared.txt":
                last = text
        return last

    lasts = at_once(hub, WRITERS, write)
    line.connection.close()  # it has waited for them, longer than the hub lets a connection wait on a slow machine
    assert set(outcomes) <= {(True, 200), (True, 412), (False, 200)}, outcomes
    assert outcomes[False, 200] == WRITERS * COMMITS // 2
    assert outcomes[True, 200] > 0 and outcomes[True, 412] > 0, outcomes
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


def test_a_retry_with_the_same_key_is_one_commit(hub: Served, line: Line) -> None:
    repo = line.create("retry")
    said = at_once(hub, 8, lambda one, _: one.commit(repo, "a.txt", "once", **{"Idempotency-Key": "the-same"}))
    assert {status for status, _ in said} == {200}, said
    assert len({answer["commitOid"] for _, answer in said}) == 1
    assert len(line.history(repo)) == 2


def test_one_of_many_creators_wins(hub: Served) -> None:
    body = {"name": "one-of-many", "type": "model"}
    said = at_once(hub, 16, lambda one, _: one.ask("POST", "/api/repos/create", body)[0])
    assert sorted(said) == [200] + [409] * 15


@pytest.mark.parametrize("what", ["branch", "tag"])
def test_one_of_many_refs_wins(hub: Served, line: Line, what: str) -> None:
    repo = line.create(f"one-{what}")
    path, body = (f"/api/models/{repo}/branch/b", {})
    if what == "tag":
        path, body = f"/api/models/{repo}/tag/main", {"tag": "t"}
    said = sorted(at_once(hub, 16, lambda one, _: one.ask("POST", path, body)[0]))
    assert said[0] in (200, 201) and said[1:] == [409] * 15, said


def test_discussions_are_numbered_without_a_gap(hub: Served, line: Line) -> None:
    repo = line.create("talk")

    def talk(one: Line, number: int) -> int:
        body = {"title": f"talk {number}", "description": "words", "pullRequest": number % 2 == 0}
        status, said = one.ask("POST", f"/api/models/{repo}/discussions", body)
        assert status in (200, 201), said
        return int(said["num"])

    assert sorted(at_once(hub, 32, talk)) == list(range(1, 33))


def test_likes_are_counted_once_for_each_person(hub: Served, line: Line) -> None:
    repo = line.create("liked")

    def like(one: Line, number: int) -> int:
        one.token = hub.tokens[("ada", "ben", "cleo", "dan")[number % 4]]
        return one.ask("POST", f"/api/models/{repo}/like", {})[0]

    assert set(at_once(hub, 32, like)) == {200}
    assert line.ask("GET", f"/api/models/{repo}?expand=likes")[1]["likes"] == 4


def test_a_repository_that_is_deleted_while_many_write(hub: Served, line: Line) -> None:
    """After the 200 of the delete nothing is written; a writer is told that it is not there."""
    repo = line.create("doomed")
    gone = threading.Event()
    late: list[int] = []
    odd: list[Any] = []

    def write(one: Line, writer: int) -> None:
        if writer == 0:
            assert one.ask("DELETE", "/api/repos/delete", {"name": "doomed", "type": "model"})[0] == 200
            gone.set()
            return
        for number in range(20):
            was_gone = gone.is_set()
            status, said = one.commit(repo, f"{writer}.txt", f"{number}")
            if status not in (200, 404):
                odd.append((status, said))
            if was_gone and status == 200:
                late.append(writer)

    at_once(hub, 9, write)
    assert not late and not odd
    assert line.ask("GET", f"/api/models/{repo}")[0] == 404


def test_a_move_while_many_write(hub: Served, line: Line) -> None:
    """Every writer is answered 200 or sent on by 307; what was acknowledged is at the new address."""
    repo = line.create("before-move")
    acknowledged: list[str] = []
    odd: list[Any] = []

    def write(one: Line, writer: int) -> None:
        if writer == 0:
            body = {"fromRepo": repo, "toRepo": "guild/after-move", "type": "model"}
            assert one.ask("POST", "/api/repos/move", body)[0] == 200
            return
        for number in range(20):
            status, said = one.commit(repo, f"{writer}-{number}.txt", f"{writer}-{number}")
            if status == 200:
                acknowledged.append(f"{writer}-{number}.txt")
            elif status != 307:
                odd.append((status, said))

    at_once(hub, 9, write)
    assert not odd
    files = line.ask("GET", "/api/models/guild/after-move/tree/main?recursive=true&limit=1000")[1]
    assert {one["path"] for one in files} == {*acknowledged, ".gitattributes"}
