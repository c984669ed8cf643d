"""augment: training recordings and their features varied, none twice the same."""

# B batch, N samples, T frames, M mel bands

from __future__ import annotations

from typing import Literal

import numpy as np

Change = Literal["shift", "speed", "gain", "mask"]
ALL: tuple[Change, ...] = ("shift", "speed", "gain", "mask")

SPEEDS = (0.85, 1.15)  # pitch changes with it, as between voices
GAINS = (0.25, 2.0)
MASKS = 2  # of time, and of frequency
WIDEST = 0.2  # share of the frames or bands under one mask


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


def masked(features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A copy in which some frames and some bands are set to 0, the mean of all features; (B, T, M).

    Source: Park et al., SpecAugment (2019), without time warping.
    """
    for axis in (1, 2):
        size = features.shape[axis]
        for _ in range(MASKS):
            widths = rng.integers(0, max(1, int(WIDEST * size)) + 1, len(features))
            starts = rng.integers(0, size - widths + 1)
            places = np.arange(size)
            under = (places >= starts[:, None]) & (places < (starts + widths)[:, None])  # (B, size)
            features = np.where(under[:, :, None] if axis == 1 else under[:, None], np.float32(0), features)
    return features
