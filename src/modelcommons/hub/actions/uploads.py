"""uploads: large files on their way in and out, by LFS and by Xet: every byte hashed again, every claim earned.

A file is readable through a repository only after one of its writers has sent the bytes, or has shown by the hashes of
all its chunks that they have them. Whether the hub has a file already is told to nobody else.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import IO, Any, Self

from sqlalchemy import Connection, delete, insert, select, update

from modelcommons.errors import BadRequest, EntryNotFound, HubError, Missing, StoreFailed, StoreFull, Unprocessable
from modelcommons.hub import blobs, names, tables, tickets, xet
from modelcommons.hub.actions import accounts, repos
from modelcommons.hub.actions.repos import Opened
from modelcommons.hub.blobs import Content, Extent, Incoming
from modelcommons.hub.database import insert_new
from modelcommons.hub.permissions import ANYONE, Ability
from modelcommons.hub.stores import Stores

files, claims, xorbs, file_xorbs, multiparts = (
    tables.files, tables.claims, tables.xorbs, tables.file_xorbs, tables.multiparts
)  # fmt: skip

Ticket = dict[str, Any]  # what tickets.read gives
MANY = 500  # values in one SQL list
MULTIPART_FROM = 4 << 30  # bytes; below, one request does
MIN_PART = 512 << 20  # bytes
MAX_PARTS = 1000
MULTIPART_S = 86_400  # the parts of one upload come one after the other; permission is asked again at each
CACHED_XORBS = 16  # lists of chunks kept while one file is put together; the largest takes 1 MB


# --- what is there --------------------------------------------------------------------------------------------------


def content_of(connection: Connection, sha256: str) -> Content:
    """What a large file is made of; ask `claimed` first.

    Raises:
        EntryNotFound: there is no such file.
    """
    row = connection.execute(select(files.c.size, files.c.terms).where(files.c.sha256 == sha256)).first()
    if row is None:
        raise EntryNotFound("The content of this file is not on the hub.")
    if row.terms is None:
        return Content(row.size, (Extent(blobs.file_key(sha256), 0, row.size),) if row.size else ())
    return Content(row.size, tuple(_extents(xet.unpack_terms(row.terms))))


def _extents(terms: Iterable[xet.Term]) -> Iterator[Extent]:
    """Terms that follow each other in one xorb are one run of bytes."""
    last: Extent | None = None
    for term in terms:
        key = blobs.xorb_key(xet.text(term.xorb))
        if last and last.key == key and last.offset + last.length == term.offset:
            last = Extent(key, last.offset, last.length + term.length)
            continue
        if last:
            yield last
        last = Extent(key, term.offset, term.length)
    if last:
        yield last


def claimed(connection: Connection, repo_id: int, sha256s: Iterable[str]) -> set[str]:
    """Those that may be read through the repository."""
    found: set[str] = set()
    for some in _lists(sha256s):
        query = select(claims.c.sha256).where(claims.c.repo_id == repo_id, claims.c.sha256.in_(some))
        found.update(connection.execute(query).scalars())
    return found


def xet_hashes(connection: Connection, repo_id: int, sha256s: Iterable[str]) -> dict[str, str]:
    """SHA-256 -> Xet hash, as it is printed, of those files of the repository that can be read by Xet."""
    found: dict[str, str] = {}
    for some in _lists(sha256s):
        query = (
            select(files.c.sha256, files.c.xet_hash)
            .join(claims, claims.c.sha256 == files.c.sha256)
            .where(claims.c.repo_id == repo_id, files.c.sha256.in_(some), files.c.xet_hash.is_not(None))
        )
        found.update((row.sha256, row.xet_hash) for row in connection.execute(query))
    return found


def claim(connection: Connection, repo_id: int, sha256: str, now: float) -> None:
    """From here on the file may be read through the repository; call it only with the bytes, or their proof, at hand.

    A claim that is there already is made young again, so that gc does not take it before the commit that is coming.
    """
    key = {"repo_id": repo_id, "sha256": sha256}
    if not insert_new(connection, claims, [{**key, "created": now}]):
        _renew(connection, repo_id, [sha256], now)


def _renew(connection: Connection, repo_id: int, sha256s: Iterable[str], now: float) -> None:
    for some in _lists(sha256s):
        young = update(claims).where(claims.c.repo_id == repo_id, claims.c.sha256.in_(some)).values(created=now)
        connection.execute(young)


def _lists(values: Iterable[str]) -> Iterator[list[str]]:
    some = sorted(set(values))
    for start in range(0, len(some), MANY):
        yield some[start : start + MANY]


# --- tickets --------------------------------------------------------------------------------------------------------


def ticket(stores: Stores, opened: Opened, action: str, ability: Ability, seconds: int, **more: Any) -> str:
    """A signed permission for one action in one repository, for the person who opened it."""
    assert opened.allows(ability), f"{opened.ability} does not allow {ability}"
    return tickets.issue(
        stores.secret,
        expires=stores.now() + seconds,
        action=action,
        ability=ability,
        repo_id=opened.repo.id,
        user_id=opened.who.user_id,
        credential=opened.who.credential,
        **more,
    )


def reopened(connection: Connection, now: float, ticket: Ticket) -> Opened:
    """The permission behind a ticket, asked again: a token revoked since, or a member removed, ends it.

    Raises:
        Unauthorized, RepoNotFound, Forbidden, Gated: it does not hold any more.
    """
    credential = ticket["credential"]
    who = accounts.again(connection, credential, now) if credential else ANYONE
    return repos.open_id(connection, who, ticket["repo_id"], ticket["ability"])


def check_ticket(stores: Stores, ticket: Ticket) -> None:
    """Raises: as `reopened`."""
    with stores.database.reading() as connection:
        reopened(connection, stores.now(), ticket)


def upload_ability(ref: str | None) -> Ability:
    """What an upload takes: whoever may propose may send the bytes of a proposal; clients name no branch then.

    Source: huggingface_hub `_commit_api.py`, which leaves `ref` out where it will open a pull request.
    """
    return "discuss" if ref is None or names.PULL.fullmatch(ref) else "write"


# --- LFS ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """One object of an LFS batch."""

    sha256: str
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class PartUpload:
    ticket: str
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client is to do about one object: nothing at all where all fields are empty: it is there."""

    asked: Asked
    error: HubError | None = None
    upload: str = ""  # a ticket; of the completion where there are parts
    verify: str = ""  # a ticket
    download: str = ""  # a ticket
    parts: tuple[PartUpload, ...] = ()


def batch_upload(stores: Stores, opened: Opened, asked: Sequence[Asked], *, multipart: bool) -> list[Answer]:
    """Tickets for what this repository does not have; what another one has makes no difference."""
    with stores.database.writing() as connection:
        here = claimed(connection, opened.repo.id, (one.sha256 for one in asked))
        _renew(connection, opened.repo.id, here, stores.now())
        query = select(files.c.sha256, files.c.size)
        sizes = {
            row.sha256: row.size
            for some in _lists(here)
            for row in connection.execute(query.where(files.c.sha256.in_(some)))
        }
        return [_upload(stores, connection, opened, one, sizes, multipart) for one in asked]


def _upload(
    stores: Stores, connection: Connection, opened: Opened, asked: Asked, sizes: dict[str, int], multipart: bool
) -> Answer:
    if not names.SHA256.fullmatch(asked.sha256):
        return Answer(asked, Unprocessable("Expected an oid that is a SHA-256 of 64 hexadecimal digits."))
    if not 0 <= asked.size <= stores.settings.file_bytes:
        return Answer(asked, Unprocessable(f"Expected a size of at most {stores.settings.file_bytes} bytes."))
    if asked.sha256 in sizes:
        if sizes[asked.sha256] == asked.size:
            return Answer(asked)
        return Answer(asked, Unprocessable(f"The object {asked.sha256} has another size."))
    ability = opened.ability
    one = {"sha256": asked.sha256, "size": asked.size}
    verify = ticket(stores, opened, "lfs-verify", ability, MULTIPART_S, **one)
    largest = stores.settings.part_bytes
    if not multipart or (asked.size <= largest if largest else asked.size < MULTIPART_FROM):
        upload = ticket(stores, opened, "lfs-upload", ability, tickets.UPLOAD_S, **one)
        return Answer(asked, upload=upload, verify=verify)
    number = secrets.token_hex(16)
    part = max(largest or MIN_PART, -(-asked.size // MAX_PARTS))
    lengths = [min(part, asked.size - start) for start in range(0, asked.size, part)]
    connection.execute(
        insert(multiparts).values(
            id=number, repo_id=opened.repo.id, sha256=asked.sha256, size=asked.size, state={"parts": lengths},
            created=stores.now(),
        )
    )  # fmt: skip
    return Answer(
        asked,
        upload=ticket(stores, opened, "lfs-complete", ability, MULTIPART_S, upload=number, **one),
        verify=verify,
        parts=tuple(
            PartUpload(
                ticket(stores, opened, "lfs-part", ability, MULTIPART_S, upload=number, part=at, size=length), length
            )
            for at, length in enumerate(lengths, 1)
        ),
    )


def batch_download(stores: Stores, opened: Opened, asked: Sequence[Asked]) -> list[Answer]:
    """Tickets for what may be read through this repository."""
    with stores.database.reading() as connection:
        here = claimed(connection, opened.repo.id, (one.sha256 for one in asked))
    return [
        Answer(one, download=ticket(stores, opened, "lfs-download", "content", tickets.DOWNLOAD_S, sha256=one.sha256))
        if one.sha256 in here
        else Answer(one, Missing("Object does not exist"))
        for one in asked
    ]


def incoming_file(stores: Stores, ticket: Ticket) -> Incoming:
    """Where the bytes of an LFS upload go; permission is checked before the first of them."""
    check_ticket(stores, ticket)
    return stores.blobs.incoming(blobs.file_key(ticket["sha256"]), size=ticket["size"])


def keep_file(stores: Stores, ticket: Ticket, incoming: Incoming) -> None:
    """The end of an LFS upload: durable and readable through the ticket's repository when it returns.

    Raises:
        Unprocessable: these are not the bytes that were announced.
        Unauthorized, RepoNotFound, Forbidden: the permission ended while the bytes came.
        StoreFull, StoreFailed: they were not stored.
    """
    _compare(ticket["sha256"], ticket["size"], incoming)
    check_ticket(stores, ticket)
    incoming.keep()
    with stores.database.writing() as connection:
        _enter(stores, connection, ticket)


def _compare(sha256: str, size: int, incoming: Incoming) -> None:
    if incoming.size != size:
        raise Unprocessable(f"Expected {size} bytes, got {incoming.size}. Upload the file again.")
    if incoming.sha256() != sha256:
        raise Unprocessable(f"Expected bytes with sha256 {sha256}, got {incoming.sha256()}. Upload the file again.")


def _enter(stores: Stores, connection: Connection, ticket: Ticket) -> None:
    """The row and the claim of a file whose bytes lie in the store, under its own name or in xorbs."""
    now = stores.now()
    opened = repos.still(connection, reopened(connection, now, ticket))
    sha256, size = ticket["sha256"], ticket["size"]
    insert_new(connection, files, [{"sha256": sha256, "size": size, "created": now}])
    terms = connection.execute(select(files.c.terms).where(files.c.sha256 == sha256)).scalar()
    if terms is None:
        _still_there(stores, blobs.file_key(sha256), size)
    claim(connection, opened.repo.id, sha256, now)


def _still_there(stores: Stores, key: str, size: int) -> None:
    """With its row written and not yet visible: gc removes a blob only while nobody writes, and only without a row."""
    if stores.blobs.size(key) != size:
        raise StoreFailed("The bytes were removed while they were entered. Send the request again.")


def verify_file(stores: Stores, ticket: Ticket, sha256: str, size: int) -> None:
    """Raises: Missing: this repository has no such object."""
    with stores.database.reading() as connection:
        opened = reopened(connection, stores.now(), ticket)
        query = select(files.c.size).where(files.c.sha256 == sha256)
        right = sha256 == ticket["sha256"] and claimed(connection, opened.repo.id, [sha256])
        if not right or connection.execute(query).scalar() != size:
            raise Missing("The object was not uploaded, or has another size.")


def download_file(stores: Stores, ticket: Ticket) -> Content:
    """Raises: EntryNotFound: it may no longer be read through the ticket's repository."""
    with stores.database.reading() as connection:
        opened = reopened(connection, stores.now(), ticket)
        if not claimed(connection, opened.repo.id, [ticket["sha256"]]):
            raise EntryNotFound("The content of this file is not on the hub.")
        return content_of(connection, ticket["sha256"])


def incoming_part(stores: Stores, ticket: Ticket) -> Incoming:
    """Where one part of a large LFS upload goes."""
    with stores.database.reading() as connection:
        reopened(connection, stores.now(), ticket)
        _parts(connection, ticket)
    return stores.blobs.incoming(blobs.part_key(ticket["upload"], ticket["part"]), size=ticket["size"])


def keep_part(stores: Stores, ticket: Ticket, incoming: Incoming) -> str:
    """Durable when it returns; says the part's SHA-256, which the client repeats at the end.

    Raises:
        Unprocessable: the part has another size than was asked for.
    """
    if incoming.size != ticket["size"]:
        raise Unprocessable(f"Expected a part of {ticket['size']} bytes, got {incoming.size}. Upload the part again.")
    incoming.keep()
    return incoming.sha256()


def complete(stores: Stores, ticket: Ticket, sha256: str, parts: Sequence[tuple[int, str]]) -> None:
    """The end of an upload in parts: they become one file, hashed once more on the way.

    Args:
        parts: number and SHA-256 of each, as `keep_part` said it.

    Raises:
        Unprocessable: parts are missing, or together they are not the bytes that were announced.
    """
    with stores.database.reading() as connection:
        reopened(connection, stores.now(), ticket)
        lengths = _parts(connection, ticket)
    if sha256 != ticket["sha256"] or [number for number, _ in parts] != list(range(1, len(lengths) + 1)):
        raise Unprocessable(f"Expected the parts 1 to {len(lengths)} of {ticket['sha256']}, in order.")
    keys = [blobs.part_key(ticket["upload"], number) for number, _ in parts]
    if any(stores.blobs.size(key) != length for key, length in zip(keys, lengths, strict=True)):
        raise Unprocessable("Expected that every part is uploaded before the end. Upload the missing parts.")
    with stores.blobs.incoming(blobs.file_key(sha256), size=ticket["size"]) as incoming:
        for key, length in zip(keys, lengths, strict=True):
            for piece in stores.blobs.read(Extent(key, 0, length)):
                incoming.write(piece)
        try:
            _compare(sha256, ticket["size"], incoming)
        except Unprocessable:
            with stores.database.writing() as connection:
                connection.execute(delete(multiparts).where(multiparts.c.id == ticket["upload"]))
            _remove(stores, keys)
            raise
        incoming.keep()
    with stores.database.writing() as connection:
        _enter(stores, connection, ticket)
        connection.execute(delete(multiparts).where(multiparts.c.id == ticket["upload"]))
    _remove(stores, keys)


def _parts(connection: Connection, ticket: Ticket) -> list[int]:
    """Bytes of each part of an upload that is not complete."""
    query = select(multiparts.c.state).where(
        multiparts.c.id == ticket["upload"], multiparts.c.repo_id == ticket["repo_id"]
    )
    state = connection.execute(query).scalar()
    if state is None:
        raise Missing("This upload is complete, or was given up. Begin it again.")
    lengths: list[int] = state["parts"]
    return lengths


def _remove(stores: Stores, keys: Iterable[str]) -> None:
    """Parts that no row names any more; where the store does not let go of one, `gc` will remove it."""
    for key in keys:
        with suppress(StoreFailed, StoreFull):
            stores.blobs.remove(key)


# --- Xet, in --------------------------------------------------------------------------------------------------------


class XorbUpload:
    """The body of a xorb on its way in: checked and stored chunk by chunk, in constant memory."""

    def __init__(self, stores: Stores, ticket: Ticket, hash: str) -> None:
        self._hash = xet.from_text(hash)
        check_ticket(stores, ticket)
        self._stores, self._ticket = stores, ticket
        self._reader = xet.XorbReader()
        self._incoming = stores.blobs.incoming(blobs.xorb_key(hash), hashed=False)

    def write(self, data: bytes) -> None:
        """Raises: BadRequest: no xorb, or one beyond its limits."""
        self._incoming.write(b"".join(self._reader.feed(data)))

    def keep(self) -> None:
        """Durable when it returns.

        Raises:
            BadRequest: its chunks have another hash than it was sent under.
        """
        if self._reader.hash() != self._hash:
            raise BadRequest(f"Expected the xorb {xet.text(self._hash)}, got {xet.text(self._reader.hash())}.")
        stores, printed, now = self._stores, xet.text(self._hash), self._stores.now()
        check_ticket(stores, self._ticket)
        self._incoming.keep()
        row = {
            "hash": printed, "size": self._reader.size, "chunks": xet.pack_chunks(self._reader.chunks),
            "created": now, "named": now,
        }  # fmt: skip
        with stores.database.writing() as connection:
            repos.still(connection, reopened(connection, now, self._ticket))
            if not insert_new(connection, xorbs, [row]):
                connection.execute(update(xorbs).where(xorbs.c.hash == printed).values(named=now))
            _still_there(stores, blobs.xorb_key(printed), self._reader.size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._incoming.discard()


@dataclass(frozen=True, slots=True)
class _Checked:
    """A file of a shard whose hashes were derived again."""

    sha256: str
    xet_hash: str
    size: int  # bytes
    terms: tuple[xet.Term, ...]


def keep_shard(stores: Stores, ticket: Ticket, stream: IO[bytes]) -> None:
    """Every file of a shard becomes readable through the ticket's repository, or none.

    The shard must know the hash of every chunk of every term: whoever knows only the name of a xorb cannot claim it.

    Raises:
        BadRequest: it is no shard, or what it says does not agree with the xorbs that are here.
    """
    check_ticket(stores, ticket)
    checked = [_check(stores, file) for file in xet.read_shard(stream)]
    with stores.database.writing() as connection:
        now = stores.now()
        opened = repos.still(connection, reopened(connection, now, ticket))
        _name_xorbs(stores, connection, {term.xorb for file in checked for term in file.terms}, now)
        for file in checked:
            _enter_checked(connection, file, now)
            claim(connection, opened.repo.id, file.sha256, now)


def _check(stores: Stores, file: xet.ShardFile) -> _Checked:
    # one answer for a xorb that is not here and for chunks that do not fit it: nobody learns which of the two it was
    lists = _Lists(lambda xorb: _chunks(stores, xorb) or [])
    tree, terms = xet.Tree(), []
    for wanted in file.terms:
        chunks = lists[wanted.xorb]
        run = chunks[wanted.start : wanted.stop]
        length = sum(chunk.length for chunk in run)
        if (
            not 0 <= wanted.start < wanted.stop <= len(chunks)
            or length != wanted.length
            or xet.verification_hash(b"".join(chunk.hash for chunk in run)) != wanted.verification
        ):
            raise _disagrees()
        for chunk in run:
            tree.add(chunk)
        offset = sum(chunk.length for chunk in chunks[: wanted.start])
        terms.append(xet.Term(wanted.xorb, wanted.start, wanted.stop, offset, length))
    if xet.file_hash(tree) != file.hash:
        raise _disagrees()
    checked = _Checked(file.sha256.hex(), xet.text(file.hash), sum(term.length for term in terms), tuple(terms))
    if checked.size > stores.settings.file_bytes:
        raise BadRequest(f"Expected a file of at most {stores.settings.file_bytes} bytes, got {checked.size}.")
    if not _known(stores, checked):
        _compare_terms(stores, checked)
    return checked


class _Lists(dict[bytes, list[xet.Chunk]]):
    """The chunks of xorbs, loaded when they are asked for; a few are kept."""

    def __init__(self, load: Callable[[bytes], list[xet.Chunk]]) -> None:
        super().__init__()
        self._load = load

    def __missing__(self, xorb: bytes) -> list[xet.Chunk]:
        if len(self) == CACHED_XORBS:
            self.clear()
        self[xorb] = self._load(xorb)
        return self[xorb]


def _chunks(stores: Stores, xorb: bytes) -> list[xet.Chunk] | None:
    with stores.database.reading() as connection:
        packed = connection.execute(select(xorbs.c.chunks).where(xorbs.c.hash == xet.text(xorb))).scalar()
    return None if packed is None else xet.unpack_chunks(packed)


def _disagrees() -> BadRequest:
    return BadRequest(
        "Expected terms over uploaded xorbs, with the hashes of their chunks; got others. "
        "If the hub's data was restored or removed, empty the client's Xet cache and upload again."
    )


def _known(stores: Stores, checked: _Checked) -> bool:
    """Whether these very chunks were found to have this SHA-256 before; then the bytes need not be read again."""
    query = select(files.c.sha256).where(files.c.xet_hash == checked.xet_hash)
    with stores.database.reading() as connection:
        return connection.execute(query).scalar() == checked.sha256


def _compare_terms(stores: Stores, checked: _Checked) -> None:
    digest = hashlib.sha256()
    for extent in _extents(checked.terms):
        for piece in stores.blobs.read(extent):
            digest.update(piece)
    if digest.hexdigest() != checked.sha256:
        raise BadRequest(f"Expected a file with sha256 {checked.sha256}, got {digest.hexdigest()}. Upload it again.")


def _name_xorbs(stores: Stores, connection: Connection, hashes: set[bytes], now: float) -> None:
    """Makes the xorbs young again, and sees that they are still there, in the transaction that names them."""
    for some in _lists(xet.text(hash) for hash in hashes):
        rows = connection.execute(
            update(xorbs).where(xorbs.c.hash.in_(some)).values(named=now).returning(xorbs.c.hash, xorbs.c.size)
        ).all()
        if len(rows) != len(some):
            raise _disagrees()
        for row in rows:
            _still_there(stores, blobs.xorb_key(row.hash), row.size)


def _enter_checked(connection: Connection, file: _Checked, now: float) -> None:
    row = {
        "sha256": file.sha256, "size": file.size, "xet_hash": file.xet_hash, "terms": xet.pack_terms(list(file.terms)),
        "created": now,
    }  # fmt: skip
    if not insert_new(connection, files, [row]):
        # uploaded by LFS before: its chunks take over, and gc removes the blob; by Xet before: the first cut stays
        there = files.c.sha256 == file.sha256
        grown = update(files).where(there, files.c.terms.is_(None))
        if not connection.execute(grown.values(xet_hash=file.xet_hash, terms=row["terms"])).rowcount:
            if connection.execute(select(files.c.sha256).where(there)).scalar() is None:
                raise _disagrees()  # another file has this Xet hash
            return
    named = {xet.text(term.xorb) for term in file.terms}
    if named:
        insert_new(connection, file_xorbs, [{"sha256": file.sha256, "hash": one} for one in sorted(named)])


# --- Xet, out -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """A run of chunks of one xorb, of which a file has a part."""

    xorb: str
    start: int  # first chunk
    stop: int  # chunk after the last
    length: int  # bytes, raw


@dataclass(frozen=True, slots=True)
class Run:
    """Chunks of one xorb that a client fetches at once; no two runs overlap, for it knows them by their first chunk."""

    xorb: str
    start: int  # first chunk
    stop: int  # chunk after the last
    first: int  # first byte in the xorb with its headers
    last: int  # last byte
    ticket: str


@dataclass(frozen=True, slots=True)
class Reconstruction:
    skip: int  # bytes of the first part before the range that was asked for
    parts: tuple[Part, ...]  # in the order of the file
    runs: tuple[Run, ...]  # all chunks of the parts, each once


def reconstruction(stores: Stores, ticket: Ticket, hash: str, wanted: str | None) -> Reconstruction:
    """How to put a file together from xorbs, in whole chunks.

    Args:
        wanted: a `Range` header; none: all of the file.

    Raises:
        Missing: no file of that hash may be read through the ticket's repository.
        OutOfRange: the range begins past the end.
    """
    xet.from_text(hash)
    with stores.database.reading() as connection:
        opened = reopened(connection, stores.now(), ticket)
        row = connection.execute(
            select(files.c.size, files.c.terms)
            .join(claims, claims.c.sha256 == files.c.sha256)
            .where(files.c.xet_hash == hash, files.c.terms.is_not(None), claims.c.repo_id == opened.repo.id)
        ).first()
        if row is None:
            raise Missing("This repository has no file of that hash.")
        start, stop = blobs.read_range(wanted, row.size) or (0, row.size)
        return _reconstruction(stores, connection, opened, xet.unpack_terms(row.terms), start, stop)


def _reconstruction(
    stores: Stores, connection: Connection, opened: Opened, terms: Sequence[xet.Term], start: int, stop: int
) -> Reconstruction:
    lists = _Lists(partial(_listed, connection))
    parts: list[Part] = []
    spans: dict[bytes, list[tuple[int, int]]] = {}
    skip = position = 0
    for term in terms:
        low, high = max(start, position), min(stop, position + term.length)
        if low < high:
            part, before = _cut(term, lists[term.xorb], low - position, high - position)
            if not parts:
                skip = low - position - before
            parts.append(part)
            spans.setdefault(term.xorb, []).append((part.start, part.stop))
        position += term.length
    runs = (
        _run(stores, opened, xet.text(xorb), lists[xorb], start, stop)
        for xorb, some in spans.items()
        for start, stop in _joined(some)
    )
    return Reconstruction(skip, tuple(parts), tuple(runs))


def _listed(connection: Connection, xorb: bytes) -> list[xet.Chunk]:
    packed = connection.execute(select(xorbs.c.chunks).where(xorbs.c.hash == xet.text(xorb))).scalar()
    if packed is None:
        raise StoreFailed("A part of this file is missing. `commons hub fsck` says which.")
    return xet.unpack_chunks(packed)


def _cut(term: xet.Term, chunks: Sequence[xet.Chunk], low: int, high: int) -> tuple[Part, int]:
    """The chunks of a term that hold its bytes `low` up to `high`, and how many of its bytes lie before them."""
    start, stop, at, before, length = term.stop, term.start, 0, 0, 0
    for number in range(term.start, term.stop):
        end = at + chunks[number].length
        if low < end and at < high:
            if number < start:
                start, before = number, at
            stop, length = number + 1, end - before
        at = end
    return Part(xet.text(term.xorb), start, stop, length), before


def _joined(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Spans that overlap or meet, as one; in order."""
    begun: tuple[int, int] | None = None
    for start, stop in sorted(spans):
        if begun and start <= begun[1]:
            begun = begun[0], max(begun[1], stop)
            continue
        if begun:
            yield begun
        begun = start, stop
    if begun:
        yield begun


def _run(stores: Stores, opened: Opened, xorb: str, chunks: list[xet.Chunk], start: int, stop: int) -> Run:
    fetch = ticket(stores, opened, "xet-fetch", "content", tickets.DOWNLOAD_S, xorb=xorb, start=start, stop=stop)
    first, after = xet.framed_offset(chunks, start), xet.framed_offset(chunks, stop)
    return Run(xorb, start, stop, first, after - 1, fetch)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A run of chunks with their headers, as clients address them."""

    first: int  # first byte in the xorb with its headers
    last: int  # last byte
    pieces: Iterator[bytes]


def fetch(stores: Stores, ticket: Ticket) -> Fetched:
    """The run of chunks that a ticket of `reconstruction` names, and nothing else of the xorb."""
    start, stop, xorb = ticket["start"], ticket["stop"], ticket["xorb"]
    with stores.database.reading() as connection:
        reopened(connection, stores.now(), ticket)
        packed = connection.execute(select(xorbs.c.chunks).where(xorbs.c.hash == xorb)).scalar()
    if packed is None:
        raise Missing("This xorb is not here any more.")
    chunks = xet.unpack_chunks(packed)
    run = chunks[start:stop]
    length = sum(chunk.length for chunk in run)
    first = xet.framed_offset(chunks, start)
    raw = stores.blobs.read(Extent(blobs.xorb_key(xorb), first - xet.HEADER * start, length))
    return Fetched(first, first + length + xet.HEADER * len(run) - 1, xet.framed(run, raw))
