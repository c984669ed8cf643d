"""discussions and proposals: who may say and do what, what is shown to whom, and how a proposal comes into main."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from world import World, world

from modelcommons.hub.actions import discussions


@pytest.fixture
def at(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "hub") as made:
        yield made


@pytest.fixture
def repo(at: World) -> str:
    return at.repo("ada/news")


def opened(at: World, who: str, repo: str, title: str = "A question", pull_request: bool = False) -> str:
    body = {"title": title, "description": "Why **so**?", "pullRequest": pull_request}
    return f"{repo}/discussions/{at.post(who, f'{repo}/discussions', body)['num']}"


def proposed(at: World, who: str, repo: str, files: dict[str, bytes | None]) -> str:
    """A proposal that was published."""
    url = at.commit(who, repo, files, query="?create_pr=1")["pullRequestUrl"]
    path = f"{repo}/discussions/{url.rpartition('/')[2]}"
    return path


# --- discussions ----------------------------------------------------------------------------------------------------


def test_a_discussion_is_numbered_listed_and_told(at: World, repo: str) -> None:
    path = opened(at, "dan", repo)
    assert path.endswith("/1") and opened(at, "ada", repo, "Another one").endswith("/2")
    listed = at.get("", f"{repo}/discussions")
    assert (listed["count"], listed["start"]) == (2, 0)
    assert [(one["num"], one["author"]["name"], one["status"]) for one in listed["discussions"]] == [
        (2, "ada", "open"),
        (1, "dan", "open"),
    ]
    told = at.get("", path)
    assert told["repo"] == {"name": "ada/news", "type": "model"} and told["isPullRequest"] is False
    [event] = told["events"]
    assert event["data"]["latest"]["raw"] == "Why **so**?"
    assert event["data"]["latest"]["html"] == "<p>Why <strong>so</strong>?</p>\n"
    assert at.ask("", "GET", f"{repo}/discussions/3").status == 404


def test_lists_are_filtered_and_paged(at: World, repo: str) -> None:
    for number in range(discussions.PAGE + 3):
        opened(at, "ada" if number % 2 else "dan", repo, f"Number {number}")
    at.post("ada", f"{repo}/discussions/1/status", {"status": "closed"})
    proposed(at, "ben", repo, {"a.txt": b"a"})
    first, second = at.get("", f"{repo}/discussions?p=0"), at.get("", f"{repo}/discussions?p=1")
    assert first["count"] == second["count"] == discussions.PAGE + 4
    assert [len(first["discussions"]), len(second["discussions"]), second["start"]] == [50, 4, 50]
    assert at.get("", f"{repo}/discussions?status=closed")["count"] == 1
    assert at.get("", f"{repo}/discussions?type=pull_request")["count"] == 1
    assert at.get("", f"{repo}/discussions?type=discussion&author=ben")["count"] == 0
    assert at.get("", f"{repo}/discussions?author=ben")["count"] == 1
    for wrong in ("type=x", "status=x", "p=-1", "p=x", "author=%00", "p=99999999999999999999"):
        assert at.ask("", "GET", f"{repo}/discussions?{wrong}").status in (400, 422), wrong


def test_comments_are_edited_with_their_history_and_hidden_for_good(at: World, repo: str) -> None:
    path = opened(at, "dan", repo)
    said = at.post("dan", f"{path}/comment", {"comment": "a secret"})["newMessage"]
    edit, hide = f"{path}/comment/{said['id']}/edit", f"{path}/comment/{said['id']}/hide"
    assert at.ask("ada", "POST", edit, {"content": "I never said that"}).status == 403
    changed = at.post("dan", edit, {"content": "nothing"})["updatedComment"]["data"]
    assert changed["edited"] and changed["latest"]["raw"] == "nothing"
    assert [old["raw"] for old in changed["history"]] == ["a secret"]
    assert at.ask("ben", "POST", hide).status == 403
    hidden = at.post("ada", hide)["updatedComment"]["data"]
    assert hidden["hidden"] and not hidden["history"] and hidden["latest"]["raw"] == hidden["latest"]["html"] == ""
    assert "secret" not in str(at.get("ada", path))
    assert at.ask("dan", "POST", edit, {"content": "again"}).status == 409
    other = opened(at, "dan", repo)
    assert at.ask("dan", "POST", f"{other}/comment/{said['id']}/hide").status == 404


def test_titles_and_status_change_by_author_or_writer_only(at: World, repo: str) -> None:
    path = opened(at, "dan", repo)
    assert at.ask("ben", "POST", f"{path}/title", {"title": "Mine now"}).status == 403
    assert at.ask("ben", "POST", f"{path}/status", {"status": "closed"}).status == 403
    told = at.post("dan", f"{path}/title", {"title": "  A better one "})["newTitle"]["data"]
    assert told == {"from": "A question", "to": "A better one"}
    closed = at.post("ada", f"{path}/status", {"status": "closed", "comment": "answered"})["newStatus"]
    assert closed["data"] == {"status": "closed"}
    assert at.ask("ada", "POST", f"{path}/status", {"status": "closed"}).status == 400
    assert at.ask("ada", "POST", f"{path}/status", {"status": "merged"}).status == 422
    kinds = [event["type"] for event in at.get("", path)["events"]]
    assert kinds == ["comment", "title-change", "comment", "status-change"]


def test_a_title_that_cannot_be_is_refused(at: World, repo: str) -> None:
    for title in ("", "ab", "   ", "x" * 201, "a\nb\nc", "a\x00b", "a\u202eb", "\ud800bc"):
        body = {"title": title, "description": "", "pullRequest": False}
        assert at.ask("ada", "POST", f"{repo}/discussions", body).status in (400, 422), title
    assert at.get("", f"{repo}/discussions")["count"] == 0


def test_a_comment_that_cannot_be_is_refused(at: World, repo: str) -> None:
    path = opened(at, "ada", repo)
    for comment in ("", " \n", "a\x00b", "\ud800", "x" * 65_537):
        assert at.ask("ada", "POST", f"{path}/comment", {"comment": comment}).status in (400, 422), comment[:10]
    assert len(at.get("", path)["events"]) == 1


def test_a_discussion_has_an_end(at: World, repo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = opened(at, "ada", repo)
    monkeypatch.setattr(discussions, "MAX_TEXT", 3_000)
    answers = [at.ask("dan", "POST", f"{path}/comment", {"comment": "x" * 400}).status for _ in range(4)]
    assert answers[0] == 200 and answers[-1] == 422
    monkeypatch.setattr(discussions, "MAX_EVENTS", 2)
    assert at.ask("dan", "POST", f"{path}/comment", {"comment": "y"}).status == 422


def test_who_can_read_but_not_write_can_only_look(at: World, repo: str) -> None:
    path = opened(at, "ada", repo)
    body = {"title": "A title", "description": "", "pullRequest": False}
    for who, status in (("", 401), ("reader", 403), ("other", 403)):
        assert at.ask(who, "POST", f"{repo}/discussions", body).status == status
        assert at.ask(who, "POST", f"{path}/comment", {"comment": "x"}).status == status
        assert at.ask(who, "GET", path).status == 200


def test_a_private_discussion_is_not_there_for_strangers(at: World) -> None:
    hidden, absent = at.repo("guild/plans", private=True), "/api/models/guild/nothing"
    path = opened(at, "cleo", hidden)
    assert at.get("cleo", path)["title"] == "A question"
    for who in ("", "dan"):
        for method, rest, body in (
            ("GET", "/discussions", None),
            ("GET", "/discussions/1?diff=1", None),
            ("POST", "/discussions/1/comment", {"comment": "x"}),
            ("POST", "/discussions", {"title": "A title", "description": "", "pullRequest": True}),
            ("POST", "/discussions/1/merge", None),
        ):
            seen, missing = at.ask(who, method, hidden + rest, body), at.ask(who, method, absent + rest, body)
            assert (seen.status, seen.body, seen.code) == (missing.status, missing.body, missing.code)
            assert seen.code == "RepoNotFound"


def test_who_lost_access_sees_nothing_any_more(at: World) -> None:
    from modelcommons.hub.actions import accounts

    repo = at.repo("guild/plans", private=True)
    path = opened(at, "cleo", repo)
    accounts.set_member(at.stores, "guild", "cleo", None)
    assert at.ask("cleo", "GET", path).code == "RepoNotFound"
    assert at.ask("cleo", "POST", f"{path}/comment", {"comment": "x"}).code == "RepoNotFound"
    assert at.ask("cleo", "POST", f"{path}/title", {"title": "my own"}).code == "RepoNotFound"


# --- proposals ------------------------------------------------------------------------------------------------------


def test_a_stranger_proposes_and_the_owner_merges(at: World, repo: str) -> None:
    at.commit("ada", repo, {"old.txt": b"old\n"})
    path = proposed(at, "dan", repo, {"new.txt": b"new\n"})
    num = path.rpartition("/")[2]
    told = at.get("", f"{path}?diff=1")
    assert told["isPullRequest"] and told["status"] == "open" and told["changes"] == {"base": "refs/heads/main"}
    assert told["filesWithConflicts"] == [] and "+new" in told["diff"] and "old" not in told["diff"]
    assert [event["type"] for event in told["events"] if event["type"] == "commit"]
    assert at.ask("dan", "POST", f"{path}/merge").status == 403
    oid = at.post("ada", f"{path}/merge", {"comment": "thank you"})["oid"]
    merged = at.get("", f"{path}?diff=1")
    assert merged["status"] == "merged" and merged["changes"]["mergeCommitId"] == oid and "+new" in merged["diff"]
    assert merged["events"][-1]["data"] == {"status": "merged"}
    assert at.get("", f"{repo}/revision/main")["sha"] == oid
    assert {one["path"] for one in at.get("", f"{repo}/tree/main")} >= {"new.txt", "old.txt"}
    assert at.get("", f"{repo}/commits/main")[0]["title"].endswith(f"(#{num})")
    for again in (f"{path}/merge", f"{path}/status"):
        assert at.ask("ada", "POST", again, {"status": "open"} if again.endswith("status") else None).status == 409


def test_changes_on_both_sides_conflict_and_nothing_is_merged(at: World, repo: str) -> None:
    at.commit("ada", repo, {"a.txt": b"one\n", "b.txt": b"1\n2\n3\n4\n5\n6\n7\n8\n"})
    path = proposed(at, "dan", repo, {"a.txt": b"two\n"})
    at.commit("ada", repo, {"a.txt": b"three\n"})
    head = at.get("", f"{repo}/revision/main")["sha"]
    assert at.get("", path)["filesWithConflicts"] == ["a.txt"]
    refused = at.ask("ada", "POST", f"{path}/merge")
    assert refused.status == 409 and refused.json()["files"] == ["a.txt"]
    assert at.get("", f"{repo}/revision/main")["sha"] == head
    assert at.get("", path)["status"] == "open"
    # other lines of one file do not conflict
    lines = proposed(at, "dan", repo, {"b.txt": b"one\n2\n3\n4\n5\n6\n7\n8\n"})
    at.commit("ada", repo, {"b.txt": b"1\n2\n3\n4\n5\n6\n7\neight\n"})
    at.post("ada", f"{lines}/merge")
    answer = at.ask("", "GET", "/ada/news/resolve/main/b.txt")
    assert answer.body == b"one\n2\n3\n4\n5\n6\n7\neight\n"


def test_only_its_author_and_writers_add_to_a_proposal(at: World, repo: str) -> None:
    path = opened(at, "dan", repo, "A draft", pull_request=True)
    revision = f"refs%2Fpr%2F{path.rpartition('/')[2]}"
    assert at.get("", path)["status"] == "draft"
    assert at.ask("ada", "POST", f"{path}/merge").status == 409  # a draft
    at.commit("dan", repo, {"mine.txt": b"1"}, revision=revision)
    at.commit("ada", repo, {"yours.txt": b"2"}, revision=revision)
    body = (
        b'{"key":"header","value":{"summary":"x","description":""}}\n'
        b'{"key":"file","value":{"path":"c","content":"eA==","encoding":"base64"}}'
    )
    headers = [("content-type", "application/x-ndjson")]
    assert at.ask("ben", "POST", f"{repo}/commit/{revision}", body, headers=headers).status == 403
    assert at.ask("dan", "POST", f"{repo}/commit/main", body, headers=headers).status == 403
    assert at.ask("dan", "POST", f"{repo}/commit/refs%2Fpr%2F99", body, headers=headers).status == 404
    told = at.get("", path)
    assert [event["author"]["name"] for event in told["events"] if event["type"] == "commit"] == ["dan", "ada"]
    at.post("dan", f"{path}/status", {"status": "closed"})
    assert at.ask("dan", "POST", f"{repo}/commit/{revision}", body, headers=headers).status == 409
    assert not {"mine.txt", "yours.txt"} & {one["path"] for one in at.get("", f"{repo}/tree/main")}


def test_a_proposal_that_comes_with_its_changes_is_open(at: World, repo: str) -> None:
    made = at.commit("dan", repo, {"a.txt": b"a"}, query="?create_pr=1")
    path = f"{repo}/discussions/{made['pullRequestUrl'].rpartition('/')[2]}"
    told = at.get("", path)
    assert told["status"] == "open" and not [one for one in told["events"] if one["type"] == "status-change"]
    at.post("ada", f"{path}/merge")
    assert at.get("", path)["status"] == "merged"


def test_an_empty_proposal_and_a_discussion_cannot_be_merged(at: World, repo: str) -> None:
    empty = opened(at, "dan", repo, "Nothing", pull_request=True)
    at.post("dan", f"{empty}/status", {"status": "open"})
    assert at.ask("ada", "POST", f"{empty}/merge").status == 400
    assert at.ask("ada", "POST", f"{opened(at, 'dan', repo)}/merge").status == 400


def test_the_diff_of_a_gated_repository_is_for_those_on_its_list(at: World, repo: str) -> None:
    at.commit("ada", repo, {"a.txt": b"one\n"})
    path = proposed(at, "ada", repo, {"a.txt": b"a secret\n"})
    assert at.ask("ada", "PUT", f"{repo}/settings", {"gated": "manual"}).status == 200
    for who in ("", "dan"):
        answer = at.ask(who, "GET", f"{path}?diff=1")
        assert answer.status == 200 and b"secret" not in answer.body and "diff" not in answer.json()
    assert "a secret" in at.get("ada", f"{path}?diff=1")["diff"]


# --- attachments ----------------------------------------------------------------------------------------------------

PNG = b"\x89PNG\r\n\x1a\n" + bytes(50)


def attached(at: World, who: str, data: bytes = PNG, media_type: str = "image/png") -> Any:
    return at.ask(who, "POST", "/uploads", data, headers=[("content-type", media_type)])


def test_an_attachment_is_seen_by_those_who_see_the_comment(at: World) -> None:
    repo = at.repo("guild/plans", private=True)
    url = attached(at, "ben").body.decode()
    path = url.removeprefix(at.stores.settings.endpoint)
    assert at.ask("ben", "GET", path).body == PNG
    for who in ("", "dan", "cleo"):
        assert at.ask(who, "GET", path).status == 404
    discussion = opened(at, "cleo", repo)
    # naming somebody else's attachment shows it to nobody
    at.post("cleo", f"{discussion}/comment", {"comment": f"![x]({url})"})
    assert at.ask("cleo", "GET", path).status == 404
    at.post("ben", f"{discussion}/comment", {"comment": f"![x]({url})"})
    seen = at.ask("cleo", "GET", path)
    assert seen.body == PNG and seen.headers["x-content-type-options"] == "nosniff"
    assert seen.headers["content-disposition"] == "attachment" and "sandbox" in seen.headers["content-security-policy"]
    for who in ("", "dan"):
        assert at.ask(who, "GET", path).status == 404


def test_only_pictures_and_sounds_of_some_size_are_attached(at: World) -> None:
    assert attached(at, "").status == 401
    assert attached(at, "reader").status == 403
    for data, media_type in (
        (PNG, "text/html"),
        (b"<script>", "image/png"),
        (b"<svg/>", "image/svg+xml"),
        (b"", "image/png"),
    ):
        assert attached(at, "ada", data, media_type).status == 400
    assert attached(at, "ada", PNG + bytes(10 << 20)).status == 413
