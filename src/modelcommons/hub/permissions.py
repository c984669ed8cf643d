"""permissions: who may do what: one table. A repository that a person may not see is not there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from modelcommons.errors import Forbidden, Gated, RepoNotFound, Unauthorized
from modelcommons.hub.names import RepoId

Role = Literal["read", "write", "admin"]
Carrier = Literal["none", "bearer", "basic", "cookie"]
Ability = Literal["see", "content", "discuss", "write", "admin"]

RANK: dict[str | None, int] = {None: 0, "read": 1, "write": 2, "admin": 3}


@dataclass(frozen=True, slots=True)
class Scope:
    """What a fine-grained token may do in one repository."""

    repo: str  # "model/ada/news"
    role: Role


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking, and how far the token they came with goes."""

    user_id: int | None = None  # None: nobody signed in
    name: str = ""
    site_admin: bool = False
    carrier: Carrier = "none"
    token_role: Role = "admin"  # read tokens read; write tokens and sessions do all that the person may
    scopes: tuple[Scope, ...] | None = None  # of a fine-grained token; None: the token is not limited to repositories
    token_name: str = ""
    credential: str = ""  # what they came with, so that it can be asked again whether it still holds; never a secret

    @property
    def signed_in(self) -> bool:
        return self.user_id is not None


ANYONE = Principal()


@dataclass(frozen=True, slots=True)
class Repo:
    """A repository as the database has it."""

    id: int
    rid: RepoId  # with the spelling it was made with
    owner_id: int
    private: bool
    gated: str | None  # auto | manual
    disabled: bool


# ability -> (role in the owner that it takes, whether public is enough to be allowed without any, token role it takes)
TABLE: dict[Ability, tuple[Role, bool, Role]] = {
    "see": ("read", True, "read"),  # that it is there: name, card metadata, list of files, discussions
    "content": ("read", True, "read"),  # its bytes; gated: those on the list only
    "discuss": ("read", True, "write"),  # discussions, proposals, likes: any person who can see it
    "write": ("write", False, "write"),  # commits, branches, tags
    "admin": ("admin", False, "write"),  # settings, move, delete, access requests
}
SIGNED_IN: frozenset[Ability] = frozenset({"discuss", "write", "admin"})


def check(ability: Ability, who: Principal, repo: Repo, role: Role | None, *, on_list: bool = False) -> None:
    """Passes when `who`, whose role in the repository's owner is `role`, may do it.

    Args:
        on_list: the person's access request for this gated repository was accepted; that lets in no token which is for
            other repositories.

    Raises:
        RepoNotFound: they may not even know of it.
        Unauthorized: nobody is signed in.
        Gated: it is gated, and they are not on its list.
        Forbidden: they see it, and may not do this.
    """
    needed, public_is_enough, token_needed = TABLE[ability]
    role = _limited("admin" if who.site_admin else role, who, repo)
    if repo.private and RANK[role] < RANK["read"]:
        raise not_found(repo.rid)
    if repo.disabled and not who.site_admin:
        raise Forbidden("Access to this resource is disabled.")
    if ability in SIGNED_IN and not who.signed_in:
        raise Unauthorized("Sign in first: this needs an access token.")
    if RANK[who.token_role] < RANK[token_needed]:
        raise Forbidden("This needs a token with the role write; the one sent may only read.")
    if who.scopes is not None and token_needed == "write" and RANK[_scope(who, repo)] < RANK["write"]:
        raise Forbidden(f"This needs a token that may write to {repo.rid}.")
    if not public_is_enough and RANK[role] < RANK[needed]:
        raise Forbidden(f"This needs the role {needed} in {repo.rid.owner}.")
    admitted = on_list and (who.scopes is None or _scope(who, repo) is not None)
    if ability == "content" and repo.gated and RANK[role] < RANK["read"] and not admitted:
        raise Gated(
            f"Access to {repo.rid.kind} {repo.rid} is restricted and you are not in the authorized list. "
            f"Ask for it: POST /api/{repo.rid.kind}s/{repo.rid}/ask-access, with your token."
        )


def not_found(rid: RepoId | None = None) -> RepoNotFound:
    """The one answer for what is not there and for what one may not know of."""
    return RepoNotFound("Repository not found")


def _scope(who: Principal, repo: Repo) -> Role | None:
    wanted = f"{repo.rid.kind}/{repo.rid}"
    return next((scope.role for scope in who.scopes or () if scope.repo == wanted), None)


def _limited(role: Role | None, who: Principal, repo: Repo) -> Role | None:
    """The person's role, but no more than a fine-grained token was given."""
    if who.scopes is None:
        return role
    scope = _scope(who, repo)
    return role if RANK[role] <= RANK[scope] else scope
