"""tables: the nouns in SQL. Times are Unix seconds; digests are hexadecimal; nothing here is a path on disk."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

# the names of constraints do not depend on the database, so that migrations can name them
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True)


def _of(table: str, name: str | None = None, *, optional: bool = False) -> Column[int]:
    """A reference that goes when the row it refers to goes."""
    target = ForeignKey(f"{table}.id", ondelete="CASCADE")
    return Column(name or f"{table.removesuffix('s')}_id", Integer, target, nullable=optional, index=True)


# --- people ---------------------------------------------------------------------------------------------------------

accounts = Table(  # users and organisations: one space of names
    "accounts", metadata, _id(),
    Column("kind", String, nullable=False),  # user | org
    Column("name", String, nullable=False),
    Column("key", String, nullable=False, unique=True),  # names.key(name)
    Column("fullname", String, nullable=False, default=""),
    Column("email", String),
    Column("password", String),  # argon2id; users without one sign in by token only
    Column("admin", Boolean, nullable=False, default=False),
    Column("suspended", Boolean, nullable=False, default=False),
    Column("created", Float, nullable=False),
)  # fmt: skip

members = Table(
    "members", metadata,
    Column("org_id", Integer, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", Integer, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True, index=True),
    Column("role", String, nullable=False),  # read | write | admin
)  # fmt: skip

tokens = Table(
    "tokens", metadata, _id(), _of("accounts", "user_id"),
    Column("name", String, nullable=False),
    Column("sha256", String, nullable=False, unique=True),  # of the token; the token itself is shown once
    Column("role", String, nullable=False),  # read | write | fine-grained
    Column("scopes", JSON, nullable=False, default=list),  # fine-grained: [{"repo": "model/ada/news", "role": "write"}]
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("used", Float),
    UniqueConstraint("user_id", "name"),
)  # fmt: skip

sessions = Table(  # people who signed in with a password
    "sessions", metadata,
    Column("sha256", String, primary_key=True),  # of the cookie
    _of("accounts", "user_id"),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
)  # fmt: skip

attempts = Table(  # failed sign-ins, so that passwords are not guessed
    "attempts", metadata, _id(),
    Column("key", String(64), nullable=False, index=True),  # sha256 of account and address
    Column("created", Float, nullable=False, index=True),
)  # fmt: skip

# --- repositories ---------------------------------------------------------------------------------------------------

repos = Table(
    "repos", metadata, _id(), _of("accounts", "owner_id"),
    Column("kind", String, nullable=False),  # model | dataset | space
    Column("name", String, nullable=False),
    Column("key", String, nullable=False),  # names.key(name)
    Column("private", Boolean, nullable=False),
    Column("gated", String),  # auto | manual
    Column("disabled", Boolean, nullable=False, default=False),
    Column("created", Float, nullable=False),
    Column("updated", Float, nullable=False),  # the last commit on main
    Column("downloads", Integer, nullable=False, default=0),
    Column("likes", Integer, nullable=False, default=0),
    # read from main's card and config at each commit, so that lists need not open a repository
    Column("card", JSON, nullable=False, default=dict),
    Column("tags", JSON, nullable=False, default=list),
    Column("pipeline_tag", String, index=True),
    Column("library_name", String),
    Column("sdk", String),  # spaces
    Column("size", BigInteger, nullable=False, default=0),  # bytes reachable from main
    Column("parameters", BigInteger),  # numbers in its safetensors files; none where it has none, or uncounted ones
    Column("details", JSON, nullable=False, default=dict),  # what else info shows, as actions/card.py writes it
    UniqueConstraint("kind", "owner_id", "key"),
)  # fmt: skip

repo_tags = Table(  # the same tags as in `repos`, for lists that filter by them
    "repo_tags", metadata,
    Column("repo_id", Integer, ForeignKey("repos.id", ondelete="CASCADE"), primary_key=True),
    Column("tag", String, primary_key=True, index=True),
)  # fmt: skip

moves = Table(  # where a repository was, so that old addresses answer 307
    "moves", metadata,
    Column("kind", String, primary_key=True),
    Column("owner_key", String, primary_key=True),
    Column("key", String, primary_key=True),
    _of("repos"),
)  # fmt: skip

refs = Table(
    "refs", metadata,
    Column("repo_id", Integer, ForeignKey("repos.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String, primary_key=True),  # refs/heads/main | refs/tags/v1 | refs/pr/3
    Column("oid", String, nullable=False),  # a commit; moves only where it still is what was seen
)  # fmt: skip

git_objects = Table(  # commits, trees and small files as git has them; per repository, so that none is claimed by id
    "git_objects", metadata,
    Column("repo_id", Integer, ForeignKey("repos.id", ondelete="CASCADE"), primary_key=True),
    Column("oid", String(40), primary_key=True),
    Column("type", Integer, nullable=False),  # 1 commit, 2 tree, 3 blob, 4 tag
    Column("size", Integer, nullable=False),  # bytes of the content, before it was packed
    Column("packed", LargeBinary, nullable=False),  # zlib of the content without git's header
    Column("created", Float, nullable=False),
)  # fmt: skip

answered = Table(  # what was answered to a commit with an Idempotency-Key
    "answered", metadata,
    Column("repo_id", Integer, ForeignKey("repos.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String, primary_key=True),
    Column("answer", JSON, nullable=False),
    Column("created", Float, nullable=False),
)  # fmt: skip

# --- bytes ----------------------------------------------------------------------------------------------------------

files = Table(  # large files: what bytes they are made of; the bytes lie in the blob store
    "files", metadata,
    Column("sha256", String(64), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("xet_hash", String(64), unique=True),  # hash text as the Xet protocol prints it; none for an LFS upload
    Column("terms", LargeBinary),  # Xet: which chunks of which xorbs (xet.pack_terms); none: one blob under `sha256`
    Column("created", Float, nullable=False),
)  # fmt: skip

claims = Table(  # a file is readable through a repository only after one of its writers had the bytes
    "claims", metadata,
    Column("repo_id", Integer, ForeignKey("repos.id", ondelete="CASCADE"), primary_key=True),
    Column("sha256", String(64), ForeignKey("files.sha256"), primary_key=True, index=True),
    Column("created", Float, nullable=False),
)  # fmt: skip

xorbs = Table(
    "xorbs", metadata,
    Column("hash", String(64), primary_key=True),  # hash text
    Column("size", Integer, nullable=False),  # bytes as stored
    Column("chunks", LargeBinary, nullable=False),  # xet.pack_chunks: hash, offset in the stored bytes, raw length
    Column("created", Float, nullable=False),
    Column("named", Float, nullable=False),  # when a shard last named it; kept at least three weeks from then
)  # fmt: skip

file_xorbs = Table(  # which xorbs a file needs, for the collection of unused ones
    "file_xorbs", metadata,
    Column("sha256", String(64), ForeignKey("files.sha256", ondelete="CASCADE"), primary_key=True),
    Column("hash", String(64), ForeignKey("xorbs.hash"), primary_key=True, index=True),
)  # fmt: skip

multiparts = Table(  # LFS uploads in parts that are not complete yet
    "multiparts", metadata,
    Column("id", String(32), primary_key=True),
    _of("repos"),
    Column("sha256", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("state", JSON, nullable=False, default=dict),  # what the store needs to go on
    Column("created", Float, nullable=False),
)  # fmt: skip

# --- community ------------------------------------------------------------------------------------------------------

likes = Table(
    "likes", metadata,
    Column("repo_id", Integer, ForeignKey("repos.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", Integer, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True, index=True),
    Column("created", Float, nullable=False),
)  # fmt: skip

access_requests = Table(
    "access_requests", metadata,
    Column("id", String(24), primary_key=True),
    _of("repos"), _of("accounts", "user_id"),
    Column("status", String, nullable=False),  # pending | accepted | rejected
    Column("reason", Text),
    Column("fields", JSON, nullable=False, default=dict),
    Column("created", Float, nullable=False),
    UniqueConstraint("repo_id", "user_id"),
)  # fmt: skip

discussions = Table(
    "discussions", metadata, _id(), _of("repos"),
    Column("num", Integer, nullable=False),  # counted per repository, proposals too
    Column("title", String, nullable=False),
    _of("accounts", "author_id"),
    Column("pull_request", Boolean, nullable=False),
    Column("status", String, nullable=False),  # draft | open | closed | merged
    Column("base", String),  # proposals: refs/heads/main
    Column("merged", String(40)),
    Column("created", Float, nullable=False),
    UniqueConstraint("repo_id", "num"),
)  # fmt: skip

events = Table(
    "events", metadata,
    Column("id", String(24), primary_key=True),
    _of("discussions"), _of("accounts", "author_id"),
    Column("position", Integer, nullable=False),
    Column("type", String, nullable=False),  # comment | status-change | commit | title-change
    Column("data", JSON, nullable=False),
    Column("created", Float, nullable=False),
    UniqueConstraint("discussion_id", "position"),
)  # fmt: skip

collections = Table(
    "collections", metadata,
    Column("id", String(24), primary_key=True),
    _of("accounts", "owner_id"),
    Column("slug", String, nullable=False, unique=True),
    Column("title", String, nullable=False),
    Column("description", Text, nullable=False, default=""),
    Column("private", Boolean, nullable=False),
    Column("theme", String, nullable=False, default="blue"),
    Column("position", Integer, nullable=False, default=0),
    Column("updated", Float, nullable=False),
)  # fmt: skip

collection_items = Table(
    "collection_items", metadata,
    Column("id", String(24), primary_key=True),
    Column("collection_id", String(24), ForeignKey("collections.id", ondelete="CASCADE"), nullable=False, index=True),
    _of("repos"),
    Column("note", Text),
    Column("position", Integer, nullable=False),
    UniqueConstraint("collection_id", "repo_id"),
)  # fmt: skip

webhooks = Table(
    "webhooks", metadata,
    Column("id", String(24), primary_key=True),
    _of("accounts", "user_id"),
    Column("url", String, nullable=False),
    Column("watched", JSON, nullable=False),  # [{"type": "model", "name": "ada/news"}]
    Column("domains", JSON, nullable=False),  # ["repo", "discussion"]
    Column("sealed", String),  # what the hub signs with, as sealing.seal leaves it
    Column("disabled", Boolean, nullable=False, default=False),
    Column("day", Integer, nullable=False, default=0),  # since 1970; what was sent on it counts towards a limit
    Column("sent", Integer, nullable=False, default=0),
    Column("created", Float, nullable=False),
)  # fmt: skip

deliveries = Table(  # what is still to be sent to webhooks
    "deliveries", metadata, _id(),
    Column("webhook_id", String(24), ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("payload", JSON, nullable=False),
    Column("tries", Integer, nullable=False, default=0),
    Column("due", Float, nullable=False, index=True),
    Column("created", Float, nullable=False),
)  # fmt: skip

attachments = Table(  # images and sounds in comments; the bytes are a file
    "attachments", metadata,
    Column("id", String(32), primary_key=True),
    _of("accounts", "user_id"),
    Column("sha256", String(64), ForeignKey("files.sha256"), nullable=False, index=True),
    Column("media_type", String, nullable=False),
    Column("created", Float, nullable=False),
)  # fmt: skip

attached = Table(  # in which repositories a comment shows it: who can see one of them can see the attachment
    "attached", metadata,
    Column("attachment_id", String(32), ForeignKey("attachments.id", ondelete="CASCADE"), primary_key=True),
    Column("repo_id", Integer, ForeignKey("repos.id", ondelete="CASCADE"), primary_key=True, index=True),
)  # fmt: skip

# --- housekeeping ---------------------------------------------------------------------------------------------------

leases = Table(  # what one process at a time does: sending webhooks, collecting what nobody names
    "leases", metadata,
    Column("name", String, primary_key=True),
    Column("holder", String(32), nullable=False),
    Column("expires", Float, nullable=False),
)  # fmt: skip

marks = Table(  # PostgreSQL: what the transactions of one writer after the other left, see database.Mark
    "marks", metadata,
    Column("id", String(32), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("written", Float, nullable=False),
)  # fmt: skip

condemned = Table(  # what nobody names, and since when that is known; removed once the grace has passed
    "condemned", metadata,
    Column("kind", String, primary_key=True),  # git | claim | file | xorb | attachment | blob
    Column("repo_id", Integer, primary_key=True),  # 0: belongs to none
    Column("name", String, primary_key=True),  # oid, digest, id or key
    Column("since", Float, nullable=False),
)  # fmt: skip

Index("ix_repos_kind_created", repos.c.kind, repos.c.created)
Index("ix_repos_kind_updated", repos.c.kind, repos.c.updated)
Index("ix_refs_oid", refs.c.repo_id, refs.c.oid)
