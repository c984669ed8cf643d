"""files: trees, paths, preupload and the bytes themselves, as huggingface_hub asks for them."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, quote

import orjson
from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from modelcommons.errors import BadRequest, Missing, OutOfRange
from modelcommons.hub import names, permissions
from modelcommons.hub.actions import files, lifecycle, storage
from modelcommons.hub.actions.files import Absent, Found, Shown
from modelcommons.hub.actions.repos import Opened
from modelcommons.hub.blobs import read_range
from modelcommons.hub.names import RepoId
from modelcommons.hub.permissions import Principal
from modelcommons.hub.wire import doors, errors
from modelcommons.hub.wire.answering import flag, json, next_page, number, time
from modelcommons.hub.wire.sending import ContentResponse, address

router = APIRouter(tags=["files"])
of_kind = APIRouter()

Seen = Annotated[Opened, Depends(doors.repo("see"))]
Read = Annotated[Opened, Depends(doors.repo("content"))]
Discussed = Annotated[Opened, Depends(doors.repo("discuss"))]
Written = Annotated[Opened, Depends(doors.repo("write"))]
Ruled = Annotated[Opened, Depends(doors.repo("admin"))]
Anyone = Annotated[Principal, Depends(doors.anyone)]

# a stranger's file is never a page of ours: browsers save it, run nothing in it, and guess no type
GUARDED = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-site",
}
TYPES = {  # pictures that cards show, and text; all else is bytes
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp",
    ".txt": "text/plain; charset=utf-8", ".md": "text/plain; charset=utf-8", ".json": "text/plain; charset=utf-8",
    ".yaml": "text/plain; charset=utf-8", ".yml": "text/plain; charset=utf-8", ".py": "text/plain; charset=utf-8",
    ".csv": "text/plain; charset=utf-8", ".jsonl": "text/plain; charset=utf-8",
}  # fmt: skip


def _absent(error: Absent) -> Response:
    """404 with the commit: clients keep it, and do not ask again."""
    answer = errors.response(error)
    answer.headers["X-Repo-Commit"] = error.commit
    return answer


def _revision(request: Request) -> str:
    return names.revision(doors.segment(request, "rev"))


# --- trees ----------------------------------------------------------------------------------------------------------


@of_kind.get("/{owner}/{name}/tree/{rev}")
@of_kind.get("/{owner}/{name}/tree/{rev}/{path:path}")
def tree(request: Request, opened: Seen) -> Response:
    folder = names.folder(doors.segment(request, "path")) if "path" in request.path_params else ""
    skip = number(request, "cursor", 0)
    try:
        page = files.tree(
            doors.stores(request), opened, _revision(request), folder,
            recursive=flag(request, "recursive"), expand=flag(request, "expand"),
            limit=number(request, "limit", files.MAX_PAGE), skip=skip,
        )  # fmt: skip
    except Absent as error:
        return _absent(error)
    headers = {"X-Repo-Commit": page.commit}
    if page.rest is not None:
        # the next page is of this commit, whatever happens to the branch meanwhile
        rid = opened.repo.rid
        where = f"/api/{rid.kind}s/{rid}/tree/{page.commit}" + (f"/{quote(folder)}" if folder else "")
        headers |= next_page(request, str(page.rest), where)
    return json([_shown(one) for one in page.shown], headers=headers)


def _shown(one: Shown) -> dict[str, Any]:
    node = one.node
    found: dict[str, Any] = {"type": node.kind, "path": node.path, "oid": node.oid, "size": node.size}
    if node.lfs is not None:
        found["lfs"] = {"oid": node.lfs.sha256, "size": node.lfs.size, "pointerSize": len(node.lfs.data())}
    if one.xet_hash is not None:
        found["xetHash"] = one.xet_hash
    if one.last_commit is not None:
        last = one.last_commit
        found["lastCommit"] = {"id": last.oid, "title": last.title, "date": time(last.date)}
        if node.kind == "file":
            found["securityFileStatus"] = _label(one)
    return found


def _label(one: Shown) -> dict[str, Any]:
    """Nothing is called safe here: names and first bytes were looked at, and no virus scanner ran."""
    status = "suspicious" if one.runs_code else "unscanned"
    scan = {"status": status}
    if one.runs_code:
        scan["message"] = "Loading this file could run code. Ask for safetensors."
    return {"status": status, "avScan": {"status": "unscanned"}, "pickleImportScan": scan}


class Paths(BaseModel):
    model_config = ConfigDict(extra="forbid")

    paths: list[str] | str
    expand: bool = False


@of_kind.post("/{owner}/{name}/paths-info/{rev}")
async def paths_info(request: Request, opened: Seen) -> Response:
    """Some paths at once; those that are not there are left out. Clients send a form, people JSON."""
    raw = await request.body()
    asked, expand = await run_in_threadpool(_paths, raw, request.headers.get("content-type", ""))
    found = await run_in_threadpool(
        files.paths_info, doors.stores(request), opened, _revision(request), asked, expand=expand
    )
    return json([_shown(one) for one in found])


def _paths(raw: bytes, media_type: str) -> tuple[list[str], bool]:
    if media_type.startswith("application/json"):
        try:
            body = Paths.model_validate(orjson.loads(raw))
        except ValueError:
            raise BadRequest('Expected {"paths": [..], "expand": true or false}.') from None
        return [body.paths] if isinstance(body.paths, str) else body.paths, body.expand
    try:
        pairs = parse_qsl(
            raw.decode(), keep_blank_values=True, strict_parsing=bool(raw), max_num_fields=files.MAX_PATHS + 2
        )
    except ValueError:
        raise BadRequest(f"Expected a form with at most {files.MAX_PATHS:,} `paths`, and `expand`.") from None
    return [value for name, value in pairs if name == "paths"], ("expand", "True") in pairs or (
        "expand",
        "true",
    ) in pairs


# --- before an upload -----------------------------------------------------------------------------------------------


class Planned(BaseModel):
    path: str = Field(max_length=names.MAX_PATH)
    size: int = Field(ge=0, le=1 << 50)
    sample: str = Field(default="", max_length=1024)  # base64 of the first 512 bytes


class Plan(BaseModel):
    files: list[Planned] = Field(max_length=files.MAX_PREUPLOAD)
    gitIgnore: str = Field(default="", max_length=64 * 1024)  # as the client spells it


@of_kind.post("/{owner}/{name}/preupload/{rev}")
def preupload(request: Request, opened: Discussed, body: Plan) -> Response:
    revision = _revision(request)
    samples = [files.Sample(one.path, one.size, _bytes(one.sample)) for one in body.files]
    advice = files.preupload(
        doors.stores(request), opened, revision, samples, git_ignore=body.gitIgnore,
        proposes=flag(request, "create_pr") or names.PULL.fullmatch(revision) is not None,
    )  # fmt: skip
    found = []
    for one in advice:
        row: dict[str, Any] = {"path": one.path, "uploadMode": one.mode, "shouldIgnore": one.ignore}
        found.append(row | ({"oid": one.oid} if one.oid else {}))
    return json({"files": found})


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise BadRequest("Expected each sample to be base64.") from None


# --- bytes ----------------------------------------------------------------------------------------------------------


def resolve(request: Request, opened: Read) -> Response:
    """A file's bytes, or with HEAD what is to be known of it; permission was checked before anything is compared."""
    stores, path = doors.stores(request), names.path(doors.segment(request, "path"))
    try:
        found = files.resolve(stores, opened, _revision(request), path)
    except Absent as error:
        return _absent(error)
    if request.method == "GET" and request.headers.get("range", "bytes=0-").startswith("bytes=0-"):
        stores.downloads.add(opened.repo.id, path)
    headers = GUARDED | {
        "X-Repo-Commit": found.commit,
        "Content-Disposition": _disposition(path),
        "Cache-Control": "private, no-cache",  # who may read it is asked each time
        "Vary": "Authorization, Cookie",
    }
    if found.node.lfs is not None:
        headers |= {"X-Linked-Etag": f'"{found.etag}"', "X-Linked-Size": str(found.node.size)}
        headers |= _by_xet(request, opened.repo.rid, found)
    dot = path.rfind(".")
    media_type = TYPES.get(path[dot:].lower() if dot >= 0 else "", "application/octet-stream")
    if isinstance(found.content, bytes):
        return _small(request, found.content, f'"{found.etag}"', headers, media_type)
    return ContentResponse(found.content, stores.blobs, etag=found.etag, headers=headers, media_type=media_type)


def _small(request: Request, data: bytes, etag: str, headers: dict[str, str], media_type: str) -> Response:
    """A file that is in memory: whole, one range of it, or that the client has it already."""
    headers = headers | {"ETag": etag, "Accept-Ranges": "bytes"}
    tags = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if etag in tags or tags == ["*"]:
        return Response(status_code=304, headers=headers)
    if request.method != "GET" or request.headers.get("if-range", etag) != etag:
        return Response(data, headers=headers, media_type=media_type)
    try:
        bounds = read_range(request.headers.get("range"), len(data))
    except OutOfRange as error:
        answer = errors.response(error)
        answer.headers["Content-Range"] = f"bytes */{len(data)}"
        return answer
    if bounds is None:
        return Response(data, headers=headers, media_type=media_type)
    start, stop = bounds
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
    return Response(data[start:stop], 206, headers, media_type)


def _disposition(path: str) -> str:
    """Saved, not shown; the name in a form that no name can break out of."""
    name = path.rsplit("/", 1)[-1]
    plain = "".join(char if char.isascii() and (char.isalnum() or char in "._- ") else "_" for char in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _by_xet(request: Request, rid: RepoId, found: Found) -> dict[str, str]:
    if found.xet_hash is None:
        return {}
    route = f"{address(request)}/api/{rid.kind}s/{rid}/xet-read-token/{found.commit}"
    return {"X-Xet-Hash": found.xet_hash, "X-Xet-Refresh-Route": route, "Link": f'<{route}>; rel="xet-auth"'}


def elsewhere(request: Request, who: Anyone) -> Response:
    """A repository without an owner in its name: there is none."""
    raise permissions.not_found(RepoId(doors.kind(request), "", ""))


# --- large files ----------------------------------------------------------------------------------------------------


class Deletions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sha: list[str] = Field(max_length=storage.MAX_DELETIONS)
    rewriteHistory: bool = True  # as the client spells it


class Batch(BaseModel):
    model_config = ConfigDict(extra="forbid")

    deletions: Deletions


class Target(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["model", "dataset", "space"]
    name: str = Field(max_length=200)


class CopiedFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sha256: str = Field(max_length=64)
    xetHash: str | None = Field(default=None, max_length=64)  # as the client spells it
    filename: str = Field(default="", max_length=names.MAX_PATH)


class Copies(BaseModel):
    model_config = ConfigDict(extra="forbid")

    target: Target
    files: list[CopiedFile] = Field(max_length=storage.MAX_COPIES)


@of_kind.get("/{owner}/{name}/lfs-files")
def large_files(request: Request, opened: Written) -> Response:
    cursor = request.query_params.get("cursor", "")
    page = storage.large_files(doors.stores(request), opened, after=names.sha256(cursor) if cursor else "")
    headers = next_page(request, page[-1].sha256) if len(page) == storage.MAX_PAGE else None
    return json([
        {
            "fileOid": one.sha256, "oid": one.sha256, "filename": one.path or "", "size": one.size,
            "pushedAt": time(one.created), "ref": "main" if one.path else None,
        }
        for one in page
    ], headers=headers)  # fmt: skip


@of_kind.post("/{owner}/{name}/lfs-files/batch")
def delete_large_files(request: Request, opened: Ruled, body: Batch) -> Response:
    digests = [names.sha256(one) for one in body.deletions.sha]
    storage.delete_large_files(doors.stores(request), opened, digests, rewrite=body.deletions.rewriteHistory)
    return json({})


@of_kind.post("/{owner}/{name}/lfs-files/duplicate")
def copy_large_files(request: Request, opened: Read, body: Copies) -> Response:
    """Before a commit that copies large files from this repository to another."""
    owner, _, name = body.target.name.partition("/")
    rid = names.repo_id(body.target.type, owner, name)
    target = lifecycle.by_name(doors.stores(request), opened.who, rid, "write")
    wanted = [storage.Wanted(names.sha256(one.sha256), one.xetHash or None) for one in body.files]
    failed = storage.copy_large_files(doors.stores(request), opened, target, wanted)
    told = f"{opened.repo.rid} has no such large file"
    return json({"failed": [{"sha256": one.sha256, "error": told} for one in failed]})


@of_kind.get("/{owner}/{name}/safetensors-metadata/{path:path}")
def safetensors_metadata(request: Request, opened: Read) -> Response:
    """The headers of all shards that an index on main names, in one answer."""
    if opened.repo.rid.kind != "model":
        raise Missing("Only models have weights.")
    path = names.path(doors.segment(request, "path"))
    try:
        index, headers = files.safetensors_metadata(doors.stores(request), opened, path)
    except Absent as error:
        return _absent(error)
    body = b",".join(orjson.dumps(name) + b":" + raw for name, raw in headers.items())
    return Response(b'{"index":' + orjson.dumps(index) + b',"headers":{' + body + b"}}", media_type="application/json")


for kind in names.KINDS:
    router.include_router(of_kind, prefix=f"/api/{kind}s")
for prefix in ("/datasets", "/spaces", ""):
    for route, answer in (
        ("/{owner}/{name}/resolve/{rev}/{path:path}", resolve),
        ("/{owner}/{name}/raw/{rev}/{path:path}", resolve),
        ("/{name}/resolve/{rev}/{path:path}", elsewhere),
    ):
        router.get(prefix + route)(answer)
        router.head(prefix + route, include_in_schema=False)(answer)
