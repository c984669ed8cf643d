"""collections: whose they are, who sees which of their items, and what the stock client reads of them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from world import World, world

from modelcommons.hub.actions import accounts, collections


@pytest.fixture
def at(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "hub") as made:
        yield made


def made(at: World, who: str, title: str = "My models, 2026!", **more: Any) -> str:
    body = {"title": title, "namespace": who, "private": False, **more}
    return f"/api/collections/{at.post(who, '/api/collections', body)['slug']}"


def add(at: World, who: str, path: str, name: str, kind: str = "model", **more: Any) -> Any:
    return at.ask(who, "POST", f"{path}/items", {"item": {"id": name, "type": kind}, **more})


def names(at: World, who: str, path: str) -> list[str]:
    return [item["id"] for item in at.get(who, path)["items"]]


def test_a_collection_has_a_slug_and_can_be_changed(at: World) -> None:
    path = made(at, "ada", description="good ones")
    owner, _, slug = path.removeprefix("/api/collections/").partition("/")
    assert owner == "ada" and slug.startswith("my-models-2026-") and len(slug.rpartition("-")[2]) == 24
    changed = at.ask("ada", "PATCH", path, {"title": "Others", "theme": "pink", "position": 3}).json()["data"]
    assert changed["slug"].rpartition("-")[2] == slug.rpartition("-")[2] and changed["slug"].startswith("ada/others-")
    told = at.get("", path)  # the old address still leads there
    assert (told["title"], told["theme"], told["position"], told["owner"]) == ("Others", "pink", 3, "ada")
    assert told["description"] == "good ones" and told["upvotes"] == 0 and told["items"] == []
    assert at.ask("", "GET", path.replace("ada/", "ben/")).status == 404
    assert at.ask("ada", "DELETE", path).status == 200
    assert at.ask("ada", "GET", path).status == 404 and at.ask("ada", "DELETE", path).status == 404


def test_the_same_title_twice_is_a_conflict_that_names_the_first(at: World) -> None:
    path = made(at, "ada")
    again = at.ask("ada", "POST", "/api/collections", {"title": "my MODELS 2026", "namespace": "ada"})
    assert again.status == 409 and path.endswith(again.json()["slug"])
    assert made(at, "ada", "My models")
    assert made(at, "ben")


def test_titles_without_letters_have_slugs_too(at: World) -> None:
    path = made(at, "ada", "模型")
    assert len(path.rpartition("/")[2]) == 24 and at.get("", path)["title"] == "模型"
    assert at.ask("ada", "POST", "/api/collections", {"title": "数据", "namespace": "ada"}).status in (200, 409)


def test_who_may_change_whose(at: World) -> None:
    path = made(at, "ada")
    ours = f"/api/collections/{at.post('ben', '/api/collections', {'title': 'Ours', 'namespace': 'guild'})['slug']}"
    at.repo("ada/news")
    for who, status in (("", 401), ("dan", 403), ("reader", 403), ("other", 403), ("cleo", 403)):
        for target in (path, ours):
            assert at.ask(who, "PATCH", target, {"title": "Mine"}).status == status
            assert at.ask(who, "DELETE", target).status == status
            assert add(at, who, target, "ada/news").status == status
    assert at.ask("cleo", "POST", "/api/collections", {"title": "Ours too", "namespace": "guild"}).status == 403
    assert at.ask("dan", "POST", "/api/collections", {"title": "Mine", "namespace": "ada"}).status == 403
    assert at.ask("dan", "POST", "/api/collections", {"title": "Mine", "namespace": "nobody"}).status == 403
    assert at.ask("ada", "PATCH", ours, {"title": "Changed"}).status == 200


def test_a_private_collection_is_not_there_for_others(at: World) -> None:
    ours = at.post("ben", "/api/collections", {"title": "Plans", "namespace": "guild", "private": True})["slug"]
    path, absent = f"/api/collections/{ours}", "/api/collections/guild/plans-" + "0" * 24
    assert at.get("cleo", path)["private"] is True
    for who in ("", "dan", "other"):
        seen, missing = at.ask(who, "GET", path), at.ask(who, "GET", absent)
        assert (seen.status, seen.body) == (missing.status, missing.body) and seen.status == 404
        assert ours not in at.ask(who, "GET", "/api/collections?owner=guild").body.decode()
    assert at.ask("dan", "PATCH", path, {"title": "Mine"}).status == 404
    assert [one["slug"] for one in at.get("cleo", "/api/collections?owner=guild")] == [ours]
    assert [one["slug"] for one in at.get("root", "/api/collections?owner=guild")] == [ours]
    accounts.set_member(at.stores, "guild", "cleo", None)
    assert at.ask("cleo", "GET", path).status == 404


def test_each_reader_sees_the_items_they_may_see(at: World) -> None:
    at.repo("guild/open")
    at.repo("guild/hidden", private=True)
    path = made(at, "ben")
    assert add(at, "ben", path, "guild/hidden").status == 200 and add(at, "ben", path, "guild/open").status == 200
    assert names(at, "ben", path) == ["guild/hidden", "guild/open"]
    for who in ("", "dan"):
        assert names(at, who, path) == ["guild/open"]
        assert b"hidden" not in at.ask(who, "GET", "/api/collections?owner=ben").body
        assert at.get(who, "/api/collections?item=models/guild/hidden") == []
    assert len(at.get("cleo", "/api/collections?item=models/guild/hidden")) == 1
    accounts.set_member(at.stores, "guild", "ben", None)
    assert names(at, "ben", path) == ["guild/open"]
    # what one may not see, one cannot add either, and learns nothing by trying
    hidden, absent = add(at, "dan", made(at, "dan"), "guild/hidden"), add(at, "dan", made(at, "dan", "B"), "guild/none")
    assert hidden.status == absent.status == 404
    assert hidden.body.replace(b"hidden", b"none") == absent.body


def test_items_are_noted_ordered_and_removed(at: World) -> None:
    path = made(at, "ada")
    for name in ("a", "b", "c"):
        at.repo(f"ada/{name}", kind="dataset")
        assert add(at, "ada", path, f"ada/{name}", "dataset", note=f"note {name}").status == 200
    assert add(at, "ada", path, "ada/a", "dataset").status == 409
    items = at.get("", path)["items"]
    assert [(item["id"], item["position"], item["note"]) for item in items] == [
        (f"ada/{name}", place, {"text": f"note {name}"}) for place, name in enumerate("abc")
    ]
    last = f"{path}/items/{items[2]['_id']}"
    assert at.ask("ada", "PATCH", last, {"position": 0, "note": ""}).status == 200
    assert names(at, "", path) == ["ada/c", "ada/a", "ada/b"] and "note" not in at.get("", path)["items"][0]
    assert at.ask("ada", "DELETE", last).status == 200 and at.ask("ada", "DELETE", last).status == 404
    assert names(at, "", path) == ["ada/a", "ada/b"]
    other = made(at, "ada", "Another")
    assert at.ask("ada", "DELETE", f"{other}/items/{items[0]['_id']}").status == 404
    assert add(at, "ada", path, "2307.09288", "paper").status == 400
    assert add(at, "ada", path, "ada/none", "dataset").status == 404


def test_a_repository_that_goes_leaves_the_collection(at: World) -> None:
    from modelcommons.hub.actions import lifecycle, repos
    from modelcommons.hub.names import repo_id

    path = made(at, "ada")
    for name in ("a", "b"):
        at.repo(f"ada/{name}")
        add(at, "ada", path, f"ada/{name}")
    who = at.principal("ada")
    lifecycle.move(
        at.stores, repos.open_repo(at.stores, who, repo_id("model", "ada", "a"), "admin"), repo_id("model", "ada", "c")
    )
    lifecycle.delete_repo(at.stores, repos.open_repo(at.stores, who, repo_id("model", "ada", "b"), "admin"))
    assert names(at, "", path) == ["ada/c"]


def test_lists_have_pages(at: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collections, "PAGE", 2)
    for number in range(5):
        at.clock.time += number % 2  # some of the same time
        made(at, "ada", f"Number {number}")
    made(at, "ben", "Another")
    at.repo("ada/news")
    found, path = [], "/api/collections?owner=ada&sort=lastModified"
    while path:
        answer = at.ask("", "GET", path)
        found += answer.json()
        link = answer.headers.get("link", "")
        path = link.partition(">")[0].removeprefix(f"<{at.stores.settings.endpoint}") if link else ""
    assert len(found) == len({one["slug"] for one in found}) == 5
    assert all("position" not in one for one in found), "the client gives its own"
    odd = ['[1,"\\ud800"]', '[1,"\\u0000"]', '[NaN,"aaaaaaaaaaaaaaaaaaaaaaaa"]', '[1e999,"aaaaaaaaaaaaaaaaaaaaaaaa"]']
    cursors = [f"cursor={base64.urlsafe_b64encode(one.encode()).decode()}" for one in odd]
    for wrong in ("sort=x", "limit=0", "cursor=x", "cursor=W10=", "item=x", "item=papers/1", "owner=%00", *cursors):
        assert at.ask("", "GET", f"/api/collections?{wrong}").status in (400, 422), wrong


def test_what_cannot_be_is_refused(at: World) -> None:
    path = made(at, "ada")
    for change in (
        {"title": ""}, {"title": "x" * 61}, {"title": "a\nb"}, {"title": "a\x00b"}, {"description": "x" * 151},
        {"description": "a\x00"}, {"theme": "black"}, {"position": -1}, {"unknown": 1}, {"private": "perhaps"},
    ):  # fmt: skip
        assert at.ask("ada", "PATCH", path, change).status in (400, 422), change
    for slug in ("ada/x", "ada/%00", "..%2f/x", "ada/my-models-2026-" + "g" * 24):
        assert at.ask("ada", "GET", f"/api/collections/{slug}").status in (404, 422), slug
