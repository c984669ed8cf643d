"""access: likes, requests to read what is gated, and the question whether one may, as huggingface_hub asks it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from modelcommons.errors import BadRequest, Missing
from modelcommons.hub import names
from modelcommons.hub.actions import access, likes
from modelcommons.hub.actions.repos import Opened
from modelcommons.hub.permissions import Principal
from modelcommons.hub.wire import doors
from modelcommons.hub.wire.answering import json, time

router = APIRouter(tags=["access"])
of_kind = APIRouter()

Seen = Annotated[Opened, Depends(doors.repo("see"))]
Read = Annotated[Opened, Depends(doors.repo("content"))]
Discussed = Annotated[Opened, Depends(doors.repo("discuss"))]
Written = Annotated[Opened, Depends(doors.repo("write"))]
Ruled = Annotated[Opened, Depends(doors.repo("admin"))]
Anyone = Annotated[Principal, Depends(doors.anyone)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Handle(Strict):
    status: Literal["pending", "accepted", "rejected"]
    user: str | None = Field(default=None, max_length=names.MAX_NAME)
    requestId: str | None = Field(default=None, pattern=r"^[0-9a-f]{24}$")  # as the client spells it
    rejectionReason: str | None = Field(default=None, max_length=access.MAX_REASON)


class Grant(Strict):
    user: str = Field(max_length=names.MAX_NAME)


# --- whether one may ------------------------------------------------------------------------------------------------


@of_kind.get("/{owner}/{name}/auth-check")
def may_read(opened: Read) -> Response:
    return json({})


@of_kind.get("/{owner}/{name}/auth-check/write")
def may_write(opened: Written) -> Response:
    return json({})


# --- likes ----------------------------------------------------------------------------------------------------------


@of_kind.post("/{owner}/{name}/like")
def like(request: Request, opened: Discussed) -> Response:
    likes.like(doors.stores(request), opened)
    return json({})


@of_kind.delete("/{owner}/{name}/like")
def unlike(request: Request, opened: Discussed) -> Response:
    likes.unlike(doors.stores(request), opened)
    return json({})


@of_kind.get("/{owner}/{name}/likers")
def likers(request: Request, opened: Seen) -> Response:
    found = likes.likers(doors.stores(request), opened)
    return json([{"user": one.name, "fullname": one.fullname, "avatarUrl": ""} for one in found])


@router.get("/api/users/{user}/likes")
def liked(request: Request, who: Anyone) -> Response:
    found = likes.liked(doors.stores(request), who, doors.segment(request, "user"))
    return json([
        {"createdAt": time(one.created), "repo": {"name": str(one.rid), "type": one.rid.kind}} for one in found
    ])  # fmt: skip


# --- requests -------------------------------------------------------------------------------------------------------


@of_kind.get("/{owner}/{name}/user-access-request/{status}")
def requests(request: Request, opened: Ruled, status: str) -> Response:
    if status not in access.STATUSES:
        raise Missing(f"Expected one of {', '.join(access.STATUSES)}, got {status[:40]!r}.")
    found = access.requests(doors.stores(request), opened, status)
    return json([_request(one) for one in found])


def _request(one: access.Request) -> dict[str, Any]:
    user: dict[str, Any] = {"user": one.user, "fullname": one.fullname}
    if one.email is not None:
        user["email"] = one.email
    found: dict[str, Any] = {
        "requestId": one.id, "user": user, "status": one.status, "timestamp": time(one.created),
    }  # fmt: skip
    return found | ({"fields": one.fields} if one.fields else {})


@of_kind.post("/{owner}/{name}/user-access-request/handle")
def handle(request: Request, opened: Ruled, body: Handle) -> Response:
    access.handle(
        doors.stores(request), opened, body.status,
        user=body.user, request_id=body.requestId, reason=body.rejectionReason,
    )  # fmt: skip
    return json({})


@of_kind.post("/{owner}/{name}/user-access-request/grant")
def grant(request: Request, opened: Ruled, body: Grant) -> Response:
    access.grant(doors.stores(request), opened, body.user)
    return json({})


async def ask(request: Request, opened: Discussed) -> Response:
    """A person asks to read; the body, if there is one, holds the answers to the repository's form as JSON."""
    raw = await request.body()
    if len(raw) > access.MAX_FIELDS:
        raise BadRequest(f"Expected at most {access.MAX_FIELDS // 1024} KiB of answers.")
    try:
        fields = orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError:
        fields = None
    if not isinstance(fields, dict):
        raise BadRequest("Expected the answers as a JSON object, or no body.")
    status = await run_in_threadpool(access.ask, doors.stores(request), opened, fields)
    return json({"status": status})


of_kind.post("/{owner}/{name}/ask-access")(ask)
router.post("/datasets/{owner}/{name}/ask-access")(ask)
router.post("/spaces/{owner}/{name}/ask-access")(ask)
router.post("/{owner}/{name}/ask-access")(ask)

for kind in names.KINDS:
    router.include_router(of_kind, prefix=f"/api/{kind}s")
