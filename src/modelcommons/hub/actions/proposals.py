"""proposals: changes that somebody suggests on a branch of their own, and how they come into main."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, update

from modelcommons.errors import BadRequest, Conflict, Forbidden, HubError, RevisionNotFound, Stale
from modelcommons.hub import history
from modelcommons.hub.actions import card, discussions, lifecycle, repos, webhooks
from modelcommons.hub.actions.discussions import Discussion
from modelcommons.hub.actions.repos import Opened
from modelcommons.hub.stores import Stores
from modelcommons.hub.tables import discussions as rows

MAX_PUSHED = 50  # commits of one push that are told in the discussion, the newest


@dataclass(frozen=True, slots=True)
class Changes:
    """What a proposal would change."""

    conflicts: list[str]  # files that changed in main too
    diff: str | None  # unified; None where it was not asked for, or the person may not read the files


def branch(num: int) -> str:
    return f"refs/pr/{num}"


def may_push(connection: Connection, opened: Opened, num: int) -> None:
    """Passes where a commit to `refs/pr/num` is allowed, inside a transaction that has asked `repos.still`.

    Raises:
        RevisionNotFound: there is no such proposal.
        Conflict: it was closed or merged.
        Forbidden: they neither opened it nor may write to the repository.
    """
    try:
        row = discussions.row_of(connection, opened, num)
    except HubError:
        row = None
    if row is None or not row.pull_request:
        raise RevisionNotFound(f"Invalid rev id: {branch(num)}")
    if row.status not in ("draft", "open"):
        raise Conflict(f"The proposal {num} is {row.status}; nothing can be added to it.")
    if not (opened.allows("discuss") and (row.author_id == opened.who.user_id or discussions.may_write(opened))):
        raise Forbidden("Only its author, or somebody who may write to the repository, can add to a proposal.")


def pushed(
    stores: Stores, connection: Connection, opened: Opened, num: int, commits: Sequence[tuple[str, str]]
) -> None:
    """Tells in the discussion what was added to a proposal.

    Args:
        commits: id and title of each, the oldest first.
    """
    row = discussions.row_of(connection, opened, num)
    for oid, subject in commits[-MAX_PUSHED:]:
        discussions.happened(stores, connection, opened, row, "commit", {"oid": oid, "subject": subject[:200]})


def changes(stores: Stores, opened: Opened, proposal: Discussion, *, diff: bool) -> Changes:
    """Which files conflict, and what would change; to read the change takes the right to read the files."""
    assert proposal.pull_request and proposal.base
    diff = diff and _may_read(stores, opened)
    repo_id = opened.repo.id
    with stores.database.reading() as connection:
        if proposal.merged:
            return Changes([], _merged(connection, repo_id, proposal.merged) if diff else None)
        ours = history.resolve(connection, repo_id, proposal.base)
        theirs = history.resolve(connection, repo_id, branch(proposal.num))
        conflicts = history.conflicts(connection, repo_id, ours, theirs)
        base = history.merge_base(connection, repo_id, ours, theirs) or ours
        return Changes(conflicts, history.diff(connection, repo_id, base, theirs) if diff else None)


def _merged(connection: Connection, repo_id: int, commit: str) -> str | None:
    """What a merge brought; None where main was squashed since and gc has taken the commit."""
    try:
        history.resolve(connection, repo_id, commit)
    except RevisionNotFound:
        return None
    return history.diff(connection, repo_id, history.commit(connection, repo_id, commit).parents[0], commit)


def _may_read(stores: Stores, opened: Opened) -> bool:
    try:
        repos.open_repo(stores, opened.who, opened.repo.rid, "content")
    except HubError:
        return False
    return True


def merge(stores: Stores, opened: Opened, num: int, text: str = "") -> str:
    """Brings a proposal into its base with a merge commit; the commit's id.

    Raises:
        Conflict: files changed on both sides (`files` says which), or the proposal is not open.
        BadRequest: it is no proposal, or changes nothing.
        Stale: the base moved meanwhile.
    """
    assert opened.allows("write")
    with stores.database.writing() as connection:
        opened = repos.still(connection, opened)
        row, repo_id = discussions.row_of(connection, opened, num), opened.repo.id
        if not row.pull_request:
            raise BadRequest(f"{num} is a discussion; only a proposal can be merged.")
        if row.status != "open":
            raise Conflict(f"The proposal {num} is {row.status}. Only one that is open can be merged.")
        ours = history.resolve(connection, repo_id, row.base)
        theirs = history.resolve(connection, repo_id, branch(num))
        if history.merge_base(connection, repo_id, ours, theirs) == theirs:
            raise BadRequest(f"The proposal {num} changes nothing.")
        merged = history.merge(connection, repo_id, ours, theirs)
        if merged.conflicts:
            raise Conflict(
                f"{len(merged.conflicts)} files changed both here and in the proposal. Bring it up to date first.",
                files=merged.conflicts,
            )
        who = opened.who
        oid = history.merge_commit(
            connection, repo_id, merged.tree, (ours, theirs),
            author=who.name, email=f"{who.name}@{lifecycle.NOREPLY}", date=stores.now(),
            message=f"{row.title} (#{num})",
        )  # fmt: skip
        if not history.move_ref(connection, repo_id, row.base, ours, oid):
            raise Stale("The branch was updated since you opened this page. Please refresh and try again.")
        if text.strip():
            discussions.say(stores, connection, opened, num, text)
        connection.execute(update(rows).where(rows.c.id == row.id).values(status="merged", merged=oid))
        discussions.happened(stores, connection, opened, row, "status-change", {"status": "merged"})
        card.read_card(connection, repo_id, oid)
        webhooks.changed(stores, connection, opened.repo, "repo.content", "update", refs=[(row.base, ours, oid)])
        discussions.tell(stores, connection, opened, num, "update")
    card.weigh(stores, repo_id)
    return oid
