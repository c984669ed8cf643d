"""routing: the route found by the segments of a path is the one that asking all of them finds; who reads slowly holds
up nobody."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio
import pytest
from fastapi import Depends, Request, Response
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Match

from modelcommons.hub.app import assemble
from modelcommons.hub.server import bind
from modelcommons.hub.settings import load
from modelcommons.hub.wire.routing import AT_ONCE, Router

ROUTER = assemble(None).router  # type: ignore[arg-type]  # no request is answered
LITERALS = sorted({part for route in ROUTER.routes for part in route.path.split("/") if "{" not in part})  # type: ignore[attr-defined]
SEGMENT = st.one_of(
    st.sampled_from([*LITERALS, "ada", "one", "one.git", "main", "refs%2Fpr%2F1", "", ".", "..", "%", "{owner}"]),
    st.text(max_size=5).filter(lambda text: "/" not in text),
)


def matches(routes: Any, path: str, method: str) -> list[tuple[Any, Match]]:
    """The routes that a request is for, wholly or but for its method, in order."""
    scope = {"type": "http", "path": path, "root_path": "", "method": method, "headers": []}
    asked = [(route, route.matches(scope)[0]) for route in routes]
    return [(route, match) for route, match in asked if match is not Match.NONE]


@pytest.mark.parametrize("path", sorted({route.path for route in ROUTER.routes}))  # type: ignore[attr-defined]
def test_every_route_is_found(path: str) -> None:
    for filled in (path.replace("{", "").replace(":path}", "/deep/er").replace("}", ""), path):
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
            expected = matches(ROUTER.routes, filled, method)
            assert expected
            assert matches(ROUTER.candidates(filled), filled, method) == expected


@given(st.lists(SEGMENT, max_size=9))
def test_whatever_the_path_no_route_is_missed(segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    assert matches(ROUTER.candidates(path), path, "GET") == matches(ROUTER.routes, path, "GET")


def test_few_are_asked() -> None:
    assert len(ROUTER.candidates("/ada/one/resolve/main/config.json")) <= 4 < 100 < len(ROUTER.routes)


def test_who_reads_slowly_holds_up_nobody() -> None:
    router, never = Router(), anyio.Event()

    @router.get("/slow")
    async def slow() -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            yield b"begun"
            await never.wait()

        return StreamingResponse(body())

    @router.get("/quick")
    async def quick() -> str:
        return "answered"

    async def ask(path: str, begun: anyio.Event) -> None:
        async def receive() -> dict[str, Any]:
            await never.wait()
            raise AssertionError

        async def send(message: Any) -> None:
            begun.set()

        scope = {
            "type": "http", "method": "GET", "path": path, "root_path": "", "headers": [], "query_string": b"",
            "http_version": "1.1",
        }  # fmt: skip
        await AsyncExitStackMiddleware(router)(scope, receive, send)

    async def all_of_them() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(AT_ONCE):
                begun = anyio.Event()
                group.start_soon(ask, "/slow", begun)
                await begun.wait()
            with anyio.fail_after(10):
                await ask("/quick", anyio.Event())
            group.cancel_scope.cancel()

    router.index()
    anyio.run(all_of_them)


def test_a_small_answer_does_not_wait_for_an_acknowledgement() -> None:
    """Without TCP_NODELAY the end of an answer waits for that of its beginning: 40 ms at every request."""

    async def nodelay() -> int:
        told: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        class Look(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                there = transport.get_extra_info("socket")
                told.set_result(there.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        server = await asyncio.get_running_loop().create_server(Look, sock=bind(load({}, port=0)))
        with socket.create_connection(server.sockets[0].getsockname()):
            found = await told
        server.close()
        return found

    assert asyncio.run(nodelay()) == 1


def door(request: Request) -> str:
    return threading.current_thread().name


Door = Annotated[str, Depends(door)]


def answer(passed: Door) -> Response:
    return Response(f"{passed},{threading.current_thread().name}")


def value(passed: Door) -> dict[str, str]:
    return {"passed": passed}


def numbered(number: int) -> Response:
    return Response(str(number))


def test_door_and_answer_are_one_piece_of_work_where_only_the_request_is_asked() -> None:
    router = Router()
    for path, endpoint in (("/answer", answer), ("/value", value), ("/numbered/{number}", numbered)):
        router.add_api_route(path, endpoint)
    router.index()
    assert len(router.pieces) == 1
    client = TestClient(AsyncExitStackMiddleware(router))
    by, at = client.get("/answer").text.split(",")
    assert by == at
    assert list(client.get("/value").json()) == ["passed"] and client.get("/numbered/7").text == "7"


def test_what_clients_ask_most_is_one_piece() -> None:
    asked = ("/api/models/{owner}/{name}", "/api/models/{owner}/{name}/revision/{rev}", "/api/models")
    assert {route.path for route in ROUTER.routes if id(route) in ROUTER.pieces} >= set(asked)  # type: ignore[attr-defined]
