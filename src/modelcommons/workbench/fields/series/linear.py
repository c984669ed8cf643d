"""linear: forecasts that are one matrix, found in closed form from the series' own products. numpy only.

With a reference r(x) that moves with the level of the look-back x (its mean), the forecast is r + W (x - r). The sums of
products over all windows that a ridge regression needs are running sums along the diagonals of one matrix, so a fit
costs (look-back + horizon) x steps, whatever the number of windows; and its error on validation windows follows from
their matrix of products, without a forecast being made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from modelcommons.workbench.fields.series.rows import Windows

RIDGES = tuple(10.0 ** float(k) for k in np.arange(-3.0, 2.6, 0.5))  # times the mean square of a look-back's values


@dataclass(frozen=True, slots=True)
class Fitted:
    """One linear map and what it came to on the validation windows."""

    weight: np.ndarray  # (horizon, look-back); each row sums to 1, so that a shift of the series shifts its forecast
    lookback: int
    ridge: float
    error: float  # mean squared, validation


def seasonal_naive(season: int, horizon: int) -> np.ndarray:
    """The last season again, as a map (horizon, season)."""
    weight = np.zeros((horizon, season))
    weight[np.arange(horizon), np.arange(horizon) % season] = 1.0
    return weight


def products(windows: Windows, lookback: int) -> np.ndarray:
    """Mean of z zᵀ over all windows and channels, z a window's look-back and targets in one; (K, K), K = L + H.

    Windows with less history than `lookback` are left out; the others of a series must follow each other.
    """
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
    return total / max(count, 1)


def _products(values: np.ndarray, width: int) -> np.ndarray:
    """Sum over t of z zᵀ with z = values[t : t + width]; each diagonal is a running sum of values[u] * values[u + d]."""
    num_windows = len(values) - width + 1
    total = np.empty((width, width))
    for distance in range(width):
        sums = np.concatenate([[0.0], np.cumsum(values[: len(values) - distance] * values[distance:])])
        i = np.arange(width - distance)
        total[i, i + distance] = total[i + distance, i] = sums[num_windows + i] - sums[i]
    return total


def fit(train: Windows, validation: Windows, lookbacks: Sequence[int]) -> list[Fitted]:
    """For each look-back the ridge that is best on validation windows."""
    longest = max(lookbacks)
    judge = products(validation, longest)
    return [min(_path(products(train, n), n, judge), key=lambda fitted: fitted.error) for n in lookbacks]


def average(fitted: Sequence[Fitted], validation: Windows) -> Fitted:
    """The mean of several maps, which is one map over the longest look-back."""
    longest = max(one.lookback for one in fitted)
    weight = np.mean([_padded(one.weight, longest) for one in fitted], axis=0)
    ridge = float(np.mean([one.ridge for one in fitted]))
    return Fitted(weight, longest, ridge, error(weight, products(validation, longest)))


def error(weight: np.ndarray, products: np.ndarray) -> float:
    """Mean squared error of y = weight x over the windows that `products` (K, K) sums up; x are the last steps before y."""
    horizon = len(weight)
    past = slice(len(products) - horizon - weight.shape[1], len(products) - horizon)
    targets = slice(len(products) - horizon, None)
    square = np.trace(products[targets, targets])
    cross = np.sum(weight * products[targets, past])
    return float((square - 2 * cross + np.sum((weight @ products[past, past]) * weight)) / horizon)


def _path(products: np.ndarray, lookback: int, judge: np.ndarray) -> Iterator[Fitted]:
    """One fit for each ridge, from one eigendecomposition."""
    level = np.eye(len(products))
    level[:, :lookback] -= 1.0 / lookback  # z -> z - mean of the look-back
    centred = level @ products @ level.T
    values, vectors = np.linalg.eigh(centred[:lookback, :lookback])
    cross = centred[lookback:, :lookback] @ vectors
    unit = max(float(values.mean()), 1e-12)
    for ridge in RIDGES:
        weight = (cross / (values.clip(0) + ridge * unit)) @ vectors.T
        weight += (1.0 - weight.sum(axis=1, keepdims=True)) / lookback  # r + W (x - r) as one map
        yield Fitted(weight, lookback, ridge, error(weight, judge))


def _padded(weight: np.ndarray, lookback: int) -> np.ndarray:
    """The same map over a longer look-back: the steps before weigh nothing."""
    return np.pad(weight, ((0, 0), (lookback - weight.shape[1], 0)))
