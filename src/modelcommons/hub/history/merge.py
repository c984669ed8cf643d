"""merge: two trees that grew from one; what only one side changed is taken, lines too where a file has any."""

from __future__ import annotations

import difflib
from typing import NamedTuple

from sqlalchemy import Connection

from modelcommons.hub.history import objects, walk, writing
from modelcommons.hub.history.objects import FOLDER, LINK, Entry
from modelcommons.hub.history.writing import Draft, Folder

MAX_LINES = 4_000  # of a file whose two versions are merged line by line


class Merged(NamedTuple):
    tree: str  # where there are conflicts, with our side of them
    conflicts: list[str]  # paths, sorted


def merge(connection: Connection, repo_id: int, ours: str, theirs: str) -> Merged:
    """Writes the tree of the merge of two commits, and says what is in conflict; writes no commit.

    Raises:
        Unprocessable: together they have too many files, or names that are twins.
    """
    made, conflicts = _merged(connection, repo_id, ours, theirs)
    return Merged(writing.finish(made, objects.commit(connection, repo_id, theirs).date), conflicts)


def conflicts(connection: Connection, repo_id: int, ours: str, theirs: str) -> list[str]:
    """What `merge` would find in conflict; writes nothing."""
    return _merged(connection, repo_id, ours, theirs)[1]


def _merged(connection: Connection, repo_id: int, ours: str, theirs: str) -> tuple[Draft, list[str]]:
    base = walk.merge_base(connection, repo_id, ours, theirs)
    trees = [objects.commit(connection, repo_id, one).tree if one else None for one in (base, ours, theirs)]
    made = writing.draft(connection, repo_id, trees[1])
    found: list[str] = []
    _folders(made, made.root, "", trees[0], trees[2], found)
    return made, sorted(found)


def _folders(made: Draft, folder: Folder, prefix: str, base: str | None, theirs: str | None, found: list[str]) -> None:
    """Brings into `folder`, which is ours, what changed between `base` and `theirs`."""
    before = objects.tree(made.connection, made.repo_id, base) if base else {}
    after = objects.tree(made.connection, made.repo_id, theirs) if theirs else {}
    for name in sorted(before.keys() | after.keys()):
        old, new, mine = before.get(name), after.get(name), folder.entries.get(name)
        if old == new or mine == new:
            continue
        if mine == old:
            _take(folder, name, new)
            continue
        path = prefix + name
        if all(one is None or (isinstance(one, Entry) and one.mode == FOLDER) for one in (old, new, mine)):
            inner = Folder(
                dict(objects.tree(made.connection, made.repo_id, mine.oid)) if isinstance(mine, Entry) else {}
            )
            _folders(made, inner, f"{path}/", old.oid if old else None, new.oid if new else None, found)
            folder.grew = folder.grew or mine is None
            folder.entries[name] = inner
        elif (oid := _lines(made, old, mine, new)) is not None:
            assert isinstance(mine, Entry)
            folder.entries[name] = Entry(mine.mode, oid)
        else:
            found.append(path)


def _take(folder: Folder, name: str, new: Entry | None) -> None:
    if new is None:
        del folder.entries[name]
    else:
        folder.grew = folder.grew or name not in folder.entries
        folder.entries[name] = new


def _lines(made: Draft, old: Entry | None, mine: Entry | Folder | None, new: Entry | None) -> str | None:
    """The blob that has the changes of both sides; None where they touch, or are not text."""
    if not isinstance(old, Entry) or not isinstance(mine, Entry) or not isinstance(new, Entry):
        return None
    if any(one.mode in (FOLDER, LINK) for one in (old, mine, new)) or mine.mode != new.mode:
        return None
    versions = []
    metas = objects.metas(made.connection, made.repo_id, [old.oid, mine.oid, new.oid])
    for one in (old, mine, new):
        if metas[one.oid].lfs or metas[one.oid].size > 64 * MAX_LINES:
            return None
        data = objects.content(made.connection, made.repo_id, one.oid)
        lines = data.splitlines(keepends=True)
        if b"\0" in data or len(lines) > MAX_LINES:
            return None
        versions.append(lines)
    merged = merge_lines(*versions)
    if merged is None:
        return None
    packed = objects.pack(objects.BLOB, b"".join(merged))
    made.new.append(packed)
    return packed.oid


def merge_lines(base: list[bytes], ours: list[bytes], theirs: list[bytes]) -> list[bytes] | None:
    """Three-way merge of lines; None where both sides changed the same or neighbouring lines differently.

    Source: Khanna, Kunal & Pierce, A Formal Investigation of Diff3 (2007).
    """
    mine, other = _hunks(base, ours), _hunks(base, theirs)
    merged: list[bytes] = []
    at = 0  # lines of base that are written
    while mine or other:
        if mine and other and mine[0] == other[0]:
            start, stop, lines = mine.pop(0)
            other.pop(0)
        else:
            first, second = (mine, other) if not other or (mine and mine[0][:2] <= other[0][:2]) else (other, mine)
            start, stop, lines = first.pop(0)
            # as git does, changes that touch without a line between them are a conflict
            if second and second[0][0] <= stop:
                return None
        merged += base[at:start] + lines
        at = stop
    return merged + base[at:]


def _hunks(base: list[bytes], side: list[bytes]) -> list[tuple[int, int, list[bytes]]]:
    """What a side put in place of which lines: (start, stop, lines)."""
    codes = difflib.SequenceMatcher(None, base, side, autojunk=True).get_opcodes()
    return [(start, stop, side[j:k]) for tag, start, stop, j, k in codes if tag != "equal"]
