"""access: who asked to read a gated repository, and what became of it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Literal, get_args

import orjson
from sqlalchemy import Connection, insert, select, update

from modelcommons.errors import BadRequest, Missing
from modelcommons.hub import names
from modelcommons.hub.actions.repos import Opened, still
from modelcommons.hub.stores import Stores
from modelcommons.hub.tables import access_requests, accounts

Status = Literal["pending", "accepted", "rejected"]
STATUSES: tuple[Status, ...] = get_args(Status)
MAX_FIELDS = 16 * 1024  # bytes of the answers to the form, as JSON
MAX_REASON = 200  # characters


@dataclass(frozen=True, slots=True)
class Request:
    """One person's wish to read a repository."""

    id: str
    user: str
    fullname: str
    email: str | None  # only where the person asked; whoever was granted access unasked did not share it
    status: Status
    fields: dict[str, Any]
    created: float


def ask(stores: Stores, opened: Opened, fields: dict[str, Any]) -> Status:
    """The person asks to read it. Where the gate is `auto` they may at once; asking again changes nothing.

    Raises:
        BadRequest: it is not gated, or the answers are too long.
    """
    assert opened.allows("discuss")
    if len(orjson.dumps(fields)) > MAX_FIELDS:
        raise BadRequest(f"Expected at most {MAX_FIELDS // 1024} KiB of answers.")
    with stores.database.writing() as connection:
        now = still(connection, opened)
        if now.repo.gated is None:
            raise BadRequest("This repository is not gated. Everybody who sees it may read it.")
        assert now.who.user_id is not None
        old = _one(connection, now.repo.id, access_requests.c.user_id == now.who.user_id)
        if old is not None:
            known: Status = old.status
            return known
        status: Status = "accepted" if now.repo.gated == "auto" else "pending"
        _add(stores, connection, now.repo.id, now.who.user_id, status, {"asked": True, "answers": fields})
        return status


def requests(stores: Stores, opened: Opened, status: Status) -> list[Request]:
    """Those in one state, the oldest first."""
    assert opened.allows("admin")
    with stores.database.reading() as connection:
        rows = connection.execute(
            select(access_requests, accounts.c.name, accounts.c.fullname, accounts.c.email)
            .join(accounts, accounts.c.id == access_requests.c.user_id)
            .where(access_requests.c.repo_id == opened.repo.id, access_requests.c.status == status)
            .order_by(access_requests.c.created, access_requests.c.id)
        ).all()
    return [
        Request(
            row.id, row.name, row.fullname, row.email if row.fields.get("asked") else None, row.status,
            row.fields.get("answers", {}), row.created,
        )
        for row in rows
    ]  # fmt: skip


def handle(
    stores: Stores,
    opened: Opened,
    status: Status,
    *,
    user: str | None = None,
    request_id: str | None = None,
    reason: str | None = None,
) -> None:
    """Accepts or rejects a request, or puts it back to those that wait.

    Raises:
        Missing: nobody of that name, or no request of theirs.
        BadRequest: it is in that state already, or not exactly one of `user` and `request_id` was given.
    """
    assert opened.allows("admin")
    if (user is None) == (request_id is None):
        raise BadRequest("Expected either user or requestId.")
    if reason is not None and (status != "rejected" or len(reason) > MAX_REASON):
        raise BadRequest(f"A reason of at most {MAX_REASON} characters goes with the status rejected only.")
    reason = None if reason is None else names.prose(reason, "a reason", 0, MAX_REASON)
    with stores.database.writing() as connection:
        now = still(connection, opened)
        asked = (
            access_requests.c.id == request_id if user is None else access_requests.c.user_id == _user(connection, user)
        )
        old = _one(connection, now.repo.id, asked)
        if old is None:
            raise Missing("There is no such access request for this repository.")
        if old.status == status:
            raise BadRequest(f"The access request is {status} already.")
        connection.execute(
            update(access_requests).where(access_requests.c.id == old.id).values(status=status, reason=reason)
        )


def grant(stores: Stores, opened: Opened, user: str) -> None:
    """Lets a person read it who did not ask, or whose request waits or was rejected.

    Raises:
        Missing: nobody of that name.
        BadRequest: the repository is not gated, or they may read it already.
    """
    assert opened.allows("admin")
    with stores.database.writing() as connection:
        now = still(connection, opened)
        if now.repo.gated is None:
            raise BadRequest("This repository is not gated. Everybody who sees it may read it.")
        user_id = _user(connection, user)
        old = _one(connection, now.repo.id, access_requests.c.user_id == user_id)
        if old is None:
            _add(stores, connection, now.repo.id, user_id, "accepted", {})
        elif old.status == "accepted":
            raise BadRequest(f"{user} may read this repository already.")
        else:
            connection.execute(
                update(access_requests).where(access_requests.c.id == old.id).values(status="accepted", reason=None)
            )


def _user(connection: Connection, name: str) -> int:
    found: int | None = connection.scalar(
        select(accounts.c.id).where(accounts.c.key == names.key(names.account(name)), accounts.c.kind == "user")
    )
    if found is None:
        raise Missing(f"There is no user called {name[:100]}.")
    return found


def _one(connection: Connection, repo_id: int, where: Any) -> Any:
    return connection.execute(
        select(access_requests.c.id, access_requests.c.status).where(access_requests.c.repo_id == repo_id, where)
    ).first()


def _add(
    stores: Stores, connection: Connection, repo_id: int, user_id: int, status: Status, fields: dict[str, Any]
) -> None:
    row = {"id": secrets.token_hex(12), "repo_id": repo_id, "user_id": user_id, "status": status}
    connection.execute(insert(access_requests).values(**row, fields=fields, created=stores.now()))
