"""quantiles: levels around a forecast, from what was forecast wrongly in windows that the model was not fitted on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def levels(interval: float | None, quantiles: Sequence[float]) -> tuple[float, ...]:
    """Every level that is forecast, rising: the two ends of the interval and the quantiles asked for."""
    tail = [] if interval is None else [round((1 - interval) / 2, 10)]
    return tuple(sorted({*tail, *(round(1 - level, 10) for level in tail), *quantiles}))


def conformal(errors: np.ndarray, wanted: Sequence[float]) -> np.ndarray:
    """What to add to a forecast, or to a network's own quantiles: (levels, horizon, channels).

    The promise holds as far as the time to come resembles these windows, which follow and overlap each other.

    Source: split conformal prediction (Vovk et al. 2005) by step and channel, on signed errors, as Stankeviciute et al.
    2021; on a network's own quantiles this is conformalized quantile regression (Romano et al. 2019).

    Args:
        errors: what came minus what was answered, (windows, 1 or levels, horizon, channels).
    """
    num_windows, num_answers = errors.shape[:2]
    return np.stack(
        [
            np.quantile(errors[:, at % num_answers], _one_more(level, num_windows), axis=0)
            for at, level in enumerate(wanted)
        ]
    )


def around(outputs: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Quantiles (batch, levels, horizon, channels), rising, of a model's outputs (batch, 1 or 1 + levels, ...).

    Source: rearranged where they cross (Chernozhukov et al. 2010).
    """
    own = outputs[:, 1:] if outputs.shape[1] > 1 else outputs
    return np.sort(own + spread, axis=1)


def _one_more(level: float, num_windows: int) -> float:
    """The level among one window more than were seen, the one to come, on whichever side it is."""
    if level == 0.5:
        return level
    tail = min(level, 1 - level)
    tail = max(0.0, tail - (1 - tail) / num_windows)
    return tail if level < 0.5 else 1 - tail
