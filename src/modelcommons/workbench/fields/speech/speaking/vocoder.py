"""vocoder: log-mel frames as a wave whose phases are found, not learned; the same frames give the same wave."""

# N samples, T frames, M mel bands, F bins of the Fourier transform

from __future__ import annotations

import numpy as np

from modelcommons.workbench.fields.speech.features import LogMel

MOMENTUM = 0.99
ROUNDS = 40  # of the way back from mel bands to bins
TINY = 1e-10
LEAST = 0.05  # of the windows' weight where they end: without it the first and last samples would be noise


def wave(logmel: LogMel, log_power: np.ndarray, iterations: int, seed: int = 0) -> np.ndarray:
    """A sound whose log-mel frames are near these, float32 (N,).

    Source: Perraudin, Balazs & Søndergaard, A fast Griffin-Lim algorithm (2013), from random phases.

    Args:
        log_power: float32 (T, M).
    """
    magnitudes = np.sqrt(spectrum(logmel, log_power))
    rng = np.random.default_rng(seed)
    phases = np.exp(2j * np.pi * rng.random(magnitudes.shape))
    before = np.zeros_like(phases)
    for _ in range(iterations):
        again = analysed(logmel, synthesised(logmel, magnitudes * phases))
        faster = again + MOMENTUM * (again - before)
        before = again
        phases = faster / np.maximum(np.abs(faster), TINY)
    return np.asarray(synthesised(logmel, magnitudes * phases), np.float32)


def spectrum(logmel: LogMel, log_power: np.ndarray) -> np.ndarray:
    """Power of each bin, never negative, whose mel bands are near these; (T, M) -> float64 (T, F).

    Source: Lee & Seung, Algorithms for non-negative matrix factorization (2001): the multiplicative update of one of
    two factors.
    """
    filters = logmel.filters.astype(np.float64)  # (F, M)
    wanted = np.exp(log_power.astype(np.float64))
    back = filters.T  # (M, F)
    numerator = wanted @ back
    found = numerator / np.maximum(filters.sum(1) ** 2, TINY)
    product = filters @ back  # (F, F)
    for _ in range(ROUNDS):
        found = found * numerator / np.maximum(found @ product, TINY)
    return np.asarray(found)


def analysed(logmel: LogMel, samples: np.ndarray) -> np.ndarray:
    """Fourier transform of each window, complex (T, F)."""
    stretches = np.lib.stride_tricks.sliding_window_view(samples, logmel.window)[:: logmel.hop]
    return np.asarray(np.fft.rfft(stretches * logmel.hann, logmel.size))


def synthesised(logmel: LogMel, frames: np.ndarray) -> np.ndarray:
    """The wave whose windows are nearest to these, complex (T, F) -> float64 (N,).

    Source: Griffin & Lim, Signal estimation from modified short-time Fourier transform (1984), equation 6.
    """
    pieces = np.fft.irfft(frames, logmel.size)[:, : logmel.window] * logmel.hann
    length = (len(frames) - 1) * logmel.hop + logmel.window
    made, weights = np.zeros(length), np.zeros(length)
    power = np.square(logmel.hann.astype(np.float64))
    for at, piece in enumerate(pieces):
        here = slice(at * logmel.hop, at * logmel.hop + logmel.window)
        made[here] += piece
        weights[here] += power
    return np.asarray(made / np.maximum(weights, LEAST * weights.max()))
