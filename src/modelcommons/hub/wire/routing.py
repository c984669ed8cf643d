"""routing: the route of a request, found by the segments of its path, and its turn.

Starlette asks one route after the other; for the last of two hundred that takes longer than the answer itself.

Of the requests that only read, a few are answered at a time and the others wait: each is some milliseconds of Python in
a thread, and threads that take the interpreter from each other make all of them slower. A turn ends where the answer
begins, so that nobody who reads slowly keeps one. For the same reason door and answer of such a request are one piece
of work for one thread, where FastAPI makes two of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import anyio
from fastapi import APIRouter, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.routing import Match
from starlette.types import Message, Receive, Scope, Send

READING = ("GET", "HEAD")
AT_ONCE = 2  # requests that only read and have their turn together: one computes while the database has the other


@dataclass
class Branch:
    """The routes whose paths begin alike; a number says how early a route was added."""

    literal: dict[str, Branch] = field(default_factory=dict)  # by the next segment
    any: Branch | None = None  # the next segment is a parameter, or holds one
    ends: list[tuple[int, APIRoute]] = field(default_factory=list)
    rests: list[tuple[int, APIRoute]] = field(default_factory=list)  # a parameter that takes all the rest comes next

    def add(self, number: int, route: APIRoute) -> None:
        at = self
        for segment in route.path.split("/")[1:]:
            if segment.endswith(":path}"):
                at.rests.append((number, route))
                return
            if "{" in segment:
                at.any = at.any or Branch()
                at = at.any
            else:
                at = at.literal.setdefault(segment, Branch())
        at.ends.append((number, route))

    def reached(self, segments: list[str], at: int = 0) -> Iterator[tuple[int, APIRoute]]:
        """Every route that a path of these segments could be for, and a few that it is not for."""
        yield from self.rests
        if at == len(segments):
            yield from self.ends
            return
        if (branch := self.literal.get(segments[at])) is not None:
            yield from branch.reached(segments, at + 1)
        if self.any is not None:
            yield from self.any.reached(segments, at + 1)


class Router(APIRouter):
    """Answers as an APIRouter with the same routes."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.root = Branch()
        self.turns = anyio.Semaphore(AT_ONCE)
        self.pieces: dict[int, Callable[[Request], Response]] = {}  # by the id of the route

    def index(self) -> None:
        """To be called when all routes are there."""
        self.root = Branch()
        for number, route in enumerate(self.routes):
            assert isinstance(route, APIRoute)
            self.root.add(number, route)
            if READING[0] in (route.methods or ()) and _answers(route) and (piece := one_piece(route.dependant)):
                self.pieces[id(route)] = piece

    def candidates(self, path: str) -> list[APIRoute]:
        """The routes worth asking about a path, in the order in which they were added."""
        found = sorted(self.root.reached(path.split("/")[1:]), key=lambda one: one[0])
        return [route for _, route in found]

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for route in self.candidates(scope["path"]):
                match, child = route.matches(scope)
                if match is Match.FULL:
                    scope.update(child)
                    if scope["method"] in READING:
                        await self._in_turn(route, scope, receive, send)
                    else:  # a writer may wait for another one, and an upload for its client
                        await route.handle(scope, receive, send)
                    return
        await super().app(scope, receive, send)  # another method, no route at all, or the start of the application

    async def _in_turn(self, route: APIRoute, scope: Scope, receive: Receive, send: Send) -> None:
        has_turn = True

        def end() -> None:
            nonlocal has_turn
            if has_turn:
                has_turn = False
                self.turns.release()

        async def begin(message: Message) -> None:
            end()
            await send(message)

        await self.turns.acquire()
        try:
            if (piece := self.pieces.get(id(route))) is None:
                await route.handle(scope, receive, begin)
            else:
                response = await run_in_threadpool(piece, Request(scope, receive, begin))
                await response(scope, receive, begin)
        finally:
            end()


def _answers(route: APIRoute) -> bool:
    """Whether what its function returns is sent as it is; else FastAPI, or the route, makes something of it."""
    returned = get_type_hints(route.endpoint).get("return")
    return type(route) is APIRoute and isinstance(returned, type) and issubclass(returned, Response)


def one_piece(dependant: Dependant) -> Callable[[Request], Any] | None:
    """What FastAPI would call one after the other, as one call; None where it takes more than the request, or waits."""
    call = dependant.call
    more = (
        dependant.path_params, dependant.query_params, dependant.header_params, dependant.cookie_params,
        dependant.body_params, dependant.response_param_name, dependant.background_tasks_param_name,
        dependant.http_connection_param_name, dependant.websocket_param_name, dependant.security_scopes_param_name,
    )  # fmt: skip
    if call is None or any(more) or inspect.iscoroutinefunction(call) or inspect.isgeneratorfunction(call):
        return None
    before: list[tuple[str | None, Callable[[Request], Any]]] = []
    for one in dependant.dependencies:
        if (piece := one_piece(one)) is None:
            return None
        before.append((one.name, piece))

    def called(request: Request) -> Any:
        given: dict[str, Any] = {}
        for name, piece in before:
            value = piece(request)
            if name is not None:
                given[name] = value
        if dependant.request_param_name:
            given[dependant.request_param_name] = request
        return call(**given)

    return called
