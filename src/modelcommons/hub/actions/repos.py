"""repos: open, create, delete, move and set up repositories; `Opened` is the evidence that permission was checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import BindParameter, Connection, Row, Select, and_, bindparam, select

from modelcommons.errors import HubError, RepoNotFound
from modelcommons.hub import names, permissions, tables
from modelcommons.hub.actions.accounts import again
from modelcommons.hub.names import RepoId
from modelcommons.hub.permissions import Ability, Principal, Repo, Role
from modelcommons.hub.stores import Stores

# what a person with one ability may do besides
IMPLIED: dict[Ability, frozenset[Ability]] = {
    "see": frozenset({"see"}),
    "content": frozenset({"see", "content"}),
    "discuss": frozenset({"see", "discuss"}),
    "write": frozenset({"see", "content", "discuss", "write"}),
    "admin": frozenset({"see", "content", "discuss", "write", "admin"}),
}

repos, accounts, members, requests = tables.repos, tables.accounts, tables.members, tables.access_requests


@dataclass(frozen=True, slots=True)
class Opened:
    """A repository, and the proof that this person may do this to it. Only `open_repo` and `still` make one."""

    repo: Repo
    ability: Ability
    who: Principal
    role: Role | None  # in the repository's owner

    def allows(self, ability: Ability) -> bool:
        return ability in IMPLIED[self.ability]


class Moved(HubError):
    """The repository has another address, or another spelling, which the client is sent to."""

    status = 307

    def __init__(self, new_rid: RepoId) -> None:
        super().__init__(f"This is now {new_rid}.")
        self.new_rid = new_rid


def _opening() -> Select[Any]:
    """Everything that `permissions.check` asks, in one query; parameter `me` is -1 for nobody."""
    me: BindParameter[int] = bindparam("me")
    return (
        select(
            repos.c.id,
            repos.c.kind,
            accounts.c.name.label("owner"),
            repos.c.name,
            repos.c.owner_id,
            repos.c.private,
            repos.c.gated,
            repos.c.disabled,
            members.c.role,
            requests.c.status,
        )
        .join(accounts, accounts.c.id == repos.c.owner_id)
        .outerjoin(members, and_(members.c.org_id == repos.c.owner_id, members.c.user_id == me))
        .outerjoin(requests, and_(requests.c.repo_id == repos.c.id, requests.c.user_id == me))
    )


BY_NAME = _opening().where(
    repos.c.kind == bindparam("kind"), accounts.c.key == bindparam("owner_key"), repos.c.key == bindparam("key")
)
BY_ID = _opening().where(repos.c.id == bindparam("id"))
MOVED = select(tables.moves.c.repo_id).where(
    tables.moves.c.kind == bindparam("kind"),
    tables.moves.c.owner_key == bindparam("owner_key"),
    tables.moves.c.key == bindparam("key"),
)


def open_repo(stores: Stores, who: Principal, rid: RepoId, ability: Ability) -> Opened:
    """The repository called `rid`, for a person who may do `ability` to it.

    Raises:
        Moved: it has another address now, and the person may see it there.
        RepoNotFound: it is not there, or the person may not know of it.
        Unauthorized, Forbidden, Gated: as `permissions.check` says.
    """
    with stores.database.reading() as connection:
        me = _me(who)
        where = {"kind": rid.kind, "owner_key": names.key(rid.owner), "key": names.key(rid.name)}
        row = connection.execute(BY_NAME, where | {"me": me}).first()
        moved = None
        # what is hidden is asked for as often as what is not there: time must not tell one from the other
        if row is None or (row.private and not _is_seen(row, who)):
            moved = connection.execute(MOVED, where).scalar()
        if row is None and moved is not None:
            row = connection.execute(BY_ID, {"id": moved, "me": me}).first()
    if row is None:
        raise permissions.not_found(rid)
    return _checked(row, who, ability, asked=rid)


def open_id(connection: Connection, who: Principal, repo_id: int, ability: Ability) -> Opened:
    """The repository that a ticket names, whatever it is called by now.

    Raises:
        RepoNotFound, Unauthorized, Forbidden, Gated: as `open_repo`.
    """
    row = connection.execute(BY_ID, {"id": repo_id, "me": _me(who)}).first()
    if row is None:
        raise permissions.not_found()
    return _checked(row, who, ability, asked=None)


def still(connection: Connection, opened: Opened) -> Opened:
    """The same permission, asked again inside the transaction that is going to write.

    Rows are locked in one order, repository first, so that whoever takes a right away waits for this transaction or
    goes before it; on SQLite a writer is alone anyway.

    Raises:
        RepoNotFound: the repository was deleted, or made invisible to the person.
        Unauthorized: the token was revoked, the session has ended, or the person was suspended.
        Forbidden: the person or the token lost the role it takes.
    """
    repo_id = opened.repo.id
    connection.execute(select(repos.c.id).where(repos.c.id == repo_id).with_for_update(key_share=True))
    who = still_signed_in(connection, opened.who)
    if who.user_id is not None:
        mine = and_(members.c.org_id == opened.repo.owner_id, members.c.user_id == who.user_id)
        connection.execute(select(members.c.role).where(mine).with_for_update(read=True))
    row = connection.execute(BY_ID, {"id": repo_id, "me": _me(who)}).first()
    if row is None:
        raise permissions.not_found(opened.repo.rid)
    return _checked(row, who, opened.ability, asked=None)


def still_signed_in(connection: Connection, who: Principal) -> Principal:
    """The person as they are now.

    Raises:
        Unauthorized: the token was revoked, the session has ended, or the person was suspended.
    """
    if who.user_id is None:
        return who
    held = select(accounts.c.id).where(accounts.c.id == who.user_id).with_for_update(read=True)
    connection.execute(held)
    kind, _, value = who.credential.partition(":")
    if kind == "token":
        row = select(tables.tokens.c.id).where(tables.tokens.c.sha256 == value)
        connection.execute(row.with_for_update(read=True))
    # whether it has expired was asked when the request came in: a request that began in time may end
    return replace(again(connection, who.credential, now=0.0), carrier=who.carrier)


def _me(who: Principal) -> int:
    return -1 if who.user_id is None else who.user_id


def _is_seen(row: Row[Any], who: Principal) -> bool:
    try:
        permissions.check("see", who, _repo(row), _role(row, who))
    except RepoNotFound:
        return False
    except HubError:  # disabled, or a token that is not enough: it is told that it is there
        return True
    return True


def _repo(row: Row[Any]) -> Repo:
    return Repo(
        id=row.id,
        rid=RepoId(row.kind, row.owner, row.name),
        owner_id=row.owner_id,
        private=row.private,
        gated=row.gated,
        disabled=row.disabled,
    )


def _role(row: Row[Any], who: Principal) -> Role | None:
    return "admin" if row.owner_id == who.user_id else row.role


def _checked(row: Row[Any], who: Principal, ability: Ability, *, asked: RepoId | None) -> Opened:
    repo, role = _repo(row), _role(row, who)
    on_list = row.status == "accepted"
    if asked is not None and repo.rid != asked:
        permissions.check("see", who, repo, role)  # the new name is told only to those who may know of it
        raise Moved(repo.rid)
    permissions.check(ability, who, repo, role, on_list=on_list)
    return Opened(repo, ability, who, role)
