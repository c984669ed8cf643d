"""listing: found by words, tags and order, page after page, while rows change; nothing private to strangers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from world import World, world

from modelcommons.hub.actions import accounts
from modelcommons.hub.permissions import Scope


def card(**values: str) -> bytes:
    return ("---\n" + "".join(f"{key}: {value}\n" for key, value in values.items()) + "---\n").encode()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("hub") / "hub") as made:
        for name, values in {
            "spam": {"pipeline_tag": "text-classification", "license": "mit", "language": "[en, zh]", "tags": "[a_b]"},
            "sales": {"pipeline_tag": "time-series-forecasting", "library_name": "modelcommons", "tags": "[axb]"},
            "digits": {"pipeline_tag": "image-classification", "datasets": "[guild/rows]", "tags": "[a%b]"},
        }.items():
            made.clock.time += 1
            made.commit("ada", made.repo(f"guild/{name}"), {"README.md": card(**values)})
        made.commit("ada", made.repo("guild/secret", private=True), {"README.md": card(tags="[hidden]")})
        made.commit("ada", made.repo("guild/rows", kind="dataset"), {"README.md": card(language="fr"), "a.csv": b"a\n"})
        yield made


def names(hub: World, query: str, who: str = "", kind: str = "models") -> list[str]:
    return [one["id"].partition("/")[2] for one in hub.get(who, f"/api/{kind}?author=guild&{query}")]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("search=SPAM", {"spam"}), ("search=guild/sp", {"spam"}), ("search=gu%20dig", {"digits"}),
        ("search=%25", set()),
        ("search=_", set()), ("search=spa%27%20OR%201", set()), ("filter=text-classification", {"spam"}),
        ("filter=zh", {"spam"}), ("filter=en&filter=license:mit", {"spam"}), ("filter=en,license:mit", {"spam"}),
        ("filter=en&filter=axb", set()), ("filter=a_b", {"spam"}), ("filter=a%25b", {"digits"}),
        ("pipeline_tag=image-classification", {"digits"}), ("filter=dataset:guild/rows", {"digits"}),
        ("filter=modelcommons", {"sales"}), ("gated=false", {"spam", "sales", "digits"}), ("gated=true", set()),
        ("filter=hidden", set()), ("search=secret", set()), ("inference=warm", set()), ("num_parameters=min:1", set()),
    ],
)  # fmt: skip
def test_filters(hub: World, query: str, found: set[str]) -> None:
    assert set(names(hub, query)) == found


def test_data_sets_are_found_by_tags_with_their_key(hub: World) -> None:
    assert (
        names(hub, "filter=language:fr", kind="datasets")
        == names(hub, "filter=format:csv", kind="datasets")
        == ["rows"]
    )
    assert names(hub, "", kind="spaces") == []


@pytest.mark.parametrize(
    "query",
    [
        "cursor=WzE4NDQ2NzQ0MDczNzA5NTUxNjE1LDFd",  # past what a database counts to
        "sort=name", "direction=2", "limit=0", "limit=-1", "limit=x", "limit=1e3", "cursor=x", "cursor=%00", "expand=x",
        "cursor=WzEsIDJd.", "cursor=" + "A" * 300, "num_parameters=many", "search=" + "a" * 300, "apps=ollama",
        "search=%00", "filter=a%00", "author=%00", "pipeline_tag=%E2%80%8B",
        "cursor=WyJhIiwgMV0", "cursor=WzEsIDk5OTk5OTk5OTk5XQ", "cursor=e30", "filter=" + "a," * 60,
    ],
)  # fmt: skip
def test_a_question_that_means_nothing_is_a_bad_request(hub: World, query: str) -> None:
    answer = hub.ask("", "GET", f"/api/models?{query}")
    assert answer.status == 400, answer
    assert answer.json()["error"]


def test_only_members_see_what_is_private(hub: World) -> None:
    for who, sees in (("ada", True), ("ben", True), ("cleo", True), ("root", True), ("dan", False), ("", False)):
        assert ("secret" in names(hub, "", who)) is sees, who
        assert ("secret" in names(hub, "filter=hidden", who)) is sees, who
    assert "hidden" not in str(hub.get("ada", "/api/models-tags-by-type"))


def test_a_fine_grained_token_lists_what_it_is_for(hub: World) -> None:
    for name, repo, sees in (("here", "model/guild/secret", True), ("there", "model/guild/spam", False)):
        hub.tokens[name] = accounts.create_token(hub.stores, "ada", name, "fine-grained", scopes=[Scope(repo, "read")])
        assert ("secret" in names(hub, "", name)) is sees and "spam" in names(hub, "", name)


def test_order(hub: World) -> None:
    hub.post("dan", "/api/models/guild/sales/like")
    assert names(hub, "sort=likes")[0] == names(hub, "sort=trendingScore")[0] == "sales"
    assert names(hub, "sort=createdAt") == ["digits", "sales", "spam"]
    assert names(hub, "sort=createdAt&direction=1") == ["spam", "sales", "digits"]
    hub.clock.time += 10
    hub.commit("ada", "/api/models/guild/spam", {"a": b"a"})
    assert names(hub, "sort=lastModified") == ["spam", "digits", "sales"]
    assert set(names(hub, "sort=downloads")) == {"spam", "digits", "sales"}


def pages(hub: World, path: str) -> Iterator[list[Any]]:
    """Every page, by the links from one to the next."""
    while path:
        answer = hub.ask("", "GET", path)
        yield answer.json()
        link = re.fullmatch(r'<http://localhost(?::\d+)?(/[^>]+)>; rel="next"', answer.headers.get("link", ""))
        path = link[1] if link else ""


@pytest.mark.parametrize("sort", ["createdAt", "lastModified", "likes", "downloads"])
@pytest.mark.parametrize("direction", ["1", "-1"])
def test_pages_are_a_partition_whatever_changes_in_between(hub: World, sort: str, direction: str) -> None:
    author = f"{sort.lower()}{'up' if direction == '1' else 'down'}"
    accounts.create_user(hub.stores, author)
    hub.tokens[author] = accounts.create_token(hub.stores, author, "test", "write")
    for i in range(9):
        hub.repo(f"{author}/{i}")
    seen: list[str] = []
    for number, page in enumerate(pages(hub, f"/api/models?author={author}&limit=2&sort={sort}&direction={direction}")):
        seen += [one["id"] for one in page]
        assert len(page) <= 2
        hub.repo(f"{author}/new-{number}")  # comes before or after, and moves nothing
        if number == 1:
            hub.ask(author, "DELETE", "/api/repos/delete", {"name": seen[0].partition("/")[2]})
        if number > 15:
            break
    assert len(seen) == len(set(seen)) and {f"{author}/{i}" for i in range(9)} <= set(seen)


def test_what_comes_with_each_row(hub: World) -> None:
    [row] = hub.get("", "/api/models?search=guild/spam")
    assert "siblings" not in row and "cardData" not in row and row["pipeline_tag"] == "text-classification"
    [row] = hub.get("", "/api/models?search=guild/spam&full=True&config=True")
    assert {one["rfilename"] for one in row["siblings"]} >= {"README.md", ".gitattributes"} and row["cardData"]
    [row] = hub.get("", "/api/models?search=guild/spam&expand=sha&expand=usedStorage")
    assert set(row) == {"id", "sha", "usedStorage"}
    [row] = hub.get("", "/api/models?search=guild/spam&expand[]=siblings&expand[]=cardData")
    assert set(row) == {"id", "siblings", "cardData"}


def test_info_answers_what_was_asked_and_nothing_else(hub: World) -> None:
    assert set(hub.get("", "/api/models/guild/spam?expand=sha&expand=likes")) == {"id", "sha", "likes"}
    assert set(hub.get("", "/api/datasets/guild/rows?expand=mainSize")) == {"id", "mainSize"}
    for path in ("/api/models/guild/spam?expand=x", "/api/datasets/guild/rows?expand=pipeline_tag"):
        assert hub.ask("", "GET", path).status == 400
    info = hub.get("", "/api/models/guild/spam?blobs=True&securityStatus=True")
    [readme] = [one for one in info["siblings"] if one["rfilename"] == "README.md"]
    assert readme["size"] > 0 and len(readme["blobId"]) == 40 and "lfs" not in readme
    assert info["securityRepoStatus"] == {"scansDone": True, "filesWithIssues": []}
    assert hub.ask("", "GET", "/api/models/guild/spam/revision/none").code == "RevisionNotFound"
    branch = hub.get("", f"/api/models/guild/spam/revision/{quote('refs/heads/main', safe='')}")
    assert branch["sha"] == info["sha"]


def test_tags_by_type(hub: World) -> None:
    found = hub.get("", "/api/models-tags-by-type")
    assert {"id": "license:mit", "label": "mit", "type": "license"} in found["license"]
    assert "modelcommons" in [one["id"] for one in found["library"]]
    assert "text-classification" in [one["id"] for one in found["pipeline_tag"]]
    found = hub.get("", "/api/datasets-tags-by-type")
    assert [one["label"] for one in found["language"]] == ["fr"]


def test_a_repository_with_many_files_shows_them_all(hub: World) -> None:
    repo = hub.repo("ada/many")
    files = {f"d{i % 7}/f{i}.txt": b"x" for i in range(250)}  # more than are kept beside the repository
    hub.commit("ada", repo, dict(files))
    info = hub.get("", repo)
    assert {one["rfilename"] for one in info["siblings"]} == {*files, ".gitattributes"}
    hub.commit("ada", repo, {"one.txt": b"1"})
    assert len(hub.get("", repo)["siblings"]) == 252
