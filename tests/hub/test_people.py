"""people: profiles count what the reader may see, and tell no more than names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from world import World, world


@pytest.fixture
def at(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "hub") as made:
        yield made


def test_counts_are_of_what_the_reader_may_see(at: World) -> None:
    at.repo("guild/open")
    hidden = at.repo("guild/hidden", private=True)
    at.repo("guild/rows", kind="dataset")
    at.post("cleo", f"{hidden}/discussions", {"title": "A plan", "description": "", "pullRequest": False})
    for who, count in (("", 1), ("dan", 1), ("other", 1), ("cleo", 2), ("root", 2)):
        told = at.get(who, "/api/organizations/guild/overview")
        assert (told["numModels"], told["numDatasets"], told["numUsers"]) == (count, 1, 3), who
        assert at.get(who, "/api/users/cleo/overview")["numDiscussions"] == count - 1


def test_an_overview_has_names_and_no_address(at: World) -> None:
    told = at.get("", "/api/users/ADA/overview")
    assert told["user"] == "ada" and told["type"] == "user" and [org["name"] for org in told["orgs"]] == ["guild"]
    assert "example.com" not in str(told) and "email" not in told


def test_members_are_listed_and_follows_are_none(at: World) -> None:
    members = at.get("", "/api/organizations/guild/members")
    assert [(one["user"], one["role"]) for one in members] == [("ada", "admin"), ("ben", "write"), ("cleo", "read")]
    for path in ("/api/organizations/guild/followers", "/api/users/ada/followers", "/api/users/ada/following"):
        assert at.get("", path) == []


@pytest.mark.parametrize("name", ["nobody", "guild", "%00", "a--b", "..", "%F0%9F%98%80", "x" * 200])
def test_nobody_is_missing(at: World, name: str) -> None:
    for rest in ("overview", "followers", "following"):
        assert at.ask("", "GET", f"/api/users/{name}/{rest}").status == 404


@pytest.mark.parametrize("name", ["nobody", "ada", "%00"])
def test_no_organisation_is_missing(at: World, name: str) -> None:
    for rest in ("overview", "members", "followers"):
        assert at.ask("", "GET", f"/api/organizations/{name}/{rest}").status == 404
