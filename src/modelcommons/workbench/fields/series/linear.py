"""linear: forecasts that are one matrix, found in closed form from the series' own products. numpy only.

With the level r of the look-back x (its mean), the forecast is r + W (x - r); the look-backs of columns known up to now
are further blocks of x, each less its own mean. The sums of products over all windows
that a ridge regression needs follow along the diagonals of one matrix: (look-back + horizon) x steps of work,
whatever the number of windows; and the error on held-out windows follows from their own sums of products, without a
forecast being made. So every ridge is judged on stretches of the training steps, each held out once.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from modelcommons.workbench.fields.series.rows import Windows

RIDGES = tuple(10.0 ** float(k) for k in np.arange(-3.0, 2.6, 0.5))  # times the mean variance inside a look-back
STRETCHES = 4  # of the training steps; each but the first, which lacks history, is held out once


@dataclass(frozen=True, slots=True)
class Products:
    """Sum of z zᵀ over windows and channels, z a window's blocks and targets: K = blocks * look-back + horizon."""

    total: np.ndarray  # (K, K)
    count: int
    blocks: int = 1  # look-backs: of columns known up to now, and last of the channel itself

    def __sub__(self, other: Products) -> Products:
        return Products(self.total - other.total, self.count - other.count, self.blocks)

    @property
    def mean(self) -> np.ndarray:
        return self.total / max(self.count, 1)


@dataclass(frozen=True, slots=True)
class Fitted:
    """One linear map, and how it was chosen."""

    weight: np.ndarray  # (horizon, blocks, look-back); the last block's rows sum to 1: a shift of the series shifts its
    # forecast; those of other blocks to 0
    ridge: float
    error: float  # mean squared, on validation windows
    judged: float  # mean logarithm of the error over all held-out stretches: each counts alike, calm or wild
    held_out: tuple[
        np.ndarray, ...
    ]  # the map fitted without each of the stretches that `stretches` gives after the first

    @property
    def lookback(self) -> int:
        return int(self.weight.shape[2])

    def beside(self, num_past: int) -> Fitted:
        """The same map where it could read columns known up to now, and does not."""
        unread = ((0, 0), (num_past, 0), (0, 0))
        return replace(
            self,
            weight=np.pad(self.weight, unread),
            held_out=tuple(np.pad(weight, unread) for weight in self.held_out),
        )


def seasonal_naive(season: int, horizon: int) -> np.ndarray:
    """The last season again, as a map (horizon, 1, season)."""
    weight = np.zeros((horizon, 1, season))
    weight[np.arange(horizon), 0, np.arange(horizon) % season] = 1.0
    return weight


def fit(train: Windows, validation: Windows, lookbacks: Sequence[int]) -> list[Fitted]:
    """For each look-back the map whose ridge is best on the held-out stretches and on validation windows."""
    longest = max(lookbacks)
    parts = stretches(train)
    judges = [products(part, longest) for part in (*parts[1:], validation)]
    return [_fit_one(train, parts, judges, lookback) for lookback in lookbacks]


def average(fitted: Sequence[Fitted], validation: Windows) -> Fitted:
    """The mean of several maps, which is one map over the longest look-back."""
    if len(fitted) == 1:
        return fitted[0]
    longest = max(one.lookback for one in fitted)
    weight = _mean([one.weight for one in fitted], longest)
    held_out = tuple(_mean(maps, longest) for maps in zip(*(one.held_out for one in fitted), strict=True))
    judged = float(np.mean([one.judged for one in fitted]))
    ridge = float(np.mean([one.ridge for one in fitted]))
    error = float(errors(weight[None], products(validation, longest))[0])
    return Fitted(weight, ridge, error, judged, held_out)


def stretches(train: Windows) -> list[Windows]:
    """The training windows in consecutive stretches that share no target; [] where the series are too short for it."""
    horizon = train.panel.horizon
    found: list[list[np.ndarray]] = [[] for _ in range(STRETCHES)]
    for mine in train.by_series.values():
        for part, chunk in zip(found, np.array_split(mine, STRETCHES), strict=True):
            part.append(chunk[: max(0, len(chunk) - horizon + 1)])
    parts = [Windows(train.panel, np.concatenate(part)) for part in found]
    return parts if all(len(part) >= horizon for part in parts) else []


def products(windows: Windows, lookback: int) -> Products:
    """The sums of products of all windows with enough history; those of a series must follow each other."""
    panel, blocks = windows.panel, len(windows.panel.past) + 1
    width, count = lookback + panel.horizon, 0
    steps: list[list[np.ndarray]] = [[] for _ in range(blocks)]  # of each block, a channel of a series after the other
    for at, mine in windows.by_series.items():
        first, last = max(int(mine[:, 1].min()), lookback), int(mine[:, 1].max())
        if last >= first:
            part, series = slice(first - lookback, last + panel.horizon), panel.series[at]
            for channel in series.values[part].T:
                for found, column in zip(steps, (*series.past[part].T, channel), strict=True):
                    found.append(column)
            count += (last - first + 1) * len(panel.channels)
    sizes = [*(lookback for _ in panel.past), width]
    places = [slice(at * lookback, at * lookback + size) for at, size in enumerate(sizes)]
    total = np.zeros((sum(sizes),) * 2)
    for one, other in itertools.combinations_with_replacement(range(blocks), 2) if count else ():
        sums = _products(steps[one], steps[other], width)[: sizes[one], : sizes[other]]
        total[places[one], places[other]] = sums
        total[places[other], places[one]] = sums.T
    return Products(total, count, blocks)


def errors(weights: np.ndarray, products: Products) -> np.ndarray:
    """Mean squared error of each map, (maps,), over the windows that were summed up.

    Args:
        weights: (maps, horizon, blocks, look-back).
    """
    num_maps, horizon, blocks, lookback = weights.shape
    sums, longest = products.total, (len(products.total) - horizon) // blocks
    past = (np.arange(blocks)[:, None] * longest + np.arange(longest - lookback, longest)).ravel()
    targets, maps = np.arange(blocks * longest, len(sums)), weights.reshape(num_maps, horizon, -1)
    left = maps @ sums[np.ix_(past, past)] - 2 * sums[np.ix_(targets, past)]
    found = np.trace(sums[np.ix_(targets, targets)]) + np.vecdot(left, maps).sum(axis=1)
    mean = found / (horizon * max(products.count, 1))
    return np.asarray(np.maximum(mean, 0))  # rounding may leave a little less than nothing


def _fit_one(train: Windows, parts: Sequence[Windows], judges: Sequence[Products], lookback: int) -> Fitted:
    every = products(train, lookback)
    whole = _path(every, lookback)
    without = [_path(every - products(_touching(train, part), lookback), lookback) for part in parts[1:]]
    found = np.stack([errors(path, judge) for path, judge in zip((*without, whole), judges, strict=True)])
    there = [judge.count > 0 for judge in judges]
    judged = np.log(np.maximum(found[there], 1e-12)).mean(axis=0)  # (ridges,)
    best = int(judged.argmin())
    weight, *held_out = (path[best].copy() for path in (whole, *without))  # the other ridges' maps are let go
    return Fitted(weight, RIDGES[best], float(found[-1, best]), float(judged[best]), tuple(held_out))


def _touching(train: Windows, part: Windows) -> Windows:
    """The training windows with a target among the targets of `part`."""
    horizon, every, found = train.panel.horizon, train.by_series, []
    for at, own in part.by_series.items():
        held, mine = own[:, 1], every[at]
        found.append(mine[(mine[:, 1] > held.min() - horizon) & (mine[:, 1] < held.max() + horizon)])
    return Windows(train.panel, np.concatenate(found))


def _path(products: Products, lookback: int) -> np.ndarray:
    """A map for each ridge, (ridges, horizon, blocks, look-back), from one eigendecomposition."""
    blocks, level = products.blocks, np.eye(len(products.total))
    num_inputs = blocks * lookback
    for start in range(0, num_inputs, lookback):
        level[start : start + lookback, start : start + lookback] -= 1.0 / lookback  # z -> z - mean of its look-back
    level[num_inputs:, num_inputs - lookback : num_inputs] -= 1.0 / lookback
    centred = level @ products.mean @ level.T
    values, vectors = np.linalg.eigh(centred[:num_inputs, :num_inputs])
    cross, values = centred[num_inputs:, :num_inputs] @ vectors, values.clip(0)
    unit = max(float(values.mean()), 1e-12)
    weights = np.stack([(cross / (values + ridge * unit)) @ vectors.T for ridge in RIDGES])
    # r + W (x - r) as one map: what the rows lack of 1 (of 0, beside the channel) is spread over the look-back
    wanted = (np.arange(blocks) == blocks - 1).astype(np.float64)[:, None]
    weights = weights.reshape(len(RIDGES), -1, blocks, lookback)
    return np.asarray(weights + (wanted - weights.sum(axis=3, keepdims=True)) / lookback)


def _products(ones: Sequence[np.ndarray], others: Sequence[np.ndarray], width: int) -> np.ndarray:
    """Sum over pairs and t of y zᵀ, y = one[t : t + width], z = other[t : t + width]; (width, width).

    The first row and column are sums over all steps; along a diagonal each next sum has one product more and one less
    of each pair, which are products of the pairs' first and last steps.
    """
    counts = [len(one) - width + 1 for one in ones]
    pairs = list(zip(ones, others, counts, strict=True))
    total = np.empty((width, width))
    total[0] = sum(np.correlate(other, one[:count]) for one, other, count in pairs)
    total[:, 0] = total[0] if ones is others else sum(np.correlate(one, other[:count]) for one, other, count in pairs)
    into, out = (
        np.stack([one[part] for one in ones]).T @ np.stack([other[part] for other in others])
        for part in (slice(1 - width, None), slice(width - 1))
    )
    change = into - out
    for row in range(width - 1):
        total[row + 1, 1:] = total[row, :-1] + change[row]
    return total


def _mean(maps: Sequence[np.ndarray], lookback: int) -> np.ndarray:
    """The steps before a shorter map's look-back weigh nothing in it."""
    padded = [np.pad(weight, ((0, 0), (0, 0), (lookback - weight.shape[2], 0))) for weight in maps]
    return np.asarray(np.mean(padded, axis=0))
