"""files: bytes go up, small and large, and come back the same; each file has the etag that names it."""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import os
import random
import struct
import subprocess
import sys
import time
from pathlib import Path

from checks import ENDPOINT, TOKENS, WORK, Proxy, Skip, api, ask, cutting, fresh, main, needs, raises, refused, until
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    file_download,
    get_hf_file_metadata,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.file_download import _CACHED_NO_EXIST

MB = 1_000_000


def noise(size: int, seed: int) -> bytes:
    """Bytes that nothing can pack."""
    return random.Random(seed).randbytes(size)


def blob_sha1(data: bytes) -> str:
    """What git calls this file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def back(repo: str, path: str, **options: str) -> bytes:
    return Path(api().hf_hub_download(repo, path, force_download=True, **options)).read_bytes()


def check_a_small_file() -> None:
    repo = fresh()
    done = api().upload_file(path_or_fileobj=b"one line\n", path_in_repo="a/b/small.txt", repo_id=repo)
    assert done.oid == api().model_info(repo).sha and f"/commit/{done.oid}" in done.commit_url
    assert back(repo, "a/b/small.txt") == b"one line\n"
    meta = get_hf_file_metadata(hf_hub_url(repo, "a/b/small.txt"))
    assert (meta.etag, meta.size, meta.commit_hash) == (blob_sha1(b"one line\n"), 9, done.oid), meta


def check_an_empty_file() -> None:
    repo = fresh()
    api().upload_file(path_or_fileobj=b"", path_in_repo="empty", repo_id=repo)
    assert back(repo, "empty") == b""
    assert ask("HEAD", f"/{repo}/resolve/main/empty").headers["content-length"] == "0"


def check_a_large_file() -> None:
    """Current clients send it by Xet, 1.18 by LFS; nobody is asked."""
    repo, data = fresh(), noise(12 * MB + 7, 1)
    (WORK / "large.bin").write_bytes(data)
    api().upload_file(path_or_fileobj=WORK / "large.bin", path_in_repo="large.bin", repo_id=repo)
    assert back(repo, "large.bin") == data
    meta = get_hf_file_metadata(hf_hub_url(repo, "large.bin"))
    assert (meta.etag, meta.size) == (hashlib.sha256(data).hexdigest(), len(data)), meta
    [file] = api().get_paths_info(repo, ["large.bin"])
    assert file.lfs and (file.lfs.sha256, file.size) == (meta.etag, len(data)), file


def check_a_large_file_that_repeats_itself() -> None:
    repo, piece = fresh(), noise(300_000, 2)
    data = piece * 30 + b"\0" * 4 * MB + piece
    api().upload_file(path_or_fileobj=data, path_in_repo="again.bin", repo_id=repo)
    assert back(repo, "again.bin") == data
    changed = data[: 5 * MB] + b"edited" + data[5 * MB :]
    api().upload_file(path_or_fileobj=changed, path_in_repo="again.bin", repo_id=repo)
    assert back(repo, "again.bin") == changed
    first = api().list_repo_commits(repo)[1].commit_id
    assert back(repo, "again.bin", revision=first) == data


def check_a_file_object_goes_by_lfs() -> None:
    repo, data = fresh("dataset"), noise(7 * MB, 3)
    api().upload_file(path_or_fileobj=io.BytesIO(data), path_in_repo="o.bin", repo_id=repo, repo_type="dataset")
    assert back(repo, "o.bin", repo_type="dataset") == data


def check_a_large_file_object_in_parts() -> None:
    """This hub was set to take 20 MB at once: two parts, each with its ETag, then what puts them together."""
    repo, data = fresh(), noise(24 * MB, 4)
    with cutting(1 << 40, times=0) as proxy:
        HfApi(endpoint=proxy.address, token=api().token).upload_file(
            path_or_fileobj=io.BytesIO(data), path_in_repo="parts.bin", repo_id=repo
        )
    sent = [head.split(b"?")[0].decode() for head in proxy.heads if b" /api/lfs/" in head]
    assert sent == ["PUT /api/lfs/parts"] * 2 + ["POST /api/lfs/complete", "POST /api/lfs/verify"], sent
    assert back(repo, "parts.bin") == data


def check_a_space_has_files_too() -> None:
    repo, data = fresh("space"), noise(2 * MB, 22)
    kind = {"repo_type": "space"}
    done = api().create_commit(
        repo, [CommitOperationAdd("app.py", b"print()"), CommitOperationAdd("l.bin", data)], commit_message="x", **kind
    )
    api().upload_file(path_or_fileobj=io.BytesIO(data[::-1]), path_in_repo="object.bin", repo_id=repo, **kind)
    for path, expected in (("app.py", b"print()"), ("l.bin", data), ("object.bin", data[::-1])):
        assert back(repo, path, **kind) == expected, path
    meta = get_hf_file_metadata(hf_hub_url(repo, "l.bin", revision=done.oid, **kind))
    assert (meta.etag, meta.size, meta.commit_hash) == (hashlib.sha256(data).hexdigest(), len(data), done.oid), meta
    there = Path(api().snapshot_download(repo, local_dir=WORK / "space", **kind))
    assert (there / "object.bin").read_bytes() == data[::-1]
    assert {one.path for one in api().list_repo_tree(repo, **kind)} >= {"app.py", "l.bin", "object.bin"}


def check_the_large_files_of_a_repository_are_listed_and_deleted() -> None:
    repo, data = fresh(), noise(2 * MB, 23)
    api().create_commit(
        repo, [CommitOperationAdd("gone.bin", data), CommitOperationAdd("kept.bin", data[::-1])], commit_message="x"
    )
    found = {one.filename: one for one in api().list_lfs_files(repo)}
    assert set(found) == {"gone.bin", "kept.bin"} and found["gone.bin"].size == len(data), found
    assert found["gone.bin"].file_oid == hashlib.sha256(data).hexdigest()
    for who in ("ben", "dan"):
        with refused(status=403):
            list(api(who).list_lfs_files(repo))
        with refused(status=403):
            api(who).permanently_delete_lfs_files(repo, [found["gone.bin"]])
    api().permanently_delete_lfs_files(repo, [found["gone.bin"]])
    assert [one.filename for one in api().list_lfs_files(repo)] == ["kept.bin"]
    assert "gone.bin" not in api().list_repo_files(repo) and back(repo, "kept.bin") == data[::-1]


def check_tokens_of_xet() -> None:
    """In the body for hf_xet, in headers for huggingface_hub; the revision may be the word None."""
    repo, data = fresh(), noise(2 * MB, 24)
    api().upload_file(path_or_fileobj=data, path_in_repo="l.bin", repo_id=repo)
    for path, who in (
        ("write-token/main", "ada"), ("write-token/None?create_pr=1", "dan"), ("write-token/refs%2Fpr%2F1", "dan"),
        ("read-token/main", "dan"), ("read-token/main", "nobody"),
    ):  # fmt: skip
        answer = ask("GET", f"/api/models/{repo}/xet-{path}", who=who)
        assert answer.status == 200, (path, who, answer)
        body, headers = answer.json(), answer.headers
        assert body["casUrl"] == headers["x-xet-cas-url"] == ENDPOINT, (path, answer)
        assert body["accessToken"] == headers["x-xet-access-token"] and body["accessToken"], (path, answer)
        assert body["exp"] == int(headers["x-xet-token-expiration"]) > time.time(), (path, answer)
    for who, status in (("dan", 403), ("reader", 403), ("nobody", 401)):
        assert ask("GET", f"/api/models/{repo}/xet-write-token/main", who=who).status == status, who
    secret = fresh(number=2, private=True)
    for who, status in (("dan", 404), ("nobody", 401)):
        for token in ("xet-read-token/main", "xet-write-token/main"):
            assert ask("GET", f"/api/models/{secret}/{token}", who=who).status == status, (who, token)


def check_the_same_large_bytes_in_two_repositories() -> None:
    one, two, data = fresh(number=1), fresh(number=2, private=True), noise(3 * MB, 5)
    for repo in (one, two):
        api().upload_file(path_or_fileobj=data, path_in_repo="same.bin", repo_id=repo)
        assert back(repo, "same.bin") == data
    api().delete_repo(one)
    assert back(two, "same.bin") == data


def check_a_folder() -> None:
    repo = fresh()
    folder = WORK / "folder"
    content = {f"part-{i % 7}/file-{i:03}.txt": f"file {i}\n".encode() for i in range(300)}
    content |= {"large-1.bin": noise(2 * MB, 6), "sub/large-2.bin": noise(3 * MB, 7), "sub/deep/er/empty": b""}
    content |= {"ein Ärger/naïve name (1).txt": b"spaces\n", "数据/中文.txt": "中文\n".encode()}
    for path, data in content.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    api().upload_folder(repo_id=repo, folder_path=folder)
    assert set(api().list_repo_files(repo)) == {*content, ".gitattributes"}
    there = Path(api().snapshot_download(repo, local_dir=WORK / "folder-back"))
    for path, data in content.items():
        assert (there / path).read_bytes() == data, path
    before = len(api().list_repo_commits(repo))
    assert before >= 2
    api().upload_folder(repo_id=repo, folder_path=folder)  # nothing has changed: nothing is sent
    assert len(api().list_repo_commits(repo)) == before
    (folder / "part-0/file-000.txt").write_bytes(b"changed")
    api().upload_folder(repo_id=repo, folder_path=folder, delete_patterns=["part-1/*"], path_in_repo="")
    files = set(api().list_repo_files(repo))
    assert back(repo, "part-0/file-000.txt") == b"changed"
    assert "part-1/file-001.txt" in files, "what is in the folder stays"


def check_a_folder_with_patterns_into_a_folder() -> None:
    repo = fresh("dataset")
    folder = WORK / "patterns"
    folder.mkdir()
    for name in ("a.csv", "b.csv", "c.txt", "d.tmp"):
        (folder / name).write_text(name)
    options = {"repo_id": repo, "repo_type": "dataset", "folder_path": folder, "path_in_repo": "data"}
    api().upload_folder(**options, allow_patterns=["*.csv", "*.tmp"], ignore_patterns="*.tmp")
    assert set(api().list_repo_files(repo, repo_type="dataset")) - {".gitattributes"} == {"data/a.csv", "data/b.csv"}
    (folder / "a.csv").unlink()
    api().upload_folder(**options, allow_patterns=["*.csv"], delete_patterns=["a.*"])
    assert set(api().list_repo_files(repo, repo_type="dataset")) - {".gitattributes"} == {"data/b.csv"}


def check_what_gitignore_names_is_left_out() -> None:
    repo = fresh()
    folder = WORK / "ignored"
    folder.mkdir()
    for name, text in ((".gitignore", "*.secret\n"), ("a.secret", "x"), ("b.txt", "y")):
        (folder / name).write_text(text)
    api().upload_folder(repo_id=repo, folder_path=folder)
    assert set(api().list_repo_files(repo)) - {".gitattributes"} == {".gitignore", "b.txt"}


def check_many_operations_in_one_commit() -> None:
    repo = fresh()
    large = noise(2 * MB, 8)
    api().create_commit(
        repo,
        [
            CommitOperationAdd("keep.txt", b"keep"),
            CommitOperationAdd("gone.txt", b"gone"),
            CommitOperationAdd("dir/one.txt", b"1"),
            CommitOperationAdd("dir/two.txt", b"2"),
            CommitOperationAdd("large.bin", large),
        ],
        commit_message="First",
        commit_description="Five files\n\nand a paragraph.",
    )
    commit = api().list_repo_commits(repo)[0]
    assert commit.title == "First" and "Five files" in commit.message and commit.authors == ["ada"], commit
    api().create_commit(
        repo,
        [
            CommitOperationDelete("gone.txt"),
            CommitOperationDelete("dir/", is_folder=True),
            CommitOperationCopy("large.bin", "copies/large.bin"),
            CommitOperationCopy("keep.txt", "copies/keep.txt"),
            CommitOperationAdd("new.txt", b"new"),
        ],
        commit_message="Second",
    )
    assert set(api().list_repo_files(repo)) - {".gitattributes"} == {
        "keep.txt", "large.bin", "copies/large.bin", "copies/keep.txt", "new.txt",
    }  # fmt: skip
    assert back(repo, "copies/large.bin") == large and back(repo, "copies/keep.txt") == b"keep"


def check_a_large_file_is_copied_from_another_repository() -> None:
    source, target, data = fresh(), fresh(number=2), noise(3 * MB, 21)
    api().upload_file(path_or_fileobj=data, path_in_repo="large.bin", repo_id=source)
    if not api().get_paths_info(source, "large.bin")[0].xet_hash:
        raise Skip("this version uploads by LFS, and copies only what came by Xet")
    api().upload_file(path_or_fileobj=b"small", path_in_repo="small.txt", repo_id=source)
    operations = [
        CommitOperationCopy(name, f"copies/{name}", src_repo_id=source, src_repo_type="model")
        for name in ("large.bin", "small.txt")
    ]
    api().create_commit(target, operations, commit_message="Copy")
    assert back(target, "copies/large.bin") == data and back(target, "copies/small.txt") == b"small"


def check_delete_file_folder_and_patterns() -> None:
    repo = fresh()
    names = ["a.txt", "b.txt", "d/1.txt", "d/e/2.txt", "p/x.log", "p/y.log", "p/z.txt"]
    api().create_commit(repo, [CommitOperationAdd(name, name.encode()) for name in names], commit_message="All")
    api().delete_file("a.txt", repo)
    api().delete_folder("d", repo)
    api().delete_files(repo, ["p/*.log"])
    assert set(api().list_repo_files(repo)) - {".gitattributes"} == {"b.txt", "p/z.txt"}
    with raises(EntryNotFoundError):
        api().delete_file("a.txt", repo)
    with refused(status=404):
        api().delete_folder("d", repo)


def check_a_stale_parent_is_told_so_and_nothing_is_done() -> None:
    repo = fresh()
    first = api().model_info(repo).sha
    options = {"commit_message": "x", "parent_commit": first}
    api().create_commit(repo, [CommitOperationAdd("a.txt", b"a")], **options)
    with refused(status=412):
        api().create_commit(repo, [CommitOperationAdd("b.txt", b"b")], **options)
    with refused(status=412):
        api().create_commit(repo, [CommitOperationAdd("large.bin", noise(2 * MB, 9))], **options)
    assert set(api().list_repo_files(repo)) - {".gitattributes"} == {"a.txt"}
    assert len(api().list_repo_commits(repo)) == 2
    api().create_commit(repo, [CommitOperationAdd("b.txt", b"b")], commit_message="no parent named")


def check_the_client_is_told_what_has_not_changed() -> None:
    repo = fresh()
    data = noise(2 * MB, 10)
    for _ in range(2):
        api().upload_file(path_or_fileobj=data, path_in_repo="same.bin", repo_id=repo)
        api().upload_file(path_or_fileobj=b"same", path_in_repo="same.txt", repo_id=repo)
    assert len(api().list_repo_commits(repo)) == 3


def check_only_who_may_write_writes() -> None:
    repo = fresh()
    for who in ("ben", "dan"):
        for data in (b"small", noise(2 * MB, 11)):
            with refused(status=403):
                api(who).upload_file(path_or_fileobj=data, path_in_repo="x", repo_id=repo)
    with refused(status=403):
        HfApi(token=TOKENS["reader"]).upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id=repo)
    with raises(Exception):  # the client says LocalTokenNotFoundError, or the hub's 401
        api("nobody").upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id=repo)
    assert api().list_repo_files(repo) == [".gitattributes"]


def check_paths_that_lead_out_are_refused() -> None:
    repo = fresh()
    for path in ("a\\b", "C:\\x", "a//b", ".GIT/config", "a\u202eb", "x\u0000y", "con", "n\u0303ot-nfc"):
        operation = CommitOperationAdd("ok.txt", b"x")
        operation.path_in_repo = path
        with refused():
            api().create_commit(repo, [operation], commit_message="x")
    assert api().list_repo_files(repo) == [".gitattributes"]


def check_the_cache_keeps_one_blob_for_each_etag() -> None:
    repo, data = fresh(), noise(2 * MB, 12)
    done = api().create_commit(
        repo, [CommitOperationAdd("l.bin", data), CommitOperationAdd("s.txt", b"small")], commit_message="x"
    )
    cache = WORK / "cache"
    first = Path(api().hf_hub_download(repo, "l.bin", cache_dir=cache))
    small = Path(api().hf_hub_download(repo, "s.txt", cache_dir=cache))
    assert first.parent.name == done.oid
    names = {Path(os.readlink(path)).name for path in (first, small)}
    assert names == {hashlib.sha256(data).hexdigest(), blob_sha1(b"small")}, names
    stamp = first.resolve().stat().st_mtime_ns
    again = api().hf_hub_download(repo, "l.bin", cache_dir=cache)
    assert again == str(first) and first.resolve().stat().st_mtime_ns == stamp, "it was fetched twice"
    assert api().hf_hub_download(repo, "l.bin", cache_dir=cache, local_files_only=True) == str(first)


def check_an_absent_file_is_remembered() -> None:
    repo = fresh()
    with raises(EntryNotFoundError):
        api().hf_hub_download(repo, "nothing.json", cache_dir=WORK / "absent")
    found = try_to_load_from_cache(repo, "nothing.json", cache_dir=WORK / "absent")
    assert found is _CACHED_NO_EXIST, "404 has to carry X-Repo-Commit"
    with raises(RevisionNotFoundError):
        api().hf_hub_download(repo, "nothing.json", revision="no-such")
    with raises(RepositoryNotFoundError):
        api("nobody").hf_hub_download("ada/no-such-repository", "x")
    assert not api().file_exists(repo, "nothing.json") and api().file_exists(repo, ".gitattributes")


# The client hands on what it has of a file in pieces of 10 MiB, and knows of nothing that came after the last of them:
# a file that is cut earlier begins anew, without Range
PIECE = 10 << 20


def fetching(proxy: Proxy, repo: str, home: str, **environment: str) -> subprocess.Popen[str]:
    """Another process of the client that downloads `long.bin` through the proxy, and prints where it lies."""
    words = "import sys; from huggingface_hub import hf_hub_download; print(hf_hub_download(sys.argv[1], 'long.bin'))"
    return subprocess.Popen(
        [sys.executable, "-c", words, repo], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"HF_ENDPOINT": proxy.address, "HF_HOME": str(WORK / home)} | environment,
    )  # fmt: skip


def fetched(process: subprocess.Popen[str]) -> bytes:
    printed, said = process.communicate(timeout=300)
    assert process.returncode == 0, said[-3000:]
    return Path(printed.strip().splitlines()[-1]).read_bytes()


def check_a_download_goes_on_where_it_fell_silent() -> None:
    repo, data = fresh(), noise(2 * PIECE + 3 * MB, 13)
    api().upload_file(path_or_fileobj=data, path_in_repo="long.bin", repo_id=repo)
    with cutting(PIECE + MB, times=1, hold=True) as proxy:
        plain = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "3"}
        assert fetched(fetching(proxy, repo, "silent", **plain)) == data
    # a set: on a slow machine three seconds may pass a second time
    assert set(proxy.ranges()) == {PIECE} and not proxy.times, proxy.heads


def check_a_download_goes_on_where_it_was_cut() -> None:
    if "RemoteProtocolError" not in inspect.getsource(file_download):
        raise Skip("this version gives up where an answer ends early, and goes on after silence only")
    repo, data = fresh(), noise(2 * PIECE + 3 * MB, 21)
    api().upload_file(path_or_fileobj=data, path_in_repo="long.bin", repo_id=repo)
    with cutting(PIECE + MB, times=2) as proxy:
        assert fetched(fetching(proxy, repo, "cut", HF_HUB_DISABLE_XET="1")) == data
    assert proxy.ranges() == [PIECE, 2 * PIECE] and not proxy.times, proxy.heads


def check_a_download_by_xet_goes_on_when_it_was_cut() -> None:
    repo, data = fresh(), noise(2 * PIECE + 3 * MB, 19)
    api().upload_file(path_or_fileobj=data, path_in_repo="long.bin", repo_id=repo)
    if "x-xet-hash" not in ask("HEAD", f"/{repo}/resolve/main/long.bin").headers:
        raise Skip("this version sends by LFS, and what came so is fetched plainly")
    with cutting(4 * MB, times=1) as proxy:
        assert fetched(fetching(proxy, repo, "cut-xet")) == data
    assert not proxy.times, "nothing was cut"


def check_a_download_whose_process_was_killed_is_whole_the_next_time() -> None:
    """It begins anew: since huggingface_hub's change 4228 what it has not finished bears a name that no other finds."""
    repo, data = fresh(), noise(2 * PIECE + 3 * MB, 20)
    api().upload_file(path_or_fileobj=data, path_in_repo="long.bin", repo_id=repo)
    blobs = WORK / "killed" / "hub" / f"models--{repo.replace('/', '--')}" / "blobs"
    with cutting(PIECE + MB, times=1, hold=True) as proxy:
        process = fetching(proxy, repo, "killed", HF_HUB_DISABLE_XET="1")
        until(lambda: any(one.stat().st_size >= PIECE for one in blobs.glob("*.incomplete")), "a piece on disk")
        process.kill()
        process.communicate()
        assert fetched(fetching(proxy, repo, "killed", HF_HUB_DISABLE_XET="1")) == data


def check_ranges() -> None:
    repo, large, small = fresh(), noise(2 * MB, 14), bytes(range(100))
    api().create_commit(
        repo, [CommitOperationAdd("l.bin", large), CommitOperationAdd("s.bin", small)], commit_message="x"
    )
    for name, data in (("l.bin", large), ("s.bin", small)):
        size = len(data)
        for text, start, stop in (
            ("0-0", 0, 1), ("0-9", 0, 10), ("10-", 10, size), ("-7", size - 7, size),
            (f"{size - 1}-", size - 1, size), (f"5-{size + 100}", 5, size), (f"-{size + 5}", 0, size),
        ):  # fmt: skip
            answer = ask("GET", f"/{repo}/resolve/main/{name}", headers={"Range": f"bytes={text}"})
            assert answer.status == 206, (name, text, answer.status, answer.headers)
            assert answer.body == data[start:stop], (name, text)
            assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}", answer.headers
        for text in (f"{size}-", f"{size + 5}-{size + 9}", "-0"):
            answer = ask("GET", f"/{repo}/resolve/main/{name}", headers={"Range": f"bytes={text}"})
            assert answer.status == 416, (name, text, answer.status)
            assert answer.headers.get("content-range") == f"bytes */{size}", answer.headers
        for text in ("lines=0-1", "bytes=9-2", "bytes=a-b", "bytes=", "bytes=--1"):
            answer = ask("GET", f"/{repo}/resolve/main/{name}", headers={"Range": text})
            assert answer.status == 200 and answer.body == data, (name, text, answer.status)


def check_the_head_of_a_file() -> None:
    repo, large = fresh(), noise(2 * MB, 15)
    done = api().create_commit(
        repo, [CommitOperationAdd("l.bin", large), CommitOperationAdd("s.txt", b"small")], commit_message="x"
    )
    for name, data, etag in (
        ("l.bin", large, hashlib.sha256(large).hexdigest()), ("s.txt", b"small", blob_sha1(b"small")),
    ):  # fmt: skip
        head = ask("HEAD", f"/{repo}/resolve/main/{name}", headers={"Accept-Encoding": "identity"})
        assert head.status == 200 and head.body == b"", head
        assert head.headers["x-repo-commit"] == done.oid
        assert (head.headers.get("x-linked-etag") or head.headers["etag"]) == f'"{etag}"', head.headers
        assert (head.headers.get("x-linked-size") or head.headers["content-length"]) == str(len(data)), head.headers
        assert head.headers["accept-ranges"] == "bytes"
        whole = ask("GET", f"/{repo}/resolve/{done.oid}/{name}")
        assert whole.body == data and whole.headers["content-length"] == str(len(data))
        same = ask("GET", f"/{repo}/resolve/main/{name}", headers={"If-None-Match": head.headers["etag"]})
        assert same.status in (200, 304) and (same.status == 200 or not same.body)


def check_a_revision_and_a_path_are_decoded_once() -> None:
    repo = fresh()
    name = "50%25 & more/naïve #1?.txt".replace("?", "!")
    api().upload_file(path_or_fileobj=b"odd", path_in_repo=name, repo_id=repo)
    api().create_branch(repo, branch="feature/odd")
    assert back(repo, name, revision="feature/odd") == b"odd"
    answer = ask("GET", f"/{repo}/resolve/feature%2Fodd/50%2525%20%26%20more%2Fna%C3%AFve%20%231!.txt")
    assert (answer.status, answer.body) == (200, b"odd"), answer
    assert ask("GET", f"/{repo}/resolve/main/..%2f..%2fetc%2fpasswd").status in (404, 422)


def check_snapshot() -> None:
    repo = fresh("dataset")
    names = ["a.json", "b.json", "c.bin", "d/e.json"]
    done = api().create_commit(
        repo, [CommitOperationAdd(name, name.encode()) for name in names], commit_message="x", repo_type="dataset"
    )
    api().upload_file(path_or_fileobj=b"later", path_in_repo="a.json", repo_id=repo, repo_type="dataset")
    options = {"repo_type": "dataset", "cache_dir": WORK / "snapshot"}
    there = Path(api().snapshot_download(repo, revision=done.oid, **options))
    assert there.name == done.oid and (there / "a.json").read_text() == "a.json"
    there = Path(api().snapshot_download(repo, **options, allow_patterns="*.json", ignore_patterns="d/*"))
    assert {path.name for path in there.iterdir()} == {"a.json", "b.json"}
    assert (there / "a.json").read_text() == "later"


@needs("verify_repo_checksums")
def check_the_client_verifies_what_it_has() -> None:
    repo = fresh()
    api().create_commit(
        repo, [CommitOperationAdd("l.bin", noise(2 * MB, 16)), CommitOperationAdd("s", b"s")], commit_message="x"
    )
    api().snapshot_download(repo, local_dir=WORK / "verified")
    found = api().verify_repo_checksums(repo, local_dir=WORK / "verified")
    assert not found.mismatches and not found.missing_paths and found.checked_count == 3, found


def check_safetensors_metadata() -> None:
    repo = fresh()
    tensors = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    header = json.dumps({"__metadata__": {"format": "pt"}, **tensors}).encode()
    data = struct.pack("<Q", len(header)) + header + bytes(24)
    api().upload_file(path_or_fileobj=data, path_in_repo="model.safetensors", repo_id=repo)
    found = api().get_safetensors_metadata(repo)
    assert found.parameter_count == {"F32": 6} and not found.sharded
    info = api().model_info(repo)
    if info.safetensors is not None:
        assert info.safetensors.total == 6, info.safetensors


def check_a_large_object_that_nobody_sent_cannot_be_named() -> None:
    repo, secret = fresh(number=1), fresh(number=2, private=True)
    data = noise(2 * MB, 17)
    api().upload_file(path_or_fileobj=data, path_in_repo="secret.bin", repo_id=secret)
    mine = api("ben").create_repo("ben/wants-what-is-ada-s").repo_id
    sha256 = hashlib.sha256(data).hexdigest()
    lines = [
        {"key": "header", "value": {"summary": "claim", "description": ""}},
        {"key": "lfsFile", "value": {"path": "mine.bin", "algo": "sha256", "oid": sha256, "size": len(data)}},
    ]
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    headers = {"Content-Type": "application/x-ndjson"}
    answer = ask("POST", f"/api/models/{mine}/commit/main", body, who="ben", headers=headers)
    assert 400 <= answer.status < 500, answer
    nobody_has_it = body.replace(sha256.encode(), b"0" * 64)
    other = ask("POST", f"/api/models/{mine}/commit/main", nobody_has_it, who="ben", headers=headers)
    assert other.status == answer.status, "one is told whether somebody else has these bytes"
    batch = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": sha256, "size": len(data)}]}
    answer = ask("POST", f"/{mine}.git/info/lfs/objects/batch", batch, who="ben")
    assert answer.status == 200 and "upload" in answer.json()["objects"][0]["actions"], answer.json()
    batch["operation"] = "download"
    answer = ask("POST", f"/{mine}.git/info/lfs/objects/batch", batch, who="ben")
    assert answer.status != 200 or "actions" not in answer.json()["objects"][0], answer.json()
    assert repo


def check_lfs_by_hand() -> None:
    repo, data = fresh(), noise(100_000, 18)
    sha256 = hashlib.sha256(data).hexdigest()
    batch = {"operation": "upload", "transfers": ["basic", "multipart", "xet"], "hash_algo": "sha256",
             "objects": [{"oid": sha256, "size": len(data)}]}  # fmt: skip
    headers = {"Accept": "application/vnd.git-lfs+json", "Content-Type": "application/vnd.git-lfs+json"}
    answer = ask("POST", f"/{repo}.git/info/lfs/objects/batch", batch, headers=headers)
    assert answer.status == 200 and answer.headers["content-type"].startswith("application/vnd.git-lfs+json"), answer
    href = answer.json()["objects"][0]["actions"]["upload"]["href"]
    assert href.startswith(ENDPOINT)
    path = href.removeprefix(ENDPOINT)
    wrong = ask("PUT", path, data[:-1] + b"?", who="nobody")
    assert 400 <= wrong.status < 500, wrong
    assert ask("PUT", path + "x", data, who="nobody").status in (401, 403, 404), "a ticket was changed, and taken"
    verify = answer.json()["objects"][0]["actions"]["verify"]["href"].removeprefix(ENDPOINT)
    assert ask("POST", verify, {"oid": sha256, "size": len(data)}).status == 404, "nothing was sent yet"
    right = ask("PUT", path, data, who="nobody")
    assert right.status == 200, right
    assert ask("POST", verify, {"oid": sha256, "size": len(data)}).status == 200
    assert ask("POST", verify, {"oid": sha256, "size": 1}).status == 404
    answer = ask("POST", f"/{repo}.git/info/lfs/objects/batch", batch, headers=headers)
    assert not answer.json()["objects"][0].get("actions", {}).get("upload"), "it is there already"
    secret = fresh(number=2, private=True)
    for who, place, status in (("reader", repo, 403), ("nobody", repo, 401), ("dan", secret, 404)):
        answer = ask("POST", f"/{place}.git/info/lfs/objects/batch", batch, who=who, headers=headers)
        assert answer.status == status, (who, answer)


def check_preupload() -> None:
    repo = fresh()
    files = [
        {"path": "small.txt", "size": 3, "sample": "YWJj"},
        {"path": "large.bin", "size": 50 * MB, "sample": "AAAA"},
        {"path": "weights.safetensors", "size": 10, "sample": "AAAA"},
    ]
    answer = ask("POST", f"/api/models/{repo}/preupload/main", {"files": files})
    modes = {file["path"]: file["uploadMode"] for file in answer.json()["files"]}
    assert modes["small.txt"] == "regular" and modes["large.bin"] == "lfs", modes
    assert all(file["shouldIgnore"] is False for file in answer.json()["files"])
    assert ask("POST", f"/api/models/{repo}/preupload/main", {"files": files}, who="dan").status == 403


def check_a_commit_that_says_nothing_sensible_is_refused() -> None:
    repo = fresh()
    header = b'{"key":"header","value":{"summary":"x","description":""}}\n'
    for body in (
        b"", b"not json\n", b"[]\n", b'{"key":"file"}\n', header + b'{"key":"file","value":{"path":"a"}}\n',
        header + b'{"key":"file","value":{"path":"a","content":"%%%","encoding":"base64"}}\n',
        header + b'{"key":"nonsense","value":{}}\n', header + b'{"key":"file","value":{"path":"../a","content":""}}\n',
        header + b'{"key":"lfsFile","value":{"path":"a","algo":"md5","oid":"00"}}\n', b"\xff\xfe\n",
        header + b'{"key":"file","value":{"path":"a","content":"YQ==","encoding":"base64"}}',  # this one is right
    ):  # fmt: skip
        answer = ask("POST", f"/api/models/{repo}/commit/main", body, headers={"Content-Type": "application/x-ndjson"})
        right = body.endswith(b'"base64"}}') and b"%%%" not in body
        assert answer.status == 200 if right else 400 <= answer.status < 500, (body, answer)
    assert set(api().list_repo_files(repo)) == {".gitattributes", "a"}


if __name__ == "__main__":
    main()
