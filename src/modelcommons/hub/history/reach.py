"""reach: which objects somebody lacks who wants some commits and has others."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Set
from dataclasses import dataclass, field

from sqlalchemy import Connection

from modelcommons.errors import Unprocessable
from modelcommons.hub.history import objects, walk
from modelcommons.hub.history.objects import COMMIT, FOLDER, TAG, Commit

MAX_OBJECTS = 3_000_000  # of one fetch: each id is held in memory while it lasts

WANTED, HELD = 1, 2


@dataclass(slots=True)
class Cut:
    """Where a history without its beginning begins."""

    shallow: set[str] = field(default_factory=set)  # commits whose parents the client will not have
    unshallow: set[str] = field(default_factory=set)  # commits whose parents it gets now
    within: dict[str, int] | None = None  # commits that it gets, with their distance; None: all


def cut(connection: Connection, repo_id: int, wants: Iterable[str], depth: int | None, shallow: Set[str]) -> Cut:
    """What `--depth` leaves.

    Args:
        wants: commits.
        depth: how many commits from each; None for all that are not beyond what the client has.
        shallow: where the client's history begins now.
    """
    if depth is None:
        return Cut()
    made = Cut(within={})
    assert made.within is not None
    layer = list(dict.fromkeys(wants))
    for distance in range(1, depth + 1):
        below: dict[str, None] = {}
        for oid in layer:
            made.within[oid] = distance
            parents = objects.commit(connection, repo_id, oid).parents
            if distance == depth and parents:
                made.shallow.add(oid)
            below.update(dict.fromkeys(one for one in parents if one not in made.within))
        layer = [oid for oid in below if oid not in made.within]
        if not layer:
            break
    made.unshallow = {oid for oid in shallow if oid in made.within and oid not in made.shallow}
    made.shallow -= shallow
    return made


def lacking(
    connection: Connection,
    repo_id: int,
    wants: Iterable[str],
    haves: Iterable[str],
    *,
    cut: Cut,
    shallow: Set[str] = frozenset(),
) -> list[str]:
    """Ids of the commits, tags, trees and files to send.

    Args:
        wants: commits or annotated tags.
        haves: commits that the client has, and, but for `shallow`, all that they lead to.

    Raises:
        Unprocessable: they are too many.
    """
    found: dict[str, None] = {}
    tips: list[str] = []
    for oid in wants:
        kind = objects.type_of(connection, repo_id, oid)
        while kind == TAG:
            found[oid] = None
            oid, kind = objects.read_tag(objects.read(connection, repo_id, oid, TAG))
        if kind == COMMIT:
            tips.append(oid)
    commits, edge = _commits(connection, repo_id, tips, haves, cut, shallow)
    held: set[str] = set()
    for one in edge:
        _tree(connection, repo_id, one.tree, held, set())
    for one in commits:
        found[one.oid] = None
        new: dict[str, None] = {}
        _tree(connection, repo_id, one.tree, new, held)
        held.update(new)
        found.update(new)
        if len(found) > MAX_OBJECTS:
            raise Unprocessable(f"More than {MAX_OBJECTS:,} objects; fetch a part of the history: git clone --depth 1.")
    return list(found)


def _commits(
    connection: Connection, repo_id: int, tips: list[str], haves: Iterable[str], cut: Cut, shallow: Set[str]
) -> tuple[list[Commit], list[Commit]]:
    """The commits to send, and those next to them that the client has."""
    flags: dict[str, int] = {}
    heap: list[tuple[float, int, Commit]] = []
    waiting: set[str] = set()  # commits in the heap that are wanted and not known to be held
    order = itertools.count()
    known: dict[str, Commit] = {}

    def push(oid: str, flag: int) -> None:
        before = flags.get(oid, 0)
        if before | flag == before:
            return
        flags[oid] = before | flag
        one = known.setdefault(oid, objects.commit(connection, repo_id, oid))
        heapq.heappush(heap, (-one.date, next(order), one))
        if flags[oid] & HELD:
            waiting.discard(oid)
        else:
            waiting.add(oid)

    for oid in haves:
        push(oid, HELD)
    for oid in tips:
        push(oid, WANTED)
    for oid in cut.unshallow:  # it has these, and lacks what is behind them
        for parent in objects.commit(connection, repo_id, oid).parents:
            if cut.within is None or parent in cut.within:
                push(parent, WANTED)
    while heap and waiting:
        one = heapq.heappop(heap)[2]
        flag = flags[one.oid]
        waiting.discard(one.oid)
        for parent in one.parents:
            if flag & HELD:
                if one.oid not in shallow:
                    push(parent, HELD)
            elif cut.within is None or parent in cut.within:
                push(parent, flag)
    send = [known[oid] for oid, flag in flags.items() if flag == WANTED and (cut.within is None or oid in cut.within)]
    edge = {parent for one in send for parent in one.parents if flags.get(parent, 0) & HELD}
    edge |= {oid for oid in haves if oid in known}
    return send, [known[oid] for oid in edge]


def _tree(connection: Connection, repo_id: int, root: str, into: set[str] | dict[str, None], held: Set[str]) -> None:
    """Adds a tree and all that is in it, but for what is held."""
    stack = [root]
    add = into.add if isinstance(into, set) else lambda oid: into.__setitem__(oid, None)
    while stack:
        oid = stack.pop()
        if oid in held or oid in into:
            continue
        add(oid)
        for one in objects.tree(connection, repo_id, oid).values():
            if one.oid in held or one.oid in into:
                continue
            if one.mode == FOLDER:
                stack.append(one.oid)
            else:
                add(one.oid)


def reachable(connection: Connection, repo_id: int, tips: Iterable[str], wants: Set[str]) -> bool:
    """Whether every one of `wants` can be reached from the tips."""
    left = set(wants)
    for one in walk.newest_first(connection, repo_id, tips):
        left.discard(one.oid)
        if not left:
            return True
    return not left
