"""collections: lists of repositories that somebody put together; each reader sees the items they may see."""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from modelcommons.errors import BadRequest, Conflict, Forbidden, HubError, Missing, Unprocessable
from modelcommons.hub import names, tables
from modelcommons.hub.actions import accounts, repos
from modelcommons.hub.actions.repos import Opened
from modelcommons.hub.names import RepoId
from modelcommons.hub.permissions import RANK, Principal
from modelcommons.hub.stores import Stores

MAX_TITLE = 60
MAX_DESCRIPTION = 150
MAX_NOTE = 500
MAX_ITEMS = 200
MAX_OWNED = 500  # collections of one account
SHOWN = 4  # items of each collection in a list
PAGE = 100
THEMES = ("orange", "blue", "green", "purple", "pink", "indigo")
SORTS = ("lastModified", "trending", "upvotes")  # nothing trends and nobody votes here: all three are by date
ID = re.compile(r"[0-9a-f]{24}")
SLUG = re.compile(r"(?:[a-z0-9-]{1,80}-)?([0-9a-f]{24})")

collections, items, people = tables.collections, tables.collection_items, tables.accounts


@dataclass(frozen=True, slots=True)
class Item:
    id: str
    repo: RepoId
    position: int
    note: str | None
    private: bool
    likes: int
    downloads: int
    updated: float


@dataclass(frozen=True, slots=True)
class Collection:
    slug: str  # ada/my-models-<24 digits>; the digits alone find it, whatever the title is by now
    title: str
    description: str
    owner: str
    private: bool
    theme: str
    position: int
    updated: float
    items: tuple[Item, ...]


# --- reading --------------------------------------------------------------------------------------------------------


def get(stores: Stores, who: Principal, owner: str, slug: str) -> Collection:
    """Raises: Missing: there is none, or it is private and not theirs; nobody can tell which."""
    with stores.database.reading() as connection:
        return _read(connection, who, _seen(connection, who, owner, slug))


def listing(
    stores: Stores,
    who: Principal,
    *,
    owners: Sequence[str] = (),
    item: RepoId | None = None,
    after: tuple[float, str] | None = None,
    limit: int = PAGE,
) -> tuple[list[Collection], tuple[float, str] | None]:
    """Newest change first, each with its first items; and where the next page begins, if there is one.

    Args:
        item: only collections that hold this repository.
    """
    limit = min(max(limit, 1), PAGE)
    query = _with_owner().order_by(collections.c.updated.desc(), collections.c.id.desc()).limit(limit + 1)
    if owners:
        query = query.where(people.c.key.in_([names.key(names.account(owner)) for owner in owners]))
    if after is not None:
        query = query.where(
            or_(
                collections.c.updated < after[0],
                (collections.c.updated == after[0]) & (collections.c.id < after[1]),
            )
        )
    if not (who.site_admin and who.scopes is None):
        query = query.where(_visible(who))
    with stores.database.reading() as connection:
        if item is not None:
            opened = _may_see(stores, who, item)
            if opened is None:
                return [], None
            holds = select(items.c.collection_id).where(items.c.repo_id == opened.repo.id)
            query = query.where(collections.c.id.in_(holds))
        rows = connection.execute(query).all()
        found = [_read(connection, who, row, shown=SHOWN) for row in rows[:limit]]
        following = (rows[limit - 1].updated, rows[limit - 1].id) if len(rows) > limit else None
    return found, following


def _visible(who: Principal) -> Any:
    """Public ones, one's own, and those of one's organisations; a token for some repositories opens none of these."""
    if who.user_id is None or who.scopes is not None:
        return ~collections.c.private
    orgs = select(tables.members.c.org_id).where(tables.members.c.user_id == who.user_id)
    mine = or_(collections.c.owner_id == who.user_id, collections.c.owner_id.in_(orgs))
    return or_(~collections.c.private, mine)


def _with_owner() -> Any:
    return select(collections, people.c.name.label("owner")).join(people, people.c.id == collections.c.owner_id)


def _seen(connection: Connection, who: Principal, owner: str, slug: str) -> Row[Any]:
    """The row; the owner must be right, the words of the slug need not."""
    match = SLUG.fullmatch(slug)
    row = connection.execute(_with_owner().where(collections.c.id == match[1])).first() if match else None
    if row is None or names.key(owner) != names.key(row.owner) or not _allowed(connection, who, row):
        raise Missing("There is no such collection.")
    return row


def _allowed(connection: Connection, who: Principal, row: Row[Any]) -> bool:
    if not row.private:
        return True
    if who.user_id is None or who.scopes is not None:
        return False
    return who.site_admin or accounts.role_in(connection, who.user_id, row.owner_id) is not None


def _read(connection: Connection, who: Principal, row: Row[Any], shown: int | None = None) -> Collection:
    found: list[Item] = []
    held = connection.execute(
        select(items).where(items.c.collection_id == row.id).order_by(items.c.position, items.c.id)
    ).all()
    for one in held:
        if shown is not None and len(found) >= shown:
            break
        try:
            repo = repos.open_id(connection, who, one.repo_id, "see").repo
        except HubError:  # an item that the reader may not see is not there for them
            continue
        about = connection.execute(
            select(tables.repos.c.likes, tables.repos.c.downloads, tables.repos.c.updated).where(
                tables.repos.c.id == repo.id
            )
        ).one()
        found.append(Item(one.id, repo.rid, one.position, one.note, repo.private, *about))
    return Collection(
        row.slug, row.title, row.description, row.owner, row.private, row.theme, row.position, row.updated, tuple(found)
    )


def _may_see(stores: Stores, who: Principal, rid: RepoId) -> Opened | None:
    try:
        return repos.open_repo(stores, who, rid, "see")
    except repos.Moved as moved:
        return _may_see(stores, who, moved.new_rid)
    except HubError:
        return None


# --- writing --------------------------------------------------------------------------------------------------------


def create(
    stores: Stores, who: Principal, *, title: str, namespace: str | None, description: str = "", private: bool = False
) -> Collection:
    """Raises: Conflict: the account has one with the same words in its slug; carries that one's slug."""
    title, description = names.line(title, "a title", 1, MAX_TITLE), _description(description)
    with stores.database.writing() as connection:
        who = _changing(stores, connection, who)
        owner_id, owner = _namespace(connection, who, namespace or who.name)
        start = f"{owner}/{_words(title)}"
        for slug in connection.scalars(select(collections.c.slug).where(collections.c.owner_id == owner_id)):
            if slug[: -len("-") - 24] == start.rstrip("-"):
                raise Conflict(f"{owner} has a collection called so already.", slug=slug)
        if (connection.scalar(select(func.count()).where(collections.c.owner_id == owner_id)) or 0) >= MAX_OWNED:
            raise BadRequest(f"{owner} has {MAX_OWNED} collections already. Delete one first.")
        id = secrets.token_hex(12)
        row = {
            "id": id, "owner_id": owner_id, "slug": _slug(owner, title, id), "title": title, "private": private,
            "description": description, "theme": "blue", "position": 0, "updated": stores.now(),
        }  # fmt: skip
        connection.execute(insert(collections).values(row))
        return _again(connection, who, id)


def change(
    stores: Stores,
    who: Principal,
    owner: str,
    slug: str,
    *,
    title: str | None = None,
    description: str | None = None,
    position: int | None = None,
    private: bool | None = None,
    theme: str | None = None,
) -> Collection:
    """What is None stays; a new title makes a new slug, with the same digits, so that old links still lead here."""
    if theme is not None and theme not in THEMES:
        raise BadRequest(f"Expected a theme, one of {', '.join(THEMES)}; got {theme[:40]!r}.")
    given: dict[str, Any] = {"position": _position(position), "private": private, "theme": theme}
    if title is not None:
        given["title"] = names.line(title, "a title", 1, MAX_TITLE)
    if description is not None:
        given["description"] = _description(description)
    values = {name: value for name, value in given.items() if value is not None}
    with stores.database.writing() as connection:
        who, row = _owned(stores, connection, who, owner, slug)
        if "title" in values:
            values["slug"] = _slug(row.owner, values["title"], row.id)
        _touch(stores, connection, row.id, **values)
        return _again(connection, who, row.id)


def remove(stores: Stores, who: Principal, owner: str, slug: str) -> None:
    with stores.database.writing() as connection:
        _, row = _owned(stores, connection, who, owner, slug)
        connection.execute(delete(collections).where(collections.c.id == row.id))


def add_item(
    stores: Stores, who: Principal, owner: str, slug: str, rid: RepoId, *, note: str | None = None
) -> Collection:
    """Raises: Conflict: it is in already; Missing: no such repository, as far as the person may know."""
    note = None if note is None else names.prose(note, "a note", 0, MAX_NOTE)
    opened = _may_see(stores, who, rid)
    with stores.database.writing() as connection:
        who, row = _owned(stores, connection, who, owner, slug)
        if opened is None:
            raise Missing(f"There is no {rid.kind} called {rid}.")
        held = connection.execute(select(items).where(items.c.collection_id == row.id)).all()
        if any(one.repo_id == opened.repo.id for one in held):
            raise Conflict(f"{rid} is in the collection already.", slug=row.slug)
        if len(held) >= MAX_ITEMS:
            raise BadRequest(f"A collection has at most {MAX_ITEMS} items.")
        repos.open_id(connection, who, opened.repo.id, "see")  # it may have gone, or gone private, meanwhile
        last = max((one.position for one in held), default=-1)
        new = {
            "id": secrets.token_hex(12), "collection_id": row.id, "repo_id": opened.repo.id, "note": note or None,
            "position": last + 1,
        }  # fmt: skip
        connection.execute(insert(items).values(new))
        _touch(stores, connection, row.id)
        return _again(connection, who, row.id)


def change_item(
    stores: Stores,
    who: Principal,
    owner: str,
    slug: str,
    id: str,
    *,
    note: str | None = None,
    position: int | None = None,
) -> Collection:
    """An empty note takes the note away; a position moves the item before the one that is there."""
    note, position = None if note is None else names.prose(note, "a note", 0, MAX_NOTE), _position(position)
    with stores.database.writing() as connection:
        who, row = _owned(stores, connection, who, owner, slug)
        order = _order(connection, row.id, id)
        if note is not None:
            connection.execute(update(items).where(items.c.id == id).values(note=note or None))
        if position is not None:
            order.remove(id)
            order.insert(position, id)
            for place, one in enumerate(order):
                connection.execute(update(items).where(items.c.id == one).values(position=place))
        _touch(stores, connection, row.id)
        return _again(connection, who, row.id)


def remove_item(stores: Stores, who: Principal, owner: str, slug: str, id: str) -> None:
    with stores.database.writing() as connection:
        _, row = _owned(stores, connection, who, owner, slug)
        _order(connection, row.id, id)
        connection.execute(delete(items).where(items.c.id == id))
        _touch(stores, connection, row.id)


def _order(connection: Connection, collection_id: str, id: str) -> list[str]:
    """The items' ids in order. Raises: Missing: `id` is none of them."""
    query = select(items.c.id).where(items.c.collection_id == collection_id).order_by(items.c.position, items.c.id)
    order = list(connection.scalars(query))
    if id not in order:
        raise Missing("The collection has no such item.")
    return order


def _touch(stores: Stores, connection: Connection, id: str, **values: Any) -> None:
    connection.execute(update(collections).where(collections.c.id == id).values(updated=stores.now(), **values))


def _again(connection: Connection, who: Principal, id: str) -> Collection:
    return _read(connection, who, connection.execute(_with_owner().where(collections.c.id == id)).one())


def _changing(stores: Stores, connection: Connection, who: Principal) -> Principal:
    """The person as they are now. Raises: Unauthorized, Forbidden: they may change nothing."""
    accounts.may_change(who)
    now = accounts.again(connection, who.credential, stores.now())
    accounts.may_change(now)
    return now


def _namespace(connection: Connection, who: Principal, name: str) -> tuple[int, str]:
    """An account in which the person may write: its number, and its name as it is spelt."""
    key = names.key(names.account(name))
    row = connection.execute(select(people.c.id, people.c.name).where(people.c.key == key)).first()
    if row is None or not _writes(connection, who, row.id):
        raise Forbidden(f'You don\'t have the rights to create a collection under the namespace "{name[:100]}".')
    return row.id, row.name


def _writes(connection: Connection, who: Principal, owner_id: int) -> bool:
    assert who.user_id is not None
    return who.site_admin or RANK[accounts.role_in(connection, who.user_id, owner_id)] >= RANK["write"]


def _owned(stores: Stores, connection: Connection, who: Principal, owner: str, slug: str) -> tuple[Principal, Row[Any]]:
    """A collection that the person may change, held until the transaction ends."""
    who = _changing(stores, connection, who)
    row = _seen(connection, who, owner, slug)
    if not _writes(connection, who, row.owner_id):
        raise Forbidden(f"This needs the role write in {row.owner}.")
    connection.execute(select(collections.c.id).where(collections.c.id == row.id).with_for_update())
    return who, row


def _description(text: str) -> str:
    return names.prose(text, "a description", 0, MAX_DESCRIPTION)


def _position(position: int | None) -> int | None:
    if position is not None and not 0 <= position <= 10_000:
        raise Unprocessable(f"Expected a position from 0 to 10,000, got {position}.")
    return position


def _words(title: str) -> str:
    """`My models, 2026!` -> `my-models-2026`; a title without such letters leaves nothing."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return "-".join(re.findall(r"[a-z0-9]+", plain))[:80].strip("-")


def _slug(owner: str, title: str, id: str) -> str:
    words = _words(title)
    return f"{owner}/{words}-{id}" if words else f"{owner}/{id}"
