"""discussions: what people say to each other about a repository; a proposal is a discussion with a branch."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import Connection, Row, Text, cast, func, insert, select, update

from modelcommons.errors import BadRequest, Conflict, Forbidden, HubError, Missing, Unprocessable
from modelcommons.hub import history, names, permissions, tables
from modelcommons.hub.actions import attachments, repos, webhooks
from modelcommons.hub.actions.repos import Opened
from modelcommons.hub.names import RepoId
from modelcommons.hub.rendering import render
from modelcommons.hub.stores import Stores

Status = Literal["draft", "open", "closed", "merged"]
EventType = Literal["comment", "status-change", "commit", "title-change"]

MAX_COMMENT = 65_536  # characters
MAX_EVENTS = 1_000  # of one discussion
MAX_TEXT = 4 << 20  # characters of all its events together, since they are read at once
MAX_EDITS = 100  # of one comment
PAGE = 50
TYPES = {"all": None, "pull_request": True, "discussion": False}
STATUSES: dict[str, tuple[Status, ...]] = {
    "all": get_args(Status),
    "open": ("draft", "open"),
    "closed": ("closed", "merged"),
}
BASE = "refs/heads/main"

discussions, events, accounts = tables.discussions, tables.events, tables.accounts


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened in a discussion.

    `data` of a comment: raw, html, updated, edited, hidden, history [{raw, updated}]; of a status-change: status; of a
    commit: oid, subject; of a title-change: from, to.
    """

    id: str
    type: EventType
    created: float
    author: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Discussion:
    repo: RepoId
    num: int
    title: str
    author: str
    status: Status
    pull_request: bool
    created: float
    base: str | None  # of a proposal: refs/heads/main
    merged: str | None  # the merge commit


@dataclass(frozen=True, slots=True)
class Page:
    count: int  # of all pages
    start: int
    discussions: list[Discussion]


@dataclass(frozen=True, slots=True)
class Details:
    discussion: Discussion
    events: list[Event]


# --- reading --------------------------------------------------------------------------------------------------------


def listing(
    stores: Stores, opened: Opened, *, page: int = 0, type: str = "all", status: str = "all", author: str | None = None
) -> Page:
    """Newest first."""
    if type not in TYPES or status not in STATUSES or not 0 <= page < 10_000:
        raise BadRequest(f"Expected type {', '.join(TYPES)}; status {', '.join(STATUSES)}; and a page from 0 on.")
    here = [discussions.c.repo_id == opened.repo.id, discussions.c.status.in_(STATUSES[status])]
    if (wanted := TYPES[type]) is not None:
        here.append(discussions.c.pull_request == wanted)
    if author:
        here.append(accounts.c.key == names.key(names.account(author)))
    with stores.database.reading() as connection:
        joined = discussions.join(accounts, accounts.c.id == discussions.c.author_id)
        count = connection.scalar(select(func.count()).select_from(joined).where(*here)) or 0
        rows = connection.execute(
            _with_author().where(*here).order_by(discussions.c.num.desc()).limit(PAGE).offset(page * PAGE)
        )
        return Page(count, page * PAGE, [_discussion(opened, row) for row in rows])


def details(stores: Stores, opened: Opened, num: int) -> Details:
    """Raises: Missing: there is no discussion of that number."""
    with stores.database.reading() as connection:
        row = row_of(connection, opened, num)
        found = connection.execute(_events(row.id).order_by(events.c.position))
        return Details(_discussion(opened, row), [_event(one) for one in found])


def row_of(connection: Connection, opened: Opened, num: int) -> Row[Any]:
    """Raises: Missing: there is no discussion of that number."""
    here = (discussions.c.repo_id == opened.repo.id, discussions.c.num == num)
    row = connection.execute(_with_author().where(*here)).first() if 0 < num < 2**31 else None
    if row is None:
        raise Missing(f"{opened.repo.rid} has no discussion of the number {num}.")
    return row


def _with_author() -> Any:
    return select(discussions, accounts.c.name.label("author")).join(accounts, accounts.c.id == discussions.c.author_id)


def _discussion(opened: Opened, row: Row[Any]) -> Discussion:
    return Discussion(
        opened.repo.rid, row.num, row.title, row.author, row.status, row.pull_request, row.created, row.base, row.merged
    )


def _events(discussion_id: int) -> Any:
    return (
        select(events, accounts.c.name.label("author"))
        .join(accounts, accounts.c.id == events.c.author_id)
        .where(events.c.discussion_id == discussion_id)
    )


def _event(row: Row[Any]) -> Event:
    return Event(row.id, row.type, row.created, row.author, row.data)


# --- writing --------------------------------------------------------------------------------------------------------


def open_one(stores: Stores, opened: Opened, title: str, description: str, *, pull_request: bool) -> int:
    """Opens a discussion, or a proposal as a draft; its number."""
    with stores.database.writing() as connection:
        opened = repos.still(connection, opened)
        return open_discussion(stores, connection, opened, title, description, pull_request=pull_request)


def open_discussion(
    stores: Stores,
    connection: Connection,
    opened: Opened,
    title: str,
    description: str,
    *,
    pull_request: bool,
    status: Status | None = None,
) -> int:
    """As `open_one`, inside a transaction that has asked `repos.still`: a proposal begins where main is.

    Args:
        status: of a proposal that is no draft, because it has its changes already.
    """
    assert opened.allows("discuss")
    title = _title(title)
    repo_id, now = opened.repo.id, stores.now()
    num = 1 + (connection.scalar(select(func.max(discussions.c.num)).where(discussions.c.repo_id == repo_id)) or 0)
    row = {
        "repo_id": repo_id, "num": num, "title": title, "author_id": opened.who.user_id, "created": now,
        "pull_request": pull_request, "status": status or ("draft" if pull_request else "open"),
        "base": BASE if pull_request else None,
    }  # fmt: skip
    connection.execute(insert(discussions).values(row))
    found = row_of(connection, opened, num)
    if pull_request:
        head = history.resolve(connection, repo_id, BASE)
        assert history.move_ref(connection, repo_id, f"refs/pr/{num}", None, head), "numbers are not used twice"
    if description.strip():
        _say(stores, connection, opened, found, description)
    tell(stores, connection, opened, num, "create")
    return num


def comment(stores: Stores, opened: Opened, num: int, text: str) -> Event:
    with stores.database.writing() as connection:
        opened = repos.still(connection, opened)
        said = _say(stores, connection, opened, row_of(connection, opened, num), text)
        tell(stores, connection, opened, num, "create", said)
        return said


def edit(stores: Stores, opened: Opened, num: int, id: str, text: str) -> Event:
    """A comment says something else from now on; what it said before can still be read.

    Raises:
        Forbidden: somebody else wrote it.
        Conflict: it is hidden, or was edited too often.
    """
    names.prose(text, "a comment", 1, MAX_COMMENT)
    with stores.database.writing() as connection:
        opened = repos.still(connection, opened)
        row, old = row_of(connection, opened, num), _comment(connection, opened, num, id)
        if old.author != opened.who.name:
            raise Forbidden("Only the person who wrote a comment can change it.")
        if old.data["hidden"] or len(old.data["history"]) >= MAX_EDITS:
            raise Conflict("This comment is hidden, or was changed too often, and cannot be changed any more.")
        _check_room(connection, row.id, len(text), edits=True)
        before = {"raw": old.data["raw"], "updated": old.data["updated"]}
        data = old.data | _said(stores, text) | {"edited": True, "history": [*old.data["history"], before]}
        attachments.attach(connection, opened, text)
        changed = _replace(connection, row.id, id, data)
        tell(stores, connection, opened, num, "update", changed)
        return changed


def hide(stores: Stores, opened: Opened, num: int, id: str) -> Event:
    """A comment's words are gone for good, its edits too.

    Raises:
        Forbidden: they neither wrote it nor may write to the repository.
    """
    with stores.database.writing() as connection:
        opened = repos.still(connection, opened)
        row, old = row_of(connection, opened, num), _comment(connection, opened, num, id)
        if old.author != opened.who.name and not may_write(opened):
            raise Forbidden("Only its author, or somebody who may write to the repository, can hide a comment.")
        data = {"raw": "", "html": "", "updated": stores.now(), "edited": False, "hidden": True, "history": []}
        changed = _replace(connection, row.id, id, data)
        tell(stores, connection, opened, num, "update", changed)
        return changed


def rename(stores: Stores, opened: Opened, num: int, title: str) -> Event:
    title = _title(title)
    with stores.database.writing() as connection:
        opened = repos.still(connection, opened)
        row = _governed(connection, opened, num)
        connection.execute(update(discussions).where(discussions.c.id == row.id).values(title=title))
        renamed = happened(stores, connection, opened, row, "title-change", {"from": row.title, "to": title})
        tell(stores, connection, opened, num, "update")
        return renamed


def set_status(stores: Stores, opened: Opened, num: int, status: str, text: str = "") -> Event:
    """Closes a discussion or proposal, opens it again, or publishes a draft.

    Raises:
        Conflict: a proposal that was merged stays so.
        BadRequest: it is so already.
    """
    if status not in ("open", "closed"):
        raise BadRequest(f"Expected the status open or closed, got {status[:40]!r}.")
    with stores.database.writing() as connection:
        opened = repos.still(connection, opened)
        row = _governed(connection, opened, num)
        if row.status == "merged":
            raise Conflict("A proposal that was merged stays merged.")
        if row.status == status:
            raise BadRequest(f"The discussion is {status} already.")
        if text.strip():
            _say(stores, connection, opened, row, text)
        connection.execute(update(discussions).where(discussions.c.id == row.id).values(status=status))
        changed = happened(stores, connection, opened, row, "status-change", {"status": status})
        tell(stores, connection, opened, num, "update")
        return changed


def may_write(opened: Opened) -> bool:
    """Whether the person could also have come through the door for those who write."""
    try:
        permissions.check("write", opened.who, opened.repo, opened.role)
    except HubError:
        return False
    return True


def _governed(connection: Connection, opened: Opened, num: int) -> Row[Any]:
    """Raises: Forbidden: they neither opened it nor may write to the repository."""
    row = row_of(connection, opened, num)
    if row.author_id != opened.who.user_id and not may_write(opened):
        raise Forbidden("Only its author, or somebody who may write to the repository, can do this.")
    return row


def _title(text: str) -> str:
    return names.line(text, "a title", 3, 200)


def _say(stores: Stores, connection: Connection, opened: Opened, row: Row[Any], text: str) -> Event:
    names.prose(text, "a comment", 1, MAX_COMMENT)
    attachments.attach(connection, opened, text)
    data = _said(stores, text) | {"edited": False, "hidden": False, "history": []}
    return happened(stores, connection, opened, row, "comment", data)


def _said(stores: Stores, text: str) -> dict[str, Any]:
    return {"raw": text, "html": render(text), "updated": stores.now()}


def say(stores: Stores, connection: Connection, opened: Opened, num: int, text: str) -> Event:
    """A comment inside a transaction that has asked `repos.still`."""
    return _say(stores, connection, opened, row_of(connection, opened, num), text)


def happened(
    stores: Stores, connection: Connection, opened: Opened, row: Row[Any], type: EventType, data: dict[str, Any]
) -> Event:
    """Adds an event, inside a transaction that has asked `repos.still`, so that no other takes the same position.

    Raises:
        Unprocessable: the discussion has too many already.
    """
    num_events = _check_room(connection, row.id, len(data.get("raw", "")))
    id = secrets.token_hex(12)
    values = {
        "id": id, "discussion_id": row.id, "author_id": opened.who.user_id, "position": num_events, "type": type,
        "data": data, "created": stores.now(),
    }  # fmt: skip
    connection.execute(insert(events).values(values))
    return _one_event(connection, row.id, id)


def _check_room(connection: Connection, discussion_id: int, more: int, *, edits: bool = False) -> int:
    """How many events there are; reading a discussion reads all of them, so there is an end to what fits."""
    weight = func.coalesce(func.sum(func.length(cast(events.c.data, Text))), 0)
    count, text = connection.execute(select(func.count(), weight).where(events.c.discussion_id == discussion_id)).one()
    if (count >= MAX_EVENTS and not edits) or text + more > MAX_TEXT:
        raise Unprocessable("This discussion is full. Open another one.")
    return int(count)


def _comment(connection: Connection, opened: Opened, num: int, id: str) -> Event:
    found = _one_event(connection, row_of(connection, opened, num).id, id)
    if found.type != "comment":
        raise Missing("There is no such comment.")
    return found


def _one_event(connection: Connection, discussion_id: int, id: str) -> Event:
    row = connection.execute(_events(discussion_id).where(events.c.id == id)).first()
    if row is None:
        raise Missing("There is no such comment.")
    return _event(row)


def _replace(connection: Connection, discussion_id: int, id: str, data: dict[str, Any]) -> Event:
    connection.execute(update(events).where(events.c.id == id).values(data=data))
    return _one_event(connection, discussion_id, id)


# --- telling webhooks -----------------------------------------------------------------------------------------------


def tell(
    stores: Stores, connection: Connection, opened: Opened, num: int, action: webhooks.Action, said: Event | None = None
) -> None:
    """Notes what happened to a discussion, or to one comment in it, for those who asked to be told."""
    if not stores.settings.webhooks:
        return
    row, rid, endpoint = row_of(connection, opened, num), opened.repo.rid, stores.settings.endpoint
    web = f"{endpoint}/{rid.route}/discussions/{num}"
    about: dict[str, Any] = {
        "id": str(row.id), "num": num, "title": row.title, "status": row.status, "isPullRequest": row.pull_request,
        "author": {"id": str(row.author_id)},
        "url": {"web": web, "api": f"{endpoint}/api/{rid.kind}s/{rid}/discussions/{num}"},
    }  # fmt: skip
    if row.pull_request:
        about["changes"] = {"base": row.base} | ({"mergeCommitId": row.merged} if row.merged else {})
    comment = None if said is None else {
        "id": said.id, "author": {"id": str(opened.who.user_id)}, "hidden": said.data["hidden"],
        "url": {"web": f"{web}#{said.id}"}, **({} if said.data["hidden"] else {"content": said.data["raw"]}),
    }  # fmt: skip
    scope: webhooks.Scope = "discussion.comment" if said else "discussion"
    webhooks.changed(stores, connection, opened.repo, scope, action, discussion=about, comment=comment)
