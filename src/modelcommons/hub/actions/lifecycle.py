"""lifecycle: create, duplicate, move, set up and delete repositories."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import Connection, delete, insert, literal, select, update

from modelcommons.errors import BadRequest, Conflict, Forbidden, Unauthorized
from modelcommons.hub import history, names
from modelcommons.hub.actions import card, webhooks
from modelcommons.hub.actions.accounts import role_in
from modelcommons.hub.actions.repos import Moved, Opened, open_repo, still, still_signed_in
from modelcommons.hub.database import insert_new
from modelcommons.hub.names import RepoId
from modelcommons.hub.permissions import RANK, Ability, Principal, Repo
from modelcommons.hub.stores import Stores
from modelcommons.hub.tables import accounts, claims, git_objects, members, moves, refs, repo_tags, repos

Gate = Literal["auto", "manual"]
SDKS = ("gradio", "streamlit", "docker", "static")
NOREPLY = "users.noreply.localhost"


def by_name(stores: Stores, who: Principal, rid: RepoId, ability: Ability) -> Opened:
    """As `open_repo`, for a name that came in a body: what deletes or moves never follows a redirect.

    Raises:
        BadRequest: the repository is called otherwise now.
    """
    try:
        return open_repo(stores, who, rid, ability)
    except Moved as moved:
        raise BadRequest(f"{rid} is called {moved.new_rid} now. Use that name.") from None


def create(
    stores: Stores, who: Principal, rid: RepoId, *, private: bool, gated: Gate | None = None, sdk: str | None = None
) -> RepoId:
    """A new repository with its first commit.

    Raises:
        Conflict: there is one of that name, or one that differs only in case or in `-`, `_` and `.`; carries its route.
        Forbidden: the person may not create in that namespace, or not with this token.
    """
    if rid.kind == "space" and sdk not in SDKS:
        raise BadRequest(f"A space needs an sdk, one of {', '.join(SDKS)}; got {str(sdk)[:40]!r}.")
    with stores.database.writing() as connection:
        who, owner_id = _owner(connection, who, rid)
        repo_id = _insert(
            stores, connection, rid, owner_id,
            private=private, gated=gated, sdk=sdk if rid.kind == "space" else None,
        )  # fmt: skip
        first = history.initial_commit(
            connection, repo_id, rid.kind, stores.now(),
            author=who.name, email=f"{who.name}@{NOREPLY}", title=rid.name, sdk=sdk or "static",
        )  # fmt: skip
        card.read_card(connection, repo_id, first)
        made = Repo(repo_id, rid, owner_id, private, gated, disabled=False)
        webhooks.changed(stores, connection, made, "repo", "create")
    return rid


def _owner(connection: Connection, who: Principal, rid: RepoId) -> tuple[Principal, int]:
    """The person as they are now, and the account in which they may create `rid`."""
    if who.user_id is None:
        raise Unauthorized("Sign in first: this needs an access token.")
    user_id = who.user_id
    who = still_signed_in(connection, who)
    if RANK[who.token_role] < RANK["write"]:
        raise Forbidden("This needs a token with the role write; the one sent may only read.")
    wanted = f"{rid.kind}/{rid}"
    if who.scopes is not None and not any(one.repo == wanted and RANK[one.role] >= 2 for one in who.scopes):
        raise Forbidden(f"This needs a token that may write to {rid}.")
    account = connection.execute(
        select(accounts.c.id, accounts.c.name).where(accounts.c.key == names.key(rid.owner))
    ).first()
    if account is not None:  # whoever takes the role away waits for us, or goes before
        mine = (members.c.org_id == account.id) & (members.c.user_id == user_id)
        connection.execute(select(members.c.role).where(mine).with_for_update(read=True))
    role = None if account is None else "admin" if who.site_admin else role_in(connection, user_id, account.id)
    if account is None or RANK[role] < RANK["write"]:
        raise Forbidden(f"You don't have the rights to create a {rid.kind} under the namespace '{rid.owner}'.")
    if account.name != rid.owner:
        raise BadRequest(f"The namespace is written '{account.name}', not '{rid.owner}'.")
    return who, account.id


def _insert(stores: Stores, connection: Connection, rid: RepoId, owner_id: int, **values: Any) -> int:
    """The row of a new repository; its name leads nowhere else from now on."""
    now, key = stores.now(), names.key(rid.name)
    row = {
        "kind": rid.kind, "owner_id": owner_id, "name": rid.name, "key": key, "created": now, "updated": now,
        "disabled": False, "downloads": 0, "likes": 0, "card": {}, "tags": [], "size": 0, "details": {}, **values,
    }  # fmt: skip
    if not insert_new(connection, repos, [row]):
        raise _taken(connection, rid, owner_id)
    _forget_move(connection, rid)
    made: int = connection.execute(_at(rid, owner_id)).scalar_one()
    return made


def _at(rid: RepoId, owner_id: int) -> Any:
    return select(repos.c.id).where(
        repos.c.kind == rid.kind, repos.c.owner_id == owner_id, repos.c.key == names.key(rid.name)
    )


def _forget_move(connection: Connection, rid: RepoId) -> None:
    """An old name that is used again no longer leads to what was called so."""
    connection.execute(
        delete(moves).where(
            moves.c.kind == rid.kind, moves.c.owner_key == names.key(rid.owner), moves.c.key == names.key(rid.name)
        )
    )


def _taken(connection: Connection, rid: RepoId, owner_id: int) -> Conflict:
    """Whoever may write in the namespace may know what is in it."""
    there = connection.execute(select(repos.c.name).where(repos.c.id.in_(_at(rid, owner_id)))).scalar_one()
    old = RepoId(rid.kind, rid.owner, there)
    return Conflict(f"A {rid.kind} repository called {old} already exists", url=old.route)


def set_up(
    stores: Stores, opened: Opened, *, private: bool | None = None, gated: Gate | Literal[False] | None = None
) -> None:
    """Sets what is given, and leaves what is None."""
    assert opened.allows("admin")
    values: dict[str, Any] = {} if private is None else {"private": private}
    if gated is not None:
        values["gated"] = gated or None
    if not values:
        raise BadRequest("Expected at least one of visibility, private and gated.")
    with stores.database.writing() as connection:
        now = still(connection, opened)
        connection.execute(update(repos).where(repos.c.id == now.repo.id).values(values))
        webhooks.changed(stores, connection, now.repo, "repo.config", "update")


def delete_repo(stores: Stores, opened: Opened) -> None:
    """Takes the repository away, with its history, discussions and claims; gc takes bytes that nobody needs later."""
    assert opened.allows("admin")
    with stores.database.writing() as connection:
        now = still(connection, opened)
        webhooks.changed(stores, connection, now.repo, "repo", "delete")
        connection.execute(delete(repos).where(repos.c.id == now.repo.id))


def move(stores: Stores, opened: Opened, to: RepoId) -> RepoId:
    """Gives the repository another name or owner; every name that it had before leads to it.

    Raises:
        Conflict: there is one of the new name.
        Forbidden: the person may not create in the new namespace.
    """
    assert opened.allows("admin") and opened.repo.rid.kind == to.kind
    with stores.database.writing() as connection:
        now = still(connection, opened)
        old = now.repo.rid
        _, owner_id = _owner(connection, now.who, to)
        other = connection.execute(_at(to, owner_id)).scalar()
        if other not in (None, now.repo.id):
            raise _taken(connection, to, owner_id)
        _forget_move(connection, to)
        values = {"owner_id": owner_id, "name": to.name, "key": names.key(to.name)}
        connection.execute(update(repos).where(repos.c.id == now.repo.id).values(values))
        if (names.key(old.owner), names.key(old.name)) != (names.key(to.owner), names.key(to.name)):
            row = {"kind": old.kind, "owner_key": names.key(old.owner), "key": names.key(old.name)}
            connection.execute(insert(moves).values(**row, repo_id=now.repo.id))
        webhooks.changed(stores, connection, now.repo, "repo", "move", moved_to=to)
    return to


def duplicate(stores: Stores, opened: Opened, to: RepoId, *, private: bool | None = None) -> RepoId:
    """A repository with the same branches, tags, history and files; without discussions, proposals and likes.

    Files are not copied: the new repository claims what this one may read. It is private and gated where this one is,
    unless the person says otherwise about `private`.

    Raises:
        Conflict, Forbidden: as `create`.
    """
    assert opened.allows("content") and opened.repo.rid.kind == to.kind
    with stores.database.writing() as connection:
        now = still(connection, opened)
        _, owner_id = _owner(connection, now.who, to)
        source = connection.execute(select(repos).where(repos.c.id == now.repo.id)).one()
        same = {
            name: getattr(source, name)
            for name in ("card", "tags", "pipeline_tag", "library_name", "sdk", "size", "parameters", "details")
        }
        repo_id = _insert(
            stores, connection, to, owner_id,
            private=source.private if private is None else private, gated=source.gated, **same,
        )  # fmt: skip
        new = literal(repo_id)
        for table, where in (
            (git_objects, None), (claims, None), (repo_tags, None),
            (refs, refs.c.name.startswith("refs/heads/") | refs.c.name.startswith("refs/tags/")),
        ):  # fmt: skip
            rest = [column for column in table.c if column.name != "repo_id"]
            rows = select(new, *rest).where(table.c.repo_id == now.repo.id)
            rows = rows if where is None else rows.where(where)
            connection.execute(insert(table).from_select(["repo_id", *(column.name for column in rest)], rows))
        made = Repo(repo_id, to, owner_id, source.private if private is None else private, source.gated, False)
        webhooks.changed(stores, connection, made, "repo", "create")
    return to
