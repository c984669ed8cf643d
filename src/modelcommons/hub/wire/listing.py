"""listing: one repository's info, and lists of many, field by field as huggingface_hub reads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from modelcommons.errors import BadRequest
from modelcommons.hub import history, names, permissions
from modelcommons.hub.actions import card, files, listing
from modelcommons.hub.actions.listing import About, Query
from modelcommons.hub.actions.repos import Opened
from modelcommons.hub.names import Kind
from modelcommons.hub.permissions import Principal
from modelcommons.hub.wire import doors
from modelcommons.hub.wire.answering import flag, json, known, many, next_page, number, time

router = APIRouter(tags=["repositories"])
of_kind = APIRouter()

Seen = Annotated[Opened, Depends(doors.repo("see"))]
Anyone = Annotated[Principal, Depends(doors.anyone)]
Field = Callable[[About], Any]


# --- fields ---------------------------------------------------------------------------------------------------------


def _base_models(about: About) -> dict[str, Any] | None:
    found = card.words(about.card.get("base_model"))
    relation = about.card.get("base_model_relation")
    return {"relation": relation or "finetune", "models": [{"id": one} for one in found]} if found else None


def _sibling(node: history.Node) -> dict[str, Any]:
    return {"rfilename": node.path}


def _sibling_with_blob(node: history.Node) -> dict[str, Any]:
    found: dict[str, Any] = {"rfilename": node.path, "blobId": node.oid, "size": node.size}
    if node.lfs is not None:
        found["lfs"] = {"sha256": node.lfs.sha256, "size": node.lfs.size, "pointerSize": len(node.lfs.data())}
    return found


COMMON: dict[str, Field] = {
    "author": lambda about: about.rid.owner,
    "cardData": lambda about: about.card or None,
    "createdAt": lambda about: time(about.created),
    "disabled": lambda about: about.disabled,
    "lastModified": lambda about: time(about.updated),
    "likes": lambda about: about.likes,
    "private": lambda about: about.private,
    "resourceGroup": lambda about: None,
    "sha": lambda about: about.sha,
    "siblings": lambda about: [_sibling(node) for node in about.files],
    "tags": lambda about: about.tags,
    "trendingScore": lambda about: about.likes,  # as the lists are ordered by it
    "usedStorage": lambda about: about.used,
}
COUNTED: dict[str, Field] = {
    "downloads": lambda about: about.downloads,
    "downloadsAllTime": lambda about: about.downloads,
    "gated": lambda about: about.gated or False,
}
FIELDS: dict[Kind, dict[str, Field]] = {
    "model": COMMON | COUNTED | {
        "baseModels": _base_models,
        "childrenModelCount": lambda about: None,
        "config": lambda about: about.details.get("config") or None,
        "evalResults": lambda about: None,
        "gguf": lambda about: None,
        "inference": lambda about: None,
        "inferenceProviderMapping": lambda about: None,
        "library_name": lambda about: about.library_name,
        "modelId": lambda about: str(about.rid),  # what `id` was called once
        "mask_token": lambda about: about.details.get("mask_token"),
        "model-index": lambda about: about.card.get("model-index"),
        "pipeline_tag": lambda about: about.pipeline_tag,
        "safetensors": lambda about: about.details.get("safetensors"),
        "spaces": lambda about: [],
        "transformersInfo": lambda about: about.details.get("transformersInfo"),
        "widgetData": lambda about: about.card.get("widget"),
    },
    "dataset": COMMON | COUNTED | {
        "citation": lambda about: None,
        "description": lambda about: None,
        "mainSize": lambda about: about.size,
        "paperswithcode_id": lambda about: about.card.get("paperswithcode_id"),
    },
    "space": COMMON | {
        "datasets": lambda about: card.words(about.card.get("datasets")),
        "models": lambda about: card.words(about.card.get("models")),
        "region": lambda about: None,
        "runtime": lambda about: None,  # the hub runs no spaces
        "sdk": lambda about: about.sdk,
        "subdomain": lambda about: None,
    },
}  # fmt: skip

# what is shown where nothing is said about it
INFO: dict[Kind, tuple[str, ...]] = {
    "model": (
        "modelId", "author", "sha", "lastModified", "private", "disabled", "gated", "pipeline_tag", "tags", "downloads",
        "library_name", "widgetData", "likes", "model-index", "config", "cardData", "transformersInfo", "mask_token",
        "createdAt", "spaces", "siblings", "safetensors", "usedStorage", "baseModels",
    ),
    "dataset": (
        "author", "sha", "lastModified", "private", "disabled", "gated", "tags", "downloads", "likes", "cardData",
        "createdAt", "siblings", "usedStorage", "paperswithcode_id",
    ),
    "space": (
        "author", "sha", "lastModified", "private", "disabled", "tags", "likes", "cardData", "createdAt", "siblings",
        "sdk", "models", "datasets", "usedStorage",
    ),
}  # fmt: skip
ROW = ("author", "createdAt", "lastModified", "likes", "private", "sha", "tags", "disabled")
ROWS: dict[Kind, tuple[str, ...]] = {
    "model": ("modelId", *ROW, "downloads", "gated", "pipeline_tag", "library_name"),
    "dataset": (*ROW, "downloads", "gated"),
    "space": (*ROW, "sdk"),
}


def render(about: About, fields: Sequence[str]) -> dict[str, Any]:
    """The id and the fields asked for; what a repository does not have is left out."""
    kind = about.rid.kind
    found: dict[str, Any] = {"id": str(about.rid)}
    for name in fields:
        if (value := FIELDS[kind][name](about)) is not None:
            found[name] = value
    return found


# --- one ------------------------------------------------------------------------------------------------------------


@of_kind.get("/{owner}/{name}")
def info(request: Request, opened: Seen) -> Response:
    return _info(request, opened, None)


@of_kind.get("/{owner}/{name}/revision/{rev}")
def info_at(request: Request, opened: Seen) -> Response:
    return _info(request, opened, names.revision(doors.segment(request, "rev")))


def _info(request: Request, opened: Opened, revision: str | None) -> Response:
    kind, asked = opened.repo.rid.kind, many(request, "expand")
    known(asked, FIELDS[kind])
    fields = asked or INFO[kind]
    about = listing.about(doors.stores(request), opened, revision, weigh="safetensors" in fields)
    found = render(about, fields)
    if flag(request, "blobs") and not asked:
        found["siblings"] = [_sibling_with_blob(node) for node in about.files]
    if flag(request, "securityStatus") and not asked:
        paths, looked = files.dangers(doors.stores(request), opened, about.files)
        issues = [{"path": path, "level": "suspicious"} for path in paths]
        found["securityRepoStatus"] = {"scansDone": looked, "filesWithIssues": issues}
    return json(found)


@of_kind.get("/{name}")
def without_owner(request: Request, who: Anyone) -> Response:
    """Every repository has an owner: `bert-base` alone is none."""
    raise permissions.not_found(names.RepoId(doors.kind(request), "", ""))


# --- many -----------------------------------------------------------------------------------------------------------


@of_kind.get("")
def found(request: Request, who: Anyone) -> Response:
    kind = doors.kind(request)
    if any(request.query_params.get(name) for name in ("inference", "inference_provider")):
        return json([])  # nothing is run here
    asked = many(request, "expand")
    known(asked, FIELDS[kind])
    fields = asked or _row_fields(request, kind)
    query = _query(request, kind, fields)
    page = listing.find(doors.stores(request), who, query)
    headers = next_page(request, page.cursor) if page.cursor else None
    return json([render(about, fields) for about in page.repos], headers=headers)


def _row_fields(request: Request, kind: Kind) -> tuple[str, ...]:
    more: list[str] = []
    if flag(request, "full"):
        more += ["siblings", "cardData"]
    if flag(request, "cardData"):
        more += ["cardData"]
    if flag(request, "config") and kind == "model":
        more += ["config"]
    return (*ROWS[kind], *dict.fromkeys(more))


NEEDS: Mapping[str, Any] = {  # field -> what the query must bring for it
    "cardData": "card", "model-index": "card", "widgetData": "card", "baseModels": "card", "paperswithcode_id": "card",
    "datasets": "card", "models": "card", "config": "details", "mask_token": "details", "safetensors": "details",
    "transformersInfo": "details", "usedStorage": "used", "siblings": "files",
}  # fmt: skip
DIRECTIONS = {"": False, "-1": False, "1": True, "desc": False, "asc": True}


def _query(request: Request, kind: Kind, fields: Sequence[str]) -> Query:
    asked = request.query_params
    direction, gated = asked.get("direction", ""), asked.get("gated")
    if direction not in DIRECTIONS:
        raise BadRequest(f"Expected direction to be -1 or 1, got {direction[:20]!r}.")
    if many(request, "apps"):
        raise BadRequest("This hub does not know which applications run a model. Filter by library instead.")
    tags = [tag for text in many(request, "filter") for tag in text.split(",") if tag]
    tags += [f"dataset:{one}" for one in many(request, "datasets")] if kind == "space" else []
    tags += [f"model:{one}" for one in many(request, "models")] if kind == "space" else []
    return Query(
        kind=kind,
        search=asked.get("search", ""),
        author=asked.get("author", ""),
        tags=tags,
        pipeline_tag=asked.get("pipeline_tag", ""),
        gated=None if gated is None else gated.lower() in ("1", "true"),
        parameters=_parameters(asked.get("num_parameters", "")),
        linked=kind == "space" and flag(request, "linked"),
        sort=asked.get("sort", "createdAt"),
        ascending=DIRECTIONS[direction],
        limit=number(request, "limit", listing.MAX_PAGE),
        cursor=asked.get("cursor", ""),
        wants=frozenset(NEEDS[name] for name in fields if name in NEEDS),
    )


BOUND = re.compile(r"(min|max):([0-9]{1,12}(?:\.[0-9]{1,6})?)([KMBT]?)", re.IGNORECASE)
UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


def _parameters(text: str) -> tuple[int | None, int | None]:
    """`min:6B,max:128B` -> at least and at most."""
    bounds: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        match = BOUND.fullmatch(part.strip())
        if match is None:
            raise BadRequest(f"Expected num_parameters such as min:6B,max:128B, got {text[:40]!r}.")
        bounds[match[1].lower()] = int(float(match[2]) * UNITS[match[3].upper()])
    return bounds.get("min"), bounds.get("max")


TYPES = (
    "license", "dataset", "base_model", "arxiv", "language", "task_categories", "task_ids", "size_categories",
    "multilinguality", "source_datasets", "annotations_creators", "language_creators", "format",
)  # fmt: skip


@router.get("/api/models-tags-by-type")
@router.get("/api/datasets-tags-by-type")
def tags_by_type(request: Request, who: Anyone) -> Response:
    kind: Kind = "dataset" if request.scope["path"].startswith("/api/datasets") else "model"
    found = listing.tags_by_type(doors.stores(request), kind, TYPES)
    return json({
        type: [{"id": tag, "label": tag.partition(":")[2] or tag, "type": type} for tag in tags]
        for type, tags in found.items()
    })  # fmt: skip


for kind in names.KINDS:
    router.include_router(of_kind, prefix=f"/api/{kind}s")
