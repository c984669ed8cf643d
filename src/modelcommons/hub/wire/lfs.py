"""lfs: the batch API of git-lfs, and the addresses it hands out; each of these carries a ticket.

Source: github.com/git-lfs/git-lfs, docs/api/batch.md and basic-transfers.md; the transfer `multipart` is Hugging
Face's (huggingface_hub `lfs.py`): `header` has `chunk_size` and one address for each part.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from modelcommons.errors import TooLarge, Unprocessable
from modelcommons.hub.actions import repos, uploads
from modelcommons.hub.actions.repos import Opened
from modelcommons.hub.wire import doors
from modelcommons.hub.wire.sending import ContentResponse, address, take

MEDIA_TYPE = "application/vnd.git-lfs+json"
MAX_OBJECTS = 1000  # in a batch; git-lfs sends 100, huggingface_hub 256

router = APIRouter(tags=["lfs"])
kinds = APIRouter()


class Object(BaseModel):
    oid: str = Field(max_length=128)
    size: int


class Ref(BaseModel):
    name: str = Field(max_length=256)


class Batch(BaseModel):
    operation: Literal["upload", "download"]
    objects: list[Object]
    transfers: list[str] = ["basic"]
    hash_algo: str = "sha256"
    ref: Ref | None = None


class Part(BaseModel):
    partNumber: int  # as the client spells it
    etag: str = Field(max_length=128)


class Completion(BaseModel):
    oid: str = Field(max_length=128)
    parts: list[Part] = Field(max_length=uploads.MAX_PARTS)


@kinds.post("/{owner}/{name}.git/info/lfs/objects/batch")
def batch(request: Request, body: Batch, opened: Annotated[Opened, Depends(doors.repo("see"))]) -> Response:
    """What the client is to upload, or from where it may download."""
    if body.hash_algo != "sha256":
        raise Unprocessable(f"Expected the hash algorithm sha256, got {body.hash_algo[:40]!r}.")
    if len(body.objects) > MAX_OBJECTS:
        raise TooLarge(f"Expected at most {MAX_OBJECTS} objects at once, got {len(body.objects)}.")
    stores, multipart = doors.stores(request), "multipart" in body.transfers
    asked = [uploads.Asked(one.oid, one.size) for one in body.objects]
    if body.operation == "upload":
        ability = uploads.upload_ability(body.ref.name if body.ref else None)
        opened = repos.open_repo(stores, opened.who, opened.repo.rid, ability)
        answers = uploads.batch_upload(stores, opened, asked, multipart=multipart)
    else:
        opened = repos.open_repo(stores, opened.who, opened.repo.rid, "content")
        answers = uploads.batch_download(stores, opened, asked)
    at = f"{address(request)}/api/lfs"
    # one name for all objects: an object with parts says so itself, by `chunk_size` in its header
    transfer = "multipart" if any(answer.parts for answer in answers) else "basic"
    objects = [_object(at, answer) for answer in answers]
    return JSONResponse({"transfer": transfer, "objects": objects, "hash_algo": "sha256"}, media_type=MEDIA_TYPE)


def _object(at: str, answer: uploads.Answer) -> dict[str, Any]:
    told: dict[str, Any] = {"oid": answer.asked.sha256, "size": answer.asked.size, "authenticated": True}
    if answer.error:
        # a client may show this one only: the others of the batch go on
        return told | {"error": {"code": answer.error.status, "message": str(answer.error)}}
    actions: dict[str, Any] = {}
    if answer.parts:
        parts = {f"{number:05d}": f"{at}/parts?ticket={part.ticket}" for number, part in enumerate(answer.parts, 1)}
        header = {"chunk_size": str(answer.parts[0].size), **parts}
        actions["upload"] = {"href": f"{at}/complete?ticket={answer.upload}", "header": header}
    elif answer.upload:
        actions["upload"] = {"href": f"{at}/objects?ticket={answer.upload}"}
    if answer.verify:
        actions["verify"] = {"href": f"{at}/verify?ticket={answer.verify}"}
    if answer.download:
        actions["download"] = {"href": f"{at}/objects?ticket={answer.download}"}
    return told | {"actions": actions} if actions else told


@router.put("/api/lfs/objects", max_body_size=doors.STREAMED)
async def put_object(
    request: Request, ticket: Annotated[uploads.Ticket, Depends(doors.ticket("lfs-upload"))]
) -> Response:
    """The bytes of a file, hashed while they are written; 200 when they are durable."""
    stores = doors.stores(request)
    with await run_in_threadpool(uploads.incoming_file, stores, ticket) as incoming:
        await take(request, incoming.write, ticket["size"])
        await run_in_threadpool(uploads.keep_file, stores, ticket, incoming)
    return Response()


@router.get("/api/lfs/objects")
def get_object(request: Request, ticket: Annotated[uploads.Ticket, Depends(doors.ticket("lfs-download"))]) -> Response:
    stores = doors.stores(request)
    return ContentResponse(uploads.download_file(stores, ticket), stores.blobs, etag=ticket["sha256"])


@router.put("/api/lfs/parts", max_body_size=doors.STREAMED)
async def put_part(request: Request, ticket: Annotated[uploads.Ticket, Depends(doors.ticket("lfs-part"))]) -> Response:
    """One part of a large file; its ETag is what the client repeats at the end."""
    stores = doors.stores(request)
    with await run_in_threadpool(uploads.incoming_part, stores, ticket) as incoming:
        await take(request, incoming.write, ticket["size"])
        etag = await run_in_threadpool(uploads.keep_part, stores, ticket, incoming)
    return Response(headers={"ETag": f'"{etag}"'})


@router.post("/api/lfs/complete")
def complete(
    request: Request, body: Completion, ticket: Annotated[uploads.Ticket, Depends(doors.ticket("lfs-complete"))]
) -> Response:
    parts = [(part.partNumber, part.etag.strip('"')) for part in body.parts]
    uploads.complete(doors.stores(request), ticket, body.oid, parts)
    return Response()


@router.post("/api/lfs/verify")
def verify(
    request: Request, body: Object, ticket: Annotated[uploads.Ticket, Depends(doors.ticket("lfs-verify"))]
) -> Response:
    uploads.verify_file(doors.stores(request), ticket, body.oid, body.size)
    return Response()


for prefix in ("", "/datasets", "/spaces"):
    router.include_router(kinds, prefix=prefix)
