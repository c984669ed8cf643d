"""every error a person can meet, one tree.

    CommonsError                    exit 2
    ├── RecipeError                 a recipe: unknown key, wrong value, section that means nothing to the task
    ├── UsageError                  a command was called with something it cannot use
    ├── DataError                   data cannot be used: missing column, one class, too many bad rows
    ├── FormatError                 a file is not what it says: truncated, corrupt, too large, too deep
    │   └── UnsafeFile              a file that could run code (pickle and its family); refused, never loaded
    ├── NotFound                    a model, data set, task, protocol, run or key that is not where it was looked for
    ├── MissingPackage              an optional part is not installed; the message has the pip line
    ├── LicenceError                licences conflict, or one is unknown and `auto` was asked for
    ├── Undecided                   a check could not be made (data not here, weights not shipped): neither yes nor no
    ├── DoesNotHold                 exit 1: a check was made and failed
    │   ├── Contradicted            a number, a prediction or a weight differs from what the receipt says
    │   ├── Forged                  a receipt's signature or digest is wrong
    │   └── Worse                   an export or a new model is significantly worse than the recipe allows
    ├── BudgetReached               exit 3: the budget ended before anything usable was there
    ├── Stopped                     exit 130: Ctrl-C; says how to go on
    └── HubError                    a hub's answer to a request; has an HTTP status and the client's X-Error-Code
        ├── BadRequest              400
        ├── Unauthorized            401
        ├── Forbidden               403
        │   └── Gated               403, GatedRepo: the repository is gated, and the person is not on its list
        ├── Missing                 404
        │   ├── RepoNotFound        a repository that is not there, or that the person may not know of: one answer
        │   ├── RevisionNotFound    no branch, tag or commit of that name
        │   └── EntryNotFound       no file or folder of that path
        ├── Conflict                409: it is there already
        ├── Stale                   412: the branch has moved since the person looked
        ├── TooLarge                413
        ├── OutOfRange              416
        ├── Unprocessable           422: a name, path or value that cannot be
        ├── TooMany                 429
        ├── StoreFailed             503: the store did not take the bytes; nothing was acknowledged
        └── StoreFull               507

Messages: what was expected, what came, what to do next. One sentence, or two.
"""

from __future__ import annotations

import errno
from typing import ClassVar


class CommonsError(Exception):
    """Root of everything we raise on purpose; `str(error)` is written for a person."""

    exit_code: ClassVar[int] = 2


class RecipeError(CommonsError):
    """A recipe has an unknown key, a wrong value, or a section that means nothing to its task."""


class UsageError(CommonsError):
    """A command or function was called with something it cannot use."""


class DataError(CommonsError):
    """Data cannot be used: a column is missing, there is one class only, too many rows are bad."""


class FormatError(CommonsError):
    """A file is not what it says it is: truncated, corrupt, too large or too deeply nested."""


class UnsafeFile(FormatError):
    """A file that could run code when loaded (pickle and its family); it is refused and never loaded."""


class NotFound(CommonsError):
    """A model, data set, task, protocol, run or key is not where it was looked for."""


class MissingPackage(CommonsError):
    """An optional part is not installed; the message carries the pip line."""


class LicenceError(CommonsError):
    """Licences of base model and data conflict, or one is unknown where `license: auto` was asked for."""


class Undecided(CommonsError):
    """A check could not be made (data not here, weights not shipped); it is neither yes nor no."""


class DoesNotHold(CommonsError):
    """A check was made and failed."""

    exit_code = 1


class Contradicted(DoesNotHold):
    """A number, a prediction or a weight differs from what the receipt says."""


class Forged(DoesNotHold):
    """A receipt's signature or one of its digests is wrong."""


class Worse(DoesNotHold):
    """An export or a new model is significantly worse than the recipe allows."""


class BudgetReached(CommonsError):
    """The budget ended before anything usable was there."""

    exit_code = 3


class Stopped(CommonsError):
    """The person pressed Ctrl-C; the message says how to go on."""

    exit_code = 130


# --- a hub's answers ------------------------------------------------------------------------------------------------


class HubError(CommonsError):
    """A hub refuses a request.

    Args:
        extra: more keys for the JSON answer, such as the `url` that a 409 must carry: here its path, without a slash.
    """

    status: ClassVar[int] = 400
    code: ClassVar[str | None] = None  # X-Error-Code, by which huggingface_hub chooses its exception

    def __init__(self, message: str, **extra: object) -> None:
        super().__init__(message)
        self.extra = extra


class BadRequest(HubError):
    """The request does not mean anything here."""


class Unauthorized(HubError):
    """Nobody is signed in, or the token is none of ours."""

    status = 401


class Forbidden(HubError):
    """The person is known, and may not do this."""

    status = 403


class Gated(Forbidden):
    """The repository is gated, and the person is not on its list."""

    code = "GatedRepo"


class Missing(HubError):
    """What was asked for is not there."""

    status = 404


class RepoNotFound(Missing):
    """A repository that is not there, or that the person may not know of; both have one answer."""

    code = "RepoNotFound"


class RevisionNotFound(Missing):
    """No branch, tag or commit of that name in the repository."""

    code = "RevisionNotFound"


class EntryNotFound(Missing):
    """No file or folder of that path in the commit."""

    code = "EntryNotFound"


class Conflict(HubError):
    """It is there already, or two wishes contradict each other."""

    status = 409


class Stale(HubError):
    """The branch has moved since the person looked."""

    status = 412


class TooLarge(HubError):
    """More bytes than are allowed."""

    status = 413


class OutOfRange(HubError):
    """A range that begins past the end."""

    status = 416


class Unprocessable(HubError):
    """A name, path or value that cannot be; the gate refuses and does not repair."""

    status = 422


class TooMany(HubError):
    """Too many requests in too short a time."""

    status = 429


class StoreFailed(HubError):
    """The store did not take the bytes; nothing was acknowledged, and the same request may be sent again."""

    status = 503


class StoreFull(HubError):
    """The store is full; nothing was acknowledged."""

    status = 507


FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def store_failed(error: OSError) -> HubError:
    """What a request is told whose bytes the system did not take or give."""
    if error.errno in FULL:
        return StoreFull(
            "The hub's disk is full; nothing was stored. Tell its operator, and send the file again later."
        )
    return StoreFailed("The hub's store did not take or give the bytes; nothing was stored. Send the request again.")
