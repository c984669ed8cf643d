"""walk: along the parents of commits: logs, what changed a path last, where two histories meet."""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator

from sqlalchemy import Connection

from modelcommons.hub.history import objects, trees
from modelcommons.hub.history.objects import FOLDER, Commit, Entry

MAX_STEPS = 20_000  # commits that a search for the last change looks at


def newest_first(connection: Connection, repo_id: int, tips: Iterable[str]) -> Iterator[Commit]:
    """Every commit that can be reached, the newest of those at hand first."""
    heap: list[tuple[float, int, Commit]] = []
    seen: set[str] = set()
    order = itertools.count()

    def push(oid: str) -> None:
        if oid not in seen:
            seen.add(oid)
            one = objects.commit(connection, repo_id, oid)
            heapq.heappush(heap, (-one.date, next(order), one))

    for oid in tips:
        push(oid)
    while heap:
        one = heapq.heappop(heap)[2]
        yield one
        for parent in one.parents:
            push(parent)


def log(connection: Connection, repo_id: int, oid: str, skip: int, limit: int, path: str | None = None) -> list[Commit]:
    """Commits from `oid` back, newest first; with `path` those that changed it."""
    found = newest_first(connection, repo_id, [oid]) if path is None else _changes(connection, repo_id, oid, path)
    return list(itertools.islice(found, skip, skip + limit))


def _changes(connection: Connection, repo_id: int, oid: str, path: str) -> Iterator[Commit]:
    """As `git log -- path`: where one parent has the same there, the others are not followed."""
    heap: list[tuple[float, int, Commit]] = []
    seen: set[str] = set()
    order = itertools.count()

    def push(commit: str) -> None:
        if commit not in seen:
            seen.add(commit)
            one = objects.commit(connection, repo_id, commit)
            heapq.heappush(heap, (-one.date, next(order), one))

    push(oid)
    while heap:
        one = heapq.heappop(heap)[2]
        here = trees.find(connection, repo_id, one.oid, path)
        same = [parent for parent in one.parents if trees.find(connection, repo_id, parent, path) == here]
        if not same and (one.parents or here is not None):
            yield one
        for parent in same[:1] or one.parents:
            push(parent)


def last_commits(connection: Connection, repo_id: int, commit: str, paths: Iterable[str]) -> dict[str, Commit]:
    """The commit that last changed each path, as `git log -1 -- path` says.

    A path that is not in `commit`, or was last changed more than `MAX_STEPS` commits ago, is left out.
    """
    found: dict[str, Commit] = {}
    waiting: dict[str, dict[str, Entry]] = defaultdict(dict)  # commit -> path -> what is there
    for path in paths:
        if (here := trees.find(connection, repo_id, commit, path)) is not None:
            waiting[commit][path] = here
    for one in itertools.islice(newest_first(connection, repo_id, [commit]), MAX_STEPS):
        if not waiting:
            break
        here_all = waiting.pop(one.oid, None)
        if here_all is None:
            continue
        for parent in one.parents:
            there = _finds(connection, repo_id, parent, here_all)
            same = [path for path, here in here_all.items() if there.get(path) == here]
            for path in same:
                waiting[parent][path] = here_all.pop(path)
        for path in here_all:
            found[path] = one
    return found


def _finds(connection: Connection, repo_id: int, commit: str, paths: Iterable[str]) -> dict[str, Entry | None]:
    """`trees.find` for many paths, each folder opened once."""
    root = Entry(FOLDER, objects.commit(connection, repo_id, commit).tree)
    folders: dict[str, dict[str, Entry]] = {"": objects.tree(connection, repo_id, root.oid)}

    def opened(folder: str) -> dict[str, Entry]:
        if folder not in folders:
            above, _, name = folder.rpartition("/")
            one = opened(above).get(name)
            folders[folder] = objects.tree(connection, repo_id, one.oid) if one and one.mode == FOLDER else {}
        return folders[folder]

    found: dict[str, Entry | None] = {}
    for path in paths:
        above, _, name = path.rpartition("/")
        found[path] = opened(above).get(name) if path else root
    return found


def is_ancestor(connection: Connection, repo_id: int, old: str, new: str) -> bool:
    """Whether `new` can be reached from `old` by adding commits."""
    return any(one.oid == old for one in newest_first(connection, repo_id, [new]))


def merge_base(connection: Connection, repo_id: int, a: str, b: str) -> str | None:
    """The newest commit that both histories have; None where they have none in common."""
    sides: dict[str, int] = {}
    heap: list[tuple[float, int, Commit]] = []
    order = itertools.count()

    def push(oid: str, side: int) -> None:
        if sides.get(oid, 0) | side != sides.get(oid):
            sides[oid] = sides.get(oid, 0) | side
            one = objects.commit(connection, repo_id, oid)
            heapq.heappush(heap, (-one.date, next(order), one))

    push(a, 1)
    push(b, 2)
    while heap:
        one = heapq.heappop(heap)[2]
        if sides[one.oid] == 3:
            return one.oid
        for parent in one.parents:
            push(parent, sides[one.oid])
    return None
