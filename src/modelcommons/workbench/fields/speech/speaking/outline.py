"""outline: what an explanation needs of something said: its shape, its loudness, and how long each piece took."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modelcommons.workbench.fields.speech.features import LogMel


@dataclass(frozen=True, slots=True)
class Outline:
    cepstra: np.ndarray  # (T, D)
    loudness: np.ndarray  # (T,) logarithm of the power
    seconds: np.ndarray  # (L,) of each piece of the text


def loudness(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """Mean log power over the mel bands, 100 times a second, (T,)."""
    logmel = LogMel(rate_hz)
    padded = np.pad(samples, (0, max(0, logmel.window - len(samples))))
    return np.asarray(logmel.features(padded).mean(1))
