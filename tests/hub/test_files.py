"""files: trees, paths, how to send a file, and its bytes with the headers that clients live by."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from world import World, world

from modelcommons.errors import RepoNotFound
from modelcommons.formats import safetensors
from modelcommons.hub import patterns
from modelcommons.hub.actions import accounts, files, storage

FILES = {"README.md": b"# hi\n", "a.json": b"{}", "d/e/f.txt": b"f", "d/g.txt": b"g", "empty.txt": b""}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("hub") / "hub") as made:
        yield made


@pytest.fixture(scope="module")
def repo(hub: World) -> str:
    made = hub.repo("guild/files")
    hub.commit("ada", made, dict(FILES))
    return made


@pytest.fixture(scope="module")
def large(hub: World, repo: str) -> str:
    """SHA-256 of a large file of 10,000 bytes at weights/model.bin."""
    return hub.large("ada", repo, "weights/model.bin", bytes(range(250)) * 40)


def git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


# --- trees ----------------------------------------------------------------------------------------------------------


def test_a_folder(hub: World, repo: str, large: str) -> None:
    top = {one["path"]: one for one in hub.get("", f"{repo}/tree/main")}
    assert {path for path, one in top.items() if one["type"] == "directory"} == {"d", "weights"}
    assert top["a.json"] == {"type": "file", "path": "a.json", "oid": git_id(b"{}"), "size": 2}
    below = [one["path"] for one in hub.get("", f"{repo}/tree/main/d?recursive=true")]
    assert below == ["d/e", "d/e/f.txt", "d/g.txt"]
    [file] = hub.get("", f"{repo}/tree/main/weights")
    assert file["size"] == 10_000 and file["lfs"]["oid"] == large and file["lfs"]["pointerSize"] == 130
    assert len(file["oid"]) == 40 and "xetHash" not in file


def test_what_is_not_there(hub: World, repo: str) -> None:
    for path in ("/tree/main/none", "/tree/main/a.json", "/tree/main/d%2Fx"):
        answer = hub.ask("", "GET", repo + path)
        assert (answer.status, answer.code) == (404, "EntryNotFound") and len(answer.headers["x-repo-commit"]) == 40
    assert hub.ask("", "GET", f"{repo}/tree/none").code == "RevisionNotFound"
    assert hub.ask("", "GET", f"{repo}/tree/{'0' * 40}").code == "RevisionNotFound"


def test_pages_of_a_tree_are_of_one_commit(hub: World) -> None:
    repo = hub.repo("ada/pages")
    hub.commit("ada", repo, {f"f{i:02}.txt": b"x" for i in range(11)})
    seen: list[str] = []
    path, page = f"{repo}/tree/main?recursive=true&limit=5", 0
    while path:
        answer = hub.ask("", "GET", path)
        seen += [one["path"] for one in answer.json()]
        hub.commit("ada", repo, {f"f00-{page}.txt": b"new", f"f{page:02}.txt": None})
        link = re.fullmatch(r'<http://localhost(?::\d+)?(/[^>]+)>; rel="next"', answer.headers.get("link", ""))
        path, page = link[1] if link else "", page + 1
    assert seen == [".gitattributes", *(f"f{i:02}.txt" for i in range(11))]


def test_the_last_commit_of_each(hub: World) -> None:
    repo = hub.repo("ada/dated")
    hub.commit("ada", repo, {"a": b"a", "b": b"b"})
    done = hub.commit("ada", repo, {"b": b"c", "x.pkl": b"x"})["commitOid"]
    rows = {one["path"]: one for one in hub.get("", f"{repo}/tree/main?expand=true")}
    assert rows["b"]["lastCommit"]["id"] == done != rows["a"]["lastCommit"]["id"]
    assert rows["b"]["lastCommit"]["title"] == "a commit"
    assert rows["a"]["securityFileStatus"]["status"] == "unscanned"
    assert rows["x.pkl"]["securityFileStatus"]["status"] == "suspicious"


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        ("paths=a.json&paths=d&paths=no&expand=False", "application/x-www-form-urlencoded"),
        (json.dumps({"paths": ["a.json", "d", "no"], "expand": False}), "application/json"),
    ],
)  # fmt: skip
def test_paths_info_takes_forms_and_json(hub: World, repo: str, body: str, media_type: str) -> None:
    answer = hub.ask("", "POST", f"{repo}/paths-info/main", body.encode(), headers=[("content-type", media_type)])
    assert [(one["path"], one["type"]) for one in answer.json()] == [("a.json", "file"), ("d", "directory")]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"paths": 7}', b'{"paths": [], "x": 1}', b'{"paths": ["../a"]}'])
def test_paths_info_of_nonsense(hub: World, repo: str, body: bytes) -> None:
    answer = hub.ask("", "POST", f"{repo}/paths-info/main", body, headers=[("content-type", "application/json")])
    assert answer.status in (400, 422)
    form = b"&".join(b"paths=a" for _ in range(3000))
    assert hub.ask("", "POST", f"{repo}/paths-info/main", form).status == 400


# --- bytes ----------------------------------------------------------------------------------------------------------


def test_a_small_file_and_its_headers(hub: World, repo: str) -> None:
    for method in ("HEAD", "GET"):
        answer = hub.ask("", method, "/guild/files/resolve/main/a.json")
        told = answer.headers
        assert (answer.status, answer.body) == (200, b"{}" if method == "GET" else b"") or method == "HEAD"
        assert told["etag"] == f'"{git_id(b"{}")}"' and told["content-length"] == "2"
        assert len(told["x-repo-commit"]) == 40 and "x-linked-etag" not in told
        assert told["content-disposition"].startswith("attachment") and "sandbox" in told["content-security-policy"]
        assert told["x-content-type-options"] == "nosniff" and told["content-type"].startswith("text/plain")
    answer = hub.ask("", "GET", "/guild/files/resolve/main/empty.txt")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


def test_a_large_file_and_its_headers(hub: World, repo: str, large: str) -> None:
    answer = hub.ask("", "GET", "/guild/files/resolve/main/weights/model.bin")
    assert hashlib.sha256(answer.body).hexdigest() == large
    assert answer.headers["x-linked-etag"] == answer.headers["etag"] == f'"{large}"'
    assert answer.headers["x-linked-size"] == answer.headers["content-length"] == "10000"
    assert "x-xet-hash" not in answer.headers, "it did not come by Xet"


@pytest.mark.parametrize("path", ["weights/model.bin", "README.md"])
@pytest.mark.parametrize(
    ("header", "status", "start", "stop"),
    [
        ("bytes=0-1", 206, 0, 2), ("bytes=1-", 206, 1, None), ("bytes=-2", 206, -2, None),
        ("bytes=4-99999", 206, 4, None),
        ("bytes=99999-", 416, 0, 0), ("bytes=3-2", 200, 0, None), ("bits=0-1", 200, 0, None),
        ("bytes=0-1,3-4", 200, 0, None), ("bytes=x-", 200, 0, None),
    ],
)  # fmt: skip
def test_ranges(
    hub: World, repo: str, large: str, path: str, header: str, status: int, start: int, stop: int | None
) -> None:
    whole = hub.ask("", "GET", f"/guild/files/resolve/main/{path}").body
    answer = hub.ask("", "GET", f"/guild/files/resolve/main/{path}", headers=[("range", header)])
    assert answer.status == status
    if status != 416:
        assert answer.body == whole[start:stop]
    if status == 206:
        first = start % len(whole)
        assert answer.headers["content-range"] == f"bytes {first}-{first + len(answer.body) - 1}/{len(whole)}"
    if status == 416:
        assert answer.headers["content-range"] == f"bytes */{len(whole)}"


@pytest.mark.parametrize("path", ["weights/model.bin", "README.md"])
def test_not_modified_is_said_only_to_who_may_read(hub: World, repo: str, large: str, path: str) -> None:
    etag = hub.ask("", "HEAD", f"/guild/files/resolve/main/{path}").headers["etag"]
    known = [("if-none-match", f'"other", W/{etag}')]
    for method in ("GET", "HEAD"):
        answer = hub.ask("", method, f"/guild/files/resolve/main/{path}", headers=known)
        assert (answer.status, answer.body) == (304, b"") and answer.headers["etag"] == etag
    assert hub.ask("", "GET", f"/guild/files/resolve/main/{path}", headers=[("if-none-match", '"no"')]).status == 200
    stale = [("range", "bytes=0-1"), ("if-range", '"other"')]
    assert hub.ask("", "GET", f"/guild/files/resolve/main/{path}", headers=stale).status == 200
    hub.ask("ada", "PUT", f"{repo}/settings", {"private": True})
    try:
        answer = hub.ask("dan", "GET", f"/guild/files/resolve/main/{path}", headers=known)
        assert (answer.status, answer.code) == (404, "RepoNotFound")
    finally:
        hub.ask("ada", "PUT", f"{repo}/settings", {"private": False})


def test_absence_is_told_with_the_commit(hub: World, repo: str) -> None:
    for path in ("none.json", "d", "d/e/f.txt/g"):
        answer = hub.ask("", "HEAD", f"/guild/files/resolve/main/{path}")
        assert (answer.status, answer.code) == (404, "EntryNotFound") and len(answer.headers["x-repo-commit"]) == 40
    answer = hub.ask("", "HEAD", "/guild/files/resolve/none/a.json")
    assert answer.code == "RevisionNotFound" and "x-repo-commit" not in answer.headers


@pytest.mark.parametrize("path", ["../x", "a//b", "a%2F..%2F..%2Fx", ".git/config", "a%00b", "%FF", "a%5Cb", "C:x"])
def test_a_path_that_cannot_be_is_refused(hub: World, repo: str, path: str) -> None:
    assert hub.ask("", "GET", f"/guild/files/resolve/main/{path}").status == 422


def test_names_that_try_to_break_out_of_a_header(hub: World) -> None:
    repo = hub.repo("ada/named")
    name = "a'; b=%0d%0a-é日.html"
    hub.commit("ada", repo, {name: b"<script>alert(1)</script>"})
    answer = hub.ask("", "GET", f"/ada/named/resolve/main/{quote(name, safe='')}")
    told = answer.headers["content-disposition"]
    assert answer.status == 200 and told.isascii() and told.count('"') == 2 and told.startswith("attachment")
    assert answer.headers["content-type"] == "application/octet-stream"


def test_a_pointer_to_what_somebody_else_sent_leads_nowhere(hub: World) -> None:
    secret = b"only ada's" * 1000
    sha256 = hub.large("ada", hub.repo("ada/holds", private=True), "secret.bin", secret)
    repo = hub.repo("dan/wants")
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(secret)}\n"
    line = {"key": "file", "value": {"path": "mine.bin", "encoding": "base64"}}
    line["value"]["content"] = base64.b64encode(pointer.encode()).decode()  # type: ignore[index]
    body = b'{"key":"header","value":{"summary":"x","description":""}}\n' + json.dumps(line).encode()
    hub.ask("dan", "POST", f"{repo}/commit/main", body)  # whether it is taken or not
    for path in ("/dan/wants/resolve/main/mine.bin", "/dan/wants/raw/main/mine.bin"):
        assert secret not in hub.ask("dan", "GET", path).body
    advice = hub.post("dan", f"{repo}/preupload/main", {"files": [{"path": "mine.bin", "size": 10_000, "sample": ""}]})
    assert advice["files"][0].get("oid") != sha256


# --- before an upload -----------------------------------------------------------------------------------------------


def advice(hub: World, repo: str, *planned: tuple[str, int, bytes], who: str = "ada", **more: Any) -> dict[str, Any]:
    body = {
        "files": [
            {"path": path, "size": size, "sample": base64.b64encode(sample).decode()} for path, size, sample in planned
        ],
        **more,
    }
    return {one["path"]: one for one in hub.post(who, f"{repo}/preupload/main", body)["files"]}


def test_how_to_send_a_file(hub: World) -> None:
    repo = hub.repo("ada/plan")
    rules = b"*.bin filter=lfs diff=lfs merge=lfs -text\n*.tab filter=lfs\nsmall.bin -filter\ndata/** filter=lfs\n"
    hub.commit("ada", repo, {".gitattributes": rules, "a.txt": b"a"})
    limit = hub.stores.settings.regular_bytes
    found = advice(
        hub, repo,
        ("x.bin", 3, b"abc"), ("small.bin", 3, b"abc"), ("deep/y.tab", 3, b"abc"), ("data/a/b.txt", 3, b"abc"),
        ("text.txt", limit, b"abc"), ("long.txt", limit + 1, b"abc"), ("zero.dat", 3, b"a\0b"),
        ("latin.txt", 3, b"\xe9ab"), ("cut.txt", 600, "日".encode() * 170 + b"\xe6\x97"), ("empty.bin", 0, b""),
        (".gitattributes", limit + 5, b"*"), ("a.txt", 1, b"b"),
    )  # fmt: skip
    modes = {path: one["uploadMode"] for path, one in found.items()}
    assert modes == {
        "x.bin": "lfs", "small.bin": "regular", "deep/y.tab": "lfs", "data/a/b.txt": "lfs", "text.txt": "regular",
        "long.txt": "lfs", "zero.dat": "lfs", "latin.txt": "lfs", "cut.txt": "regular", "empty.bin": "regular",
        ".gitattributes": "regular", "a.txt": "regular",
    }  # fmt: skip
    assert found["a.txt"]["oid"] == git_id(b"a") and "oid" not in found["text.txt"]
    assert not any(one["shouldIgnore"] for one in found.values())


def test_what_is_there_is_named_so_that_it_is_not_sent_again(hub: World, repo: str, large: str) -> None:
    assert advice(hub, repo, ("weights/model.bin", 5, b"x"))["weights/model.bin"]["oid"] == large


def test_what_gitignore_says(hub: World, repo: str) -> None:
    found = advice(
        hub, repo, ("a.log", 1, b"a"), ("keep.log", 1, b"a"), ("out/b/c", 1, b"a"), ("a/out", 1, b"a"),
        gitIgnore="*.log\n!keep.log\n# out\n/out/\n",
    )  # fmt: skip
    assert {path for path, one in found.items() if one["shouldIgnore"]} == {"a.log", "out/b/c"}


def test_who_may_ask_how_to_send(hub: World, repo: str) -> None:
    body = {"files": [{"path": "a", "size": 1, "sample": ""}]}
    for who, plain, proposing in (("ben", 200, 200), ("cleo", 403, 200), ("dan", 403, 200), ("", 401, 401)):
        assert hub.ask(who, "POST", f"{repo}/preupload/main", body).status == plain, who
        assert hub.ask(who, "POST", f"{repo}/preupload/main?create_pr=1", body).status == proposing, who
    for wrong in ({}, {"files": [{"path": "../a", "size": 1}]}, {"files": [{"path": "a", "size": -1}]},
                  {"files": body["files"] * 300}, {"files": [{"path": "a", "size": 1, "sample": "?"}]}):  # fmt: skip
        assert hub.ask("ada", "POST", f"{repo}/preupload/main", wrong).status in (400, 422), wrong
    assert hub.ask("ada", "POST", f"{repo}/preupload/none", body).code == "RevisionNotFound"


LINES = (
    "*.bin", "a.txt", "/top.txt", "dir/x", "**/deep", "a/**", "a/**/z", "**/m/*.py", "q?.txt", "[ab]*.dat", "[!ab].c",
    "[a-c]9", "*", "x*y*z", "foo/*", "\\*star", "data/**/*", "*.tar.*", "*tfevents*", "b\\?d", "**", "a*/b",
)  # fmt: skip
PATHS = (
    "x.bin", "d/x.bin", "a.txt", "d/a.txt", "top.txt", "d/top.txt", "dir/x", "e/dir/x", "deep", "u/v/deep", "a/1",
    "a/2/3", "a/z", "a/b/c/z", "m/k.py", "o/m/k.py", "o/m/n/k.py", "q1.txt", "q12.txt", "ab.dat", "cb.dat", "c.c",
    "a.c", "b9", "d9", "x1y2z", "xyz", "xzy", "foo/1", "foo/1/2", "*star", "star", "data/a", "data/a/b", "w.tar.gz",
    "my.tfevents.1", "b?d", "bxd", "ax/b", "ax/y/b",
)  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_patterns_mean_what_git_means(tmp_path: Path, line: str) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitattributes").write_text(f"{line} filter=lfs\n")
    (tmp_path / ".gitignore").write_text(f"{line}\n")

    def git(*command: str) -> list[str]:
        asked = "\n".join(PATHS)
        done = subprocess.run(["git", *command, "--stdin"], cwd=tmp_path, input=asked, text=True, capture_output=True)
        assert done.returncode in (0, 1), done.stderr  # 1: nothing is ignored
        return done.stdout.splitlines()

    told = zip(PATHS, git("check-attr", "filter"), strict=True)
    rules = patterns.large(f"{line} filter=lfs\n")
    assert {path for path in PATHS if rules.has(path)} == {path for path, row in told if row.endswith(": lfs")}
    ignored = patterns.ignored(line)
    assert {path for path in PATHS if ignored.has(path)} == set(git("check-ignore", "--no-index"))


def test_no_pattern_blows_up() -> None:
    evil = "*a" * 100 + "b filter=lfs\n" + "/".join(["**"] * 30 + ["x"]) + " filter=lfs\n"
    assert not patterns.large(evil * 100).has("/".join(["a" * 15] * 30))
    assert len(patterns.large("*.x filter=lfs\n" * 100_000).rules) <= patterns.MAX_LINES


# --- weights --------------------------------------------------------------------------------------------------------


def weights(**tensors: list[int]) -> bytes:
    header, at = {}, 0
    for name, shape in tensors.items():
        size = 4
        for length in shape:
            size *= length
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(at)


def test_parameters_are_counted_from_the_headers(hub: World) -> None:
    repo = hub.repo("ada/counted")
    hub.large("ada", repo, "model.safetensors", weights(a=[2, 3], b=[10]))
    assert hub.get("", repo)["safetensors"] == {"parameters": {"F32": 16}, "total": 16}
    assert [one["id"] for one in hub.get("", "/api/models?num_parameters=min:10,max:0.1K")] == ["ada/counted"]
    assert "ada/counted" not in str(hub.get("", "/api/models?num_parameters=min:17"))
    hub.commit("ada", repo, {"a.txt": b"a"})
    assert hub.get("", repo)["safetensors"]["total"] == 16


def test_parameters_of_models_that_answer_together_are_added_up(hub: World) -> None:
    repo = hub.repo("ada/together")
    hub.large("ada", repo, "seed-0/model.safetensors", weights(a=[2, 3]))
    hub.large("ada", repo, "seed-1/model.safetensors", weights(a=[2, 3]))
    hub.large("ada", repo, "other/model.safetensors", weights(a=[100]))
    assert hub.get("", repo)["safetensors"]["total"] == 12


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x10", struct.pack("<Q", 1 << 40) + b"{}", struct.pack("<Q", 2) + b"{}" + b"more", weights(a=[2])[:-1],
        struct.pack("<Q", 20_000_000) + b"{" * 1000, b"\x80\x04" + b"pickle" * 20, struct.pack("<Q", 4) + b"[[[[",
    ],
)  # fmt: skip
def test_a_lying_header_counts_nothing_and_breaks_nothing(hub: World, data: bytes) -> None:
    repo = hub.repo(f"ada/lying-{hashlib.sha256(data).hexdigest()[:10]}")
    hub.commit("ada", repo, {"model.safetensors": data})
    assert "safetensors" not in hub.get("", repo)
    assert "safetensors" in hub.get("", repo)["tags"]


def test_a_fault_in_counting_changes_no_answer(hub: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise AttributeError("a mistake of ours")

    monkeypatch.setattr(safetensors, "parse", broken)
    repo = hub.repo("ada/uncounted")
    done = hub.commit("ada", repo, {"model.safetensors": weights(a=[2, 3])})
    assert hub.get("", repo)["sha"] == done["commitOid"]
    monkeypatch.undo()
    assert hub.get("", repo)["safetensors"]["total"] == 6, "whoever asks next has it counted"


def test_all_headers_in_one_answer(hub: World) -> None:
    repo = hub.repo("ada/sharded")
    shards = {f"model-0000{i}-of-00002.safetensors": weights(**{f"t{i}": [i, 5]}) for i in (1, 2)}
    index = {"metadata": {"total_size": 60}, "weight_map": {f"t{i}": name for i, name in enumerate(shards, 1)}}
    hub.commit("ada", repo, {**shards, "model.safetensors.index.json": json.dumps(index).encode()})
    found = hub.get("", f"{repo}/safetensors-metadata/model.safetensors.index.json")
    assert found["index"] == {"metadata": {"total_size": 60}} and set(found["headers"]) == set(shards)
    assert found["headers"]["model-00001-of-00002.safetensors"]["t1"]["shape"] == [1, 5]
    assert hub.get("", repo)["safetensors"]["total"] == 15
    bad = {"weight_map": {"a": "../../x", "b": 7}}
    hub.commit("ada", repo, {"bad.json": json.dumps(bad).encode(), "no.json": b"[]"})
    for path, status in (("bad.json", 422), ("no.json", 400), ("none.json", 404)):
        assert hub.ask("", "GET", f"{repo}/safetensors-metadata/{path}").status == status


# --- storage and counting -------------------------------------------------------------------------------------------


def test_large_files_can_be_given_back_for_good(hub: World) -> None:
    repo = hub.repo("ada/thrifty")
    first = hub.large("ada", repo, "runs/old.bin", b"old" * 1000)
    hub.commit("ada", repo, {"a.txt": b"a", "runs/old.bin": None})
    second = hub.large("ada", repo, "new.bin", b"new" * 1000)
    before, titles = hub.get("", repo), [one["title"] for one in hub.get("", f"{repo}/commits/main")]
    listed = {one["fileOid"]: one for one in hub.get("ada", f"{repo}/lfs-files")}
    assert set(listed) == {first, second} and listed[second]["filename"] == "new.bin" and listed[first]["size"] == 3000
    assert hub.ask("dan", "GET", f"{repo}/lfs-files").status == 403
    body = {"deletions": {"sha": [first], "rewriteHistory": True}}
    assert hub.ask("dan", "POST", f"{repo}/lfs-files/batch", body).status == 403
    hub.post("ada", f"{repo}/lfs-files/batch", body)
    assert [one["fileOid"] for one in hub.get("ada", f"{repo}/lfs-files")] == [second]
    after = hub.get("", repo)
    assert after["siblings"] == before["siblings"] and after["sha"] != before["sha"] and after["usedStorage"] == 3000
    log = hub.get("", f"{repo}/commits/main")
    assert [one["title"] for one in log] == titles and len(log) == 4
    for commit in log:
        paths = [one["path"] for one in hub.get("", f"{repo}/tree/{commit['id']}?recursive=true")]
        assert not any(path.startswith("runs") for path in paths)
    assert hub.ask("ada", "GET", "/ada/thrifty/resolve/main/new.bin").status == 200
    hub.post("ada", f"{repo}/lfs-files/batch", {"deletions": {"sha": [second], "rewriteHistory": False}})
    answer = hub.ask("ada", "GET", "/ada/thrifty/resolve/main/new.bin")
    assert answer.code == "EntryNotFound" and hub.get("", repo)["sha"] == after["sha"]


def copied(hub: World, who: str, source: str, target: str, sha256: str, *, kind: str = "model", xet: str = "") -> Any:
    body = {"target": {"type": kind, "name": target}, "files": [{"sha256": sha256, "xetHash": xet, "filename": "a"}]}
    return hub.ask(who, "POST", f"{source}/lfs-files/duplicate", body)


def test_a_large_file_comes_into_another_repository_without_being_sent(hub: World) -> None:
    source, target = hub.repo("ada/source"), hub.repo("dan/target", kind="dataset")
    sha256 = hub.large("ada", source, "large.bin", b"large" * 1000)
    assert hub.point("dan", target, "mine.bin", sha256, 5000).status == 400, "known by its hash is not had"
    assert copied(hub, "dan", source, "dan/target", sha256, kind="dataset").json() == {"failed": []}
    assert hub.point("dan", target, "mine.bin", sha256, 5000).status == 200
    answer = hub.ask("", "GET", "/datasets/dan/target/resolve/main/mine.bin")
    assert answer.body == b"large" * 1000
    # it is the target's own by now
    hub.ask("ada", "DELETE", "/api/repos/delete", {"name": "source"})
    assert hub.ask("", "GET", "/datasets/dan/target/resolve/main/mine.bin").status == 200


def test_a_copy_takes_reading_the_source_and_writing_the_target(hub: World) -> None:
    public, private = hub.repo("ada/public"), hub.repo("ada/private", private=True)
    gated = hub.repo("ada/gated")
    hub.ask("ada", "PUT", f"{gated}/settings", {"gated": "manual"})
    shas = {repo: hub.large("ada", repo, "large.bin", repo.encode() * 1000) for repo in (public, private, gated)}
    hub.repo("dan/own")
    hidden = hub.repo("dan/hidden", private=True)
    for source, code in ((private, "RepoNotFound"), ("/api/models/ada/missing", "RepoNotFound"), (gated, "GatedRepo")):
        assert copied(hub, "dan", source, "dan/own", shas[private]).code == code
    for who, target, status in (
        ("dan", "ada/public", 403), ("", "dan/own", 401), ("reader", "ada/gated", 403), ("ben", "dan/hidden", 404),
        ("ben", "dan/missing", 404), ("dan", "../own", 422), ("dan", "own", 422),
    ):  # fmt: skip
        assert copied(hub, who, public, target, shas[public]).status == status, (who, target)
    seen = [copied(hub, "ben", public, target, shas[public]) for target in ("dan/hidden", "dan/nowhere")]
    assert seen[0].body == seen[1].body and seen[0].code == seen[1].code == "RepoNotFound"
    # what only another repository has is answered as what is nowhere
    for sha256 in (shas[private], shas[gated], "ab" * 32):
        [failed] = copied(hub, "dan", public, "dan/own", sha256).json()["failed"]
        assert failed == {"sha256": sha256, "error": "ada/public has no such large file"}
    [failed] = copied(hub, "dan", public, "dan/own", shas[public], xet="cd" * 32).json()["failed"]
    assert failed["sha256"] == shas[public]
    for name in ("own", "hidden"):
        assert hub.get("dan", f"/api/models/dan/{name}/lfs-files") == []
    assert copied(hub, "dan", public, "dan/hidden", shas[public]).json() == {"failed": []}
    assert [one["fileOid"] for one in hub.get("dan", f"{hidden}/lfs-files")] == [shas[public]]


def test_a_right_that_was_lost_in_between_copies_nothing(hub: World) -> None:
    accounts.set_member(hub.stores, "guild", "dan", "read")
    source, target = hub.repo("guild/source", private=True), hub.repo("dan/lost")
    sha256 = hub.large("ada", source, "large.bin", b"large" * 1000)
    opened, written = hub.opened("dan", source, "content"), hub.opened("dan", target)
    accounts.set_member(hub.stores, "guild", "dan", None)
    with pytest.raises(RepoNotFound):
        storage.copy_large_files(hub.stores, opened, written, [storage.Wanted(sha256, None)])
    assert hub.get("dan", f"{target}/lfs-files") == []


def test_a_download_of_the_file_that_stands_for_a_model_counts(hub: World) -> None:
    repo = hub.repo("ada/popular")
    hub.commit("ada", repo, {"config.json": b"{}", "README.md": b"# hi", "vocab.txt": b"a" * 100})
    for path in ("config.json", "config.json", "README.md", "vocab.txt"):
        hub.ask("", "GET", f"/ada/popular/resolve/main/{path}")
    hub.ask("", "HEAD", "/ada/popular/resolve/main/config.json")
    hub.ask("", "GET", "/ada/popular/resolve/main/config.json", headers=[("range", "bytes=1-")])
    assert hub.get("", repo)["downloads"] == 0, "nothing is written while files are read"
    files.flush_downloads(hub.stores)
    files.flush_downloads(hub.stores)
    assert hub.get("", repo)["downloads"] == 2
