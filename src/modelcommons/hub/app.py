"""app: settings -> stores -> doors; the only place where the parts of a hub are made."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any, NamedTuple

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

import modelcommons
from modelcommons.hub.metrics import Metrics
from modelcommons.hub.settings import Settings
from modelcommons.hub.stores import Stores, open_stores
from modelcommons.hub.wire import errors
from modelcommons.hub.wire.frame import Frame

MAX_BODY = 1 << 20  # bytes of a body that is read whole; what streams its body counts for itself
WIRE = (
    "accounts", "health", "repos", "files", "commits", "lfs", "xet", "git", "discussions", "collections", "webhooks",
    "people",
)  # fmt: skip


class Refused(BaseModel):
    """What every refusal says; the header X-Error-Code says which it is, where clients need to know."""

    error: str


class Hub(FastAPI):
    """The application inside its frame."""

    def __init__(self, stores: Stores, **given: Any) -> None:
        super().__init__(**given)
        self.state.stores = stores
        self.state.metrics = Metrics()
        self.frame = Frame(super().__call__, self.state.metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.frame(scope, receive, send)


def make(settings: Settings, now: Callable[[], float] = time.time) -> Hub:
    """A hub over its folder, database and store; the database is brought up to date first.

    Raises:
        UsageError: the folder, the database or the bucket cannot be used as they are.
    """
    app = Hub(
        open_stores(settings, now),
        title="Model Commons hub",
        version=modelcommons.__version__,
        # the description of the API goes through a door like everything else
        openapi_url=None, docs_url=None, redoc_url=None,
        # a path is what it is: /a/ is not /a
        redirect_slashes=False,
        max_body_size=MAX_BODY,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        responses={
            "4XX": {"description": "Refused", "model": Refused},
            503: {"description": "The store did not take it; send it again", "model": Refused},
            507: {"description": "The store is full; nothing was done", "model": Refused},
        },
        lifespan=_lifespan,
    )  # fmt: skip
    errors.install(app)
    for name in WIRE:
        try:
            app.include_router(import_module(f"modelcommons.hub.wire.{name}").router)
        except ModuleNotFoundError:
            continue
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.stores.database.close()


class Way(NamedTuple):
    """One route, as a test that holds them all wants it."""

    methods: frozenset[str]
    path: str
    dependant: Dependant
    endpoint: Callable[..., Any]


def routes(app: Hub) -> Iterator[Way]:
    """Every route, those of included routers too."""
    route: Any
    for route in app.routes:
        # FastAPI keeps an included router whole, and makes its routes when they are first asked for
        for each in route.effective_candidates() if hasattr(route, "effective_candidates") else (route,):
            yield Way(frozenset(each.methods or ()), each.path, each.dependant, each.endpoint)
