"""listing: describe one repository, or find many; what a person may not see is in no list and in no count."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    false,
    func,
    or_,
    select,
    true,
    tuple_,
)  # fmt: skip

from modelcommons.errors import BadRequest, Forbidden, Missing
from modelcommons.hub import history, names
from modelcommons.hub.actions import card
from modelcommons.hub.actions.accounts import role_in
from modelcommons.hub.actions.repos import Opened
from modelcommons.hub.history.objects import cache
from modelcommons.hub.names import Kind, RepoId
from modelcommons.hub.permissions import RANK, Principal
from modelcommons.hub.stores import Stores
from modelcommons.hub.tables import accounts, claims, files, members, refs, repo_tags, repos

MAX_PAGE = 1000
MAX_HEAVY_PAGE = 100  # where each row has its files
MAX_SEARCH = 256  # characters
MAX_FILTERS = 50
SORTS = {
    "lastModified": repos.c.updated, "createdAt": repos.c.created, "likes": repos.c.likes,
    "downloads": repos.c.downloads,
    # huggingface_hub's word; what is liked most stands first here too
    "trendingScore": repos.c.likes,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class About:
    """A repository as it is shown."""

    id: int
    rid: RepoId
    sha: str | None  # the commit that the rest is about
    private: bool
    gated: str | None
    disabled: bool
    created: float
    updated: float
    downloads: int
    likes: int
    card: dict[str, Any]
    tags: list[str]
    pipeline_tag: str | None
    library_name: str | None
    sdk: str | None
    details: dict[str, Any]
    size: int  # bytes of the files on main
    used: int  # bytes of all large files, those of old commits too; 0 where it was not asked
    files: Sequence[history.Node] = ()


def used() -> Any:
    """Bytes of the large files that a repository holds, whatever commit they belong to."""
    return (
        select(func.coalesce(func.sum(files.c.size), 0))
        .join(claims, claims.c.sha256 == files.c.sha256)
        .where(claims.c.repo_id == repos.c.id)
        .correlate(repos)
        .scalar_subquery()
    )


COLUMNS = (
    repos.c.id, repos.c.kind, accounts.c.name.label("owner"), repos.c.name, repos.c.private, repos.c.gated,
    repos.c.disabled, repos.c.created, repos.c.updated, repos.c.downloads, repos.c.likes, repos.c.tags,
    repos.c.pipeline_tag, repos.c.library_name, repos.c.sdk, repos.c.size, refs.c.oid.label("main"),
)  # fmt: skip


def _selected(*more: Any) -> Select[Any]:
    main = and_(refs.c.repo_id == repos.c.id, refs.c.name == history.MAIN)
    return select(*COLUMNS, *more).join(accounts, accounts.c.id == repos.c.owner_id).outerjoin(refs, main)


_ID: BindParameter[int] = bindparam("id")
ONE = _selected(repos.c.card, repos.c.details, used().label("used")).where(repos.c.id == _ID)


def about(stores: Stores, opened: Opened, revision: str | None = None, *, weigh: bool = True) -> About:
    """One repository at main, or at another revision.

    Args:
        weigh: count the parameters of its weights, should that not have been done.

    Raises:
        RevisionNotFound: it has no such revision.
    """
    repo_id, kind = opened.repo.id, opened.repo.rid.kind
    with stores.database.reading() as connection:
        row = connection.execute(ONE, {"id": repo_id}).one()
        sha = row.main if revision is None else history.resolve(connection, repo_id, revision)
        if sha is not None and sha != row.main:
            facts = card.facts_of(connection, repo_id, kind, sha)
            updated = history.commit(connection, repo_id, sha).date
            return About(
                **_same(row), sha=sha, updated=updated, card=dict(facts.card.values), tags=facts.tags,
                pipeline_tag=facts.pipeline_tag, library_name=facts.library_name, details=facts.details,
                used=int(row.used), files=_files(connection, row, sha),
            )  # fmt: skip
        found = _about(row, _files(connection, row, sha))
    if weigh and found.details.get("weights") and "safetensors" not in found.details:
        card.weigh(stores, repo_id)
        with stores.database.reading() as connection:
            found = _about(connection.execute(ONE, {"id": repo_id}).one(), found.files)
    return found


def _same(row: Row[Any]) -> dict[str, Any]:
    """What does not depend on the commit."""
    return {
        "id": row.id, "rid": RepoId(row.kind, row.owner, row.name), "private": row.private, "gated": row.gated,
        "disabled": row.disabled, "created": row.created, "downloads": row.downloads, "likes": row.likes,
        "sdk": row.sdk, "size": row.size,
    }  # fmt: skip


def _about(row: Row[Any], nodes: Sequence[history.Node] = ()) -> About:
    asked = row._mapping
    return About(
        **_same(row), sha=row.main, updated=row.updated, card=asked.get("card", {}), tags=row.tags,
        pipeline_tag=row.pipeline_tag, library_name=row.library_name, details=asked.get("details", {}),
        used=int(asked.get("used", 0)), files=nodes,
    )  # fmt: skip


def _files(connection: Connection, row: Row[Any], commit: str | None) -> Sequence[history.Node]:
    """Every file of a commit, in order; a commit never changes, so what had to be read is kept."""
    if commit is None:
        return ()
    if (few := card.few(row.details, commit)) is not None:
        return few
    kept = cache(connection)
    found: tuple[history.Node, ...] | None = kept.get(("files", row.id, commit))
    if found is None:
        nodes = history.listing(connection, row.id, commit, recursive=True)
        found = tuple(node for node in nodes if node.kind == "file")
        kept.put(("files", row.id, commit), found, 200 + 400 * len(found))
    return found


# --- many -----------------------------------------------------------------------------------------------------------


def visible(who: Principal) -> ColumnElement[bool]:
    """Of the rows of `repos` those that this person may see; the same rule as `permissions.check("see", ..)`."""
    if who.user_id is None:
        return and_(~repos.c.private, ~repos.c.disabled)
    mine = or_(
        repos.c.owner_id == who.user_id,
        repos.c.owner_id.in_(select(members.c.org_id).where(members.c.user_id == who.user_id)),
        true() if who.site_admin else false(),
    )
    if who.scopes is not None:
        named = [tuple(scope.repo.split("/", 2)) for scope in who.scopes]
        owner = accounts.alias()
        name = select(owner.c.name).where(owner.c.id == repos.c.owner_id).correlate(repos).scalar_subquery()
        mine = and_(mine, tuple_(repos.c.kind, name, repos.c.name).in_(named))
    return and_(or_(~repos.c.private, mine), true() if who.site_admin else ~repos.c.disabled)


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for."""

    kind: Kind
    search: str = ""
    author: str = ""
    tags: Sequence[str] = ()  # all of them
    pipeline_tag: str = ""
    gated: bool | None = None
    parameters: tuple[int | None, int | None] = (None, None)  # at least, at most
    linked: bool = False  # spaces whose card names a model or a data set
    sort: str = "createdAt"
    ascending: bool = False
    limit: int = MAX_PAGE
    cursor: str = ""
    wants: frozenset[Literal["card", "details", "used", "files"]] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Page:
    repos: list[About]
    cursor: str | None  # where the next page begins; None: this is the last


def find(stores: Stores, who: Principal, query: Query) -> Page:
    """A page of the repositories that this person may see.

    The cursor says after which row to go on, not how many to leave out: what is added or deleted in between moves
    nothing else from one page to another.

    Raises:
        BadRequest: an unknown order, a cursor that is none, too many filters.
    """
    if query.sort not in SORTS:
        raise BadRequest(f"Expected sort to be one of {', '.join(SORTS)}; got {query.sort[:40]!r}.")
    size = max(1, min(query.limit, MAX_HEAVY_PAGE if "files" in query.wants else MAX_PAGE))
    column = SORTS[query.sort]
    # first which rows, of the one table; the rest is brought for those that are shown only
    picked = select(repos.c.id, column.label("place")).where(
        repos.c.kind == query.kind, visible(who), *_conditions(query)
    )
    if query.search or query.author:
        picked = picked.join(accounts, accounts.c.id == repos.c.owner_id)
    if query.cursor:
        place, last = _read(query.cursor)
        beyond = column > place if query.ascending else column < place
        further = repos.c.id > last if query.ascending else repos.c.id < last
        picked = picked.where(or_(beyond, and_(column == place, further)))
    order = (column.asc(), repos.c.id.asc()) if query.ascending else (column.desc(), repos.c.id.desc())
    these = picked.order_by(*order).limit(size + 1).subquery()
    more = [repos.c.card] * ("card" in query.wants) + [repos.c.details] * bool(query.wants & {"details", "files"})
    statement = _selected(*more, *([used().label("used")] if "used" in query.wants else []), these.c.place)
    statement = statement.join(these, these.c.id == repos.c.id)
    with stores.database.reading() as connection:
        rows = connection.execute(statement.order_by(*order).limit(size + 1)).all()
        shown = rows[:size]
        found = [_about(row, _files(connection, row, row.main) if "files" in query.wants else ()) for row in shown]
    return Page(found, _cursor(shown[-1].place, shown[-1].id) if len(rows) > size else None)


def _conditions(query: Query) -> list[ColumnElement[bool]]:
    if len(query.search) > MAX_SEARCH or len(query.tags) > MAX_FILTERS:
        raise BadRequest(f"Expected at most {MAX_SEARCH} characters to search for, and {MAX_FILTERS} filters.")
    if not all(text.isprintable() for text in (query.search, query.author, query.pipeline_tag, *query.tags)):
        raise BadRequest("Expected words to look for, got a character that cannot be seen.")
    full = func.lower(accounts.c.name + "/" + repos.c.name)
    found = [full.contains(word, autoescape=True) for word in query.search.lower().split()]
    if query.author:
        found.append(accounts.c.key == names.key(query.author))
    for tag in dict.fromkeys(query.tags):
        found.append(repos.c.id.in_(select(repo_tags.c.repo_id).where(repo_tags.c.tag == tag)))
    if query.linked:
        uses = or_(*(repo_tags.c.tag.startswith(word) for word in ("model:", "dataset:")))
        found.append(repos.c.id.in_(select(repo_tags.c.repo_id).where(uses)))
    if query.pipeline_tag:
        found.append(repos.c.pipeline_tag == query.pipeline_tag)
    if query.gated is not None:
        found.append(repos.c.gated.is_not(None) if query.gated else repos.c.gated.is_(None))
    least, most = query.parameters
    if least is not None:
        found.append(repos.c.parameters >= least)
    if most is not None:
        found.append(repos.c.parameters <= most)
    return found


def _cursor(place: float, last: int) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([place, last])).decode().rstrip("=")


def _read(cursor: str) -> tuple[float, int]:
    try:
        raw = base64.b64decode(cursor[:100] + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        match orjson.loads(raw):
            case [float() | int() as place, int(last)] if not isinstance(place, bool) and 0 <= last < 1 << 31:
                if 0 <= place < 1 << 53:
                    return place, last
    except (binascii.Error, ValueError):
        pass
    raise BadRequest("The cursor is none of ours. Begin with the first page.")


def tags_by_type(stores: Stores, kind: Kind, types: Iterable[str]) -> dict[str, list[str]]:
    """The tags of public repositories, by what they say; most used first.

    Args:
        types: those that are the word before a tag's colon: `license`, `dataset`.
    """
    public = and_(repos.c.kind == kind, ~repos.c.private, ~repos.c.disabled)
    with stores.database.reading() as connection:
        rows = connection.execute(
            select(repo_tags.c.tag, func.count().label("times"))
            .join(repos, repos.c.id == repo_tags.c.repo_id)
            .where(public)
            .group_by(repo_tags.c.tag)
            .order_by(func.count().desc(), repo_tags.c.tag)
            .limit(10_000)
        ).all()
        columns = {"library": repos.c.library_name, "pipeline_tag": repos.c.pipeline_tag}
        known = {
            name: set(connection.scalars(select(column).where(public, column.is_not(None)).distinct()))
            for name, column in columns.items()
        }
    found: dict[str, list[str]] = {}
    for tag, _ in rows:
        before = tag.partition(":")[0] if ":" in tag else ""
        by_column = next((name for name, values in known.items() if tag in values), "other")
        found.setdefault(before if before in types else by_column, []).append(tag)
    return found


# --- storage --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Storage:
    rid: RepoId
    updated: float
    private: bool
    used: int  # bytes


def storage(stores: Stores, who: Principal, owner: str | None) -> list[Storage]:
    """What each repository of a person, or of an organisation they are in, takes; the largest first.

    Raises:
        Forbidden: they are not in that organisation, or their token is for some repositories only.
        Missing: there is none of that name; only the hub's administrators are told the difference.
    """
    with stores.database.reading() as connection:
        key = names.key(names.account(owner or who.name))
        account = connection.execute(select(accounts.c.id, accounts.c.name).where(accounts.c.key == key)).first()
        if account is None and who.site_admin:
            raise Missing(f"There is no user and no organisation called {owner}.")
        role = None if account is None or who.user_id is None else role_in(connection, who.user_id, account.id)
        if account is None or who.scopes is not None or (RANK[role] < RANK["read"] and not who.site_admin):
            raise Forbidden(f"You may not see what {(owner or who.name)[:100]} stores.")
        rows = connection.execute(
            select(repos.c.kind, repos.c.name, repos.c.updated, repos.c.private, used().label("used"))
            .where(repos.c.owner_id == account.id)
            .order_by(repos.c.id)
        ).all()
    found = [Storage(RepoId(row.kind, account.name, row.name), row.updated, row.private, int(row.used)) for row in rows]
    return sorted(found, key=lambda one: -one.used)
