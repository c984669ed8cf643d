"""accounts: users, organisations, tokens and sessions; what a secret proves is asked of the database every time."""

from __future__ import annotations

import hashlib
import math
import re
import secrets
import string
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast, get_args

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy import Connection, Row, Select, bindparam, delete, func, insert, or_, select, update

from modelcommons.errors import BadRequest, Conflict, Forbidden, Missing, TooMany, Unauthorized
from modelcommons.hub import names
from modelcommons.hub.permissions import ANYONE, RANK, Carrier, Principal, Role, Scope
from modelcommons.hub.stores import Stores
from modelcommons.hub.tables import accounts, attempts, members, sessions, tokens

TokenRole = Literal["read", "write", "fine-grained"]

PREFIX = "mc_"
DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase  # base 62
BODY = math.ceil(256 / math.log2(62))  # digits of 256 bits
SUM = math.ceil(32 / math.log2(62))  # digits of a CRC-32, by which scanners for leaked secrets know a token
TOKEN = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{BODY + SUM}}}")
COOKIE = re.compile(r"[A-Za-z0-9_-]{43}")
MIN_PASSWORD = 10  # characters
MAX_PASSWORD = 1024
SESSION_S = 14 * 86_400
MAX_LIFE_S = 36_525 * 86_400  # of a token that expires
USED_S = 3600  # how seldom the last use of a token is written
WINDOW_S = 300  # failed sign-ins are counted in it
MAX_ATTEMPTS = 10
INVALID = "Invalid credentials in Authorization header"  # huggingface_hub looks for these words

# made once: every request asks one of these
TOKENS: Select[Any] = select(
    tokens.c.id, tokens.c.sha256, tokens.c.name.label("token"), tokens.c.role, tokens.c.scopes, tokens.c.expires,
    tokens.c.used, accounts.c.id.label("user_id"), accounts.c.name, accounts.c.admin, accounts.c.suspended,
).join(accounts, accounts.c.id == tokens.c.user_id)  # fmt: skip
BY_TOKEN = TOKENS.where(tokens.c.sha256 == bindparam("sha256"))
BY_SESSION = (
    select(accounts.c.id, accounts.c.name, accounts.c.admin)
    .join(sessions, sessions.c.user_id == accounts.c.id)
    .where(sessions.c.sha256 == bindparam("sha256"), sessions.c.expires > bindparam("now"), ~accounts.c.suspended)
)

# RFC 9106, second recommended option: 64 MiB, three passes, four lanes
HASHER = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=4)
HASHING = threading.BoundedSemaphore(2)  # so that many sign-ins at once do not take all memory


@dataclass(frozen=True, slots=True)
class Account:
    """A user or an organisation."""

    id: int
    kind: Literal["user", "org"]
    name: str
    fullname: str
    email: str | None
    admin: bool
    suspended: bool
    created: float


@dataclass(frozen=True, slots=True)
class Membership:
    org: str
    fullname: str
    role: Role


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is listed: without itself, which nobody has but its owner."""

    name: str
    role: TokenRole
    scopes: tuple[Scope, ...]
    created: float
    expires: float | None
    used: float | None


# --- people and organisations ---------------------------------------------------------------------------------------


def create_user(
    stores: Stores,
    name: str,
    *,
    password: str | None = None,
    admin: bool = False,
    fullname: str = "",
    email: str | None = None,
) -> Account:
    """A new person; without a password they sign in by token only.

    Raises:
        Unprocessable: it is no name.
        Conflict: the name is taken, by a person or an organisation.
        BadRequest: the password is too short.
    """
    hashed = None if password is None else hash_password(password)
    return _create(stores, "user", name, password=hashed, admin=admin, fullname=fullname, email=email)


def create_org(stores: Stores, name: str, *, admin: str, fullname: str = "") -> Account:
    """A new organisation, with `admin` as the first of those who rule it."""
    ruler = find(stores, admin, "user")
    made = _create(stores, "org", name, fullname=fullname)
    set_member(stores, made.name, ruler.name, "admin")
    return made


def _create(stores: Stores, kind: str, name: str, **values: Any) -> Account:
    names.account(name)
    with stores.database.writing() as connection:
        if connection.scalar(select(accounts.c.id).where(accounts.c.key == names.key(name))) is not None:
            raise Conflict(f"The name {name} is taken. Choose another.")
        row = {"kind": kind, "name": name, "key": names.key(name), "created": stores.now(), **values}
        connection.execute(insert(accounts).values(row))
        return _account(connection, name)


def sign_up(stores: Stores, name: str, password: str, email: str | None = None) -> Account:
    """A stranger makes themselves an account.

    Raises:
        Forbidden: this hub does not allow it.
    """
    if not stores.settings.sign_up:
        raise Forbidden("This hub makes accounts by its operator only. Ask them for one.")
    return create_user(stores, name, password=password, email=email)


def find(stores: Stores, name: str, kind: Literal["user", "org"] | None = None) -> Account:
    """Raises: Missing: nobody has that name."""
    with stores.database.reading() as connection:
        found = _account(connection, name)
    if kind not in (None, found.kind):
        raise Missing(f"{found.name} is no {'organisation' if kind == 'org' else 'user'}.")
    return found


def listing(stores: Stores, kind: Literal["user", "org"]) -> list[Account]:
    with stores.database.reading() as connection:
        rows = connection.execute(select(accounts).where(accounts.c.kind == kind).order_by(accounts.c.key))
        return [_read(row) for row in rows]


def has_admin(connection: Connection) -> bool:
    """Whether anybody rules this hub."""
    ruling = select(accounts.c.id).where(accounts.c.admin, ~accounts.c.suspended).limit(1)
    return connection.scalar(ruling) is not None


def _account(connection: Connection, name: str) -> Account:
    row = connection.execute(select(accounts).where(accounts.c.key == names.key(name))).first()
    if row is None:
        raise Missing(f"There is no user and no organisation called {name[:100]}.")
    return _read(row)


def _read(row: Row[Any]) -> Account:
    return Account(row.id, row.kind, row.name, row.fullname, row.email, row.admin, row.suspended, row.created)


def set_suspended(stores: Stores, name: str, suspended: bool) -> Account:
    """A suspended person can do nothing, whatever tokens they have; their sessions end."""
    user = find(stores, name, "user")
    with stores.database.writing() as connection:
        connection.execute(update(accounts).where(accounts.c.id == user.id).values(suspended=suspended))
        if suspended:
            connection.execute(delete(sessions).where(sessions.c.user_id == user.id))
        return _account(connection, name)


def set_password(stores: Stores, name: str, password: str) -> Account:
    """Sets a password, and ends every session that began with the old one."""
    hashed = hash_password(password)
    user = find(stores, name, "user")
    with stores.database.writing() as connection:
        connection.execute(update(accounts).where(accounts.c.id == user.id).values(password=hashed))
        connection.execute(delete(sessions).where(sessions.c.user_id == user.id))
    return user


def set_member(stores: Stores, org: str, user: str, role: Role | None) -> None:
    """Gives a person a role in an organisation, or, with None, takes it away.

    Raises:
        Conflict: the organisation would have no admin left.
    """
    group, person = find(stores, org, "org"), find(stores, user, "user")
    with stores.database.writing() as connection:
        here = (members.c.org_id == group.id) & (members.c.user_id == person.id)
        connection.execute(delete(members).where(here))
        if role is not None:
            connection.execute(insert(members).values(org_id=group.id, user_id=person.id, role=role))
        ruling = select(func.count()).where(members.c.org_id == group.id, members.c.role == "admin")
        if not connection.scalar(ruling):
            raise Conflict(f"{group.name} would have no admin left. Make somebody else admin first.")


def profile(stores: Stores, who: Principal) -> tuple[Account, list[Membership]]:
    """The person who asks, and the organisations they are in."""
    assert who.user_id is not None
    with stores.database.reading() as connection:
        return _account(connection, who.name), memberships(connection, who.user_id)


def memberships(connection: Connection, user_id: int) -> list[Membership]:
    """The organisations that a person is in, by name."""
    rows = connection.execute(
        select(accounts.c.name, accounts.c.fullname, members.c.role)
        .join(members, members.c.org_id == accounts.c.id)
        .where(members.c.user_id == user_id)
        .order_by(accounts.c.key)
    )
    return [Membership(row.name, row.fullname, row.role) for row in rows]


def people(connection: Connection, org_id: int) -> list[tuple[str, Role]]:
    """Who is in an organisation, and with what role; by name."""
    rows = connection.execute(
        select(accounts.c.name, members.c.role)
        .join(members, members.c.user_id == accounts.c.id)
        .where(members.c.org_id == org_id)
        .order_by(accounts.c.key)
    )
    return [(row.name, row.role) for row in rows]


# --- passwords ------------------------------------------------------------------------------------------------------


def hash_password(password: str) -> str:
    """Raises: BadRequest: it is too short, or absurdly long."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise BadRequest(f"Expected a password of {MIN_PASSWORD} to {MAX_PASSWORD} characters, got {len(password)}.")
    with HASHING:
        return HASHER.hash(password)


def _fits(hashed: str | None, password: str) -> bool:
    """Whether it is the password; takes as long where there is none, so that nobody learns who has an account."""
    with HASHING:
        try:
            return HASHER.verify(hashed or _nobody(), password[:MAX_PASSWORD]) and hashed is not None
        except VerificationError:
            return False


@lru_cache(maxsize=1)
def _nobody() -> str:
    return HASHER.hash(secrets.token_urlsafe())


# --- sessions -------------------------------------------------------------------------------------------------------


def sign_in(stores: Stores, name: str, password: str, address: str) -> str:
    """The cookie of a new session.

    Raises:
        Unauthorized: name and password do not belong together; the same words whether the name exists or not.
        TooMany: ten failures within five minutes from this address.
    """
    key = hashlib.sha256(f"{names.key(name)}\n{address}".encode()).hexdigest()
    _count(stores, key)
    with stores.database.reading() as connection:
        row = connection.execute(select(accounts).where(accounts.c.key == names.key(name))).first()
    person = row if row is not None and row.kind == "user" and not row.suspended else None
    if not _fits(person.password if person is not None else None, password) or person is None:
        raise Unauthorized("The name or the password is wrong.")
    cookie, now = secrets.token_urlsafe(32), stores.now()
    with stores.database.writing() as connection:
        connection.execute(delete(attempts).where(attempts.c.key == key))
        connection.execute(delete(sessions).where(sessions.c.expires < now))
        connection.execute(
            insert(sessions).values(sha256=_sha256(cookie), user_id=person.id, created=now, expires=now + SESSION_S)
        )
    return cookie


def _count(stores: Stores, key: str) -> None:
    """Counts this attempt as failed until it has succeeded, so that many at once are not more than ten either."""
    since = stores.now() - WINDOW_S
    with stores.database.writing() as connection:
        connection.execute(delete(attempts).where(attempts.c.created < since))
        if (connection.scalar(select(func.count()).where(attempts.c.key == key)) or 0) >= MAX_ATTEMPTS:
            raise TooMany("Too many failed sign-ins. Wait five minutes, then try again.")
        connection.execute(insert(attempts).values(key=key, created=stores.now()))


def sign_out(stores: Stores, cookie: str) -> None:
    with stores.database.writing() as connection:
        connection.execute(delete(sessions).where(sessions.c.sha256 == _sha256(cookie)))


def of_session(stores: Stores, cookie: str) -> Principal:
    """Whose session it is; nobody's where it has ended: browsers go on sending what they were given."""
    if not COOKIE.fullmatch(cookie):
        return ANYONE
    with stores.database.reading() as connection:
        return _session(connection, _sha256(cookie), stores.now())


def _session(connection: Connection, sha256: str, now: float) -> Principal:
    row = connection.execute(BY_SESSION, {"sha256": sha256, "now": now}).first()
    if row is None:
        return ANYONE
    return Principal(row.id, row.name, row.admin, "cookie", credential=f"session:{sha256}")


# --- tokens ---------------------------------------------------------------------------------------------------------


def create_token(
    stores: Stores,
    user: str,
    name: str,
    role: TokenRole,
    *,
    scopes: Sequence[Scope] = (),
    expires: float | None = None,
) -> str:
    """A new token, which is shown this once and kept nowhere.

    Args:
        scopes: for a fine-grained token: the repositories, and what it may do there.
        expires: Unix seconds; None: never.

    Raises:
        Conflict: the person has a token of that name.
    """
    if bool(scopes) != (role == "fine-grained"):
        raise BadRequest("A fine-grained token needs at least one repository, and no other token takes one.")
    if not name.strip() or len(name) > names.MAX_NAME or not name.isprintable():
        raise BadRequest(f"Expected a name for the token of 1 to {names.MAX_NAME} visible characters.")
    if expires is not None and not 0 < expires - stores.now() <= MAX_LIFE_S:  # nor is nan
        raise BadRequest("Expected a time in the future, within a hundred years, at which the token expires.")
    owner, text = find(stores, user, "user"), new_token()
    row = {
        "user_id": owner.id, "name": name, "sha256": _sha256(text), "role": role, "created": stores.now(),
        "expires": expires, "scopes": [{"repo": one.repo, "role": one.role} for one in scopes],
    }  # fmt: skip
    with stores.database.writing() as connection:
        same = select(tokens.c.id).where(tokens.c.user_id == owner.id, tokens.c.name == name)
        if connection.scalar(same) is not None:
            raise Conflict(f"{owner.name} has a token called {name} already. Choose another name, or revoke it.")
        connection.execute(insert(tokens).values(row))
    return text


def role(text: str) -> Role:
    """A role in an organisation, from a stranger's text."""
    if text not in get_args(Role):
        raise BadRequest(f"Expected the role read, write or admin, got {text[:40]!r}.")
    return cast(Role, text)


def token_role(text: str) -> TokenRole:
    """How far a token goes, from a stranger's text."""
    if text not in get_args(TokenRole):
        raise BadRequest(f"Expected the role read, write or fine-grained, got {text[:40]!r}.")
    return cast(TokenRole, text)


def scope(repo: str, role: str) -> Scope:
    """What a fine-grained token may do in one repository, from a stranger's text: `model/ada/news`, `write`."""
    kind, _, rest = repo.partition("/")
    owner, _, name = rest.partition("/")
    if kind not in names.KINDS or role not in ("read", "write"):
        raise BadRequest(f"Expected a repository such as model/ada/news with read or write, got {repo[:200]!r}.")
    return Scope(f"{kind}/{names.repo_id(kind, owner, name)}", cast(Role, role))


def list_tokens(stores: Stores, user: str) -> list[Token]:
    owner = find(stores, user, "user")
    with stores.database.reading() as connection:
        rows = connection.execute(select(tokens).where(tokens.c.user_id == owner.id).order_by(tokens.c.name))
        return [Token(row.name, row.role, _scopes(row.scopes), row.created, row.expires, row.used) for row in rows]


def revoke_token(stores: Stores, user: str, name: str) -> None:
    """Raises: Missing: the person has no token of that name."""
    owner = find(stores, user, "user")
    with stores.database.writing() as connection:
        gone = connection.execute(delete(tokens).where(tokens.c.user_id == owner.id, tokens.c.name == name))
        if not gone.rowcount:
            raise Missing(f"{owner.name} has no token called {name[:100]}.")


def of_token(stores: Stores, text: str, carrier: Carrier) -> Principal:
    """Who sent this token.

    Raises:
        Unauthorized: it is none of ours, was revoked, has expired, or its owner is suspended.
    """
    if not is_token(text):
        raise Unauthorized(INVALID)
    now = stores.now()
    with stores.database.reading() as connection:
        row = connection.execute(BY_TOKEN, {"sha256": _sha256(text)}).first()
    who = _bearer(row, carrier, now)
    if row is not None and (row.used is None or row.used < now - USED_S):
        with stores.database.writing() as connection:
            long_ago = or_(tokens.c.used.is_(None), tokens.c.used < now - USED_S)
            connection.execute(update(tokens).where(tokens.c.id == row.id, long_ago).values(used=now))
    return who


def again(connection: Connection, credential: str, now: float) -> Principal:
    """The same person, asked anew inside the transaction that changes something for them.

    Args:
        credential: `Principal.credential`.

    Raises:
        Unauthorized: the token was revoked or has expired, the session has ended, the person is suspended.
    """
    kind, _, value = credential.partition(":")
    if kind == "token":
        return _bearer(connection.execute(BY_TOKEN, {"sha256": value}).first(), "bearer", now)
    who = _session(connection, value, now)
    if not who.signed_in:
        raise Unauthorized("The session has ended. Sign in again.")
    return who


def _bearer(row: Row[Any] | None, carrier: Carrier, now: float) -> Principal:
    if row is None or row.suspended or (row.expires is not None and row.expires <= now):
        raise Unauthorized(INVALID)
    fine = row.role == "fine-grained"
    return Principal(
        row.user_id, row.name, row.admin and not fine, carrier,
        token_role="read" if row.role == "read" else "write",
        scopes=_scopes(row.scopes) if fine else None,
        token_name=row.token, credential=f"token:{row.sha256}",  # its number may be another one's by the next time
    )  # fmt: skip


def _scopes(stored: Sequence[dict[str, Any]]) -> tuple[Scope, ...]:
    return tuple(Scope(one["repo"], one["role"]) for one in stored)


def new_token() -> str:
    """`mc_`, 256 random bits, and a checksum, by which a token can be told from a slip of the pen."""
    body = _base62(int.from_bytes(secrets.token_bytes(32)), BODY)
    return f"{PREFIX}{body}{_sum(body)}"


def is_token(text: str) -> bool:
    """Whether it has the form and the checksum of a token; asks no database."""
    return TOKEN.fullmatch(text) is not None and text[-SUM:] == _sum(text[len(PREFIX) : -SUM])


def _sum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), SUM)


def _base62(number: int, digits: int) -> str:
    text = ""
    for _ in range(digits):
        number, rest = divmod(number, 62)
        text = DIGITS[rest] + text
    return text


def _sha256(secret: str) -> str:
    """No slow hash: it is over 256 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def role_in(connection: Connection, user_id: int, account_id: int) -> Role | None:
    """A person's role in an account: admin in their own, what they were given in an organisation."""
    if user_id == account_id:
        return "admin"
    here = (members.c.org_id == account_id) & (members.c.user_id == user_id)
    return connection.scalar(select(members.c.role).where(here))


def may_change(who: Principal) -> None:
    """Passes where a person may change what belongs to no single repository: their profile, new repositories.

    Raises:
        Unauthorized: nobody is signed in.
        Forbidden: the token may only read, or is for some repositories only.
    """
    if not who.signed_in:
        raise Unauthorized("Sign in first: this needs an access token.")
    if who.scopes is not None or RANK[who.token_role] < RANK["write"]:
        raise Forbidden("This needs a token with the role write.")
