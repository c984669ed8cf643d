"""doors: every route goes through one of these; each says who may pass, and hands on who passed."""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from fastapi import Request

from modelcommons.errors import Forbidden, Unauthorized, Unprocessable
from modelcommons.hub import names, tickets
from modelcommons.hub.actions import accounts, repos
from modelcommons.hub.permissions import ANYONE, Ability, Principal
from modelcommons.hub.stores import Stores

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_CREDENTIALS = 1024  # bytes of an Authorization header
STREAMED = 1 << 62  # max_body_size of a route that reads its body piece by piece, and counts itself


def stores(request: Request) -> Stores:
    made: Stores = request.app.state.stores
    return made


# --- who is asking --------------------------------------------------------------------------------------------------


def anyone(request: Request) -> Principal:
    """Whoever it is; credentials that are sent must hold all the same.

    Raises:
        Unauthorized: the token is none of ours.
        Forbidden: a page of another site sent the cookie.
    """
    header = request.headers.get("authorization")
    who = ANYONE
    if header is not None:
        who = _credentials(stores(request), header)
    elif cookie := request.cookies.get(cookie_name(request)):
        who = accounts.of_session(stores(request), cookie)
        if who.signed_in and request.method not in SAFE:
            _same_origin(request)
    request.state.who = who
    return who


def stranger(request: Request) -> None:
    """Whoever it is, without a look at what they carry; for what people do to become known.

    Raises:
        Forbidden: a page of another site sent it.
    """
    _not_another_site(request)


def signed_in(request: Request) -> Principal:
    """Raises: Unauthorized: nobody is."""
    who = anyone(request)
    if not who.signed_in:
        raise Unauthorized("Sign in first: this needs an access token.")
    return who


def writer(request: Request) -> Principal:
    """A person who may change what belongs to no single repository.

    Raises:
        Unauthorized: nobody is signed in.
        Forbidden: their token may only read, or is for some repositories only.
    """
    who = anyone(request)
    accounts.may_change(who)
    return who


def site_admin(request: Request) -> Principal:
    """Raises: Forbidden: they do not rule this hub."""
    who = signed_in(request)
    if not who.site_admin:
        raise Forbidden("This is for the administrators of the hub.")
    return who


def operator(request: Request) -> Principal:
    """Whoever asks from the machine itself, or rules this hub."""
    return anyone(request) if _is_loopback(request) else site_admin(request)


def _is_loopback(request: Request) -> bool:
    """Whether the request comes straight from this machine, and not through a proxy on it."""
    passed_on = any(name in request.headers for name in ("x-forwarded-for", "forwarded", "x-real-ip"))
    return request.client is not None and not passed_on and is_loopback(request.client.host)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _credentials(at: Stores, header: str) -> Principal:
    scheme, _, value = header.partition(" ")
    value = value.strip()
    if len(header) > MAX_CREDENTIALS:
        raise Unauthorized(accounts.INVALID)
    match scheme.lower():
        case "bearer":
            return accounts.of_token(at, value, "bearer")
        case "basic":
            return _basic(at, value)
    raise Unauthorized(accounts.INVALID)


def _basic(at: Stores, value: str) -> Principal:
    """`user:token`, as git sends it; the user name may be empty, and must be the owner's where it is not."""
    try:
        user, _, token = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise Unauthorized(accounts.INVALID) from None
    who = accounts.of_token(at, token, "basic")
    if user and names.key(user) != names.key(who.name):
        raise Unauthorized(accounts.INVALID)
    return who


# --- cookies --------------------------------------------------------------------------------------------------------


def is_secure(request: Request) -> bool:
    """Whether people reach the hub by https."""
    return stores(request).settings.endpoint.startswith("https:")


def cookie_name(request: Request) -> str:
    """Browsers let only https set a name that begins with __Host-, and only for this very host."""
    return "__Host-commons" if is_secure(request) else "commons"


def _same_origin(request: Request) -> None:
    """A browser says where a request comes from; one that does not say so may not change anything by cookie."""
    _not_another_site(request)
    if "sec-fetch-site" not in request.headers and "origin" not in request.headers:
        raise Forbidden("A request by cookie must say where it comes from: send Origin, or use a token.")


def _not_another_site(request: Request) -> None:
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if (site is not None and site != "same-origin") or (origin is not None and not _is_ours(request, origin)):
        raise Forbidden("This request came from a page of another site.")


def _is_ours(request: Request, origin: str) -> bool:
    said, ours = urlsplit(origin), urlsplit(stores(request).settings.endpoint)
    own = {(ours.scheme, ours.netloc), (ours.scheme, request.headers.get("host", ""))}
    return (said.scheme, said.netloc) in own


# --- repositories ---------------------------------------------------------------------------------------------------


def repo(ability: Ability) -> Callable[[Request], repos.Opened]:
    """A door to one repository: `{owner}/{name}` of the path, its kind by the path's beginning.

    Raises, when it is passed:
        RepoNotFound: it is not there, or the person may not know of it.
        Moved: it is called otherwise by now.
        HubError: what permissions.check raises.
    """

    def open_door(request: Request) -> repos.Opened:
        who = anyone(request)
        return repos.open_repo(stores(request), who, repo_id(request), ability)

    open_door.ability = ability  # type: ignore[attr-defined]  # for the test that lists every route with its door
    return open_door


def repo_id(request: Request) -> names.RepoId:
    """The repository that the path names: `/api/datasets/ada/news/..`, `/datasets/ada/news/..`, `/ada/news.git/..`."""
    return names.repo_id(kind(request), segment(request, "owner"), segment(request, "name"))


def kind(request: Request) -> names.Kind:
    parts = request.scope["path"].split("/")[1:]
    first = parts[1] if parts[0] == "api" and len(parts) > 1 else parts[0]
    return next((one for one in names.KINDS if f"{one}s" == first), "model")


def segment(request: Request, name: str) -> str:
    """One part of the path, percent-decoded once: routes match the path as it was sent.

    Raises:
        Unprocessable: what comes out is no UTF-8.
    """
    return decoded(request.path_params[name])


def decoded(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise Unprocessable(f"Expected percent-encoded UTF-8 in the path, got {text[:100]!r}.") from None


# --- tickets --------------------------------------------------------------------------------------------------------


def ticket(action: str) -> Callable[[Request], dict[str, Any]]:
    """A door for those who carry a signed permission in the query's `ticket`; it hands on what the ticket says.

    Raises, when it is passed:
        Unauthorized: there is none, it is not ours, it is for something else, or it has expired.
    """

    def read(request: Request) -> dict[str, Any]:
        at = stores(request)
        claims = tickets.read(at.secret, request.query_params.get("ticket", ""), at.now())
        if claims.get("action") != action:
            raise Unauthorized("This address was signed for something else. Ask for a new one.")
        request.state.who = Principal(user_id=claims.get("user_id"))
        return claims

    read.action = action  # type: ignore[attr-defined]
    return read
