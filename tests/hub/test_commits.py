"""commits over the wire: NDJSON in, one commit out, or nothing; branches, tags, squashes; who may; stale and again."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import Answer
from hubs import Start
from sqlalchemy import func, select
from world import World, world

from modelcommons.errors import Unauthorized
from modelcommons.hub import history, tables
from modelcommons.hub.actions import accounts, commits, repos
from modelcommons.hub.wire import commits as wire


@pytest.fixture
def at(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "hub", body_bytes=40 << 20) as made:
        yield made


@pytest.fixture
def repo(at: World) -> str:
    return at.repo("guild/news")


def line(key: str, **value: Any) -> dict[str, Any]:
    return {"key": key, "value": value}


def file(path: str, data: bytes = b"x") -> dict[str, Any]:
    return line("file", path=path, content=base64.b64encode(data).decode(), encoding="base64")


HEADER = line("header", summary="Title", description="Words.")


def send(
    at: World, who: str, repo: str, *lines: Any, rev: str = "main", query: str = "", key: str = "", **header: Any
) -> Answer:
    """A commit of these lines after a header; `header` adds to it."""
    first = line("header", **{"summary": "Title", "description": "Words."} | header)
    body = b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in (first, *lines))
    return post(at, who, repo, body, rev=rev, query=query, key=key)


def post(at: World, who: str, repo: str, body: bytes, *, rev: str = "main", query: str = "", key: str = "") -> Answer:
    headers = [("content-type", "application/x-ndjson")] + ([("idempotency-key", key)] if key else [])
    return at.ask(who, "POST", f"{repo}/commit/{rev}{query}", body, headers=headers)


def done(answer: Answer) -> str:
    assert answer.status == 200, (answer.status, answer.body)
    return str(answer.json()["commitOid"])


def head(at: World, repo: str, rev: str = "main") -> str:
    return str(at.get("root", f"{repo}/commits/{rev}?limit=1")[0]["id"])


def paths(at: World, repo: str, rev: str = "main") -> list[str]:
    return [one["path"] for one in at.get("root", f"{repo}/tree/{rev}?recursive=true") if one["type"] == "file"]


# --- commit ---------------------------------------------------------------------------------------------------------


def test_a_commit_says_where_it_is(at: World, repo: str) -> None:
    answer = send(at, "ben", repo, file("a/b.txt", b"hello"), file("c.txt")).json()
    assert answer["commitUrl"].endswith(f"/guild/news/commit/{answer['commitOid']}") and "pullRequestUrl" not in answer
    [newest, first] = at.get("", f"{repo}/commits/main?expand[]=formatted")
    assert newest["id"] == answer["commitOid"] == head(at, repo)
    assert (newest["title"], newest["message"], newest["authors"]) == ("Title", "Words.", [{"user": "ben"}])
    assert newest["date"] == "2027-01-15T08:00:00.000Z" and newest["formatted"]["title"] == "Title"
    assert first["title"] == "initial commit"
    assert paths(at, repo) == [".gitattributes", "a/b.txt", "c.txt"]
    with at.stores.database.reading() as connection:
        found = history.commit(connection, 1, answer["commitOid"])
    assert (found.author, found.email) == ("ben", "ben@users.noreply.localhost")


def test_operations_apply_in_order(at: World, repo: str) -> None:
    done(send(at, "ada", repo, file("a"), file("d/x"), file("d/y"), file("keep")))
    done(send(at, "ada", repo, line("deletedFile", path="a"), line("deletedFolder", path="d/"), file("d", b"file now")))
    assert paths(at, repo) == [".gitattributes", "d", "keep"]


@pytest.mark.parametrize("operation", [line("deletedFile", path="no"), line("deletedFolder", path="no/")])
def test_what_is_not_there_cannot_be_deleted(at: World, repo: str, operation: dict[str, Any]) -> None:
    before = head(at, repo)
    answer = send(at, "ada", repo, file("a"), operation)
    assert (answer.status, answer.code) == (404, "EntryNotFound") and b"with this name doesn't exist" in answer.body
    assert head(at, repo) == before and paths(at, repo) == [".gitattributes"]


def test_a_commit_that_changes_nothing_answers_the_head(at: World, repo: str) -> None:
    oid = done(send(at, "ada", repo, file("a")))
    assert done(send(at, "ada", repo, file("a"))) == done(send(at, "ada", repo)) == oid


def test_large_files_must_be_this_repositorys_own(at: World, repo: str) -> None:
    data = b"large" * 1000
    at.repo("ada/secret", private=True)
    sha256 = at.large("ada", "/api/models/ada/secret", "s.bin", data)
    unknown = "0" * 64
    answers = [send(at, "ben", repo, line("lfsFile", path="w", algo="sha256", oid=oid)) for oid in (sha256, unknown)]
    assert [one.status for one in answers] == [400, 400]
    assert answers[0].body.replace(sha256.encode(), unknown.encode()) == answers[1].body, "they tell whose bytes exist"
    pointer = history.Pointer(sha256, len(data)).data()
    assert send(at, "ben", repo, file("w", pointer)).status == 400, "a pointer sent as text is the same"
    mine = at.large("ada", repo, "w.bin", data + b"!")
    for size, status in ((None, 200), (len(data) + 1, 200), (3, 400), (-1, 400), (True, 400), ("5001", 400)):
        copy = line("lfsFile", path=f"copy-{size}", algo="sha256", oid=mine, size=size)
        assert send(at, "ada", repo, copy).status == status, size
    for wrong in (line("lfsFile", path="w", algo="sha1", oid=mine), line("lfsFile", path="w", oid="../x")):
        assert send(at, "ada", repo, wrong).status in (400, 422)
    copied = next(one for one in at.get("", f"{repo}/tree/main") if one["path"] == "copy-None")
    assert copied["lfs"]["oid"] == mine and copied["size"] == len(data) + 1


@pytest.mark.parametrize(
    "names", [["A", "a"], ["a", "a/b"], ["../x"], [".git/x"], ["a//b"], ["nul"], ["a\\b"], ["x\u202e"], [""], ["/a"]]
)
def test_paths_that_cannot_be_leave_everything_as_it_was(at: World, repo: str, names: list[str]) -> None:
    before = head(at, repo)
    assert send(at, "ada", repo, file("fine"), *(file(name) for name in names)).status == 422
    assert head(at, repo) == before


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\n\n", b"{}", b"[]", b'{"key": "header"}', b'{"key": "header", "value": []}', b"not json",
        b'{"key": "file", "value": {"path": "a", "content": "", "encoding": "base64"}}',
        b'{"key": "header", "value": {"description": "no summary"}}', b'{"key": "header", "value": {"summary": 3}}',
        b'{"key": "header", "value": {"summary": " \\n"}}', b"[" * 100_000, b'{"key":' * 50_000,
        b'{"key": "header", "value": {"summary": "s", "parentCommit": 7}}', b"\xff\xfe",
        b'{"key": "header", "value": {"summary": "git ends \\u0000 here"}}',
        b'{"key": "header", "value": {"summary": "s", "description": "\\u0000"}}',
    ],
)  # fmt: skip
def test_what_is_no_commit_is_refused(at: World, repo: str, body: bytes) -> None:
    assert post(at, "ada", repo, body).status in (400, 422)


@pytest.mark.parametrize(
    "wrong",
    [
        line("file", path="a"), line("file", path="a", content=3),
        line("file", path="a", content="!", encoding="base64"),
        line("file", path="a", content="x", encoding="rot13"), line("file", content="x"), line("other", path="a"),
        line("header", summary="again"), b"{", b'{"key": "file", "value": {"path": ["a"], "content": ""}}',
    ],
)  # fmt: skip
def test_a_line_that_means_nothing_spoils_the_commit(at: World, repo: str, wrong: Any) -> None:
    before = head(at, repo)
    assert send(at, "ada", repo, file("a"), wrong).status == 400
    assert head(at, repo) == before


def test_commits_have_limits(at: World, repo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert send(at, "ada", repo, file("big", b"x" * (10 << 20))).status == 200
    answer = send(at, "ada", repo, file("bigger", b"x" * ((10 << 20) + 1)))
    assert answer.status == 422 and b"LFS or Xet" in answer.body
    assert send(at, "ada", repo, b"x" * (wire.MAX_LINE + 1)).status == 413
    assert post(at, "ada", repo, b"\n" * ((40 << 20) + 1)).status == 413
    monkeypatch.setattr(commits, "MAX_OPERATIONS", 3)
    assert send(at, "ada", repo, *(file(f"{number}") for number in range(3))).status == 200
    assert send(at, "ada", repo, *(file(f"{number}") for number in range(4))).status == 422
    for header in ({"summary": "s" * 501}, {"description": "d" * 70_000}):
        assert send(at, "ada", repo, file("x"), **header).status == 422


# --- stale, again ---------------------------------------------------------------------------------------------------


def test_a_stale_parent_is_refused_and_a_short_one_is_enough(at: World, repo: str) -> None:
    first = head(at, repo)
    second = done(send(at, "ada", repo, file("a"), parentCommit=first))
    for stale in (first, first[:7], "", second[:6], "f" * 40, second + "0"):
        answer = send(at, "ben", repo, file("b"), parentCommit=stale)
        assert answer.status == 412, stale
        assert answer.json()["error"] == "A commit has happened since. Please refresh and try again."
    done(send(at, "ben", repo, file("b"), parentCommit=second[:7].upper()))
    assert paths(at, repo) == [".gitattributes", "a", "b"]


def test_without_a_parent_the_later_one_wins_and_both_stay(at: World, repo: str) -> None:
    oids = [done(send(at, who, repo, file("same", who.encode()))) for who in ("ada", "ben")]
    assert [one["id"] for one in at.get("", f"{repo}/commits/main")][:2] == oids[::-1]


def test_a_request_that_comes_again_is_answered_again(at: World, repo: str) -> None:
    oid = done(send(at, "ada", repo, file("a"), key="one"))
    done(send(at, "ben", repo, file("a", b"other")))
    assert done(send(at, "ada", repo, file("a"), key="one")) == oid
    assert len(at.get("", f"{repo}/commits/main")) == 3
    assert send(at, "ada", repo, file("b"), key="one").status == 422, "another commit under the same key"
    assert done(send(at, "ben", repo, file("a"), key="one")) != oid, "another person's key is another key"
    proposals = [send(at, "dan", repo, file("p"), key="two", query="?create_pr=1").json() for _ in range(2)]
    assert proposals[0] == proposals[1] and at.get("", f"{repo}/discussions")["count"] == 1
    assert send(at, "ada", repo, file("x"), key="k" * 300).status == 400


def test_a_ref_that_moves_in_spite_of_the_lock_is_tried_again(
    at: World, repo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, lost = history.move_ref, [True, True]
    monkeypatch.setattr(history, "move_ref", lambda *given: False if lost and lost.pop() else real(*given))
    done(send(at, "ada", repo, file("a")))
    monkeypatch.setattr(history, "move_ref", lambda *given: False)
    answer = send(at, "ada", repo, file("b"))
    assert answer.status == 412 and paths(at, repo) == [".gitattributes", "a"]


def test_nothing_is_left_of_a_commit_that_fails(at: World, repo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = select(func.count()).select_from(tables.git_objects)
    with at.stores.database.reading() as connection:
        before = connection.scalar(rows)

    def fail(*given: Any, **more: Any) -> None:
        raise RuntimeError("at the last moment")

    monkeypatch.setattr(commits.webhooks, "changed", fail)
    assert send(at, "ada", repo, file("a")).status == 500
    with at.stores.database.reading() as connection:
        assert connection.scalar(rows) == before
    assert paths(at, repo) == [".gitattributes"]


def test_a_token_revoked_while_the_body_came_commits_nothing(at: World, repo: str) -> None:
    """The door was open when the request began; permission is asked again where it is written."""
    opened = repos.open_repo(at.stores, at.principal("ada"), repos.names.repo_id("model", "guild", "news"), "write")

    def operations() -> Iterator[commits.Operation]:
        yield history.Add("a", b"")
        accounts.revoke_token(at.stores, "ada", "test")

    with pytest.raises(Unauthorized):
        commits.commit(at.stores, opened, "main", commits.Header("t"), operations())
    assert paths(at, repo) == [".gitattributes"]


# --- who may --------------------------------------------------------------------------------------------------------


def test_who_may_commit(at: World, repo: str) -> None:
    hidden = at.repo("guild/hidden", private=True)
    for who, public, private in (
        ("", 401, 401), ("dan", 403, 404), ("cleo", 403, 403), ("reader", 403, 403), ("other", 403, 404),
        ("ben", 200, 200), ("ada", 200, 200), ("root", 200, 200),
    ):  # fmt: skip
        assert send(at, who, repo, file(f"by-{who}")).status == public, who
        assert send(at, who, hidden, file(f"by-{who}")).status == private, who
    assert paths(at, repo) == [".gitattributes", "by-ada", "by-ben", "by-root"]


def test_a_proposal_is_opened_by_a_commit(at: World, repo: str) -> None:
    start = done(send(at, "ada", repo, file("a", b"1")))
    answer = send(at, "dan", repo, file("a", b"2"), query="?create_pr=1", summary="Better").json()
    assert answer["pullRequestUrl"].endswith("/guild/news/discussions/1") and head(at, repo) == start
    assert head(at, repo, "refs%2Fpr%2F1") == answer["commitOid"]
    assert done(send(at, "dan", repo, file("b"), rev="refs%2Fpr%2F1")) == head(at, repo, "refs%2Fpr%2F1")
    assert send(at, "cleo", repo, file("c"), rev="refs%2Fpr%2F1").status == 403
    assert done(send(at, "ben", repo, file("d"), rev="refs%2Fpr%2F1"))
    events = at.get("", f"{repo}/discussions/1")["events"]
    assert [one["data"]["subject"] for one in events if one["type"] == "commit"] == ["Better", "Title", "Title"]
    assert send(at, "dan", repo, file("c"), rev="refs%2Fpr%2F2").status == 404
    assert send(at, "dan", repo, file("c"), rev="dev", query="?create_pr=1").status == 400
    assert send(at, "", repo, file("c"), query="?create_pr=1").status == 401
    first = at.get("", f"{repo}/commits/main")[-1]["id"]
    old = send(at, "dan", repo, file("a", b"3"), query="?create_pr=1", parentCommit=first).json()
    assert [one["id"] for one in at.get("", f"{repo}/commits/refs%2Fpr%2F2")] == [old["commitOid"], first]
    pulls = at.get("", f"{repo}/refs?include_prs=1")["pullRequests"]
    assert [(one["name"], one["ref"]) for one in pulls] == [("1", "refs/pr/1"), ("2", "refs/pr/2")]


# --- branches, tags, squash -----------------------------------------------------------------------------------------


def test_branches(at: World, repo: str) -> None:
    first = head(at, repo)
    second = done(send(at, "ada", repo, file("a")))
    at.post("ben", f"{repo}/branch/dev", {})
    at.post("ben", f"{repo}/branch/old%2Fstart", {"startingPoint": first})
    assert at.ask("ben", "POST", f"{repo}/branch/plain").status == 200
    refs = {one["ref"]: one["targetCommit"] for one in at.get("", f"{repo}/refs")["branches"]}
    assert refs == {
        "refs/heads/dev": second, "refs/heads/main": second, "refs/heads/old/start": first, "refs/heads/plain": second,
    }  # fmt: skip
    answer = at.ask("ben", "POST", f"{repo}/branch/dev", {})
    assert answer.status == 409 and answer.json()["error"] == "Reference refs/heads/dev already exists"
    on_dev = done(send(at, "ben", repo, file("b"), rev="dev"))
    assert head(at, repo, "dev") == head(at, repo, "refs%2Fheads%2Fdev") == on_dev and head(at, repo) == second
    for wrong, status in (("dev%2Fx", 409), ("old", 409), ("a..b", 422), ("refs%2Fheads%2Fx", 422), ("x%00", 422)):
        assert at.ask("ben", "POST", f"{repo}/branch/{wrong}", {}).status == status, wrong
    nowhere = at.ask("ben", "POST", f"{repo}/branch/x", {"startingPoint": "nowhere"})
    assert (nowhere.status, nowhere.code) == (404, "RevisionNotFound") and b"Invalid rev id" in nowhere.body
    main = at.ask("ben", "DELETE", f"{repo}/branch/main")
    assert main.status == 403 and main.json()["error"] == "Cannot delete refs/heads/main"
    assert at.ask("ben", "DELETE", f"{repo}/branch/old%2Fstart").status == 200
    gone = at.ask("ben", "DELETE", f"{repo}/branch/old%2Fstart")
    assert gone.status == 404 and b"Invalid rev id" in gone.body
    for who, status in (("", 401), ("dan", 403), ("cleo", 403), ("reader", 403)):
        assert at.ask(who, "POST", f"{repo}/branch/by-{who}x", {}).status == status
        assert at.ask(who, "DELETE", f"{repo}/branch/dev").status == status
    assert send(at, "ben", repo, file("x"), rev="no-such").status == 404
    assert send(at, "ben", repo, file("x"), rev=second).status == 404, "a commit is no branch"


def test_tags(at: World, repo: str) -> None:
    first = head(at, repo)
    second = done(send(at, "ada", repo, file("a")))
    at.post("ben", f"{repo}/tag/main", {"tag": "v2"})
    at.post("ben", f"{repo}/tag/{first}", {"tag": "v/1", "message": "The first"})
    tags = at.get("", f"{repo}/refs")["tags"]
    assert [(one["name"], one["ref"], one["targetCommit"]) for one in tags] == [
        ("v/1", "refs/tags/v/1", first),
        ("v2", "refs/tags/v2", second),
    ]
    assert head(at, repo, "v%2F1") == head(at, repo, "refs%2Ftags%2Fv%2F1") == first
    assert at.ask("ben", "POST", f"{repo}/tag/main", {"tag": "v2"}).status == 409
    assert at.ask("ben", "POST", f"{repo}/tag/nowhere", {"tag": "v3"}).status == 404
    assert at.ask("ben", "POST", f"{repo}/tag/main", {"tag": "a b"}).status == 422
    assert send(at, "ben", repo, file("x"), rev="v2").status == 404, "nothing is committed to a tag"
    assert at.ask("cleo", "DELETE", f"{repo}/tag/v2").status == 403
    assert (
        at.ask("ben", "DELETE", f"{repo}/tag/v2").status == at.ask("ben", "DELETE", f"{repo}/tag/v%2F1").status == 200
    )
    assert at.ask("ben", "DELETE", f"{repo}/tag/v2").status == 404


def test_super_squash(at: World, repo: str) -> None:
    for number in range(3):
        done(send(at, "ada", repo, file(f"{number}")))
    before = at.get("", f"{repo}/tree/main")
    done(send(at, "dan", repo, file("p"), query="?create_pr=1"))
    done(send(at, "dan", repo, file("q"), rev="refs%2Fpr%2F1"))
    assert at.ask("dan", "POST", f"{repo}/super-squash/main", {"message": "One"}).status == 403
    assert at.ask("dan", "POST", f"{repo}/super-squash/refs%2Fpr%2F1", {"message": "One"}).status == 200
    assert [one["title"] for one in at.get("", f"{repo}/commits/refs%2Fpr%2F1")][:2] == ["One", "Title"]
    assert at.ask("ben", "POST", f"{repo}/super-squash/main", {"message": "All"}).status == 200
    assert [one["title"] for one in at.get("", f"{repo}/commits/main")] == ["All"]
    assert at.get("", f"{repo}/tree/main") == before
    assert at.ask("ben", "POST", f"{repo}/super-squash/nowhere", {"message": "All"}).status == 404
    assert at.ask("ben", "POST", f"{repo}/super-squash/main", {}).status == 422


def test_commits_are_listed_in_pages(at: World, repo: str) -> None:
    oids = [done(send(at, "ada", repo, file("n", b"%d" % number))) for number in range(7)][::-1]
    found, path = [], f"{repo}/commits/main?limit=3&expand[]=formatted"
    while path:
        answer = at.ask("", "GET", path)
        found += [one["id"] for one in answer.json()]
        link = answer.headers.get("link", "")
        path = link[link.index("/api/") : link.index(">")] if link else ""
    assert found[:7] == oids and len(found) == 8
    for wrong in ("p=-1", "limit=0", "limit=1001", "p=x"):
        assert at.ask("", "GET", f"{repo}/commits/main?{wrong}").status == 422
    assert at.ask("", "GET", f"{repo}/commits/nowhere").code == "RevisionNotFound"
    assert at.ask("", "GET", f"{repo}/commits/..%2Fx").status == 422


def test_what_a_title_says_is_shown_as_text(at: World, repo: str) -> None:
    done(send(at, "ada", repo, file("a"), summary="<script>", description="<b>&"))
    newest = at.get("", f"{repo}/commits/main?expand[]=formatted")[0]
    assert newest["formatted"] == {"title": "&lt;script&gt;", "message": "<p>&lt;b&gt;&amp;</p>"}


# --- many at once ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_parent", [False, True])
def test_many_writers_lose_nothing(start: Start, with_parent: bool) -> None:
    """Two processes, sockets, one branch: every 200 is in the history, every refusal is a 412."""
    hub = start(workers=2)
    with hub.client("ada") as client:
        assert client.post("/api/repos/create", json={"name": "busy"}).status_code == 200
    answers: list[tuple[int, str]] = []

    def write(number: int) -> None:
        with hub.client("ada") as client:
            for turn in range(5):
                header = {"summary": f"{number} {turn}"}
                if with_parent:
                    header["parentCommit"] = client.get("/api/models/ada/busy/commits/main?limit=1").json()[0]["id"]
                lines = [
                    {"key": "header", "value": header},
                    file(f"w{number}/{turn}.txt"),
                    file("same", b"%d" % number),
                ]
                body = b"\n".join(json.dumps(one).encode() for one in lines)
                answer = client.post("/api/models/ada/busy/commit/main", content=body)
                answers.append((answer.status_code, answer.json().get("commitOid", "")))

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    with hub.client("ada") as client:
        listed = {one["id"] for one in client.get("/api/models/ada/busy/commits/main?limit=1000").json()}
        tree = client.get("/api/models/ada/busy/tree/main?recursive=true").json()
    assert {status for status, _ in answers} <= ({200, 412} if with_parent else {200}) and len(answers) == 40
    made = [oid for status, oid in answers if status == 200]
    assert len(set(made)) == len(made) and listed >= set(made) and len(listed) == len(made) + 1
    assert sum(one["path"].startswith("w") and one["type"] == "file" for one in tree) == len(made)
