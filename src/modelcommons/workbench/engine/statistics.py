"""intervals and paired tests: how sure a number is, and whether two numbers differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

Z95 = NormalDist().inv_cdf(0.975)
CHUNK = 4_000_000  # resampled values held at a time
MANY, BINS = 50_000, 4096  # beyond so many units, units of near equal value are drawn as one of so many bins


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a proportion.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
    """
    assert 0 <= successes <= trials and trials > 0
    share, z2 = successes / trials, Z95**2
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    # rounding must not push the interval past the value itself at 0 and 1
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))


def bootstrap(
    values: np.ndarray, seed: int, draws: int = 2000, groups: Sequence[str] | None = None
) -> tuple[float, float]:
    """95 % percentile-bootstrap interval of the mean.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), ch. 13; with `groups`, whole groups are drawn.

    Args:
        values: one number per row, shape (rows,), any unit; the interval has the same unit.
        groups: one name per row (speaker, user, series) where rows of a group are not independent.
    """
    sums, counts = _by_group(values, groups)
    return _percentiles(sums, counts, seed, draws)


def bootstrap_ratio(
    values: np.ndarray, over: np.ndarray, seed: int, draws: int = 2000, groups: Sequence[str] | None = None
) -> tuple[float, float]:
    """95 % percentile-bootstrap interval of `values.sum() / over.sum()`: errors over words, nats over characters.

    Args:
        values: one number per row, shape (rows,); so `over`, which is not negative and not 0 everywhere.
        groups: as for `bootstrap`.
    """
    sums, _ = _by_group(values, groups)
    totals, _ = _by_group(over, groups)
    return _percentiles(sums, totals, seed, draws)


def block_bootstrap(values: np.ndarray, block: int, seed: int, draws: int = 2000) -> tuple[float, float]:
    """95 % interval of the mean of a series whose neighbours are alike: blocks of `block` values are drawn together.

    Source: Künsch, The jackknife and the bootstrap for general stationary observations, Annals of Statistics 17 (1989);
    circular blocks by Politis & Romano (1992), so that every value is drawn equally often.
    """
    means = _block_means(values, block, seed, draws)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def block_bootstrap_ratio(
    values: np.ndarray, over: np.ndarray, block: int, seed: int, draws: int = 2000
) -> tuple[float, float]:
    """95 % interval of `values.sum() / over.sum()`, drawn as in `block_bootstrap`.

    Args:
        values: one number per row, shape (rows,); so `over`, which is not negative and not 0 everywhere.
    """
    sums, totals = (_block_means(part, block, seed, draws) for part in (values, over))  # the same blocks of both
    there = totals > 0
    low, high = np.quantile(sums[there] / totals[there], [0.025, 0.975])
    return float(low), float(high)


def mcnemar(a_wrong: np.ndarray, b_wrong: np.ndarray) -> float:
    """Two-sided exact p-value that two classifiers err equally often on the same rows.

    Source: McNemar, Psychometrika 12 (1947); exact binomial form.

    Args:
        a_wrong: 0/1 or bool, shape (rows,); so `b_wrong`.
    """
    from scipy.stats import binomtest

    a, b = np.asarray(a_wrong, dtype=bool), np.asarray(b_wrong, dtype=bool)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    return 1.0 if only_a + only_b == 0 else float(binomtest(only_a, only_a + only_b, 0.5).pvalue)


def paired(losses_a: np.ndarray, losses_b: np.ndarray, seed: int, block: int = 1, draws: int = 2000) -> float:
    """Two-sided p-value that two models lose equally on the same rows: bootstrap of the mean difference, shifted to 0.

    Losses that are all 0 or 1 go to `mcnemar`, which is exact.

    Args:
        block: rows that hang together (overlapping windows), drawn together.
    """
    a, b = np.asarray(losses_a, dtype=np.float64), np.asarray(losses_b, dtype=np.float64)
    if block == 1 and bool(np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all()):
        return mcnemar(a, b)
    difference = a - b
    observed = abs(difference.mean())
    if observed == 0:
        return 1.0
    means = _block_means(difference - difference.mean(), block, seed, draws)
    return float((1 + (np.abs(means) >= observed).sum()) / (1 + draws))


def _by_group(values: np.ndarray, groups: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray]:
    """(sum, number of rows) of each unit that is drawn."""
    values = np.asarray(values, dtype=np.float64)
    if groups is None:
        return values, np.ones_like(values)
    _, which = np.unique(np.asarray(groups), return_inverse=True)
    return np.bincount(which, values), np.bincount(which).astype(np.float64)


def _percentiles(sums: np.ndarray, counts: np.ndarray, seed: int, draws: int) -> tuple[float, float]:
    rng, size = np.random.default_rng(seed), len(sums)
    if size > MANY:
        means = _binned_means(sums, counts, rng, draws)
    else:
        means, step, alone = np.empty(draws), max(1, CHUNK // size), bool((counts == 1).all())
        for start in range(0, draws, step):
            drawn = rng.integers(0, size, (min(step, draws - start), size), dtype=np.int32)
            means[start : start + step] = sums[drawn].sum(axis=1) / (size if alone else counts[drawn].sum(axis=1))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _binned_means(sums: np.ndarray, counts: np.ndarray, rng: np.random.Generator, draws: int) -> np.ndarray:
    """Means of resamples of very many units: how often each bin is drawn is multinomial, each unit stands for its bin.

    What is lost is the spread inside a bin, small beside the spread between bins.
    """
    order = np.argsort(sums / counts, kind="stable")
    edges = np.linspace(0, len(sums), min(BINS, len(sums)) + 1).astype(np.int64)[:-1]
    sizes = np.diff(np.append(edges, len(sums)))
    bin_sums, bin_counts = (np.add.reduceat(values[order], edges) / sizes for values in (sums, counts))
    often = rng.multinomial(len(sums), sizes / len(sums), size=draws)  # (draws, bins)
    return np.asarray((often @ bin_sums) / (often @ bin_counts))


def _block_means(values: np.ndarray, block: int, seed: int, draws: int) -> np.ndarray:
    """Means of `draws` circular block resamples; shape (draws,)."""
    values = np.asarray(values, dtype=np.float64)
    size, block = len(values), max(1, min(block, len(values)))
    round_trip = np.concatenate([[0.0], np.cumsum(np.concatenate([values, values[:block]]))])
    sums = round_trip[block : block + size] - round_trip[:size]  # sum of the block that begins at each value
    rng, num_blocks = np.random.default_rng(seed), -(-size // block)
    means, step = np.empty(draws), max(1, CHUNK // num_blocks)
    for start in range(0, draws, step):
        drawn = rng.integers(0, size, (min(step, draws - start), num_blocks))
        means[start : start + step] = sums[drawn].mean(axis=1) / block
    return means
