"""cepstra: the shape of the spectrum of each moment in a few numbers, and how far two sounds' shapes are apart."""

# N samples, T frames, M mel bands, D coefficients

from __future__ import annotations

import base64
import binascii
import math
from typing import Any

import numpy as np

from modelcommons.errors import FormatError
from modelcommons.workbench.fields.speech.features import LogMel

COEFFICIENTS = 13  # from 1: without the loudness
MELS, WINDOW_MS, HOP_MS = 40, 25.0, 10.0
QUIET_DB = 50.0  # what is so far below the loudest band is silence
STEP = 1e-3  # of a stored coefficient
DECIBELS = 10 / math.log(10)
NEVER = math.inf


def cepstra(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """Mel-cepstra of a sound, 100 a second, float64 (T, D); a sound shorter than a window is filled with silence.

    Source: Kubichek, Mel-cepstral distance measure for objective speech quality assessment (1993), from mel bands as in
    Skerry-Ryan et al., Towards end-to-end prosody transfer (2018).

    Args:
        samples: float32 (N,), -1 to 1.
    """
    logmel = LogMel(rate_hz, MELS, WINDOW_MS, HOP_MS)
    return of_bands(logmel.features(np.pad(samples, (0, max(0, logmel.window - len(samples))))))


def of_bands(log_power: np.ndarray) -> np.ndarray:
    """Mel-cepstra of log-mel frames, (T, M) -> float64 (T, D)."""
    bands = log_power.astype(np.float64)
    heard = np.maximum(bands, bands.max() - QUIET_DB / DECIBELS)
    num_bands = heard.shape[1]
    waves = np.cos(np.pi * (np.arange(num_bands)[:, None] + 0.5) * np.arange(1, COEFFICIENTS + 1) / num_bands)
    return np.asarray(heard @ waves / num_bands)


def distortion(a: np.ndarray, b: np.ndarray) -> float:
    """Mel-cepstral distortion in dB, mean over the way through both sounds on which it is least.

    10 / ln 10 * sqrt(2 * sum of squares) of each pair of frames: the root mean square, over the mel axis, of what two
    smoothed spectra differ by in dB. The way is that of dynamic time warping (Sakoe & Chiba, 1978): a step goes on in
    one of the sounds or in both; of equal ways the straight one.

    Args:
        a: (T, D); so b, of any length.
    """
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    costs = DECIBELS * np.sqrt(2 * np.maximum(squares, 0))  # (T, T')
    height, width = costs.shape
    turned = costs[:, ::-1]  # its diagonals are those on which every cell is as many steps from the beginning
    # cells of the two diagonals before, cell (i, d - i) at i + 1, and how many pairs their best ways have
    before, last = np.full(height + 1, NEVER), np.full(height + 1, NEVER)
    pairs_before, pairs_last = np.zeros(height + 1), np.zeros(height + 1)
    before[0] = 0.0
    for diagonal in range(height + width - 1):
        low, high = max(0, diagonal - width + 1), min(height, diagonal + 1)
        best, pairs = before[low:high], pairs_before[low:high]  # both sounds go on
        for beside, pairs_beside in (
            (last[low:high], pairs_last[low:high]),
            (last[low + 1 : high + 1], pairs_last[low + 1 : high + 1]),
        ):
            less = beside < best
            best, pairs = np.where(less, beside, best), np.where(less, pairs_beside, pairs)
        here, pairs_here = np.full(height + 1, NEVER), np.zeros(height + 1)
        here[low + 1 : high + 1] = best + turned.diagonal(width - 1 - diagonal)
        pairs_here[low + 1 : high + 1] = pairs + 1
        before, last, pairs_before, pairs_last = last, here, pairs_last, pairs_here
    return float(last[height] / pairs_last[height])


# --- in a stored line -----------------------------------------------------------------------------------------------


def written(coefficients: np.ndarray) -> str:
    """Base64 of int16, little endian, in thousandths; what is larger than 32 is cut."""
    whole = np.clip(np.round(coefficients / STEP), -32_768, 32_767)
    return base64.b64encode(whole.astype("<i2").tobytes()).decode()


def read(value: Any) -> np.ndarray:
    """As `written` wrote them, float64 (T, D).

    Raises:
        FormatError: it is something else.
    """
    try:
        raw = base64.b64decode(value, validate=True)
        found = np.frombuffer(raw, "<i2").reshape(-1, COEFFICIENTS)
        if not len(found):
            raise ValueError("no frames")
    except (TypeError, ValueError, binascii.Error) as error:
        raise FormatError(
            f"Expected mel-cepstra of {COEFFICIENTS} coefficients in base64, got something else ({error}). "
            "Score the model again."
        ) from error
    return np.asarray(found * STEP)
