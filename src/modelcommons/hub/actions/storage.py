"""storage: the large files that a repository holds, in any commit, and how to be rid of some of them for good."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, delete, select

from modelcommons.errors import BadRequest
from modelcommons.hub import history
from modelcommons.hub.actions import card, uploads, webhooks
from modelcommons.hub.actions.repos import Opened, still
from modelcommons.hub.history import objects
from modelcommons.hub.history.objects import FOLDER, TREE, Entry
from modelcommons.hub.stores import Stores
from modelcommons.hub.tables import claims, files

MAX_PAGE = 1000
MAX_DELETIONS = 1000  # in one request, as huggingface_hub sends them
MAX_COPIES = 1000  # in one request; huggingface_hub sends 500
MAX_COMMITS = 20_000  # that one rewriting touches


@dataclass(frozen=True, slots=True)
class Held:
    """A large file of a repository."""

    sha256: str
    size: int  # bytes
    path: str | None  # on main; None: no file of main has this content
    created: float


def large_files(stores: Stores, opened: Opened, *, after: str = "") -> list[Held]:
    """A page of them, by digest; the next begins after the last digest of this."""
    assert opened.allows("write")
    repo_id = opened.repo.id
    with stores.database.reading() as connection:
        rows = connection.execute(
            select(files.c.sha256, files.c.size, claims.c.created)
            .join(claims, claims.c.sha256 == files.c.sha256)
            .where(claims.c.repo_id == repo_id, claims.c.sha256 > after)
            .order_by(claims.c.sha256)
            .limit(MAX_PAGE)
        ).all()
        main = history.ref(connection, repo_id, history.MAIN)
        nodes = history.listing(connection, repo_id, main, recursive=True) if main else ()
        paths = {node.lfs.sha256: node.path for node in nodes if node.lfs is not None}
    return [Held(row.sha256, row.size, paths.get(row.sha256), row.created) for row in rows]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A large file that another repository is to have too."""

    sha256: str
    xet_hash: str | None


def copy_large_files(stores: Stores, source: Opened, target: Opened, wanted: Sequence[Wanted]) -> list[Wanted]:
    """Lets `target` name these files of `source` in its next commit, without sending them; those that it cannot.

    One answer for what is nowhere and for what only other repositories have.
    """
    assert source.allows("content") and target.allows("write")
    with stores.database.writing() as connection:
        for one in sorted((source, target), key=lambda opened: opened.repo.id):  # so that no two wait for each other
            still(connection, one)
        here: dict[str, str | None] = {}
        for some in objects.batches([one.sha256 for one in wanted]):
            rows = connection.execute(
                select(files.c.sha256, files.c.xet_hash)
                .join(claims, claims.c.sha256 == files.c.sha256)
                .where(claims.c.repo_id == source.repo.id, files.c.sha256.in_(some))
            )
            here.update((row.sha256, row.xet_hash) for row in rows)
        failed = [one for one in wanted if one.sha256 not in here or one.xet_hash not in (None, here[one.sha256])]
        for sha256 in {one.sha256 for one in wanted} - {one.sha256 for one in failed}:
            uploads.claim(connection, target.repo.id, sha256, stores.now())
    return failed


def delete_large_files(stores: Stores, opened: Opened, digests: Sequence[str], *, rewrite: bool) -> None:
    """The repository gives these files back: nobody reads them through it any more, in whatever commit they are.

    Args:
        rewrite: make the history anew as if the files had never been there, so that no pointer leads nowhere. Commits
            after the first of the files get new ids, as with git filter-repo; annotated tags become plain ones.

    Raises:
        BadRequest: the history is too long to be made anew in one transaction.
    """
    assert opened.allows("admin")
    with stores.database.writing() as connection:
        now = still(connection, opened)
        repo_id = now.repo.id
        for some in objects.batches(digests):
            here = (claims.c.repo_id == repo_id) & claims.c.sha256.in_(some)
            connection.execute(delete(claims).where(here))
        moved = _rewrite(connection, repo_id, frozenset(digests), stores.now()) if rewrite else []
        for name, _, new in moved:
            if name == history.MAIN:
                card.read_card(connection, repo_id, new)
        if moved:
            webhooks.changed(stores, connection, now.repo, "repo.content", "update", refs=moved)
    card.weigh(stores, opened.repo.id)


def _rewrite(
    connection: Connection, repo_id: int, unwanted: frozenset[str], now: float
) -> list[tuple[str, str | None, str]]:
    """Moves every ref whose history had one of the files: name, old commit, new commit."""
    refs = history.all_refs(connection, repo_id)
    without = _Without(connection, repo_id, unwanted, now)
    new: dict[str, str] = {}
    for oid in _parents_first(connection, repo_id, [one.commit for one in refs]):
        old = history.commit(connection, repo_id, oid)
        tree, parents = without.tree(old.tree), [new[parent] for parent in old.parents]
        if (tree, tuple(parents)) == (old.tree, old.parents):
            new[oid] = oid
            continue
        new[oid] = history.merge_commit(
            connection, repo_id, tree, parents, author=old.author, email=old.email, date=old.date,
            message=f"{old.title}\n\n{old.message}" if old.message else old.title,
        )  # fmt: skip
    moved: list[tuple[str, str | None, str]] = []
    for ref in refs:
        if new[ref.commit] != ref.commit:
            assert history.move_ref(connection, repo_id, ref.name, ref.oid, new[ref.commit]), "the row is locked"
            moved.append((ref.name, ref.commit, new[ref.commit]))
    return moved


def _parents_first(connection: Connection, repo_id: int, tips: Sequence[str]) -> Iterator[str]:
    """Every commit that can be reached, after all its parents."""
    done: set[str] = set()
    waiting = [(oid, False) for oid in tips]
    while waiting:
        oid, ready = waiting.pop()
        if oid in done:
            continue
        if ready:
            done.add(oid)
            if len(done) > MAX_COMMITS:
                raise BadRequest(f"The history has more than {MAX_COMMITS:,} commits. Squash it first.")
            yield oid
            continue
        waiting.append((oid, True))
        parents = history.commit(connection, repo_id, oid).parents
        waiting.extend((parent, False) for parent in parents if parent not in done)


@dataclass(slots=True)
class _Without:
    """Trees without some large files; folders that held nothing else go too."""

    connection: Connection
    repo_id: int
    unwanted: frozenset[str]
    now: float
    known: dict[str, str] = field(default_factory=dict)  # tree as it was -> tree as it is

    def tree(self, oid: str) -> str:
        if (found := self.known.get(oid)) is None:
            entries = self._entries(oid)
            found = oid
            if entries != objects.tree(self.connection, self.repo_id, oid):
                packed = objects.pack(TREE, objects.tree_bytes(entries))
                objects.put(self.connection, self.repo_id, [packed], self.now)
                found = packed.oid
            self.known[oid] = found
        return found

    def _entries(self, oid: str) -> dict[str, Entry]:
        lines = objects.tree(self.connection, self.repo_id, oid)
        small = (one.oid for one in lines.values() if one.mode != FOLDER)
        metas = objects.metas(self.connection, self.repo_id, small)
        kept: dict[str, Entry] = {}
        for name, one in lines.items():
            if one.mode == FOLDER:
                below = self.tree(one.oid)
                if below == one.oid or objects.tree(self.connection, self.repo_id, below):
                    kept[name] = Entry(FOLDER, below)
                continue
            meta = metas.get(one.oid)
            if meta is None or meta.lfs is None or meta.lfs.sha256 not in self.unwanted:
                kept[name] = one
        return kept
