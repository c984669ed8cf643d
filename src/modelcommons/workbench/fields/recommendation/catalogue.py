"""catalogue: what can be recommended, what is known of it, and how much it is chosen lately."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from modelcommons.workbench.fields.recommendation.events import DAY, Events

if TYPE_CHECKING:
    from scipy.sparse import csr_array

TREND_DAYS = 7.0  # what was chosen so long ago counts 1/e in the trend


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What can be recommended, and what is known of it."""

    items: tuple[str, ...]  # ids
    titles: tuple[str, ...]
    counts: np.ndarray  # (items,) int64: users who chose it
    num_users: int
    profiles: csr_array  # (items, values or users) rows of length one or zero: what items are compared by
    trend: csr_array  # (days, items) float64: choices on each day
    first_day: int  # of `trend`, days since 1970
    values: tuple[str, ...] = ()  # names of item features
    user_values: tuple[str, ...] = ()  # names of user features


def catalogue_of(events: Events, which: np.ndarray) -> Catalogue:
    """The catalogue with what the events `which` (bool) say of it.

    Items are compared by their features; without such a table, by who chose them.
    """
    from scipy.sparse import csr_array, diags_array

    features = events.item_features
    raw = csr_array(events.matrix(which).T) if features is None else features.has
    length = np.sqrt(np.asarray(raw.multiply(raw).sum(axis=1), np.float64).ravel())
    profiles = csr_array(diags_array(np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)) @ raw)
    day = np.floor(events.time[which] / DAY).astype(np.int64)
    first = int(day.min(initial=0 if not len(day) else int(day[0])))
    shape = (int(day.max(initial=first)) - first + 1, len(events.items))
    trend = csr_array((np.ones(len(day)), (day - first, events.item[which])), shape=shape)
    return Catalogue(
        events.items, events.titles, events.counts(which), len(np.unique(events.user[which])), profiles, trend, first,
        () if features is None else features.names,
        () if events.user_features is None else events.user_features.names,
    )  # fmt: skip


def trending(catalogue: Catalogue, moments: np.ndarray) -> np.ndarray:
    """How much each item was chosen before each moment, lately counting more, (users, items) float32; the most is 1.

    Nothing after the moment counts, though the events of others may be there.
    """
    today = np.floor(moments / DAY) - catalogue.first_day
    ago = today[:, None] - np.arange(catalogue.trend.shape[0])  # days
    with np.errstate(over="ignore"):
        weight = np.where(ago >= 0, np.exp(-ago / TREND_DAYS), 0.0)
    weight /= np.maximum(weight.max(axis=1, keepdims=True), 1e-300)  # long after the last event there is a trend too
    chosen = np.asarray((catalogue.trend.T @ weight.T).T)
    return np.asarray(chosen / np.maximum(chosen.max(axis=1, keepdims=True), 1e-12), np.float32)
