"""app: settings -> stores -> doors; the only place where the parts of a hub are made."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from fastapi import APIRouter, FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

import modelcommons
from modelcommons.errors import HubError
from modelcommons.hub.actions.files import flush_downloads
from modelcommons.hub.actions.webhooks import run as deliver
from modelcommons.hub.logs import LOG
from modelcommons.hub.metrics import Metrics
from modelcommons.hub.settings import Settings
from modelcommons.hub.stores import Stores, open_stores
from modelcommons.hub.wire import (
    accounts,
    collections,
    commits,
    discussions,
    errors,
    files,
    git,
    health,
    lfs,
    people,
    repos,
    webhooks,
    xet,
)
from modelcommons.hub.wire.frame import Frame
from modelcommons.hub.wire.routing import Router

MAX_BODY = 1 << 20  # bytes of a body that is read whole; what streams its body counts for itself
FLUSH_S = 30  # between two writes of what is counted in memory
# a path that names no kind (/ada/news/..) could be many things: such doors come last
WIRE = (accounts, health, repos, commits, discussions, collections, webhooks, people, xet, lfs, files, git)


# what a route says about itself, besides where it is
KEPT = (
    "response_model", "status_code", "tags", "dependencies", "summary", "description", "response_description",
    "responses", "deprecated", "operation_id", "response_model_exclude_none", "include_in_schema", "response_class",
    "openapi_extra", "max_body_size",
)  # fmt: skip


class Refused(BaseModel):
    """What every refusal says; the header X-Error-Code says which it is, where clients need to know."""

    error: str


class Hub(FastAPI):
    """The application inside its frame."""

    router: Router

    def __init__(self, stores: Stores, **given: Any) -> None:
        super().__init__(**given)
        same = {name: given[name] for name in ("lifespan", "max_body_size", "redirect_slashes", "responses")}
        self.router = Router(dependency_overrides_provider=self, **same)
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
    return assemble(open_stores(settings, now))


def assemble(stores: Stores) -> Hub:
    """Every door, over these stores."""
    app = Hub(
        stores,
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
    for wire in WIRE:
        _include(app, wire.router)
    app.router.index()
    return app


def _include(app: Hub, router: APIRouter) -> None:
    """Adds the routes of a router, and of the routers in it, one by one.

    `include_router` would keep each router whole, and search all of it two and more times for every request.
    """
    whole = APIRouter()
    whole.include_router(router)
    included: Any = whole.routes[0]
    for route in included.effective_route_contexts():
        app.router.add_api_route(
            route.path, route.endpoint, methods=sorted(route.methods), name=route.name,
            route_class_override=type(route.original_route), **{key: getattr(route, key) for key in KEPT},
        )  # fmt: skip


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """What goes on beside requests: counts are written, webhooks delivered."""
    stores: Stores = app.state.stores
    stopping = threading.Event()
    flushing = asyncio.create_task(_flush(stores))
    if stores.settings.webhooks:
        threading.Thread(target=deliver, args=(stores, stopping), daemon=True).start()
    yield
    stopping.set()
    flushing.cancel()
    await run_in_threadpool(_flush_now, stores)
    stores.database.close()


async def _flush(stores: Stores) -> None:
    while True:
        await asyncio.sleep(FLUSH_S)
        await run_in_threadpool(_flush_now, stores)


def _flush_now(stores: Stores) -> None:
    try:
        flush_downloads(stores)
    except HubError as error:  # counts are worth less than a hub that goes on, or ends
        LOG.warning("counts were not written", exc_info=error)


class Way(NamedTuple):
    """One route, as a test that holds them all wants it."""

    methods: frozenset[str]
    path: str
    dependant: Dependant
    endpoint: Callable[..., Any]


def routes(app: Hub) -> Iterator[Way]:
    """Every route."""
    for route in app.routes:
        assert isinstance(route, APIRoute)
        yield Way(frozenset(route.methods or ()), route.path, route.dependant, route.endpoint)
