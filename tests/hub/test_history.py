"""history: our objects are git's objects, byte for byte; refs move only where they still are what was seen."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hubs import new_database
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select, update

from modelcommons.errors import EntryNotFound, RevisionNotFound, StoreFailed, Unprocessable
from modelcommons.hub import history, tables
from modelcommons.hub.database import Database, connect
from modelcommons.hub.history import Add, Delete, DeleteFolder, Pointer, objects, packs, reach, writing
from modelcommons.hub.history.merge import merge_lines
from modelcommons.hub.history.objects import BLOB, FOLDER, TREE, Entry
from modelcommons.hub.history.quarantine import Quarantine

WHEN = 1_700_000_000.0
REPO = 1
GIT = os.environ | {
    "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0",
    **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in (
        ("NAME", "Ada"), ("EMAIL", "ada@example.com"), ("DATE", f"{int(WHEN)} +0000"))},
}  # fmt: skip


def git(at: Path, *words: str, given: bytes = b"") -> bytes:
    return subprocess.run(["git", *words], cwd=at, env=GIT, input=given, capture_output=True, check=True).stdout


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with new_database() as url:
        made = connect(url, tmp_path)
        tables.metadata.create_all(made.engine)
        with made.writing() as connection:
            connection.execute(tables.accounts.insert().values(id=1, kind="user", name="ada", key="ada", created=0))
            for number, name in ((REPO, "one"), (2, "two")):
                row = {"id": number, "owner_id": 1, "kind": "model", "name": name, "key": name, "private": False}
                connection.execute(tables.repos.insert().values(**row, created=0, updated=0))
        yield made
        made.close()


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.writing() as connection:
        yield connection


def commit(connection: Connection, parent: str | None, *operations: history.Operation, message: str = "m") -> str:
    return history.write_commit(
        connection, REPO, parent, operations, author="Ada", email="ada@example.com", message=message, date=WHEN
    )


def checked_out(connection: Connection, commit: str, at: Path) -> Path:
    """A real git repository made from our pack of everything that the commit leads to."""
    git(at, "init", "-q", "--bare", "copy.git")
    copy = at / "copy.git"
    oids = reach.lacking(connection, REPO, [commit], [], cut=reach.Cut())
    body = packs.head(len(oids)) + b"".join(
        packs.entries(connection, REPO, some) for some in packs.groups(connection, REPO, oids)
    )
    trailer = bytes.fromhex(
        subprocess.run(["sha1sum"], input=body, capture_output=True, check=True).stdout.decode()[:40]
    )
    git(copy, "index-pack", "--strict", "--fix-thin", "--stdin", given=body + trailer)
    git(copy, "update-ref", "refs/heads/main", commit)
    git(copy, "fsck", "--strict", "--no-dangling")
    return copy


# --- git's own bytes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"hello\n", bytes(range(256)) * 5])
def test_a_file_has_the_id_that_git_gives_it(data: bytes, tmp_path: Path) -> None:
    assert objects.object_id(BLOB, data) == git(tmp_path, "hash-object", "--stdin", given=data).decode().strip()


def test_the_same_content_is_the_same_tree_and_commit_as_in_git(connection: Connection, tmp_path: Path) -> None:
    # names around the slash, where git's order is not that of plain bytes
    files = {"a/b.txt": b"1", "a-b": b"2", "a.txt": b"3", "a0": b"4", "b/c/d/e": b"5", "ä/ö.txt": b"6", "z": b""}
    made = commit(connection, None, *(Add(path, data) for path, data in files.items()), message="Title\n\nWords.")
    here = tmp_path / "work"
    git(tmp_path, "init", "-q", "work")
    for path, data in files.items():
        (here / path).parent.mkdir(parents=True, exist_ok=True)
        (here / path).write_bytes(data)
    git(here, "add", ".")
    git(here, "commit", "-q", "-m", "Title\n\nWords.")
    assert made == git(here, "rev-parse", "HEAD").decode().strip()
    assert history.commit(connection, REPO, made).tree == git(here, "rev-parse", "HEAD^{tree}").decode().strip()


def test_git_finds_no_fault_in_a_long_history(connection: Connection, tmp_path: Path) -> None:
    head = history.initial_commit(connection, REPO, "model", WHEN)
    for number in range(30):
        head = commit(connection, head, Add(f"d{number % 3}/f{number}.txt", b"%d" % number))
    head = commit(connection, head, Delete("d0/f0.txt"), DeleteFolder("d1/"), Add("big.bin", Pointer("a" * 64, 10**9)))
    copy = checked_out(connection, head, tmp_path)
    listed = git(copy, "ls-tree", "-r", "--name-only", "main").decode().split()
    assert listed == [one.path for one in history.listing(connection, REPO, head, recursive=True) if one.kind == "file"]
    assert git(copy, "rev-list", "--count", "main").strip() == b"32"
    assert git(copy, "show", "main:big.bin") == Pointer("a" * 64, 10**9).data()
    assert not [path for path in listed if path.startswith("d1/") or path == "d0/f0.txt"]


def test_the_first_commit_has_the_hubs_gitattributes(connection: Connection) -> None:
    model = history.initial_commit(connection, REPO, "model", WHEN)
    space = history.initial_commit(connection, 2, "space", WHEN, title="two", sdk="gradio")
    assert history.ref(connection, REPO, history.MAIN) == model
    assert history.commit(connection, REPO, model).title == "initial commit"
    node = history.entry(connection, REPO, model, ".gitattributes")
    assert node and b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n" in history.content(
        connection, REPO, node.oid
    )
    assert [one.path for one in history.listing(connection, 2, space)] == [".gitattributes", "README.md"]


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text("ab./-0é", min_size=1, max_size=4).filter(lambda name: "/" not in name), st.booleans()))
def test_a_tree_comes_back_from_its_bytes(names: dict[str, bool]) -> None:
    entries = {name: Entry(FOLDER if folder else objects.FILE, "1" * 40) for name, folder in names.items()}
    data = objects.tree_bytes(entries)
    assert objects.read_tree(data) == entries and objects.tree_bytes(objects.read_tree(data)) == data


def test_a_pointer_is_what_git_lfs_takes_for_one() -> None:
    one = Pointer("0123456789abcdef" * 4, 12345)
    assert objects.pointer(one.data()) == one
    head = "version https://git-lfs.github.com/spec/v1\n"
    for text in (
        "", head, head + "oid sha256:12\nsize 3\n", head + f"oid sha256:{'A' * 64}\nsize 3\n",
        head + f"oid md5:{'a' * 64}\nsize 3\n", head + f"oid sha256:{'a' * 64}\nsize -3\n", "x" * 2000,
        head + f"oid sha256:{'a' * 64}\nsize ³\n",
    ):  # fmt: skip
        assert objects.pointer(text.encode()) is None, text


# --- commits --------------------------------------------------------------------------------------------------------


def test_operations_apply_in_order(connection: Connection) -> None:
    head = commit(connection, None, Add("a.txt", b"1"), Add("f/b.txt", b"2"))
    head = commit(connection, head, Delete("a.txt"), Add("a.txt", b"3"), DeleteFolder("f"), Add("f", b"now a file"))
    found = {one.path: history.content(connection, REPO, one.oid) for one in history.listing(connection, REPO, head)}
    assert found == {"a.txt": b"3", "f": b"now a file"}


def test_no_change_makes_no_commit(connection: Connection) -> None:
    head = commit(connection, None, Add("a.txt", b"1"))
    assert commit(connection, head, Add("a.txt", b"1")) == head
    assert commit(connection, head, Add("b", b""), Delete("b")) == head
    assert commit(connection, head) == head


@pytest.mark.parametrize(
    "operation",
    [Delete("nothing"), Delete("f"), Delete("a/b"), DeleteFolder("nothing/"), DeleteFolder("a"), Delete("f/c/d")],
)
def test_what_is_not_there_cannot_be_deleted(connection: Connection, operation: history.Operation) -> None:
    head = commit(connection, None, Add("a", b"1"), Add("f/c", b"2"))
    with pytest.raises(EntryNotFound):
        commit(connection, head, operation)


@pytest.mark.parametrize(
    "paths",
    [
        ["README.md", "readme.md"], ["f/A", "f/a"], ["F/a", "f/b"], ["straße", "STRASSE"], ["a", "a/b"], ["a/b", "a"],
        ["../x"], ["/x"], ["x/"], ["a//b"], [".git/config"], ["a/.GIT/hooks"], ["con"], ["a\\b"], ["e\u0301"],
    ],
)  # fmt: skip
def test_paths_that_cannot_be_are_refused(connection: Connection, paths: list[str]) -> None:
    head = commit(connection, None, Add("other", b""))
    with pytest.raises(Unprocessable):
        commit(connection, head, *(Add(path, b"") for path in paths))
    with pytest.raises(Unprocessable):  # the same in two commits
        for path in paths:
            head = commit(connection, head, Add(path, b""))


def test_a_name_may_change_its_case_in_one_commit(connection: Connection) -> None:
    head = commit(connection, None, Add("readme.md", b"1"))
    head = commit(connection, head, Delete("readme.md"), Add("README.md", b"1"))
    assert [one.path for one in history.listing(connection, REPO, head)] == ["README.md"]


def test_folders_and_repositories_have_limits(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MAX_ENTRIES", 20)
    monkeypatch.setattr(writing, "MAX_FILES", 50)
    head = commit(connection, None, *(Add(f"a/{i}", b"") for i in range(20)), *(Add(f"b/{i}", b"") for i in range(20)))
    with pytest.raises(Unprocessable, match="at most 20"):
        commit(connection, head, Add("a/more", b""))
    head = commit(connection, head, *(Add(f"c/{i}", b"") for i in range(10)))
    with pytest.raises(Unprocessable, match="51 files"):
        commit(connection, head, Add("c/more", b""))
    assert history.weigh(connection, REPO, history.commit(connection, REPO, head).tree).num_files == 50


def test_a_program_stays_one(connection: Connection, tmp_path: Path) -> None:
    blob = objects.pack(BLOB, b"#!/bin/sh\n")
    tree = objects.pack(TREE, objects.tree_bytes({"run": Entry(objects.PROGRAM, blob.oid)}))
    objects.put(connection, REPO, [blob, tree], WHEN)
    head = history.merge_commit(connection, REPO, tree.oid, [], author="a", email="b", message="m", date=WHEN)
    head = commit(connection, head, Add("run", b"#!/bin/bash\n"), Add("other", b""))
    modes = {one.path: one.mode for one in history.listing(connection, REPO, head)}
    assert modes == {"run": objects.PROGRAM, "other": objects.FILE}


def test_names_in_commits_cannot_forge_another_line(connection: Connection, tmp_path: Path) -> None:
    made = history.write_commit(
        connection, REPO, None, [Add("a", b"")], author="A\n<x>\0", email="e>\n", message="t\0\n\nb\ntree 1", date=WHEN
    )
    found = history.commit(connection, REPO, made)
    assert (found.author, found.email, found.title, found.message) == ("Ax", "e", "t", "b\ntree 1")
    checked_out(connection, made, tmp_path)


# --- reading --------------------------------------------------------------------------------------------------------


def test_entries_and_listings(connection: Connection) -> None:
    head = commit(connection, None, Add("f/a.txt", b"12345"), Add("f/g/b.bin", Pointer("b" * 64, 7_000_000_000)))
    file = history.entry(connection, REPO, head, "f/a.txt")
    assert file and (file.kind, file.size, file.lfs, file.oid) == ("file", 5, None, objects.object_id(BLOB, b"12345"))
    large = history.entry(connection, REPO, head, "f/g/b.bin")
    assert large and large.lfs == Pointer("b" * 64, 7_000_000_000) and large.size == 7_000_000_000
    folder = history.entry(connection, REPO, head, "f")
    assert folder and folder.kind == "directory"
    assert history.entry(connection, REPO, head, "f/a.txt/x") is None
    assert history.entry(connection, REPO, head, "no") is None
    assert [one.path for one in history.listing(connection, REPO, head, "f")] == ["f/a.txt", "f/g"]
    everything = ["f", "f/a.txt", "f/g", "f/g/b.bin"]
    assert [one.path for one in history.listing(connection, REPO, head, recursive=True)] == everything
    for absent in ("no", "f/a.txt"):
        with pytest.raises(EntryNotFound):
            history.listing(connection, REPO, head, absent)
    weight = history.weigh(connection, REPO, history.commit(connection, REPO, head).tree)
    assert weight == (2, 7_000_000_005)


def test_one_repository_reads_nothing_of_another_by_id(connection: Connection) -> None:
    head = commit(connection, None, Add("secret.txt", b"secret"))
    blob = objects.object_id(BLOB, b"secret")
    assert history.content(connection, REPO, blob) == b"secret"
    with pytest.raises(EntryNotFound):
        history.content(connection, 2, blob)
    with pytest.raises(RevisionNotFound):
        history.resolve(connection, 2, head)
    with pytest.raises(StoreFailed):
        history.commit(connection, 2, head)


def test_a_damaged_row_is_told_and_not_served(connection: Connection) -> None:
    head = commit(connection, None, Add("a", b"text"))
    rows = tables.git_objects
    blob = objects.object_id(BLOB, b"text")
    packed = connection.execute(select(rows.c.packed).where(rows.c.oid == blob)).scalar_one()
    connection.execute(update(rows).where(rows.c.oid == blob).values(packed=packed[:-3]))
    with pytest.raises(StoreFailed):
        history.content(connection, REPO, blob)
    assert history.entry(connection, REPO, head, "no") is None


def test_revisions(connection: Connection) -> None:
    first = history.initial_commit(connection, REPO, "model", WHEN)
    tag = objects.pack(objects.TAG, objects.tag_bytes(first, "v2", author="a", email="b", message="m", date=WHEN))
    objects.put(connection, REPO, [tag], WHEN)
    second = commit(connection, first, Add("a", b""))
    for name, oid in (
        ("refs/heads/dev", second), ("refs/heads/a/b", second), ("refs/tags/v1", first), ("refs/tags/v2", tag.oid),
        ("refs/pr/1", second), ("refs/tags/dev", first),
    ):  # fmt: skip
        assert history.move_ref(connection, REPO, name, None, oid)
    for revision, oid in (
        ("main", first), ("dev", second), ("a/b", second), ("v1", first), ("v2", first), (tag.oid, first),
        ("refs/tags/dev", first), ("refs/pr/1", second), ("refs/heads/main", first), (second, second),
    ):  # fmt: skip
        assert history.resolve(connection, REPO, revision) == oid, revision
    tree = history.commit(connection, REPO, first).tree
    for revision in ("no", "refs/pr/2", "1" * 40, tree, "refs/heads/v1"):
        with pytest.raises(RevisionNotFound, match="Invalid rev id"):
            history.resolve(connection, REPO, revision)
    assert {one.name: one.commit for one in history.all_refs(connection, REPO)}["refs/tags/v2"] == first


def test_a_ref_moves_only_where_it_still_is_what_was_seen(connection: Connection) -> None:
    first = history.initial_commit(connection, REPO, "model", WHEN)
    second, third = (commit(connection, first, Add(name, b"")) for name in "ab")
    assert not history.move_ref(connection, REPO, history.MAIN, None, second), "it is there"
    assert history.move_ref(connection, REPO, history.MAIN, first, second)
    assert not history.move_ref(connection, REPO, history.MAIN, first, third), "it has moved"
    assert not history.move_ref(connection, REPO, history.MAIN, first, None)
    assert not history.move_ref(connection, 2, history.MAIN, second, third), "another repository"
    assert history.ref(connection, REPO, history.MAIN) == second
    assert history.move_ref(connection, REPO, history.MAIN, second, None)
    assert history.ref(connection, REPO, history.MAIN) is None


def test_logs_are_gits(connection: Connection, tmp_path: Path) -> None:
    head = history.initial_commit(connection, REPO, "model", WHEN)
    for number in range(12):
        head = commit(connection, head, Add(f"f{number % 3}.txt", b"%d" % number), message=f"number {number}")
    side = commit(connection, head, Add("side/x.txt", b""), message="side")
    main = commit(connection, head, Add("f0.txt", b"main"), message="on main")
    merged = history.merge(connection, REPO, main, side)
    assert merged.conflicts == []
    head = history.merge_commit(
        connection, REPO, merged.tree, [main, side], author="a", email="b", message="merged", date=WHEN
    )
    copy = checked_out(connection, head, tmp_path)
    everything = history.log(connection, REPO, head, 0, 100)
    assert {one.oid for one in everything} == set(git(copy, "rev-list", "main").decode().split())
    assert history.log(connection, REPO, head, 3, 4) == everything[3:7]
    paths = ["f0.txt", "f1.txt", "f2.txt", ".gitattributes", "side", "side/x.txt"]
    last = history.last_commits(connection, REPO, head, [*paths, "no.txt"])
    for path in paths:
        assert last[path].oid == git(copy, "log", "-1", "--format=%H", "main", "--", path).decode().strip(), path
        wanted = git(copy, "log", "--format=%H", "main", "--", path).decode().split()
        assert {one.oid for one in history.log(connection, REPO, head, 0, 50, path)} == set(wanted), path
    assert "no.txt" not in last
    assert history.merge_base(connection, REPO, main, side) == git(copy, "merge-base", main, side).decode().strip()
    assert history.is_ancestor(connection, REPO, side, head) and not history.is_ancestor(connection, REPO, side, main)


# --- merge and diff -------------------------------------------------------------------------------------------------

LINES = [b"%d\n" % number for number in range(12)]


def changed(*at: int, by: bytes = b"changed\n") -> bytes:
    return b"".join(by if number in at else line for number, line in enumerate(LINES))


def test_a_merge_takes_what_only_one_side_changed(connection: Connection) -> None:
    base = commit(connection, None, *(Add(path, changed()) for path in ("a", "b", "c", "d/e", "both", "gone", "f/g")))
    ours = commit(connection, base, Add("a", changed(1)), Delete("gone"), Add("both", changed(1)), Add("new", b"1"))
    theirs = commit(
        connection, base, Add("d/e", changed(2)), Add("both", changed(8)), DeleteFolder("f"), Add("n/m", b"")
    )
    merged = history.merge(connection, REPO, ours, theirs)
    head = history.merge_commit(
        connection, REPO, merged.tree, [ours, theirs], author="a", email="b", message="m", date=WHEN
    )
    files = [one for one in history.listing(connection, REPO, head, recursive=True) if one.kind == "file"]
    found = {one.path: history.content(connection, REPO, one.oid) for one in files}
    assert merged.conflicts == [] and history.conflicts(connection, REPO, ours, theirs) == []
    assert found == {
        "a": changed(1), "b": changed(), "c": changed(), "d/e": changed(2), "both": changed(1, 8), "new": b"1",
        "n/m": b"",
    }  # fmt: skip


def test_conflicts_are_named_and_nothing_is_written_to_find_them(connection: Connection) -> None:
    base = commit(connection, None, *(Add(path, changed()) for path in ("both", "deleted", "d/x", "same")))
    base = commit(connection, base, Add("bin", Pointer("a" * 64, 1)))
    ours = commit(
        connection, base, Add("both", changed(3)), Delete("deleted"), Add("same", changed(1)), Add("t", b"1"),
        DeleteFolder("d"), Add("bin", Pointer("b" * 64, 1)),
    )  # fmt: skip
    theirs = commit(
        connection, base, Add("both", changed(3, by=b"otherwise\n")), Add("deleted", changed(1)),
        Add("same", changed(1)), Add("t", b"2"), Add("d/x", changed(1)), Add("bin", Pointer("c" * 64, 1)),
    )  # fmt: skip
    before = connection.execute(select(tables.git_objects.c.oid)).scalars().all()
    assert history.conflicts(connection, REPO, ours, theirs) == ["bin", "both", "d/x", "deleted", "t"]
    assert connection.execute(select(tables.git_objects.c.oid)).scalars().all() == before


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [((1,), (8,)), ((1,), (1,)), ((0, 11), (5,)), ((2,), (3,)), ((3, 4), (4, 5)), ((1, 6), (3, 8)), ((), (2,))],
)
def test_lines_are_merged_where_git_would(tmp_path: Path, ours: tuple[int, ...], theirs: tuple[int, ...]) -> None:
    """The same files through `git merge-file`."""
    for name, data in (("o", changed()), ("a", changed(*ours)), ("b", changed(*theirs, by=b"theirs\n"))):
        (tmp_path / name).write_bytes(data)
    done = subprocess.run(["git", "merge-file", "-p", "a", "o", "b"], cwd=tmp_path, capture_output=True, check=False)
    merged = merge_lines(
        LINES, changed(*ours).splitlines(keepends=True), changed(*theirs, by=b"theirs\n").splitlines(keepends=True)
    )
    assert (None if merged is None else b"".join(merged)) == (done.stdout if done.returncode == 0 else None)


def test_a_diff_can_be_applied_by_git(connection: Connection, tmp_path: Path) -> None:
    old = commit(
        connection, None, Add("a.txt", changed()), Add("b.txt", b"no end"), Add("gone.txt", b"x\n"), Add("d/e", b"1\n"),
        Add("empty", b""),
    )  # fmt: skip
    new = commit(
        connection, old, Add("a.txt", changed(2, 9)), Add("b.txt", b"an end\n"), Delete("gone.txt"), Add("new/n", b"n"),
        Delete("empty"), Add("other-empty", b""), Delete("d/e"), Add("d", b"a file now\n"),
    )  # fmt: skip
    text = history.diff(connection, REPO, old, new)
    copy = checked_out(connection, new, tmp_path)
    oids = reach.lacking(connection, REPO, [old], [], cut=reach.Cut())
    assert oids
    work = tmp_path / "work"
    work.mkdir()
    files = [one for one in history.listing(connection, REPO, old, recursive=True) if one.kind == "file"]
    for one in files:
        (work / one.path).parent.mkdir(exist_ok=True, parents=True)
        (work / one.path).write_bytes(history.content(connection, REPO, one.oid))
    git(work, "init", "-q")
    git(work, "apply", "-", given=text.encode())
    git(work, "add", ".")
    tree = git(work, "write-tree").decode().strip()
    assert tree == git(copy, "rev-parse", "main^{tree}").decode().strip()


def test_a_diff_has_limits(connection: Connection) -> None:
    old = commit(connection, None, Add("long", b"".join(b"%d\n" % i for i in range(9000))), Add("bytes", b"\0a"))
    new = commit(
        connection, old, Add("long", b"".join(b"%d\n" % (i * 2) for i in range(9000))), Add("bytes", b"\0b"),
        *(Add(f"more{i}", b"line of some length\n" * 1500) for i in range(60)),
    )  # fmt: skip
    text = history.diff(connection, REPO, old, new)
    assert "Binary files a/bytes and b/bytes differ" in text and "Binary files a/long and b/long differ" in text
    assert len(text) < 1.2 * (1 << 20) and text.endswith("it is too large.\n")


# --- packs ----------------------------------------------------------------------------------------------------------


def test_a_fetch_gets_what_is_lacking_and_no_more(connection: Connection, tmp_path: Path) -> None:
    first = commit(connection, None, Add("a", b"1"), Add("d/b", b"2"))
    second = commit(connection, first, Add("d/c", b"3"))
    lacking = reach.lacking(connection, REPO, [second], [first], cut=reach.Cut())
    kinds = sorted(objects.types(connection, REPO, lacking).values())
    assert len(lacking) == len(set(lacking)) and kinds == [1, 2, 2, 3]
    assert reach.lacking(connection, REPO, [first], [second], cut=reach.Cut()) == []
    cut = reach.cut(connection, REPO, [second], 1, frozenset())
    assert cut.shallow == {second}
    shallow = reach.lacking(connection, REPO, [second], [], cut=cut)
    assert first not in shallow and len(shallow) == 6
    deeper = reach.cut(connection, REPO, [second], 2, frozenset({second}))
    assert (deeper.shallow, deeper.unshallow) == (set(), {second})
    assert first in reach.lacking(connection, REPO, [second], [second], cut=deeper, shallow={second})


def unpacked(pack: bytes, tmp_path: Path) -> dict[str, bytes]:
    """The objects in a pack, by the id that was computed for each."""
    with Quarantine(str(tmp_path)) as quarantine:
        packs.Unpacker(io.BytesIO(pack), quarantine, lambda oid: None).run()
        for oid, place in quarantine.places.items():
            assert objects.object_id(place.type, quarantine.read(oid)) == oid
        return {oid: quarantine.read(oid) for oid in quarantine.places}


def real_pack(tmp_path: Path) -> tuple[bytes, set[str]]:
    """A pack made by git, with deltas on deltas."""
    here = tmp_path / "real"
    git(tmp_path, "init", "-q", "real")
    text = [b"line %d of a file that changes a little\n" % number for number in range(400)]
    for number in range(20):
        text[number * 3] = b"changed %d\n" % number
        (here / "file.txt").write_bytes(b"".join(text))
        git(here, "add", ".")
        git(here, "commit", "-q", "-m", f"{number}")
    listed = git(here, "rev-list", "--objects", "HEAD").decode().split("\n")
    oids = {line.split()[0] for line in listed if line}
    return git(here, "pack-objects", "--stdout", "-q", "--depth=50", given="\n".join(oids).encode()), oids


def test_a_pack_by_git_is_read_with_every_id(tmp_path: Path) -> None:
    pack, oids = real_pack(tmp_path)
    assert unpacked(pack, tmp_path).keys() == oids


def test_any_damage_to_a_pack_is_refused(tmp_path: Path) -> None:
    pack, _ = real_pack(tmp_path)
    turned = pack[:100] + bytes([pack[100] ^ 1]) + pack[101:]
    for wrong in (b"", pack[:40], pack[:-1], pack + b"x", turned, b"JUNK" + pack[4:]):
        with pytest.raises(Unprocessable):
            unpacked(wrong, tmp_path)


def summed(body: bytes) -> bytes:
    return body + hashlib.sha1(body, usedforsecurity=False).digest()


def test_packs_that_grow_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def entry(kind: int, size: int, data: bytes, between: bytes = b"") -> bytes:
        return packs._entry_head(kind, size) + between + zlib.compress(data)

    bomb = b"\0" * (8 << 20)
    lying = summed(packs.head(1) + entry(BLOB, 10, bomb))
    with pytest.raises(Unprocessable, match="another size"):
        unpacked(lying, tmp_path)
    # a delta of some bytes that copies its base a thousand times
    base = entry(BLOB, 1 << 16, b"\0" * (1 << 16))
    size = b"\x80\x80\x04" + b"\x80\x80\x80\x20"  # 64 KiB before, 64 MiB after
    delta = size + b"\x80" * 1024
    many = summed(packs.head(2) + base + entry(packs.OFFSET_DELTA, len(delta), delta, bytes([len(base)])))
    with pytest.raises(Unprocessable, match="git-lfs"):
        unpacked(many, tmp_path)
    short = b"\x80\x80\x04" + b"\x01" + b"\x80" * 1024  # says one byte after
    wrong = summed(packs.head(2) + base + entry(packs.OFFSET_DELTA, len(short), short, bytes([len(base)])))
    with pytest.raises(Unprocessable):
        unpacked(wrong, tmp_path)
    monkeypatch.setattr(packs, "MAX_TOTAL", 1 << 16)
    with pytest.raises(Unprocessable, match="Push in parts"):
        unpacked(summed(packs.head(2) + base + base), tmp_path)
    with pytest.raises(Unprocessable, match="objects"):
        unpacked(summed(packs.head(1 << 30)), tmp_path)
    orphan = summed(packs.head(1) + entry(packs.ID_DELTA, 3, b"\1\1\0", b"\1" * 20))
    with pytest.raises(Unprocessable, match="does not have"):
        unpacked(orphan, tmp_path)


def test_deltas_wait_for_bases_that_come_later(tmp_path: Path) -> None:
    """Every object of the pack before the one that it is built on: the order that costs most."""
    texts = [b"begin %03d\n" % number for number in range(300)]
    parts = []
    for number in range(299, 0, -1):
        base = bytes.fromhex(objects.object_id(BLOB, texts[number - 1]))
        delta = bytes([len(texts[0]), len(texts[0]), len(texts[0])]) + texts[number]
        parts.append(packs._entry_head(packs.ID_DELTA, len(delta)) + base + zlib.compress(delta))
    parts.append(packs._entry_head(BLOB, len(texts[0])) + zlib.compress(texts[0]))
    assert set(unpacked(summed(packs.head(300) + b"".join(parts)), tmp_path).values()) == set(texts)
