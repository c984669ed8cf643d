"""xet: how current clients upload, and may download: tokens of the hub, and the endpoints of a CAS on the same address.

Source: huggingface.co/docs/xet/api; what hf_xet 1.8 asks besides (grants, /v2/shards) is answered 404, and it goes on
without.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from modelcommons.errors import Forbidden, Missing
from modelcommons.hub import tickets, xet
from modelcommons.hub.actions import repos, uploads
from modelcommons.hub.actions.repos import Opened
from modelcommons.hub.blobs import read_range
from modelcommons.hub.wire import doors
from modelcommons.hub.wire.sending import PiecesResponse, address, take

IN_MEMORY = 1 << 20  # bytes of a shard; a longer one waits in a file

router = APIRouter(tags=["xet"])
kinds = APIRouter()


# --- tokens ---------------------------------------------------------------------------------------------------------


@kinds.get("/{owner}/{name}/xet-write-token/{rev}")
def write_token(
    request: Request, opened: Annotated[Opened, Depends(doors.repo("see"))], create_pr: bool = False
) -> Response:
    """A token to upload; where a pull request is to be opened, `rev` may be the word None."""
    rev = doors.segment(request, "rev")
    ability = uploads.upload_ability(None if create_pr or rev == "None" else rev)
    opened = repos.open_repo(doors.stores(request), opened.who, opened.repo.rid, ability)
    return _token(request, opened, "xet-write", ability, tickets.UPLOAD_S)


@kinds.get("/{owner}/{name}/xet-read-token/{rev}")
def read_token(request: Request, opened: Annotated[Opened, Depends(doors.repo("content"))]) -> Response:
    return _token(request, opened, "xet-read", "content", tickets.DOWNLOAD_S)


def _token(request: Request, opened: Opened, action: str, ability: Any, seconds: int) -> Response:
    stores = doors.stores(request)
    token = uploads.ticket(stores, opened, action, ability, seconds)
    expires, endpoint = int(stores.now() + seconds), address(request)
    headers = {  # hf_xet reads the body, huggingface_hub the headers
        "X-Xet-Cas-Url": endpoint, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(expires),
        "Cache-Control": "no-store",
    }  # fmt: skip
    return JSONResponse({"casUrl": endpoint, "accessToken": token, "exp": expires}, headers=headers)


def cas(action: Literal["xet-read", "xet-write"]) -> Callable[[Request], uploads.Ticket]:
    """A door for those who carry a token of `_token`.

    Raises, when it is passed:
        Unauthorized: it is none of ours, or has run out.
        Forbidden: it is for the other direction.
    """

    def read(request: Request) -> uploads.Ticket:
        stores = doors.stores(request)
        header = request.headers.get("authorization", "")
        ticket = tickets.read(stores.secret, header.removeprefix("Bearer "), stores.now())
        if ticket.get("action") != action:
            raise Forbidden(f"This needs a token of {action}.")
        return ticket

    read.action = action  # type: ignore[attr-defined]  # for the test that lists every route with its door
    return read


# --- in -------------------------------------------------------------------------------------------------------------


@router.post("/v1/xorbs/default/{hash}", max_body_size=doors.STREAMED)
async def put_xorb(
    request: Request, hash: str, ticket: Annotated[uploads.Ticket, Depends(cas("xet-write"))]
) -> Response:
    upload = await run_in_threadpool(uploads.XorbUpload, doors.stores(request), ticket, hash)
    with upload:
        await take(request, upload.write, xet.MAX_XORB_BODY)
        await run_in_threadpool(upload.keep)
    # always: whether the hub had it from somebody else is told to nobody
    return JSONResponse({"was_inserted": True})


@router.post("/v1/shards", max_body_size=doors.STREAMED)
async def put_shard(request: Request, ticket: Annotated[uploads.Ticket, Depends(cas("xet-write"))]) -> Response:
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as shard:
        await take(request, shard.write, xet.MAX_SHARD)
        await run_in_threadpool(_keep_shard, request, ticket, shard)
    return JSONResponse({"result": 1})


def _keep_shard(request: Request, ticket: uploads.Ticket, shard: Any) -> None:
    shard.seek(0)
    uploads.keep_shard(doors.stores(request), ticket, shard)


@router.get("/v1/chunks/{prefix}/{hash}", dependencies=[Depends(doors.stranger)])
def find_chunk(prefix: str, hash: str) -> Response:
    """Never: to say which chunks are here would say what others have uploaded."""
    raise Missing("This hub tells nobody which chunks it has.")


@router.post("/v1/telemetry", dependencies=[Depends(doors.stranger)])
def telemetry() -> Response:
    """What a client tells about itself is not kept."""
    return Response()


# --- out ------------------------------------------------------------------------------------------------------------


@router.get("/v1/reconstructions/{hash}")
def reconstruction(
    request: Request, hash: str, ticket: Annotated[uploads.Ticket, Depends(cas("xet-read"))]
) -> dict[str, Any]:
    """How to put a file together, or the part of it that `Range` asks for."""
    made = _made(request, hash, ticket)
    found: dict[str, list[Any]] = {}
    for run in made.runs:
        entry = {
            "range": _span(run.start, run.stop),
            "url": _url(request, run),
            "url_range": _span(run.first, run.last),
        }
        found.setdefault(run.xorb, []).append(entry)
    return {"offset_into_first_range": made.skip, "terms": _terms(made), "fetch_info": found}


@router.get("/v2/reconstructions/{hash}")
def reconstruction_2(
    request: Request, hash: str, ticket: Annotated[uploads.Ticket, Depends(cas("xet-read"))]
) -> dict[str, Any]:
    """The same in the second form; every address has one range."""
    made = _made(request, hash, ticket)
    found: dict[str, list[Any]] = {}
    for run in made.runs:
        ranges = [{"chunks": _span(run.start, run.stop), "bytes": _span(run.first, run.last)}]
        found.setdefault(run.xorb, []).append({"url": _url(request, run), "ranges": ranges})
    return {"offset_into_first_range": made.skip, "terms": _terms(made), "xorbs": found}


def _made(request: Request, hash: str, ticket: uploads.Ticket) -> uploads.Reconstruction:
    return uploads.reconstruction(doors.stores(request), ticket, hash, request.headers.get("range"))


def _terms(made: uploads.Reconstruction) -> list[dict[str, Any]]:
    return [
        {"hash": part.xorb, "range": _span(part.start, part.stop), "unpacked_length": part.length}
        for part in made.parts
    ]


def _span(start: int, end: int) -> dict[str, int]:
    """Of chunks the end is not part of it, of bytes it is."""
    return {"start": start, "end": end}


def _url(request: Request, run: uploads.Run) -> str:
    return f"{address(request)}/api/xet/fetch?ticket={run.ticket}"


@router.get("/api/xet/fetch")
def fetch(request: Request, ticket: Annotated[uploads.Ticket, Depends(doors.ticket("xet-fetch"))]) -> Response:
    """One run of chunks with their headers; the ticket says which, and `Range` has to say the same."""
    fetched = uploads.fetch(doors.stores(request), ticket)
    if read_range(request.headers.get("range"), fetched.last + 1) != (fetched.first, fetched.last + 1):
        raise Forbidden(f"This address is for the range bytes={fetched.first}-{fetched.last} only.")
    headers = {"Content-Range": f"bytes {fetched.first}-{fetched.last}/*", "Cache-Control": "private, no-store"}
    return PiecesResponse(fetched.pieces, fetched.last - fetched.first + 1, status=206, headers=headers)


for kind in ("models", "datasets", "spaces"):
    router.include_router(kinds, prefix=f"/api/{kind}")
