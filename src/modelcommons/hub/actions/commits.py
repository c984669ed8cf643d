"""commits: what changes a repository's history: commits, branches, tags, squashes; and what reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, insert, select

from modelcommons.errors import BadRequest, Conflict, Forbidden, RevisionNotFound, Stale, Unprocessable
from modelcommons.hub import history, names
from modelcommons.hub.actions import card, discussions, proposals, repos, webhooks
from modelcommons.hub.actions.repos import Opened
from modelcommons.hub.history import objects
from modelcommons.hub.history.objects import BLOB, TAG, Pointer
from modelcommons.hub.history.quarantine import Quarantine
from modelcommons.hub.names import PULL
from modelcommons.hub.permissions import Principal
from modelcommons.hub.stores import Stores
from modelcommons.hub.tables import answered, claims, files

MAX_OPERATIONS = 25_000  # of one commit
MAX_REGULAR = 10 << 20  # bytes of a file that is kept in git itself
MAX_TITLE = 500  # characters of a commit's first line
MAX_MESSAGE = 65_536  # characters of what follows it
MAX_PROPOSAL_TITLE = 200  # characters
MAX_KEY = 256  # characters of an Idempotency-Key
TRIES = 5

STALE = "A commit has happened since. Please refresh and try again."


@dataclass(frozen=True, slots=True)
class Header:
    title: str
    message: str = ""
    parent: str | None = None  # a commit id, or its first characters


@dataclass(frozen=True, slots=True)
class Large:
    """A file whose bytes were uploaded before; a copy on the server says no size."""

    path: str
    sha256: str
    size: int | None = None  # bytes


Operation = history.Add | history.Delete | history.DeleteFolder | Large


@dataclass(frozen=True, slots=True)
class Committed:
    oid: str
    proposal: int | None = None  # the number of the proposal that was opened
    warnings: tuple[str, ...] = ()  # about the card


class _Lost(Exception):
    """The ref moved in spite of the lock."""


@dataclass(slots=True)
class _Prepared:
    """Operations with their bytes packed and their large files named; what is left needs the head."""

    operations: list[history.Operation | Large] = field(default_factory=list)
    wanted: dict[str, int | None] = field(default_factory=dict)  # sha256 -> size, where the client said one


def commit(
    stores: Stores,
    opened: Opened,
    revision: str,
    header: Header,
    operations: Iterable[Operation],
    *,
    create_pr: bool = False,
    idempotency_key: str | None = None,
    digest: str = "",
) -> Committed:
    """Applies the operations to a branch or a proposal, or opens a new proposal with them.

    Without a parent in the header they are applied to whatever the head is by then: of two writers the later one wins
    where they wrote the same file, and both commits stay in the history.

    Args:
        digest: of the whole request, so that a key that comes again with another commit is refused.

    Raises:
        Stale: the head is not the parent that the header names.
        EntryNotFound: a file or folder to delete is not there.
        BadRequest: a large file whose bytes this repository was never sent.
        Unprocessable: a path, a name or a number of files that cannot be.
        RevisionNotFound: no such branch or proposal.
    """
    opened = _may(stores, opened, revision, create_pr)
    if create_pr and history.MAIN not in (revision, f"refs/heads/{revision}"):
        raise BadRequest(f"Expected main, the branch that proposals are made to, got '{revision}'.")
    folder = incoming(stores)
    with Quarantine(folder) as quarantine:
        prepared = _prepare(operations, quarantine)
        for _ in range(TRIES):
            with suppress(_Lost), stores.database.writing() as connection:
                opened = repos.still(connection, opened)
                key = _key(opened, idempotency_key)
                if key and (before := _answered(connection, opened, key, digest)):
                    return before
                made = _write(stores, connection, opened, revision, header, prepared, quarantine, create_pr)
                if key:
                    _remember(stores, connection, opened, key, digest, made)
                break
        else:
            raise Stale(STALE)
    card.weigh(stores, opened.repo.id)
    return made


def _may(stores: Stores, opened: Opened, revision: str, create_pr: bool) -> Opened:
    """Proposals are open to all who may discuss; branches to writers."""
    if create_pr or PULL.fullmatch(revision):
        return opened
    return opened if opened.allows("write") else repos.open_repo(stores, opened.who, opened.repo.rid, "write")


def incoming(stores: Stores) -> str:
    """Where what was sent lies while it is looked at."""
    folder = stores.settings.folder / "incoming"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return str(folder)


def _prepare(operations: Iterable[Operation], quarantine: Quarantine) -> _Prepared:
    """All that can be done before anybody has to wait for it."""
    prepared = _Prepared()
    for one in operations:
        if len(prepared.operations) >= MAX_OPERATIONS:
            raise Unprocessable(f"Expected at most {MAX_OPERATIONS:,} operations in a commit. Make several commits.")
        if isinstance(one, history.Add) and isinstance(one.data, bytes):
            one = _packed(one.path, one.data, quarantine)
        if isinstance(one, Large):
            names.sha256(one.sha256)
            said = prepared.wanted.setdefault(one.sha256, one.size)
            if None not in (said, one.size) and said != one.size:
                raise Unprocessable(f"'{one.path}': the file {one.sha256} has two sizes in this commit.")
            prepared.wanted[one.sha256] = said if one.size is None else one.size
        names.path(one.path.removesuffix("/") if isinstance(one, history.DeleteFolder) else one.path)
        prepared.operations.append(one)
    return prepared


def _packed(path: str, data: bytes, quarantine: Quarantine) -> Operation:
    if len(data) > MAX_REGULAR:
        raise Unprocessable(
            f"'{path}' has {len(data):,} bytes, and a file of more than {MAX_REGULAR:,} goes the way of large files "
            "(LFS or Xet). Update huggingface_hub, which chooses it."
        )
    if lfs := objects.pointer(data):  # as git would, we take it for the large file that it names
        return Large(path, lfs.sha256, lfs.size)
    if path == "README.md":
        card.parse(data)  # it remembers; others wait while the transaction asks for it again
    return history.Add(path, history.Blob(quarantine.put(BLOB, data), len(data)))


def _write(
    stores: Stores,
    connection: Connection,
    opened: Opened,
    revision: str,
    header: Header,
    prepared: _Prepared,
    quarantine: Quarantine,
    create_pr: bool,
) -> Committed:
    """The commit itself, inside one transaction."""
    repo_id = opened.repo.id
    name, number, old = _target(stores, connection, opened, revision, header, create_pr)
    parent = _parent(connection, repo_id, old, header.parent, create_pr)
    sizes = claimed(connection, repo_id, prepared.wanted)
    _check_sizes(prepared.wanted, sizes)
    objects.put(connection, repo_id, quarantine.rows(), stores.now())
    oid = history.write_commit(
        connection,
        repo_id,
        parent,
        [
            history.Add(one.path, Pointer(one.sha256, sizes[one.sha256])) if isinstance(one, Large) else one
            for one in prepared.operations
        ],
        message=_message(header),
        date=stores.now(),
        **author(stores, opened.who),
    )
    if oid == old:
        return Committed(oid, number if create_pr else None)
    if not history.move_ref(connection, repo_id, name, old, oid):
        raise _Lost  # somebody who does not take the lock; all of this is undone, and done again on the new head
    if PULL.fullmatch(name):
        assert number is not None
        proposals.pushed(stores, connection, opened, number, [(oid, header.title)])
    warnings = moved(stores, connection, opened, [(name, old, oid)])
    return Committed(oid, number if create_pr else None, tuple(warnings))


def _target(
    stores: Stores, connection: Connection, opened: Opened, revision: str, header: Header, create_pr: bool
) -> tuple[str, int | None, str]:
    """The ref that will move, the number of its proposal, and where it is now."""
    repo_id = opened.repo.id
    number = None
    if create_pr:
        title = header.title[:MAX_PROPOSAL_TITLE]
        # open at once, as on the Hub: transformers' safetensors_conversion.py looks for its own by that status
        number = discussions.open_discussion(
            stores, connection, opened, title, header.message, pull_request=True, status="open"
        )
        name = f"refs/pr/{number}"
    elif pull := PULL.fullmatch(revision):
        number = int(pull[1])
        proposals.may_push(connection, opened, number)
        name = revision
    else:
        name = revision if revision.startswith("refs/") else f"refs/heads/{revision}"
    old = history.ref(connection, repo_id, name)
    if old is None or not name.startswith(("refs/heads/", "refs/pr/")):
        raise RevisionNotFound(f"Invalid rev id: {revision}. A commit goes to a branch or a proposal.")
    return name, number, old


def _parent(connection: Connection, repo_id: int, head: str, wanted: str | None, create_pr: bool) -> str:
    """What the operations are applied to.

    Raises:
        Stale: not what the client saw.
    """
    if wanted is None:
        return head
    if create_pr and names.OID.fullmatch(wanted):
        return history.resolve(connection, repo_id, wanted)
    if len(wanted) < 7 or not head.startswith(wanted):
        raise Stale(STALE)
    return head


def claimed(connection: Connection, repo_id: int, sha256s: Iterable[str]) -> dict[str, int]:
    """Of these large files those whose bytes this repository was sent, with their sizes."""
    found: dict[str, int] = {}
    for some in objects.batches(sha256s):
        rows = connection.execute(
            select(files.c.sha256, files.c.size)
            .join(claims, claims.c.sha256 == files.c.sha256)
            .where(claims.c.repo_id == repo_id, files.c.sha256.in_(some))
        )
        found.update((sha256, size) for sha256, size in rows)
    return found


def _check_sizes(wanted: dict[str, int | None], sizes: dict[str, int]) -> None:
    for sha256, size in wanted.items():
        if sha256 not in sizes:
            raise BadRequest(f"Expected the bytes of {sha256} before a commit that names them. Upload the file first.")
        if size is not None and size != sizes[sha256]:
            raise BadRequest(f"Expected {sizes[sha256]:,} bytes for {sha256}, the commit says {size:,}.")


def _message(header: Header) -> str:
    title = " ".join(header.title.split())
    if not title:
        raise BadRequest("Expected a summary in the commit's header, got none.")
    if len(title) > MAX_TITLE or len(header.message) > MAX_MESSAGE:
        raise Unprocessable(f"Expected a summary of at most {MAX_TITLE} characters, a description of {MAX_MESSAGE:,}.")
    if "\0" in title or "\0" in header.message:
        raise Unprocessable("Expected a commit's words without NUL, as git wants them.")
    return f"{title}\n\n{header.message}" if header.message.strip() else title


def author(stores: Stores, who: Principal) -> dict[str, str]:
    """How a person stands in a commit; never with their real address."""
    host = urlsplit(stores.settings.endpoint).hostname or "localhost"
    return {"author": who.name, "email": f"{who.name}@users.noreply.{host}"}


def moved(
    stores: Stores, connection: Connection, opened: Opened, changes: list[tuple[str, str | None, str | None]]
) -> list[str]:
    """What follows when refs have moved, in the same transaction; says what is wrong with the card on main."""
    warnings: list[str] = []
    for name, _, new in changes:
        if name == history.MAIN and new:
            warnings = card.read_card(connection, opened.repo.id, new)
    webhooks.changed(stores, connection, opened.repo, "repo.content", "update", refs=changes)
    return warnings


# --- a request that comes again -------------------------------------------------------------------------------------


def _key(opened: Opened, text: str | None) -> str | None:
    if text is None:
        return None
    if not text or len(text) > MAX_KEY:
        raise BadRequest(f"Expected an Idempotency-Key of 1 to {MAX_KEY} characters.")
    return f"{opened.who.user_id}:{text}"  # nobody learns what another person's key was answered


def _answered(connection: Connection, opened: Opened, key: str, digest: str) -> Committed | None:
    answer = connection.execute(
        select(answered.c.answer).where(answered.c.repo_id == opened.repo.id, answered.c.key == key)
    ).scalar_one_or_none()
    if answer is None:
        return None
    if answer["digest"] != digest:
        raise Unprocessable("This Idempotency-Key came before with another commit. Send a new key.")
    return Committed(answer["oid"], answer["proposal"])


def _remember(stores: Stores, connection: Connection, opened: Opened, key: str, digest: str, made: Committed) -> None:
    answer: dict[str, Any] = {"oid": made.oid, "proposal": made.proposal, "digest": digest}
    connection.execute(insert(answered).values(repo_id=opened.repo.id, key=key, answer=answer, created=stores.now()))


# --- branches and tags ----------------------------------------------------------------------------------------------


def create_branch(stores: Stores, opened: Opened, branch: str, start: str | None = None) -> None:
    """Raises: Conflict: it is there already. RevisionNotFound: nothing to start from."""
    _change_ref(
        stores, opened, f"refs/heads/{names.ref_name(branch)}",
        lambda connection: history.resolve(connection, opened.repo.id, start or "main"),
    )  # fmt: skip


def delete_branch(stores: Stores, opened: Opened, branch: str) -> None:
    """Raises: Forbidden: it is main. RevisionNotFound: there is none."""
    name = f"refs/heads/{names.ref_name(branch)}"
    if name == history.MAIN:
        raise Forbidden(f"Cannot delete {name}")
    _change_ref(stores, opened, name, None)


def create_tag(stores: Stores, opened: Opened, tag: str, revision: str, message: str | None = None) -> None:
    """A tag on a commit; with a message an annotated one, as git would make it.

    Raises:
        Conflict: it is there already.
        RevisionNotFound: nothing to put it on.
    """
    name = names.ref_name(tag)
    if len(message or "") > MAX_MESSAGE or "\0" in (message or ""):
        raise Unprocessable(f"Expected a message of at most {MAX_MESSAGE:,} characters, without NUL.")

    def made(connection: Connection) -> str:
        oid = history.resolve(connection, opened.repo.id, revision)
        if not message or not message.strip():
            return oid
        data = objects.tag_bytes(oid, name, message=message, date=stores.now(), **author(stores, opened.who))
        packed = objects.pack(TAG, data)
        objects.put(connection, opened.repo.id, [packed], stores.now())
        return packed.oid

    _change_ref(stores, opened, f"refs/tags/{name}", made)


def delete_tag(stores: Stores, opened: Opened, tag: str) -> None:
    """Raises: RevisionNotFound: there is none."""
    _change_ref(stores, opened, f"refs/tags/{names.ref_name(tag)}", None)


def _change_ref(stores: Stores, opened: Opened, name: str, target: Callable[[Connection], str] | None) -> None:
    """Makes a ref that `target` leads to, or removes it."""
    assert opened.allows("write")
    with stores.database.writing() as connection:
        opened = repos.still(connection, opened)
        old = history.ref(connection, opened.repo.id, name)
        if target is None:
            if old is None:
                raise RevisionNotFound(f"Invalid rev id: {name.split('/', 2)[2]}")
            new = None
        else:
            if old is not None:
                raise Conflict(f"Reference {name} already exists")
            check_nesting(connection, opened.repo.id, name)
            new = target(connection)
        if not history.move_ref(connection, opened.repo.id, name, old, new):
            raise Conflict(f"{name} was changed by somebody else at the same time. Try again.")
        webhooks.changed(stores, connection, opened.repo, "repo.content", "update", refs=[(name, old, new)])


def check_nesting(connection: Connection, repo_id: int, name: str) -> None:
    """Raises: Conflict: `a` and `a/b` cannot both be: git keeps one as a file where the other needs a folder."""
    for one in history.all_refs(connection, repo_id):
        if one.name.startswith(f"{name}/") or name.startswith(f"{one.name}/"):
            raise Conflict(f"{name} and {one.name} cannot both be. Choose another name.")


def squash(stores: Stores, opened: Opened, revision: str, message: str) -> str:
    """Makes the whole history of a branch one commit; of a proposal, what it has on top of main.

    Raises:
        RevisionNotFound: no such branch or proposal.
    """
    opened = _may(stores, opened, revision, create_pr=False)
    header = Header(message)
    with stores.database.writing() as connection:
        opened = repos.still(connection, opened)
        repo_id = opened.repo.id
        name, number, old = _target(stores, connection, opened, revision, header, create_pr=False)
        main = history.ref(connection, repo_id, history.MAIN)
        base = history.merge_base(connection, repo_id, old, main) if number and main else None
        oid = history.merge_commit(
            connection,
            repo_id,
            history.commit(connection, repo_id, old).tree,
            [base] if base else [],
            message=_message(header),
            date=stores.now(),
            **author(stores, opened.who),
        )
        if not history.move_ref(connection, repo_id, name, old, oid):
            raise Conflict(f"{name} was changed by somebody else at the same time. Try again.")
        if number is not None:
            proposals.pushed(stores, connection, opened, number, [(oid, message)])
        moved(stores, connection, opened, [(name, old, oid)])
    return oid


# --- reading --------------------------------------------------------------------------------------------------------


def log(stores: Stores, opened: Opened, revision: str, skip: int, limit: int) -> list[history.Commit]:
    """Commits from a revision back, newest first.

    Raises:
        RevisionNotFound: there is no such revision.
    """
    with stores.database.reading() as connection:
        oid = history.resolve(connection, opened.repo.id, revision)
        return history.log(connection, opened.repo.id, oid, skip, limit)


def refs(stores: Stores, opened: Opened) -> list[history.Ref]:
    with stores.database.reading() as connection:
        return history.all_refs(connection, opened.repo.id)
