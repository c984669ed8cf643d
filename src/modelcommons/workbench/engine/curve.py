"""the learning curve: what more training would likely buy, from the scorings so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from modelcommons.workbench.engine.training import Point

FEWEST = 4  # points before a curve says anything
DRAWS = 200


def more(curve: Sequence[Point], metric: str, direction: Literal["higher", "lower"], limit: float) -> str:
    """In words, what twice the training would likely bring, with the range that the scatter of the points allows.

    Args:
        limit: the best value that the metric can have: 1 for an accuracy, 0 for a squared error.

    The metric is fitted by a power law with an end, `end + gain * step ** -rate` (Hestness et al., Deep learning
    scaling is predictable, empirically, 2017), on a grid of rates, and extrapolated; the range is from refits to
    resampled residuals. The decay of the learning rate makes the last points look better than a longer run would be at
    that step, so this is an estimate for a person to weigh, not a promise.
    """
    points = [point for point in curve if point.step > 0]
    if len(points) < FEWEST:
        return "too few scorings to say what more training would buy"
    steps = np.array([point.step for point in points], dtype=np.float64)
    values = np.array([point.metric for point in points])
    sign = 1 if direction == "higher" else -1
    fitted, later = _fit(steps, values)
    rng = np.random.default_rng(0)
    residuals = values - fitted
    now = values.max() if direction == "higher" else values.min()
    room = sign * (limit - now)
    gains = []
    for _ in range(DRAWS):
        again_fitted, again_later = _fit(steps, fitted + rng.choice(residuals, len(residuals)))
        gains.append(min(room, sign * (again_later - again_fitted[-1])))
    low, high = np.quantile(gains, [0.1, 0.9])
    gain = min(room, sign * (later - fitted[-1]))
    if gain <= 0 or (low <= 0 and gain < 0.005 * abs(now)):
        return f"twice the training would likely buy nothing measurable ({metric} is flat)"
    span = f"80 % range {sign * low:+.2g} to {sign * high:+.2g}"
    return f"twice the training would likely move {metric} by {sign * gain:+.2g} ({span})"


def _fit(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, float]:
    """Fitted values at `steps`, and the fit's value at twice the last step; the best of a grid of rates."""
    best: tuple[float, np.ndarray, float] | None = None
    for rate in (0.25, 0.5, 1.0, 2.0):
        design = np.stack([np.ones_like(steps), (steps / steps[-1]) ** -rate], axis=1)
        weights, *_ = np.linalg.lstsq(design, values, rcond=None)
        fitted = design @ weights
        error = float(((values - fitted) ** 2).sum())
        if best is None or error < best[0]:
            best = error, fitted, float(weights[0] + weights[1] * 2.0**-rate)
    assert best is not None
    return best[1], best[2]
