"""attachments: images and sounds that people put into comments; seen by whoever can see one such comment."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select

from modelcommons.errors import BadRequest, HubError, Missing, StoreFailed, TooLarge, TooMany
from modelcommons.hub import blobs, tables
from modelcommons.hub.actions import accounts, repos, uploads
from modelcommons.hub.actions.repos import Opened
from modelcommons.hub.blobs import Content
from modelcommons.hub.database import insert_new
from modelcommons.hub.permissions import Principal
from modelcommons.hub.stores import Stores

MAX_BYTES = 10 << 20
MAX_DAILY = 200  # of one person
DAY_S = 86_400
# what huggingface_hub sends, and what the first bytes of each are; nothing here can run in a browser
KINDS: dict[str, re.Pattern[bytes]] = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "video/mp4": re.compile(rb"....ftyp", re.DOTALL),
    "video/quicktime": re.compile(rb"....(?:ftyp|moov|mdat|wide|free)", re.DOTALL),
    "video/webm": re.compile(rb"\x1a\x45\xdf\xa3"),
    "audio/mpeg": re.compile(rb"ID3|\xff[\xe2-\xff]"),
    "audio/wav": re.compile(rb"RIFF....WAVE", re.DOTALL),
}
LINK = re.compile(r"/uploads/([0-9a-f]{32})(?![0-9a-f])")
MAX_LINKS = 50  # of one comment

table, attached, files = tables.attachments, tables.attached, tables.files


@dataclass(frozen=True, slots=True)
class Attachment:
    media_type: str
    content: Content


def keep(stores: Stores, who: Principal, media_type: str, data: bytes) -> str:
    """Stores one, and gives its id; until a comment shows it, only the person who sent it can see it.

    Raises:
        BadRequest: it is no image, video or sound of a kind that is shown.
        TooLarge: it has more than 10 MiB.
        TooMany: the person has sent many today.
    """
    accounts.may_change(who)
    if len(data) > MAX_BYTES:
        raise TooLarge(f"Expected at most {MAX_BYTES:,} bytes, got {len(data):,}.")
    kind = KINDS.get(media_type)
    if kind is None or not kind.match(data):
        raise BadRequest(f"Expected one of {', '.join(KINDS)}, and bytes that are so; got {media_type[:60]!r}.")
    sha256, now = hashlib.sha256(data).hexdigest(), stores.now()
    key = blobs.file_key(sha256)
    with stores.blobs.incoming(key, size=len(data), hashed=False) as incoming:
        incoming.write(data)
        incoming.keep()
    with stores.database.writing() as connection:
        accounts.again(connection, who.credential, now)
        today = select(func.count()).where(table.c.user_id == who.user_id, table.c.created > now - DAY_S)
        if (connection.scalar(today) or 0) >= MAX_DAILY:
            raise TooMany(f"You have sent {MAX_DAILY} attachments within a day. Go on tomorrow.")
        insert_new(connection, files, [{"sha256": sha256, "size": len(data), "created": now}])
        # gc takes bytes that no row names, and may have taken them between the two steps
        if stores.blobs.size(key) is None and _only_here(connection, sha256):
            raise StoreFailed("The hub's store did not keep the bytes. Send them again.")
        id = secrets.token_hex(16)
        row = {"id": id, "user_id": who.user_id, "sha256": sha256, "media_type": media_type, "created": now}
        connection.execute(insert(table).values(row))
    return id


def _only_here(connection: Connection, sha256: str) -> bool:
    """Whether the file is one blob, and not made of pieces that an earlier upload brought."""
    return connection.scalar(select(files.c.terms.is_(None)).where(files.c.sha256 == sha256)) is not False


def attach(connection: Connection, opened: Opened, text: str) -> None:
    """Lets those who see the repository see the attachments of a comment, as far as they are its author's own."""
    ids = list(dict.fromkeys(LINK.findall(text)))[:MAX_LINKS]
    if not ids:
        return
    mine = select(table.c.id).where(table.c.id.in_(ids), table.c.user_id == opened.who.user_id)
    rows = [{"attachment_id": id, "repo_id": opened.repo.id} for id in connection.scalars(mine)]
    if rows:
        insert_new(connection, attached, rows)


def read(stores: Stores, who: Principal, id: str) -> Attachment:
    """Raises: Missing: there is none, or none that this person may see; nobody can tell which."""
    with stores.database.reading() as connection:
        row = connection.execute(select(table).where(table.c.id == id)).first()
        if row is None or not (row.user_id == who.user_id or _shown_to(connection, who, id)):
            raise Missing("There is no such attachment.")
        return Attachment(row.media_type, uploads.content_of(connection, row.sha256))


def _shown_to(connection: Connection, who: Principal, id: str) -> bool:
    for repo_id in connection.scalars(select(attached.c.repo_id).where(attached.c.attachment_id == id)).all():
        try:
            repos.open_id(connection, who, repo_id, "see")
        except HubError:
            continue
        return True
    return False
