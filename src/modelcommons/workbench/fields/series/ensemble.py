"""ensemble: how much each of several forecasters counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelcommons.workbench.fields.series.forecaster import Config, Run, gathered
from modelcommons.workbench.fields.series.rows import Windows, evenly

JUDGED = 2_000  # validation windows at most, evenly spaced
BATCH = 64
HEAVY = 1e3


def shares(members: Sequence[tuple[Run, Config]], validation: Windows) -> tuple[np.ndarray, float]:
    """Weights (members,), none negative, that sum to 1 and make the least squared error on validation windows; and it.

    Source: Breiman, Stacked Regressions, Machine Learning 24 (1996); non-negative least squares.
    """
    from scipy.optimize import nnls

    which = evenly(len(validation), JUDGED)
    squares, cross, own, count = np.zeros((len(members),) * 2), np.zeros(len(members)), 0.0, 0
    for start in range(0, len(which), BATCH):
        rows = [validation[int(at)] for at in which[start : start + BATCH]]
        histories = [row.x for row in rows]
        level = np.stack([history.values[-1:] for history in histories])  # what any share of anything would give back
        answers = [(run(gathered(histories, config))[:, 0] - level).ravel() for run, config in members]
        came = (np.stack([row.y for row in rows]) - level).ravel()
        every = np.stack(answers)
        squares, cross = squares + every @ every.T, cross + every @ came
        own, count = own + float(came @ came), count + came.size
    # least squares from its normal equations, |Rᵀ w - R⁻¹ c| with R Rᵀ the sums of products; a heavy row holds the sum
    size = float(np.sqrt(np.trace(squares))) or 1.0
    root = np.linalg.cholesky(squares + 1e-12 * size**2 * np.eye(len(members)))
    rows_of = np.concatenate([root.T, np.full((1, len(members)), HEAVY * size)])
    found, _ = nnls(rows_of, np.append(np.linalg.solve(root, cross), HEAVY * size))
    found = found / found.sum()
    return found, max(0.0, float(own - 2 * found @ cross + found @ squares @ found) / count)
