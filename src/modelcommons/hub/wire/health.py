"""health: for those who run the hub: whether it answers, what it counts, and what it can be asked."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

import modelcommons
from modelcommons.hub.actions import health
from modelcommons.hub.wire import doors

router = APIRouter(tags=["health"])


@router.get("/health", dependencies=[Depends(doors.stranger)], responses={503: {"description": "Not well"}})
def is_well(request: Request) -> Response:
    """200 where database and store answer, 503 where one of them does not; says which."""
    told = health.check(doors.stores(request))
    return JSONResponse(
        {"version": modelcommons.__version__, **told}, 200 if set(told.values()) == {"ok"} else 503,
        {"Cache-Control": "no-store"},
    )  # fmt: skip


@router.get("/metrics", dependencies=[Depends(doors.operator)], response_class=Response)
def counts(request: Request) -> Response:
    """Counts for Prometheus; for the machine itself and for administrators."""
    return Response(request.app.state.metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/openapi.json", dependencies=[Depends(doors.anyone)])
def description(request: Request) -> dict[str, Any]:
    """This description."""
    told: dict[str, Any] = request.app.openapi()
    return told
