"""closed: models that are solved, not trained: popularity, neighbours, EASE, SLIT, implicit ALS; numpy and scipy only.

Each is a dictionary of arrays, made from everybody's histories, and a scorer that answers any history: who asks need
not have been there when the arrays were made, so new events and new users count at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Weights = dict[str, np.ndarray]
LONGEST = 100  # latest items of a history that SLIT learns from
AHEAD = 20  # next items that it learns to foretell
SWEEPS = 8  # alternations of iALS
STEPS = 3  # of conjugate gradients in each
CELLS = 2**18  # numbers worked on together, at most: 1 or 2 MB, what a core keeps near
TINY = np.float32(1e-30)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a model sees of those who ask: indices into its own catalogue."""

    items: Sequence[np.ndarray]  # int64, the latest last
    moments: np.ndarray  # (users,) float64, seconds since 1970
    features: Sequence[np.ndarray] = ()  # int64, of each user; empty: not known of any

    def __len__(self) -> int:
        return len(self.items)

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Who asks and what they chose, one after the other: two of shape (choices,), int32."""
        lengths = [len(items) for items in self.items]
        items = np.concatenate([*self.items, np.zeros(0, np.int32)])
        return np.repeat(np.arange(len(self), dtype=np.int32), lengths), items.astype(np.int32)

    def part(self, start: int, end: int) -> Asked:
        return Asked(self.items[start:end], self.moments[start:end], self.features[start:end])


Scorer = Callable[[Asked], np.ndarray]  # -> (users, items) float32, an array of its own


def histories(asked: Asked, num_items: int) -> csr_array:
    """Who asks by items, float32: 1 where they chose it."""
    from scipy.sparse import csr_array

    who, items = asked.pairs()
    starts = np.searchsorted(who, np.arange(len(asked) + 1)).astype(np.int32)
    return csr_array((np.ones(len(items), np.float32), items, starts), shape=(len(asked), num_items))


# --- popularity -----------------------------------------------------------------------------------------------------


def popularity(seen: csr_array) -> Weights:
    """How many users chose each item: the same order for everybody."""
    return {"popular": np.bincount(seen.indices, minlength=seen.shape[1]).astype(np.float32)}


# --- neighbours -----------------------------------------------------------------------------------------------------


def item_knn(seen: csr_array, neighbours: int, shrink: float) -> Weights:
    """Cosine between items' audiences, shrunk where few stand behind it; only the nearest are kept.

    Source: Sarwar et al., Item-based collaborative filtering (2001); the shrink term of Bell & Koren (2007).
    """
    from scipy.sparse import csr_array

    by_item = csr_array(seen.T)
    by_item.sum_duplicates()
    size = np.sqrt(np.asarray(by_item.multiply(by_item).sum(axis=1), np.float64).ravel())
    work = np.cumsum(by_item @ np.diff(seen.indptr))  # products that the items up to each one cost
    parts: list[list[np.ndarray]] = [[], [], []]  # how many are near, which, how near
    start = 0
    while start < len(size):  # some at a time: the pairs that somebody chose both of need not all fit into memory
        end = max(start + 1, int(np.searchsorted(work, (work[start - 1] if start else 0) + CELLS)))
        both = by_item[start:end] @ seen  # users who chose both
        counts = np.diff(both.indptr)
        row = np.repeat(np.arange(len(counts)), counts)
        value = both.data / (size[start:end][row] * size[both.indices] + shrink)
        value[row + start == both.indices] = 0.0  # no item is near itself
        kept = _nearest(row, both.indices, value, counts, neighbours)
        found = np.bincount(row[kept], minlength=len(counts)), both.indices[kept], value[kept].astype(np.float32)
        for some, values in zip(parts, found, strict=True):
            some.append(values)
        start = end
    sizes, item, near = map(np.concatenate, parts)
    return {"near.item": item, "near.value": near, "near.start": np.concatenate([[0], np.cumsum(sizes)])}


def _nearest(row: np.ndarray, item: np.ndarray, value: np.ndarray, counts: np.ndarray, most: int) -> np.ndarray:
    """Which pairs are among the `most` best of their row, by row and item; of equal ones those of the first items.

    Args:
        row: of each pair, rising; `counts` says how often each is there.
        value: of each pair; 0 is none.
    """
    least, divided, ends = np.full(len(counts), np.finfo(np.float64).tiny), value.copy(), np.cumsum(counts)
    for at in np.flatnonzero(counts > most).tolist():
        mine = divided[ends[at] - counts[at] : ends[at]]
        mine.partition(len(mine) - most)
        least[at] = mine[len(mine) - most]
    some = np.flatnonzero(value >= least[row])
    some = some[np.argsort(row[some].astype(np.int64) * (int(item.max(initial=0)) + 1) + item[some])]
    row, equal = row[some], value[some] == least[row[some]]
    place = np.cumsum(equal)  # of those that are as good as the last
    before = np.concatenate([[0], place])[np.searchsorted(row, np.arange(len(counts)))]
    room = most - np.bincount(row[~equal], minlength=len(counts))
    return np.asarray(some[~equal | (place <= (before + room)[row])])


def _knn_scorer(weights: Mapping[str, np.ndarray], num_items: int) -> Scorer:
    from scipy.sparse import csr_array

    values = (weights["near.value"], weights["near.item"], weights["near.start"].astype(np.int32))
    near = csr_array(values, shape=(num_items, num_items)).T.tocsr()  # from a chosen item to those it stands near
    sizes = np.diff(near.indptr)

    def scores(asked: Asked) -> np.ndarray:
        who, items = asked.pairs()
        counts = sizes[items]
        skipped = near.indptr[items] - (np.cumsum(counts, dtype=np.int32) - counts)
        entries = np.repeat(skipped, counts) + np.arange(counts.sum(), dtype=np.int32)  # of `near`, for each choice
        found = np.zeros((len(asked), num_items), np.float32)
        cells = np.repeat(who.astype(np.int64) * num_items, counts) + near.indices[entries]
        np.add.at(found.ravel(), cells, near.data[entries])
        return found

    return scores


# --- EASE -----------------------------------------------------------------------------------------------------------


def ease(seen: csr_array, regularization: float, most_items: int) -> Weights:
    """The linear map from histories to histories with a zero diagonal that errs least, in closed form.

    Source: Steck, Embarrassingly Shallow Autoencoders for Sparse Data (WWW 2019). Only the most chosen items take part:
    the inverse costs 8 bytes for each pair of them.
    """
    from scipy.linalg.lapack import dpotrf, dpotri

    count = np.bincount(seen.indices, minlength=seen.shape[1])
    kept = np.sort(np.argsort(-count, kind="stable")[: min(most_items, int((count > 1).sum()) or 1)])
    some = seen[:, kept].astype(np.float64)
    gram = np.asarray((some.T @ some).toarray())
    gram[np.diag_indices(len(kept))] += regularization
    factor, _ = dpotrf(gram, overwrite_a=True)  # by Cholesky, in place: half the work of any matrix's inverse
    inverse, _ = dpotri(factor, overwrite_c=True)
    inverse = np.triu(inverse)
    inverse += np.triu(inverse, 1).T
    weight = -inverse / np.diag(inverse)
    np.fill_diagonal(weight, 0.0)
    return {"kept": kept.astype(np.int64), "weight": weight.astype(np.float32)}


def _ease_scorer(weights: Mapping[str, np.ndarray], num_items: int) -> Scorer:
    kept, weight = weights["kept"], weights["weight"]

    return lambda asked: _spread(histories(asked, num_items)[:, kept] @ weight, kept, num_items)


def _spread(scores: np.ndarray, kept: np.ndarray, num_items: int) -> np.ndarray:
    """Scores of the kept items as scores of all, (users, items); the others have 0."""
    found = np.zeros((len(scores), num_items), np.float32)
    for row, values in zip(found, scores, strict=True):  # numpy is quicker row by row than in all rows at once
        row[kept] = values
    return found


# --- SLIT ------------------------------------------------------------------------------------------------------------


def slit(
    sequences: Sequence[np.ndarray], num_items: int, memory: float, ahead: float, regularization: float, most_items: int
) -> Weights:
    """The linear map from the items before each place of a history to those after it that errs least, in closed form.

    Source: SLIT of Choi et al., Session-aware Linear Item-Item Models for Session-based Recommendation (WWW 2021): what
    is `memory` (or `ahead`) events away counts 1/e of what is near; every history weighs by the root of its length.

    Args:
        sequences: of each user, int64 items, the latest last.
    """
    count = np.bincount(np.concatenate([*sequences, np.zeros(0, np.int64)]), minlength=num_items)
    kept = np.sort(np.argsort(-count, kind="stable")[: min(most_items, int((count > 1).sum()) or 1)])
    place = np.full(num_items, -1)
    place[kept] = np.arange(len(kept))
    before, after = _around(sequences, place, len(kept), memory, ahead)
    gram = np.asarray((before.T @ before).toarray())
    gram[np.diag_indices(len(kept))] += regularization
    weight = np.linalg.solve(gram, np.asarray((before.T @ after).toarray()))
    return {"kept": kept.astype(np.int64), "weight": weight.astype(np.float32)}


def _around(
    sequences: Sequence[np.ndarray], place: np.ndarray, size: int, memory: float, ahead: float
) -> tuple[csr_array, csr_array]:
    """Of every place in every history: what was before it and what came after, decayed; two (places, items)."""
    from scipy.sparse import csr_array

    parts: tuple[list[list[np.ndarray]], ...] = ([[], [], []], [[], [], []])  # rows, columns, values of each
    num_rows = 0
    for items in sequences:
        items = items[-LONGEST:]
        if len(items) < 2:
            continue
        cut, at = np.arange(1, len(items))[:, None], np.arange(len(items))[None]
        weight = 1 / np.sqrt(np.sqrt(len(items) - 1))  # of both sides: the root of the history's weight
        for found, which, away, decay in (
            (parts[0], at < cut, cut - 1 - at, memory), (parts[1], (at >= cut) & (at < cut + AHEAD), at - cut, ahead),
        ):  # fmt: skip
            row, column = np.nonzero(which & (place[items] >= 0)[None])
            found[0].append(num_rows + row)
            found[1].append(place[items[column]])
            found[2].append(weight * np.exp(-away[row, column] / decay))
        num_rows += len(items) - 1
    made = []
    for rows, columns, values in parts:
        row, column, value = (np.concatenate([*some, np.zeros(0)]) for some in (rows, columns, values))
        made.append(csr_array((value, (row.astype(np.int64), column.astype(np.int64))), shape=(num_rows, size)))
    return made[0], made[1]


def _slit_scorer(weights: Mapping[str, np.ndarray], num_items: int, memory: float) -> Scorer:
    kept, weight = weights["kept"], weights["weight"]

    def scores(asked: Asked) -> np.ndarray:
        known = histories(asked, num_items)
        later = known.indptr[1:].repeat(np.diff(known.indptr)) - np.arange(known.nnz) - 1  # events after each one
        known.data = np.exp(-later / memory).astype(np.float32)
        return _spread(known[:, kept] @ weight, kept, num_items)

    return scores


# --- implicit ALS ---------------------------------------------------------------------------------------------------


def ials(seen: csr_array, factors: int, unobserved: float, regularization: float, seed: int) -> Weights:
    """Factors of users and items that tell chosen from not chosen, each side solved in turn.

    Source: Hu, Koren & Volinsky (ICDM 2008) in the form and with the frequency-scaled regularization of Rendle et al.,
    Revisiting the Performance of iALS (RecSys 2022): minimise sum over chosen (1 - uv)^2 + unobserved * sum over all
    (uv)^2 + regularization * sum of (count + unobserved * others) * |factor|^2.
    """
    from scipy.sparse import csr_array

    rng, by_item = np.random.default_rng(seed), csr_array(seen.T)
    items = rng.normal(0, 0.1 / np.sqrt(factors), (seen.shape[1], factors)).astype(np.float32)
    users = np.zeros((seen.shape[0], factors), np.float32)
    for _ in range(SWEEPS):
        _improve(users, seen.indptr, seen.indices, items, unobserved, regularization)
        _improve(items, by_item.indptr, by_item.indices, users, unobserved, regularization)
    return {"factors": items}


def _improve(
    mine: np.ndarray, indptr: np.ndarray, indices: np.ndarray, other: np.ndarray, unobserved: float,
    regularization: float,
) -> None:  # fmt: skip
    """Moves one side's factors, in place, towards the best given the other side's: a few conjugate-gradient steps.

    Source: Takács, Pilászy & Tikk, Applications of the conjugate gradient method for implicit feedback collaborative
    filtering (RecSys 2011). No matrix is made or factored for a row, and steps go on where the last sweep ended.
    """
    everywhere = (unobserved * (other.T @ other)).astype(mine.dtype)
    for rows, count, vectors in _batches(indptr, indices, other):
        ridge = (regularization * (count + unobserved * len(other)))[:, None, None].astype(mine.dtype)
        mine[rows] = _stepped(mine[rows][:, None], vectors, everywhere, ridge)[:, 0]


def _batches(
    indptr: np.ndarray, indices: np.ndarray, other: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows that are not empty, those of like length together: which they are, how long, and the other side's factors of
    their choices, padded with 0, (rows, longest, factors).
    """
    count, size = np.diff(indptr), other.shape[1]
    order = np.argsort(count, kind="stable")
    order = order[count[order] > 0]
    while len(order):
        longest = int(count[order[-1]])
        rows = order[-max(1, CELLS // (longest * size)) :]
        rows = rows[2 * count[rows] >= longest]
        order = order[: -len(rows)]
        place = np.arange(longest)
        vectors = other[indices[np.minimum(indptr[rows][:, None] + place, len(indices) - 1)]]
        vectors[place >= count[rows][:, None]] = 0
        yield rows, count[rows], vectors


def _stepped(found: np.ndarray, vectors: np.ndarray, everywhere: np.ndarray, ridge: np.ndarray) -> np.ndarray:
    """Conjugate gradients on (V'V + everywhere + ridge) f = V'1 of each row; `found` (rows, 1, size) is the start."""
    across = vectors.transpose(0, 2, 1)

    def times(some: np.ndarray) -> np.ndarray:
        return np.asarray((some @ across) @ vectors + some @ everywhere + ridge * some)

    left = (1 - found @ across) @ vectors - found @ everywhere - ridge * found  # what is not explained yet
    way, size = left, np.vecdot(left, left)[:, :, None]
    for _ in range(STEPS):
        turned = times(way)
        length = size / np.maximum(np.vecdot(way, turned)[:, :, None], TINY)
        found, left = found + length * way, left - length * turned
        before, size = size, np.vecdot(left, left)[:, :, None]
        way = left + size / np.maximum(before, TINY) * way
    return found


def _own_basis(other: np.ndarray, unobserved: float) -> tuple[np.ndarray, np.ndarray]:
    """The other side's factors in the basis in which what all rows have in common is diagonal, and that diagonal."""
    values, basis = np.linalg.eigh(unobserved * (other.T @ other))
    return other @ basis, values.clip(0)


def _solved(
    indptr: np.ndarray, indices: np.ndarray, other: np.ndarray, everywhere: np.ndarray, ridges: np.ndarray
) -> np.ndarray:
    """The best factors of one side, (rows, factors), given the other side's and their diagonal from `_own_basis`.

    A row with fewer choices than half the factors is solved by as many equations as it has choices (matrix inversion
    lemma).
    """
    size = other.shape[1]
    found = np.zeros((len(indptr) - 1, size), other.dtype)
    for rows, _, vectors in _batches(indptr, indices, other):
        diagonal, longest = everywhere + ridges[rows, None], vectors.shape[1]
        if longest <= size // 2:
            scaled = vectors / diagonal[:, None]
            inner = scaled @ vectors.transpose(0, 2, 1) + np.eye(longest)
            weight = np.linalg.solve(inner, np.ones((len(rows), longest, 1)))  # of each choice, and of its padding
            found[rows] = (weight.transpose(0, 2, 1) @ scaled)[:, 0]
        else:
            left = vectors.transpose(0, 2, 1) @ vectors
            left[:, np.arange(size), np.arange(size)] += diagonal
            found[rows] = np.linalg.solve(left, vectors.sum(axis=1)[:, :, None])[:, :, 0]
    return found


def _ials_scorer(weights: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> Scorer:
    """Histories are folded in in double precision; the product with all items is in single, as `implicit` has it."""
    unobserved, regularization = options["unobserved"], options["regularization"]
    items, everywhere = _own_basis(weights["factors"].astype(np.float64), unobserved)
    across = np.ascontiguousarray(items.T, np.float32)

    def scores(asked: Asked) -> np.ndarray:
        known = histories(asked, len(items))
        ridges = regularization * (np.diff(known.indptr) + unobserved * len(items))
        users = _solved(known.indptr, known.indices, items, everywhere, ridges)
        return np.asarray(users.astype(np.float32) @ across)

    return scores


# --- what all have in common ----------------------------------------------------------------------------------------


def solve(
    architecture: str, sequences: Sequence[np.ndarray], num_items: int, options: Mapping[str, Any], seed: int
) -> Weights:
    """The arrays of a model.

    Args:
        sequences: the items of each user, int64, the latest last.
        options: with no `auto` left.
    """
    nothing = np.zeros(0)
    seen = histories(Asked(sequences, nothing), num_items)
    match architecture:
        case "popularity":
            return popularity(seen)
        case "item-knn":
            return item_knn(seen, options["neighbours"], options["shrink"])
        case "ease":
            return ease(seen, options["regularization"], options["most_items"])
        case "slit":
            shape = options["memory"], options["ahead"], options["regularization"], options["most_items"]
            return slit(sequences, num_items, *shape)
        case "ials":
            factors = options["factors"], options["unobserved"], options["regularization"]
            return ials(seen, *factors, seed)
    raise AssertionError(f"no way to solve {architecture}")


def scorer(architecture: str, weights: Mapping[str, np.ndarray], num_items: int, options: Mapping[str, Any]) -> Scorer:
    """What answers histories from the arrays of a model."""
    match architecture:
        case "popularity":
            return lambda asked: np.tile(weights["popular"], (len(asked), 1))
        case "item-knn":
            return _knn_scorer(weights, num_items)
        case "ease":
            return _ease_scorer(weights, num_items)
        case "slit":
            return _slit_scorer(weights, num_items, options["memory"])
        case "ials":
            return _ials_scorer(weights, options)
    raise AssertionError(f"no way to score by {architecture}")
