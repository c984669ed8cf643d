"""augment: training recordings and their features varied, none twice the same."""

# B batch, N samples, T frames, M mel bands

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

Change = Literal["shift", "speed", "gain", "mask", "noise", "splice"]

SPEEDS = (0.85, 1.15)  # pitch changes with it, as between voices
GAINS = (0.25, 2.0)
RATIOS_DB = (0.0, 30.0)  # how far noise is below the recording
TILTS = (0.0, 2.0)  # of the noise's power over frequency: from white to brown
NOISY = 0.5  # share of the recordings that noise is added to
MASKS = 2  # of time, and of frequency
WIDEST = 0.2  # share of the bands, or of the frames of a single word, under one mask


def sped(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Faster or slower, float32 (N',).

    Source: Ko et al., Audio Augmentation for Speech Recognition (2015); samples between samples lie on a line.
    """
    steps = np.arange(0, len(samples) - 1, rng.uniform(*SPEEDS))
    return np.asarray(np.interp(steps, np.arange(len(samples)), samples), np.float32)


def louder(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Louder or softer, in decibels uniformly."""
    low, high = np.log(GAINS)
    return np.asarray(samples * np.float32(np.exp(rng.uniform(low, high))))


def noisy(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """In half of all cases with noise whose power falls with frequency, more or less, float32 (N,)."""
    if rng.random() >= NOISY:
        return samples
    size = 2 ** math.ceil(math.log2(max(2, len(samples))))  # quick to transform
    spectrum = np.fft.rfft(rng.standard_normal(size, np.float32))
    spectrum *= np.maximum(1, np.arange(len(spectrum), dtype=np.float32)) ** np.float32(-rng.uniform(*TILTS) / 2)
    noise = np.fft.irfft(spectrum, size)[: len(samples)]
    strength = np.sqrt(np.mean(samples**2) / max(1e-12, np.mean(noise**2))) * 10 ** (-rng.uniform(*RATIOS_DB) / 20)
    return np.asarray(samples + noise * strength, np.float32)


def masked(features: np.ndarray, rng: np.random.Generator, longest: float = WIDEST) -> np.ndarray:
    """A copy in which some frames and some bands are set to 0, the mean of all features; (B, T, M).

    Source: Park et al., SpecAugment (2019), without time warping.

    Args:
        longest: share of the frames under one mask, at most.
    """
    for axis, share in ((1, longest), (2, WIDEST)):
        size = features.shape[axis]
        for _ in range(MASKS):
            widths = rng.integers(0, max(1, int(share * size)) + 1, len(features))
            starts = rng.integers(0, size - widths + 1)
            places = np.arange(size)
            under = (places >= starts[:, None]) & (places < (starts + widths)[:, None])  # (B, size)
            features = np.where(under[:, :, None] if axis == 1 else under[:, None], np.float32(0), features)
    return features


def varied(samples: np.ndarray, changes: Sequence[Change], rng: np.random.Generator) -> np.ndarray:
    """Speed, loudness and noise drawn anew, as far as they are among the changes, float32 (N',)."""
    for change, vary in (("speed", sped), ("gain", louder), ("noise", noisy)):
        samples = vary(samples, rng) if change in changes else samples
    return samples
