"""ranking: the best items of all, equal ones in the catalogue's order; and lists in which not all items are alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array

CELLS = 2**20  # scores held at a time, 4 MB, what a core has near: so many users are ranked together
POOL = 100  # best items from which a mixed list is picked
SPANS = 8  # for each of the best that are looked for; the least number of items in one, too


def at_once(num_items: int) -> int:
    """How many users are scored together."""
    return max(1, CELLS // max(num_items, 1))


def top(scores: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` best of each row, the best first; of equal ones the first. Minus infinity is no candidate.

    Args:
        scores: (users, items) float32.

    Returns:
        (users, count) int64, -1 where there are no more candidates.
    """
    found = np.full((len(scores), count), -1, np.int64)
    best = _best(scores, count)
    found[:, : best.shape[1]] = np.where(np.take_along_axis(scores, best, axis=1) > -np.inf, best, -1)
    return found


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    """As `top`, minus infinity too.

    Neighbouring items make a span. The best `count` are inside the spans of the best `count` maxima, of equal maxima
    the first, since each holds an item as good as its maximum: so spans are ranked first, and then their items.
    """
    num_rows, num_items = scores.shape
    span = num_items // (SPANS * count)
    if span < SPANS:
        return _sorted(scores, count)
    whole, each = num_items // span * span, np.arange(num_rows)[:, None]
    maxima = np.maximum.reduceat(scores[:, :whole], np.arange(0, whole, span), axis=1)  # quicker than max
    near = np.sort(_best(maxima, count), axis=1)  # in the catalogue's order, so that their items are too
    inside = scores[:, :whole].reshape(num_rows, -1, span)[each, near]
    items = np.concatenate([inside.reshape(num_rows, -1), scores[:, whole:]], axis=1)
    place = _best(items, count)
    within = near[each, np.minimum(place // span, count - 1)] * span + place % span
    after = place - count * span + whole  # in what is left after the last span
    return np.asarray(np.where(place < count * span, within, after))


def _sorted(scores: np.ndarray, count: int) -> np.ndarray:
    """As `_best`, of few items: a score's bits, which order as it does, and its place are one integer unlike others."""
    num_items = scores.shape[1]
    bits = np.add(scores, 0, dtype=np.float32).view(np.int32)  # one zero, not two
    bits ^= (bits >> 31) & 0x7FFFFFFF  # of two negative ones the larger has the smaller bits
    keys = bits.astype(np.int64) << 32 | np.arange(num_items - 1, -1, -1)
    if count < num_items:
        keys = np.partition(keys, num_items - count, axis=1)[:, num_items - count :]
    return np.asarray(num_items - 1 - (np.sort(keys, axis=1)[:, ::-1] & 0xFFFFFFFF))


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
