"""repos: create, delete, move, copy and set up repositories, as huggingface_hub asks for it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from modelcommons.errors import BadRequest
from modelcommons.hub import names
from modelcommons.hub.actions import lifecycle, listing, validation
from modelcommons.hub.actions.repos import Opened
from modelcommons.hub.names import Kind, RepoId
from modelcommons.hub.permissions import Principal
from modelcommons.hub.wire import access, doors
from modelcommons.hub.wire import listing as lists
from modelcommons.hub.wire.answering import json, time
from modelcommons.hub.wire.sending import address

router = APIRouter(tags=["repositories"])
of_kind = APIRouter()

Read = Annotated[Opened, Depends(doors.repo("content"))]
Ruled = Annotated[Opened, Depends(doors.repo("admin"))]
SignedIn = Annotated[Principal, Depends(doors.signed_in)]
Anyone = Annotated[Principal, Depends(doors.anyone)]
Name = Field(max_length=2 * names.MAX_NAME + 1)


class Strict(BaseModel):
    """A body that hides or protects: what it does not know it refuses."""

    model_config = ConfigDict(extra="forbid")


class Hidden(Strict):
    """How clients say who may see it: new ones by `visibility`, those before 2.0 by `private`."""

    visibility: str | None = None
    private: StrictBool | None = None

    def is_private(self) -> bool | None:
        """None where nothing is said.

        Raises:
            BadRequest: something else is said than public or private, or both ways and not the same.
        """
        if self.visibility not in (None, "public", "private"):
            raise BadRequest(f"Expected visibility to be public or private, got {self.visibility[:40]!r}.")
        by_word = None if self.visibility is None else self.visibility == "private"
        if None not in (by_word, self.private) and by_word != self.private:
            raise BadRequest("visibility and private contradict each other. Send one of them.")
        return self.private if by_word is None else by_word


class New(Hidden):
    name: str = Name
    organization: str | None = Field(default=None, max_length=names.MAX_NAME)
    type: str | None = None
    sdk: str | None = None
    # of spaces that run, and of companies: this hub has neither, and says so
    hardware: Any = None
    sleepTimeSeconds: Any = None
    secrets: Any = None
    variables: Any = None
    volumes: Any = None
    template: Any = None
    resourceGroupId: Any = None
    region: Any = None


class Copy(Hidden):
    repository: str = Name
    hardware: Any = None
    sleepTimeSeconds: Any = None
    secrets: Any = None
    variables: Any = None
    volumes: Any = None
    resourceGroupId: Any = None


class Gone(Strict):
    name: str = Name
    organization: str | None = Field(default=None, max_length=names.MAX_NAME)
    type: str | None = None


class Move(Strict):
    fromRepo: str = Name  # as the client spells it
    toRepo: str = Name
    type: str | None = None


class SetUp(Hidden):
    gated: Literal["auto", "manual", False] | None = None


class Card(Strict):
    content: str
    repoType: str | None = None


WITHOUT_SPACES = (
    "hardware", "sleepTimeSeconds", "secrets", "variables", "volumes", "template", "resourceGroupId", "region",
)  # fmt: skip


def _plain(body: New | Copy) -> None:
    """Raises: BadRequest: it asks for what this hub does not have."""
    for name in WITHOUT_SPACES:
        if getattr(body, name, None) is not None:
            raise BadRequest(f"This hub runs no spaces and has no groups or regions, so it cannot take '{name}'.")


def _kind(text: str | None) -> Kind:
    for kind in names.KINDS:
        if text in (None, kind):
            return kind
    raise BadRequest(f"This hub keeps models, data sets and spaces, no repository of the type {str(text)[:40]!r}.")


def _rid(kind: Kind, name: str, owner: str) -> RepoId:
    """`owner/name`, or a name alone, which is in the namespace `owner`."""
    before, slash, after = name.partition("/")
    return names.repo_id(kind, before, after) if slash else names.repo_id(kind, owner, name)


def _url(request: Request, rid: RepoId) -> str:
    """Where people find it; clients read the name back out of it, and know but the address that they asked."""
    return f"{address(request)}/{rid.route}"


@router.post("/api/repos/create")
def create(request: Request, who: SignedIn, body: New) -> Response:
    stores = doors.stores(request)
    _plain(body)
    rid = _rid(_kind(body.type), body.name, body.organization or who.name)
    made = lifecycle.create(stores, who, rid, private=bool(body.is_private()), sdk=body.sdk)
    return json({"url": _url(request, made), "name": str(made), "id": str(made)})


@router.delete("/api/repos/delete")
def delete(request: Request, who: SignedIn, body: Gone) -> Response:
    stores = doors.stores(request)
    rid = _rid(_kind(body.type), body.name, body.organization or who.name)
    lifecycle.delete_repo(stores, lifecycle.by_name(stores, who, rid, "admin"))
    return json({})


@router.post("/api/repos/move")
def move(request: Request, who: SignedIn, body: Move) -> Response:
    stores, kind = doors.stores(request), _kind(body.type)
    old, new = _rid(kind, body.fromRepo, who.name), _rid(kind, body.toRepo, who.name)
    moved = lifecycle.move(stores, lifecycle.by_name(stores, who, old, "admin"), new)
    return json({"url": _url(request, moved)})


@of_kind.put("/{owner}/{name}/settings")
def set_up(request: Request, opened: Ruled, body: SetUp) -> Response:
    private = body.is_private()
    lifecycle.set_up(doors.stores(request), opened, private=private, gated=body.gated)
    return json({"private": private, "gated": body.gated})


@of_kind.post("/{owner}/{name}/duplicate")
def duplicate(request: Request, opened: Read, body: Copy) -> Response:
    stores = doors.stores(request)
    _plain(body)
    to = _rid(opened.repo.rid.kind, body.repository, opened.who.name)
    made = lifecycle.duplicate(stores, opened, to, private=body.is_private())
    return json({"url": _url(request, made), "filesCopyPending": False})


@router.post("/api/validate-yaml")
def validate(who: Anyone, body: Card) -> Response:
    """What is wrong with a card; asked before each commit that has a README.md."""
    verdict = validation.validate(body.content, _kind(body.repoType))
    found: dict[str, Any] = {
        "errors": [{"message": one} for one in verdict.errors],
        "warnings": [{"message": one} for one in verdict.warnings],
    }
    return json(found, 400 if verdict.errors else 200)


@router.get("/api/settings/repositories")
@router.get("/api/organizations/{org}/settings/repositories")
def storage(request: Request, who: SignedIn) -> Response:
    owner = doors.segment(request, "org") if "org" in request.path_params else None
    found = listing.storage(doors.stores(request), who, owner)
    whole = sum(one.used for one in found) or 1
    return json([
        {
            "id": str(one.rid), "type": one.rid.kind, "updatedAt": time(one.updated), "storage": one.used,
            "visibility": "private" if one.private else "public", "storagePercent": 100 * one.used / whole,
        }
        for one in found
    ])  # fmt: skip


for kind in names.KINDS:
    router.include_router(of_kind, prefix=f"/api/{kind}s")
router.include_router(lists.router)
router.include_router(access.router)
