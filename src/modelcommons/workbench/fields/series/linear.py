"""linear: forecasts that are one matrix, found in closed form from the series' own products. numpy only.

With the level r of the look-back x (its mean), the forecast is r + W (x - r). The sums of products over all windows
that a ridge regression needs are running sums along the diagonals of one matrix: (look-back + horizon) x steps of work,
whatever the number of windows; and the error on held-out windows follows from their own sums of products, without a
forecast being made. So every ridge is judged on stretches of the training steps, each held out once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modelcommons.workbench.fields.series.rows import Windows

RIDGES = tuple(10.0 ** float(k) for k in np.arange(-3.0, 2.6, 0.5))  # times the mean variance inside a look-back
STRETCHES = 4  # of the training steps; each but the first, which lacks history, is held out once


@dataclass(frozen=True, slots=True)
class Products:
    """Sum of z zᵀ over windows and channels, z a window's look-back and targets in one; K = look-back + horizon."""

    total: np.ndarray  # (K, K)
    count: int

    def __sub__(self, other: Products) -> Products:
        return Products(self.total - other.total, self.count - other.count)

    @property
    def mean(self) -> np.ndarray:
        return self.total / max(self.count, 1)


@dataclass(frozen=True, slots=True)
class Fitted:
    """One linear map, and how it was chosen."""

    weight: np.ndarray  # (horizon, look-back); each row sums to 1, so that a shift of the series shifts its forecast
    ridge: float
    error: float  # mean squared, on validation windows
    judged: float  # mean logarithm of the error over all held-out stretches: each counts alike, calm or wild
    held_out: tuple[
        np.ndarray, ...
    ]  # the map fitted without each of the stretches that `stretches` gives after the first

    @property
    def lookback(self) -> int:
        return int(self.weight.shape[1])


def seasonal_naive(season: int, horizon: int) -> np.ndarray:
    """The last season again, as a map (horizon, season)."""
    weight = np.zeros((horizon, season))
    weight[np.arange(horizon), np.arange(horizon) % season] = 1.0
    return weight


def fit(train: Windows, validation: Windows, lookbacks: Sequence[int]) -> list[Fitted]:
    """For each look-back the map whose ridge is best on the held-out stretches and on validation windows."""
    longest = max(lookbacks)
    parts = stretches(train)
    judges = [products(part, longest) for part in (*parts[1:], validation)]
    return [_fit_one(train, parts, judges, lookback) for lookback in lookbacks]


def average(fitted: Sequence[Fitted], validation: Windows) -> Fitted:
    """The mean of several maps, which is one map over the longest look-back."""
    longest = max(one.lookback for one in fitted)
    weight = _mean([one.weight for one in fitted], longest)
    held_out = tuple(_mean(maps, longest) for maps in zip(*(one.held_out for one in fitted), strict=True))
    judged = float(np.mean([one.judged for one in fitted]))
    ridge = float(np.mean([one.ridge for one in fitted]))
    return Fitted(weight, ridge, error(weight, products(validation, longest)), judged, held_out)


def stretches(train: Windows) -> list[Windows]:
    """The training windows in consecutive stretches that share no target; [] where the series are too short for it."""
    horizon = train.panel.horizon
    found: list[list[np.ndarray]] = [[] for _ in range(STRETCHES)]
    for at in np.unique(train.where[:, 0]).tolist():
        mine = train.where[train.where[:, 0] == at]
        for part, chunk in zip(found, np.array_split(mine, STRETCHES), strict=True):
            part.append(chunk[: max(0, len(chunk) - horizon + 1)])
    parts = [Windows(train.panel, np.concatenate(part)) for part in found]
    return parts if all(len(part) >= horizon for part in parts) else []


def products(windows: Windows, lookback: int) -> Products:
    """The sums of products of all windows with enough history; those of a series must follow each other."""
    width = lookback + windows.panel.horizon
    total, count = np.zeros((width, width)), 0
    for at in np.unique(windows.where[:, 0]).tolist():
        origins = windows.where[windows.where[:, 0] == at, 1]
        first, last = max(int(origins.min()), lookback), int(origins.max())
        if last >= first:
            values = windows.panel.series[at].values[first - lookback : last + windows.panel.horizon]
            for channel in values.T:
                total += _products(channel, width)
            count += (last - first + 1) * values.shape[1]
    return Products(total, count)


def error(weight: np.ndarray, products: Products) -> float:
    """Mean squared error of `weight` (horizon, look-back) over the windows that were summed up."""
    horizon, sums = len(weight), products.mean
    past = slice(len(sums) - horizon - weight.shape[1], len(sums) - horizon)
    targets = slice(len(sums) - horizon, None)
    cross = np.sum(weight * sums[targets, past])
    found = (np.trace(sums[targets, targets]) - 2 * cross + np.sum((weight @ sums[past, past]) * weight)) / horizon
    return max(0.0, float(found))  # rounding may leave a little less than nothing


def _fit_one(train: Windows, parts: Sequence[Windows], judges: Sequence[Products], lookback: int) -> Fitted:
    every = products(train, lookback)
    whole = _path(every, lookback)
    without = [_path(every - products(_touching(train, part), lookback), lookback) for part in parts[1:]]
    errors = np.array(
        [
            [error(path[at], judge) for path, judge in zip((*without, whole), judges, strict=True)]
            for at in range(len(RIDGES))
        ]
    )  # (ridges, judges)
    there = [judge.count > 0 for judge in judges]
    judged = np.log(np.maximum(errors[:, there], 1e-12)).mean(axis=1)
    best = int(judged.argmin())
    return Fitted(
        whole[best], RIDGES[best], float(errors[best, -1]), float(judged[best]), tuple(path[best] for path in without)
    )


def _touching(train: Windows, part: Windows) -> Windows:
    """The training windows with a target among the targets of `part`."""
    horizon, found = train.panel.horizon, []
    for at in np.unique(part.where[:, 0]).tolist():
        held = part.where[part.where[:, 0] == at, 1]
        mine = train.where[train.where[:, 0] == at]
        found.append(mine[(mine[:, 1] > held.min() - horizon) & (mine[:, 1] < held.max() + horizon)])
    return Windows(train.panel, np.concatenate(found))


def _path(products: Products, lookback: int) -> list[np.ndarray]:
    """One map (horizon, look-back) for each ridge, from one eigendecomposition."""
    level = np.eye(len(products.total))
    level[:, :lookback] -= 1.0 / lookback  # z -> z - mean of the look-back
    centred = level @ products.mean @ level.T
    values, vectors = np.linalg.eigh(centred[:lookback, :lookback])
    cross, values = centred[lookback:, :lookback] @ vectors, values.clip(0)
    unit = max(float(values.mean()), 1e-12)
    weights = [(cross / (values + ridge * unit)) @ vectors.T for ridge in RIDGES]
    # r + W (x - r) as one map: what the rows lack of 1 is spread over the look-back
    return [weight + (1.0 - weight.sum(axis=1, keepdims=True)) / lookback for weight in weights]


def _products(values: np.ndarray, width: int) -> np.ndarray:
    """Sum over t of z zᵀ, z = values[t : t + width]; each diagonal is a running sum of values[u] * values[u + d]."""
    num_windows = len(values) - width + 1
    total = np.empty((width, width))
    for distance in range(width):
        sums = np.concatenate([[0.0], np.cumsum(values[: len(values) - distance] * values[distance:])])
        i = np.arange(width - distance)
        total[i, i + distance] = total[i + distance, i] = sums[num_windows + i] - sums[i]
    return total


def _mean(maps: Sequence[np.ndarray], lookback: int) -> np.ndarray:
    """The steps before a shorter map's look-back weigh nothing in it."""
    padded = [np.pad(weight, ((0, 0), (lookback - weight.shape[1], 0))) for weight in maps]
    return np.asarray(np.mean(padded, axis=0))
