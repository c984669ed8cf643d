"""discussions: what people say about a repository, and the proposals they make, as huggingface_hub asks for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from modelcommons.errors import TooLarge
from modelcommons.hub.actions import attachments, discussions, proposals
from modelcommons.hub.actions.discussions import Discussion, Event
from modelcommons.hub.actions.repos import Opened
from modelcommons.hub.permissions import Principal
from modelcommons.hub.wire import doors
from modelcommons.hub.wire.sending import address

router = APIRouter(tags=["discussions"])
of_kind = APIRouter()

Seen = Annotated[Opened, Depends(doors.repo("see"))]
Discussed = Annotated[Opened, Depends(doors.repo("discuss"))]
Written = Annotated[Opened, Depends(doors.repo("write"))]
Number = Annotated[int, Query(ge=0, le=9_999)]
Words = Field(max_length=discussions.MAX_COMMENT)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class New(Strict):
    title: str = Field(max_length=1_000)
    description: str = Field(default="", max_length=discussions.MAX_COMMENT)
    pullRequest: bool = False  # as the client spells it


class Comment(Strict):
    comment: str = Words


class Edit(Strict):
    content: str = Words


class Title(Strict):
    title: str = Field(max_length=1_000)


class Status(Strict):
    status: Literal["open", "closed"]
    comment: str = Field(default="", max_length=discussions.MAX_COMMENT)


class Merge(Strict):
    comment: str = Field(default="", max_length=discussions.MAX_COMMENT)


@of_kind.get("/discussions")
def listing(
    request: Request,
    opened: Seen,
    p: Number = 0,
    type: Annotated[str, Query(max_length=20)] = "all",
    status: Annotated[str, Query(max_length=20)] = "all",
    author: Annotated[str | None, Query(max_length=96)] = None,
) -> dict[str, Any]:
    page = discussions.listing(doors.stores(request), opened, page=p, type=type, status=status, author=author)
    found = [_discussion(one) for one in page.discussions]
    return {"count": page.count, "start": page.start, "discussions": found}


@of_kind.post("/discussions")
def create(request: Request, opened: Discussed, body: New) -> dict[str, int]:
    num = discussions.open_one(
        doors.stores(request), opened, body.title, body.description, pull_request=body.pullRequest
    )
    return {"num": num}


@of_kind.get("/discussions/{num}")
def details(request: Request, opened: Seen, num: int, diff: Annotated[str, Query(max_length=8)] = "") -> dict[str, Any]:
    at = doors.stores(request)
    found = discussions.details(at, opened, num)
    one = found.discussion
    answer = _discussion(one) | {"events": [_event(event) for event in found.events]}
    if one.pull_request:
        changes = proposals.changes(at, opened, one, diff=diff in ("1", "true"))
        answer["changes"] = {"base": one.base} | ({"mergeCommitId": one.merged} if one.merged else {})
        answer["filesWithConflicts"] = changes.conflicts
        if changes.diff is not None:
            answer["diff"] = changes.diff
    return answer


@of_kind.post("/discussions/{num}/comment")
def comment(request: Request, opened: Discussed, num: int, body: Comment) -> dict[str, Any]:
    return {"newMessage": _event(discussions.comment(doors.stores(request), opened, num, body.comment))}


@of_kind.post("/discussions/{num}/comment/{id}/edit")
def edit(request: Request, opened: Discussed, num: int, id: str, body: Edit) -> dict[str, Any]:
    return {"updatedComment": _event(discussions.edit(doors.stores(request), opened, num, id, body.content))}


@of_kind.post("/discussions/{num}/comment/{id}/hide")
def hide(request: Request, opened: Discussed, num: int, id: str) -> dict[str, Any]:
    return {"updatedComment": _event(discussions.hide(doors.stores(request), opened, num, id))}


@of_kind.post("/discussions/{num}/title")
def rename(request: Request, opened: Discussed, num: int, body: Title) -> dict[str, Any]:
    return {"newTitle": _event(discussions.rename(doors.stores(request), opened, num, body.title))}


@of_kind.post("/discussions/{num}/status")
def set_status(request: Request, opened: Discussed, num: int, body: Status) -> dict[str, Any]:
    changed = discussions.set_status(doors.stores(request), opened, num, body.status, body.comment)
    return {"newStatus": _event(changed)}


@of_kind.post("/discussions/{num}/merge")
def merge(request: Request, opened: Written, num: int, body: Merge | None = None) -> dict[str, str]:
    return {"oid": proposals.merge(doors.stores(request), opened, num, body.comment if body else "")}


for kind in ("models", "datasets", "spaces"):
    router.include_router(of_kind, prefix=f"/api/{kind}/{{owner}}/{{name}}")


# --- attachments ----------------------------------------------------------------------------------------------------


@router.post("/uploads", max_body_size=doors.STREAMED, response_class=PlainTextResponse)
async def upload(request: Request, who: Annotated[Principal, Depends(doors.writer)]) -> Response:
    """An image, video or sound for a comment; the answer is its address, as text."""
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > attachments.MAX_BYTES:
            raise TooLarge(f"Expected at most {attachments.MAX_BYTES:,} bytes.")
    at, media_type = doors.stores(request), request.headers.get("content-type", "").partition(";")[0].strip().lower()
    id = await run_in_threadpool(attachments.keep, at, who, media_type, bytes(data))
    return PlainTextResponse(f"{address(request)}/uploads/{id}")


@router.get("/uploads/{id}")
def download(request: Request, id: str, who: Annotated[Principal, Depends(doors.anyone)]) -> StreamingResponse:
    """The bytes, in a way in which no browser runs them."""
    at = doors.stores(request)
    found = attachments.read(at, who, id)
    pieces = (piece for extent in found.content.extents for piece in at.blobs.read(extent))
    headers = {
        "Content-Length": str(found.content.size),
        "Content-Disposition": "attachment",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "private, no-cache",
    }
    return StreamingResponse(pieces, media_type=found.media_type, headers=headers)


# --- as the client reads it -----------------------------------------------------------------------------------------


def _discussion(one: Discussion) -> dict[str, Any]:
    return {
        "num": one.num,
        "title": one.title,
        "status": one.status,
        "author": {"name": one.author},
        "repo": {"name": str(one.repo), "type": one.repo.kind},
        "isPullRequest": one.pull_request,
        "createdAt": time(one.created),
    }


def _event(one: Event) -> dict[str, Any]:
    author, data = {"name": one.author}, one.data
    if one.type == "comment":
        latest = {"raw": data["raw"], "html": data["html"], "updatedAt": time(data["updated"]), "author": author}
        history = [{"raw": old["raw"], "updatedAt": time(old["updated"]), "author": author} for old in data["history"]]
        data = {"edited": data["edited"], "hidden": data["hidden"], "latest": latest, "history": history}
    return {"id": one.id, "type": one.type, "author": author, "createdAt": time(one.created), "data": data}


def time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
