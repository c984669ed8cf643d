"""spectrum: samples as overlapping windows of frequencies, and back; what is between gives the same samples again."""

# N samples, T frames, F frequencies

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from modelcommons.workbench.fields.speech.denoising.architectures import TcnOptions

QUIETEST = 1e-4  # magnitude that counts as silence; a full-scale sine has about half the window's length


@dataclass(frozen=True)
class Stft:
    """Short-time Fourier transform with the root of a Hann window before and after, and overlap-add.

    Frame t ends with sample (t + 1) * hop, so that a voice can be heard while it speaks.

    Source: Griffin & Lim, Signal Estimation from Modified Short-Time Fourier Transform (1984), equation 6.
    """

    window: int  # samples, even
    hop: int  # samples, at most half a window

    @classmethod
    def of(cls, options: TcnOptions, rate_hz: int) -> Stft:
        window = 2 * max(4, round(rate_hz * options.window_ms / 2000))
        return cls(window, max(1, min(window // 2, round(rate_hz * options.hop_ms / 1000))))

    @property
    def bins(self) -> int:
        """F."""
        return self.window // 2 + 1

    def frames(self, num_samples: int) -> int:
        """T: every sample is under as many windows as any other."""
        return math.ceil((num_samples + self.window - self.hop) / self.hop)

    @cached_property
    def root(self) -> np.ndarray:
        """Of a periodic Hann window, float32 (window,)."""
        return np.asarray(np.sin(np.pi * (np.arange(self.window) + 0.5) / self.window), np.float32)

    @cached_property
    def overlap(self) -> np.ndarray:
        """What the squared windows over one sample add up to, by its place in a hop, float32 (hop,)."""
        squares = np.pad(self.root**2, (0, -self.window % self.hop))
        return np.asarray(squares.reshape(-1, self.hop).sum(0), np.float32)

    def analysed(self, samples: np.ndarray) -> np.ndarray:
        """float32 (..., N) -> complex64 (..., T, F)."""
        behind = self.frames(samples.shape[-1]) * self.hop - samples.shape[-1]
        padded = np.pad(samples, [(0, 0)] * (samples.ndim - 1) + [(self.window - self.hop, behind)])
        stretches = np.lib.stride_tricks.sliding_window_view(padded, self.window, axis=-1)[..., :: self.hop, :]
        return np.asarray(np.fft.rfft(stretches * self.root), np.complex64)

    def synthesized(self, spectrum: np.ndarray, num_samples: int) -> np.ndarray:
        """complex64 (T, F) -> float32 (N,)."""
        stretches = np.fft.irfft(spectrum, self.window).astype(np.float32) * self.root
        spare = -self.window % self.hop  # so that a window is a whole number of hops
        pieces = np.pad(stretches, ((0, 0), (0, spare))).reshape(len(stretches), -1, self.hop)
        each = pieces.shape[1]
        samples = np.zeros((len(stretches) + each - 1, self.hop), np.float32)
        for at in range(each):
            samples[at : at + len(stretches)] += pieces[:, at]
        first = self.window - self.hop
        return np.asarray((samples / self.overlap).reshape(-1)[first : first + num_samples])


def log_magnitudes(spectrum: np.ndarray) -> np.ndarray:
    """complex64 (..., F) -> float32 (..., F)."""
    return np.asarray(np.log(np.maximum(np.abs(spectrum), QUIETEST)), np.float32)
