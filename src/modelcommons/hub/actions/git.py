"""git: what `git clone`, `git fetch` and `git push` ask of a repository."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

from sqlalchemy import Connection

from modelcommons.errors import Conflict, Forbidden, HubError, Stale, StoreFailed, Unprocessable
from modelcommons.hub import history, names
from modelcommons.hub.actions import card, commits, proposals, repos
from modelcommons.hub.actions.repos import Opened
from modelcommons.hub.history import intake, objects, packs, reach
from modelcommons.hub.history.intake import Intake
from modelcommons.hub.history.objects import COMMIT
from modelcommons.hub.history.quarantine import Quarantine
from modelcommons.hub.names import PULL
from modelcommons.hub.stores import Stores

ZERO = "0" * 40  # git's "nothing": a ref that is made has it as old, one that is removed as new
MAX_COMMANDS = 1000  # refs of one push


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client wants, and what it says it has."""

    wants: Sequence[str]
    haves: Sequence[str] = ()
    shallow: frozenset[str] = frozenset()  # where its history begins
    depth: int | None = None
    include_tag: bool = False


@dataclass(frozen=True, slots=True)
class Common:
    """What client and repository both have, and where a shallow history will begin."""

    haves: list[str]
    cut: reach.Cut


@dataclass(frozen=True, slots=True)
class Command:
    """One ref that a push wants to move."""

    old: str | None
    new: str | None
    name: str


@dataclass(slots=True)
class Pushed:
    """What became of a push."""

    refused: dict[str, str] = field(default_factory=dict)  # ref -> why
    warnings: list[str] = field(default_factory=list)


# --- fetch ----------------------------------------------------------------------------------------------------------


def advertised(stores: Stores, opened: Opened) -> list[history.Ref]:
    """Every ref of the repository: who may read its content may read all of them."""
    with stores.database.reading() as connection:
        return history.all_refs(connection, opened.repo.id)


def negotiate(stores: Stores, opened: Opened, wish: Wish) -> Common:
    """Raises: Unprocessable: something is wanted that no ref leads to."""
    assert opened.allows("content")
    repo_id = opened.repo.id
    with stores.database.reading() as connection:
        refs = history.all_refs(connection, repo_id)
        others = set(wish.wants) - {one.oid for one in refs} - {one.commit for one in refs}
        if others and not reach.reachable(connection, repo_id, [one.commit for one in refs], others):
            raise Unprocessable(f"upload-pack: not our ref {min(others)}")
        here = objects.types(connection, repo_id, {*wish.haves, *wish.shallow})
        tips = [history.resolve(connection, repo_id, oid) for oid in wish.wants]
        cut = reach.cut(connection, repo_id, tips, wish.depth, wish.shallow)
        return Common([oid for oid in wish.haves if here.get(oid) == COMMIT], cut)


def pack(stores: Stores, opened: Opened, wish: Wish, common: Common) -> Iterator[bytes]:
    """The pack that the client lacks, piece by piece."""
    assert opened.allows("content")
    repo_id = opened.repo.id
    with stores.database.reading() as connection:
        found = reach.lacking(
            connection, repo_id, wish.wants, common.haves, cut=common.cut,
            shallow=wish.shallow - common.cut.unshallow if wish.depth is None else wish.shallow,
        )  # fmt: skip
        if wish.include_tag:
            sent = set(found)
            refs = history.all_refs(connection, repo_id)
            found += [one.oid for one in refs if one.oid != one.commit and one.commit in sent and one.oid not in sent]
    return _pieces(stores, repo_id, found)


def _pieces(stores: Stores, repo_id: int, oids: list[str]) -> Iterator[bytes]:
    """A pack, with git's checksum at its end; no transaction is open while a piece is on its way."""
    digest = hashlib.sha1(usedforsecurity=False)
    pieces = itertools.chain([packs.head(len(oids))], _groups(stores, repo_id, oids))
    for piece in pieces:
        digest.update(piece)
        yield piece
    yield digest.digest()


def _groups(stores: Stores, repo_id: int, oids: list[str]) -> Iterator[bytes]:
    with stores.database.reading() as connection:
        groups = packs.groups(connection, repo_id, oids)
    if sum(map(len, groups)) != len(oids):
        raise StoreFailed("The hub's store lacks objects that a commit names. `commons hub fsck` tells more.")
    for some in groups:
        with stores.database.reading() as connection:
            piece = packs.entries(connection, repo_id, some)
        yield piece


# --- push -----------------------------------------------------------------------------------------------------------


def push(
    stores: Stores, opened: Opened, commands: Sequence[Command], body: IO[bytes] | None, *, atomic: bool = False
) -> Pushed:
    """Looks at what was sent, and moves the refs that may be moved, in one transaction.

    Args:
        body: the pack, from where it stands; None where refs are only removed.
        atomic: all of the refs or none.

    Raises:
        Unprocessable: the pack is damaged, or something in it cannot be; nothing has moved.
    """
    if len(commands) > MAX_COMMANDS or len({one.name for one in commands}) < len(commands):
        raise Unprocessable(f"Expected at most {MAX_COMMANDS:,} refs in a push, each once.")
    pushed = Pushed()
    with Quarantine(commits.incoming(stores)) as quarantine:
        with stores.database.reading() as connection:
            came = _intake(connection, opened, quarantine, body)
        with suppress(_Undone), stores.database.writing() as connection:
            opened = repos.still(connection, opened)
            repo_id = opened.repo.id
            # asked again: what lay about without a ref may have been collected meanwhile
            intake.missing(connection, repo_id, came.named)
            large = [one.sha256 for one in came.pointers]
            intake.check_pointers(came.pointers, commits.claimed(connection, repo_id, large))
            objects.put(connection, repo_id, quarantine.rows(), stores.now())
            moved = _move_all(stores, connection, opened, commands, pushed)
            if not moved or (atomic and pushed.refused):
                raise _Undone
            pushed.warnings += commits.moved(stores, connection, opened, moved)
        if atomic and pushed.refused:
            pushed.refused = {one.name: pushed.refused.get(one.name, "another ref was refused") for one in commands}
    card.weigh(stores, opened.repo.id)
    return pushed


class _Undone(Exception):
    """No ref moves, so that nothing of what was sent is kept."""


def _intake(connection: Connection, opened: Opened, quarantine: Quarantine, body: IO[bytes] | None) -> Intake:
    repo_id = opened.repo.id

    def base(oid: str) -> tuple[int, bytes] | None:
        kind = objects.type_of(connection, repo_id, oid)
        return None if kind is None else (kind, objects.read(connection, repo_id, oid, kind))

    too_large: dict[str, int] = {}
    if body is not None:
        unpacker = packs.Unpacker(body, quarantine, base)
        unpacker.run()
        too_large = unpacker.too_large
    came = Intake(connection, repo_id, quarantine, too_large)
    came.run()
    return came


def _move_all(
    stores: Stores, connection: Connection, opened: Opened, commands: Sequence[Command], pushed: Pushed
) -> list[tuple[str, str | None, str | None]]:
    moved = []
    for one in commands:
        try:
            _move(stores, connection, opened, one)
        except HubError as error:
            pushed.refused[one.name] = str(error)
        else:
            moved.append((one.name, one.old, one.new))
    return moved


def _move(stores: Stores, connection: Connection, opened: Opened, one: Command) -> None:
    """Raises: HubError: the ref may not move so; the words are for the person who pushes."""
    repo_id = opened.repo.id
    if one.old is None and one.new is None:
        raise Unprocessable("this changes nothing")
    if history.ref(connection, repo_id, one.name) != one.old:
        raise Stale("fetch first: somebody else has moved it")
    if pull := PULL.fullmatch(one.name):
        _check_proposal(connection, opened, one, int(pull[1]))
    else:
        _check_ref(connection, opened, one)
    if one.new is not None:
        _check_target(connection, repo_id, one)
    if not history.move_ref(connection, repo_id, one.name, one.old, one.new):
        raise Stale("fetch first: somebody else has moved it")
    if pull and one.new is not None:
        new = _between(connection, repo_id, one.old, one.new)
        proposals.pushed(stores, connection, opened, int(pull[1]), [(each.oid, each.title) for each in new])


def _check_proposal(connection: Connection, opened: Opened, one: Command, number: int) -> None:
    if one.old is None or one.new is None:
        raise Forbidden("a proposal is opened and closed on its page")
    proposals.may_push(connection, opened, number)


def _check_ref(connection: Connection, opened: Opened, one: Command) -> None:
    """Branches and tags are for writers; main goes forward only, unless an administrator wants otherwise."""
    if not one.name.startswith(("refs/heads/", "refs/tags/")):
        raise Forbidden("push to refs/heads/, refs/tags/ or to a proposal, refs/pr/")
    names.ref_name(one.name.split("/", 2)[2])
    repos.open_id(connection, opened.who, opened.repo.id, "write")
    if one.old is None:
        commits.check_nesting(connection, opened.repo.id, one.name)
    if one.name == history.MAIN:
        if one.new is None:
            raise Forbidden(f"Cannot delete {history.MAIN}")
        if one.old and not _is_forward(connection, opened.repo.id, one.old, one.new):
            try:
                repos.open_id(connection, opened.who, opened.repo.id, "admin")
            except HubError:
                raise Forbidden("not a fast-forward: only an administrator may rewrite main") from None


def _is_forward(connection: Connection, repo_id: int, old: str, new: str) -> bool:
    kind = objects.type_of(connection, repo_id, new)
    return kind == COMMIT and history.is_ancestor(connection, repo_id, old, new)


def _check_target(connection: Connection, repo_id: int, one: Command) -> None:
    assert one.new is not None
    kind = objects.type_of(connection, repo_id, one.new)
    if kind is None:
        raise Unprocessable("the push does not bring what it names")
    if one.name.startswith("refs/tags/"):
        history.resolve(connection, repo_id, one.new)
    elif kind != COMMIT:
        raise Conflict("a branch leads to a commit")


def _between(connection: Connection, repo_id: int, old: str | None, new: str) -> list[history.Commit]:
    """Commits that came, the oldest first, as many as a proposal tells."""
    found = history.log(connection, repo_id, new, 0, proposals.MAX_PUSHED)
    return list(itertools.takewhile(lambda one: one.oid != old, found))[::-1]
