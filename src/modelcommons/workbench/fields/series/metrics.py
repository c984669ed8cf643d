"""metrics: squared, absolute and scaled error and the honesty of intervals, from stored lines alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelcommons.workbench.engine.statistics import block_bootstrap, block_bootstrap_ratio
from modelcommons.workbench.task import Line, Metric, Score

METRICS = (
    Metric("mse", "lower", 0.0, float("inf"), "mean squared error over steps and channels"),
    Metric("mae", "lower", 0.0, float("inf"), "mean absolute error over steps and channels"),
    Metric("mase", "lower", 0.0, float("inf"), "absolute error / in-sample absolute error of the seasonal naive"),
    Metric(
        "coverage", "higher", 0.0, 1.0, "share of values inside the prediction interval; ideal is its nominal share"
    ),
    Metric("width", "lower", 0.0, float("inf"), "mean width of the prediction interval"),
    Metric(
        "wql", "lower", 0.0, float("inf"), "weighted quantile loss: twice the pinball loss over the sum of |values|"
    ),
)
DIGITS = 5  # significant digits of stored values: a change in the sixth moves no printed score
DRAWS = 2000
ENDS = ("mean", "low", "high")


def rounded(values: np.ndarray, digits: int = DIGITS) -> np.ndarray:
    """`values` to so many significant digits; each is the float nearest to its short decimal."""
    values = np.asarray(values, np.float64)
    size = np.abs(values)
    exponent = digits - 1 - np.floor(np.log10(np.where(size > 0, size, 1.0)))
    power = 10.0 ** np.abs(exponent)  # exact up to 10**22, so that one division gives the nearest float
    whole = np.round(np.where(exponent >= 0, values * power, values / power))
    return np.asarray(np.where(exponent >= 0, whole / power, whole * power))


def scores(lines: Sequence[Line], seed: int = 0) -> list[Score]:
    """Each metric with a moving-block bootstrap over windows: neighbours overlap, so a block spans a horizon.

    Coverage and width are there only where the lines carry intervals, `wql` where they carry quantiles. It is the mean
    over levels of the sums over all windows, an approximation of the CRPS.

    Source: Park et al. 2022, Learning Quantile Functions without Quantile Crossing; as GluonTS' mean_wQuantileLoss.
    """
    per_window = [_measures(line) for line in lines]
    size = block(lines)
    names = [metric.name for metric in METRICS if all(metric.name in measures for measures in per_window)]
    found = []
    for metric in METRICS:
        if metric.name not in names:
            continue
        values = np.array([measures[metric.name] for measures in per_window])
        method = f"block-bootstrap(block={size},draws={DRAWS},seed={seed})"
        if metric.name == "wql":
            sizes = np.array([np.abs(line["target"]["values"]).mean() for line in lines])
            value = float(values.mean() / sizes.mean())
            low, high = block_bootstrap_ratio(values, sizes, size, seed, DRAWS)
        else:
            value = float(values.mean())
            low, high = block_bootstrap(values, size, seed, DRAWS)
        found.append(Score(metric.name, value, metric.direction, low, high, method))
    return found


def block(lines: Sequence[Line]) -> int:
    """Windows that overlap: a horizon of them, at most all there are."""
    return min(len(lines), len(lines[0]["target"]["values"])) if len(lines) else 1


def losses(lines: Sequence[Line]) -> np.ndarray:
    """Squared error of each window, shape (lines,)."""
    return np.array([_measures(line)["mse"] for line in lines])


def changed(a: Line, b: Line) -> bool:
    """Whether two forecasts differ, on average, by more than a hundredth of the seasonal naive's error."""
    return float((np.abs(_mean(a) - _mean(b)) / _naive(a)).mean()) > 0.01


def agrees(stored: Line, fresh: Line, noise: float) -> bool:
    """|y - y'| <= 1e-5 of the scale (or the noise measured), beside what rounding to stored digits may move."""
    allowed = max(noise, 1e-5) * _naive(stored)
    old, new = _answers(stored), _answers(fresh)
    if old.keys() != new.keys():
        return False
    for key, a in old.items():
        b = new[key]
        if a.shape != b.shape or not bool((np.abs(a - b) <= allowed + 10.0 ** (1 - DIGITS) * np.abs(a)).all()):
            return False
    return True


def _answers(line: Line) -> dict[str, np.ndarray]:
    """Everything that a line forecasts, (horizon, channels) each."""
    there = {key: np.asarray(line["prediction"][key], np.float64) for key in ENDS if key in line["prediction"]}
    return there | quantiles_of(line)


def quantiles_of(line: Line) -> dict[str, np.ndarray]:
    """By level, (horizon, channels) each."""
    return {level: np.asarray(value, np.float64) for level, value in line["prediction"].get("quantiles", {}).items()}


def _measures(line: Line) -> dict[str, float]:
    """Every metric of one window; `wql` not yet over the sum of the values."""
    target, mean = np.asarray(line["target"]["values"], np.float64), _mean(line)  # (horizon, channels)
    error = np.abs(mean - target)
    found = {"mse": float((error**2).mean()), "mae": float(error.mean()), "mase": float((error / _naive(line)).mean())}
    if "low" in line["prediction"]:
        low, high = (np.asarray(line["prediction"][key], np.float64) for key in ("low", "high"))
        found["coverage"] = float(((low <= target) & (target <= high)).mean())
        found["width"] = float((high - low).mean())
    if "quantiles" in line["prediction"] and bool(target.any()):
        found["wql"] = float(np.mean([_pinball(target, float(q), x) for q, x in quantiles_of(line).items()]))
    return found


def _pinball(target: np.ndarray, level: float, answer: np.ndarray) -> float:
    """Twice the quantile loss, mean over steps and channels."""
    return float(2 * np.abs((target - answer) * ((target <= answer) - level)).mean())


def _mean(line: Line) -> np.ndarray:
    return np.asarray(line["prediction"]["mean"], np.float64)


def _naive(line: Line) -> np.ndarray:
    """In-sample error of the seasonal naive, (channels,)."""
    return np.asarray(line["target"]["scale"], np.float64)
