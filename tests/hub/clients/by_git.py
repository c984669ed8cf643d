"""by_git: clone, commit, push, fetch; git-lfs both ways; what git writes the client reads, and the other way round."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from checks import ENDPOINT, TOKENS, WORK, api, cutting, fresh, main
from huggingface_hub import CommitOperationAdd

ENVIRONMENT = os.environ | {
    "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(WORK), "GIT_ASKPASS": "true",
    "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.com",
}  # fmt: skip
LARGE = b"".join(bytes([i % 251]) * 997 for i in range(3000))  # 3 MB


def git(*words: str | Path, at: Path = WORK, fine: bool = True) -> str:
    done = subprocess.run(
        ["git", *map(str, words)], cwd=at, env=ENVIRONMENT, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode == 0) is fine, f"git {' '.join(map(str, words))}: {done.stdout}{done.stderr}"
    return done.stdout.strip() + ("" if fine else done.stderr)


def address(repo: str, who: str = "ada", at: str = ENDPOINT) -> str:
    parts = urlsplit(at)
    door = "" if who == "nobody" else f"{who.replace('reader', 'ada')}:{TOKENS[who]}@"
    return f"{parts.scheme}://{door}{parts.netloc}/{repo}"


def clone(repo: str, name: str, who: str = "ada") -> Path:
    git("clone", "-q", address(repo, who), name)
    git("lfs", "install", "--local", at=WORK / name)
    git("lfs", "pull", at=WORK / name)
    return WORK / name


def check_clone_commit_push_fetch() -> None:
    repo = fresh()
    api().upload_file(path_or_fileobj=b"by the client\n", path_in_repo="a/client.txt", repo_id=repo)
    one, two = clone(repo, "one"), clone(f"{repo}.git", "two")
    assert (one / "a/client.txt").read_text() == "by the client\n"
    assert git("rev-parse", "HEAD", at=one) == api().model_info(repo).sha
    (one / "b.txt").write_text("by git\n")
    git("add", ".", at=one)
    git("commit", "-q", "-m", "By git", at=one)
    git("push", "-q", "origin", "HEAD:main", at=one)
    head = git("rev-parse", "HEAD", at=one)
    assert api().model_info(repo).sha == head
    assert Path(api().hf_hub_download(repo, "b.txt")).read_text() == "by git\n"
    newest = api().list_repo_commits(repo)[0]
    assert (newest.commit_id, newest.title) == (head, "By git"), newest
    git("fetch", "-q", at=two)
    git("merge", "-q", "--ff-only", "origin/main", at=two)
    assert (two / "b.txt").read_text() == "by git\n"
    git("fsck", "--strict", at=two)


def check_a_push_that_is_not_up_to_date_is_refused() -> None:
    repo = fresh()
    here = clone(repo, "late")
    api().upload_file(path_or_fileobj=b"first", path_in_repo="x.txt", repo_id=repo)
    sha = api().model_info(repo).sha
    (here / "x.txt").write_text("second")
    git("add", ".", at=here)
    git("commit", "-q", "-m", "Late", at=here)
    git("push", "-q", "origin", "HEAD:main", at=here, fine=False)
    assert api().model_info(repo).sha == sha
    git("pull", "-q", "--rebase", "-X", "theirs", "origin", "main", at=here)
    git("push", "-q", "origin", "HEAD:main", at=here)


def check_branches_and_tags() -> None:
    repo = fresh()
    here = clone(repo, "refs")
    git("checkout", "-q", "-b", "dev", at=here)
    (here / "dev.txt").write_text("dev")
    git("add", ".", at=here)
    git("commit", "-q", "-m", "On dev", at=here)
    git("tag", "v1", at=here)
    git("tag", "-a", "v2", "-m", "Annotated", at=here)
    git("push", "-q", "origin", "dev", "v1", "v2", at=here)
    refs = api().list_repo_refs(repo)
    assert {one.name for one in refs.branches} == {"main", "dev"} and {one.name for one in refs.tags} == {"v1", "v2"}
    for revision in ("dev", "v1", "v2"):
        assert "dev.txt" in api().list_repo_files(repo, revision=revision), revision
    api().create_tag(repo, tag="by-client", tag_message="Hello")
    api().create_branch(repo, branch="by/client")
    git("fetch", "-q", "--tags", at=here)
    assert "by-client" in git("tag", at=here) and "origin/by/client" in git("branch", "-r", at=here)
    git("push", "-q", "origin", ":dev", at=here)
    assert {one.name for one in api().list_repo_refs(repo).branches} == {"main", "by/client"}
    git("push", "-q", "origin", ":main", at=here, fine=False)


def check_large_files_both_ways() -> None:
    repo = fresh()
    api().create_commit(
        repo,
        [CommitOperationAdd("client.bin", LARGE), CommitOperationAdd("small.txt", b"small")],
        commit_message="By the client",
    )
    here = clone(repo, "large")
    assert (here / "client.bin").read_bytes() == LARGE, "git lfs pull brings what the client sent"
    assert "client.bin" in git("lfs", "ls-files", at=here)
    git("lfs", "track", "*.weights", at=here)
    (here / "git.weights").write_bytes(LARGE[::-1])
    git("add", ".", at=here)
    git("commit", "-q", "-m", "By git-lfs", at=here)
    git("push", "-q", "origin", "HEAD:main", at=here)
    assert Path(api().hf_hub_download(repo, "git.weights")).read_bytes() == LARGE[::-1]
    [info] = api().get_paths_info(repo, ["git.weights"])
    assert info.lfs and info.size == len(LARGE)
    assert (clone(repo, "large-again") / "git.weights").read_bytes() == LARGE[::-1]


def check_git_lfs_goes_on_where_it_was_cut() -> None:
    repo = fresh()
    api().upload_file(path_or_fileobj=LARGE, path_in_repo="long.bin", repo_id=repo)
    with cutting(2_000_000, times=1) as proxy:
        git("clone", "-q", address(repo, at=proxy.address), "lfs-cut")
        git("lfs", "install", "--local", at=WORK / "lfs-cut")
        git("lfs", "pull", at=WORK / "lfs-cut")
    assert (WORK / "lfs-cut" / "long.bin").read_bytes() == LARGE
    assert proxy.ranges() and not proxy.times, proxy.heads


def check_a_pointer_to_bytes_that_were_not_sent_is_refused() -> None:
    repo, secret = fresh(number=1), fresh(number=2, private=True)
    api().upload_file(path_or_fileobj=LARGE + b"secret", path_in_repo="s.bin", repo_id=secret)
    mine = api("ben").create_repo("ben/git-thief").repo_id
    git("clone", "-q", address(mine, "ben"), "thief")
    here = WORK / "thief"
    for number, digest in enumerate((hashlib.sha256(LARGE + b"secret").hexdigest(), "0" * 64)):
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(LARGE) + 6}\n"
        (here / f"{number}.bin").write_text(pointer)
        git("-c", "filter.lfs.process=", "-c", "filter.lfs.clean=cat", "add", ".", at=here)
        git("commit", "-q", "-m", "Steal", at=here)
        git("push", "-q", "origin", "HEAD:main", at=here, fine=False)
    assert api("ben").list_repo_files(mine) == [".gitattributes"] and repo


def check_who_may() -> None:
    repo = fresh(private=True)
    for who in ("nobody", "dan"):
        git("clone", "-q", address(repo, who), f"not-{who}", fine=False)
    for who in ("ada", "reader", "root"):  # git sends its password only when it is asked for one
        git("clone", "-q", address(repo, who), f"may-{who}")
    public = fresh(number=2)
    git("clone", "-q", address(public, "nobody"), "anonymous")
    for who in ("nobody", "dan", "reader"):
        here = clone(public, f"push-{who}", who)
        (here / "x.txt").write_text(who)
        git("add", ".", at=here)
        git("commit", "-q", "-m", "x", at=here)
        git("push", "-q", "origin", "HEAD:main", at=here, fine=False)
    assert api().list_repo_files(public) == [".gitattributes"]


def check_paths_that_lead_out_are_refused_in_a_push() -> None:
    repo = fresh()
    here = clone(repo, "hostile")
    blob = git("hash-object", "-w", ".gitattributes", at=here)
    for path in (".git/config", "..", ".", ".GIT", "a\\b", "con", "x "):
        tree = subprocess.run(
            ["git", "mktree"], input=f"100644 blob {blob}\t{path}\n", cwd=here, env=ENVIRONMENT,
            capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        if not tree:
            continue
        commit = git("commit-tree", tree, "-p", "HEAD", "-m", "x", at=here)
        git("push", "-q", "origin", f"{commit}:refs/heads/main", at=here, fine=False)
    link = subprocess.run(
        ["git", "mktree"],
        input=f"120000 blob {blob}\tlink\n",
        cwd=here,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    ).stdout.strip()
    commit = git("commit-tree", link, "-p", "HEAD", "-m", "x", at=here)
    git("push", "-q", "origin", f"{commit}:refs/heads/main", at=here, fine=False)
    assert api().list_repo_files(repo) == [".gitattributes"]
    git("clone", "-q", address(repo), "hostile-again")
    git("fetch", "-q", "origin", commit, at=WORK / "hostile-again", fine=False)


def check_a_data_set_and_a_shallow_clone() -> None:
    repo = fresh("dataset")
    for i in range(5):
        api().upload_file(path_or_fileobj=str(i).encode(), path_in_repo="n.txt", repo_id=repo, repo_type="dataset")
    git("clone", "-q", "--depth", "1", address(f"datasets/{repo}"), "shallow")
    assert (WORK / "shallow" / "n.txt").read_text() == "4"
    assert git("rev-list", "--count", "HEAD", at=WORK / "shallow") == "1"
    git("fetch", "-q", "--unshallow", at=WORK / "shallow")
    assert git("rev-list", "--count", "HEAD", at=WORK / "shallow") == "6"


if __name__ == "__main__":
    main()
