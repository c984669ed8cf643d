"""access: likes, and who may read what is gated: asked, let in, put off, turned away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from asking import ask_now
from world import World, world

from modelcommons.hub.actions import accounts


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("hub") / "hub") as made:
        yield made


def gated(hub: World, name: str, how: str) -> str:
    repo = hub.repo(name)
    hub.commit("ada", repo, {"a.txt": b"behind the gate"})
    assert hub.ask("ada", "PUT", f"{repo}/settings", {"gated": how}).status == 200
    return repo


def reads(hub: World, who: str, repo: str) -> bool:
    """Whether they get the bytes; if not, the answer must be the one of a gate, on every way to them."""
    name = repo.removeprefix("/api/models")
    answers = [
        hub.ask(who, method, path)
        for method, path in (
            ("GET", f"{name}/resolve/main/a.txt"), ("HEAD", f"{name}/resolve/main/a.txt"),
            ("GET", f"{name}/raw/main/a.txt"), ("GET", f"{repo}/auth-check"),
        )
    ]  # fmt: skip
    for answer in answers:
        if answer.status != 200:
            assert (answer.status, answer.code) == (403 if who else 401, "GatedRepo"), answer
    assert len({answer.status for answer in answers}) == 1
    return answers[0].status == 200


# --- likes ----------------------------------------------------------------------------------------------------------


def test_a_like_counts_once_and_can_be_taken_back(hub: World) -> None:
    repo = hub.repo("ada/liked")
    for who in ("dan", "ben", "dan"):
        hub.clock.time += 1
        hub.post(who, f"{repo}/like")
    assert hub.get("", repo)["likes"] == 2
    assert [one["user"] for one in hub.get("", f"{repo}/likers")] == ["dan", "ben"]
    assert [one["repo"] for one in hub.get("", "/api/users/dan/likes")] == [{"name": "ada/liked", "type": "model"}]
    for _ in range(2):
        assert hub.ask("dan", "DELETE", f"{repo}/like").status == 200
    assert hub.get("", repo)["likes"] == 1 and hub.get("", "/api/users/dan/likes") == []
    assert hub.ask("", "POST", f"{repo}/like").status == 401
    assert hub.ask("reader", "POST", f"{repo}/like").status == 403
    assert hub.ask("", "GET", "/api/users/nobody-of-this-name/likes").status == 404


def test_what_became_private_is_in_no_list_of_likes(hub: World) -> None:
    repo = hub.repo("ada/was-public")
    hub.post("dan", f"{repo}/like")
    hub.ask("ada", "PUT", f"{repo}/settings", {"private": True})
    assert hub.get("dan", "/api/users/dan/likes") == []
    assert [one["repo"]["name"] for one in hub.get("ada", "/api/users/dan/likes")] == ["ada/was-public"]
    assert hub.ask("dan", "GET", f"{repo}/likers").code == "RepoNotFound"
    assert hub.ask("dan", "DELETE", f"{repo}/like").code == "RepoNotFound"


# --- gates ----------------------------------------------------------------------------------------------------------


def test_a_gate_that_opens_for_who_asks(hub: World) -> None:
    repo = gated(hub, "ada/auto", "auto")
    assert not reads(hub, "dan", repo) and not reads(hub, "", repo) and reads(hub, "ada", repo)
    assert hub.ask("", "POST", f"{repo}/ask-access").status == 401
    assert hub.post("dan", f"{repo}/ask-access", {"why": "to learn"}) == {"status": "accepted"}
    assert reads(hub, "dan", repo)
    [one] = hub.get("ada", f"{repo}/user-access-request/accepted")
    assert (one["user"]["user"], one["user"]["email"], one["fields"]) == ("dan", "dan@example.com", {"why": "to learn"})


def test_a_gate_with_a_keeper(hub: World) -> None:
    repo = gated(hub, "guild/manual", "manual")
    assert reads(hub, "cleo", repo), "members need not ask"
    assert hub.post("dan", "/guild/manual/ask-access") == {"status": "pending"}
    assert hub.post("dan", f"{repo}/ask-access") == {"status": "pending"}, "asking again changes nothing"
    assert not reads(hub, "dan", repo)
    for who, status in (("ben", 403), ("cleo", 403), ("dan", 403), ("", 401)):
        assert hub.ask(who, "GET", f"{repo}/user-access-request/pending").status == status, who
        body = {"user": "dan", "status": "accepted"}
        assert hub.ask(who, "POST", f"{repo}/user-access-request/handle", body).status == status, who
        assert hub.ask(who, "POST", f"{repo}/user-access-request/grant", {"user": "dan"}).status == status, who
    [one] = hub.get("ada", f"{repo}/user-access-request/pending")
    handle = f"{repo}/user-access-request/handle"
    hub.post("ada", handle, {"requestId": one["requestId"], "status": "accepted"})
    assert reads(hub, "dan", repo)
    assert hub.ask("ada", "POST", handle, {"user": "dan", "status": "accepted"}).status == 400, "it is so already"
    hub.post("ada", handle, {"user": "dan", "status": "rejected", "rejectionReason": "no"})
    assert not reads(hub, "dan", repo)
    hub.post("ada", handle, {"user": "dan", "status": "pending"})
    assert [one["status"] for one in hub.get("ada", f"{repo}/user-access-request/pending")] == ["pending"]


def test_access_can_be_granted_unasked_and_tells_no_address(hub: World) -> None:
    repo = gated(hub, "ada/granted", "manual")
    grant = f"{repo}/user-access-request/grant"
    hub.post("ada", grant, {"user": "DAN"})
    assert reads(hub, "dan", repo)
    [one] = hub.get("ada", f"{repo}/user-access-request/accepted")
    assert one["user"] == {"user": "dan", "fullname": ""}
    assert hub.ask("ada", "POST", grant, {"user": "dan"}).status == 400
    assert hub.ask("ada", "POST", grant, {"user": "nobody-of-this-name"}).status == 404
    assert hub.ask("ada", "POST", grant, {"user": "guild"}).status == 404
    hub.ask("ada", "PUT", f"{repo}/settings", {"gated": False})
    assert hub.ask("ada", "POST", grant, {"user": "ben"}).status == 400, "it is not gated"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"user": "ben", "status": "accepted"}, 404), ({"requestId": "0" * 24, "status": "accepted"}, 404),
        ({"status": "accepted"}, 400), ({"user": "dan", "requestId": "0" * 24, "status": "accepted"}, 400),
        ({"user": "dan", "status": "maybe"}, 422), ({"user": "dan", "status": "accepted", "rejectionReason": "x"}, 400),
        ({"user": "dan", "status": "rejected", "rejectionReason": "x" * 1000}, 422), ({}, 422),
        ({"user": "dan", "status": "rejected", "rejectionReason": "\0"}, 422),
        ({"user": "\0", "status": "pending"}, 422),
        ({"requestId": "\0" * 24, "status": "accepted"}, 422),
    ],
)  # fmt: skip
def test_a_decision_about_nothing_is_refused(hub: World, body: dict[str, str], status: int) -> None:
    name = "ada/decisions"
    if hub.ask("", "GET", f"/api/models/{name}").status != 200:
        hub.post("dan", f"{gated(hub, name, 'manual')}/ask-access")
    assert hub.ask("ada", "POST", f"/api/models/{name}/user-access-request/handle", body).status == status


def test_a_request_is_for_one_repository(hub: World) -> None:
    one, other = gated(hub, "ada/one-gate", "manual"), gated(hub, "ada/other-gate", "manual")
    hub.post("dan", f"{one}/ask-access")
    [request] = hub.get("ada", f"{one}/user-access-request/pending")
    body = {"requestId": request["requestId"], "status": "accepted"}
    assert hub.ask("ada", "POST", f"{other}/user-access-request/handle", body).status == 404
    assert not reads(hub, "dan", one) and not reads(hub, "dan", other)


def test_answers_to_a_form_have_a_form(hub: World) -> None:
    repo = gated(hub, "ada/forms", "auto")
    assert hub.ask("", "GET", "/api/users/%00/likes").status == 422
    for body in (b"[]", b"{", b'"a"', b'{"a": "' + b"x" * 20_000 + b'"}'):
        assert hub.ask("dan", "POST", f"{repo}/ask-access", body).status == 400
    assert hub.ask("dan", "POST", f"{hub.repo('ada/open')}/ask-access").status == 400
    assert hub.post("dan", f"{repo}/ask-access", {"a": "\0"}) == {"status": "accepted"}
    assert hub.get("ada", f"{repo}/user-access-request/accepted")[0]["fields"] == {"a": "\0"}


def test_who_may_write_is_asked_apart(hub: World) -> None:
    repo = hub.repo("guild/asked")
    for who, status in (("ada", 200), ("ben", 200), ("cleo", 403), ("reader", 403), ("", 401)):
        assert hub.ask(who, "GET", f"{repo}/auth-check/write").status == status, who
        assert hub.ask(who, "GET", f"{repo}/auth-check").status == 200


def test_a_fine_grained_token_does_not_open_what_its_owner_was_let_into(hub: World) -> None:
    """It is for the repositories that it names; those of others, to which the person was admitted, are none of them."""
    repo = hub.repo("guild/bound")
    hub.commit("ada", repo, {"a.txt": b"behind the gate"})
    hub.ask("ada", "PUT", f"{repo}/settings", {"gated": "auto"})
    hub.post("dan", f"{repo}/ask-access")
    names = {"for-it": "model/guild/bound", "for-another": "model/dan/own"}
    codes = {}
    for name, scope in names.items():
        scopes = [accounts.scope(scope, "read")]
        token = accounts.create_token(hub.stores, "dan", name, "fine-grained", scopes=scopes)
        for path in ("/guild/bound/resolve/main/a.txt", "/guild/bound.git/info/refs?service=git-upload-pack"):
            codes[name, path[-4:]] = ask_now(hub.app, "GET", path, token=token).status
    assert codes == {("for-it", ".txt"): 200, ("for-it", "pack"): 200, ("for-another", ".txt"): 403,
                     ("for-another", "pack"): 403}  # fmt: skip
