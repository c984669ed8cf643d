"""features: log-mel features of samples, each band brought to mean 0 and deviation 1 over the training recordings."""

# B batch, N samples, T frames, M mel bands

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from modelcommons.workbench.fields.speech.architectures import LogMelOptions

FLOOR = 1e-7  # power of a band that counts as silence; a full-scale sine has about 1e4
MEASURED = 1_000  # training recordings that mean and deviation are taken from, evenly spaced
LEAST = 1e-2  # deviation of a band in which nothing happens


@dataclass(frozen=True)
class LogMel:
    """Log power in bands that are as wide as the ear hears them, window by window.

    Source: Davis & Mermelstein, Comparison of Parametric Representations (1980); mel scale of the HTK book.
    """

    rate_hz: int
    mels: int = 40
    window_ms: float = 25.0
    hop_ms: float = 10.0

    @cached_property
    def window(self) -> int:
        """Samples under one window."""
        return max(2, round(self.rate_hz * self.window_ms / 1000))

    @cached_property
    def hop(self) -> int:
        """Samples from one window to the next."""
        return max(1, round(self.rate_hz * self.hop_ms / 1000))

    @cached_property
    def size(self) -> int:
        """Of the Fourier transform: the next power of two."""
        return int(2 ** math.ceil(math.log2(self.window)))

    def frames(self, num_samples: int) -> int:
        """Whole windows in so many samples."""
        return max(0, 1 + (num_samples - self.window) // self.hop)

    def features(self, samples: np.ndarray) -> np.ndarray:
        """float32 (..., N) -> float32 (..., T, M); N is at least one window."""
        stretches = np.lib.stride_tricks.sliding_window_view(samples, self.window, axis=-1)[..., :: self.hop, :]
        spectrum = np.fft.rfft(stretches * self.hann, self.size)
        power = spectrum.real**2 + spectrum.imag**2
        return np.asarray(np.log(np.maximum(power.astype(np.float32) @ self.filters, FLOOR)))

    @cached_property
    def hann(self) -> np.ndarray:
        """Periodic."""
        return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window) / self.window), np.float32)

    @cached_property
    def filters(self) -> np.ndarray:
        """Triangles that overlap by half, float32 (size // 2 + 1, M), from 0 Hz to half the rate."""
        highest = 2595 * math.log10(1 + self.rate_hz / 2 / 700)
        corners = 700 * (10 ** (np.linspace(0, highest, self.mels + 2) / 2595) - 1)  # (M + 2,) Hz
        bins = np.linspace(0, self.rate_hz / 2, self.size // 2 + 1)[:, None]
        up = (bins - corners[:-2]) / np.diff(corners)[:-1]
        down = (corners[2:] - bins) / np.diff(corners)[1:]
        return np.asarray(np.maximum(0, np.minimum(up, down)), np.float32)


@dataclass(frozen=True, slots=True)
class Features:
    """Log-mel features, each band with mean 0 and deviation 1 over the training recordings."""

    logmel: LogMel
    mean: np.ndarray  # float32 (M,)
    std: np.ndarray  # float32 (M,)

    def inputs(self, samples: np.ndarray) -> np.ndarray:
        """float32 (..., N) -> float32 (..., T, M)."""
        return np.asarray((self.logmel.features(samples) - self.mean) / self.std)

    def written(self) -> dict[str, Any]:
        """What a model's config says of them, beside its options."""
        return {"rate_hz": self.logmel.rate_hz, "mean": self.mean.tolist(), "std": self.std.tolist()}


def log_mel(options: LogMelOptions, rate_hz: int) -> LogMel:
    return LogMel(rate_hz, options.mels, options.window_ms, options.hop_ms)


def evenly(num_rows: int) -> range:
    """Rows that features are measured on."""
    return range(0, num_rows, max(1, num_rows // MEASURED))


def measure(logmel: LogMel, sounds: Iterable[np.ndarray]) -> Features:
    """Mean and deviation of each band over these recordings, float32 (..., N) each; 6 digits."""
    found = np.concatenate([logmel.features(samples).reshape(-1, logmel.mels) for samples in sounds])
    mean, std = (np.round(each, 6).astype(np.float32) for each in (found.mean(0), np.maximum(found.std(0), LEAST)))
    return Features(logmel, mean, std)


def read_features(found: Mapping[str, Any], options: LogMelOptions) -> Features:
    """As `written` wrote them; raises KeyError, TypeError or ValueError where they are not."""
    mean, std = (np.array(found[name], np.float32) for name in ("mean", "std"))
    if not mean.shape == std.shape == (options.mels,):
        raise ValueError(f"expected {options.mels} means and deviations")
    return Features(log_mel(options, int(found["rate_hz"])), mean, std)
