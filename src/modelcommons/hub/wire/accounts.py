"""accounts: who am I, signing in and out with a password, and one's own tokens."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelcommons.errors import BadRequest, Forbidden
from modelcommons.hub.actions import accounts
from modelcommons.hub.permissions import Principal
from modelcommons.hub.wire import answering, doors

router = APIRouter(tags=["accounts"])

SignedIn = Annotated[Principal, Depends(doors.signed_in)]


class Login(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=96)
    password: str = Field(max_length=accounts.MAX_PASSWORD)
    next: str = Field(default="/", max_length=512, description="Where a form leads to: a path of this hub.")


class Join(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=96)
    password: str = Field(max_length=accounts.MAX_PASSWORD)
    email: str | None = Field(default=None, max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")


class NewPassword(BaseModel):
    model_config = ConfigDict(extra="forbid")

    old: str = Field(max_length=accounts.MAX_PASSWORD)
    new: str = Field(max_length=accounts.MAX_PASSWORD)


class ScopeOf(BaseModel):
    model_config = ConfigDict(extra="forbid")

    repo: str = Field(max_length=220, description="Such as model/ada/news.")
    role: Literal["read", "write"]


class NewToken(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=96)
    role: accounts.TokenRole
    scopes: list[ScopeOf] = Field(default=[], max_length=100)
    expires: float | None = Field(default=None, description="Unix seconds.")


@router.get("/api/whoami-v2")
def whoami(request: Request, who: SignedIn) -> dict[str, Any]:
    """The person behind a token or a session, their organisations, and how far the token goes."""
    at = doors.stores(request)
    me, orgs = accounts.profile(at, who)
    role = who.token_role if who.scopes is None else "fineGrained"
    return {
        "type": "user",
        "name": me.name,
        "fullname": me.fullname or me.name,
        "email": me.email,
        "isPro": False,
        "canPay": False,
        "createdAt": answering.time(me.created),
        "orgs": [
            {"type": "org", "name": one.org, "fullname": one.fullname or one.org, "roleInOrg": one.role}
            for one in orgs
        ],
        "auth": {"type": "session"}
        if who.carrier == "cookie"
        else {"type": "access_token", "accessToken": {"displayName": who.token_name, "role": role}},
    }  # fmt: skip


# --- sessions -------------------------------------------------------------------------------------------------------


@router.post("/login", dependencies=[Depends(doors.stranger)])
async def login(request: Request) -> Response:
    """Begins a session: JSON answers JSON, a form answers with a page to go to."""
    is_form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    try:
        given = Login.model_validate(dict(await request.form()) if is_form else await request.json())
    except (ValidationError, ValueError, RecursionError):
        raise BadRequest("Expected name and password, as JSON or as a form.") from None
    address = request.client.host if request.client else ""
    at = doors.stores(request)
    cookie = await run_in_threadpool(accounts.sign_in, at, given.name, given.password, address)
    answer: Response = RedirectResponse(_own_page(given.next), 303) if is_form else JSONResponse({"name": given.name})
    answer.set_cookie(
        doors.cookie_name(request), cookie, max_age=accounts.SESSION_S, path="/", secure=doors.is_secure(request),
        httponly=True, samesite="lax",
    )  # fmt: skip
    return answer


@router.post("/logout", dependencies=[Depends(doors.anyone)])
def logout(request: Request) -> Response:
    """Ends the session that the cookie names."""
    if cookie := request.cookies.get(doors.cookie_name(request)):
        accounts.sign_out(doors.stores(request), cookie)
    answer = JSONResponse({})
    answer.delete_cookie(
        doors.cookie_name(request), path="/", secure=doors.is_secure(request), httponly=True, samesite="lax"
    )
    return answer


@router.post("/join", dependencies=[Depends(doors.stranger)])
def join(request: Request, given: Join) -> dict[str, str]:
    """Makes an account, where the hub allows strangers to."""
    made = accounts.sign_up(doors.stores(request), given.name, given.password, given.email)
    return {"name": made.name}


def _own_page(path: str) -> str:
    """A path of this hub; browsers take // and /\\ for another host."""
    plain = path.startswith("/") and path.isascii() and path.isprintable() and "\\" not in path
    return path if plain and not path.startswith("//") else "/"


def by_session(who: SignedIn) -> Principal:
    """A person at a browser: a token that leaked must not make further tokens, nor change the password."""
    if who.carrier != "cookie":
        raise Forbidden("Sign in with your password for this; a token is not enough.")
    return who


BySession = Annotated[Principal, Depends(by_session)]


@router.put("/api/settings/password")
def change_password(request: Request, who: BySession, given: NewPassword) -> Response:
    """Sets a new password, and ends every session."""
    at = doors.stores(request)
    accounts.sign_in(at, who.name, given.old, request.client.host if request.client else "")
    accounts.set_password(at, who.name, given.new)
    return JSONResponse({})


# --- tokens ---------------------------------------------------------------------------------------------------------


@router.get("/api/settings/tokens")
def list_tokens(request: Request, who: BySession) -> list[dict[str, Any]]:
    """One's own tokens, without the tokens themselves."""
    return [
        {
            "name": one.name,
            "role": one.role,
            "scopes": [{"repo": scope.repo, "role": scope.role} for scope in one.scopes],
            "createdAt": answering.time(one.created),
            "expiresAt": None if one.expires is None else answering.time(one.expires),
            "lastUsedAt": None if one.used is None else answering.time(one.used),
        }
        for one in accounts.list_tokens(doors.stores(request), who.name)
    ]


@router.post("/api/settings/tokens", status_code=201)
def create_token(request: Request, who: BySession, given: NewToken) -> dict[str, str]:
    """A new token; this answer is the only place where it is ever shown."""
    scopes = [accounts.scope(one.repo, one.role) for one in given.scopes]
    token = accounts.create_token(
        doors.stores(request), who.name, given.name, given.role, scopes=scopes, expires=given.expires
    )
    return {"name": given.name, "token": token}


@router.delete("/api/settings/tokens/{token}")
def revoke_token(request: Request, who: BySession) -> dict[str, str]:
    """Ends a token at once."""
    name = doors.segment(request, "token")
    accounts.revoke_token(doors.stores(request), who.name, name)
    return {"name": name}
