"""people: what anybody may know of a person or an organisation; what is counted is what the reader may see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Row, func, select

from modelcommons.errors import Missing, Unprocessable
from modelcommons.hub import names, tables
from modelcommons.hub.actions import accounts
from modelcommons.hub.actions.listing import visible
from modelcommons.hub.permissions import Principal, Role
from modelcommons.hub.stores import Stores

people, repos, members = tables.accounts, tables.repos, tables.members


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    fullname: str


@dataclass(frozen=True, slots=True)
class Member:
    person: Person
    role: Role


@dataclass(frozen=True, slots=True)
class User:
    person: Person
    created: float
    num_repos: dict[str, int]  # kind -> how many the reader may see
    num_discussions: int
    num_likes: int
    orgs: tuple[Person, ...]


@dataclass(frozen=True, slots=True)
class Organisation:
    person: Person
    created: float
    num_repos: dict[str, int]
    num_users: int


def user(stores: Stores, who: Principal, name: str) -> User:
    """Raises: Missing: there is no such user."""
    with stores.database.reading() as connection:
        row = _account(connection, name, "user")
        seen = visible(who)
        orgs = accounts.memberships(connection, row.id)
        return User(
            Person(row.name, row.fullname),
            row.created,
            _num_repos(connection, row.id, seen),
            _count(connection, tables.discussions, tables.discussions.c.author_id == row.id, seen),
            _count(connection, tables.likes, tables.likes.c.user_id == row.id, seen),
            tuple(Person(one.org, one.fullname) for one in orgs),
        )


def organisation(stores: Stores, who: Principal, name: str) -> Organisation:
    """Raises: Missing: there is no such organisation."""
    with stores.database.reading() as connection:
        row = _account(connection, name, "org")
        num_users = connection.scalar(select(func.count()).where(members.c.org_id == row.id)) or 0
        num_repos = _num_repos(connection, row.id, visible(who))
        return Organisation(Person(row.name, row.fullname), row.created, num_repos, num_users)


def in_organisation(stores: Stores, name: str) -> list[Member]:
    """Raises: Missing: there is no such organisation."""
    with stores.database.reading() as connection:
        row = _account(connection, name, "org")
        found = connection.execute(
            select(people.c.name, people.c.fullname, members.c.role)
            .join(members, members.c.user_id == people.c.id)
            .where(members.c.org_id == row.id, ~people.c.suspended)
            .order_by(people.c.key)
        )
        return [Member(Person(one.name, one.fullname), one.role) for one in found]


def exists(stores: Stores, name: str, kind: Literal["user", "org"]) -> None:
    """Raises: Missing: there is none of that name and kind."""
    with stores.database.reading() as connection:
        _account(connection, name, kind)


def _account(connection: Connection, name: str, kind: str) -> Row[Any]:
    try:
        key = names.key(names.account(name))
    except Unprocessable:  # nobody can be called so
        key = ""
    row = connection.execute(select(people).where(people.c.key == key, people.c.kind == kind)).first()
    if row is None:
        raise Missing(f"There is no {'user' if kind == 'user' else 'organisation'} called {name[:100]}.")
    return row


def _num_repos(connection: Connection, owner_id: int, seen: ColumnElement[bool]) -> dict[str, int]:
    rows = connection.execute(
        select(repos.c.kind, func.count()).where(repos.c.owner_id == owner_id, seen).group_by(repos.c.kind)
    )
    return dict.fromkeys(names.KINDS, 0) | {row[0]: row[1] for row in rows}


def _count(connection: Connection, table: Any, theirs: ColumnElement[bool], seen: ColumnElement[bool]) -> int:
    """Rows about repositories that the reader may see."""
    joined = select(func.count()).select_from(table.join(repos, repos.c.id == table.c.repo_id))
    return connection.scalar(joined.where(theirs, seen)) or 0
