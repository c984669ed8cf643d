"""answering: JSON, times, pages and flags, as the Hub writes and reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import orjson
from fastapi import Request, Response

from modelcommons.errors import BadRequest
from modelcommons.hub.wire.sending import address

YES = frozenset({"1", "true", "True", "yes"})


def json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), status, headers, "application/json")


def time(seconds: float) -> str:
    """`2026-10-29T08:00:00.000Z`, which is what clients parse."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{int(seconds % 1 * 1000):03d}Z"


def flag(request: Request, name: str) -> bool:
    return request.query_params.get(name, "") in YES


def many(request: Request, name: str) -> list[str]:
    """A parameter that may be given several times, as `name` or as `name[]`."""
    return [*request.query_params.getlist(name), *request.query_params.getlist(f"{name}[]")]


def number(request: Request, name: str, default: int) -> int:
    """Raises: BadRequest: it is no number above zero."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise BadRequest(f"Expected {name} to be a number above zero, got {text[:40]!r}.")
    return int(text)


def next_page(request: Request, cursor: str, path: str | None = None) -> dict[str, str]:
    """The header that leads to the next page: the same question, and where to go on."""
    asked: Iterable[tuple[str, str]] = [pair for pair in request.query_params.multi_items() if pair[0] != "cursor"]
    where = f"{address(request)}{path or request.scope['path']}?{urlencode([*asked, ('cursor', cursor)])}"
    return {"Link": f'<{where}>; rel="next"'}


def known(asked: Sequence[str], allowed: Iterable[str]) -> None:
    """Raises: BadRequest: a field was asked for that there is not."""
    for name in asked:
        if name not in allowed:
            raise BadRequest(f'"expand" must be one of [{", ".join(sorted(allowed))}], got {name[:40]!r}.')
