"""webhooks: tell another program what happened in a repository, as far as the person who asked may know it."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from modelcommons.errors import BadRequest, HubError, Missing, Unprocessable
from modelcommons.hub import names, outbound, permissions, sealing, tables
from modelcommons.hub.actions import accounts, leases
from modelcommons.hub.names import RepoId
from modelcommons.hub.permissions import Principal, Repo
from modelcommons.hub.stores import Stores

Domain = Literal["repo", "discussion"]
Scope = Literal["repo", "repo.content", "repo.config", "discussion", "discussion.comment"]
Action = Literal["create", "delete", "move", "update"]
Watchable = Literal["user", "org", "model", "dataset", "space"]

MAX_HOOKS = 20  # of one person
MAX_WATCHED = 50
MAX_SECRET = 256
MAX_DAILY = 1_000  # deliveries of one webhook
RETRY_S = (10, 60, 600, 3600, 6 * 3600)  # after the first, second, .. failure; then it is given up
EVERY_S = 2.0  # between two looks at what is due
AT_ONCE = 20  # deliveries between two renewals of the lease
DAY_S = 86_400
LOG = logging.getLogger("modelcommons.hub")

webhooks, deliveries = tables.webhooks, tables.deliveries
Ref = tuple[str, str | None, str | None]  # name, commit before, commit after


@dataclass(frozen=True, slots=True)
class Watched:
    type: Watchable
    name: str  # of an account, or owner/name of a repository


@dataclass(frozen=True, slots=True)
class Webhook:
    id: str
    url: str
    watched: tuple[Watched, ...]
    domains: tuple[Domain, ...]
    secret: str | None  # None too where the hub has lost the secret of its own with which it was sealed
    disabled: bool


# --- a person's webhooks --------------------------------------------------------------------------------------------


def listing(stores: Stores, who: Principal) -> list[Webhook]:
    with stores.database.reading() as connection:
        rows = connection.execute(_mine(who).order_by(webhooks.c.created, webhooks.c.id))
        return [_webhook(stores, row) for row in rows]


def get(stores: Stores, who: Principal, id: str) -> Webhook:
    """Raises: Missing: there is none, or it is somebody else's."""
    with stores.database.reading() as connection:
        return _found(stores, connection, who, id)


def create(
    stores: Stores,
    who: Principal,
    *,
    url: str,
    watched: Sequence[Watched],
    domains: Sequence[Domain] = get_args(Domain),
    secret: str | None = None,
) -> Webhook:
    """Raises: Unprocessable, BadRequest: the address, what is watched, or the secret cannot be."""
    accounts.may_change(who)
    values = _checked(url, watched, domains)
    with stores.database.writing() as connection:
        accounts.again(connection, who.credential, stores.now())
        if (connection.scalar(select(func.count()).where(webhooks.c.user_id == who.user_id)) or 0) >= MAX_HOOKS:
            raise BadRequest(f"You have {MAX_HOOKS} webhooks already. Delete one first.")
        id = secrets.token_hex(12)
        row = {"id": id, "user_id": who.user_id, "created": stores.now(), "disabled": False, "day": 0, "sent": 0}
        connection.execute(insert(webhooks).values(row | values | _sealed(stores, id, secret)))
        return _found(stores, connection, who, id)


def change(
    stores: Stores,
    who: Principal,
    id: str,
    *,
    url: str | None = None,
    watched: Sequence[Watched] = (),
    domains: Sequence[Domain] | None = None,
    secret: str | None = None,
    disabled: bool | None = None,
) -> Webhook:
    """What is not given stays; huggingface_hub sends an empty `watched` where it means that."""
    accounts.may_change(who)
    with stores.database.writing() as connection:
        accounts.again(connection, who.credential, stores.now())
        now = _found(stores, connection, who, id)
        values = _checked(
            now.url if url is None else url, watched or now.watched, now.domains if domains is None else domains
        ) | _sealed(stores, id, secret)
        values["disabled"] = now.disabled if disabled is None else disabled
        connection.execute(update(webhooks).where(webhooks.c.id == id).values(values))
        if values["disabled"]:
            connection.execute(delete(deliveries).where(deliveries.c.webhook_id == id))
        return _found(stores, connection, who, id)


def remove(stores: Stores, who: Principal, id: str) -> None:
    """What it had still to send is not sent."""
    accounts.may_change(who)
    with stores.database.writing() as connection:
        accounts.again(connection, who.credential, stores.now())
        _found(stores, connection, who, id)
        connection.execute(delete(webhooks).where(webhooks.c.id == id))


def _mine(who: Principal) -> Any:
    return select(webhooks).where(webhooks.c.user_id == who.user_id)


def _found(stores: Stores, connection: Connection, who: Principal, id: str) -> Webhook:
    row = connection.execute(_mine(who).where(webhooks.c.id == id)).first()
    if row is None:
        raise Missing("There is no such webhook.")
    return _webhook(stores, row)


def _webhook(stores: Stores, row: Row[Any]) -> Webhook:
    watched = tuple(Watched(one["type"], one["name"]) for one in row.watched)
    return Webhook(row.id, row.url, watched, tuple(row.domains), _secret(stores, row.id, row.sealed), row.disabled)


def _secret(stores: Stores, id: str, sealed: str | None) -> str | None:
    return None if sealed is None else sealing.unseal(stores.secret, sealed, label=f"webhook {id}")


def _sealed(stores: Stores, id: str, secret: str | None) -> dict[str, str]:
    """The column of a secret; nothing where none was given.

    Raises:
        Unprocessable: it cannot be sent.
    """
    if secret is None:
        return {}
    # it travels as a header: one line of plain characters
    if not (0 < len(secret) <= MAX_SECRET and secret.isascii() and secret.isprintable()):
        raise Unprocessable(f"Expected a secret of 1 to {MAX_SECRET} printable ASCII characters.")
    return {"sealed": sealing.seal(stores.secret, secret, label=f"webhook {id}")}


def _checked(url: str, watched: Sequence[Watched], domains: Sequence[Domain]) -> dict[str, Any]:
    outbound.target(url)
    if not 0 < len(watched) <= MAX_WATCHED:
        raise BadRequest(f"Expected 1 to {MAX_WATCHED} things to watch, got {len(watched)}.")
    if not domains or not set(domains) <= set(get_args(Domain)):
        raise BadRequest("Expected one or both of the domains repo and discussion.")
    for one in watched:
        _checked_name(one)
    named = [{"type": one.type, "name": one.name} for one in watched]
    return {"url": url, "watched": named, "domains": sorted(set(domains), reverse=True)}


def _checked_name(one: Watched) -> None:
    if one.type in ("user", "org"):
        names.account(one.name)
        return
    if one.type not in names.KINDS:
        raise BadRequest(f"Expected one of {', '.join(get_args(Watchable))}, got {str(one.type)[:40]!r}.")
    owner, _, name = one.name.partition("/")
    names.repo_id(one.type, owner, name)


# --- what happened --------------------------------------------------------------------------------------------------


def changed(
    stores: Stores,
    connection: Connection,
    repo: Repo,
    scope: Scope,
    action: Action,
    *,
    refs: Sequence[Ref] = (),
    discussion: dict[str, Any] | None = None,
    comment: dict[str, Any] | None = None,
    moved_to: RepoId | None = None,
) -> None:
    """Notes, inside the transaction in which it happened, what is to be sent to whom.

    A person who may not see the repository now gets nothing; whether they still may is asked again when it is sent.
    """
    if not stores.settings.webhooks:
        return
    domain = scope.partition(".")[0]
    now = stores.now()
    hooks = connection.execute(
        select(webhooks, tables.accounts.c.name.label("owner"), tables.accounts.c.admin, tables.accounts.c.suspended)
        .join(tables.accounts, tables.accounts.c.id == webhooks.c.user_id)
        .where(~webhooks.c.disabled, ~tables.accounts.c.suspended)
    ).all()
    payload: dict[str, Any] | None = None
    for hook in hooks:
        if domain not in hook.domains or not _watches(hook.watched, repo.rid):
            continue
        if not _may_see(connection, hook, repo) or not _within_limit(connection, hook, now):
            continue
        if payload is None:
            payload = {"event": {"action": action, "scope": scope}, "repo": _repo(stores, connection, repo)}
            more = {
                "discussion": discussion,
                "comment": comment,
                "updatedRefs": [{"ref": name, "oldSha": old, "newSha": new} for name, old, new in refs] or None,
                "movedTo": moved_to and {"name": str(moved_to), "owner": {"id": str(repo.owner_id)}},
            }
            payload |= {key: value for key, value in more.items() if value is not None}
        sent = payload | {"webhook": {"id": hook.id, "version": 3}}
        connection.execute(insert(deliveries).values(webhook_id=hook.id, payload=sent, tries=0, due=now, created=now))


def _watches(watched: Sequence[dict[str, str]], rid: RepoId) -> bool:
    owner, whole = names.key(rid.owner), f"{names.key(rid.owner)}/{names.key(rid.name)}"
    return any(
        names.key(one["name"]) == (owner if one["type"] in ("user", "org") else whole)
        for one in watched
        if one["type"] in ("user", "org", rid.kind)
    )


def _may_see(connection: Connection, hook: Row[Any], repo: Repo) -> bool:
    role = accounts.role_in(connection, hook.user_id, repo.owner_id)
    who = Principal(hook.user_id, hook.owner, site_admin=hook.admin)
    try:
        permissions.check("see", who, repo, role)
    except HubError:
        return False
    return True


def _within_limit(connection: Connection, hook: Row[Any], now: float) -> bool:
    """Counts a delivery, unless the webhook has had as many as it may have in one day."""
    day = int(now // DAY_S)
    if hook.day == day and hook.sent >= MAX_DAILY:
        return False
    sent = 1 if hook.day != day else webhooks.c.sent + 1
    connection.execute(update(webhooks).where(webhooks.c.id == hook.id).values(day=day, sent=sent))
    return True


def _repo(stores: Stores, connection: Connection, repo: Repo) -> dict[str, Any]:
    head = connection.scalar(
        select(tables.refs.c.oid).where(tables.refs.c.repo_id == repo.id, tables.refs.c.name == "refs/heads/main")
    )
    endpoint, rid = stores.settings.endpoint, repo.rid
    return {
        "type": rid.kind,
        "name": str(rid),
        "id": str(repo.id),
        "private": repo.private,
        "owner": {"id": str(repo.owner_id)},
        "headSha": head,
        "url": {"web": f"{endpoint}/{rid.route}", "api": f"{endpoint}/api/{rid.kind}s/{rid}"},
    }


# --- sending --------------------------------------------------------------------------------------------------------


def run(stores: Stores, stopping: threading.Event, resolver: outbound.Resolver = outbound.resolve) -> None:
    """Sends what is due until it is told to stop; of all processes that run this, one at a time does it."""
    holder = secrets.token_hex(16)
    while not stopping.wait(EVERY_S):
        try:
            send_due(stores, holder, resolver)
        except Exception:  # a database that is away for a while must not end the thread for ever
            LOG.exception("webhooks: the deliveries could not be worked on")
    leases.give_back(stores, "webhooks", holder)


def send_due(stores: Stores, holder: str, resolver: outbound.Resolver = outbound.resolve) -> int:
    """Sends what is due, if no other process does; how many were tried."""
    seconds = AT_ONCE * outbound.DEADLINE_S + 30
    if not stores.settings.webhooks or not leases.take(stores, "webhooks", holder, seconds):
        return 0
    with stores.database.reading() as connection:
        due = connection.execute(
            select(deliveries.c.id)
            .where(deliveries.c.due <= stores.now())
            .order_by(deliveries.c.due, deliveries.c.id)
            .limit(AT_ONCE)
        ).scalars()
        ids = list(due)
    for id in ids:
        _send(stores, id, resolver)
    return len(ids)


def _send(stores: Stores, id: int, resolver: outbound.Resolver) -> None:
    with stores.database.reading() as connection:
        row = connection.execute(_with_hook().where(deliveries.c.id == id)).first()
        wanted = row is not None and _still_wanted(connection, row)
    if row is None:
        return
    sent = wanted and _posted(stores, row, resolver)
    with stores.database.writing() as connection:
        if wanted and not sent and row.tries < len(RETRY_S):
            later = {"tries": row.tries + 1, "due": stores.now() + RETRY_S[row.tries]}
            connection.execute(update(deliveries).where(deliveries.c.id == id).values(later))
        else:
            connection.execute(delete(deliveries).where(deliveries.c.id == id))


def _with_hook() -> Any:
    people = tables.accounts
    return (
        select(
            deliveries.c.payload, deliveries.c.tries, deliveries.c.created, webhooks.c.id.label("webhook_id"),
            webhooks.c.url, webhooks.c.sealed, webhooks.c.disabled, webhooks.c.user_id,
            people.c.name.label("owner"), people.c.admin, people.c.suspended,
        )
        .join(webhooks, webhooks.c.id == deliveries.c.webhook_id)
        .join(people, people.c.id == webhooks.c.user_id)
    )  # fmt: skip


def _still_wanted(connection: Connection, row: Row[Any]) -> bool:
    """Whether its owner may still know: a repository that is gone tells only that it is gone."""
    if row.disabled or row.suspended:
        return False
    event, repo_id = row.payload["event"], int(row.payload["repo"]["id"])
    repo = _repo_of(connection, repo_id, made_before=row.created)
    if repo is None:
        return bool(event == {"action": "delete", "scope": "repo"})
    return _may_see(connection, row, repo)


def _repo_of(connection: Connection, repo_id: int, *, made_before: float) -> Repo | None:
    """A repository by its number, for asking who may see it; one made since has only been given the number again."""
    repos, people = tables.repos, tables.accounts
    row = connection.execute(
        select(repos, people.c.name.label("owner"))
        .join(people, people.c.id == repos.c.owner_id)
        .where(repos.c.id == repo_id, repos.c.created <= made_before)
    ).first()
    if row is None:
        return None
    rid = RepoId(row.kind, row.owner, row.name)
    return Repo(row.id, rid, row.owner_id, row.private, row.gated, row.disabled)


def _posted(stores: Stores, row: Row[Any], resolver: outbound.Resolver) -> bool:
    body = json.dumps(row.payload, ensure_ascii=False).encode()
    headers = {"User-Agent": "modelcommons-webhook"}
    if row.sealed is not None:
        secret = _secret(stores, row.webhook_id, row.sealed)
        if secret is None:  # whoever asked for a signature must not get it without
            LOG.warning("webhooks: not delivered", extra={"reason": "the hub's secret has changed; set its own again"})
            return False
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers |= {"X-Webhook-Secret": secret, "X-Webhook-Signature": f"sha256={signature}"}
    allowed = {host.strip().lower() for host in stores.settings.webhook_hosts.split(",")} - {""}
    try:
        return 200 <= outbound.post(row.url, body, headers, allowed=allowed, resolver=resolver) < 300
    except (outbound.NotDelivered, HubError) as error:
        LOG.info("webhooks: not delivered", extra={"reason": str(error)})
        return False
