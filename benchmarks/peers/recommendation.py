"""recommendation: what others would solve the same choices with: `implicit`, and EASE in NumPy as its paper lists it.

    python benchmarks/peers/recommendation.py ease FOLDER 2 '{"regularization": 300, "most_items": 2048}'

FOLDER holds choices.npz (starts, items, num_items, asked); lists.npy is written beside it: ten items of each who asks.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from spent import now, peak
from threadpoolctl import threadpool_limits

LISTED, AT_ONCE = 10, 1000

Lists = Callable[[np.ndarray], np.ndarray]  # users -> items, (users, 10)


def main(model: str, folder: Path, threads: int, options: dict[str, Any]) -> None:
    found = np.load(folder / "choices.npz")
    ones = np.ones(len(found["items"]), np.float32)
    shape = len(found["starts"]) - 1, int(found["num_items"])
    seen = csr_matrix((ones, found["items"].astype(np.int32), found["starts"].astype(np.int32)), shape=shape)
    solve = {"ials": ials, "item-knn": item_knn, "ease": ease}[model]
    before, begun = peak(), now()
    lists = solve(seen, threads, options)
    fitted = now()
    asked = found["asked"]
    made = [lists(asked[start : start + AT_ONCE]) for start in range(0, len(asked), AT_ONCE)]
    ended = now()
    np.save(folder / "lists.npy", np.concatenate(made))
    told = {"fit": (fitted - begun).tolist(), "lists": (ended - fitted).tolist()}
    print(json.dumps({**told, "peak_mib": peak(), "before_mib": before}))


def ials(seen: csr_matrix, threads: int, options: dict[str, Any]) -> Lists:
    """Its regularization is the same for all, ours grows with the number of choices: given is the mean of ours."""
    from implicit.als import AlternatingLeastSquares

    threadpool_limits(1, "blas")  # as it asks for: its own threads do the work
    model = AlternatingLeastSquares(num_threads=threads, random_state=0, **options)
    model.fit(seen, show_progress=False)
    return lambda users: model.recommend(users, seen[users], N=LISTED)[0]


def item_knn(seen: csr_matrix, threads: int, options: dict[str, Any]) -> Lists:
    from implicit.nearest_neighbours import CosineRecommender

    threadpool_limits(1, "blas")
    model = CosineRecommender(num_threads=threads, **options)
    model.fit(seen, show_progress=False)
    return lambda users: model.recommend(users, seen[users], N=LISTED)[0]


def ease(seen: csr_matrix, threads: int, options: dict[str, Any]) -> Lists:
    """Source: Steck, Embarrassingly Shallow Autoencoders for Sparse Data (WWW 2019), listing 1."""
    count = np.asarray(seen.sum(axis=0)).ravel()
    kept = np.sort(np.argsort(-count, kind="stable")[: options["most_items"]])
    some = seen[:, kept]
    gram = (some.T @ some).toarray()
    diagonal = np.diag_indices(len(kept))
    gram[diagonal] += options["regularization"]
    inverse = np.linalg.inv(gram)
    weight = inverse / -np.diag(inverse)
    weight[diagonal] = 0

    def lists(users: np.ndarray) -> np.ndarray:
        scores = some[users] @ weight
        scores[some[users].nonzero()] = -np.inf
        best = np.argpartition(-scores, LISTED, axis=1)[:, :LISTED]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        return kept[np.take_along_axis(best, order, axis=1)]

    return lists


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4]))
