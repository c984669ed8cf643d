"""git: smart HTTP, so that people can clone, fetch and push.

Source: git-scm.com/docs/http-protocol, gitprotocol-pack, gitprotocol-v2.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import replace
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute

import modelcommons
from modelcommons.errors import (
    BadRequest,
    Forbidden,
    Gated,
    HubError,
    RepoNotFound,
    TooLarge,
    Unauthorized,
    Unprocessable,
)
from modelcommons.hub import history, names
from modelcommons.hub.actions import commits, git
from modelcommons.hub.actions.git import ZERO, Command, Wish
from modelcommons.hub.actions.repos import Opened
from modelcommons.hub.permissions import Ability
from modelcommons.hub.wire import doors, errors

SIGN_IN = 'Basic realm="Model Commons", charset="UTF-8"'
NO_CACHE = {"Cache-Control": "no-cache, max-age=0, must-revalidate", "Pragma": "no-cache"}
AGENT = f"agent=modelcommons/{modelcommons.__version__}"

FLUSH, DELIMITER = b"0000", b"0001"
MAX_PACKET = 65_516  # bytes that fit between a packet's length and its end
BAND = 65_515  # the same, after the number of the band
MAX_WISH = 16 << 20  # bytes of a fetch's wants and haves, inflated
MAX_WANTS, MAX_HAVES = 10_000, 200_000
IN_MEMORY = 1 << 20  # bytes of a body that need no file

SERVICES: dict[str, Ability] = {"git-upload-pack": "content", "git-receive-pack": "discuss"}


class GitRoute(APIRoute):
    """git shows a person's question for a password only where the answer is 401 and says how to sign in."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await inner(request)
            except (RepoNotFound, Unauthorized, Forbidden) as error:
                who = getattr(request.state, "who", None)
                if who is not None and who.signed_in:
                    raise
                shown = error if isinstance(error, RepoNotFound | Gated) else Unauthorized(str(error))
                answer = errors.response(shown, signed_in=False)
                answer.headers["WWW-Authenticate"] = SIGN_IN
                return answer

        return handle


router = APIRouter(route_class=GitRoute)
of_kind = APIRouter(route_class=GitRoute)


def service(request: Request) -> Opened:
    """The door of the first question, whose query says what the next one will be."""
    wanted = request.query_params.get("service", "")
    if wanted not in SERVICES:
        raise Forbidden("Expected git's smart protocol: this hub has no other. Update git.")
    return doors.repo(SERVICES[wanted])(request)


service.ability = "content"  # type: ignore[attr-defined]  # the weaker of the two, for the test that lists the doors

Read = Annotated[Opened, Depends(doors.repo("content"))]
Sent = Annotated[Opened, Depends(doors.repo("discuss"))]


# --- packets --------------------------------------------------------------------------------------------------------


def packet(data: bytes | str) -> bytes:
    raw = data.encode() if isinstance(data, str) else data
    return f"{len(raw) + 4:04x}".encode() + raw


def packets(body: IO[bytes]) -> Iterator[bytes | None]:
    """Packets without their line ends; None for a flush, and an empty one for a delimiter.

    Raises:
        BadRequest: what comes is no packet.
    """
    while length := body.read(4):
        try:
            size = int(length, 16) if len(length) == 4 and length.isalnum() else -1
        except ValueError:
            size = -1
        if size == 0:
            yield None
        elif size == 1:
            yield b""
        elif 4 <= size <= MAX_PACKET + 4:
            data = body.read(size - 4)
            if len(data) != size - 4:
                raise BadRequest("Expected a packet of git's protocol, got a part of one.")
            yield data.removesuffix(b"\n")
        else:
            raise BadRequest("Expected git's protocol, got something else.")


def banded(band: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces of a stream as packets of one of its bands: 1 data, 2 progress, 3 a last word."""
    number = bytes([band])
    for piece in pieces:
        for start in range(0, len(piece), BAND):
            yield packet(number + piece[start : start + BAND])


async def _spool(request: Request, body: IO[bytes], limit: int) -> None:
    """Takes the body to disk as it comes; git compresses its questions, and they may grow to `limit` only.

    Raises:
        TooLarge: there is more of it.
        BadRequest: it is compressed in a way that git does not use, or damaged.
    """
    coding = request.headers.get("content-encoding", "identity").lower()
    if coding not in ("identity", "gzip", "x-gzip"):
        raise BadRequest(f"Expected a body without Content-Encoding or with gzip, got {coding[:40]!r}.")
    engine = zlib.decompressobj(31) if coding != "identity" else None
    size = 0
    async for piece in request.stream():
        left = piece
        while left:
            try:
                data = left if engine is None else engine.decompress(left, 1 << 20)
            except zlib.error:
                raise BadRequest("The body says that it is gzip, and is not.") from None
            left = b"" if engine is None else engine.unconsumed_tail
            size += len(data)
            if size > limit:
                raise TooLarge(f"Expected at most {limit:,} bytes. Push fewer commits at a time; large files by LFS.")
            if size <= IN_MEMORY:
                body.write(data)
            else:
                await run_in_threadpool(body.write, data)
            if engine is not None and engine.eof and (left or engine.unused_data):
                raise BadRequest("The body goes on after its gzip stream.")
    if engine is not None and not engine.eof and size:
        raise BadRequest("The body ends before its gzip stream does.")
    body.seek(0)


def _oid(text: bytes) -> str:
    found = text.decode(errors="replace")
    if not names.OID.fullmatch(found):
        raise BadRequest(f"Expected an object id of 40 hexadecimal digits, got {found[:60]!r}.")
    return found


# the route with .git is the inner one, and so is asked first: a name may hold dots

# --- what there is --------------------------------------------------------------------------------------------------


@of_kind.get("/{owner}/{name}/info/refs")
@of_kind.get("/{owner}/{name}.git/info/refs")
def info_refs(request: Request, opened: Annotated[Opened, Depends(service)]) -> Response:
    """The first question of every clone, fetch and push."""
    wanted = request.query_params["service"]
    version = _version(request)
    parts = [packet(f"# service={wanted}\n"), FLUSH]
    if wanted == "git-upload-pack" and version == 2:
        said = ["version 2", AGENT, "ls-refs", "fetch=shallow", "object-format=sha1"]
        parts += [packet(f"{line}\n") for line in said]
    else:
        if version == 1:
            parts.append(packet("version 1\n"))
        parts += _advertised(git.advertised(doors.stores(request), opened), wanted)
    return Response(b"".join([*parts, FLUSH]), 200, NO_CACHE, f"application/x-{wanted}-advertisement")


def _version(request: Request) -> int:
    asked = [one.strip() for one in request.headers.get("git-protocol", "").split(":")]
    return 2 if "version=2" in asked else 1 if "version=1" in asked else 0


def _advertised(refs: list[history.Ref], wanted: str) -> list[bytes]:
    if wanted == "git-upload-pack":
        able = f"multi_ack_detailed side-band-64k ofs-delta shallow no-progress include-tag {AGENT} object-format=sha1"
        able += f" symref=HEAD:{history.MAIN}"
        head = next((one for one in refs if one.name == history.MAIN), None)
        lines = [(head.oid, "HEAD")] if head else []
        for one in refs:
            lines.append((one.oid, one.name))
            if one.oid != one.commit:
                lines.append((one.commit, f"{one.name}^{{}}"))
    else:
        able = f"report-status delete-refs side-band-64k quiet ofs-delta atomic {AGENT} object-format=sha1"
        lines = [(one.oid, one.name) for one in refs]
    lines = lines or [(ZERO, "capabilities^{}")]
    first = f"{lines[0][0]} {lines[0][1]}\0{able}\n"
    return [packet(first), *(packet(f"{oid} {name}\n") for oid, name in lines[1:])]


# --- fetch ----------------------------------------------------------------------------------------------------------


@of_kind.post("/{owner}/{name}/git-upload-pack", max_body_size=doors.STREAMED)
@of_kind.post("/{owner}/{name}.git/git-upload-pack", max_body_size=doors.STREAMED)
async def upload_pack(request: Request, opened: Read) -> Response:
    """Sends the objects that the client lacks."""
    with SpooledTemporaryFile(max_size=MAX_WISH) as body:
        await _spool(request, body, MAX_WISH)
        answer = _v2 if _version(request) == 2 else _v0
        pieces = await run_in_threadpool(_first, answer(request, opened, body))
    return StreamingResponse(pieces, 200, NO_CACHE, "application/x-git-upload-pack-result")


def _first(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Runs to the first piece, so that the whole question is read and refused while its body is here."""
    try:
        head = next(pieces, b"")
    except (BadRequest, Unprocessable, HubError) as error:
        return iter([packet(f"ERR {error}")])

    def rest() -> Iterator[bytes]:
        yield head
        yield from pieces

    return rest()


def _v0(request: Request, opened: Opened, body: IO[bytes]) -> Iterator[bytes]:
    """Wants, then haves, in one body: over HTTP every round begins anew."""
    lines = packets(body)
    wants: list[str] = []
    able: set[str] = set()
    shallow: set[str] = set()
    depth: int | None = None
    for line in lines:
        if line is None:
            break
        word, _, rest = line.partition(b" ")
        if word == b"want":
            if not wants:
                able = set(rest[40:].decode(errors="replace").split())
            wants.append(_oid(rest[:40]))
        elif word == b"shallow":
            shallow.add(_oid(rest))
        elif word == b"deepen":
            depth = _depth(rest)
        else:
            raise BadRequest(f"Expected want, shallow or deepen, got {line[:40]!r}.")
    if not wants:
        return
    haves: list[str] = []
    done = asked = False
    for line in lines:
        word, _, rest = (line or b"").partition(b" ")
        if word == b"have":
            haves.append(_oid(rest))
        done = done or word == b"done"
        asked = asked or done or line is None
    at = doors.stores(request)
    wish = _limited(Wish(wants, haves, frozenset(shallow), depth, "include-tag" in able))
    common = git.negotiate(at, opened, wish)
    first = b""
    if depth is not None:
        first += b"".join(_boundary(common)) + FLUSH
    if asked and "multi_ack_detailed" in able:
        first += b"".join(packet(f"ACK {oid} common\n") for oid in common.haves)
        if common.haves and not done:
            first += packet(f"ACK {common.haves[-1]} ready\n")
    if not asked:  # the first question of a shallow clone: only where its history will begin
        yield first
        return
    if not done:
        yield first + packet("NAK\n")
        return
    pack = git.pack(at, opened, wish, common)  # before anything is said, so that it can still be refused
    yield first + packet(f"ACK {common.haves[-1]}\n" if common.haves else "NAK\n")
    yield from banded(1, pack) if "side-band-64k" in able else pack
    if "side-band-64k" in able:
        yield FLUSH


def _v2(request: Request, opened: Opened, body: IO[bytes]) -> Iterator[bytes]:
    lines = packets(body)
    command = next(lines, None) or b""
    for line in lines:  # capabilities, none of which we need
        if not line:
            break
    arguments: list[bytes] = []
    for line in lines:
        if line is None:
            break
        arguments.append(line)
    match command:
        case b"command=ls-refs":
            yield from _ls_refs(request, opened, arguments)
        case b"command=fetch":
            yield from _fetch(request, opened, arguments)
        case _:
            raise BadRequest(f"Expected ls-refs or fetch, got {command[:40]!r}.")


def _ls_refs(request: Request, opened: Opened, arguments: list[bytes]) -> Iterator[bytes]:
    prefixes = tuple(one[11:].decode(errors="replace") for one in arguments if one.startswith(b"ref-prefix "))
    peel, symrefs = b"peel" in arguments, b"symrefs" in arguments
    refs = git.advertised(doors.stores(request), opened)
    lines: list[str] = []
    for one in refs:
        if one.name == history.MAIN and "HEAD".startswith(prefixes or ("",)):
            lines.insert(0, f"{one.oid} HEAD" + (f" symref-target:{one.name}" if symrefs else ""))
        if one.name.startswith(prefixes or ("",)):
            lines.append(f"{one.oid} {one.name}" + (f" peeled:{one.commit}" if peel and one.oid != one.commit else ""))
    yield b"".join(packet(f"{line}\n") for line in lines) + FLUSH


def _fetch(request: Request, opened: Opened, arguments: list[bytes]) -> Iterator[bytes]:
    wish, haves, wants, shallow, done = Wish(()), [], [], set(), False
    for line in arguments:
        word, _, rest = line.partition(b" ")
        match word:
            case b"want":
                wants.append(_oid(rest))
            case b"have":
                haves.append(_oid(rest))
            case b"shallow":
                shallow.add(_oid(rest))
            case b"deepen":
                wish = replace(wish, depth=_depth(rest))
            case b"include-tag":
                wish = replace(wish, include_tag=True)
            case b"done":
                done = True
            case b"thin-pack" | b"no-progress" | b"ofs-delta":
                pass  # what we send has no deltas and no progress
            case _:
                raise BadRequest(f"This hub does not know {line[:40]!r} of git's protocol.")
    wish = _limited(replace(wish, wants=wants, haves=haves, shallow=frozenset(shallow)))
    at = doors.stores(request)
    common = git.negotiate(at, opened, wish)
    first = b""
    if not done:
        acks = [f"ACK {oid}\n" for oid in common.haves] or ["NAK\n"]
        first += packet("acknowledgments\n") + b"".join(map(packet, acks))
        if not common.haves:
            yield first + FLUSH
            return
        first += packet("ready\n") + DELIMITER
    if boundary := list(_boundary(common)):
        first += packet("shallow-info\n") + b"".join(boundary) + DELIMITER
    pack = git.pack(at, opened, wish, common)
    yield first + packet("packfile\n")
    yield from banded(1, pack)
    yield FLUSH


def _boundary(common: git.Common) -> Iterator[bytes]:
    for oid in sorted(common.cut.shallow):
        yield packet(f"shallow {oid}\n")
    for oid in sorted(common.cut.unshallow):
        yield packet(f"unshallow {oid}\n")


def _depth(text: bytes) -> int:
    if not text.isdigit() or len(text) > 10 or int(text) < 1:
        raise BadRequest(f"Expected a depth of at least 1, got {text[:20]!r}.")
    return int(text)


def _limited(wish: Wish) -> Wish:
    if len(wish.wants) > MAX_WANTS or len(wish.haves) > MAX_HAVES or len(wish.shallow) > MAX_HAVES:
        raise BadRequest("Too many wants or haves in one question.")
    return replace(wish, wants=list(dict.fromkeys(wish.wants)), haves=list(dict.fromkeys(wish.haves)))


# --- push -----------------------------------------------------------------------------------------------------------


@of_kind.post("/{owner}/{name}/git-receive-pack", max_body_size=doors.STREAMED)
@of_kind.post("/{owner}/{name}.git/git-receive-pack", max_body_size=doors.STREAMED)
async def receive_pack(request: Request, opened: Sent) -> Response:
    """Takes commits in, and says of each ref whether it moved."""
    at = doors.stores(request)
    with SpooledTemporaryFile(max_size=IN_MEMORY, dir=commits.incoming(at)) as body:
        await _spool(request, body, at.settings.body_bytes)
        answer = await run_in_threadpool(_received, request, opened, body)
    return Response(answer, 200, NO_CACHE, "application/x-git-receive-pack-result")


def _received(request: Request, opened: Opened, body: IO[bytes]) -> bytes:
    commands, able = _commands(body)
    if not commands:
        return b""  # git asks so whether it is signed in, before it sends a large pack
    pushed, problem = git.Pushed(), ""
    try:
        pack = body if any(one.new for one in commands) else None
        pushed = git.push(doors.stores(request), opened, commands, pack, atomic="atomic" in able)
    except Unprocessable as error:
        problem = " ".join(str(error).split())
    report = [packet("unpack ok\n")]
    for one in commands:
        why = problem or pushed.refused.get(one.name, "")
        report.append(packet(f"ng {one.name} {why}\n" if why else f"ok {one.name}\n"))
    said = b"".join(report) + FLUSH
    if "side-band-64k" not in able:
        return said if "report-status" in able else b""
    notes = [problem] if problem else pushed.warnings
    parts = [*banded(2, (f"{note}\n".encode() for note in notes))]
    if "report-status" in able:
        parts += banded(1, [said])
    return b"".join(parts) + FLUSH


def _commands(body: IO[bytes]) -> tuple[list[Command], set[str]]:
    """What is to move, and what the client understands; the body then stands where the pack begins."""
    commands: list[Command] = []
    able: set[str] = set()
    for line in packets(body):
        if line is None:
            break
        if not commands:
            line, _, said = line.partition(b"\0")
            able = set(said.decode(errors="replace").split())
        if line.startswith(b"shallow "):
            raise BadRequest("A push from a shallow clone needs its history: git fetch --unshallow")
        old, new, name = (line[:40], line[41:81], line[82:])
        before, after = [None if one == ZERO else one for one in (_oid(old), _oid(new))]
        try:
            commands.append(Command(before, after, name.decode()))
        except UnicodeDecodeError:
            raise BadRequest("Expected the name of a ref in UTF-8.") from None
    return commands, able


for prefix in ("", "/datasets", "/spaces"):
    router.include_router(of_kind, prefix=prefix, tags=["git"])
