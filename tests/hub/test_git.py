"""git: real git clones, fetches and pushes over a real socket; hand-made requests for what git would never send."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest
from hubs import Running

from modelcommons.hub.history import objects, packs
from modelcommons.hub.history.objects import BLOB, COMMIT, TREE, Entry, Packed

GIT = os.environ | {
    "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true",
    **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
       for what, value in (("NAME", "Ada"), ("EMAIL", "ada@example.com"))},
}  # fmt: skip
ZERO = "0" * 40


class Refused(AssertionError):
    pass


def git(at: Path, *words: str, given: bytes = b"", version: int = 2) -> str:
    command = ["git", "-c", f"protocol.version={version}", *words]
    done = subprocess.run(command, cwd=at, env=GIT, input=given, capture_output=True, check=False, timeout=120)
    if done.returncode:
        raise Refused(done.stderr.decode(errors="replace"))
    return done.stdout.decode(errors="replace").strip()


def repo(server: Running, name: str, who: str = "ada", **options: Any) -> str:
    with server.client(who) as client:
        answer = client.post("/api/repos/create", json={"name": name, **options})
        assert answer.status_code == 200, answer.text
    return f"{options.get('organization') or who}/{name}"


def address(server: Running, repo: str, who: str = "ada") -> str:
    door = f"{who}:{server.tokens[who]}@" if who else ""
    return server.url.replace("://", f"://{door}") + f"/{repo}"


def clone(server: Running, repo: str, at: Path, who: str = "ada", *words: str, version: int = 2) -> Path:
    git(at.parent, "clone", "-q", *words, address(server, repo, who), at.name, version=version)
    return at


def add(at: Path, files: dict[str, bytes], message: str = "m") -> str:
    for path, data in files.items():
        (at / path).parent.mkdir(parents=True, exist_ok=True)
        (at / path).write_bytes(data)
    git(at, "add", "-f", ".")
    git(at, "-c", "filter.lfs.process=", "-c", "filter.lfs.clean=cat", "commit", "-q", "-m", message)
    return git(at, "rev-parse", "HEAD")


def send(server: Running, who: str, repo: str, files: dict[str, bytes], **query: str) -> str:
    """A commit by the API."""
    lines: list[dict[str, Any]] = [{"key": "header", "value": {"summary": "by the API"}}]
    for path, data in files.items():
        content = base64.b64encode(data).decode()
        lines.append({"key": "file", "value": {"path": path, "content": content, "encoding": "base64"}})
    with server.client(who) as client:
        body = "\n".join(json.dumps(line) for line in lines).encode()
        answer = client.post(f"/api/models/{repo}/commit/main", params=query, content=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["commitOid"])


def head(server: Running, repo: str, revision: str = "main") -> str:
    with server.client("root") as client:
        answer = client.get(f"/api/models/{repo}/commits/{revision}")
        assert answer.status_code == 200, answer.text
        return str(answer.json()[0]["id"])


# --- clone and fetch ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 1, 2])
def test_clone_fetch_and_push_in_every_protocol(server: Running, tmp_path: Path, version: int) -> None:
    name = repo(server, f"protocol-{version}")
    first = send(server, "ada", name, {"d/a.txt": b"1\n", "b.txt": b"2\n"})
    one = clone(server, name, tmp_path / "one", version=version)
    assert git(one, "rev-parse", "HEAD") == first and (one / "d/a.txt").read_bytes() == b"1\n"
    git(one, "fsck", "--strict")
    pushed = add(one, {"c.txt": b"3\n"})
    git(one, "tag", "-a", "v1", "-m", "annotated")
    git(one, "push", "-q", "origin", "main", "v1", version=version)
    assert head(server, name) == pushed
    third = send(server, "ada", name, {"d/a.txt": b"4\n"})
    git(one, "fetch", "-q", version=version)
    assert git(one, "rev-parse", "origin/main") == third
    local = add(one, {"local.txt": b"5"})
    git(one, "pull", "-q", "--no-rebase", "--no-edit", version=version)
    git(one, "push", "-q", version=version)
    assert local in git(one, "rev-list", "HEAD") and head(server, name) == git(one, "rev-parse", "HEAD")
    two = clone(server, f"{name}.git", tmp_path / "two", version=version)
    assert git(two, "rev-parse", "HEAD^{tree}") == git(one, "rev-parse", "HEAD^{tree}")
    assert git(two, "cat-file", "-t", "v1") == "tag"
    git(two, "fsck", "--strict")


@pytest.mark.parametrize("version", [0, 2])
def test_shallow_clones_deepen(server: Running, tmp_path: Path, version: int) -> None:
    name = repo(server, f"shallow-{version}")
    for number in range(6):
        send(server, "ada", name, {"n.txt": b"%d" % number})
    here = clone(server, name, tmp_path / "here", "", "--depth", "1", version=version)
    count = ("rev-list", "--count", "HEAD")
    assert git(here, *count) == "1" and (here / "n.txt").read_bytes() == b"5"
    git(here, "fetch", "-q", "--depth", "3", version=version)
    assert git(here, *count) == "3"
    send(server, "ada", name, {"n.txt": b"6"})
    git(here, "pull", "-q", "--ff-only", version=version)
    assert git(here, *count) == "4"
    git(here, "fetch", "-q", "--unshallow", version=version)
    assert git(here, *count) == "8"
    git(here, "fsck", "--strict")


def test_a_fetch_with_many_haves_comes_compressed(server: Running, tmp_path: Path) -> None:
    name = repo(server, "many-haves")
    send(server, "ada", name, {"a": b"1"})
    here = clone(server, name, tmp_path / "here")
    for number in range(120):  # commits that the hub does not have, so that git names many
        git(here, "commit", "-q", "--allow-empty", "-m", f"{number}")
    last = send(server, "ada", name, {"a": b"2"})
    for version in (0, 2):
        git(here, "update-ref", "-d", "refs/remotes/origin/main")
        git(here, "fetch", "-q", version=version)
        assert git(here, "rev-parse", "origin/main") == last


def test_branches_tags_and_proposals_are_fetched(server: Running, tmp_path: Path) -> None:
    name = repo(server, "refs")
    send(server, "ada", name, {"a": b"1"})
    proposed = send(server, "eve", name, {"a": b"2"}, create_pr="1")
    with server.client("ada") as client:
        client.post(f"/api/models/{name}/branch/a%2Fb", json={}).raise_for_status()
        client.post(f"/api/models/{name}/tag/main", json={"tag": "v1", "message": "words"}).raise_for_status()
    here = clone(server, name, tmp_path / "here", "")
    git(here, "fetch", "-q", "origin", "refs/pr/*:refs/pr/*")
    assert git(here, "rev-parse", "refs/pr/1") == proposed
    assert "origin/a/b" in git(here, "branch", "-r")
    assert git(here, "for-each-ref", "--format=%(contents:subject)", "refs/tags/v1") == "words"
    assert git(here, "rev-parse", "v1^{}") == git(here, "rev-parse", "HEAD")


def test_data_sets_and_spaces_have_their_own_addresses(server: Running, tmp_path: Path) -> None:
    repo(server, "kinds", type="dataset")
    repo(server, "kinds", type="space", sdk="static")
    for kind in ("datasets", "spaces"):
        here = clone(server, f"{kind}/ada/kinds", tmp_path / kind)
        add(here, {"x.txt": kind.encode()})
        git(here, "push", "-q")
        assert (clone(server, f"{kind}/ada/kinds.git", tmp_path / f"{kind}-2") / "x.txt").read_text() == kind
    with pytest.raises(Refused, match="not found"):
        clone(server, "ada/kinds", tmp_path / "model")


def test_only_what_a_ref_leads_to_can_be_fetched(server: Running, tmp_path: Path) -> None:
    name = repo(server, "unreachable")
    base = send(server, "ada", name, {"a": b"1"})
    with server.client("ada") as client:
        client.post(f"/api/models/{name}/branch/gone", json={}).raise_for_status()
        body = b'{"key":"header","value":{"summary":"s"}}\n{"key":"deletedFile","value":{"path":"a"}}'
        gone = client.post(f"/api/models/{name}/commit/gone", content=body).json()["commitOid"]
        client.delete(f"/api/models/{name}/branch/gone").raise_for_status()
    here = clone(server, name, tmp_path / "here")
    git(here, "fetch", "-q", "origin", base)
    for version in (0, 2):
        for oid in (gone, "1" * 40, git(here, "rev-parse", "HEAD^{tree}")):
            lines = packet(f"want {oid} agent=x\n") + b"0000" + packet("done\n")
            if version == 2:
                lines = packet("command=fetch") + b"0001" + packet(f"want {oid}\n") + packet("done\n") + b"0000"
            answer = ask(server, "ada", name, "git-upload-pack", lines, version=version)
            assert b"not our ref" in answer.content and b"PACK" not in answer.content


# --- who may --------------------------------------------------------------------------------------------------------


def test_who_may_clone_and_push(server: Running, tmp_path: Path) -> None:
    secret, public = repo(server, "secret", private=True), repo(server, "public")
    for who in ("", "eve"):
        with pytest.raises(Refused):
            clone(server, secret, tmp_path / f"no-{who}", who)
        here = clone(server, public, tmp_path / f"yes-{who}", who)
        add(here, {"x": b"x"})
        with pytest.raises(Refused):
            git(here, "push", "-q")
    assert len(git(clone(server, secret, tmp_path / "mine"), "rev-parse", "HEAD")) == 40
    lab = repo(server, "team", organization="lab", private=True)
    here = clone(server, lab, tmp_path / "bob", "bob")
    add(here, {"x": b"x"})
    with pytest.raises(Refused, match="role write"):
        git(here, "push", "-q")


def test_git_is_asked_to_sign_in(server: Running) -> None:
    repo(server, "sign-in", private=True)
    public = repo(server, "sign-in-public")
    with server.client() as nobody, server.client("eve") as eve:
        answers = [nobody.get(f"/ada/{name}.git/info/refs?service=git-upload-pack") for name in ("sign-in", "absent")]
        for answer in answers:
            assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Basic ")
        assert answers[0].content == answers[1].content
        push = nobody.get(f"/{public}.git/info/refs?service=git-receive-pack")
        assert push.status_code == 401 and push.headers["www-authenticate"].startswith("Basic ")
        assert nobody.get(f"/{public}/info/refs?service=git-upload-pack").status_code == 200
        assert nobody.get(f"/{public}/info/refs").status_code in (401, 403)
        answers = [eve.get(f"/ada/{name}.git/info/refs?service=git-upload-pack") for name in ("sign-in", "absent")]
        assert [answer.status_code for answer in answers] == [404, 404]


def test_a_moved_repository_is_cloned_from_its_old_address(server: Running, tmp_path: Path) -> None:
    old = repo(server, "old-name")
    with server.client("ada") as client:
        body = {"fromRepo": old, "toRepo": "ada/new-name", "type": "model"}
        client.post("/api/repos/move", json=body).raise_for_status()
    assert clone(server, old, tmp_path / "one").is_dir() and clone(server, f"{old}.git", tmp_path / "two").is_dir()


def test_a_proposal_takes_pushes_of_its_author_and_of_writers(server: Running, tmp_path: Path) -> None:
    name = repo(server, "proposals")
    send(server, "ada", name, {"a": b"1"})
    send(server, "eve", name, {"a": b"2"}, create_pr="1")
    for number, who in enumerate(("eve", "ada")):
        here = clone(server, name, tmp_path / who, who)
        git(here, "fetch", "-q", "origin", "refs/pr/1")
        git(here, "checkout", "-q", "FETCH_HEAD")
        oid = add(here, {f"{number}.txt": b"x"}, message=f"by {who}")
        git(here, "push", "-q", "origin", "HEAD:refs/pr/1")
        assert head(server, name, "refs%2Fpr%2F1") == oid
    with server.client("eve") as client:
        told = client.get(f"/api/models/{name}/discussions/1").json()
        assert [one["data"]["subject"] for one in told["events"] if one["type"] == "commit"][-2:] == [
            "by eve",
            "by ada",
        ]
    here = clone(server, name, tmp_path / "bob", "bob")
    add(here, {"x": b"x"})
    for ref in ("refs/pr/1", "refs/pr/2", "refs/heads/x"):
        with pytest.raises(Refused):
            git(here, "push", "-q", "-f", "origin", f"HEAD:{ref}")
    with pytest.raises(Refused):
        git(tmp_path / "eve", "push", "-q", "origin", ":refs/pr/1")


# --- refs -----------------------------------------------------------------------------------------------------------


def test_main_goes_forward_only(server: Running, tmp_path: Path) -> None:
    name = repo(server, "forward", organization="lab")
    send(server, "ada", name, {"a": b"1"})
    here = clone(server, name, tmp_path / "here")
    send(server, "ada", name, {"a": b"2"})
    late = add(here, {"b": b"3"})
    with pytest.raises(Refused, match="rejected"):
        git(here, "push", "-q")
    with pytest.raises(Refused, match="Cannot delete refs/heads/main"):
        git(here, "push", "-q", "origin", ":main")
    git(here, "push", "-q", "--force", "origin", "HEAD:main")  # ada is the organisation's administrator
    assert head(server, name) == late


def test_only_an_administrator_rewrites_main(start: Any, tmp_path: Path) -> None:
    from modelcommons.hub.actions import accounts
    from modelcommons.hub.settings import Settings
    from modelcommons.hub.stores import open_stores

    hub = start()
    stores = open_stores(Settings(folder=hub.folder, database=hub.database))
    accounts.set_member(stores, "lab", "bob", "write")
    stores.database.close()
    name = repo(hub, "rewrite", organization="lab")
    send(hub, "ada", name, {"a": b"1"})
    here = clone(hub, name, tmp_path / "here", "bob")
    git(here, "checkout", "-q", "--orphan", "other")
    add(here, {"b": b"2"})
    with pytest.raises(Refused, match="only an administrator"):
        git(here, "push", "-q", "--force", "origin", "HEAD:main")
    git(here, "push", "-q", "origin", "HEAD:other")
    git(here, "commit", "-q", "--amend", "-m", "again")
    git(here, "push", "-q", "--force", "origin", "HEAD:other")
    assert head(hub, name, "other") == git(here, "rev-parse", "HEAD")


def test_refs_that_cannot_be(server: Running, tmp_path: Path) -> None:
    name = repo(server, "wrong-refs")
    send(server, "ada", name, {"a": b"1"})
    here = clone(server, name, tmp_path / "here")
    git(here, "push", "-q", "origin", "HEAD:refs/heads/a")
    blob = git(here, "hash-object", "a")
    for ref in (
        "HEAD:refs/heads/a/b", "HEAD:refs/notes/x", "HEAD:refs/pr/1", "HEAD:refs/remotes/x/y", f"{blob}:refs/tags/blob",
        "HEAD:refs/heads/x~y".replace("~", "é"), "HEAD^{tree}:refs/tags/tree", ":refs/heads/absent",
    ):  # fmt: skip
        with pytest.raises(Refused):
            git(here, "push", "-q", "origin", ref)
    with server.client("ada") as client:
        refs = client.get(f"/api/models/{name}/refs?include_prs=1").json()
        assert [one["name"] for one in refs["branches"]] == ["a", "main"] and refs["tags"] == []


def test_an_atomic_push_moves_all_or_none(server: Running, tmp_path: Path) -> None:
    name = repo(server, "atomic")
    send(server, "ada", name, {"a": b"1"})
    here = clone(server, name, tmp_path / "here")
    add(here, {"b": b"2"})
    with pytest.raises(Refused):
        git(here, "push", "-q", "--atomic", "origin", "HEAD:refs/heads/fine", "HEAD:refs/notes/no")
    with server.client("ada") as client:
        assert [one["name"] for one in client.get(f"/api/models/{name}/refs").json()["branches"]] == ["main"]
    with pytest.raises(Refused):
        git(here, "push", "-q", "origin", "HEAD:refs/heads/fine", "HEAD:refs/notes/no")
    assert head(server, name, "fine") == git(here, "rev-parse", "HEAD")


# --- what comes in --------------------------------------------------------------------------------------------------


def test_files_too_large_for_git_are_named(server: Running, tmp_path: Path) -> None:
    name = repo(server, "too-large")
    here = clone(server, name, tmp_path / "here")
    (here / ".gitattributes").unlink()
    before = head(server, name)
    add(here, {"d/big.dat": os.urandom(11 << 20), "small.txt": b"x"})
    with pytest.raises(Refused, match=r"'big.dat' has 11,534,336 bytes.*git lfs migrate") as refused:
        git(here, "push", "-q")
    assert "remote:" in str(refused.value) and head(server, name) == before


def test_links_and_modules(server: Running, tmp_path: Path) -> None:
    name = repo(server, "links")
    here = clone(server, name, tmp_path / "here")
    add(here, {"d/e/file.txt": b"x", "top.txt": b"y"})
    before = git(here, "rev-parse", "HEAD")
    git(here, "push", "-q")
    for path, target in (
        ("link", "../x"), ("link", "/etc/passwd"), ("d/link", "../../x"), ("link", "d/../../x"),
        ("link", ".git/config"), ("d/e/link", "../../../x"), ("link", "..\\x"), ("link", "C:/x"),
        ("link", "d/../top.txt"),
    ):  # fmt: skip
        (here / path).symlink_to(target)
        git(here, "add", "-f", ".")
        git(here, "commit", "-q", "-m", "link")
        with pytest.raises(Refused, match="symbolic link"):
            git(here, "push", "-q")
        git(here, "reset", "-q", "--hard", before)
    (here / "d/e/link").symlink_to("../../top.txt")
    (here / "dlink").symlink_to("d/e")
    git(here, "add", ".")
    git(here, "commit", "-q", "-m", "links that stay inside")
    git(here, "push", "-q")
    assert (clone(server, name, tmp_path / "again") / "d/e/link").read_text() == "y"
    # an old tree hung elsewhere: what led up inside now leads out
    tree = git(here, "rev-parse", "HEAD:d/e")
    commit = git(here, "commit-tree", tree, "-p", "HEAD", "-m", "hung at the root")
    with pytest.raises(Refused, match="symbolic link"):
        git(here, "push", "-q", "origin", f"{commit}:refs/heads/main")
    tree = git(here, "mktree", given=f"160000 commit {before}\tmodule\n".encode())
    commit = git(here, "commit-tree", tree, "-p", "HEAD", "-m", "module")
    with pytest.raises(Refused, match="submodule"):
        git(here, "push", "-q", "origin", f"{commit}:refs/heads/main")


@pytest.mark.parametrize(
    "names",
    [[".git"], [".."], ["a\\b"], ["con"], ["e\u0301"], ["A", "a"], ["a."], ["x\u202ey"], [".GIT "], ["GIT~1"], ["a:b"]],
)
def test_names_that_cannot_be(server: Running, names: list[str]) -> None:
    """Sent by hand, since git itself refuses to write some of them."""
    name = f"ada/{os.urandom(6).hex()}x"
    repo(server, name.split("/")[1])
    blob = objects.pack(BLOB, b"x")
    tree = objects.pack(TREE, objects.tree_bytes({one: Entry(objects.FILE, blob.oid) for one in names}))
    assert "ng refs/heads/main" in push(server, name, [blob, tree, committed(tree.oid, [head(server, name)])])


def committed(tree: str, parents: list[str]) -> Packed:
    data = objects.commit_bytes(tree, parents, author="a", email="b", message="m", date=1_700_000_000)
    return objects.pack(COMMIT, data)


def packet(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return f"{len(data) + 4:04x}".encode() + data


def ask(server: Running, who: str, repo: str, service: str, body: bytes, *, version: int = 0, **headers: str) -> Any:
    with server.client(who) as client:
        told = {
            "git-protocol": f"version={version}",
            **{key.replace("_", "-"): value for key, value in headers.items()},
        }
        return client.post(f"/{repo}.git/{service}", content=body, headers=told)


def packed(found: list[Packed]) -> bytes:
    body = packs.head(len(found)) + b"".join(packs._entry_head(one.type, one.size) + one.data for one in found)
    return body + hashlib.sha1(body, usedforsecurity=False).digest()


def push(
    server: Running, repo: str, found: list[Packed], *, old: str | None = None, new: str | None = None,
    ref: str = "refs/heads/main", pack: bytes | None = None,
) -> str:  # fmt: skip
    """A push made by hand; what the hub reports."""
    old, new = old or head(server, repo), new or found[-1].oid
    command = packet(f"{old} {new} {ref}\0report-status") + b"0000"
    answer = ask(server, "ada", repo, "git-receive-pack", command + (packed(found) if pack is None else pack))
    assert answer.status_code == 200, answer.text
    return str(answer.text)


def test_what_a_push_brings_is_believed_in_nothing(server: Running) -> None:
    name = repo(server, "disbelieved")
    start = head(server, name)
    blob = objects.pack(BLOB, b"x")

    def tree(entries: dict[str, Entry]) -> Packed:
        return objects.pack(TREE, objects.tree_bytes(entries))

    fine = tree({"a": Entry(objects.FILE, blob.oid)})
    unsorted = objects.pack(TREE, b"".join(b"100644 %s\0" % one + bytes.fromhex(blob.oid) for one in (b"b", b"a")))
    doubled = objects.pack(TREE, b"".join(b"100644 a\0" + bytes.fromhex(blob.oid) for _ in range(2)))
    zero = objects.pack(TREE, b"0100644 a\0" + bytes.fromhex(blob.oid))
    slash = objects.pack(TREE, b"100644 a/b\0" + bytes.fromhex(blob.oid))
    odd = tree({"a": Entry(0o100666, blob.oid)})
    latin = objects.pack(TREE, b"100644 \xff\0" + bytes.fromhex(blob.oid))
    nothing = tree({"a": Entry(objects.FILE, "1" * 40)})
    as_folder = tree({"a": Entry(objects.FOLDER, blob.oid)})
    as_file = tree({"a": Entry(objects.FILE, fine.oid)})
    empty = tree({})
    holds_empty = tree({"a": Entry(objects.FOLDER, empty.oid)})
    torn = objects.pack(TREE, b"100644 a\0" + bytes.fromhex(blob.oid)[:10])
    for wrong in (
        [blob, unsorted], [blob, doubled], [blob, zero], [blob, slash], [blob, odd], [blob, latin], [nothing],
        [blob, as_folder], [blob, fine, as_file], [empty, holds_empty], [blob, torn], [blob], [],
    ):  # fmt: skip
        target = wrong[-1].oid if wrong and wrong[-1].type == TREE else fine.oid
        report = push(server, name, [*wrong, committed(target, [start])])
        assert "ng refs/heads/main" in report and head(server, name) == start, (wrong, report)
    for commit in (
        committed(fine.oid, ["2" * 40]), objects.pack(COMMIT, b"tree " + b"x" * 40 + b"\n\nm"),
        objects.pack(COMMIT, f"tree {fine.oid}\n\nm".encode()), objects.pack(COMMIT, b""), blob, fine,
    ):  # fmt: skip
        report = push(server, name, [blob, fine, commit])
        assert "ng refs/heads/main" in report and head(server, name) == start, report
    good = committed(fine.oid, [start])
    assert "ng refs/heads/main fetch first" in push(server, name, [blob, fine, good], old="3" * 40)
    assert "ng refs/heads/main" in push(server, name, [blob, fine, good], new="4" * 40)
    body = packed([blob, fine, good])
    for pack in (body[:-1], body[:30], b"", body[:40] + b"?" + body[41:], body + b"x"):
        assert "ng refs/heads/main" in push(server, name, [good], pack=pack)
    assert head(server, name) == start
    assert "ok refs/heads/main" in push(server, name, [blob, fine, good])
    assert head(server, name) == good.oid


def test_a_tree_that_is_in_itself_a_thousandfold_is_refused_quickly(server: Running) -> None:
    name = repo(server, "tree-bomb")
    found = [objects.pack(BLOB, b"x")]
    entry = Entry(objects.FILE, found[0].oid)
    for _ in range(10):
        entries = {f"{number}": entry for number in range(10)}
        found.append(objects.pack(TREE, objects.tree_bytes(entries)))
        entry = Entry(objects.FOLDER, found[-1].oid)
    report = push(server, name, [*found, committed(entry.oid, [head(server, name)])])
    assert "at most 100,000 files" in report
    deep = [found[0]]
    entry = Entry(objects.FILE, found[0].oid)
    for _ in range(5000):
        deep.append(objects.pack(TREE, objects.tree_bytes({"d": entry})))
        entry = Entry(objects.FOLDER, deep[-1].oid)
    for order in (deep, deep[::-1]):
        report = push(server, name, [*order, committed(entry.oid, [head(server, name)])])
        assert "ng refs/heads/main" in report and " 32 " in report


def test_large_files_must_have_been_sent_to_this_repository(server: Running, tmp_path: Path) -> None:
    name = repo(server, "pointers")
    here = clone(server, name, tmp_path / "here")
    data = objects.Pointer(hashlib.sha256(b"elsewhere").hexdigest(), 9).data()
    add(here, {"w.bin": data})
    before = head(server, name)
    with pytest.raises(Refused, match="is not here yet"):
        git(here, "push", "-q")
    assert head(server, name) == before


def test_a_thin_pack_is_built_on_objects_of_this_repository_only(server: Running, tmp_path: Path) -> None:
    mine, other = repo(server, "thin"), repo(server, "thin-other")
    text = b"".join(b"line %d\n" % number for number in range(2000))
    secret = b"secret " + text
    start = send(server, "ada", mine, {"a.txt": text})
    send(server, "ada", other, {"s.txt": secret})

    def delta(base: bytes) -> tuple[bytes, Packed]:
        """A pack whose one file is all of `base` and a word more; and its tree's blob."""
        size = len(base)
        number = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])
        more = size + 4
        after = bytes([more & 0x7F | 0x80, more >> 7 & 0x7F | 0x80, more >> 14])
        body = number + after + b"\xb0" + bytes([size & 0xFF, size >> 8]) + b"\4more"
        entry = packs._entry_head(packs.ID_DELTA, len(body)) + bytes.fromhex(objects.object_id(BLOB, base))
        return entry + zlib.compress(body), objects.pack(BLOB, base + b"more")

    for base, fine in ((secret, False), (text, True)):
        entry, blob = delta(base)
        tree = objects.pack(TREE, objects.tree_bytes({"a.txt": Entry(objects.FILE, blob.oid)}))
        commit = committed(tree.oid, [start])
        others = b"".join(packs._entry_head(one.type, one.size) + one.data for one in (tree, commit))
        body = packs.head(3) + entry + others
        pack = body + hashlib.sha1(body, usedforsecurity=False).digest()
        assert ("ok refs/heads/main" in push(server, mine, [commit], pack=pack)) is fine
    here = clone(server, mine, tmp_path / "here")
    assert (here / "a.txt").read_bytes() == text + b"more"
    # and git's own
    (here / "a.txt").write_bytes(text + b"more and more")
    git(here, "commit", "-q", "-a", "-m", "thin")
    git(here, "push", "-q", "--thin")


# --- hand-made requests ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["git-upload-pack", "git-receive-pack"])
def test_what_is_not_gits_protocol_is_refused(server: Running, service: str) -> None:
    name = repo(server, f"no-protocol-{service}")
    for body in (
        b"",
        b"0000",
        b"zzzz",
        b"0003",
        b"00",
        b"fffe",
        b"0009x",
        b"\xff" * 100,
        packet("want x"),
        packet("\0"),
    ):
        for version in (0, 1, 2):
            answer = ask(server, "ada", name, service, body, version=version)
            assert answer.status_code < 500, (body, version, answer.text)
            assert b"PACK" not in answer.content


def test_compressed_bodies_are_capped(server: Running) -> None:
    name = repo(server, "compressed")
    bomb = gzip.compress(b"0" * (64 << 20))
    assert ask(server, "ada", name, "git-upload-pack", bomb, content_encoding="gzip").status_code == 413
    for body, coding in ((b"no gzip", "gzip"), (gzip.compress(b"0000")[:-9], "gzip"), (b"0000", "br")):
        answer = ask(server, "ada", name, "git-upload-pack", body, content_encoding=coding)
        assert answer.status_code == 400, (coding, answer.text)
    refs = packet("command=ls-refs\n") + b"0001" + packet("ref-prefix refs/heads/\n") + b"0000"
    answer = ask(server, "ada", name, "git-upload-pack", gzip.compress(refs), version=2, content_encoding="gzip")
    assert answer.status_code == 200 and b"refs/heads/main" in answer.content
