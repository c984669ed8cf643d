"""collections: lists of repositories, as huggingface_hub asks for them."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from modelcommons.errors import BadRequest
from modelcommons.hub import names
from modelcommons.hub.actions import collections
from modelcommons.hub.actions.collections import Collection
from modelcommons.hub.names import RepoId
from modelcommons.hub.permissions import Principal
from modelcommons.hub.wire import doors
from modelcommons.hub.wire.discussions import time
from modelcommons.hub.wire.sending import address

router = APIRouter(prefix="/api/collections", tags=["collections"])

Anyone = Annotated[Principal, Depends(doors.anyone)]
Writer = Annotated[Principal, Depends(doors.writer)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class New(Strict):
    title: str = Field(max_length=1_000)
    namespace: str | None = Field(default=None, max_length=names.MAX_NAME)
    description: str = Field(default="", max_length=1_000)
    private: bool = False


class Change(Strict):
    title: str | None = Field(default=None, max_length=1_000)
    description: str | None = Field(default=None, max_length=1_000)
    position: int | None = None
    private: bool | None = None
    theme: str | None = Field(default=None, max_length=20)


class ItemId(Strict):
    id: str = Field(max_length=300)
    type: Literal["model", "dataset", "space", "paper", "collection", "bucket"]


class NewItem(Strict):
    item: ItemId
    note: str | None = Field(default=None, max_length=1_000)


class ItemChange(Strict):
    note: str | None = Field(default=None, max_length=1_000)
    position: int | None = None


@router.get("")
def listing(
    request: Request,
    who: Anyone,
    owner: Annotated[list[str], Query(max_length=50)] = [],  # noqa: B006
    item: Annotated[str | None, Query(max_length=300)] = None,
    sort: Annotated[str | None, Query(max_length=20)] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = collections.PAGE,
    cursor: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    if sort not in (None, *collections.SORTS):
        raise BadRequest(f"Expected to sort by {', '.join(collections.SORTS)}, got {str(sort)[:40]!r}.")
    at = doors.stores(request)
    wanted = None if item is None else _item(item)
    found, following = collections.listing(at, who, owners=owner, item=wanted, after=_read_cursor(cursor), limit=limit)
    # the client gives each its own position in the list, and fails on a second one
    told = [{key: value for key, value in _collection(one).items() if key != "position"} for one in found]
    answer = JSONResponse(told)
    if following is not None:
        more = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
        query = urlencode([*more, ("cursor", _cursor(following))])
        answer.headers["Link"] = f'<{address(request)}/api/collections?{query}>; rel="next"'
    return answer


@router.post("")
def create(request: Request, who: Writer, body: New) -> dict[str, Any]:
    made = collections.create(
        doors.stores(request), who,
        title=body.title, namespace=body.namespace, description=body.description, private=body.private,
    )  # fmt: skip
    return _collection(made)


@router.get("/{owner}/{slug}")
def get(request: Request, who: Anyone) -> dict[str, Any]:
    return _collection(collections.get(doors.stores(request), who, *_slug(request)))


@router.patch("/{owner}/{slug}")
def change(request: Request, who: Writer, body: Change) -> dict[str, Any]:
    changed = collections.change(doors.stores(request), who, *_slug(request), **body.model_dump())
    return {"success": True, "data": _collection(changed)}


@router.delete("/{owner}/{slug}")
def remove(request: Request, who: Writer) -> dict[str, bool]:
    collections.remove(doors.stores(request), who, *_slug(request))
    return {"success": True}


@router.post("/{owner}/{slug}/items")
def add_item(request: Request, who: Writer, body: NewItem) -> dict[str, Any]:
    if body.item.type not in names.KINDS:
        raise BadRequest(f"Expected a model, dataset or space; this hub has no {body.item.type}.")
    rid = _rid(body.item.type, body.item.id.removeprefix(f"{body.item.type}s/"))
    return _collection(collections.add_item(doors.stores(request), who, *_slug(request), rid, note=body.note))


@router.patch("/{owner}/{slug}/items/{id}")
def change_item(request: Request, who: Writer, id: str, body: ItemChange) -> dict[str, Any]:
    changed = collections.change_item(
        doors.stores(request), who, *_slug(request), id, note=body.note, position=body.position
    )
    return {"success": True, "data": _collection(changed)}


@router.delete("/{owner}/{slug}/items/{id}")
def remove_item(request: Request, who: Writer, id: str) -> dict[str, bool]:
    collections.remove_item(doors.stores(request), who, *_slug(request), id)
    return {"success": True}


@router.post("/{owner}/{slug}/resource-group")
def resource_group(request: Request, who: Writer) -> dict[str, bool]:
    raise BadRequest("This hub has no resource groups.")


def _slug(request: Request) -> tuple[str, str]:
    return doors.segment(request, "owner"), doors.segment(request, "slug")


def _rid(kind: str, text: str) -> RepoId:
    owner, _, name = text.partition("/")
    return names.repo_id(next(one for one in names.KINDS if one == kind), owner, name)


def _item(text: str) -> RepoId:
    """`models/ada/news`, as the client writes a thing to look for."""
    kind, _, rest = text.partition("/")
    if kind not in ("models", "datasets", "spaces"):
        raise BadRequest(f"Expected an item such as models/ada/news, got {text[:80]!r}.")
    return _rid(kind.removesuffix("s"), rest)


def _cursor(place: tuple[float, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def _read_cursor(text: str) -> tuple[float, str] | None:
    if not text:
        return None
    try:
        match json.loads(base64.urlsafe_b64decode(text)):
            case [float() as updated, str() as id] if 0 <= updated < 1 << 53 and collections.ID.fullmatch(id):
                return updated, id
    except (binascii.Error, ValueError):
        pass
    raise BadRequest("The cursor is none of ours. Begin with the first page.")


def _collection(one: Collection) -> dict[str, Any]:
    return {
        "slug": one.slug,
        "title": one.title,
        "description": one.description,
        "owner": one.owner,
        "private": one.private,
        "theme": one.theme,
        "position": one.position,
        "upvotes": 0,
        "lastUpdated": time(one.updated),
        "items": [
            {
                "_id": item.id,
                "id": str(item.repo),
                "type": item.repo.kind,
                "position": item.position,
                "private": item.private,
                "likes": item.likes,
                "downloads": item.downloads,
                "lastModified": time(item.updated),
                **({"note": {"text": item.note}} if item.note else {}),
            }
            for item in one.items
        ],
    }
