"""webhooks: a person's own, as huggingface_hub sets them up."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from modelcommons.hub import outbound
from modelcommons.hub.actions import webhooks
from modelcommons.hub.actions.webhooks import Domain, Watchable, Watched, Webhook
from modelcommons.hub.permissions import Principal
from modelcommons.hub.wire import doors

router = APIRouter(prefix="/api/settings/webhooks", tags=["webhooks"])

Writer = Annotated[Principal, Depends(doors.writer)]  # for reading too: a webhook shows its secret


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Item(Strict):
    type: Watchable
    name: str = Field(max_length=200)


class New(Strict):
    url: str = Field(max_length=outbound.MAX_URL)
    watched: list[Item] = Field(max_length=webhooks.MAX_WATCHED)
    domains: list[Domain] = Field(default=["repo", "discussion"], max_length=2)
    secret: str | None = Field(default=None, max_length=webhooks.MAX_SECRET)


class Change(Strict):
    url: str | None = Field(default=None, max_length=outbound.MAX_URL)
    watched: list[Item] = Field(default=[], max_length=webhooks.MAX_WATCHED)
    domains: list[Domain] | None = Field(default=None, max_length=2)
    secret: str | None = Field(default=None, max_length=webhooks.MAX_SECRET)


@router.get("")
def listing(request: Request, who: Writer) -> list[dict[str, Any]]:
    return [_webhook(one) for one in webhooks.listing(doors.stores(request), who)]


@router.post("")
def create(request: Request, who: Writer, body: New) -> dict[str, Any]:
    made = webhooks.create(
        doors.stores(request), who,
        url=body.url, watched=_watched(body.watched), domains=body.domains, secret=body.secret,
    )  # fmt: skip
    return {"webhook": _webhook(made)}


@router.get("/{id}")
def get(request: Request, who: Writer, id: str) -> dict[str, Any]:
    return {"webhook": _webhook(webhooks.get(doors.stores(request), who, id))}


@router.post("/{id}")
def change(request: Request, who: Writer, id: str, body: Change) -> dict[str, Any]:
    changed = webhooks.change(
        doors.stores(request), who, id,
        url=body.url, watched=_watched(body.watched), domains=body.domains, secret=body.secret,
    )  # fmt: skip
    return {"webhook": _webhook(changed)}


@router.delete("/{id}")
def remove(request: Request, who: Writer, id: str) -> dict[str, bool]:
    webhooks.remove(doors.stores(request), who, id)
    return {"success": True}


@router.post("/{id}/enable")
def enable(request: Request, who: Writer, id: str) -> dict[str, Any]:
    return {"webhook": _webhook(webhooks.change(doors.stores(request), who, id, disabled=False))}


@router.post("/{id}/disable")
def disable(request: Request, who: Writer, id: str) -> dict[str, Any]:
    return {"webhook": _webhook(webhooks.change(doors.stores(request), who, id, disabled=True))}


def _watched(items: list[Item]) -> list[Watched]:
    return [Watched(one.type, one.name) for one in items]


def _webhook(one: Webhook) -> dict[str, Any]:
    return {
        "id": one.id,
        "url": one.url,
        "watched": [{"type": each.type, "name": each.name} for each in one.watched],
        "domains": list(one.domains),
        "secret": one.secret,
        "disabled": one.disabled,
    }
