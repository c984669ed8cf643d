"""likes: who likes what; counted beside the repository in the same transaction."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select, update

from modelcommons.errors import Missing
from modelcommons.hub import names
from modelcommons.hub.actions.listing import visible
from modelcommons.hub.actions.repos import Opened, still
from modelcommons.hub.database import insert_new
from modelcommons.hub.names import RepoId
from modelcommons.hub.permissions import Principal
from modelcommons.hub.stores import Stores
from modelcommons.hub.tables import accounts, likes, repos


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    fullname: str


@dataclass(frozen=True, slots=True)
class Liked:
    rid: RepoId
    created: float


def like(stores: Stores, opened: Opened) -> None:
    """Liking twice is liking once."""
    assert opened.allows("discuss")
    with stores.database.writing() as connection:
        who = still(connection, opened).who
        row = {"repo_id": opened.repo.id, "user_id": who.user_id, "created": stores.now()}
        insert_new(connection, likes, [row])
        _count(connection, opened.repo.id)


def unlike(stores: Stores, opened: Opened) -> None:
    assert opened.allows("discuss")
    with stores.database.writing() as connection:
        who = still(connection, opened).who
        mine = (likes.c.repo_id == opened.repo.id) & (likes.c.user_id == who.user_id)
        connection.execute(delete(likes).where(mine))
        _count(connection, opened.repo.id)


def _count(connection: Connection, repo_id: int) -> None:
    number = select(func.count()).select_from(likes).where(likes.c.repo_id == repo_id).scalar_subquery()
    connection.execute(update(repos).where(repos.c.id == repo_id).values(likes=number))


def likers(stores: Stores, opened: Opened) -> list[Person]:
    """Who likes it, the first of them first."""
    with stores.database.reading() as connection:
        rows = connection.execute(
            select(accounts.c.name, accounts.c.fullname)
            .join(likes, likes.c.user_id == accounts.c.id)
            .where(likes.c.repo_id == opened.repo.id)
            .order_by(likes.c.created, accounts.c.id)
        )
        return [Person(row.name, row.fullname) for row in rows]


def liked(stores: Stores, who: Principal, user: str) -> list[Liked]:
    """What a person likes, of that what the one who asks may see; newest first.

    Raises:
        Missing: there is no such person.
    """
    owner = accounts.alias("owner")
    with stores.database.reading() as connection:
        found = connection.scalar(
            select(accounts.c.id).where(accounts.c.key == names.key(names.account(user)), accounts.c.kind == "user")
        )
        if found is None:
            raise Missing(f"There is no user called {user[:100]}.")
        rows = connection.execute(
            select(repos.c.kind, owner.c.name.label("owner"), repos.c.name, likes.c.created)
            .join(likes, likes.c.repo_id == repos.c.id)
            .join(owner, owner.c.id == repos.c.owner_id)
            .where(likes.c.user_id == found, visible(who))
            .order_by(likes.c.created.desc(), repos.c.id.desc())
        )
        return [Liked(RepoId(row.kind, row.owner, row.name), row.created) for row in rows]
