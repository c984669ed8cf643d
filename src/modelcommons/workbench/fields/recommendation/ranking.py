"""ranking: the best items of all, equal ones in the catalogue's order; and lists in which not all items are alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array

CELLS = 2_000_000  # scores held at a time, 16 MB: so many users are ranked together, whatever the catalogue's size
POOL = 100  # best items from which a mixed list is picked
SPAN = 64  # items whose best score stands for them while the best of all are looked for
MANY = 1024  # candidates for one list that are not sorted


def at_once(num_items: int) -> int:
    """How many users are scored together."""
    return max(1, CELLS // max(num_items, 1))


def top(scores: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` best of each row, the best first; of equal ones the first. Minus infinity is no candidate.

    Args:
        scores: (users, items) float.

    Returns:
        (users, count) int64, -1 where there are no more candidates.
    """
    found = np.full((len(scores), count), -1, np.int64)
    for row, least, out in zip(scores, _floors(scores, count), found, strict=True):
        some = np.flatnonzero(row >= least)
        if len(some) > MANY:  # most have the same score, such as 0 of what nobody like them chose
            last = np.partition(row[some], len(some) - count)[len(some) - count]
            equal = some[row[some] == last][:count]
            some = np.sort(np.concatenate([some[row[some] > last], equal]))
        some = some[row[some] > -np.inf]
        best = some[np.argsort(-row[some], kind="stable")][:count]
        out[: len(best)] = best
    return found


def _floors(scores: np.ndarray, count: int) -> np.ndarray:
    """For each row a score that at least `count` reach, and few others: the count-th largest of the maxima of spans."""
    num_rows, num_items = scores.shape
    if num_items <= count:
        return np.full(num_rows, -np.inf)
    num_spans = num_items // SPAN
    if num_spans <= count:
        return np.asarray(np.partition(scores, num_items - count, axis=1)[:, num_items - count])
    maxima = scores[:, : num_spans * SPAN].reshape(num_rows, num_spans, SPAN).max(axis=2)
    return np.asarray(np.partition(maxima, num_spans - count, axis=1)[:, num_spans - count])


def alike(profiles: csr_array, items: np.ndarray) -> np.ndarray:
    """Cosine of the profiles of some items, (items, items) float64; an item without a profile is like no other.

    Args:
        profiles: rows of length one (or zero), (catalogue, values).
        items: int64 indices into the catalogue.
    """
    rows = profiles[items]
    return np.asarray((rows @ rows.T).toarray(), np.float64)


def diversity(likeness: np.ndarray) -> float:
    """Mean of 1 - likeness over the pairs of a list; 1 for a list without pairs.

    Source: Ziegler et al., Improving Recommendation Lists Through Topic Diversification (2005), intra-list similarity.
    """
    size = len(likeness)
    if size < 2:
        return 1.0
    pairs = likeness[np.triu_indices(size, 1)]
    return float(np.clip(1 - pairs.mean(), 0.0, 1.0))


def mixed(scores: np.ndarray, likeness: np.ndarray, count: int, weight: float) -> np.ndarray:
    """Maximal marginal relevance: picks one after the other what is good and unlike what was picked before.

    Source: Carbonell & Goldstein, The use of MMR, diversity-based reranking (SIGIR 1998). Scores are first brought to
    0 to 1 over the pool, so that `weight` means the same for every model.

    Args:
        scores: of the pool, (pool,), the best first.
        likeness: (pool, pool), 0 to 1.
        weight: 0 keeps the order of the scores, 1 looks at unlikeness alone.

    Returns:
        Indices into the pool, (count,) or fewer, in the order they were picked.
    """
    low, high = scores.min(), scores.max()
    good = (scores - low) / max(high - low, 1e-12)
    nearest = np.zeros(len(scores))
    picked: list[int] = []
    left = np.ones(len(scores), bool)
    for _ in range(min(count, len(scores))):
        value = np.where(left, (1 - weight) * good - weight * nearest, -np.inf)
        best = int(value.argmax())
        picked.append(best)
        left[best] = False
        nearest = np.maximum(nearest, likeness[best])
    return np.array(picked, np.int64)
