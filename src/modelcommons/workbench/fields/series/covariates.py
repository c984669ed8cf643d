"""covariates: columns beside the series, as linear maps take them: known ahead at once, others by their past.

What a column known ahead adds in its own step is taken away before the map and given back after it, so that neither the
look-back nor the horizon holds it.

Source: dynamic regression; Hyndman & Athanasopoulos, Forecasting: Principles and Practice (2021), ch. 10, on seasonal
differences.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from modelcommons.workbench.fields.series.rows import Windows, touched

RIDGE = 1e-3  # times the variance of each column's differences


@dataclass(frozen=True, slots=True)
class Beside:
    """What the training steps say of the columns beside the series."""

    effect: np.ndarray  # (known, channels): what one more of a column adds
    unit: np.ndarray  # (past,): what a column is multiplied by, so that it varies as much as the channels

    def without(self, windows: Windows) -> Windows:
        """The same windows over series that lack what the columns known ahead add, the past ones in `unit`."""
        if not (len(self.effect) or len(self.unit)):
            return windows
        panel = windows.panel
        series = tuple(
            replace(one, values=one.values - one.known[: len(one.values)] @ self.effect, past=one.past * self.unit)
            for one in panel.series
        )
        return Windows(replace(panel, series=series), windows.where)


def learn(train: Windows) -> Beside:
    """From the steps that training windows touch."""
    panel, steps = train.panel, list(touched(train))
    if not (panel.known or panel.past):
        return Beside(np.zeros((0, len(panel.channels))), np.zeros(0))
    lag = panel.season if max(end for _, end in steps) > 2 * panel.season else 1
    squares, cross = np.zeros((len(panel.known),) * 2), np.zeros((len(panel.known), len(panel.channels)))
    for series, end in steps:
        known, values = (part[lag:end] - part[: end - lag] for part in (series.known, series.values))
        squares, cross = squares + known.T @ known, cross + known.T @ values
    ridge = np.diag(RIDGE * squares.diagonal() + 1e-12)
    level = float(np.mean([series.values[:end].std(axis=0).mean() for series, end in steps]))
    spread = np.concatenate([series.past[:end] for series, end in steps]).std(axis=0)
    unit = np.where(spread > 0, level / np.maximum(spread, 1e-12), 0.0)
    return Beside(np.linalg.solve(squares + ridge, cross), unit)


def bare(windows: Windows) -> Windows:
    """The same windows without the columns beside the series."""
    panel = windows.panel
    if not (panel.known or panel.past):
        return windows
    series = tuple(replace(one, known=one.known[:, :0], past=one.past[:, :0]) for one in panel.series)
    return Windows(replace(panel, known=(), past=(), series=series), windows.where)
