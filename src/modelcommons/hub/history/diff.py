"""diff: what lies between two commits, as git prints it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import Connection

from modelcommons.hub.history import objects
from modelcommons.hub.history.objects import BLOB, FOLDER, Entry

MAX_BYTES = 1 << 20  # of the whole text
MAX_FILE = 256 << 10  # bytes of a file whose lines are compared
MAX_LINES = 4_000  # the same, after the lines that both begin and end with
NOTHING = "0" * 40


class Change(NamedTuple):
    path: str
    old: Entry | None
    new: Entry | None


def changes(connection: Connection, repo_id: int, a: str | None, b: str) -> Iterator[Change]:
    """The files that differ between two commits, by path; None for `a` compares with nothing."""
    before = objects.commit(connection, repo_id, a).tree if a else None
    yield from _trees(connection, repo_id, before, objects.commit(connection, repo_id, b).tree, "")


def _trees(connection: Connection, repo_id: int, a: str | None, b: str | None, prefix: str) -> Iterator[Change]:
    if a == b:
        return
    before = objects.tree(connection, repo_id, a) if a else {}
    after = objects.tree(connection, repo_id, b) if b else {}
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        change = Change(prefix + name, _file(old), _file(new))
        if change.old or change.new:
            yield change
        yield from _trees(connection, repo_id, _folder(old), _folder(new), f"{prefix}{name}/")


def _file(one: Entry | None) -> Entry | None:
    return one if one and one.mode != FOLDER else None


def _folder(one: Entry | None) -> str | None:
    return one.oid if one and one.mode == FOLDER else None


def diff(connection: Connection, repo_id: int, a: str | None, b: str) -> str:
    """Unified diff from `a` to `b`, at most about `MAX_BYTES` of it; large files show as their pointers."""
    parts: list[str] = []
    size = 0
    for change in changes(connection, repo_id, a, b):
        part = _text(connection, repo_id, change)
        if size + len(part) > MAX_BYTES:
            parts.append("# The rest of the diff is not shown: it is too large.\n")
            break
        parts.append(part)
        size += len(part)
    return "".join(parts)


def _text(connection: Connection, repo_id: int, change: Change) -> str:
    path, old, new = change
    head = f"diff --git a/{path} b/{path}\n"
    if old is None and new is not None:
        head += f"new file mode {new.mode:o}\n"
    elif new is None and old is not None:
        head += f"deleted file mode {old.mode:o}\n"
    elif old and new and old.mode != new.mode:
        head += f"old mode {old.mode:o}\nnew mode {new.mode:o}\n"
    oids = [one.oid if one else NOTHING for one in (old, new)]
    if oids[0] == oids[1]:
        return head
    head += f"index {oids[0][:7]}..{oids[1][:7]}" + (
        f" {new.mode:o}\n" if old and new and old.mode == new.mode else "\n"
    )
    names = (f"a/{path}" if old else "/dev/null", f"b/{path}" if new else "/dev/null")
    before, after = _lines(connection, repo_id, old), _lines(connection, repo_id, new)
    if before is None or after is None or not _comparable(before, after):
        return head + f"Binary files {names[0]} and {names[1]} differ\n"
    lines = [
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
        for line in difflib.unified_diff(before, after)
    ]
    if not lines:
        return head  # an empty file came or went
    lines[:2] = [f"--- {names[0]}\n", f"+++ {names[1]}\n"]
    return head + "".join(lines)


def _lines(connection: Connection, repo_id: int, one: Entry | None) -> list[str] | None:
    """The lines of a file; None where it is not text, or too much of it."""
    if one is None:
        return []
    meta = objects.metas(connection, repo_id, [one.oid])[one.oid]
    if meta.size > MAX_FILE and not meta.lfs:
        return None
    data = objects.read(connection, repo_id, one.oid, BLOB)
    if b"\0" in data:
        return None
    *lines, tail = data.decode(errors="replace").split("\n")  # git ends lines nowhere else
    return [line + "\n" for line in lines] + ([tail] if tail else [])


def _comparable(a: list[str], b: list[str]) -> bool:
    """Whether comparing takes little time: it grows with the product of the lines that differ."""
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    stop = 0
    while stop < min(len(a), len(b)) - start and a[-1 - stop] == b[-1 - stop]:
        stop += 1
    return max(len(a), len(b)) - start - stop <= MAX_LINES
