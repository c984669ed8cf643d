"""repos: repositories are made, described, moved, copied and deleted; who may not know of them does not."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import get_args

from checks import ENDPOINT, TOKENS, Skip, api, ask, cutting, fresh, main, needs, raises, refused
from huggingface_hub import HfApi, ModelCard, hf_api
from huggingface_hub.errors import BadRequestError, RepositoryNotFoundError, RevisionNotFoundError


def check_whoami_names_the_person_the_organisations_and_the_token() -> None:
    me = api().whoami()
    assert (me["name"], me["type"]) == ("ada", "user")
    assert "guild" in [org["name"] for org in me["orgs"]]
    assert [org["fullname"] for org in me["orgs"]] and me["fullname"] and me["email"] == "ada@example.com", me
    assert me["auth"]["type"] == "access_token"
    assert me["auth"]["accessToken"]["role"] == "write"
    assert me["auth"]["accessToken"]["displayName"]
    assert HfApi(token=TOKENS["reader"]).whoami()["auth"]["accessToken"]["role"] == "read"


def check_a_wrong_token_is_told_so() -> None:
    with refused(status=401, says="invalid"):
        HfApi(token="hf_" + "x" * 34).whoami()
    answer = ask("GET", "/api/whoami-v2", who="nobody")
    assert answer.status == 401, answer


def check_create_answers_with_the_address() -> None:
    for kind, part in (("model", ""), ("dataset", "datasets/"), ("space", "spaces/")):
        url = api().create_repo("ada/made", repo_type=kind, space_sdk="gradio" if kind == "space" else None)
        assert str(url) == f"{ENDPOINT}/{part}ada/made", url
        assert (url.repo_id, url.repo_type) == ("ada/made", kind)
        assert api().repo_exists("ada/made", repo_type=kind)
        info = api().repo_info("ada/made", repo_type=kind)
        assert [file.rfilename for file in info.siblings or []][:1] == [".gitattributes"]
    assert api().space_info("ada/made").sdk == "gradio"


def check_the_hub_is_called_as_the_client_calls_it() -> None:
    """By another address it gives other addresses: the client refuses those that do not begin with its own."""
    repo = fresh()
    with cutting(1 << 40, times=0) as proxy:
        other = HfApi(endpoint=proxy.address, token=api().token)
        url = other.create_repo("ada/by-another-address")
        assert str(url) == f"{proxy.address}/ada/by-another-address" and url.repo_id == "ada/by-another-address"
        assert other.create_repo(repo, exist_ok=True).repo_id == repo
        done = other.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=repo, create_pr=True)
        assert done.commit_url.startswith(f"{proxy.address}/{repo}/commit/") and done.pr_num == 1, done


def check_create_again_is_a_conflict_unless_that_is_fine() -> None:
    repo = fresh()
    with refused(status=409):
        api().create_repo(repo)
    assert api().create_repo(repo, exist_ok=True).repo_id == repo
    with refused(status=409):
        api().create_repo(repo.upper().replace("ADA/", "ada/"))


def check_create_what_is_there_and_somebody_else_s() -> None:
    """Where one may not create it, the client looks whether one may see it."""
    public, private = fresh(number=1), fresh(number=2, private=True)
    assert api("dan").create_repo(public, exist_ok=True).repo_id == public
    with refused(status=403):
        api("dan").create_repo(private, exist_ok=True)


def check_what_a_hub_without_machines_cannot_take() -> None:
    for more in ({"space_hardware": "t4-medium"}, {"space_secrets": [{"key": "a", "value": "b"}]}):
        with refused(status=400, says="runs no spaces"):
            api().create_repo("ada/runs", repo_type="space", space_sdk="gradio", **more)
    assert not api().repo_exists("ada/runs", repo_type="space")


def check_create_in_an_organisation() -> None:
    assert api("ada").create_repo("guild/by-ada").repo_id == "guild/by-ada"
    assert api("ben").create_repo("guild/by-ben").repo_id == "guild/by-ben"
    for who in ("cleo", "dan"):
        with refused(status=403):
            api(who).create_repo("guild/by-others")
    with refused(status=403):
        api("ben").create_repo("ada/by-ben")
    with refused(status=403):
        HfApi(token=TOKENS["reader"]).create_repo("ada/by-a-token-that-reads")
    assert not api().repo_exists("ada/by-a-token-that-reads")


def check_private_is_private_from_the_first_moment() -> None:
    repo = fresh(private=True)
    assert api().model_info(repo).private is True
    for who in ("ben", "dan", "nobody"):
        with raises(RepositoryNotFoundError):
            api(who).model_info(repo)


@needs("verify_repo_checksums")
def check_visibility_is_what_new_clients_send() -> None:
    api().create_repo("ada/seen-by-few", visibility="private")
    assert api().model_info("ada/seen-by-few").private is True
    api().update_repo_settings("ada/seen-by-few", visibility="public")
    assert api("nobody").model_info("ada/seen-by-few").private is False


def check_a_private_repository_answers_as_a_missing_one() -> None:
    repo = fresh(private=True)
    for path in ("/api/models/{}", "/api/models/{}/tree/main", "/{}/resolve/main/README.md", "/api/models/{}/refs",
                 "/api/models/{}/discussions", "/api/models/{}/auth-check"):  # fmt: skip
        for who, status in (("nobody", 401), ("dan", 404)):
            headers = {"X-Request-Id": "same"}
            here = ask("GET", path.format(repo), who=who, headers=headers)
            away = ask("GET", path.format("ada/there-is-none"), who=who, headers=headers)
            assert here.status == away.status == status, (path, who, here, away)
            assert here.body == away.body, (path, who)
            assert here.headers.get("x-error-code") == "RepoNotFound", here
            differ = {
                name for name in here.headers.keys() | away.headers if here.headers.get(name) != away.headers.get(name)
            }
            assert differ <= {"date"}, (path, who, differ)


def check_delete() -> None:
    repo = fresh()
    with refused(status=403):
        api("dan").delete_repo(repo)
    api().delete_repo(repo)
    assert not api().repo_exists(repo)
    with raises(RepositoryNotFoundError):
        api().delete_repo(repo)
    api().delete_repo(repo, missing_ok=True)
    api().create_repo(repo)
    assert len(api().list_repo_commits(repo)) == 1, "a new repository of an old name has nothing of the old one"


def check_move_redirects_the_old_address() -> None:
    repo = fresh()
    api().upload_file(path_or_fileobj=b"before the move", path_in_repo="a.txt", repo_id=repo)
    api().move_repo(repo, "guild/moved")
    assert api().model_info("guild/moved").id == "guild/moved"
    assert api().model_info(repo).id == "guild/moved"
    assert Path(api().hf_hub_download(repo, "a.txt")).read_text() == "before the move"
    answer = ask("GET", f"/api/models/{repo}?expand=sha")
    assert answer.status == 307 and answer.headers["location"].endswith("/api/models/guild/moved?expand=sha"), answer
    api().upload_file(path_or_fileobj=b"after it", path_in_repo="b.txt", repo_id=repo)
    assert set(api().list_repo_files("guild/moved")) >= {"a.txt", "b.txt"}


def check_move_onto_another_is_a_conflict() -> None:
    one, two = fresh(number=1), fresh(number=2)
    with refused(status=409, says="already exists"):
        api().move_repo(one, two)
    with refused(status=403):
        api().move_repo(one, "ben/not-mine")
    assert api().repo_exists(one)


def check_settings() -> None:
    repo = fresh()
    api().update_repo_settings(repo, private=True, gated="manual")
    info = api().model_info(repo)
    assert (info.private, info.gated) == (True, "manual")
    api().update_repo_settings(repo, private=False, gated="auto")
    assert api().model_info(repo).gated == "auto"
    api().update_repo_settings(repo, gated=False)
    assert api("nobody").model_info(repo).gated is False
    with refused(status=403):
        api("ben").update_repo_settings(repo, private=True)


def check_a_setting_that_nobody_knows_is_refused() -> None:
    repo = fresh()
    answer = ask("PUT", f"/api/models/{repo}/settings", {"privat": True})
    assert 400 <= answer.status < 500, answer
    answer = ask("POST", "/api/repos/create", {"name": "typo", "privat": True})
    assert 400 <= answer.status < 500, answer
    assert not api().repo_exists("ada/typo")


def check_info() -> None:
    repo = fresh()
    api().upload_file(path_or_fileobj=CARD.encode(), path_in_repo="README.md", repo_id=repo)
    api().upload_file(path_or_fileobj=b"\0" * 3_000_000, path_in_repo="model.safetensors", repo_id=repo)
    info = api().model_info(repo, files_metadata=True)
    assert info.id == info.modelId == repo and info.author == "ada"
    assert info.sha == api().list_repo_commits(repo)[0].commit_id
    assert info.created_at and info.last_modified, info
    assert info.last_modified >= info.created_at, (info.created_at, info.last_modified)
    assert (info.private, info.gated, info.disabled, info.likes, info.downloads) == (False, False, False, 0, 0)
    assert info.pipeline_tag == "text-classification" and info.library_name == "transformers"
    assert {"text-classification", "transformers", "license:apache-2.0", "en", "probe-tag"} <= set(info.tags or [])
    assert info.card_data and info.card_data.license == "apache-2.0"
    files = {file.rfilename: file for file in info.siblings or []}
    assert files["README.md"].size == len(CARD.encode()) and files["README.md"].lfs is None
    assert files["README.md"].blob_id and len(files["README.md"].blob_id) == 40
    large = files["model.safetensors"]
    assert large.size == 3_000_000 and large.lfs and large.lfs.size == 3_000_000 and len(large.lfs.sha256) == 64
    assert api().model_info(repo, revision=info.sha).sha == info.sha
    with raises(RevisionNotFoundError):
        api().model_info(repo, revision="no-such-branch")
    data = fresh("dataset")
    assert api().dataset_info(data).id == data


def check_each_kind_at_a_revision() -> None:
    for kind in ("model", "dataset", "space"):
        repo = fresh(kind)
        first = api().repo_info(repo, repo_type=kind).sha
        done = api().upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=repo, repo_type=kind)
        api().create_tag(repo, tag="v/1", repo_type=kind)
        for revision, sha in ((first, first), ("main", done.oid), ("v/1", done.oid), ("refs/tags/v/1", done.oid)):
            found = api().repo_info(repo, repo_type=kind, revision=revision)
            assert (found.id, found.sha) == (repo, sha), (kind, revision, found)
            names = {file.rfilename for file in found.siblings or []}
            assert ("x.txt" in names) is (sha == done.oid), (kind, revision, names)
        for revision in ("no-such", "0" * 40, "refs/pr/1"):
            with raises(RevisionNotFoundError):
                api().repo_info(repo, repo_type=kind, revision=revision)


def check_all_that_this_client_can_ask_for() -> None:
    for kind, words in (
        ("model", hf_api.ExpandModelProperty_T), ("dataset", hf_api.ExpandDatasetProperty_T),
        ("space", hf_api.ExpandSpaceProperty_T),
    ):  # fmt: skip
        repo = fresh(kind)
        assert api().repo_info(repo, repo_type=kind, expand=list(get_args(words))).id == repo


def check_expand_answers_what_was_asked_and_nothing_else() -> None:
    repo = fresh()
    answer = ask("GET", f"/api/models/{repo}?expand=sha&expand=likes")
    assert answer.status == 200 and set(answer.json()) - {"_id"} == {"id", "sha", "likes"}, answer.json()
    info = api().model_info(repo, expand=["downloads", "gated", "siblings", "cardData", "tags"])
    assert info.downloads == 0 and info.gated is False and info.siblings
    with raises(BadRequestError):
        answer = ask("GET", f"/api/models/{repo}?expand=nonsense")
        assert answer.status == 400, answer
        api().model_info(repo, expand=["nonsense"])  # type: ignore[list-item]


def check_security_status() -> None:
    repo = fresh()
    assert api().model_info(repo, securityStatus=True).id == repo


def check_duplicate() -> None:
    if not hasattr(HfApi, "duplicate_repo"):
        raise Skip("this version has no duplicate_repo")
    repo = fresh()
    api().upload_file(path_or_fileobj=b"small", path_in_repo="a/small.txt", repo_id=repo)
    api().upload_file(path_or_fileobj=b"L" * 2_500_000, path_in_repo="large.bin", repo_id=repo)
    copy = api("ben").duplicate_repo(repo, "ben/duplicate")
    assert copy.repo_id == "ben/duplicate"
    assert set(api("ben").list_repo_files("ben/duplicate")) == set(api().list_repo_files(repo))
    assert Path(api("ben").hf_hub_download("ben/duplicate", "large.bin")).read_bytes() == b"L" * 2_500_000
    secret = api().create_repo("ada/duplicate-secret", private=True).repo_id
    with raises(RepositoryNotFoundError):
        api("ben").duplicate_repo(secret, "ben/stolen")
    with raises(RepositoryNotFoundError):
        api("ben").model_info("ben/stolen")


def check_auth_check() -> None:
    repo = fresh(private=True)
    api().auth_check(repo)
    for who in ("dan", "nobody"):
        with raises(RepositoryNotFoundError):
            api(who).auth_check(repo)
    public = api().create_repo("ada/auth-check-public").repo_id
    api("nobody").auth_check(public)
    assert ask("GET", f"/api/models/{public}/auth-check/write").status == 200
    assert ask("GET", f"/api/models/{public}/auth-check/write", who="dan").status == 403
    assert ask("GET", f"/api/models/{public}/auth-check/write", who="reader").status == 403
    assert ask("GET", f"/api/models/{public}/auth-check/write", who="nobody").status == 401


def check_a_card_is_validated_before_the_commit() -> None:
    repo = fresh()
    broken = "---\nlicense: [unclosed\n---\nwords\n"
    with raises(ValueError, says="yaml"):
        api().upload_file(path_or_fileobj=broken.encode(), path_in_repo="README.md", repo_id=repo)
    assert "README.md" not in api().list_repo_files(repo)
    answer = ask("POST", "/api/validate-yaml", {"content": CARD, "repoType": "model"}, who="nobody")
    assert answer.status == 200 and answer.json()["errors"] == [], answer
    answer = ask("POST", "/api/validate-yaml", {"content": broken, "repoType": "model"}, who="nobody")
    assert answer.status == 400 and answer.json()["errors"][0]["message"], answer
    wrong = "---\nlicense: 3\nlanguage: {a: b}\n---\n"
    answer = ask("POST", "/api/validate-yaml", {"content": wrong, "repoType": "model"})
    assert answer.status == 400, answer


def check_a_card_goes_up_and_comes_back() -> None:
    repo = fresh()
    api().upload_file(path_or_fileobj=CARD.encode(), path_in_repo="README.md", repo_id=repo)
    card = ModelCard.load(repo)
    assert card.data.to_dict()["license"] == "apache-2.0" and card.text.strip() == "# A probe"


def check_a_card_is_pushed() -> None:
    if int(version("huggingface_hub").split(".")[0]) < 2:
        raise Skip("before 2.0 a card is validated at huggingface.co, whatever HF_ENDPOINT says")
    repo = fresh()
    ModelCard(CARD).push_to_hub(repo)
    assert ModelCard.load(repo).data.license == "apache-2.0"
    with raises(ValueError):
        ModelCard(CARD.replace("license: apache-2.0", "license: 3")).push_to_hub(repo)
    assert ModelCard.load(repo).data.license == "apache-2.0"


@needs("list_user_repos")
def check_what_is_stored() -> None:
    repo = fresh(private=True)
    api().upload_file(path_or_fileobj=b"\0" * 3_000_000, path_in_repo="zeros.bin", repo_id=repo)
    [mine] = [one for one in api().list_user_repos() if one.id == repo]
    assert (mine.type, mine.visibility, mine.storage) == ("model", "private", 3_000_000), mine
    assert {one.id.split("/")[0] for one in api("cleo").list_user_repos("guild")} <= {"guild"}
    with refused(status=403):
        list(api("dan").list_user_repos("guild"))


def check_request_ids() -> None:
    answer = ask("GET", "/api/models/ada/none-of-this", headers={"X-Request-Id": "echo-me"})
    assert answer.headers["x-request-id"] == "echo-me", answer
    answer = ask("GET", "/api/whoami-v2", headers={"X-Amzn-Trace-Id": "0f0f-trace"})
    assert "0f0f-trace" in answer.headers["x-request-id"], answer
    assert ask("GET", "/api/whoami-v2").headers["x-request-id"]


def check_what_is_not_here_is_not_found() -> None:
    assert ask("GET", "/api/agent-harnesses", who="nobody").status == 404
    assert ask("HEAD", "/api/telemetry/huggingface_hub/x", who="nobody").status == 404
    assert ask("GET", "/no/such/page/at/all", who="nobody").status in (401, 404)


CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-classification
tags:
- probe-tag
---
# A probe
"""

if __name__ == "__main__":
    main()
