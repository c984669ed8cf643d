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
    └── Stopped                     exit 130: Ctrl-C; says how to go on

Messages: what was expected, what came, what to do next. One sentence, or two.
"""

from __future__ import annotations

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
