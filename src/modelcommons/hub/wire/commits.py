"""commits: commits, branches, tags and refs, as huggingface_hub sends and asks for them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import html
from collections.abc import Iterator
from datetime import UTC, datetime
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from modelcommons.errors import BadRequest, TooLarge
from modelcommons.hub import history, names
from modelcommons.hub.actions import commits
from modelcommons.hub.actions.commits import Header, Large, Operation
from modelcommons.hub.actions.repos import Opened
from modelcommons.hub.wire import doors
from modelcommons.hub.wire.sending import address

MAX_LINE = 15 << 20  # bytes: the largest regular file in base64, with its path
IN_MEMORY = 1 << 20  # bytes of a body that need no file
PAGE, MAX_PAGE = 50, 1000  # commits

router = APIRouter()
of_kind = APIRouter()

Seen = Annotated[Opened, Depends(doors.repo("see"))]
Discussed = Annotated[Opened, Depends(doors.repo("discuss"))]
Written = Annotated[Opened, Depends(doors.repo("write"))]


class NewBranch(BaseModel):
    model_config = ConfigDict(extra="forbid")

    startingPoint: str | None = Field(default=None, max_length=names.MAX_REF + 16)


class NewTag(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tag: str = Field(max_length=names.MAX_REF)
    message: str | None = Field(default=None, max_length=commits.MAX_MESSAGE)


class Squash(BaseModel):
    model_config = ConfigDict(extra="forbid")

    message: str = Field(min_length=1, max_length=commits.MAX_TITLE)


def revision(request: Request, name: str = "rev") -> str:
    """The revision that a segment of the path names."""
    return names.revision(doors.segment(request, name))


# --- commit ---------------------------------------------------------------------------------------------------------


@of_kind.post("/{owner}/{name}/commit/{rev}", max_body_size=doors.STREAMED)
async def commit(request: Request, opened: Discussed, create_pr: str = "") -> dict[str, Any]:
    """One JSON object a line: a header, then what to do, in order."""
    at = doors.stores(request)
    with SpooledTemporaryFile(max_size=IN_MEMORY, dir=commits.incoming(at)) as body:
        digest = await _spool(request, body, at.settings.body_bytes)

        def made() -> commits.Committed:
            body.seek(0)
            lines = _lines(body)
            header = _header(next(lines, (0, b"")))
            return commits.commit(
                at, opened, revision(request), header, _operations(lines),
                create_pr=create_pr.lower() in ("1", "true"),
                idempotency_key=request.headers.get("idempotency-key"), digest=digest,
            )  # fmt: skip

        done = await run_in_threadpool(made)
    page = f"{address(request)}/{opened.repo.rid.route}"
    answer: dict[str, Any] = {
        "success": True, "commitUrl": f"{page}/commit/{done.oid}", "commitOid": done.oid,
        "hookOutput": "\n".join(done.warnings),
    }  # fmt: skip
    if done.proposal is not None:
        answer["pullRequestUrl"] = f"{page}/discussions/{done.proposal}"
    return answer


async def _spool(request: Request, body: IO[bytes], limit: int) -> str:
    """Takes the body to disk as it comes, and says its SHA-256.

    Raises:
        TooLarge: it is longer than a commit may be.
    """
    digest, size = hashlib.sha256(), 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise TooLarge(f"Expected a commit of at most {limit:,} bytes. Send large files by LFS or Xet.")
        digest.update(piece)
        if size <= IN_MEMORY:
            body.write(piece)
        else:
            await run_in_threadpool(body.write, piece)
    return digest.hexdigest()


def _lines(body: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers."""
    number = 0
    while line := body.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise TooLarge(f"Line {number}: expected at most {MAX_LINE:,} bytes. Send large files by LFS or Xet.")
        if line.strip():
            yield number, line


def _read(number: int, line: bytes) -> tuple[str, dict[str, Any]]:
    """What a line says: its key, and its value, whose members are text, numbers or nothing."""
    try:
        said = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise BadRequest(f"Line {number}: expected one JSON object.") from None
    value = said.get("value") if isinstance(said, dict) else None
    if not isinstance(value, dict) or not isinstance(said.get("key"), str):
        raise BadRequest(f'Line {number}: expected {{"key": "...", "value": {{...}}}}.')
    return said["key"], value


def _text(number: int, value: dict[str, Any], name: str, default: str | None = None) -> str:
    found = value.get(name, default)
    if not isinstance(found, str):
        raise BadRequest(f"Line {number}: expected text for '{name}'.")
    return found


def _header(line: tuple[int, bytes]) -> Header:
    number, text = line
    key, value = _read(number, text) if text else ("", {})
    if key != "header":
        raise BadRequest("Line 1: expected the header, with a summary.")
    parent = value.get("parentCommit")
    return Header(
        _text(number, value, "summary"),
        _text(number, value, "description", "") if value.get("description") is not None else "",
        None if parent is None else _text(number, value, "parentCommit").lower(),
    )


def _operations(lines: Iterator[tuple[int, bytes]]) -> Iterator[Operation]:
    for number, line in lines:
        key, value = _read(number, line)
        path = _text(number, value, "path")
        match key:
            case "file":
                yield history.Add(path, _content(number, value))
            case "lfsFile":
                size = value.get("size")
                if _text(number, value, "algo", "sha256") != "sha256":
                    raise BadRequest(f"Line {number}: expected the algorithm sha256.")
                if size is not None and (type(size) is not int or size < 0):
                    raise BadRequest(f"Line {number}: expected the size in bytes.")
                yield Large(path, _text(number, value, "oid"), size)
            case "deletedFile":
                yield history.Delete(path)
            case "deletedFolder":
                yield history.DeleteFolder(path)
            case _:
                raise BadRequest(
                    f"Line {number}: expected file, lfsFile, deletedFile or deletedFolder, got {key[:40]!r}."
                )


def _content(number: int, value: dict[str, Any]) -> bytes:
    text = _text(number, value, "content")
    match _text(number, value, "encoding", "utf-8"):
        case "base64":
            try:
                return base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                raise BadRequest(f"Line {number}: expected base64.") from None
        case "utf-8":
            return text.encode()
        case other:
            raise BadRequest(f"Line {number}: expected the encoding base64 or utf-8, got {other[:40]!r}.")


# --- reading --------------------------------------------------------------------------------------------------------


@of_kind.get("/{owner}/{name}/commits/{rev}")
def log(
    request: Request,
    response: Response,
    opened: Seen,
    p: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = PAGE,
) -> list[dict[str, Any]]:
    """Commits, newest first, a page at a time."""
    at, rev = doors.stores(request), revision(request)
    found = commits.log(at, opened, rev, p * limit, limit + 1)
    formatted = "formatted" in request.query_params.getlist("expand[]") + request.query_params.getlist("expand")
    if len(found) > limit:
        query = f"p={p + 1}&limit={limit}" + ("&expand[]=formatted" if formatted else "")
        response.headers["Link"] = f'<{address(request)}{request.scope["path"]}?{query}>; rel="next"'
    return [_commit(one, formatted) for one in found[:limit]]


def _commit(one: history.Commit, formatted: bool) -> dict[str, Any]:
    item: dict[str, Any] = {
        "id": one.oid,
        "title": one.title,
        "message": one.message,
        "authors": [{"user": one.author}],
        "date": datetime.fromtimestamp(one.date, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    if formatted:
        paragraphs = [f"<p>{html.escape(text)}</p>" for text in one.message.split("\n\n") if text.strip()]
        item["formatted"] = {"title": html.escape(one.title), "message": "".join(paragraphs)}
    return item


@of_kind.get("/{owner}/{name}/refs")
def refs(request: Request, opened: Seen, include_prs: str = "") -> dict[str, Any]:
    """Branches and tags; with `include_prs` the proposals too."""
    groups = {"branches": "refs/heads/", "converts": "refs/convert/", "tags": "refs/tags/"}
    if include_prs.lower() in ("1", "true"):
        groups["pullRequests"] = "refs/pr/"
    found = commits.refs(doors.stores(request), opened)
    return {
        group: [
            {"name": one.name.removeprefix(prefix), "ref": one.name, "targetCommit": one.commit}
            for one in found
            if one.name.startswith(prefix)
        ]
        for group, prefix in groups.items()
    }


# --- branches and tags ----------------------------------------------------------------------------------------------


@of_kind.post("/{owner}/{name}/branch/{branch}")
def create_branch(request: Request, opened: Written, body: NewBranch | None = None) -> None:
    start = body.startingPoint if body else None
    commits.create_branch(
        doors.stores(request), opened, doors.segment(request, "branch"), names.revision(start) if start else None
    )


@of_kind.delete("/{owner}/{name}/branch/{branch}")
def delete_branch(request: Request, opened: Written) -> None:
    commits.delete_branch(doors.stores(request), opened, doors.segment(request, "branch"))


@of_kind.post("/{owner}/{name}/tag/{rev}")
def create_tag(request: Request, opened: Written, body: NewTag) -> None:
    commits.create_tag(doors.stores(request), opened, body.tag, revision(request), body.message)


@of_kind.delete("/{owner}/{name}/tag/{rev}")
def delete_tag(request: Request, opened: Written) -> None:
    commits.delete_tag(doors.stores(request), opened, doors.segment(request, "rev").removeprefix("refs/tags/"))


@of_kind.post("/{owner}/{name}/super-squash/{branch}")
def squash(request: Request, opened: Discussed, body: Squash) -> dict[str, str]:
    """Makes the history of a branch one commit."""
    return {"commitOid": commits.squash(doors.stores(request), opened, revision(request, "branch"), body.message)}


for kind in names.KINDS:
    router.include_router(of_kind, prefix=f"/api/{kind}s", tags=["commits"])
