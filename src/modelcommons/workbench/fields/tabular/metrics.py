"""metrics: of a regression, from stored lines alone: how far off, how much explained, how honest the intervals are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelcommons.errors import DataError, FormatError
from modelcommons.workbench.engine.statistics import bootstrap, wilson
from modelcommons.workbench.task import Line, Metric, Score

METRICS = (
    Metric("rmse", "lower", 0.0, float("inf"), "root of the mean squared error, in the target's units"),
    Metric("mae", "lower", 0.0, float("inf"), "mean absolute error, in the target's units"),
    Metric("r2", "higher", -float("inf"), 1.0, "share of the variance explained; 0 where the targets do not vary"),
    Metric(
        "coverage", "higher", 0.0, 1.0, "share of targets inside the prediction interval; ideal is its nominal share"
    ),
    Metric("width", "lower", 0.0, float("inf"), "mean width of the prediction interval, in the target's units"),
)
DRAWS = 2000


def rounded(value: float) -> float:
    """6 significant digits."""
    return float(f"{value:.6g}")


def scores(lines: Sequence[Line], seed: int = 0) -> list[Score]:
    """Every metric with its interval, by bootstrap over rows.

    Raises:
        FormatError: a line is no regression.
    """
    if not len(lines):
        raise DataError("Expected predictions to score, there are none. Give the test at least one row.")
    target, mean, low, high = _values(lines)
    square, off = (mean - target) ** 2, np.abs(mean - target)
    low2, high2 = bootstrap(square, seed, DRAWS)
    inside, method = int(((low <= target) & (target <= high)).sum()), f"percentile-bootstrap(draws={DRAWS},seed={seed})"
    rmse = float(np.sqrt(square.mean()))
    return [
        Score("rmse", rmse, "lower", min(float(np.sqrt(low2)), rmse), max(float(np.sqrt(high2)), rmse), method),
        _mean("mae", off, seed, method),
        _explained(target, square, seed, method),
        Score("coverage", inside / len(lines), "higher", *wilson(inside, len(lines)), "wilson", inside, len(lines)),
        _mean("width", high - low, seed, method),
    ]


def losses(lines: Sequence[Line]) -> np.ndarray:
    """Squared error of each row, (lines,)."""
    target, mean, _, _ = _values(lines)
    return np.asarray((mean - target) ** 2)


def block(lines: Sequence[Line]) -> int:
    """1: rows are independent."""
    return 1


def changed(a: Line, b: Line) -> bool:
    """Whether two answers differ by more than a hundredth of the interval's width."""
    one, other = a["prediction"], b["prediction"]
    return bool(abs(one["mean"] - other["mean"]) > 0.01 * max(one["high"] - one["low"], 1e-12))


def agrees(stored: Line, fresh: Line, noise: float) -> bool:
    """Within 1e-5 (or the noise measured) of the interval's width, beside what rounding to six digits may move."""
    a, b = stored["prediction"], fresh["prediction"]
    allowed = max(noise, 1e-5) * abs(a["high"] - a["low"])
    return all(abs(a[key] - b[key]) <= allowed + 1e-5 * abs(a[key]) for key in ("mean", "low", "high"))


def _values(lines: Sequence[Line]) -> tuple[np.ndarray, ...]:
    """Target, mean, low, high; each (lines,)."""
    try:
        rows = [
            (line["target"], *(line["prediction"][key] for key in ("mean", "low", "high"))) for line in lines
        ]  # fmt: skip
        return tuple(np.array(rows, np.float64).T)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"Expected lines with `target` and `prediction.mean`, `low`, `high`; one has none ({error}). Score again."
        ) from error


def _mean(name: str, values: np.ndarray, seed: int, method: str) -> Score:
    low, high = bootstrap(values, seed, DRAWS)
    value = float(values.mean())
    return Score(name, value, "lower", min(low, value), max(high, value), method)


def _explained(target: np.ndarray, square: np.ndarray, seed: int, method: str) -> Score:
    """1 - squared error over the variance of the targets, both of the same rows."""
    rng, draws = np.random.default_rng(seed), []
    value = _share(target, square)
    for _ in range(DRAWS):
        at = rng.integers(0, len(target), len(target))
        draws.append(_share(target[at], square[at]))
    low, high = np.quantile(draws, (0.025, 0.975)).tolist()
    return Score("r2", value, "higher", min(low, value), max(high, value), method)


def _share(target: np.ndarray, square: np.ndarray) -> float:
    spread = ((target - target.mean()) ** 2).sum()
    return float(1 - square.sum() / spread) if spread > 0 else 0.0
