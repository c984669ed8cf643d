"""errors: the one place where an error becomes a response; the headers decide which exception a client raises."""

from __future__ import annotations

import errno
import http

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from modelcommons.errors import (
    FULL,
    CommonsError,
    Gated,
    HubError,
    RepoNotFound,
    TooMany,
    Unprocessable,
    store_failed,
)
from modelcommons.hub.actions.repos import Moved
from modelcommons.hub.logs import LOG
from modelcommons.hub.wire.sending import address

DISK = FULL | {errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE}
MAX_HEADER = 500  # characters of a message in a header


def install(app: FastAPI) -> None:
    """Every way in which a request can fail ends here."""
    app.add_exception_handler(HubError, _refused)
    app.add_exception_handler(CommonsError, _unusable)
    app.add_exception_handler(Moved, _moved)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _unrouted)
    app.add_exception_handler(OSError, _of_the_disk)
    app.add_exception_handler(Exception, _ours)


def response(error: HubError, *, signed_in: bool = True, agent: str = "") -> Response:
    """JSON for people, `X-Error-Code` for clients.

    Args:
        signed_in: whether the person was known: a repository that is not there is 404 for them and 401 for others; a
            gated one 403 and 401.
        agent: what the client calls itself: git asks for a password only where it is told Basic, and browsers would
            open a window of their own.
    """
    message = str(error)
    status = 401 if isinstance(error, RepoNotFound | Gated) and not signed_in else error.status
    told = {"X-Error-Message": _latin(message)}
    if error.code:
        told["X-Error-Code"] = error.code
    if status == 401:
        told["WWW-Authenticate"] = f'{"Basic" if agent.startswith("git") else "Bearer"} realm="Model Commons"'
    if isinstance(error, TooMany):
        told["Retry-After"] = "300"
    return JSONResponse({"error": message, **error.extra}, status, told)


def _latin(message: str) -> str:
    """A header holds one line of ISO 8859-1; what does not fit is shown as a question mark."""
    line = "".join(char if char.isprintable() else " " for char in message)[:MAX_HEADER]
    return line.encode("latin-1", "replace").decode("latin-1")


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HubError)
    if error.status >= 500:
        cause = error.__cause__ or error
        LOG.error("refused", exc_info=cause, extra={"data": {"id": request.scope.get("request_id", "")}})
    if "url" in error.extra:  # the client reads a name out of it, and knows but the address that it asked
        error.extra["url"] = f"{address(request)}/{error.extra['url']}"
    who = getattr(request.state, "who", None)
    return response(error, signed_in=who is not None and who.signed_in, agent=request.headers.get("user-agent", ""))


def _unusable(request: Request, error: Exception) -> Response:
    """An error of another room (a format, a card) that reached the door: what was sent cannot be used."""
    return response(Unprocessable(str(error)))


def _moved(request: Request, error: Exception) -> Response:
    """The same request at the repository's new address; relative, so that clients keep their token."""
    assert isinstance(error, Moved)
    old = f"/{request.path_params['owner']}/{request.path_params['name']}"  # as it was sent
    query = request.scope["query_string"].decode("latin-1")
    where = request.scope["path"].replace(old, f"/{error.new_rid}", 1) + (f"?{query}" if query else "")
    return Response(status_code=307, headers={"Location": where})


def _invalid(request: Request, error: Exception) -> Response:
    """A body or parameter of the wrong form; says where, and repeats none of what was sent."""
    assert isinstance(error, RequestValidationError)
    wrong = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()[:5]]
    return response(Unprocessable("; ".join(wrong)))


def _unrouted(request: Request, error: Exception) -> Response:
    """No such route, or not by this method."""
    assert isinstance(error, HTTPException)
    status = error.status_code
    words = "There is nothing here." if status == 404 else str(error.detail or http.HTTPStatus(status).phrase)
    return JSONResponse({"error": words}, status, {"X-Error-Message": _latin(words), **(error.headers or {})})


def _of_the_disk(request: Request, error: Exception) -> Response:
    """A file or folder beside the store that the disk did not take: what a client is to do is the same."""
    assert isinstance(error, OSError)
    if error.errno not in DISK:
        raise error
    refused = store_failed(error)
    refused.__cause__ = error
    return _refused(request, refused)


def _ours(request: Request, error: Exception) -> Response:
    """A mistake of ours: the log has it, the person gets its number."""
    number = request.scope.get("request_id", "")
    words = f"This is a mistake of the hub. Tell its operator the request id: {number}"
    return JSONResponse({"error": words}, 500, {"X-Error-Message": _latin(words)})
