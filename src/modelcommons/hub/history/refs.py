"""refs: branches, tags and proposals; each moves only where it still is what was seen."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, select, update

from modelcommons.errors import RevisionNotFound, StoreFailed
from modelcommons.hub.database import insert_new
from modelcommons.hub.history import objects
from modelcommons.hub.history.objects import COMMIT, TAG
from modelcommons.hub.names import OID
from modelcommons.hub.tables import refs, repos

MAIN = "refs/heads/main"
NESTED_TAGS = 5  # tags of tags that are followed
# made once: it is asked at nearly every request
OID_OF = select(refs.c.oid).where(refs.c.repo_id == bindparam("repo"), refs.c.name == bindparam("ref"))


@dataclass(frozen=True, slots=True)
class Ref:
    name: str  # refs/heads/main
    oid: str  # what the row has: a commit, or an annotated tag
    commit: str  # what that leads to


def resolve(connection: Connection, repo_id: int, revision: str) -> str:
    """The commit that a branch, a tag, a full ref or a commit id means.

    Raises:
        RevisionNotFound: the repository has none.
    """
    if OID.fullmatch(revision):
        kind = objects.type_of(connection, repo_id, revision)
        if kind not in (COMMIT, TAG):
            raise RevisionNotFound(f"Invalid rev id: {revision}")
        return _peel(connection, repo_id, revision, kind)
    names = [revision] if revision.startswith("refs/") else [f"refs/heads/{revision}", f"refs/tags/{revision}"]
    for name in names:
        if oid := ref(connection, repo_id, name):
            return peel(connection, repo_id, oid)
    raise RevisionNotFound(f"Invalid rev id: {revision}")


def ref(connection: Connection, repo_id: int, name: str) -> str | None:
    """What a full ref name points at: a commit, or an annotated tag."""
    found: str | None = connection.execute(OID_OF, {"repo": repo_id, "ref": name}).scalar_one_or_none()
    return found


def peel(connection: Connection, repo_id: int, oid: str) -> str:
    """The commit behind a ref's object."""
    kept = objects.cache(connection)
    if (found := kept.get(("peeled", repo_id, oid))) is None:
        found = _peel(connection, repo_id, oid, objects.type_of(connection, repo_id, oid))
        kept.put(("peeled", repo_id, oid), found, 300)
    return str(found)


def _peel(connection: Connection, repo_id: int, oid: str, kind: int | None) -> str:
    for _ in range(NESTED_TAGS):
        if kind != TAG:
            break
        oid, kind = objects.read_tag(objects.read(connection, repo_id, oid, TAG))
    if kind != COMMIT:
        raise StoreFailed(f"{oid} should lead to a commit, and does not. `commons hub fsck` tells more.")
    return oid


def all_refs(connection: Connection, repo_id: int) -> list[Ref]:
    """Every ref, by name."""
    rows = connection.execute(select(refs.c.name, refs.c.oid).where(refs.c.repo_id == repo_id).order_by(refs.c.name))
    # databases collate in their own ways; git compares bytes
    return [Ref(name, oid, peel(connection, repo_id, oid)) for name, oid in sorted(map(tuple, rows))]


def lock(connection: Connection, repo_id: int) -> bool:
    """Waits until no other transaction moves a ref of this repository; says whether there still is one.

    SQLite has one writer at a time anyway. On PostgreSQL this is the repository's row, in the mode that still lets
    others refer to it.
    """
    found = connection.execute(select(repos.c.id).where(repos.c.id == repo_id).with_for_update(key_share=True))
    return found.scalar_one_or_none() is not None


def move_ref(connection: Connection, repo_id: int, name: str, old: str | None, new: str | None) -> bool:
    """Compare-and-swap: moves the ref where it still is `old`; None for `old` makes it, None for `new` removes it."""
    here = (refs.c.repo_id == repo_id, refs.c.name == name)
    if old is None:
        assert new is not None
        return insert_new(connection, refs, [{"repo_id": repo_id, "name": name, "oid": new}]) == 1
    if new is None:
        return connection.execute(delete(refs).where(*here, refs.c.oid == old)).rowcount == 1
    return connection.execute(update(refs).where(*here, refs.c.oid == old).values(oid=new)).rowcount == 1
