"""community: discussions, proposals, likes, access requests, collections, webhooks, people."""

from __future__ import annotations

import re
from itertools import islice

from checks import ENDPOINT, WORK, api, ask, fresh, main, needs, raises, refused
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d4944415478da63fcff9fa11e000782027f3dc8"
    "48ef0000000049454e44ae426082"
)


def check_a_discussion_from_the_first_word_to_the_last() -> None:
    repo = fresh()
    made = api("dan").create_discussion(repo, "Which licence?", description="The card says **nothing**.")
    assert (made.num, made.status, made.author, made.is_pull_request) == (1, "open", "dan", False)
    said = api("ben").comment_discussion(repo, 1, "MIT, I hope <script>alert(1)</script>")
    assert said.content.startswith("MIT") and said.author == "ben" and not said.edited and not said.hidden
    assert "<script" not in said.rendered
    edited = api("ben").edit_discussion_comment(repo, 1, said.id, "Apache")
    assert edited.content == "Apache" and edited.edited and edited.number_of_edits == 1
    with refused(status=403):
        api("dan").edit_discussion_comment(repo, 1, said.id, "not mine")
    hidden = api("ben").hide_discussion_comment(repo, 1, said.id)
    assert hidden.hidden
    with refused(status=403):
        api("ben").rename_discussion(repo, 1, "not mine")
    renamed = api("dan").rename_discussion(repo, 1, "Which licence, please?")
    assert (renamed.old_title, renamed.new_title) == ("Which licence?", "Which licence, please?")
    closed = api().change_discussion_status(repo, 1, "closed", comment="Answered.")
    assert closed.new_status == "closed"
    api("dan").change_discussion_status(repo, 1, "open")
    details = api("nobody").get_discussion_details(repo, 1)
    assert details.title == "Which licence, please?" and details.status == "open"
    kinds = [event.type for event in details.events]
    assert kinds.count("comment") >= 2 and "title-change" in kinds and kinds.count("status-change") == 2, kinds
    assert "Apache" not in str([event._event for event in details.events]), "what was hidden is gone"
    assert details.url == f"{ENDPOINT}/{repo}/discussions/1"


def check_who_may_talk() -> None:
    repo = fresh(private=True)
    for who in ("dan", "nobody"):
        with raises(RepositoryNotFoundError):
            next(iter(api(who).get_repo_discussions(repo)), None)
    with raises(RepositoryNotFoundError):
        api("dan").create_discussion(repo, "Hello")
    public = fresh(number=2)
    answer = ask("POST", f"/api/models/{public}/discussions", {"title": "x", "description": ""}, who="nobody")
    assert answer.status == 401, answer
    answer = ask("POST", f"/api/models/{public}/discussions", {"title": "x", "description": ""}, who="reader")
    assert answer.status == 403, answer
    for body in ({"title": ""}, {"title": "x" * 100_000}, {"description": "no title"}, {"title": 3}):
        answer = ask("POST", f"/api/models/{public}/discussions", {"description": "", **body})
        assert 400 <= answer.status < 500, (str(body)[:50], answer)


def check_the_list_of_discussions() -> None:
    repo = fresh("dataset")
    kind = {"repo_type": "dataset"}
    for i in range(24):
        api("dan").create_discussion(repo, f"Talk {i}", **kind)
    api("ben").create_pull_request(repo, "A proposal", **kind)
    api("dan").change_discussion_status(repo, 3, "closed", **kind)
    found = list(api().get_repo_discussions(repo, **kind))
    assert [one.num for one in found] == list(range(25, 0, -1)) or len(found) == 25, [one.num for one in found]
    assert len({one.num for one in found}) == 25
    assert [one.num for one in api().get_repo_discussions(repo, discussion_type="pull_request", **kind)] == [25]
    assert [one.num for one in api().get_repo_discussions(repo, discussion_status="closed", **kind)] == [3]
    assert [one.num for one in api().get_repo_discussions(repo, author="ben", **kind)] == [25]
    first = found[0]
    assert first.repo_id == repo and first.repo_type == "dataset" and first.created_at


def check_a_proposal_that_begins_empty() -> None:
    repo = fresh()
    made = api("dan").create_pull_request(repo, "Fix", description="Soon.")
    assert made.is_pull_request and made.status == "draft" and made.git_reference == f"refs/pr/{made.num}"
    assert made.target_branch == "refs/heads/main"
    api("dan").upload_file(path_or_fileobj=b"fixed", path_in_repo="f.txt", repo_id=repo, revision=made.git_reference)
    api("dan").change_discussion_status(repo, made.num, "open")
    assert api().get_discussion_details(repo, made.num).status == "open"
    api("dan").change_discussion_status(repo, made.num, "closed")
    with refused():
        api().merge_pull_request(repo, made.num)
    api("dan").change_discussion_status(repo, made.num, "open")
    api().merge_pull_request(repo, made.num)
    with refused():
        api().merge_pull_request(repo, made.num)
    assert "f.txt" in api().list_repo_files(repo)


def check_likes() -> None:
    repo = fresh()
    for who in ("ben", "dan", "dan"):
        assert ask("POST", f"/api/models/{repo}/like", who=who).status == 200
    assert {user.username for user in api().list_repo_likers(repo)} == {"ben", "dan"}
    assert api().model_info(repo).likes == 2
    assert repo in api().list_liked_repos("dan").models
    api("dan").unlike(repo)
    assert [user.username for user in api().list_repo_likers(repo)] == ["ben"]
    assert ask("POST", f"/api/models/{repo}/like", who="nobody").status == 401
    private = fresh(number=2, private=True)
    assert ask("POST", f"/api/models/{private}/like", who="dan").status == 404
    ask("POST", f"/api/models/{private}/like")
    assert private not in api("dan").list_liked_repos("ada").models, "a like tells of a private repository"
    api().update_repo_settings(repo, private=True)
    assert repo not in api("dan").list_liked_repos("ben").models


def check_a_gate_that_a_person_opens() -> None:
    repo = fresh()
    api().upload_file(path_or_fileobj=b"behind the gate", path_in_repo="g.txt", repo_id=repo)
    api().update_repo_settings(repo, gated="manual")
    assert api("nobody").model_info(repo).gated == "manual"
    for who in ("dan", "nobody"):
        with raises(GatedRepoError, says="restricted"):
            api(who).hf_hub_download(repo, "g.txt", cache_dir=WORK / who)
        with raises(GatedRepoError):
            api(who).auth_check(repo)
    assert ask("GET", f"/{repo}/resolve/main/g.txt", who="dan").status == 403
    assert ask("GET", f"/{repo}/resolve/main/g.txt", who="nobody").status == 401
    asked = ask("POST", f"/api/models/{repo}/ask-access", {}, who="dan")
    if asked.status == 404:
        asked = ask("POST", f"/{repo}/ask-access", b"", who="dan")
    assert asked.status in (200, 201, 202), asked
    [request] = api().list_pending_access_requests(repo)
    assert (request.username, request.status) == ("dan", "pending") and request.timestamp
    with raises(GatedRepoError):
        api("dan").hf_hub_download(repo, "g.txt", cache_dir=WORK / "dan")
    with refused(status=403):
        list(api("dan").list_pending_access_requests(repo))
    with refused(status=403):
        api("dan").accept_access_request(repo, "dan")
    api().accept_access_request(repo, "dan")
    assert [one.username for one in api().list_accepted_access_requests(repo)] == ["dan"]
    api("dan").auth_check(repo)
    assert api("dan").hf_hub_download(repo, "g.txt", cache_dir=WORK / "dan")
    with refused(status=400):
        api().accept_access_request(repo, "dan")
    api().reject_access_request(repo, "dan", rejection_reason="Changed my mind")
    assert [one.username for one in api().list_rejected_access_requests(repo)] == ["dan"]
    with raises(GatedRepoError):
        api("dan").auth_check(repo)
    api().cancel_access_request(repo, "dan")
    assert [one.username for one in api().list_pending_access_requests(repo)] == ["dan"]
    api().grant_access(repo, "ben")
    api("ben").auth_check(repo)
    with refused(status=404):
        api().accept_access_request(repo, "cleo")


def check_a_gate_that_opens_itself() -> None:
    repo = fresh("dataset")
    kind = {"repo_type": "dataset"}
    api().upload_file(path_or_fileobj=b"x", path_in_repo="g.txt", repo_id=repo, **kind)
    api().update_repo_settings(repo, gated="auto", **kind)
    with raises(GatedRepoError):
        api("dan").auth_check(repo, **kind)
    asked = ask("POST", f"/api/datasets/{repo}/ask-access", {}, who="dan")
    if asked.status == 404:
        asked = ask("POST", f"/datasets/{repo}/ask-access", b"", who="dan")
    assert asked.status in (200, 201, 202), asked
    api("dan").auth_check(repo, **kind)
    assert [one.username for one in api().list_accepted_access_requests(repo, **kind)] == ["dan"]


def check_collections() -> None:
    model, data = fresh(number=1), fresh("dataset", number=2)
    secret = fresh(number=3, private=True)
    made = api().create_collection("My Best Things!", description="Few.", namespace="ada")
    assert re.fullmatch(r"ada/my-best-things-[0-9a-f]{24}", made.slug), made.slug
    again = api().create_collection("My Best Things!", description="Few.", namespace="ada", exists_ok=True)
    assert again.slug == made.slug
    api().add_collection_item(made.slug, model, "model", note="first")
    api().add_collection_item(made.slug, data, "dataset")
    api().add_collection_item(made.slug, secret, "model")
    with refused(status=409):
        api().add_collection_item(made.slug, model, "model")
    api().add_collection_item(made.slug, model, "model", exists_ok=True)
    found = api().get_collection(made.slug)
    assert [item.item_id for item in found.items] == [model, data, secret]
    assert found.items[0].note == "first" and found.items[0].item_type == "model"
    assert found.owner == "ada" and found.title == "My Best Things!" and found.last_updated
    for who in ("dan", "nobody"):
        assert [item.item_id for item in api(who).get_collection(made.slug).items] == [model, data]
    api().update_collection_item(made.slug, found.items[1].item_object_id, position=0, note="moved")
    found = api().get_collection(made.slug)
    assert [item.item_id for item in found.items][:2] == [data, model] and found.items[0].note == "moved"
    api().delete_collection_item(made.slug, found.items[0].item_object_id)
    with refused(status=404):
        api().delete_collection_item(made.slug, found.items[0].item_object_id)
    assert [item.item_id for item in api().get_collection(made.slug).items] == [model, secret]
    changed = api().update_collection_metadata(made.slug, title="Best", private=True, theme="green")
    assert (changed.title, changed.private, changed.theme) == ("Best", True, "green")
    slug = changed.slug
    with refused(status=404):
        api("dan").get_collection(slug)
    with refused():
        api("dan").update_collection_metadata(slug, title="stolen")
    assert api().get_collection(slug).title == "Best"
    api().delete_collection(slug)
    with refused(status=404):
        api().get_collection(slug)
    api().delete_collection(slug, missing_ok=True)


def check_collections_listed() -> None:
    model = fresh()
    one = api().create_collection("Listed one").slug
    api().create_collection("Listed two", private=True)
    shared = api("ben").create_collection("Of the guild", namespace="guild").slug
    with refused(status=403):
        api("dan").create_collection("Not mine", namespace="guild")
    api().add_collection_item(one, model, "model")
    titles = {each.title for each in api("nobody").list_collections(owner="ada", limit=100)}
    assert "Listed one" in titles and "Listed two" not in titles, titles
    assert "Listed two" in {each.title for each in api().list_collections(owner="ada", limit=100)}
    assert [each.slug for each in api().list_collections(item=f"models/{model}")] == [one]
    assert shared in [each.slug for each in islice(api().list_collections(owner=["guild"]), 10)]


def check_webhooks() -> None:
    repo = fresh()
    watched = [{"type": "model", "name": repo}, {"type": "user", "name": "ada"}]
    made = api().create_webhook(url="https://example.com/hook", watched=watched, domains=["repo"], secret="s3cret")
    assert made.url == "https://example.com/hook" and made.domains == ["repo"] and not made.disabled
    assert {(item.type, item.name) for item in made.watched} == {("model", repo), ("user", "ada")}
    assert made.id in [hook.id for hook in api().list_webhooks()]
    assert made.id not in [hook.id for hook in api("dan").list_webhooks()]
    with refused(status=404):
        api("dan").get_webhook(made.id)
    assert api().get_webhook(made.id).url == made.url
    changed = api().update_webhook(made.id, url="https://example.com/other", domains=["discussion"])
    assert (changed.url, changed.domains) == ("https://example.com/other", ["discussion"])
    assert api().disable_webhook(made.id).disabled
    assert not api().enable_webhook(made.id).disabled
    api().delete_webhook(made.id)
    with refused(status=404):
        api().get_webhook(made.id)
    # an address inside is refused when something is sent there: what a name leads to may change
    for url in ("file:///etc/passwd", "gopher://x/", "http://", "http://user:secret@x/", "http://x/\r\nA: b", "no url"):
        answer = ask("POST", "/api/settings/webhooks", {"url": url, "watched": watched, "domains": ["repo"]})
        assert 400 <= answer.status < 500, (url, answer)


def check_people() -> None:
    fresh()
    ada = api("nobody").get_user_overview("ada")
    assert ada.username == "ada" and (ada.num_models or 0) >= 1
    guild = api("nobody").get_organization_overview("guild")
    assert guild.name == "guild" and (guild.num_users or 0) >= 3
    assert {user.username for user in api().list_organization_members("guild")} == {"ada", "ben", "cleo"}
    for call in (api().list_user_followers, api().list_user_following):
        assert list(call("ada")) == []
    with refused(status=404):
        api().get_user_overview("no-such-person")


@needs("list_organization_followers")
def check_followers_of_an_organisation() -> None:
    assert list(api().list_organization_followers("guild")) == []


@needs("upload_attachment")
def check_an_attachment() -> None:
    (WORK / "dot.png").write_bytes(PNG)
    url = api().upload_attachment(WORK / "dot.png")
    assert url.startswith(ENDPOINT), url
    path = url.removeprefix(ENDPOINT)
    assert [ask("GET", path, who=who).status for who in ("ada", "dan", "nobody")] == [200, 404, 404]
    private, public = fresh(number=1, private=True), fresh(number=2)
    api().create_discussion(private, "Look", description=f"![dot]({url})")
    assert ask("GET", path, who="dan").status == 404
    api().create_discussion(public, "Look", description=f"![dot]({url})")
    answer = ask("GET", path, who="nobody")
    assert answer.status == 200 and answer.body == PNG and answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    answer = ask("POST", "/uploads", b"<script>alert(1)</script>", headers={"Content-Type": "text/html"})
    assert 400 <= answer.status < 500, answer
    assert ask("POST", "/uploads", PNG, who="nobody", headers={"Content-Type": "image/png"}).status == 401


def check_the_roles_of_an_organisation() -> None:
    """A private repository of the organisation, for each of its roles."""
    name = "guild/roles"
    api().create_repo(name, private=True)
    for who in ("ada", "ben", "cleo"):
        assert api(who).model_info(name).id == name
    with raises(RepositoryNotFoundError):
        api("dan").model_info(name)
    api("ben").upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id=name)
    with refused(status=403):
        api("cleo").upload_file(path_or_fileobj=b"y", path_in_repo="y", repo_id=name)
    with refused(status=403):
        api("ben").delete_repo(name)
    api("ada").delete_repo(name)


if __name__ == "__main__":
    main()
