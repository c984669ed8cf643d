"""history: branches, tags, commits, trees and proposals as the client sees them."""

from __future__ import annotations

import re
from pathlib import Path

from checks import WORK, api, ask, fresh, main, raises, refused
from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.errors import EntryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile, RepoFolder


def put(repo: str, path: str, text: str, **options: object) -> str:
    """The commit that writes one small file."""
    return (
        api()
        .upload_file(
            path_or_fileobj=text.encode(), path_in_repo=path, repo_id=repo, **{"commit_message": text} | options
        )
        .oid
    )


def text(repo: str, path: str, revision: str = "main") -> str:
    return Path(api().hf_hub_download(repo, path, revision=revision)).read_text()


def check_branches() -> None:
    repo = fresh()
    first = api().model_info(repo).sha
    put(repo, "a.txt", "on main")
    api().create_branch(repo, branch="dev")
    api().create_branch(repo, branch="old/start", revision=first)
    with refused(status=409, says="already exists"):
        api().create_branch(repo, branch="dev")
    api().create_branch(repo, branch="dev", exist_ok=True)
    put(repo, "a.txt", "on dev", revision="dev")
    assert (text(repo, "a.txt"), text(repo, "a.txt", "dev")) == ("on main", "on dev")
    refs = api().list_repo_refs(repo)
    assert {branch.name for branch in refs.branches} == {"main", "dev", "old/start"}
    assert {branch.ref for branch in refs.branches} == {f"refs/heads/{b.name}" for b in refs.branches}
    assert {b.name: b.target_commit for b in refs.branches}["old/start"] == first
    assert text(repo, "a.txt", "refs/heads/dev") == "on dev"
    api().delete_branch(repo, branch="dev")
    with raises(RevisionNotFoundError):
        text(repo, "a.txt", "dev")
    with refused(status=403):
        api().delete_branch(repo, branch="main")
    with refused():
        api().delete_branch(repo, branch="no-such")
    with refused():
        api().create_branch(repo, branch="from-nowhere", revision="no-such")
    with refused(status=403):
        api("dan").create_branch(repo, branch="by-a-stranger")


def check_tags() -> None:
    repo = fresh("dataset")
    kind = {"repo_type": "dataset"}
    put(repo, "a.txt", "one", **kind)
    api().create_tag(repo, tag="v1", tag_message="The first", **kind)
    put(repo, "a.txt", "two", **kind)
    with refused(status=409):
        api().create_tag(repo, tag="v1", **kind)
    api().create_tag(repo, tag="v1", exist_ok=True, **kind)
    assert Path(api().hf_hub_download(repo, "a.txt", revision="v1", **kind)).read_text() == "one"
    assert Path(api().hf_hub_download(repo, "a.txt", revision="refs/tags/v1", **kind)).read_text() == "one"
    [tag] = api().list_repo_refs(repo, **kind).tags
    assert (tag.name, tag.ref) == ("v1", "refs/tags/v1")
    assert api().dataset_info(repo, revision="v1").sha == api().list_repo_commits(repo, **kind)[1].commit_id
    api().delete_tag(repo, tag="v1", **kind)
    assert api().list_repo_refs(repo, **kind).tags == []
    with refused():
        api().delete_tag(repo, tag="v1", **kind)


def check_commits_over_several_pages() -> None:
    repo = fresh()
    oids = [put(repo, "counter.txt", f"step {i}") for i in range(60)]
    commits = api().list_repo_commits(repo)
    assert [commit.commit_id for commit in commits[:60]] == oids[::-1] and len(commits) == 61
    assert commits[0].title == "step 59" and commits[-1].title == "initial commit"
    assert commits[0].created_at >= commits[59].created_at
    assert api().list_repo_commits(repo, revision=oids[9])[0].commit_id == oids[9]
    put(repo, "counter.txt", "with words", commit_message="*Title*", commit_description="A `word`.")
    newest = api().list_repo_commits(repo, formatted=True)[0]
    assert newest.title == "*Title*" and newest.formatted_title and "word" in (newest.formatted_message or "")
    with raises(RevisionNotFoundError):
        api().list_repo_commits(repo, revision="no-such")


def check_super_squash() -> None:
    repo = fresh()
    for i in range(4):
        put(repo, f"{i}.txt", str(i))
    put(repo, "0.txt", "changed")
    api().create_branch(repo, branch="before")
    api().super_squash_history(repo, commit_message="All in one")
    commits = api().list_repo_commits(repo)
    assert [commit.title for commit in commits] == ["All in one"], commits
    assert set(api().list_repo_files(repo)) == {".gitattributes", "0.txt", "1.txt", "2.txt", "3.txt"}
    assert text(repo, "0.txt") == "changed"
    assert len(api().list_repo_commits(repo, revision="before")) == 6
    with refused(status=403):
        api("dan").super_squash_history(repo)
    pull = api("dan").upload_file(path_or_fileobj=b"1", path_in_repo="p.txt", repo_id=repo, create_pr=True)
    api("dan").upload_file(path_or_fileobj=b"2", path_in_repo="p.txt", repo_id=repo, revision=pull.pr_revision)
    api().super_squash_history(repo, branch=pull.pr_revision, commit_message="One proposal")
    newest = api().list_repo_commits(repo, revision=pull.pr_revision)[0]
    assert newest.title == "One proposal" and api().list_repo_commits(repo)[0].title == "All in one"
    assert text(repo, "p.txt", pull.pr_revision) == "2" and text(repo, "0.txt", pull.pr_revision) == "changed"


def check_tree() -> None:
    repo = fresh()
    large = b"\0" * 2_000_000
    api().create_commit(
        repo,
        [CommitOperationAdd(path, path.encode()) for path in ("b/1.txt", "b/2.txt", "b/c/3.txt", "z.txt")]
        + [CommitOperationAdd("large.bin", large)],
        commit_message="All",
    )
    last = put(repo, "b/2.txt", "Newer")
    top = {one.path: one for one in api().list_repo_tree(repo)}
    assert set(top) == {".gitattributes", "b", "z.txt", "large.bin"}
    assert isinstance(top["b"], RepoFolder) and isinstance(top["z.txt"], RepoFile)
    assert len(top["b"].tree_id) == 40 and len(top["z.txt"].blob_id) == 40
    file = top["large.bin"]
    assert file.size == len(large) and file.lfs.size == len(large) and file.lfs.pointer_size < 200, file
    everything = {one.path for one in api().list_repo_tree(repo, recursive=True)}
    assert everything == {".gitattributes", "b", "b/1.txt", "b/2.txt", "b/c", "b/c/3.txt", "z.txt", "large.bin"}
    inside = {one.path: one for one in api().list_repo_tree(repo, "b", expand=True)}
    assert set(inside) == {"b/1.txt", "b/2.txt", "b/c"}
    assert inside["b/2.txt"].last_commit.oid == last and inside["b/1.txt"].last_commit.title == "All"
    assert inside["b/c"].last_commit.title == "All" and inside["b/c"].last_commit.date
    with raises(EntryNotFoundError):
        list(api().list_repo_tree(repo, "no/such/folder"))
    with raises(RevisionNotFoundError):
        list(api().list_repo_tree(repo, revision="no-such"))


def check_a_tree_of_many_files_comes_in_pages() -> None:
    repo = fresh()
    names = [f"f/{i:05}.txt" for i in range(2100)]
    for start in range(0, len(names), 700):
        operations = [CommitOperationAdd(name, b"x") for name in names[start : start + 700]]
        api().create_commit(repo, operations, commit_message="x")
    found = [one.path for one in api().list_repo_tree(repo, "f")]
    assert sorted(found) == names and len(set(found)) == len(found)
    answer = ask("GET", f"/api/models/{repo}/tree/main/f?limit=100")
    assert len(answer.json()) == 100
    assert re.search(r'<https?://[^>]+>; *rel="next"', answer.headers["link"]), answer.headers


def check_paths_info() -> None:
    repo = fresh()
    put(repo, "d/a.txt", "first")
    last = put(repo, "d/b.txt", "second")
    found = {one.path: one for one in api().get_paths_info(repo, ["d", "d/b.txt", "missing.txt"], expand=True)}
    assert set(found) == {"d", "d/b.txt"}
    assert found["d/b.txt"].last_commit.oid == last and found["d/b.txt"].size == 6
    answer = ask("POST", f"/api/models/{repo}/paths-info/main", {"paths": ["d/a.txt"]})
    assert [one["path"] for one in answer.json()] == ["d/a.txt"], answer


def check_a_proposal_by_create_pr() -> None:
    repo = fresh()
    put(repo, "a.txt", "theirs")
    done = api("dan").upload_file(
        path_or_fileobj=b"proposed", path_in_repo="a.txt", repo_id=repo, create_pr=True,
        commit_message="Better words", commit_description="Because.",
    )  # fmt: skip
    assert (
        done.pr_num
        and done.pr_url.endswith(f"/discussions/{done.pr_num}")
        and done.pr_revision == f"refs/pr/{done.pr_num}"
    )
    assert text(repo, "a.txt") == "theirs" and text(repo, "a.txt", done.pr_revision) == "proposed"
    api("dan").upload_file(path_or_fileobj=b"more", path_in_repo="b.txt", repo_id=repo, revision=done.pr_revision)
    assert text(repo, "b.txt", done.pr_revision) == "more"
    with refused(status=403):
        api("ben").upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id=repo, revision=done.pr_revision)
    refs = api().list_repo_refs(repo, include_pull_requests=True)
    assert [pull.ref for pull in refs.pull_requests or []] == [done.pr_revision]
    assert not api().list_repo_refs(repo).pull_requests
    details = api().get_discussion_details(repo, done.pr_num)
    assert details.is_pull_request and details.title == "Better words" and details.author == "dan"
    assert [event.summary for event in details.events if event.type == "commit"][:1] == ["Better words"]
    assert "+proposed" in (details.diff or "") and "-theirs" in (details.diff or "")
    assert details.status == "open", details.status
    with refused(status=403):
        api("dan").merge_pull_request(repo, done.pr_num)
    api().merge_pull_request(repo, done.pr_num, comment="Thank you")
    assert text(repo, "a.txt") == "proposed" and text(repo, "b.txt") == "more"
    details = api().get_discussion_details(repo, done.pr_num)
    assert details.status == "merged" and details.merge_commit_oid == api().model_info(repo).sha, details
    titles = [commit.title for commit in api().list_repo_commits(repo)]
    assert any("Better words" in title for title in titles), titles


def check_a_large_file_in_a_proposal_of_a_stranger() -> None:
    repo, data = fresh(), bytes(range(256)) * 12_000
    done = api("dan").upload_file(path_or_fileobj=data, path_in_repo="l.bin", repo_id=repo, create_pr=True)
    assert Path(api().hf_hub_download(repo, "l.bin", revision=f"refs/pr/{done.pr_num}")).read_bytes() == data
    with refused(status=403):
        api("dan").upload_file(path_or_fileobj=data, path_in_repo="l.bin", repo_id=repo)


def check_a_folder_as_a_proposal() -> None:
    repo = fresh()
    folder = WORK / "proposal"
    folder.mkdir()
    for i in range(3):
        (folder / f"{i}.txt").write_text(str(i))
    done = api("dan").upload_folder(repo_id=repo, folder_path=folder, create_pr=True, commit_message="A folder")
    number = done.pr_num or int(str(done.pr_url).rsplit("/", 1)[-1])
    assert {"0.txt", "1.txt", "2.txt"} <= set(api().list_repo_files(repo, revision=f"refs/pr/{number}"))


def check_a_proposal_that_conflicts() -> None:
    repo = fresh()
    put(repo, "a.txt", "start\n")
    done = api("dan").upload_file(path_or_fileobj=b"dan\n", path_in_repo="a.txt", repo_id=repo, create_pr=True)
    put(repo, "a.txt", "ada\n")
    details = api().get_discussion_details(repo, done.pr_num)
    assert details.conflicting_files in (["a.txt"], True), details.conflicting_files
    assert details.status == "open", details.status
    with refused():
        api().merge_pull_request(repo, done.pr_num)
    assert text(repo, "a.txt") == "ada\n"
    assert api().get_discussion_details(repo, done.pr_num).status == "open"


def check_a_commit_to_a_revision_that_is_none() -> None:
    repo = fresh()
    with raises(RevisionNotFoundError):
        put(repo, "a.txt", "x", revision="no-such")
    first = api().model_info(repo).sha
    with refused():
        put(repo, "a.txt", "x", revision=first)
    assert len(api().list_repo_commits(repo)) == 1


def check_case_twins_and_a_file_where_a_folder_is() -> None:
    repo = fresh()
    put(repo, "Readme/a.txt", "x")
    for path in ("readme/a.txt", "Readme", "Readme/a.txt/b"):
        with refused():
            put(repo, path, "y")
    api().create_commit(
        repo,
        [CommitOperationDelete("Readme/", is_folder=True), CommitOperationAdd("readme", b"now a file")],
        commit_message="x",
    )
    assert text(repo, "readme") == "now a file"


if __name__ == "__main__":
    main()
