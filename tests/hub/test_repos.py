"""repos: created, moved, copied, set up and deleted; what a card says is shown, and a broken card breaks nothing."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event
from world import World, world

from modelcommons.errors import Forbidden, RepoNotFound, Unauthorized
from modelcommons.hub.actions import accounts, lifecycle, repos
from modelcommons.hub.actions.card import parse
from modelcommons.hub.names import RepoId
from modelcommons.hub.permissions import Scope

CARD = """---
license: apache-2.0
language: [en, zh]
library_name: sklearn
pipeline_tag: text-classification
tags: [spam, 日本]
datasets: [guild/letters]
base_model: guild/base
---

# Letters, after https://arxiv.org/abs/1810.04805
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One hub for all tests, which therefore use names of their own."""
    with world(tmp_path_factory.mktemp("hub") / "hub") as made:
        yield made


def person(hub: World, name: str) -> None:
    """Somebody who is in one test only."""
    accounts.create_user(hub.stores, name)
    hub.tokens[name] = accounts.create_token(hub.stores, name, "test", "write")


def create(hub: World, who: str, **body: Any) -> Any:
    return hub.ask(who, "POST", "/api/repos/create", body)


# --- create ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [{"visibility": "private"}, {"private": True}])
def test_old_and_new_clients_make_private_repositories(hub: World, body: dict[str, Any]) -> None:
    made = create(hub, "ada", name="secret", **body)
    assert made.json()["url"] == f"{hub.stores.settings.endpoint}/ada/secret"
    assert hub.get("ada", "/api/models/ada/secret")["private"] is True
    assert hub.ask("dan", "GET", "/api/models/ada/secret").code == "RepoNotFound"


@pytest.mark.parametrize(
    "body",
    [
        {"visibility": "protected"}, {"visibility": "private", "private": False}, {"privat": True}, {"type": "kernel"},
        {"type": "space"}, {"type": "space", "sdk": "gradio", "hardware": "t4-small"}, {"name": "a--b"},
        {"name": "x.git"}, {"organization": "Guild"}, {"region": "eu"}, {"private": "no"},
    ],
)  # fmt: skip
def test_what_is_not_understood_makes_nothing(hub: World, body: dict[str, Any]) -> None:
    answer = create(hub, "ada", **({"name": "thing"} | body))
    assert 400 <= answer.status < 500 and answer.json()["error"]
    for kind in ("models", "datasets", "spaces"):
        assert hub.get("ada", f"/api/{kind}?search=thing") == []


def test_a_second_of_one_name_is_a_conflict_that_knows_the_first(hub: World) -> None:
    create(hub, "ada", name="News.Letters")
    for name in ("News.Letters", "news-letters", "NEWS_LETTERS"):
        answer = create(hub, "ada", name=name)
        assert answer.status == 409 and answer.json()["url"].endswith("/ada/News.Letters"), answer
    assert create(hub, "ada", name="News.Letters", type="dataset").status == 200


def test_only_who_may_write_in_a_namespace_creates_there(hub: World) -> None:
    for who, status in (("ada", 200), ("ben", 200), ("cleo", 403), ("dan", 403), ("root", 200), ("", 401)):
        assert create(hub, who, name=f"by-{who or 'nobody'}", organization="guild").status == status, who
    assert create(hub, "ben", name="x", organization="ada").status == 403
    assert create(hub, "ben", name="x", organization="nobody-of-this-name").status == 403


def test_a_fine_grained_token_creates_what_it_is_for(hub: World) -> None:
    scope = Scope("model/ada/planned", "write")
    hub.tokens["planned"] = accounts.create_token(hub.stores, "ada", "planned", "fine-grained", scopes=[scope])
    assert create(hub, "planned", name="other").status == 403
    assert create(hub, "planned", name="planned", type="dataset").status == 403
    assert create(hub, "planned", name="planned").status == 200


def test_a_new_repository_has_one_commit(hub: World) -> None:
    create(hub, "ada", name="new")
    [commit] = hub.get("", "/api/models/ada/new/commits/main")
    assert commit["title"] == "initial commit"
    info = hub.get("", "/api/models/ada/new")
    assert [one["rfilename"] for one in info["siblings"]] == [".gitattributes"] and info["sha"] == commit["id"]
    assert info["lastModified"] >= info["createdAt"]


# --- move -----------------------------------------------------------------------------------------------------------


def move(hub: World, who: str, old: str, new: str, kind: str = "model") -> Any:
    return hub.ask(who, "POST", "/api/repos/move", {"fromRepo": old, "toRepo": new, "type": kind})


def test_every_name_that_it_had_leads_to_where_it_is(hub: World) -> None:
    hub.repo("ada/one")
    for old, new in (("ada/one", "ada/two"), ("ada/two", "guild/three")):
        assert move(hub, "ada", old, new).status == 200
    for old in ("ada/one", "ada/two"):
        for path in ("/api/models/{}?expand=sha", "/{}/resolve/main/.gitattributes", "/api/models/{}/tree/main"):
            answer = hub.ask("", "GET", path.format(old))
            assert (answer.status, answer.headers["location"]) == (307, path.format("guild/three")), old
    assert move(hub, "ada", "guild/three", "ada/one").status == 200, "back to its first name"
    assert hub.ask("", "GET", "/api/models/ada/one").status == 200
    assert hub.ask("", "GET", "/api/models/ada/two").headers["location"] == "/api/models/ada/one"


def test_an_old_name_used_again_is_the_new_repository_even_after_that_is_gone(hub: World) -> None:
    hub.repo("ada/used")
    move(hub, "ada", "ada/used", "ada/used-once")
    hub.repo("ada/used")
    assert hub.get("", "/api/models/ada/used")["id"] == "ada/used"
    assert hub.ask("ada", "DELETE", "/api/repos/delete", {"name": "used"}).status == 200
    assert hub.ask("", "GET", "/api/models/ada/used").code == "RepoNotFound"


def test_what_moved_is_told_only_to_those_who_may_see_it(hub: World) -> None:
    hub.repo("ada/plan", private=True)
    move(hub, "ada", "ada/plan", "ada/secret-plan")
    for path in ("/api/models/ada/{}", "/ada/{}/resolve/main/x", "/ada/{}/info/refs?service=git-upload-pack"):
        for who in ("dan", ""):
            headers = [("x-request-id", "same")]
            moved, none = (hub.ask(who, "GET", path.format(name), headers=headers) for name in ("plan", "none-such"))
            assert (moved.status, moved.body, moved.headers) == (none.status, none.body, none.headers), path
    assert hub.ask("ada", "GET", "/api/models/ada/plan").status == 307


def test_what_is_hidden_takes_the_hub_as_many_questions_as_what_is_not_there(hub: World) -> None:
    """Else the time that an answer takes would tell one from the other."""
    hub.repo("ada/hidden", private=True)
    asked: list[str] = []
    engine = hub.stores.database.engine
    event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    for who in ("", "dan"):
        seen = []
        for name in ("hidden", "absent"):
            for path in (
                f"/api/models/ada/{name}",
                f"/ada/{name}/resolve/main/a",
                f"/ada/{name}.git/info/refs?service=git-upload-pack",
            ):
                hub.ask(who, "GET", path)  # whatever is remembered is so for both
                asked.clear()
                assert hub.ask(who, "GET", path).code == "RepoNotFound"
                seen.append(list(asked))
        assert seen[:3] == seen[3:]


def test_another_spelling_leads_to_the_right_one(hub: World) -> None:
    hub.repo("ada/Some.Words")
    answer = hub.ask("", "GET", "/api/models/Ada/some_words")
    assert (answer.status, answer.headers["location"]) == (307, "/api/models/ada/Some.Words")


def test_a_deletion_follows_no_redirect(hub: World) -> None:
    hub.repo("ada/left")
    move(hub, "ada", "ada/left", "ada/left-for")
    answer = hub.ask("ada", "DELETE", "/api/repos/delete", {"name": "left"})
    assert answer.status == 400 and "ada/left-for" in answer.json()["error"]
    assert hub.get("", "/api/models/ada/left-for")["id"] == "ada/left-for"


def test_a_move_takes_a_right_at_both_ends(hub: World) -> None:
    hub.repo("guild/ours")
    hub.repo("ada/mine")
    assert move(hub, "ben", "guild/ours", "ben/taken").status == 403
    assert move(hub, "ada", "ada/mine", "ben/pushed").status == 403
    assert move(hub, "dan", "ada/mine", "dan/mine").status == 403
    taken = move(hub, "ada", "ada/mine", "guild/OURS")
    assert taken.status == 409 and "already exists" in taken.json()["error"]
    assert {one["id"] for name in ("ours", "mine") for one in hub.get("", f"/api/models?search={name}")} == {
        "guild/ours", "ada/mine",
    }  # fmt: skip


# --- settings, deletion, copies -------------------------------------------------------------------------------------


def test_settings_are_set_by_admins_and_nothing_else_is_touched(hub: World) -> None:
    repo = hub.repo("guild/settings-of-it")
    assert hub.ask("ben", "PUT", f"{repo}/settings", {"private": True}).status == 403
    assert hub.ask("ada", "PUT", f"{repo}/settings", {"visibility": "private", "gated": "manual"}).status == 200
    assert hub.ask("ada", "PUT", f"{repo}/settings", {"gated": "auto"}).status == 200
    info = hub.get("cleo", repo)
    assert (info["private"], info["gated"]) == (True, "auto")
    hub.ask("ada", "PUT", f"{repo}/settings", {"visibility": "public", "gated": False})
    info = hub.get("", repo)
    assert (info["private"], info["gated"]) == (False, False)
    for body in ({}, {"gated": True}, {"gated": "maybe"}, {"visibility": "protected"}, {"name": "x"}):
        assert 400 <= hub.ask("ada", "PUT", f"{repo}/settings", body).status < 500, body


def test_a_deleted_repository_is_gone_with_all_it_had(hub: World) -> None:
    repo = hub.repo("ada/gone")
    hub.commit("ada", repo, {"a.txt": b"a"})
    hub.post("dan", f"{repo}/like")
    assert hub.ask("dan", "DELETE", "/api/repos/delete", {"name": "gone", "organization": "ada"}).status == 403
    assert hub.ask("ada", "DELETE", "/api/repos/delete", {"name": "gone"}).status == 200
    answer = hub.ask("ada", "DELETE", "/api/repos/delete", {"name": "gone"})
    assert (answer.status, answer.code) == (404, "RepoNotFound")
    assert hub.get("", "/api/users/dan/likes") == []
    assert hub.ask("ada", "GET", f"{repo}/tree/main").code == "RepoNotFound"


def test_a_copy_has_the_files_and_neither_more_rights_nor_less_secrecy(hub: World) -> None:
    repo = hub.repo("guild/source", private=True)
    hub.commit("ada", repo, {"README.md": CARD.encode()})
    hub.large("ada", repo, "model.bin", b"weights" * 1000)
    assert hub.ask("dan", "POST", f"{repo}/duplicate", {"repository": "dan/copy"}).code == "RepoNotFound"
    assert hub.ask("cleo", "POST", f"{repo}/duplicate", {"repository": "guild/copy"}).status == 403
    made = hub.post("cleo", f"{repo}/duplicate", {"repository": "cleo/copy"})
    assert made == {"url": f"{hub.stores.settings.endpoint}/cleo/copy", "filesCopyPending": False}
    old, new = hub.get("ada", repo), hub.get("cleo", "/api/models/cleo/copy")
    assert new["private"] and (new["sha"], new["tags"], new["siblings"]) == (old["sha"], old["tags"], old["siblings"])
    assert hub.ask("cleo", "GET", "/cleo/copy/resolve/main/model.bin").status == 200
    assert hub.ask("dan", "GET", "/cleo/copy/resolve/main/model.bin").code == "RepoNotFound"
    assert [one["id"] for one in hub.get("cleo", "/api/models?filter=spam&author=cleo")] == ["cleo/copy"]


def test_a_copy_of_what_is_gated_takes_being_let_in_and_stays_gated(hub: World) -> None:
    repo = hub.repo("ada/gated")
    hub.ask("ada", "PUT", f"{repo}/settings", {"gated": "manual"})
    assert hub.ask("dan", "POST", f"{repo}/duplicate", {"repository": "dan/copy"}).code == "GatedRepo"
    hub.post("ada", f"{repo}/user-access-request/grant", {"user": "dan"})
    hub.post("dan", f"{repo}/duplicate", {"repository": "dan/copy"})
    assert hub.get("", "/api/models/dan/copy")["gated"] == "manual"


# --- permission is asked again --------------------------------------------------------------------------------------


def test_a_right_that_was_taken_away_in_between_is_gone(hub: World) -> None:
    hub.repo("guild/kept")
    rid = RepoId("model", "guild", "kept")
    person(hub, "eve")
    accounts.set_member(hub.stores, "guild", "eve", "write")
    opened = repos.open_repo(hub.stores, hub.principal("eve"), rid, "write")
    with hub.stores.database.writing() as connection:
        assert repos.still(connection, opened).role == "write"
    accounts.set_member(hub.stores, "guild", "eve", "read")
    with hub.stores.database.writing() as connection, pytest.raises(Forbidden):
        repos.still(connection, opened)
    accounts.set_member(hub.stores, "guild", "eve", "write")
    accounts.revoke_token(hub.stores, "eve", "test")
    with hub.stores.database.writing() as connection, pytest.raises(Unauthorized):
        repos.still(connection, opened)


def test_a_person_suspended_or_a_repository_deleted_in_between_is_noticed(hub: World) -> None:
    person(hub, "fay")
    hub.repo("fay/news")
    rid = RepoId("model", "fay", "news")
    opened = repos.open_repo(hub.stores, hub.principal("fay"), rid, "admin")
    by_root = repos.open_repo(hub.stores, hub.principal("root"), rid, "admin")
    accounts.set_suspended(hub.stores, "fay", True)
    with hub.stores.database.writing() as connection, pytest.raises(Unauthorized):
        repos.still(connection, opened)
    lifecycle.delete_repo(hub.stores, by_root)
    with hub.stores.database.writing() as connection, pytest.raises(RepoNotFound):
        repos.still(connection, by_root)


def test_what_is_opened_for_one_thing_is_no_proof_for_another(hub: World) -> None:
    hub.repo("ada/proof")
    opened = repos.open_repo(hub.stores, hub.principal("ada"), RepoId("model", "ada", "proof"), "see")
    with pytest.raises(AssertionError):
        lifecycle.delete_repo(hub.stores, opened)


# --- cards ----------------------------------------------------------------------------------------------------------


def test_info_shows_what_the_card_says(hub: World) -> None:
    repo = hub.repo("ada/letters")
    hub.commit("ada", repo, {"README.md": CARD.encode(), "model.joblib": b"\0" * 10})
    info = hub.get("", repo)
    assert (info["pipeline_tag"], info["library_name"]) == ("text-classification", "sklearn")
    assert set(info["tags"]) == {
        "sklearn", "text-classification", "spam", "日本", "en", "zh", "dataset:guild/letters", "arxiv:1810.04805",
        "base_model:guild/base", "base_model:finetune:guild/base", "license:apache-2.0",
    }  # fmt: skip
    assert info["cardData"]["datasets"] == ["guild/letters"]
    assert info["baseModels"] == {"relation": "finetune", "models": [{"id": "guild/base"}]}
    old = info["sha"]
    hub.commit("ada", repo, {"README.md": b"# without metadata\n"})
    now = hub.get("", repo)
    assert now["tags"] == [] and "pipeline_tag" not in now
    assert hub.get("", f"{repo}/revision/{old}")["tags"] == info["tags"], "a revision has its own card"


@pytest.mark.parametrize(
    ("config", "files", "task", "library"),
    [
        ('{"architectures": ["BertForSequenceClassification"], "model_type": "bert"}', {}, "text-classification",
         "transformers"),
        ('{"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}', {}, "text-generation", "transformers"),
        ('{"architectures": ["WhisperForConditionalGeneration"]}', {}, "automatic-speech-recognition", "transformers"),
        ('{"architectures": ["BertModel"], "model_type": "bert"}', {"modules.json": b"[]"}, "sentence-similarity",
         "sentence-transformers"),
        ('{"architecture": "resnet18", "num_classes": 10, "pretrained_cfg": {}}', {}, None, "timm"),
        ('{"architectures": [7, {}], "model_type": ["a"]}', {}, None, None),
        ("[1, 2]", {}, None, None),
        ("{" * 5000, {}, None, None),
        ('{"a":' * 3000 + "1" + "}" * 3000, {}, None, None),
    ],
)  # fmt: skip
def test_without_a_card_the_config_says_the_task(
    hub: World, config: str, files: dict[str, bytes], task: str | None, library: str | None
) -> None:
    repo = hub.repo(f"ada/net-{zlib.crc32(config.encode())}-{len(files)}")
    hub.commit("ada", repo, {"config.json": config.encode(), **files})
    info = hub.get("", repo)
    assert (info.get("pipeline_tag"), info.get("library_name")) == (task, library)


@pytest.mark.parametrize(
    "front",
    [
        "a: &x [1]\nb: *x", "tags: [" + "[" * 100, "license: [mit", "just text", "- a\n- b", "tags: {a: {b: [c]}}",
        "license: 7\nlanguage: {en: 1}\npipeline_tag: [a]\ntags: [1, null, {a: b}]\ndatasets: 9\nbase_model: {}",
        'tags: ["\\0", "\\ud800", "a\\nb"]\nlicense: "\\ud800"', "tags: [x]\nbig: " + "9" * 39,
        "pipeline_tag: " + "a" * 5000, "tags: [" + ", ".join(f"t{i}" for i in range(2000)) + "]",
        "library_name: ''\nmodel-index: 3",
    ],
)  # fmt: skip
def test_a_broken_card_breaks_neither_the_commit_nor_what_comes_after(hub: World, front: str) -> None:
    name = f"odd-{zlib.crc32(front.encode())}"
    repo = hub.repo(f"ada/{name}")
    hub.commit("ada", repo, {"README.md": f"---\n{front}\n---\n".encode()})
    info = hub.get("", repo)
    assert all(isinstance(tag, str) and 0 < len(tag) <= 128 for tag in info["tags"]) and len(info["tags"]) <= 256
    for path in ("/api/models?full=true&cardData=true", "/api/models-tags-by-type", f"/api/models?search={name}"):
        hub.get("", path)
    assert hub.ask("", "GET", f"/ada/{name}/resolve/main/README.md").status == 200


def test_a_card_is_parsed_once_for_the_same_bytes() -> None:
    data = CARD.encode()
    assert parse(data) is parse(bytes(bytearray(data)))
    assert parse(b"---\na: \xff\n---\n").warnings
    assert parse(b"x" * 300_000).warnings


# --- validation -----------------------------------------------------------------------------------------------------


def verdict(hub: World, content: str, kind: str = "model") -> tuple[int, str, str]:
    """Status, errors and warnings."""
    answer = hub.ask("", "POST", "/api/validate-yaml", {"content": content, "repoType": kind})
    errors, warnings = ([one["message"] for one in answer.json()[key]] for key in ("errors", "warnings"))
    return answer.status, " ".join(errors), " ".join(warnings)


def test_a_good_card_is_good(hub: World) -> None:
    assert verdict(hub, CARD) == (200, "", "")
    status, errors, warnings = verdict(hub, "# no metadata")
    assert (status, errors) == (200, "") and "yaml metadata" in warnings
    data = "---\nlicense: [mit, cc-by-4.0]\ntask_categories: [other]\nsize_categories: ['n<1K']\n---\n"
    assert verdict(hub, data, "dataset") == (200, "", "")
    assert verdict(hub, "---\nsdk: gradio\ncolorFrom: red\n---\n", "space") == (200, "", "")


INDEX = "model-index:\n- name: m\n  results:\n  - task: {type: t}\n    dataset: {type: d, name: d}\n    metrics: "


@pytest.mark.parametrize(
    ("front", "kind", "says"),
    [
        ("license: my-own", "model", '"license" must be one of'), ("license: {a: b}", "model", '"license" must be'),
        ("tags: 7", "dataset", '"tags" must be'), ("tags: [a, 7]", "model", '"tags[1]" must be'),
        ("language: English", "model", "lowercase"), ("language: [english]", "model", "ISO 639"),
        ("base_model: ../../x", "model", "base_model"), ("a: &b c", "model", "Invalid metadata"),
        ("a: [", "model", "Invalid metadata"), ("sdk: flask", "space", '"sdk" must be'),
        ("colorFrom: mauve", "space", "colorFrom"), ("model-index: x", "model", "model-index"),
        ("model-index: [{results: []}]", "model", "name"), (INDEX + "[{type: a}]", "model", "value"),
        (INDEX + "[]", "model", "metrics"), ("base_model: a/b\nbase_model_relation: cousin", "model", "relation"),
    ],
)  # fmt: skip
def test_what_the_hub_would_refuse_is_refused(hub: World, front: str, kind: str, says: str) -> None:
    status, errors, _ = verdict(hub, f"---\n{front}\n---\n", kind)
    assert status == 400 and says in errors


def test_what_it_would_warn_of_is_a_warning(hub: World) -> None:
    status, errors, warnings = verdict(hub, "---\npipeline_tag: mind-reading\nlicense: other\n---\n")
    assert (status, errors) == (200, "") and "mind-reading" in warnings and "license_name" in warnings
    assert verdict(hub, f"---\n{INDEX}[{{type: a, value: 0}}]\n---\n") == (200, "", "")


# --- private is missing ---------------------------------------------------------------------------------------------


def test_storage_is_told_to_members_only(hub: World) -> None:
    hub.large("ada", hub.repo("guild/big", private=True), "a.bin", b"x" * 5000)
    rows = hub.get("cleo", "/api/organizations/guild/settings/repositories")
    [row] = [row for row in rows if row["id"] == "guild/big"]
    assert (row["type"], row["storage"], row["visibility"]) == ("model", 5000, "private") and row["storagePercent"] > 0
    for org, who, status in (("guild", "dan", 403), ("none", "dan", 403), ("none", "root", 404), ("guild", "", 401)):
        assert hub.ask(who, "GET", f"/api/organizations/{org}/settings/repositories").status == status, (org, who)
    assert all(row["id"].startswith("dan/") for row in hub.get("dan", "/api/settings/repositories"))


def test_a_name_without_an_owner_is_no_repository(hub: World) -> None:
    for path in ("/api/models/bert", "/bert/resolve/main/config.json", "/datasets/bert/resolve/main/a"):
        assert hub.ask("ada", "GET", path).code == "RepoNotFound", path
