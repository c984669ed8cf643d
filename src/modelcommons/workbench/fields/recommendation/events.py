"""events: who chose what when, in each user's own order; a row asks for the choices that come next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from modelcommons.errors import DataError, RecipeError
from modelcommons.workbench.task import Parts, Row
from modelcommons.workbench.task import Split as How

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Part = Literal["train", "validation", "test"]
LEAST_EVENTS = 5  # of a user whose last events are held out, where no official test is there
DAY = 86_400.0  # seconds


class Options(BaseModel):
    """`data.options` of recommendation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    least_rating: float | None = Field(
        None, description="Only events rated at least so high count as a choice; null: every event does."
    )
    official: bool = Field(
        True,
        description="Keep an official test where the data has one; false: pool all events and divide them by `split`.",
    )


@dataclass(frozen=True, slots=True)
class Features:
    """What is known of items or users: which of some values each has (`genre: Drama`, `decade: 1990s`)."""

    names: tuple[str, ...]  # of the values
    has: csr_array  # (items or users, values) float32, 0 or 1


@dataclass(frozen=True, slots=True)
class Events:
    """All events, sorted by user, then official part, then time. `known` of each user's events are not the test's."""

    users: tuple[str, ...]  # ids
    items: tuple[str, ...]  # ids: the catalogue
    titles: tuple[str, ...]  # of the items; their ids where they have none
    user: np.ndarray  # (events,) int64 index into `users`
    item: np.ndarray  # (events,) int64 index into `items`
    time: np.ndarray  # (events,) float64 seconds since 1970, or the order of the rows
    starts: np.ndarray  # (users + 1,) int64: user u's events are starts[u]:starts[u + 1]
    trained: np.ndarray  # (users,) int64: events before this one are train
    known: np.ndarray  # (users,) int64: events from `trained` to here are validation, from here on test
    official: Mapping[str, np.ndarray]  # part -> which events (bool) are officially of it; empty where nothing is
    cuts: tuple[float, float] | None = None  # when validation and test begin for all; None: for each user by themselves
    item_features: Features | None = None
    user_features: Features | None = None

    def ends(self, part: Part) -> tuple[np.ndarray, np.ndarray]:
        """First and last (exclusive) event of each user in a part."""
        bounds = {
            "train": (self.starts[:-1], self.trained),
            "validation": (self.trained, self.known),
            "test": (self.known, self.starts[1:]),
        }
        return bounds[part]

    def before(self, part: Part) -> np.ndarray:
        """Which events may be learned from when `part` is to be foretold, (events,) bool."""
        return np.asarray(np.arange(len(self.item)) < self.ends(part)[0][self.user])

    def counts(self, which: np.ndarray | None = None) -> np.ndarray:
        """How often each item was chosen, (items,) int64; among the events `which` (bool)."""
        return np.bincount(self.item if which is None else self.item[which], minlength=len(self.items))

    def matrix(self, which: np.ndarray) -> csr_array:
        """Users by items: 1 where the user chose the item, among the events `which` (bool)."""
        from scipy.sparse import csr_array

        ones = np.ones(int(which.sum()), np.float32)
        return csr_array((ones, (self.user[which], self.item[which])), shape=(len(self.users), len(self.items)))


@dataclass(frozen=True, slots=True)
class History:
    """What a model is told of the one who asks."""

    items: tuple[str, ...]  # ids of what they chose, the latest last
    moment: float | None = None  # when they ask, seconds since 1970; None: after all that the model learned from
    features: tuple[str, ...] = ()  # of the user, as `Features.names` has them
    titled: bool = False  # whether titles are wanted beside ids: a person asks


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was chosen then."""

    items: tuple[str, ...]  # ids
    seen: tuple[int, ...]  # how often each had been chosen, by anybody, in what may be learned from
    num_items: int  # in the catalogue


class Questions:
    """One row for each user with events in a part: what was before them is asked with, they are the answer.

    The id `8:13-15` reads: events 13 to 15 of user 8. So parts of one user's events have different ids.
    """

    def __init__(self, events: Events, part: Part, users: np.ndarray | None = None) -> None:
        first, end = events.ends(part)
        self.events, self.part = events, part
        self.users = np.flatnonzero(end > first) if users is None else users  # int64
        self._first, self._end = first, end
        self._seen = events.counts(events.before("test" if part == "test" else "validation"))
        self._moments = moments(events, part)

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, index: int) -> Row:
        user = int(self.users[range(len(self.users))[index]])
        events, start = self.events, int(self.events.starts[user])
        first, end = int(self._first[user]), int(self._end[user])
        features = () if events.user_features is None else _features_of(events.user_features, user)
        items = events.items
        past, wanted = events.item[start:first].tolist(), events.item[first:end].tolist()
        history = History(tuple(items[at] for at in past), float(self._moments[user]), features)
        answer = Wanted(tuple(items[at] for at in wanted), tuple(self._seen[wanted].tolist()), len(items))
        return Row(self._id(user), history, answer, events.users[user])

    def __iter__(self) -> Iterator[Row]:
        return (self[index] for index in range(len(self)))

    def ids(self) -> Iterator[str]:
        return map(self._id, self.users.tolist())

    def take(self, indices: np.ndarray) -> Questions:
        return Questions(self.events, self.part, self.users[np.asarray(indices, np.int64)])

    def _id(self, user: int) -> str:
        start = int(self.events.starts[user])
        return f"{self.events.users[user]}:{self._first[user] - start + 1}-{self._end[user] - start}"


def _features_of(features: Features, at: int) -> tuple[str, ...]:
    row = features.has.indices[features.has.indptr[at] : features.has.indptr[at + 1]]
    return tuple(features.names[value] for value in row.tolist())


# --- split ----------------------------------------------------------------------------------------------------------


def split(events: Events, how: How) -> Parts:
    """Train, validation and test by time; official parts are kept.

    Raises:
        RecipeError: another way was asked for.
        DataError: a part is empty.
    """
    if how.by not in ("auto", "time") or how.sizes is not None:
        asked = f"by '{how.by}'" if how.sizes is None else "by sizes"
        raise RecipeError(
            f"data.split: events are divided by time, asked was {asked}. Leave it out for the last events of each "
            "user, or write `by: time` for the last days of all."
        )
    official, count = events.official, np.diff(events.starts)
    if how.by == "time" and not official:
        cuts = _cuts(events, how)
        known, trained = (events.starts[:-1] + _per_user(events, events.time < cut) for cut in reversed(cuts))
        events = replace(events, known=known, trained=trained, cuts=cuts)
        words = "validation and test by time"
    else:
        num_test = _per_user(events, official["test"]) if "test" in official else _last(count, how.test)
        left = count - num_test
        late = _per_user(events, official["validation"]) if "validation" in official else _last(left, how.validation)
        known = events.starts[:-1] + left
        events = replace(events, known=known, trained=known - late)
        words = "; ".join(
            f"official {part}" if part in official else f"{part}: each user's last events"
            for part in ("test", "validation")
        )
    made = {part: Questions(events, part) for part in ("train", "validation", "test")}
    for part, rows in made.items():
        if not len(rows):
            raise DataError(
                f"Of {len(events.item):,} events by {len(events.users):,} users none came into {part}. Give users with "
                f"at least {LEAST_EVENTS} events, or write data.split.by: time."
            )
    return Parts(**made, how=words)


def _per_user(events: Events, which: np.ndarray) -> np.ndarray:
    return np.bincount(events.user[which], minlength=len(events.users))


def _last(count: np.ndarray, share: float) -> np.ndarray:
    """How many of each user's events are held out: a share, at least one, of users with enough of them."""
    return np.where(count >= LEAST_EVENTS, np.maximum(1, np.round(count * share)), 0).astype(np.int64)


def _cuts(events: Events, how: How) -> tuple[float, float]:
    """The moments at which validation and test begin: so many of all events come later."""
    times = np.sort(events.time)
    num_known = round(len(times) * (1 - how.test))
    test = times[min(len(times) - 1, num_known)]
    validation = times[min(len(times) - 1, round(num_known * (1 - how.validation)))]
    return float(validation), float(test)


def sequences(events: Events, part: Part) -> list[np.ndarray]:
    """Each user's items before `part`, int64, the latest last; empty for users who come later."""
    ends = events.ends(part)[0]
    return [events.item[a:b] for a, b in zip(events.starts[:-1].tolist(), ends.tolist(), strict=True)]


def moments(events: Events, part: Part) -> np.ndarray:
    """When each user is asked, (users,) float64: where the part begins; else when they last chose something before it.

    A user's first test event has a time too, but whoever asks for it does not know it; new users ask at the first
    moment of all.
    """
    if events.cuts is not None and part != "train":
        return np.full(len(events.users), events.cuts[0 if part == "validation" else 1])
    ends = events.ends(part)[0]
    last = np.where(ends > events.starts[:-1], events.time[np.maximum(ends - 1, 0)], events.time.min(initial=0.0))
    return np.asarray(last, np.float64)


def ids_in_order(ids: Sequence[str]) -> list[str]:
    """Whole numbers by value, else by letters: the order of the catalogue decides among equal scores."""
    distinct = set(ids)
    if all(id.isascii() and id.isdecimal() for id in distinct):
        return sorted(distinct, key=lambda id: (int(id), id))
    return sorted(distinct)
